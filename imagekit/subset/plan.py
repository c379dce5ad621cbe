"""Decide what becomes of every file of a source, before any pixel is read.

Pure but for its input: a Discovery in, a Plan out. A verdict is an index into `Plan.rules`; 0 means selected.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from imagekit.errors import SourceError, SplitError, did_you_mean
from imagekit.files.discover import Discovery
from imagekit.files.names import display_name
from imagekit.recipes.recipe import HashSplit, Recipe
from imagekit.rules.choosing import choose_classes, missing_classes
from imagekit.rules.labelers import make_labeler
from imagekit.rules.outcomes import BadFile
from imagekit.rules.splitters import SPLIT_SYNONYMS, hash_splits, make_splitter

SELECTED = 0
OUTSIDE_LAYOUT = 1
NOT_CHOSEN = 2
RULES = ("selected", "outside-layout", "class-not-in-recipe")
BATCH_ROWS = 65_536
MAX_NAME_BYTES = 255
JPEG, PNG, WEBP = (".jpg", ".jpeg", ".jpe", ".jfif"), (".png",), (".webp",)
# which extensions may stay; the first is given to every other name. "bytes": nothing is encoded, every name stays
EXTENSIONS = {"jpeg": JPEG, "png": PNG, "webp": WEBP, "keep": (*PNG, *JPEG, *WEBP)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """One source image and where it goes; both names are raw bytes relative to their roots."""

    name: bytes
    out_name: bytes
    label: str
    split: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What becomes of every file that discovery found."""

    names: pa.LargeBinaryArray
    verdicts: np.ndarray[tuple[int], np.dtype[np.int8]]
    selected: tuple[Selected, ...]
    bad_files: tuple[BadFile, ...]
    bad_names: tuple[bytes, ...] = field(default=())
    others: tuple[tuple[bytes, str], ...] = ()

    def digest(self) -> str:
        """Equal for equal names and verdicts; tells a rerun whether the source still looks the same."""
        digest = hashlib.sha256(self.verdicts.tobytes())
        for buffer in self.names.buffers()[1:]:
            digest.update(buffer)
        digest.update(repr((self.others, self.selected, self.bad_names)).encode())
        return digest.hexdigest()


def plan_subset(discovery: Discovery, recipe: Recipe, *, out_format: str) -> Plan:
    """Apply the recipe's layout, classes and split to every discovered name.

    out_format: "bytes" (nothing is re-encoded), "keep", "jpeg", "png" or "webp": decides the extension.
    Raises SourceError when no image lies where the layout says or a class of the recipe has none, SplitError when the
    recipe's split would leave train or valid empty.
    """
    verdicts = np.zeros(len(discovery), dtype=np.int8)
    chosen: list[tuple[bytes, str, str]] = []  # raw name, display name, label
    found_labels: set[str] = set()
    for start, names in _batches(discovery.names):
        shown = [display_name(name) for name in names]
        inside = [_fits_layout(name, recipe.layout) for name in shown]
        fitting = [name for name, fits in zip(shown, inside, strict=True) if fits]
        labels = iter(make_labeler(recipe.label)(fitting))
        batch_labels = [next(labels) if fits else None for fits in inside]
        found_labels.update(label for label in batch_labels if label is not None)
        takes = choose_classes(batch_labels, recipe.classes)
        verdicts[start : start + len(names)] = [
            OUTSIDE_LAYOUT if not fits else (SELECTED if take else NOT_CHOSEN)
            for fits, take in zip(inside, takes, strict=True)
        ]
        chosen += [
            (name, text, label)
            for name, text, label, take in zip(names, shown, batch_labels, takes, strict=True)
            if take and label is not None
        ]
    _require_classes(discovery, recipe, found_labels)
    selected, bad_files, bad_names = _place(chosen, recipe, out_format=out_format)
    return Plan(
        names=discovery.names,
        verdicts=verdicts,
        selected=selected,
        bad_files=bad_files,
        bad_names=bad_names,
        others=tuple(zip(discovery.others.to_pylist(), discovery.other_kinds.to_pylist(), strict=True)),
    )


def _batches(names: pa.LargeBinaryArray) -> Iterator[tuple[int, list[bytes]]]:
    for start in range(0, len(names), BATCH_ROWS):
        yield start, names.slice(start, BATCH_ROWS).to_pylist()


