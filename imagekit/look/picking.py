"""Which rows of a manifest a person is shown: a few of each class and split, drawn by keys, so a seed names them.

N rows of the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from imagekit.manifest.read import Manifest
from imagekit.manifest.schema import SPLITS
from imagekit.transforms.draws import make_keys, uniform

UNLABELLED = -1

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRows:
    """One class of one split. target: its number in the vocab, UNLABELLED for rows without one; n_rows: how many there
    are; picked: those to show, as rows of the manifest's table, in its order.
    """

    target: int
    n_rows: int
    picked: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRows:
    """One split: all its rows and classes counted, and the classes to show, in the order of the vocab.

    unlabelled: its rows without a class, None where every row has one.
    """

    split: str
    n_rows: int
    n_classes: int
    classes: tuple[ClassRows, ...]
    unlabelled: ClassRows | None


def pick_rows(
    manifest: Manifest, *, seed: int, per_class: int = 4, max_classes: int = 20, n_unlabelled: int = 8
) -> list[SplitRows]:
    """A few rows of each class of each split: train first, then valid, test, unsup.

    Of more than `max_classes` classes as many are drawn, the same in every split that has them all. Where the labels
    of an image are a list, no row has a class.
    """
    splits = manifest.table["split"].cast(pa.string())
    target_N = np.asarray(pc.fill_null(manifest.table["target"], UNLABELLED), dtype=np.int64)
    if not manifest.vocab:
        target_N = np.full_like(target_N, UNLABELLED)
    draw_N = _draw(len(target_N), seed, stream="look.row")
    class_draw = _draw(len(manifest.vocab), seed, stream="look.class")
    picked = []
    for split in in_order(manifest):
        rows = np.flatnonzero(np.asarray(pc.equal(splits, split)))
        groups = dict(_groups(rows, target_N[rows], draw_N[rows]))
        unlabelled = groups.pop(UNLABELLED, None)
        shown = sorted(sorted(groups, key=lambda target: class_draw[target])[:max_classes])
        picked.append(
            SplitRows(
                split=split,
                n_rows=len(rows),
                n_classes=len(groups),
                classes=tuple(_pick(target, groups[target], per_class) for target in shown),
                unlabelled=None if unlabelled is None else _pick(UNLABELLED, unlabelled, n_unlabelled),
            )
        )
    return picked


def in_order(manifest: Manifest) -> list[str]:
    """The splits that have rows, in the order of SPLITS, `valid:<name>` after `valid`."""
    there = pc.unique(manifest.table["split"].cast(pa.string())).to_pylist()
    return sorted(there, key=lambda split: (SPLITS.index(split.partition(":")[0]), split))


def _draw(n: int, seed: int, *, stream: str) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each of n things."""
    keys_B = make_keys(seed=seed, epoch=0, ids_B=torch.arange(n))
    drawn: npt.NDArray[np.float64] = uniform(keys_B, stream=stream)[:, 0].numpy()
    return drawn


def _groups(rows: Ints, targets: Ints, draws: npt.NDArray[np.float64]) -> Iterator[tuple[int, Ints]]:
    """(target, its rows by their draws) of each class that occurs."""
    order = np.lexsort((draws, targets))
    found, starts = np.unique(targets[order], return_index=True)
    yield from zip(found.tolist(), np.split(rows[order], starts[1:]), strict=True)


def _pick(target: int, rows: Ints, n: int) -> ClassRows:
    return ClassRows(target=target, n_rows=len(rows), picked=tuple(sorted(rows[:n].tolist())))
