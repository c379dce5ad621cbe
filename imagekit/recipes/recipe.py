"""What a recipe is: frozen dataclasses that cannot hold a value that makes no sense.

A RecipeError raised here carries the key inside the recipe (`resize.quality` is raised by ResizeRule as `quality`);
`parse` puts the levels above in front of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Literal

from imagekit.errors import RecipeError, did_you_mean

LAYOUTS = ("split/class", "class")
LABELS = ("parent",)
MODES = ("none", "shortest")
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
FORMATS = ("jpeg", "png", "webp", "keep")
MAX_SIDE_PX = 65_535  # the most that a JPEG header can say

Size = int | Literal["full"]

# Ids become folder names: ASCII, so that no file system normalises them into another spelling.
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_TOML_TYPES = {
    "str": "string",
    "int": "integer",
    "bool": "boolean",
    "list": "array",
    "dict": "table",
    "datetime": "date-time",
    "NoneType": "null",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeRule:
    """How an image is made smaller and stored. `keep` stores in the format that the image came in."""

    mode: str = "shortest"
    filter: str = "bicubic"
    format: str = "jpeg"
    quality: int = 90
    background: str = "#ffffff"

    def __post_init__(self) -> None:
        _check_one_of("mode", self.mode, MODES)
        _check_one_of("filter", self.filter, FILTERS)
        _check_one_of("format", self.format, FORMATS)
        if not 1 <= self.quality <= 100:
            fix = "set quality = 90, or another whole number in that range"
            raise RecipeError(f"quality is {shown(self.quality)}, must be from 1 to 100", where="quality", fix=fix)
        if not _COLOUR.fullmatch(self.background):
            raise RecipeError(
                f"background is {shown(self.background)}, must be # and six hexadecimal digits",
                where="background",
                fix='set background = "#ffffff" for white, or delete the key',
            )

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """The background as red, green and blue, each 0..255."""
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue


@dataclass(frozen=True, kw_only=True, slots=True)
class HashSplit:
    """The fractions of `hash:V[,T]`: valid, test (0.0 for no test split); train is the rest."""

    valid: float
    test: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 < self.valid < 1.0 and 0.0 <= self.test < 1.0 and self.valid + self.test < 1.0):
            raise RecipeError(
                f"split asks for {self.valid:g} as valid and {self.test:g} as test, which leaves no train or no valid",
                where="split",
                fix='give fractions above 0 that add up to less than 1, such as split = "hash:0.2" or "hash:0.2,0.1"',
            )

    @classmethod
    def from_spec(cls, spec: str) -> HashSplit:
        """Read `hash:V[,T]`; RecipeError where V or T is no number, or there are more than two."""
        try:
            fractions = [float(part) for part in spec.removeprefix("hash:").split(",")]
        except ValueError:
            fractions = []
        if len(fractions) not in (1, 2):
            raise RecipeError(
                f"split is {shown(spec)}, must be hash:V or hash:V,T with V and T numbers",
                where="split",
                fix='write split = "hash:0.2" for a fifth as valid, "hash:0.2,0.1" for a tenth as test, too',
            )
        return cls(valid=fractions[0], test=fractions[-1] if len(fractions) == 2 else 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One table of datasets.toml: what a data set is, which classes it has, and how a subset of it is stored.

    sizes: "full" or the shortest side in pixels; classes: id -> readable name, in order, empty for every class.
    Raises RecipeError, its `where` the key, for a value that makes no sense.
    """

    name: str
    layout: str
    split: str
    title: str = ""
    version: str = "1"
    label: str = "parent"
    sizes: tuple[Size, ...] = ("full",)
    homepage: str = ""
    licence: str = ""
    resize: ResizeRule = field(default_factory=ResizeRule)
    classes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_id("recipe name", self.name, where=None)
        for key in ("title", "version", "homepage", "licence"):
            _check_line(key, getattr(self, key))
        if not self.version:
            raise RecipeError("version is empty", where="version", fix='set version = "1", or delete the key')
        _check_one_of("layout", self.layout, LAYOUTS)
        _check_one_of("label", self.label, LABELS)
        _check_split(self.split, layout=self.layout)
        _check_sizes(self.sizes, mode=self.resize.mode)
        _check_classes(self.classes)

    def to_dict(self) -> dict[str, object]:
        """The recipe as its table: plain types, every key, no name. `parse_recipe(name, ...)` gives it back."""
        table: dict[str, object] = asdict(self)
        del table["name"]
        table["sizes"] = list(self.sizes)
        return table

    def sha256(self) -> str:
        """Hex sha256 of name and table as canonical JSON (sorted keys, no spaces, ASCII): what it says, not how."""
        text = json.dumps({"name": self.name, "recipe": self.to_dict()}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def toml_type(value: object) -> str:
    """What TOML calls the type of a value."""
    return _TOML_TYPES.get(type(value).__name__, type(value).__name__)


def shown(value: object) -> str:
    """A value as an error shows it: quoted, at most 60 characters, nothing that a terminal would obey."""
    if isinstance(value, list | dict):
        return "[...]" if isinstance(value, list) else "{...}"
    if isinstance(value, int) and value.bit_length() > 128:  # str() refuses integers of more than 4300 digits
        return f"(an integer of {value.bit_length()} bits)"
    text = json.dumps(value, ensure_ascii=not value.isprintable()) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _check_one_of(key: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise RecipeError(f"{key} is {shown(value)}, which is not known", where=key, fix=did_you_mean(value, known))


def _check_line(key: str, value: str) -> None:
    if not value.isprintable():
        raise RecipeError(
            f"{key} is {shown(value)}, must be one line of printable characters",
            where=key,
            fix="take out line breaks, tabs and control characters",
        )


def _check_id(what: str, value: str, *, where: str | None) -> None:
    if not _ID.fullmatch(value):
        raise RecipeError(
            f"{what} {shown(value)} cannot be used as a folder name everywhere",
            where=where,
            fix="use 1 to 100 of the characters A-Z a-z 0-9 _ . - and begin with a letter or a digit",
        )


def _check_split(split: str, *, layout: str) -> None:
    if split.startswith("hash:"):
        HashSplit.from_spec(split)
    elif split not in ("folders", "none"):
        fix = did_you_mean(split, ("folders", "hash:V[,T]", "none"))
        raise RecipeError(f"split is {shown(split)}, which is not known", where="split", fix=fix)
    elif split == "folders" and layout == "class":
        raise RecipeError(
            'split is "folders", but layout "class" has no folder for each split',
            where="split",
            fix='set layout = "split/class", or split = "hash:0.2" or "none"',
        )


def _check_sizes(sizes: tuple[object, ...], *, mode: str) -> None:
    if not sizes:
        raise RecipeError("sizes is empty", where="sizes", fix='set sizes = ["full"], or delete the key')
    for i, size in enumerate(sizes):
        where = f"sizes[{i}]"
        # `type(...) is int`: True is an int to isinstance
        if size != "full" and not (type(size) is int and 1 <= size <= MAX_SIDE_PX):
            raise RecipeError(
                f'{where} is the {toml_type(size)} {shown(size)}, must be "full" or an integer from 1 to {MAX_SIDE_PX}',
                where=where,
                fix='list sizes as in sizes = ["full", 320, 160]: "full", or the shortest side in pixels',
            )
        if size in sizes[:i]:
            what = f"{where} is {shown(size)}, which sizes[{sizes.index(size)}] already is"
            raise RecipeError(what, where=where, fix="list every size once")
        if size != "full" and mode == "none":
            raise RecipeError(
                f'{where} is {size}, but resize.mode is "none"',
                where=where,
                fix='set resize.mode = "shortest", or keep only "full" in sizes',
            )


def _check_classes(classes: dict[str, str]) -> None:
    first_id: dict[str, str] = {}
    for class_id, name in classes.items():
        where = f"classes.{class_id if class_id.isprintable() else shown(class_id)}"
        _check_id("class id", class_id, where=where)
        if not name.strip() or not name.isprintable():
            raise RecipeError(
                f"the name of class {class_id} is {shown(name)}, must be one line of printable characters",
                where=where,
                fix=f'give the class a readable name, as in {class_id} = "golf ball"',
            )
        if name in first_id:
            raise RecipeError(
                f"the name of class {class_id} is {shown(name)}, which is also that of {first_id[name]}",
                where=where,
                fix="give every class a name of its own",
            )
        first_id[name] = class_id
