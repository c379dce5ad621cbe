"""The images as OUT/<split>/<label>/<file>, the layout of torchvision's ImageFolder; unlabelled ones in OUT/unsup/.

torchvision numbers the classes of a folder by the sorted names of its subfolders. Where that differs from the targets
of the manifest, it is told: in a split that lacks a class, or under a vocab in another order.
Source: torchvision.datasets.folder.find_classes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import LabelError, UsageError
from imagekit.manifest.export_source import ExportSource, Placer, is_repeated, refuse_clashes
from imagekit.rules.paths import PathParts

SHOWN = 5
_LONGEST_NAME = 255
_SLASH = pa.scalar(b"/", pa.large_binary())


def write_imagefolder(source: ExportSource, folder: Path) -> tuple[str, ...]:
    """Fill the folder; tells how the images got there and which class numbers differ.

    Raises UsageError for several label columns, LabelError for a label that cannot be a folder, OutputError where two
    images would get one name.
    """
    _refuse_many_labels(source)
    _check_labels(source)
    targets = _targets(source)
    refuse_clashes(targets, source)
    placer = Placer(source=source, folder=folder)
    placer.place_all(targets)
    return (*placer.notes(), *_order_notes(source))


def _refuse_many_labels(source: ExportSource) -> None:
    columns = source.manifest.metadata.label_columns
    if columns:
        raise UsageError(
            f"the manifest has several label columns ({', '.join(columns)}), a folder has one name",
            where=str(source.manifest.path),
            fix="export it to hf, csv, croissant or webdataset, which keep the list of labels",
        )


def _check_labels(source: ExportSource) -> None:
    table, path = source.table, str(source.manifest.path)
    unlabelled = pc.and_(pc.is_null(table["label"]), pc.not_equal(table["split"].cast(pa.string()), "unsup"))
    if n := pc.sum(unlabelled).as_py():
        name = table["file_name"].filter(unlabelled)[0]
        raise LabelError(
            f"{n:,} {'row' if n == 1 else 'rows'} outside unsup without a label, the first is {name}",
            where=path,
            fix="build the manifest again with a --label rule that covers every image",
        )
    for label in pc.unique(table["label"]).drop_null().to_pylist():
        if label in ("", ".", "..") or "/" in label or "\0" in label or len(os.fsencode(label)) > _LONGEST_NAME:
            raise LabelError(
                f'the label "{label[:80]}" cannot be the name of a folder',
                where=path,
                fix="build the manifest again with other labels, or export it to hf or webdataset",
            )


def _targets(source: ExportSource) -> pa.LargeBinaryArray:
    """Where each image goes: its own name, all its folders joined into it where two would have one name."""
    raw, splits = source.raw_names(), source.by_split(source.folder_names())
    labels = pa.array(source.table["label"].cast(pa.large_binary()).combine_chunks(), pa.large_binary())
    folders = pc.binary_join_element_wise(splits, labels, _SLASH, null_handling="skip")
    short = pc.binary_join_element_wise(folders, PathParts.of(raw).files(), _SLASH)
    long = pc.binary_join_element_wise(folders, pc.replace_substring(raw, "/", "__"), _SLASH)
    return pc.if_else(pa.array(is_repeated(short)), long, short)


def _order_notes(source: ExportSource) -> list[str]:
    """A line for each split in whose folder ImageFolder numbers a class otherwise than the manifest does."""
    numbers, notes = {name: number for number, name in enumerate(source.manifest.vocab)}, []
    for split, folder in source.folder_names().items():
        labels = source.table["label"].take(pa.array(source.rows_of(split)))
        found = sorted(pc.unique(labels).drop_null().to_pylist())
        moved = next((number for number, name in enumerate(found) if numbers.get(name) != number), None)
        if moved is not None:
            theirs, ours = f"{found[moved]} is {moved} for ImageFolder", f"{numbers.get(found[moved])} in the manifest"
            notes.append(f"{folder}: {theirs}, {ours}{_lacking(list(numbers), found)}")
    return notes


def _lacking(vocab: list[str], found: list[str]) -> str:
    lacking = sorted(set(vocab) - set(found))
    listed = ", ".join(lacking[:SHOWN]) + (", ..." if len(lacking) > SHOWN else "")
    return f"; the folder has no image of {listed}" if lacking else "; it sorts the folder names"
