"""Processors of text: into tokens by fixed rules, then into ids by a vocab that train alone decides.

The rules. `<br />` is a line break and `&amp;` the sign it stands for. A sign that stands four times or more in a row
becomes `xxrep 4 c`, also inside a word. What is left is cut into words (letters, digits, `_`, and apostrophes between
them) and single signs; white space only parts them. A word that stands three times or more in a row becomes
`xxwrep 3 word`; `My` becomes `xxmaj my` and `ALL` becomes `xxup all`, where that can be undone. `xxbos` comes first,
`xxeos` last. A word that looks like one of these marks is cut behind its "xx", so that no text can write a mark.
Scripts that write no spaces between words, or vowels as signs of their own, need another Processor.
All rules take time in proportion to the length of the text.
Source: the text lesson of fast.ai's 2019 course; there `xxup` never came about, because words were lowered before.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import UsageError
from imagekit.manifest.processors import bad_state, plain_array, state_words

SPECIALS = ("xxunk", "xxpad", "xxbos", "xxeos", "xxrep", "xxwrep", "xxup", "xxmaj")
UNK, PAD, BOS, EOS, REP, WREP, UP, MAJ = SPECIALS
RULES = 1  # another number when the rules give other tokens
# a longer run is several: a made-up token count cannot ask for gigabytes of text
MAX_REPEATS = 9_999
MIN_SIGNS, MIN_WORDS = 4, 3

# named as a Parquet file gives it back, so that a column has the same type before and after it is written
TOKENS = pa.list_(pa.field("element", pa.string()))
IDS = pa.list_(pa.field("element", pa.int32()))

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
# bounded: html.unescape alone fails on a number of thousands of digits
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_RUN = re.compile(rf"(\S)\1{{{MIN_SIGNS - 1},{MAX_REPEATS - 1}}}")
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_COUNT = re.compile(r"[0-9]{1,4}")
_CHUNK = 2_000


def tokenize(text: str) -> list[str]:
    """The tokens of a text, by the rules of this module."""
    text = _ENTITY.sub(lambda found: html.unescape(found[0]), _BREAK.sub("\n", text))
    tokens, end = [BOS], 0
    for run in _RUN.finditer(text):
        tokens += _words(text[end : run.start()])
        tokens += (REP, str(len(run[0])), run[1])
        end = run.end()
    return [*tokens, *_words(text[end:]), EOS]


def _words(text: str) -> Iterator[str]:
    """The tokens of a piece of text that holds no run of one sign."""
    for word, group in groupby(_plain_words(text)):
        n = sum(1 for _ in group)
        cased = _cased(word)
        while n >= MIN_WORDS and (word[0].isalnum() or word[0] == "_"):
            yield from (WREP, str(min(n, MAX_REPEATS)), *cased)
            n -= min(n, MAX_REPEATS)
        for _ in range(n):
            yield from cased


def _plain_words(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        if word.lower() in SPECIALS:
            yield from (word[:2], word[2:])
        else:
            yield word


def _cased(word: str) -> tuple[str, ...]:
    """The word in small letters behind a mark, or as it is where that could not be undone."""
    low = word.lower()
    if len(word) < 2 or low == word:
        return (word,)
    if word.isupper() and low.upper() == word:
        return (UP, low)
    if word[0].isupper() and word[1:].islower() and _capital(low) == word:
        return (MAJ, low)
    return (word,)


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def untokenize(tokens: Sequence[str]) -> str:
    """A text that `tokenize` gives these tokens for, single spaces between words.

    White space, line breaks and `&amp;` do not come back as they were, and spaces stand around every sign. Marks that
    no text gives, as `xxrep` before no number, stay as words; `xxbos`, `xxeos` and `xxpad` are dropped.
    """
    words: list[str] = []
    at = 0
    while at < len(tokens):
        n_read, text = _unmarked(tokens[at : at + 4])
        words += text
        at += n_read
    return " ".join(words)


def _unmarked(tokens: Sequence[str]) -> tuple[int, list[str]]:
    """How many of at most four tokens belong together, and the words that they stand for."""
    first = tokens[0]
    if first in (BOS, EOS, PAD):
        return 1, []
    if first in (UP, MAJ) and len(tokens) > 1 and tokens[1] not in SPECIALS:
        return 2, [tokens[1].upper() if first == UP else _capital(tokens[1])]
    if first in (REP, WREP) and len(tokens) > 2 and _COUNT.fullmatch(tokens[1]):
        n = int(tokens[1])
        if first == REP and len(tokens[2]) == 1:
            return 3, [tokens[2] * n]
        if first == WREP and (tokens[2] not in SPECIALS or tokens[2] in (UP, MAJ)):
            n_read, text = _unmarked(tokens[2:])
            return 2 + n_read, text * n
    return 1, [first]


class TokenizeProcessor:
    """Text -> tokens, by the rules of this module; there is nothing to learn."""

    name = "TokenizeProcessor"

    def fit(self, values: pa.Array) -> None:
        """Nothing: the rules are fixed."""

    def process(self, values: pa.Array) -> dict[str, pa.Array]:
        """tokens: a list of strings for each text, null for a null."""
        chunks = [
            pa.array([None if text is None else tokenize(text) for text in chunk], TOKENS)
            for chunk in (values.slice(start, _CHUNK).to_pylist() for start in range(0, len(values), _CHUNK))
        ]
        return {"tokens": pa.concat_arrays(chunks) if chunks else pa.array([], TOKENS)}

    def deprocess(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        """Texts that give the same tokens, see `untokenize`: the very texts where words stand between single spaces."""
        lists = columns["tokens"].to_pylist()
        return pa.array([None if tokens is None else untokenize(tokens) for tokens in lists], pa.string())

    def state(self) -> dict[str, Any]:
        """The number of the rules."""
        return {"rules": RULES}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> TokenizeProcessor:
        """One with these rules. Raises ManifestError for others."""
        if state.get("rules") != RULES:
            raise bad_state(cls.name, f"rules is {state.get('rules')!r}, this imagekit has rules {RULES}")
        return cls()


class NumericalizeProcessor:
    """Tokens -> ids: the marks first, then the tokens of train, the most frequent first, equally frequent ones sorted.

    max_vocab: the most ids, marks included. min_freq: tokens that train has fewer times are left out. What is not in
    the vocab has id 0, `xxunk`.
    """

    name = "NumericalizeProcessor"

    def __init__(self, vocab: Sequence[str] | None = None, *, max_vocab: int = 60_000, min_freq: int = 2) -> None:
        self.vocab: tuple[str, ...] | None = None if vocab is None else tuple(vocab)
        self.max_vocab = max_vocab
        self.min_freq = min_freq

    def fit(self, values: pa.Array) -> None:
        """Learn the vocab from lists of tokens. Raises UsageError if there is no token at all."""
        coded = plain_array(values.flatten()).drop_null().dictionary_encode()
        if not len(coded):
            raise UsageError(
                "no train row has a token to make a vocab of", fix="give train rows texts, or leave the column out"
            )
        counts = np.bincount(np.asarray(coded.indices), minlength=len(coded.dictionary)).tolist()
        found = zip(coded.dictionary.to_pylist(), counts, strict=True)
        kept = [(-n, token) for token, n in found if n >= self.min_freq and token not in SPECIALS]
        room = max(self.max_vocab - len(SPECIALS), 0)
        self.vocab = (*SPECIALS, *(token for _, token in sorted(kept)[:room]))

    def process(self, values: pa.Array) -> dict[str, pa.Array]:
        """ids: a list of int32 for each list of tokens, null for a null; a null token has id 0."""
        tokens = plain_array(values.flatten())
        ids = pc.index_in(tokens, value_set=pa.array(self._fitted(), tokens.type)).fill_null(0)
        return {"ids": _lists(values, ids, IDS)}

    def deprocess(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        """Lists of tokens; what was not in the vocab comes back as `xxunk`. Raises UsageError for an id outside it."""
        vocab, values = self._fitted(), columns["ids"]
        ids = values.flatten()
        numbers = np.asarray(ids)
        outside = numbers[(numbers < 0) | (numbers >= len(vocab))]
        if len(outside):
            raise UsageError(
                f"id {outside[0]} is outside the vocab of tokens", fix=f"ids run from 0 to {len(vocab) - 1}"
            )
        return _lists(values, pc.take(pa.array(vocab, pa.string()), ids), TOKENS)

    def _fitted(self) -> tuple[str, ...]:
        if self.vocab is None:
            raise UsageError(
                "the NumericalizeProcessor has no vocab yet", fix="call fit with the tokens of the train rows first"
            )
        return self.vocab

    def state(self) -> dict[str, Any]:
        """The vocab. Raises UsageError before fit."""
        return {"vocab": list(self._fitted())}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> NumericalizeProcessor:
        """A fitted one. Raises ManifestError for what is no state of it."""
        vocab = state_words(cls.name, state)
        if tuple(vocab[: len(SPECIALS)]) != SPECIALS:
            raise bad_state(cls.name, f"vocab does not begin with {' '.join(SPECIALS)}")
        return cls(vocab)


def _lists(like: pa.Array, flat: pa.Array, kind: pa.DataType) -> pa.Array:
    """Lists of the values of `flat`, as long as those of `like`, null where those are."""
    lengths = np.asarray(like.value_lengths().fill_null(0))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, flat, type=kind, mask=like.is_null())
