"""Which images of a source a subset takes: the table `choose` of a recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagekit.errors import RecipeError
from imagekit.recipes.checks import check_count, check_fraction, check_inside, check_one_of, shown

IMAGE_FORMATS = ("bmp", "gif", "jpeg", "png", "tiff", "webp")
ENTRY_KEYS = ("classes", "include", "deny")

_HERE = re.compile(r"\A(?:\./+)+")  # as `find .` writes in front of every path
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChooseRule:
    """Which images are taken; the default takes every one.

    classes: ids, readable names, or globs of ids. fraction, per_class: a share of the images, and at most so many of
    each class, both by a hash of path and seed. include, deny: relative POSIX paths or globs of them, or the sha256 of
    a file as 64 hexadecimal digits (kept in lower case); a leading "./" is dropped. min_side: pixels; max_aspect: the
    longest side over the shortest; formats: what files are, whatever they are called.
    Raises RecipeError, its `where` the key, for a value that makes no sense.
    """

    classes: tuple[str, ...] = ()
    fraction: float = 1.0
    per_class: int | None = None
    seed: int = 0
    include: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    min_side: int | None = None
    max_aspect: float | None = None
    formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("include", "deny"):
            object.__setattr__(self, key, tuple(map(_normal, getattr(self, key))))
        for key in ENTRY_KEYS:
            for i, entry in enumerate(getattr(self, key)):
                check_entry(f"{key}[{i}]", entry, where=f"{key}[{i}]")
        check_fraction(self.fraction)
        check_count("seed", self.seed, least=0)
        if self.per_class is not None:
            check_count("per_class", self.per_class, least=1)
        if self.min_side is not None:
            check_count("min_side", self.min_side, least=1, most=2**31 - 1)
        _check_aspect(self.max_aspect)
        for i, name in enumerate(self.formats):
            check_one_of(f"formats[{i}]", name, IMAGE_FORMATS)

    def needs_content(self) -> bool:
        """Whether names alone do not decide: a file has to be opened, or read as a whole for its sha256."""
        by_hash = any(is_sha256(entry) for entry in (*self.include, *self.deny))
        return by_hash or self.min_side is not None or self.max_aspect is not None or bool(self.formats)


def is_sha256(entry: str) -> bool:
    """Whether an entry of include or deny is the hash of a file, not a path."""
    return _SHA256.fullmatch(entry) is not None


def check_entry(what: str, entry: str, *, where: str) -> None:
    """Refuse an entry of classes, include or deny that names a file of entries or leaves the source.

    what: how the error calls it.
    """
    if entry.startswith("@"):
        raise RecipeError(
            f"{what} is {shown(entry)}, but only a recipes file can name a file of entries",
            where=where,
            fix='list the entries themselves; where a name begins with @, write "[@]" for it',
        )
    check_inside(what, entry, where=where)


def _normal(entry: str) -> str:
    return entry.lower() if is_sha256(entry) else _HERE.sub("", entry)


def _check_aspect(aspect: float | None) -> None:
    if aspect is not None and not 1.0 <= aspect < float("inf"):
        raise RecipeError(
            f"max_aspect is {shown(aspect)}, must be a number of at least 1",
            where="max_aspect",
            fix="set max_aspect = 3.0 to leave out what is over three times as long as wide, or delete the key",
        )
