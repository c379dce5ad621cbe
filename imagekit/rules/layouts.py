"""How the images of a source lie in its folders: which names fit a layout, and which layout a source seems to have.

Detection reads names only and decides by the first of these rules that fits at least 95 % of the images:

1. Below split folders (train, val, ...: SPLIT_SYNONYMS): `split/class` where each of them holds class folders with the
   images in them; else `split/tree`, each split folder labelled by itself: by its class folders at any depth
   ("folder:2"), or by the one label table that lies in it, or beside it in the root (train.csv for train/; one that
   names no split for all). A split folder holds class folders when it has two subfolders or more; a single one counts
   unless it is called images or the like, or the split folder has a table of its own. test and unsup may stay without
   labels: for them, a single subfolder counts only where another split has it, too, and no table in the root does.
2. Images in the root or all in one folder, and exactly one label table in the root: `list`.
3. One folder for each class: `class`. A single folder of images without a table is one class.
4. Deeper trees without split folders: `tree`, labelled by the folder that each image lies in.

A label table is a file *.csv, *.tsv, *.parquet, or where there is none of these *.txt; README, LICENSE and their like
are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import LabelError, SourceError, did_you_mean
from imagekit.rules.splitters import SPLIT_SYNONYMS

Mask = npt.NDArray[np.bool_]

FITTING_SHARE = 0.95
BATCH_ROWS = 65_536
_SPLIT_FOLDER = f"(?i:{'|'.join(SPLIT_SYNONYMS)})/"
# RE2 on binary: a byte is a sign, so names that are not UTF-8 fit like others
_PATTERNS = {
    "class": r"\A[^/]+/[^/]+\z",
    "split/class": rf"\A{_SPLIT_FOLDER}[^/]+/[^/]+\z",
    "tree": "/",
    "split/tree": rf"\A{_SPLIT_FOLDER}",
    "flat": r"\A[^/]+\z",
    "list": "",
}
LAYOUTS = tuple(_PATTERNS)
_TABLE = r"(?i)\.(csv|tsv|txt|parquet)\z"
_NO_TABLE = r"(?i)(\A|/)(readme|licen[cs]e|copying|notice|changelog|requirements)[^/]*\z"
_PLAIN_FOLDERS = frozenset((b"images", b"image", b"imgs", b"img", b"jpegimages", b"photos", b"pictures", b"files"))
_MAY_LACK_LABELS = ("test", "unsup")
_WHERE = 'layout = "auto"'
_SHOWN = 8
_CLASS_FOLDERS = "folder:2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Detected:
    """What a source seems to be, in the spelling of a recipe.

    label: a rule, or split folder -> rule (folders that are not listed have no labels); why: one line for the screen;
    table: the first table file that the label rules name, relative to the source.
    """

    layout: str
    label: str | dict[str, str]
    split: str
    why: str
    table: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _SplitFolder:
    """One split folder as it is spelt, how many images it holds, and the rule that labels them (None: no labels)."""

    name: str
    split: str
    n_images: int
    label: str | None


def fits_layout(names: pa.LargeBinaryArray, layout: str) -> Mask:
    """True for each name that lies where the layout says; bool[n].

    names: relative POSIX paths as raw bytes. "class": folder/file; "split/class": split folder/folder/file, split
    folders by SPLIT_SYNONYMS in any case; "tree": in any folder; "split/tree": anywhere below a split folder; "flat":
    in no folder; "list": everywhere. Raises LabelError for another layout.
    """
    if layout not in _PATTERNS:
        raise LabelError(f'the layout "{layout}" is not known', where="layout", fix=did_you_mean(layout, _PATTERNS))
    if layout == "list":
        return np.ones(len(names), dtype=np.bool_)
    return _matches(names, _PATTERNS[layout])


def detect_layout(names: pa.LargeBinaryArray, others: pa.LargeBinaryArray) -> Detected:
    """The layout, label and split rule of a source, by the rules of this module.

    names: the images; others: the files that are no images, among which label tables are looked for; both relative
    POSIX paths as raw bytes. Raises SourceError where no layout fits, LabelError where nothing gives the labels.
    """
    if not len(names):
        raise SourceError("there is no image to tell the layout by", where=_WHERE, fix="point at a folder of images")
    tables = others.filter(_matches_arrow(others, _TABLE))
    tables = tables.filter(pc.invert(_matches_arrow(tables, _NO_TABLE)))
    if _fits(names, "split/tree"):
        return _detect_splits(names, tables)
    in_root = tables.filter(_matches_arrow(tables, _PATTERNS["flat"]))
    is_flat = _fits(names, "flat")
    if is_flat or (_fits(names, "class") and _n_folders(names, "class") == 1):
        table = _sole(in_root)
        if table:
            place = "in the root" if is_flat else "in one folder"
            why = f"layout list: {_images(len(names))} {place}, labels from {table}"
            return Detected(layout="list", label=f"table:{table}", split="none", why=why, table=table)
    if is_flat:
        raise _no_labels(f"the {_images(len(names))} directly in the root", in_root)
    return _detect_folders(names)


def _detect_folders(names: pa.LargeBinaryArray) -> Detected:
    """A layout without split folders: class, else tree."""
    one_down = rf"\A[^/]+/{_SPLIT_FOLDER}"
    if _share(names, one_down) >= FITTING_SHARE:
        first = _text(_firsts(_filtered(names, _matches_arrow(names, one_down)))[0])
        raise SourceError(
            f"the split folders lie one folder down, in {first}/",
            where=_WHERE,
            fix=f'point at {first}, or write a recipe with layout = "tree", a label rule and a split rule',
        )
    few_in_splits = _share(names, _PATTERNS["split/tree"]) <= 1 - FITTING_SHARE
    for layout, kind in (("class", "class folder"), ("tree", "folder")):
        if _fits(names, layout) and (layout == "class" or few_in_splits):
            n_inside, n_folders = int(fits_layout(names, layout).sum()), _n_folders(names, layout)
            why = f"layout {layout}: {_images(n_inside)} in {n_folders:,} {kind}{'' if n_folders == 1 else 's'}"
            return Detected(layout=layout, label="parent", split="none", why=why + _elsewhere(len(names) - n_inside))
    raise SourceError(
        f"no layout fits 95 % of the {len(names):,} images: {_where_they_lie(names)}",
        where=_WHERE,
        fix='point at one of these folders, or write a recipe with layout = "tree" and a label rule',
    )


def _detect_splits(names: pa.LargeBinaryArray, tables: pa.LargeBinaryArray) -> Detected:
    """A layout with split folders, each labelled by itself."""
    inside = _filtered(names, _matches_arrow(names, _PATTERNS["split/tree"]))
    folders = [_split_folder(inside, tables, first=first, split=split) for split, first in _splits_in(inside)]
    unlabelled = [folder for folder in folders if folder.label is None and folder.split not in _MAY_LACK_LABELS]
    if unlabelled or all(folder.label is None for folder in folders):
        folder = (unlabelled or folders)[0]
        raise _no_labels(f"the {_images(folder.n_images)} in {folder.name}/", tables)
    split = "folders" if len({folder.split for folder in folders}) > 1 else "none"
    rest = _elsewhere(len(names) - len(inside))
    rules = {folder.label for folder in folders}
    if rules == {_CLASS_FOLDERS} and _fits(names, "split/class"):
        n_inside = int(fits_layout(names, "split/class").sum())
        why = f"layout split/class: {_told(folders, with_labels=False)}{_elsewhere(len(names) - n_inside)}"
        return Detected(layout="split/class", label="parent", split=split, why=why)
    labels = {folder.name: folder.label for folder in folders if folder.label is not None}
    return Detected(
        layout="split/tree",
        label=labels if len(rules) > 1 else next(iter(labels.values())),
        split=split,
        why=f"layout split/tree: {_told(folders, with_labels=True)}{rest}",
        table=next((rule.removeprefix("table:") for rule in labels.values() if rule.startswith("table:")), None),
    )


def _splits_in(inside: pa.LargeBinaryArray) -> list[tuple[str, bytes]]:
    """(split, folder as it is spelt) in the order train, valid, test, unsup, then by spelling."""
    order = list(dict.fromkeys(SPLIT_SYNONYMS.values()))
    found = [(SPLIT_SYNONYMS[_text(first).lower()], first) for first in _firsts(inside)]
    return sorted(found, key=lambda pair: (order.index(pair[0]), pair[1]))


def _split_folder(
    inside: pa.LargeBinaryArray, tables: pa.LargeBinaryArray, *, first: bytes, split: str
) -> _SplitFolder:
    rows = _filtered(inside, pc.starts_with(inside, pattern=first + b"/"))
    nested = _filtered(rows, _matches_arrow(rows, r"\A[^/]+/[^/]+/"))
    # "train/n1/a.jpg" -> "train/n1/"
    subfolders = _distinct(nested, r"(?s)\A([^/]+/[^/]+/).*\z", r"\1")
    name = _text(first)
    table = _table_in(tables, first)
    if 2 * len(nested) < len(rows) or len(subfolders) == 0:
        is_classes = False
    elif len(subfolders) > 1:
        is_classes = True
    else:
        sole: bytes = subfolders[0].as_py().removeprefix(first)
        is_classes = table is None and sole.strip(b"/").lower() not in _PLAIN_FOLDERS
        if split in _MAY_LACK_LABELS:  # test/unknown/ is no class that train/ lacks
            is_classes &= _count(inside, rf"\A[^/]+{_quoted(sole)}") > len(nested)
    label = _CLASS_FOLDERS if is_classes else None
    if label is None:
        # a test.csv in the root often lists the images without their labels
        table = table or (None if split in _MAY_LACK_LABELS else _table_beside(tables, name))
        label = table and f"table:{table}"
    return _SplitFolder(name=name, split=split, n_images=len(rows), label=label)


def _table_in(tables: pa.LargeBinaryArray, folder: bytes) -> str | None:
    """The one label table in the folder, else the one anywhere below it."""
    below = tables.filter(pc.starts_with(tables, pattern=folder + b"/"))
    right_in = below.filter(_matches_arrow(below, r"\A[^/]+/[^/]+\z"))
    return _sole(right_in) or _sole(below)


def _table_beside(tables: pa.LargeBinaryArray, folder: str) -> str | None:
    """The table in the root with the folder's name as a word (train_labels.csv), else the one that names no split."""
    in_root = tables.filter(_matches_arrow(tables, _PATTERNS["flat"]))
    named = in_root.filter(_matches_arrow(in_root, rf"(?i)(\A|[^a-z]){folder}[^a-z]"))
    if len(named):
        return _sole(named)
    words = "|".join(SPLIT_SYNONYMS)
    return _sole(in_root.filter(pc.invert(_matches_arrow(in_root, rf"(?i)(\A|[^a-z])({words})[^a-z]"))))


