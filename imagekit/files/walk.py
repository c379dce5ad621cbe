"""Walk a source folder in the byte order of its relative paths, looking at names and types only.

Nothing but folders is ever opened, so a FIFO or a device cannot stop the walk.
"""

from __future__ import annotations

import bisect
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from imagekit.errors import SourceError, did_you_mean
from imagekit.files.names import display_name

# What a run of names is. FILE waits for the extension test; KINDS[code] is the word that `others` carries.
FILE, NOT_IMAGE, SYMLINK, SPECIAL, LOOP, OUTSIDE = range(6)
KINDS = ("image", "not-image", "symlink", "special-file", "symlink-loop", "symlink-outside")
_FOLDER = -1

MAX_RUN = 16_384  # names in a run, so that one folder with a million files is worked on in pieces

Identity = tuple[int, int]  # (device, inode)


class Run(NamedTuple):
    """Names of one folder that stand next to each other in the order; `prefix` is "" or ends with a slash.

    Each name is followed by a slash, which no name can hold: numpy then measures all names at once.
    """

    prefix: str
    names: bytes
    kind: int


class Folder(NamedTuple):
    """A folder still to be read, and who its ancestors are (filled only where symlinks are followed)."""

    prefix: str
    ancestors: tuple[Identity, ...]


class Walk:
    """One pass over `root`; `unreadable` and `n_hidden` are complete once `runs()` has ended."""

    def __init__(self, root: str, *, recurse: bool, include: frozenset[str] | None, follow_symlinks: bool) -> None:
        self.root = root
        self.unreadable: list[tuple[str, str]] = []
        self.n_hidden = 0
        self._recurse = recurse
        self._include = include
        self._follow_symlinks = follow_symlinks
        self._real_root = os.path.realpath(root).rstrip("/") + "/"

    def runs(self) -> Iterator[Run]:
        """Every name that is not hidden and not a plain folder, in bytewise order of the relative paths.

        Raises OSError where the root itself cannot be read, SourceError where an included folder is missing.
        """
        stack: list[Run | Folder] = [Folder("", ())]  # a stack of our own: depth is not bound by Python's recursion
        while stack:
            piece = stack.pop()
            if isinstance(piece, Run):
                yield piece
            else:
                stack.extend(reversed(self._read(piece)))

    def _read(self, folder: Folder) -> list[Run | Folder]:
        try:
            return self._read_open(folder, self._open(folder.prefix))
        except OSError as error:
            if not folder.prefix:
                raise
            shown = display_name(os.fsencode(folder.prefix[:-1]))
            self.unreadable.append((shown, os.strerror(error.errno) if error.errno else str(error)))
            return []

    def _open(self, prefix: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if not prefix:
            return os.open(self.root, flags)
        # no slash at the end: with one, O_NOFOLLOW would follow all the same
        return os.open(f"{self.root}/{prefix[:-1]}", flags if self._follow_symlinks else flags | os.O_NOFOLLOW)

    def _read_open(self, folder: Folder, fd: int) -> list[Run | Folder]:
        others: list[os.DirEntry[str]] = []

        def set_aside(entry: os.DirEntry[str]) -> bool:
            others.append(entry)
            return False

        try:
            if self._follow_symlinks:
                status = os.fstat(fd)
                folder = folder._replace(ancestors=(*folder.ancestors, (status.st_dev, status.st_ino)))
            # scandir of a descriptor builds no path per entry: 10 % of a walk over 1.28 million files
            with os.scandir(fd) as entries:
                files = [e.name for e in entries if e.is_file(follow_symlinks=False) or set_aside(e)]
            breaks = self._sort_out(folder, others)
        finally:
            os.close(fd)
        return _in_order(folder, self._visible_files(folder, files), breaks)

    def _visible_files(self, folder: Folder, files: list[str]) -> list[str]:
        """Sorted, hidden names counted and dropped; they stand together, between "." and "/"."""
        _sort_bytewise(files)
        start, stop = bisect.bisect_left(files, "."), bisect.bisect_left(files, "/")
        self.n_hidden += stop - start
        del files[start:stop]
        return [] if self._include is not None and not folder.prefix else files

    def _sort_out(self, folder: Folder, others: list[os.DirEntry[str]]) -> list[tuple[bytes, str, int]]:
        """What is not a regular file, as (key in the order, name, kind), sorted; hidden names counted and dropped."""
        visible = [entry for entry in others if not entry.name.startswith(".")]
        self.n_hidden += len(others) - len(visible)
        if self._include is not None and not folder.prefix:
            self._refuse_missing({entry.name for entry in visible if entry.is_dir()})
            visible = [entry for entry in visible if entry.name in self._include]
        kinds = [(entry.name, self._kind_of(folder, entry)) for entry in visible]
        return sorted(
            (os.fsencode(name + "/" if kind == _FOLDER else name), name, kind)
            for name, kind in kinds
            if kind != _FOLDER or self._recurse
        )

    def _refuse_missing(self, folders: set[str]) -> None:
        missing = sorted(name for name in (self._include or ()) if name not in folders and not name.startswith("."))
        if missing:
            shown = display_name(os.fsencode(missing[0]))
            raise SourceError(
                f'there is no folder "{shown}" to include',
                where=self.root,
                fix=did_you_mean(shown, [display_name(os.fsencode(name)) for name in folders]),
            )

    def _kind_of(self, folder: Folder, entry: os.DirEntry[str]) -> int:
        if entry.is_dir(follow_symlinks=False):
            return _FOLDER
        if not entry.is_symlink():
            return SPECIAL
        return self._kind_of_target(folder, entry.name) if self._follow_symlinks else SYMLINK

    def _kind_of_target(self, folder: Folder, name: str) -> int:
        path = f"{self.root}/{folder.prefix}{name}"
        try:
            status = os.stat(path)  # noqa: PTH116  (names that are not UTF-8 stay str with escapes, no Path each)
        except OSError as error:
            return LOOP if error.errno == errno.ELOOP else SYMLINK  # a dangling link stays a link
        if not (os.path.realpath(path) + "/").startswith(self._real_root):
            return OUTSIDE
        if stat.S_ISDIR(status.st_mode):
            return LOOP if (status.st_dev, status.st_ino) in folder.ancestors else _FOLDER
        return FILE if stat.S_ISREG(status.st_mode) else SPECIAL


def _sort_bytewise(names: list[str]) -> None:
    names.sort()
    # text sorts as its UTF-8 bytes do, but bytes that are not UTF-8 are surrogates in str, and sort elsewhere
    if not "".join(names).isascii():
        names.sort(key=os.fsencode)


def _in_order(folder: Folder, files: list[str], breaks: list[tuple[bytes, str, int]]) -> list[Run | Folder]:
    """Cut the sorted files wherever a folder (as name + "/") or another kind of entry stands between them."""
    pieces: list[Run | Folder] = []
    start = 0
    for key, name, kind in breaks:
        stop = bisect.bisect_left(files, key, lo=start, key=os.fsencode)
        pieces += _runs(folder.prefix, files, start, stop)
        if kind == _FOLDER:
            pieces.append(Folder(f"{folder.prefix}{name}/", folder.ancestors))
        else:
            pieces.append(Run(folder.prefix, os.fsencode(name + "/"), kind))
        start = stop
    return pieces + _runs(folder.prefix, files, start, len(files))


def _runs(prefix: str, files: list[str], start: int, stop: int) -> list[Run | Folder]:
    pieces = [files[cut : min(cut + MAX_RUN, stop)] for cut in range(start, stop, MAX_RUN)]
    return [Run(prefix, os.fsencode("/".join(piece) + "/"), FILE) for piece in pieces]
