"""Text into tokens and ids: the lesson's rules, what of them can be undone, and a vocab of train alone."""

import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ManifestError, UsageError
from imagekit.manifest.processors import Processor
from imagekit.manifest.text import (
    IDS,
    MAX_REPEATS,
    SPECIALS,
    TOKENS,
    NumericalizeProcessor,
    TokenizeProcessor,
    tokenize,
    untokenize,
)

REBUILD = "build it again with imagekit manifest, or restore it from a copy"
# what the rules look at: capitals, runs, apostrophes, entities, marks
PIECES = st.sampled_from(
    [*"aAbBIéßİ!'’<>&;# \n_1", "ab ", "Ab ", "AB ", "ab", "xxrep ", "XXBOS ", "cccc", "br", "&amp;", "<br />", "3 "]
)
TEXTS = st.text(max_size=20) | st.lists(PIECES, max_size=12).map("".join)
# the words that come back as they were: white space is single, and no rule but those that can be undone applies
WORDS = st.from_regex(r"[a-zA-Z]{1,3}|!|!{4,9}|[0-9]{1,3}|[.,;]", fullmatch=True) | st.sampled_from(
    ["My", "IT'S", "don't", "word", "McD", "c" * 5, "é", "ß", "İ", "ǅ"]
)


def lists(values: list[list[str] | None]) -> pa.Array:
    return pa.array(values, TOKENS)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ""),
        ("a small dog", "a small dog"),
        ("cccc", "xxrep 4 c"),
        ("ccc", "ccc"),
        ("so cooool!!!!!", "so c xxrep 4 o l xxrep 5 !"),
        ("word word word", "xxwrep 3 word"),
        ("word word", "word word"),
        ("Word word word word", "xxmaj word xxwrep 3 word"),
        ("No No No no", "xxwrep 3 xxmaj no no"),
        ("! ! !", "! ! !"),
        ("My name", "xxmaj my name"),
        ("STOP it, I said", "xxup stop it , I said"),
        ("McDonald's iPhone", "McDonald's iPhone"),
        ("one<br />two<BR>three", "one two three"),
        ("fish &amp; chips&nbsp;&#39;n&#x27; &lt;more&gt; &nosuch;", "fish & chips ' n ' < more > & nosuch ;"),
        ("don't say ’hi’", "don't say ’ hi ’"),
        ("a-b/c_d #1", "a - b / c_d # 1"),
        ("xxrep 9 a XXBOS Xxmaj", "xx rep 9 a xxup xx xxup bos xxmaj xx maj"),
        ("été 狗 ﬀ Straße STRASSE ẞA", "été 狗 ﬀ xxmaj straße xxup strasse ẞA"),
    ],
)
def test_text_is_cut_by_the_rules(text: str, tokens: str) -> None:
    assert tokenize(text) == ["xxbos", *tokens.split(), "xxeos"]


@given(text=TEXTS)
def test_the_text_of_tokens_gives_the_same_tokens(text: str) -> None:
    tokens = tokenize(text)

    assert tokenize(untokenize(tokens)) == tokens


@given(words=st.lists(WORDS, max_size=8), n=st.integers(1, 5))
def test_words_between_single_spaces_come_back_as_they_were(words: list[str], n: int) -> None:
    texts = pa.array([" ".join(words * n), None])
    processor = TokenizeProcessor()

    assert processor.deprocess(processor.process(texts)).equals(texts)


@given(text=TEXTS)
def test_no_text_can_write_a_mark(text: str) -> None:
    plain = [token for token in tokenize(f"{text} xxunk xxpad") if token in ("xxunk", "xxpad")]

    assert plain == []


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["xxbos", "xxmaj", "my", "xxup", "cat", "xxeos", "xxpad"], "My CAT"),
        (["xxwrep", "3", "xxup", "no"], "NO NO NO"),
        (["xxrep", "999999999", "a"], "xxrep 999999999 a"),
        (["xxrep", "x", "a"], "xxrep x a"),
        (["xxrep", "4", "xxunk"], "xxrep 4 xxunk"),
        (["xxwrep", "4", "xxbos"], "xxwrep 4"),
        (["xxmaj"], "xxmaj"),
        (["xxmaj", "xxup", "a"], "xxmaj A"),
        (["xxrep", "4"], "xxrep 4"),
        (["xxunk", ""], "xxunk "),
    ],
)
def test_tokens_that_no_text_gives_stay_words(tokens: list[str], text: str) -> None:
    assert untokenize(tokens) == text


@pytest.mark.parametrize("n", [MAX_REPEATS, MAX_REPEATS + 1, MAX_REPEATS + 3, 2 * MAX_REPEATS + 4])
def test_a_run_longer_than_the_greatest_count_is_several(n: int) -> None:
    signs, words = tokenize("a" * n), tokenize("ab " * n)

    assert signs[1:4] == ["xxrep", "9999", "a"]
    assert words[1:4] == ["xxwrep", "9999", "ab"]
    assert untokenize(signs).replace(" ", "") == "a" * n
    assert untokenize(words) == " ".join(["ab"] * n)
    assert tokenize(untokenize(signs)) == signs


