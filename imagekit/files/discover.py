"""Find every image below a folder: names and types only, sorted, and nothing passed over in silence."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from imagekit.errors import SourceError, UsageError
from imagekit.files.listing import Listing
from imagekit.files.walk import Walk


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Discovery:
    """What lies below `root`.

    names: relative POSIX paths of the image files as raw bytes, sorted bytewise over the whole path.
    others, other_kinds: every other entry that is neither hidden nor a plain folder, sorted, and what it is:
    not-image, symlink, special-file, symlink-loop or symlink-outside.
    unreadable: (folder, reason) of each folder that could not be read, the path escaped for people.
    n_hidden: hidden files and folders seen; none of them is looked into.
    """

    root: Path
    names: pa.LargeBinaryArray
    others: pa.LargeBinaryArray
    other_kinds: pa.DictionaryArray
    unreadable: tuple[tuple[str, str], ...]
    n_hidden: int

    def __len__(self) -> int:
        return len(self.names)


def image_extensions() -> frozenset[str]:
    """The extensions of image files, lower case with their dot, as Python's own MIME table has them, and .webp.

    Only the library's table: the system's files would make the answer depend on the machine.
    """
    table = mimetypes.MimeTypes(filenames=()).types_map[True]
    return frozenset(ext.lower() for ext, kind in table.items() if kind.startswith("image/")) | {".webp"}


def discover(
    root: str | os.PathLike[str],
    *,
    extensions: Iterable[str] | None = None,
    recurse: bool = True,
    include: Iterable[str] | None = None,
    follow_symlinks: bool = False,
) -> Discovery:
    """List the image files below `root` by name, without opening any.

    extensions: what counts as an image, with dot, case ignored; default `image_extensions()`.
    recurse: False lists the files of `root` itself only.
    include: the top-level folders to list; files directly in `root` are then left out, hidden folders stay hidden.
    follow_symlinks: True follows a link whose target lies inside `root` and is no ancestor of the link.
    A folder that cannot be read is recorded in `unreadable`. Raises SourceError where `root` is missing, not a folder
    or unreadable, or an included folder is missing; UsageError for an extension that no file name can have.
    """
    listing = Listing([_checked_extension(ext) for ext in _checked_names(extensions, "extensions", image_extensions())])
    chosen = None if include is None else frozenset(_checked_names(include, "include", ()))
    if chosen is not None and not recurse:
        raise UsageError("include names folders, and recurse=False enters none", fix="leave out one of the two")
    walk = Walk(os.fspath(root), recurse=recurse, include=chosen, follow_symlinks=follow_symlinks)
    try:
        for run in walk.runs():
            listing.add(run)
    except OSError as error:
        raise _root_error(walk.root, error) from error
    listing.flush()
    return Discovery(
        root=Path(root),
        names=listing.images.to_arrow(),
        others=listing.others.to_arrow(),
        other_kinds=listing.kinds_to_arrow(),
        unreadable=tuple(walk.unreadable),
        n_hidden=walk.n_hidden,
    )


def _checked_names(given: Iterable[str] | None, option: str, default: Iterable[str]) -> list[str]:
    if isinstance(given, str):
        raise UsageError(f'{option} is the text "{given}", must be a list', where=option, fix=f'write ["{given}"]')
    return sorted(set(default if given is None else given))


def _checked_extension(extension: str) -> bytes:
    lower = extension.lower()
    if lower[:1] != "." or len(lower) < 2 or not lower.isascii() or any(sign in lower[1:] for sign in "./\0"):
        raise UsageError(
            f'the extension "{extension}" can match no file',
            where="extensions",
            fix='write a dot and the ASCII letters after the last dot of the name, such as ".jpg"',
        )
    return lower.encode("ascii")


def _root_error(root: str, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError("the source folder does not exist", where=root, fix="check the path for a typing error")
    if isinstance(error, NotADirectoryError):
        return SourceError("the source is not a folder", where=root, fix="give the folder that holds the images")
    return SourceError(
        f"the source folder cannot be read: {error.strerror}", where=root, fix="check its permissions, or copy it"
    )
