"""An older manifest whose splits and fitted state are kept: `--like OLD`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import SplitError
from imagekit.manifest.read import Manifest

Codes = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OldRows:
    """The rows of an older manifest, found again among n images of today.

    at: int64[n], the old row of each image, -1 for a new one. gone: int64[m], old rows without an image today; their
    pictures still count: what is like one of them belongs in its split.
    """

    manifest: Manifest
    at: Ints
    gone: Ints

    @classmethod
    def find(cls, manifest: Manifest, names: pa.StringArray) -> OldRows:
        """Match by file name. names: as shown, those of today."""
        old = manifest.table["file_name"].combine_chunks()
        at = np.asarray(pc.index_in(names, value_set=old).fill_null(-1)).astype(np.int64)
        is_gone = np.ones(len(old), np.bool_)
        is_gone[at[at >= 0]] = False
        return cls(manifest=manifest, at=at, gone=np.flatnonzero(is_gone))

    @property
    def gone_sha256(self) -> pa.Array:
        """fixed binary 32 [m]."""
        return self.manifest.table["sha256"].combine_chunks().take(pa.array(self.gone))

    @property
    def gone_dhash(self) -> pa.Array:
        """uint64[m]."""
        return self.manifest.table["dhash"].combine_chunks().view(pa.uint64()).take(pa.array(self.gone))

    def names_of_gone(self, n: int) -> list[str]:
        """The first n names of rows without an image."""
        names: list[str] = self.manifest.table["file_name"].combine_chunks().take(pa.array(self.gone[:n])).to_pylist()
        return names

    def groups_of(self, rows: Ints) -> pa.Array:
        """The names of the groups of old rows, null for -1; string[len(rows)]."""
        return self.manifest.table["group"].combine_chunks().take(pa.array(rows, mask=rows < 0))

    def is_unsup(self) -> Mask:
        """Which of the n images are without labels in the older manifest, and stay so. bool[n]."""
        is_in = pc.equal(self.manifest.table["split"].cast(pa.string()).combine_chunks(), "unsup")
        found = np.asarray(is_in)
        unlabelled: Mask = (
            (self.at >= 0) & found[np.maximum(self.at, 0)] if len(found) else np.zeros(len(self.at), bool)
        )
        return unlabelled

    def is_changed(self, sha256: pa.Array) -> Mask:
        """Which of the n images have other bytes than their old row; unknown bytes count as the same. bool[n]."""
        then = self.manifest.table["sha256"].combine_chunks().take(pa.array(self.at, mask=self.at < 0))
        return np.asarray(pc.not_equal(then, sha256).fill_null(False))

    def codes(self, words: list[str], *, as_folds: bool) -> tuple[Codes, list[str]]:
        """The split of each old row as codes into `words`, which grow by splits that they lack; or its fold."""
        if as_folds:
            folds: Codes = np.asarray(self.manifest.table["fold"].combine_chunks()).astype(np.int32)
            return folds, words
        coded = self.manifest.table["split"].cast(pa.string()).combine_chunks().dictionary_encode()
        found = coded.dictionary.to_pylist()
        words = [*words, *sorted(set(found) - set(words))]
        return np.array([words.index(word) for word in found], np.int32)[np.asarray(coded.indices)], words

    def check_folds(self, n_folds: int) -> None:
        """Raise SplitError unless the older manifest has just these folds."""
        column = self.manifest.table["fold"]
        n_old = 0 if column.null_count else (pc.max(column).as_py() or 0) + 1
        if n_old != n_folds:
            had = f"has {n_old} folds" if n_old else "has no folds"
            raise SplitError(
                f"the older manifest {had}, kfold:{n_folds} is asked for",
                where=f"--like {self.manifest.path}",
                fix=f"ask for kfold:{n_old}, or leave --like out"
                if n_old
                else "leave --like out, or give another --split",
            )
