"""Label columns with a known share of wrong labels in train, to measure how a training bears them.

Which rows are changed, and to what, hangs on the seed and the name of each image alone: not on the order of rows, nor
on the other percentages. Source: the noisy labels that Imagenette publishes (1, 5, 25 and 50 percent).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import LabelError, UsageError, did_you_mean
from imagekit.manifest.processors import OTHER, plain_array

Words = npt.NDArray[np.uint64]
_CHUNK = 65_536


def noisy_labels(
    names: Sequence[bytes] | pa.Array,
    labels: pa.Array | pa.ChunkedArray,
    is_train: npt.NDArray[np.bool_],
    *,
    vocab: Sequence[str],
    percents: Sequence[float],
    seed: int,
) -> dict[str, pa.Array]:
    """The columns `noisy_P`, one for each percentage P, each a copy of `labels` but for P percent of train.

    names: raw bytes, n of them, each once; labels: n strings or nulls; is_train: bool[n]. vocab: the classes; a label
    outside it counts as `other`, which it must then hold.
    Of the labelled train rows, round(P / 100 * their number) get another class, each as likely as the next; half
    rounds to even, so that of few rows it may be none. A column with more noise has the wrong labels of one with less.
    Rows outside train stay right.
    Raises UsageError for a percentage outside 0 to 100 or given twice, LabelError for fewer than two classes or a
    label that is not in the vocab.
    """
    columns = noise_columns(percents)
    if len(vocab) < 2:
        raise LabelError(
            f"noisy labels need at least 2 classes, there are {len(vocab)}",
            where="--noise",
            fix="leave --noise out, or label the images with more classes",
        )
    labels = plain_array(labels).cast(pa.string())
    rows = np.flatnonzero(is_train & np.asarray(labels.is_valid()))
    own = _own_classes(labels.take(pa.array(rows, pa.int64())), vocab)
    words = _words(names, rows, seed)
    # by the first half of the hash who is changed, by another part of it to what
    order = np.lexsort((words[:, 1], words[:, 0]))
    wrong = (words[:, 2] % np.uint64(len(vocab) - 1)).astype(np.int64)
    wrong += wrong >= own
    noisy = {}
    for column, percent in columns.items():
        chosen = order[: round(percent * len(rows) / 100)]
        target = np.full(len(labels), -1, np.int64)
        target[rows[chosen]] = wrong[chosen]
        false = pc.take(pa.array(vocab, pa.string()), pa.array(target, mask=target < 0))
        noisy[column] = pc.coalesce(false, labels)
    return noisy


def noise_columns(percents: Sequence[float]) -> dict[str, float]:
    """The percentage of each noise column by the column's name. Raises UsageError as `noisy_labels`."""
    columns: dict[str, float] = {}
    for percent in percents:
        if not 0 < percent < 100:
            raise UsageError(
                f"a noise of {percent:g} percent cannot be",
                where="--noise",
                fix="give percentages above 0 and below 100, as 1,5,25,50",
            )
        column = f"noisy_{percent:g}"
        if column in columns:
            raise UsageError(
                f"the noise percentage {percent:g} is given twice", where="--noise", fix="give each percentage once"
            )
        columns[column] = percent
    return columns


def _own_classes(labels: pa.Array, vocab: Sequence[str]) -> npt.NDArray[np.int64]:
    """The index of each label into the vocab."""
    found = pc.index_in(labels, value_set=pa.array(vocab, pa.string()))
    if found.null_count and OTHER not in vocab:
        unknown = labels.filter(found.is_null())
        raise LabelError(
            f"{len(unknown):,} train rows have a label that is no class: {unknown[0].as_py()}",
            where="--noise",
            fix=did_you_mean(unknown[0].as_py(), vocab),
        )
    instead = list(vocab).index(OTHER) if OTHER in vocab else -1
    return np.asarray(found.fill_null(instead)).astype(np.int64)


def _words(names: Sequence[bytes] | pa.Array, rows: npt.NDArray[np.int64], seed: int) -> Words:
    """uint64[len(rows), 4]: sha256 of seed, "noise" and each name, NUL between them."""
    begun = hashlib.sha256(f"{seed}\0noise\0".encode())
    digests = bytearray()
    for start in range(0, len(rows), _CHUNK):
        picked = rows[start : start + _CHUNK]
        if isinstance(names, pa.Array | pa.ChunkedArray):
            chunk = names.take(pa.array(picked, pa.int64())).to_pylist()
        else:
            chunk = [names[row] for row in picked.tolist()]
        for name in chunk:
            hashed = begun.copy()
            hashed.update(name)
            digests += hashed.digest()
    return np.frombuffer(bytes(digests), ">u8").reshape(-1, 4).astype(np.uint64)
