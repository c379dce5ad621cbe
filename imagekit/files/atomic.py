"""Old or new, never torn: outputs are written aside, forced to disk and published by one rename.

    file      .imagekit-tmp-<random>-<name>    becomes <name>
    folder    .<name>.imagekit-staging         becomes <name>; it stays after a kill, so that a build can be resumed
              .<name>.imagekit-old             a whole version that is being exchanged for <name>
              .<name>.imagekit-trash           a version that is being removed

After a kill `<name>` is the old version or the new one, or (only without an exchanging rename, between two renames)
absent with the old one aside: `heal_folder` puts it back. Hold the output's lock around publishing and healing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from imagekit.errors import DiskFullError, OutputError
from imagekit.files import seam

Result = TypeVar("Result")

_NAME_MAX = 255  # bytes; the limit of every file system in common use
_TEMP_PREFIX = ".imagekit-tmp-"


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file at once: afterwards `path` holds `data`, or what it held before.

    Raises DiskFullError, or OSError as the system gives it.
    """
    with _published(Path(path), needs_bytes=len(data)) as (_, fd):
        seam.write_all(fd, data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """`write_bytes` of the text as UTF-8, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty file beside `path` to write into; published on a clean exit, removed on an error.

    The temporary path ends as `path` does, for writers that look at the extension. Raises DiskFullError.
    """
    with _published(Path(path), needs_bytes=None) as (temporary, _):
        yield temporary


@contextlib.contextmanager
def explain_disk_full(path: str | Path, *, needs_bytes: int | None = None) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" inside the block into DiskFullError about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        amount = "some space" if needs_bytes is None else f"at least {needs_bytes:,} bytes"
        raise DiskFullError(
            f"the disk is full while writing {Path(path).name}",
            where=str(path),
            fix=f"free {amount} there and run the same command again",
        ) from error


def heal_file(path: str | os.PathLike[str]) -> None:
    """Remove what killed writers of `path` left beside it."""
    path = Path(path)
    leftover = re.compile(re.escape(_TEMP_PREFIX) + "[0-9a-f]{12}-" + re.escape(_temporary_tail(path.name)))
    for other in list(path.parent.iterdir()):
        if leftover.fullmatch(other.name):
            seam.unlink(other)


def clear_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what killed writers of any file left in a folder that nobody else writes to now."""
    leftover = re.compile(re.escape(_TEMP_PREFIX) + "[0-9a-f]{12}-.*", re.DOTALL)
    for other in list(Path(folder).iterdir()):
        if leftover.fullmatch(other.name):
            with contextlib.suppress(FileNotFoundError):
                seam.unlink(other)


def sibling(path: Path, suffix: str) -> Path:
    """The hidden path `.<name><suffix>` beside `path`; a name that would be too long is replaced by its hash."""
    path = path.absolute()
    name = f".{path.name}{suffix}"
    if len(os.fsencode(name)) > _NAME_MAX:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}{suffix}"
    return path.with_name(name)


def staging_folder(target: str | os.PathLike[str]) -> Path:
    """Where the next version of `target` is built: always the same hidden sibling, so that a build can be resumed."""
    return sibling(Path(target), ".imagekit-staging")


def sync_tree(folder: str | os.PathLike[str]) -> None:
    """Force every file and folder below `folder` to disk; call once when a stage is complete. Raises DiskFullError."""
    folder = Path(folder)
    with explain_disk_full(folder):
        if _on_descriptor(folder, seam.sync_filesystem):
            return
        for parent, _, names in os.walk(folder, topdown=False, onerror=_raise):
            for name in names:
                if not Path(parent, name).is_symlink():
                    _sync(Path(parent, name))
            _sync(Path(parent))


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Force the entries of one folder to disk: what was added to it, renamed in it or removed from it."""
    _sync(Path(folder))


def publish_folder(staging: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a complete and synced folder its final name; a version already there is exchanged for it, then removed.

    Raises OutputError where `target` is not a folder, DiskFullError, or OSError: `target` is then what it was.
    """
    staging, target = Path(staging), Path(target).absolute()
    with explain_disk_full(target):
        heal_folder(target)
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise OutputError(
                "the output exists and is not a folder", where=str(target), fix="remove it or choose another output"
            )
        if not target.exists():
            seam.rename(staging, target)
        elif not _exchange(staging, target):
            _move_in(staging, target)
        _sync(target.parent)
    # the new version is out: a failure to remove the old one is no failure to publish, heal_folder tries again
    with contextlib.suppress(OSError):
        _discard_aside(target)


def heal_folder(target: str | os.PathLike[str]) -> None:
    """Repair what a kill left: put the old version back if `target` is gone, remove it if `target` is there."""
    target = Path(target).absolute()
    if _aside(target).exists() and not target.exists():
        seam.rename(_aside(target), target)
        _sync(target.parent)
    _discard_aside(target)


def _exchange(staging: Path, target: Path) -> bool:
    """One exchanging rename. The staging name is given up first: after a kill the old version must not be found there
    and taken for a build to resume."""
    aside = _aside(target)
    seam.rename(staging, aside)
    try:
        done = seam.exchange(aside, target)
    except BaseException:
        seam.rename(aside, staging)
        raise
    if not done:
        seam.rename(aside, staging)
    return done


def _move_in(staging: Path, target: Path) -> None:
    """Two renames, for systems without an exchange."""
    aside = _aside(target)
    seam.rename(target, aside)
    try:
        seam.rename(staging, target)
    except BaseException:
        if not target.exists():  # Ctrl-C may come right after the rename: then the new version is out
            seam.rename(aside, target)
        raise


def _aside(target: Path) -> Path:
    return sibling(target, ".imagekit-old")


def _discard_aside(target: Path) -> None:
    """Remove the old version under a third name: a half removed folder must never look like one to put back."""
    trash = sibling(target, ".imagekit-trash")
    if trash.exists():
        seam.remove_tree(trash)
    if _aside(target).exists():
        seam.rename(_aside(target), trash)
        seam.remove_tree(trash)


@contextlib.contextmanager
def _published(path: Path, *, needs_bytes: int | None) -> Iterator[tuple[Path, int]]:
    temporary = path.with_name(f"{_TEMP_PREFIX}{secrets.token_hex(6)}-{_temporary_tail(path.name)}")
    with explain_disk_full(path, needs_bytes=needs_bytes):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                yield temporary, fd
            finally:
                os.close(fd)
            _sync(temporary)  # opened anew: a writer may have put another file under this name
            seam.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                seam.unlink(temporary)
            raise
        _sync(path.parent)


def _temporary_tail(name: str) -> str:
    """The name, cut at its front where the temporary one would be too long; the extension stays."""
    room = _NAME_MAX - len(_TEMP_PREFIX) - 13
    while len(os.fsencode(name)) > room:
        name = name[1:]
    return name


def _sync(path: Path) -> None:
    _on_descriptor(path, seam.fsync)


def _on_descriptor(path: Path, action: Callable[[int], Result]) -> Result:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return action(fd)
    finally:
        os.close(fd)


def _raise(error: OSError) -> None:
    raise error