def _fits_layout(name: str, layout: str) -> bool:
    folders = name.count("/")
    if layout == "class":
        return folders == 1
    return folders == 2 and name[: name.index("/")].lower() in SPLIT_SYNONYMS


def _require_classes(discovery: Discovery, recipe: Recipe, found: set[str]) -> None:
    if not found:
        tops = sorted({name.split(b"/")[0] for name in discovery.names[:BATCH_ROWS].to_pylist()})[:8]
        raise SourceError(
            f"no image lies in {recipe.layout}/file, the layout of recipe {recipe.name}",
            where=f"{discovery.root} holds {', '.join(display_name(top) for top in tops)}",
            fix="point at the folder that holds train/ and val/"
            if recipe.layout == "split/class"
            else "point at the folder that holds the class folders",
        )
    missing = missing_classes(found, recipe.classes)
    if missing:
        listed = ", ".join(f"{name} ({recipe.classes[name]})" for name in missing[:5])
        raise SourceError(
            f"{len(missing)} of the {len(recipe.classes)} classes of recipe {recipe.name} have no image: {listed}",
            where=str(discovery.root),
            fix=f"the source is another data set or incomplete; {did_you_mean(missing[0], found)}",
        )


def _place(
    chosen: Sequence[tuple[bytes, str, str]], recipe: Recipe, *, out_format: str
) -> tuple[tuple[Selected, ...], tuple[BadFile, ...], tuple[bytes, ...]]:
    """Give every chosen image its place in the subset; a clash or an impossible name goes to quarantine."""
    try:
        splits = _splits(chosen, recipe)
    except SplitError as error:  # the splitter knows the command's options, not that a recipe chose it
        raise SplitError(
            error.what,
            where=f'recipe {recipe.name}: split = "{recipe.split}"',
            fix="complete the source, or give another split in a recipe of your own (--recipes FILE)",
        ) from error
    taken: dict[str, str] = {}
    selected, bad_files, bad_names = [], [], []
    for (name, shown, label), split in zip(chosen, splits, strict=True):
        out_name = _out_name(name, label, split, recipe=recipe, out_format=out_format)
        key = unicodedata.normalize("NFC", display_name(out_name)).casefold()
        first = taken.setdefault(key, shown)
        if first is not shown:
            detail = f"would overwrite {first} on a file system that folds case"
            bad_files.append(BadFile(file_name=shown, reason="path-collision", detail=detail))
            bad_names.append(name)
        elif max(map(len, out_name.split(b"/"))) > MAX_NAME_BYTES:
            detail = f"the name is longer than {MAX_NAME_BYTES} bytes once it ends in the output's extension"
            bad_files.append(BadFile(file_name=shown, reason="path-too-long", detail=detail))
            bad_names.append(name)
        else:
            selected.append(Selected(name=name, out_name=out_name, label=label, split=split))
    return tuple(selected), tuple(bad_files), tuple(bad_names)


def _splits(chosen: Sequence[tuple[bytes, str, str]], recipe: Recipe) -> Sequence[str | None]:
    if recipe.split == "none":
        return [None] * len(chosen)
    if recipe.split == "folders":
        return make_splitter("folders", seed=0)([shown for _, shown, _ in chosen])
    # keyed by class and file, so that a row keeps its split wherever the source's own split folders put it
    fractions = HashSplit.from_spec(recipe.split)
    keys = [f"{label}/{shown.rsplit('/', 1)[1]}" for _, shown, label in chosen]
    return hash_splits(keys, valid=fractions.valid, test=fractions.test, salt=recipe.name)


def _out_name(name: bytes, label: str, split: str | None, *, recipe: Recipe, out_format: str) -> bytes:
    folder, file = name.rsplit(b"/", 1)
    if recipe.split.startswith("hash:") and split is not None:
        folder = split.encode() + b"/" + folder.rsplit(b"/", 1)[-1]
    elif recipe.split == "none":
        folder = folder.rsplit(b"/", 1)[-1]
    extensions = EXTENSIONS.get(out_format)
    stem, dot, extension = file.rpartition(b".")
    if extensions is None or "." + extension.decode(errors="replace").lower() in extensions:
        return folder + b"/" + file
    return folder + b"/" + (stem if dot else file) + extensions[0].encode()