def _sole(tables: pa.LargeBinaryArray) -> str | None:
    """The only table, *.txt counting only where there is no other; None for none, several, or one no rule can name."""
    is_text = _matches_arrow(tables, r"(?i)\.txt\z")
    others = tables.filter(pc.invert(is_text))
    chosen = others if len(others) else tables
    name = _text(chosen[0].as_py()) if len(chosen) == 1 else ""
    # a colon would end the file name in "table:FILE:PATH:LABEL"; TOML holds no surrogates
    return name if name.isprintable() and ":" not in name and name else None


def _no_labels(images: str, tables: pa.LargeBinaryArray) -> LabelError:
    names = [_text(raw) for raw in tables.slice(0, _SHOWN).to_pylist()]
    more = ", ..." if len(tables) > _SHOWN else ""
    found = f"several tables are at hand: {', '.join(names)}{more}" if len(names) > 1 else "no table lists them"
    if len(names) == 1:
        found = f"the table at hand is {names[0]}"
    return LabelError(
        f"nothing tells the labels of {images}: they lie in no class folders, and {found}",
        where=_WHERE,
        fix='write a recipe with label = "table:FILE", label = "name:REGEX" or label = "folder:N"',
    )


def _told(folders: Sequence[_SplitFolder], *, with_labels: bool) -> str:
    parts: list[str] = []
    for folder in folders:
        count = f"{folder.n_images:,}" if parts else _images(folder.n_images)
        labels = f", labels from {folder.label}" if folder.label else ", no labels"
        parts.append(f"{folder.name}/ ({count}{labels if with_labels else ''})")
    return ", ".join(parts)