@pytest.mark.parametrize(
    "piece", ["<br", "<br ", "&", "&#9", "'a", "a' ", "ab ", "a", "aaab", " ", "xxrep 4 ", "&" + "9" * 5000 + ";"]
)
def test_a_caption_of_a_megabyte_takes_no_more_than_its_share(piece: str) -> None:
    assert tokenize(piece * (500_000 // len(piece)))[0] == "xxbos"


def test_tokens_are_a_column_of_lists_whose_type_parquet_gives_back() -> None:
    columns = TokenizeProcessor().process(pa.array(["b", "My cat", None]).slice(1))
    ids = NumericalizeProcessor(SPECIALS).process(columns["tokens"])["ids"]
    file = io.BytesIO()

    pq.write_table(pa.table({"tokens": columns["tokens"], "ids": ids}), file)

    assert columns["tokens"].to_pylist() == [["xxbos", "xxmaj", "my", "cat", "xxeos"], None]
    assert pq.read_table(file).schema.types == [columns["tokens"].type, ids.type] == [TOKENS, IDS]
    assert TokenizeProcessor().process(pa.array([], pa.string()))["tokens"].equals(lists([]))


def test_many_texts_are_cut_in_pieces_and_stay_in_order() -> None:
    texts = pa.array([chr(0x4E00 + i) for i in range(4_001)])

    tokens = TokenizeProcessor().process(texts)["tokens"]

    assert tokens.to_pylist() == [["xxbos", text, "xxeos"] for text in texts.to_pylist()]


def test_the_state_of_the_tokenizer_is_the_number_of_its_rules() -> None:
    processor = TokenizeProcessor()
    processor.fit(pa.array(["train"]))

    assert processor.state() == {"rules": 1}
    assert isinstance(TokenizeProcessor.from_state({"rules": 1}), Processor)
    with pytest.raises(ManifestError) as caught:
        TokenizeProcessor.from_state({"rules": 2})
    assert str(caught.value) == (
        "the stored state of the TokenizeProcessor cannot be used: rules is 2, this imagekit has rules 1\n"
        f"  fix: {REBUILD}"
    )


# ids


def test_the_vocab_holds_marks_then_frequent_tokens_then_sorted_ones() -> None:
    processor = NumericalizeProcessor()

    processor.fit(lists([["b", "a", "xxbos", "xxbos"], None, ["c", "b", "c", "a", "c", "once"]]))

    assert processor.state() == {
        "vocab": ["xxunk", "xxpad", "xxbos", "xxeos", "xxrep", "xxwrep", "xxup", "xxmaj", "c", "a", "b"]
    }


def test_what_train_does_not_have_becomes_unknown() -> None:
    processor = NumericalizeProcessor()
    processor.fit(lists([["a", "a"]]))

    columns = processor.process(lists([["never", "a", "xxpad"], None, [], [None]]).slice(0))

    assert columns["ids"].to_pylist() == [[0, 8, 1], None, [], [0]]
    assert processor.deprocess(columns).to_pylist() == [["xxunk", "a", "xxpad"], None, [], ["xxunk"]]


@given(values=st.lists(st.none() | st.lists(st.sampled_from([*"abcd", "xxbos"]), max_size=4), min_size=1).filter(any))
def test_ids_go_back_to_the_tokens_that_the_vocab_has(values: list[list[str] | None]) -> None:
    array = lists([["unused"], *values]).slice(1)
    processor = NumericalizeProcessor(min_freq=1)

    processor.fit(array)
    columns = processor.process(array)

    assert processor.deprocess(columns).to_pylist() == values
    again = NumericalizeProcessor.from_state(processor.state())
    assert again.process(array)["ids"].equals(columns["ids"])
    assert again.state() == processor.state()


def test_the_vocab_has_at_most_as_many_ids_as_asked_for() -> None:
    processor = NumericalizeProcessor(max_vocab=9, min_freq=1)

    processor.fit(lists([["a", "b", "b"]]))

    assert processor.vocab == (*SPECIALS, "b")
    assert NumericalizeProcessor().max_vocab == 60_000
    assert NumericalizeProcessor().min_freq == 2


def test_lists_from_elsewhere_are_numericalized_too() -> None:
    processor = NumericalizeProcessor(min_freq=1)
    values = pa.array([["a"], ["b", "a"]], pa.large_list(pa.large_string()))

    processor.fit(values)

    assert processor.process(values)["ids"].to_pylist() == [[8], [9, 8]]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: NumericalizeProcessor().process(lists([["a"]])),
            "the NumericalizeProcessor has no vocab yet\n  fix: call fit with the tokens of the train rows first",
        ),
        (
            lambda: NumericalizeProcessor().fit(lists([None, []])),
            "no train row has a token to make a vocab of\n  fix: give train rows texts, or leave the column out",
        ),
        (
            lambda: NumericalizeProcessor(SPECIALS).deprocess({"ids": pa.array([[0], [8]])}),
            "id 8 is outside the vocab of tokens\n  fix: ids run from 0 to 7",
        ),
    ],
)
def test_what_cannot_be_numericalized_is_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()

    assert str(caught.value) == text


def test_a_stored_vocab_without_the_marks_is_refused() -> None:
    with pytest.raises(ManifestError) as caught:
        NumericalizeProcessor.from_state({"vocab": ["a"]})

    assert str(caught.value) == (
        "the stored state of the NumericalizeProcessor cannot be used: vocab does not begin with"
        f" xxunk xxpad xxbos xxeos xxrep xxwrep xxup xxmaj\n  fix: {REBUILD}"
    )
