"""Put bytes into a new file, or let the new file share them with its source: by reflink or hard link.

A reflink is a file of its own that shares blocks until either is written to (btrfs, XFS, APFS); a hard link is the
source itself under a second name, so that a program which writes to one writes to both. Whatever stood at the target
before loses its name and is never written through: it may be a hard link to a source.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from imagekit.errors import ImageError, OutputError
from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full
from imagekit.files.names import display_name, to_path
from imagekit.files.read import Reading, Stamp, open_regular, read_error, stamp_of

Made = TypeVar("Made")

LINKS = ("reflink", "hard", "copy")

# no file there can be cloned or linked: not on this pair of file systems, or on no such system
_NOT_HERE = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.ENOSYS)
_NOT_THIS_FILE = (errno.EINVAL, errno.EPERM, errno.EMLINK)  # swap files, files of others, too many names already
_cannot_clone: set[tuple[int, str]] = set()  # (device of the source, folder of the target): not tried for every file


def place(reading: Reading, source: Path, target: Path, *, link: str | None) -> str:
    """Make `target` a file with the bytes of `reading`; returns how: "reflink", "hard" or "copy".

    reading: what `read_stamped(source)` gave. link: the only way to take, or None for a reflink where the file systems
    can, else a copy. A source that is linked is proved to be in the state that was read.
    Raises ImageError (vanished, changed-during-read), OutputError where it cannot be linked as asked, DiskFullError.
    """
    with explain_disk_full(target, needs_bytes=len(reading.data)):
        if link == "hard":
            _hard_link(source, target, stamp=reading.stamp)
            return "hard"
        if link != "copy" and _reflink(source, target, stamp=reading.stamp, must=link == "reflink"):
            return "reflink"
    write_new(target, reading.data)
    return "copy"


def write_new(target: str | Path, data: bytes) -> os.stat_result:
    """Write a whole new file, not forced to disk, and tell its state. Raises DiskFullError, or OSError as it comes."""
    with explain_disk_full(target, needs_bytes=len(data)):
        fd = _as_new(target, lambda: os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        try:
            seam.write_all(fd, data)
            return os.fstat(fd)
        finally:
            os.close(fd)


def can_reflink(root: Path, name: bytes, folder: Path) -> bool:
    """Whether the file `name` below root could be reflinked into `folder`; tried, and nothing is left behind."""
    probe = folder / ".imagekit-tmp-reflink"
    try:
        fd = open_regular(to_path(root, name))
    except ImageError:
        return False
    try:
        _as_new(probe, lambda: seam.clone(fd, probe))
    except OSError:
        return False
    finally:
        os.close(fd)
    seam.unlink(probe)
    return True


def _hard_link(source: Path, target: Path, *, stamp: Stamp) -> None:
    try:
        _as_new(target, lambda: seam.link(source, target))
    except FileNotFoundError as error:
        if os.path.lexists(source):  # then it is the target's folder that is missing
            raise
        raise read_error(error, source) from error
    except OSError as error:
        if error.errno not in _NOT_HERE + _NOT_THIS_FILE:
            raise
        fix = "put the output on the source's file system, or give --link copy"
        raise _cannot("hard-link", source, error, fix=fix) from error
    if stamp_of(target.lstat()) != stamp:
        seam.unlink(target)
        raise _changed(source)


def _reflink(source: Path, target: Path, *, stamp: Stamp, must: bool) -> bool:
    """Clone the file; False where that cannot be and need not."""
    place = (stamp.device, os.path.dirname(target))  # noqa: PTH120 - Path.parent costs as much as a system call
    if place in _cannot_clone and not must:
        return False
    fd = open_regular(source)
    try:
        if stamp_of(os.fstat(fd)) != stamp:
            raise _changed(source)
        _as_new(target, lambda: seam.clone(fd, target))
        if stamp_of(os.fstat(fd)) != stamp:
            seam.unlink(target)
            raise _changed(source)
    except OSError as error:
        if error.errno not in _NOT_HERE + _NOT_THIS_FILE:
            raise
        if must:
            fix = "put both on one file system that can (btrfs, XFS, APFS), or leave --link out to copy instead"
            raise _cannot("reflink", source, error, fix=fix) from error
        if error.errno in _NOT_HERE:
            _cannot_clone.add(place)
        return False
    finally:
        os.close(fd)
    return True


def _as_new(target: str | Path, make: Callable[[], Made]) -> Made:
    """Make a file that must not be there yet; what is there goes first."""
    try:
        return make()
    except FileExistsError:
        seam.unlink(Path(target))
        return make()


def _cannot(verb: str, source: Path, error: OSError, *, fix: str) -> OutputError:
    words = error.strerror or str(error)
    if error.errno == errno.EXDEV:
        words = "source and output lie on different file systems"
    elif verb == "reflink" and error.errno in _NOT_HERE:
        words = "the file system cannot share blocks between files"
    return OutputError(f"cannot {verb} a source file: {words}", where=_shown(source), fix=fix)


def _changed(source: Path) -> ImageError:
    detail = "the file changed between reading and linking it"
    return ImageError("changed-during-read", detail, where=_shown(source))


def _shown(path: Path) -> str:
    return display_name(os.fsencode(path))