def _where_they_lie(names: pa.LargeBinaryArray) -> str:
    nested = names.filter(_matches_arrow(names, "/"))
    counts = pc.value_counts(_replace(nested, r"(?s)/.*\z", ""))
    pairs = sorted((-row["counts"].as_py(), row["values"].as_py()) for row in counts)
    parts = [f"{_text(folder)}/ ({-count:,})" for count, folder in pairs[:_SHOWN]]
    n_in_root = len(names) - len(nested)
    root = [f"directly in the root ({n_in_root:,})"] if n_in_root else []
    return ", ".join(root + parts) + (", ..." if len(pairs) > _SHOWN else "")


def _elsewhere(n_images: int) -> str:
    return f"; {_images(n_images)} elsewhere" if n_images else ""


def _images(n: int) -> str:
    return f"{n:,} image{'' if n == 1 else 's'}"


def _n_folders(names: pa.LargeBinaryArray, layout: str) -> int:
    """How many folders hold the images that fit the layout."""
    fitting = _filtered(names, _matches_arrow(names, _PATTERNS[layout]))
    return len(_distinct(fitting, r"/[^/]*\z", ""))


def _firsts(names: pa.LargeBinaryArray) -> list[bytes]:
    """The distinct first folders of names that all have one, sorted."""
    firsts: list[bytes] = _distinct(names, r"(?s)/.*\z", "").to_pylist()
    return sorted(firsts)


