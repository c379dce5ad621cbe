"""Processors encode a column; what they learn comes from train rows alone and travels in the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, overload, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import LabelError, ManifestError, did_you_mean
from imagekit.manifest.schema import REBUILD

SHOWN = 5
OTHER = "other"


@runtime_checkable
class Processor(Protocol):
    """What a class needs to be a Processor; write one of your own and name it as COLUMN:package.module:Class.

    It is made without arguments, or by `from_state`. A manifest stores its `name`, the names of its output columns and
    `state()`; a manifest built like an older one, and a model in use, go on with that state and fit nothing.
    """

    name: str
    """The word that a manifest stores for the class; none of those that imagekit's own have."""

    def fit(self, values: pa.Array) -> None:
        """Learn from the values of the train rows; nulls may be among them."""

    def process(self, values: pa.Array) -> dict[str, pa.Array]:
        """Encode a column: for each suffix, an array as long as `values`. Column X gives X_suffix."""

    def deprocess(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        """The values that `process` gave these arrays for, as far as the encoding can be undone."""

    def state(self) -> dict[str, Any]:
        """What was learnt, as plain JSON."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """A fitted one, made of what `state` returned."""


class CategoryProcessor:
    """Class name <-> index into a sorted vocab, fitted once.

    The first call of `process` with a list fits the vocab unless one was given; later calls (valid, test, inference)
    only use it. other_below: labels with fewer train rows become one class, `other`, which has its place in the sorted
    vocab like any; if no label is as rare as that there is no `other`. A label that is called "other" itself is that
    class, and the rare ones join it. Labels that train does not have go to `other` when other_below is not 0 and the
    vocab has it, else they are refused. Raises LabelError if other_below is negative.
    Source: the data block of fast.ai's 2019 course, with a sorted vocab so that ids do not hang on the file system.
    """

    name = "CategoryProcessor"

    def __init__(self, vocab: Sequence[str] | None = None, *, other_below: int = 0) -> None:
        if other_below < 0:
            raise LabelError(
                f"a CategoryProcessor has other_below {other_below}, must be at least 0",
                fix="give the least number of train rows that a class of its own must have",
            )
        self.other_below = other_below
        self.vocab: tuple[str, ...] | None = None
        self._index: dict[str, int] = {}
        if vocab is not None:
            self._set(tuple(vocab))

    def _set(self, vocab: tuple[str, ...]) -> None:
        self.vocab = vocab
        self._index = {name: index for index, name in enumerate(vocab)}

    def fit(self, labels: Sequence[str] | pa.Array) -> None:
        """Learn the sorted vocab of the train labels. Raises LabelError if all are so rare that only `other` is left.

        An array may hold nulls, which are no label; see `fit_array`.
        """
        if isinstance(labels, pa.Array | pa.ChunkedArray):
            self.fit_array(labels)
        else:
            self._fit_counts(Counter(labels))

    def fit_array(self, labels: pa.Array | pa.ChunkedArray) -> None:
        """As `fit`, of strings or dictionary-encoded strings. Raises LabelError too where every one is null."""
        coded = _coded(labels)
        indices = np.asarray(coded.indices.drop_null())
        if not len(indices):
            raise LabelError("no train row has a label", fix="label some train rows, or leave the column out")
        counts = np.bincount(indices, minlength=len(coded.dictionary)).tolist()
        self._fit_counts(dict(zip(coded.dictionary.to_pylist(), counts, strict=True)))

    def _fit_counts(self, counts: Mapping[str, int]) -> None:
        rare = {label for label, n in counts.items() if n < self.other_below}
        names = {*counts} - rare | ({OTHER} if rare else set())
        if rare and names == {OTHER}:
            label = min(rare - {OTHER} or rare, key=lambda label: (-counts[label], label))
            raise LabelError(
                f"with other_below {self.other_below} no class but {OTHER} is left",
                where="--other-below",
                fix=f"give at most {counts[label]:,}: the most frequent label, {label}, has as many train rows",
            )
        self._set(tuple(sorted(names)))

    @overload
    def process(self, labels: list[str] | tuple[str, ...], *, where: str | None = ...) -> list[int]: ...
    @overload
    def process(self, labels: pa.Array, *, where: str | None = ...) -> dict[str, pa.Array]: ...
    def process(self, labels: Any, *, where: str | None = None) -> Any:
        """Indices of a list of labels; of an array, the column `target` (see `encode`).

        Raises LabelError that lists every label the vocab does not have.
        """
        if isinstance(labels, pa.Array | pa.ChunkedArray):
            return {"target": self.encode(labels, where=where)}
        if self.vocab is None:
            self.fit(labels)
        instead = self._instead()
        if instead < 0:
            self._refuse(Counter(label for label in labels if label not in self._index), where or "labels")
        return [self._index.get(label, instead) for label in labels]

    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: str | None) -> pa.Array:
        """int32 indices of strings or dictionary-encoded strings; a null stays null. No Python object per row.

        Whole numbers and booleans are taken as the texts "12" and "true", and come back as these.
        Raises LabelError that lists every label the vocab does not have, or when there is no vocab yet.
        """
        self._fitted()
        coded, instead = _coded(labels), self._instead()
        names = coded.dictionary.to_pylist()
        indices = np.asarray(coded.indices.fill_null(len(names)))
        place = np.array([*(self._index.get(name, instead) for name in names), -1], np.int32)
        targets, is_null = place[indices], indices == len(names)
        lost = indices[(targets < 0) & ~is_null]
        counts = np.bincount(lost, minlength=len(names)).tolist()
        self._refuse({name: n for name, n in zip(names, counts, strict=True) if n}, where)
        return pa.array(targets, pa.int32(), mask=is_null)

    def _instead(self) -> int:
        """The index of labels outside the vocab, -1 where they are refused."""
        return self._index.get(OTHER, -1) if self.other_below else -1

    def _refuse(self, unseen: Mapping[str, int], where: str | None) -> None:
        if not unseen:
            return
        listed = ", ".join(f"{name} ({count:,} rows)" for name, count in sorted(unseen.items())[:SHOWN])
        more = f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
        raise LabelError(
            f"{len(unseen)} {'label is' if len(unseen) == 1 else 'labels are'} not in train: {listed}{more}",
            where=where,
            fix=f"add images of them to train, or take them out; {did_you_mean(min(unseen), self._index)}",
        )

    def _fitted(self) -> tuple[str, ...]:
        if self.vocab is None:
            raise LabelError(
                "the CategoryProcessor has no vocab yet", fix="call fit or process with the train labels first"
            )
        return self.vocab

    @overload
    def deprocess(self, targets: list[int] | tuple[int, ...]) -> list[str]: ...
    @overload
    def deprocess(self, targets: Mapping[str, pa.Array]) -> pa.Array: ...
    def deprocess(self, targets: Any) -> Any:
        """Names of a list of indices, or of the array `target` of a mapping.

        A label that became `other` comes back as that. Raises LabelError before a vocab is there, or for an index
        outside it.
        """
        if isinstance(targets, Mapping):
            return self.decode(targets["target"])
        vocab = self._fitted()
        self._refuse_outside([target for target in targets if not 0 <= target < len(vocab)], len(vocab))
        return [vocab[target] for target in targets]

    def decode(self, targets: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Names of integer indices as strings; a null stays null. Raises LabelError as `deprocess`."""
        vocab = self._fitted()
        targets = plain_array(targets)
        given = np.asarray(targets.drop_null())
        self._refuse_outside(given[(given < 0) | (given >= len(vocab))][:1].tolist(), len(vocab))
        return pc.take(pa.array(vocab, pa.string()), targets)

    def _refuse_outside(self, outside: Sequence[int], n_classes: int) -> None:
        if outside:
            raise LabelError(f"target {outside[0]} is outside the vocab", fix=f"targets run from 0 to {n_classes - 1}")

    def state(self) -> dict[str, Any]:
        """vocab, and other_below when it is not 0."""
        folding = {"other_below": self.other_below} if self.other_below else {}
        return {"vocab": list(self.vocab or ()), **folding}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CategoryProcessor:
        """A fitted one. Raises ManifestError for what is no state of it."""
        other_below = state.get("other_below", 0)
        if not is_count(other_below):
            raise bad_state(cls.name, "other_below is no count")
        return cls(state_words(cls.name, state), other_below=other_below)

    def to_dict(self, *, column: str = "label", output: str = "target") -> dict[str, Any]:
        """Name, column, outputs and state as the manifest stores them."""
        return {"name": self.name, "column": column, "outputs": [output], "state": self.state()}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> CategoryProcessor:
        """Back from what `to_dict` gives, or gave when it named no outputs. Raises ManifestError for anything else."""
        return cls.from_state(stored_state(cls.name, entry))


def plain_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of plain values: chunks put together, dictionary-encoded values decoded."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def bad_state(name: str, why: str) -> ManifestError:
    """The error for a state that a manifest stores and that its Processor cannot have written."""
    return ManifestError(f"the stored state of the {name} cannot be used: {why}", fix=REBUILD)


def stored_state(name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state in what a manifest stores of the Processor of this name. Raises ManifestError where there is none."""
    state = entry.get("state")
    if entry.get("name") != name or not isinstance(state, Mapping):
        raise bad_state(name, f"the entry has the name {entry.get('name')} and a state of {type(state).__name__}")
    return state


def state_words(name: str, state: Mapping[str, Any]) -> list[str]:
    """The vocab of a stored state: a list of strings, each once. Raises ManifestError."""
    vocab = state.get("vocab")
    if not isinstance(vocab, list) or not all(isinstance(word, str) for word in vocab):
        raise bad_state(name, "vocab is no list of strings")
    if len(set(vocab)) < len(vocab):
        raise bad_state(name, "a word stands twice in vocab")
    return vocab


def is_count(value: object) -> bool:
    """Whether a value read from JSON is a whole number of at least 0; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _coded(labels: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    # large: a million long labels may be more than the 2 GB that 32-bit offsets reach
    return plain_array(labels.cast(pa.large_string())).dictionary_encode()
