"""What is exported: the rows of a manifest, where its images lie, and how they get to another folder."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import ManifestError, OutputError, SourceError, SplitError
from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full
from imagekit.files.link import write_new
from imagekit.files.names import display_name, path_in
from imagekit.files.read import read_file
from imagekit.manifest.read import Manifest

BATCH_ROWS = 65_536
_PROGRESS_ROWS = 1_000
# what a file system says that cannot give a file a second name: another device, another owner, too many names, no such
# call; then the bytes are copied
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_LONGEST_NAME = 255  # bytes; the limit of every file system in common use


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSource:
    """A manifest, the folder of its images, and who is told how many are done: progress(done, total)."""

    manifest: Manifest
    root: Path
    progress: Callable[[int, int], object] | None = None

    @property
    def table(self) -> pa.Table:
        """The rows."""
        return self.manifest.table

    @property
    def splits(self) -> list[str]:
        """The split of every row that has one, each once: train, valid, test, unsup, then the others by name."""
        known = pc.unique(self.table["split"].cast(pa.string())).drop_null().to_pylist()
        first = [name for name in ("train", "valid", "test", "unsup") if name in known]
        return first + sorted(set(known) - set(first))

    def folder_names(self, *, valid: str = "valid") -> dict[str, str]:
        """A name for each split that any system takes: letters, digits, underscores. Raises SplitError for a clash."""
        names = {name: valid if name == "valid" else re.sub(r"\W", "_", name) for name in self.splits}
        for split, name in names.items():
            twin = next(other for other in names if names[other] == name)
            if twin != split:
                raise SplitError(
                    f"the splits {twin} and {split} would have one name: {name}",
                    where=str(self.manifest.path),
                    fix="build the manifest again with split names that differ in letters or digits",
                )
        return names

    def rows_of(self, split: str) -> npt.NDArray[np.int64]:
        """The row numbers of a split, ascending."""
        return np.flatnonzero(np.asarray(pc.equal(self.table["split"].cast(pa.string()), split)))

    def by_split(self, values: dict[str, str]) -> pa.LargeBinaryArray:
        """For each row the value that its split has, as bytes."""
        places = pc.index_in(self.table["split"].cast(pa.string()), pa.array(list(values), pa.string()))
        words = pa.array([value.encode() for value in values.values()], pa.large_binary())
        return pa.array(pc.take(words, places).combine_chunks(), pa.large_binary())

    def raw_names(self) -> pa.LargeBinaryArray:
        """The relative name of every image as raw bytes."""
        return self.manifest.raw_names(self.table)

    def told(self, done: int) -> None:
        """Say how many images are done; not for every one."""
        if self.progress and (done % _PROGRESS_ROWS == 0 or done == self.table.num_rows):
            self.progress(done, self.table.num_rows)


def check_images(source: ExportSource) -> None:
    """Look at every image once: it must be there, a regular file, and as long as the manifest says.

    Raises SourceError naming the first that is missing and how many are, ManifestError for another size.
    """
    missing: list[str] = []
    for path, name, size in _images(source):
        status = _status(path)
        if status is None:
            missing.append(display_name(name))
        elif not _is_as_listed(status, size):
            raise _changed(name, status, size, source)
    if missing:
        n = len(missing)
        raise SourceError(
            f"{n:,} {'image is' if n == 1 else 'images are'} not there, the first is {missing[0]}",
            where=str(source.root),
            fix="give the folder of the images with --root, or build the manifest again",
        )


def _images(source: ExportSource) -> Iterator[tuple[str, bytes, int | None]]:
    """(path, raw name, size in bytes or None) of every row. Raises SourceError for a name that leaves the root."""
    root = os.fspath(source.root)
    for name, size in zip(_values(source.raw_names()), _values(source.table["size_bytes"]), strict=True):
        yield path_in(root, name), name, size


def _values(column: pa.Array | pa.ChunkedArray) -> Iterator[Any]:
    """The values as Python objects, of one batch at a time."""
    for start in range(0, len(column), BATCH_ROWS):
        yield from column.slice(start, BATCH_ROWS).to_pylist()


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_as_listed(status: os.stat_result, size: int | None) -> bool:
    return stat.S_ISREG(status.st_mode) and size in (None, status.st_size)


def _changed(name: bytes, status: os.stat_result, size: int | None, source: ExportSource) -> ManifestError:
    now = f"{status.st_size:,} bytes" if stat.S_ISREG(status.st_mode) else "no regular file"
    then = "a regular file" if size is None else f"{size:,} bytes"
    return ManifestError(
        f"the image {display_name(name)} is {now}, the manifest says {then}",
        where=str(source.root),
        fix=f"imagekit verify {source.manifest.path} tells what else changed; build the manifest again",
    )


def read_images(source: ExportSource, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
    """(row number, bytes of its file) of some rows, one at a time.

    Raises ImageError where a file cannot be read, ManifestError for another size than the manifest says.
    """
    root, names, sizes = os.fspath(source.root), source.raw_names(), source.table["size_bytes"].combine_chunks()
    for start in range(0, len(rows), BATCH_ROWS):
        some = pa.array(rows[start : start + BATCH_ROWS])
        columns = (some, names.take(some), sizes.take(some))
        for row, name, size in zip(*(column.to_pylist() for column in columns), strict=True):
            yield row, _read(path_in(root, name), name, size, source)


def _read(path: str, name: bytes, size: int | None, source: ExportSource) -> bytes:
    data = read_file(path)
    if size not in (None, len(data)):
        raise _changed(name, os.lstat(path), size, source)
    return data


@dataclass(kw_only=True, slots=True)
class Placer:
    """Gives images names below a new folder: hard links, copies where links cannot be; counts both."""

    source: ExportSource
    folder: Path
    n_linked: int = 0
    n_copied: int = 0
    _made: set[str] = field(default_factory=set)
    _can_link: bool = True

    def place_all(self, targets: pa.Array) -> None:
        """Put the image of each row at its target, a raw name relative to the folder; all targets differ.

        Raises ManifestError where a file is no longer as the manifest says, ImageError, OutputError, DiskFullError.
        """
        check_lengths(targets, self.folder)
        base = os.fspath(self.folder)
        with explain_disk_full(self.folder):
            images = zip(_images(self.source), _values(targets), strict=True)
            for done, ((path, name, size), raw) in enumerate(images, start=1):
                target = f"{base}/{os.fsdecode(raw)}"
                self._make_folder(target.rpartition("/")[0])
                self._place(path, target, name, size)
                self.source.told(done)

    def notes(self) -> tuple[str, ...]:
        """How the images got there, in words."""
        if not self.n_copied:
            return (f"{self.n_linked:,} images are hard links: to change one there changes the original too",)
        return (f"{self.n_copied:,} images are copies, {self.n_linked:,} are hard links",)

    def _make_folder(self, folder: str) -> None:
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103  (texts: a Path costs as much as a system call)
            self._made.add(folder)

    def _place(self, path: str, target: str, name: bytes, size: int | None) -> None:
        if self._can_link and self._link(path, target):
            status = os.lstat(target)
            if not _is_as_listed(status, size):
                raise _changed(name, status, size, self.source)
            self.n_linked += 1
            return
        write_new(target, _read(path, name, size, self.source))
        self.n_copied += 1

    def _link(self, path: str, target: str) -> bool:
        try:
            seam.link(Path(path), Path(target))
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            self._can_link = error.errno in (errno.EPERM, errno.EMLINK)  # said of one file, not of the file system
            return False
        return True


def check_lengths(targets: pa.Array, folder: Path) -> None:
    """Raise OutputError (path-too-long) for a target with a part that no file system takes."""
    longest = pc.match_substring_regex(targets, f"[^/]{{{_LONGEST_NAME + 1}}}")
    if pc.any(longest).as_py():
        name = targets.filter(longest)[0].as_py()
        raise OutputError(
            f"path-too-long: {display_name(name)[:80]}... has a part of more than {_LONGEST_NAME} bytes",
            where=str(folder.name),
            fix="give that image a shorter name and build the manifest again",
        )


def refuse_clashes(targets: pa.Array, source: ExportSource) -> None:
    """Raise OutputError (path-collision) where two images would get one name, naming both."""
    twice = is_repeated(targets)
    if not twice.any():
        return
    name = targets[int(np.flatnonzero(twice)[0])].as_py()
    rows = np.flatnonzero(np.asarray(pc.equal(targets, pa.scalar(name, targets.type))))[:2]
    first, second = source.table["file_name"].take(pa.array(rows)).to_pylist()
    raise OutputError(
        f"path-collision: {first} and {second} would both become {display_name(name)}",
        where=str(source.manifest.path),
        fix="rename one of them and build the manifest again",
    )


def is_repeated(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Which values stand there more than once."""
    codes = np.asarray(values.dictionary_encode().indices)
    return np.asarray(np.bincount(codes, minlength=1)[codes] > 1)