def _fits(names: pa.LargeBinaryArray, layout: str) -> bool:
    return _share(names, _PATTERNS[layout]) >= FITTING_SHARE


def _share(names: pa.LargeBinaryArray, pattern: str) -> float:
    return _count(names, pattern) / len(names)


def _count(names: pa.LargeBinaryArray, pattern: str) -> int:
    return int(np.count_nonzero(_matches(names, pattern)))


def _matches(names: pa.LargeBinaryArray, pattern: str) -> Mask:
    mask: Mask = np.array(_matches_arrow(names, pattern).to_numpy(zero_copy_only=False), dtype=np.bool_)
    return mask


def _matches_arrow(names: pa.LargeBinaryArray, pattern: str) -> pa.BooleanArray:
    return pc.match_substring_regex(names, pattern)


def _filtered(names: pa.LargeBinaryArray, mask: pa.BooleanArray) -> pa.LargeBinaryArray:
    return names if mask.true_count == len(names) else names.filter(mask)  # most often all: no copy of a million names


def _distinct(names: pa.LargeBinaryArray, pattern: str, replacement: str) -> pa.LargeBinaryArray:
    """The distinct results of a replacement, made in batches: a million names are not copied to find ten folders."""
    starts = range(0, len(names), BATCH_ROWS)
    parts = [pc.unique(_replace(names.slice(start, BATCH_ROWS), pattern, replacement)) for start in starts]
    return pc.unique(pa.concat_arrays([names.slice(0, 0), *parts]))


def _replace(names: pa.LargeBinaryArray, pattern: str, replacement: str) -> pa.LargeBinaryArray:
    return pc.replace_substring_regex(names, pattern=pattern, replacement=replacement)


def _quoted(raw: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in raw)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
