"""The classes of a manifest: fitted on train, or kept as an older manifest has them. n rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.errors import LabelError, ManifestError, SplitError
from imagekit.manifest.like import OldRows
from imagekit.manifest.naming import Named
from imagekit.manifest.options import ManifestOptions
from imagekit.manifest.processors import CategoryProcessor
from imagekit.manifest.read import Manifest
from imagekit.manifest.rows import as_dictionary, take_coded, unlabel
from imagekit.manifest.schema import REBUILD
from imagekit.recipes.recipe import Recipe
from imagekit.rules.columns import Coded

Mask = npt.NDArray[np.bool_]


def check_labels(named: Named, options: ManifestOptions, old: Manifest | None, *, where: str) -> None:
    """Ask of the names alone what is asked of the rows later: reading a million images first would be a pity.

    Raises LabelError for labels that train does not have, and what `categories` raises.
    """
    rows = named.selected()
    labels = [take_coded(coded, rows) for coded in named.labels]
    if old is not None and named.splits is None:  # what was without labels stays so, whatever its folder is called
        is_unsup = OldRows.find(old, named.names.shown.take(pa.array(rows))).is_unsup()
        labels = [unlabel(coded, is_unsup) for coded in labels]
    is_train = np.zeros(len(rows), np.bool_)
    if named.splits and "train" in named.splits.values:
        is_train = named.splits.codes[rows] == named.splits.values.index("train")
    if old is None and not is_train.any():
        return  # the splits are drawn when the images are known
    for coded, processor in zip(labels, categories(named, options, old, labels, is_train), strict=True):
        processor.encode(as_dictionary(coded), where=where)


def categories(
    named: Named, options: ManifestOptions, old: Manifest | None, labels: Sequence[Coded], is_train: Mask
) -> list[CategoryProcessor]:
    """The older manifest's vocabs, else fitted on train. labels: one for each label column; is_train: bool[n].

    Raises SplitError for an older manifest of other label columns, LabelError where train has no label.
    """
    if old is None:
        return fit_categories(labels, is_train, columns=named.label_columns, other_below=options.other_below)
    if old.metadata.label_columns != named.label_columns:
        then, now = (", ".join(columns) or "one label" for columns in (old.metadata.label_columns, named.label_columns))
        raise SplitError(
            f"the older manifest has {then}, this one {now}",
            where=f"--like {old.path}",
            fix="give the --label that the older one was built with",
        )
    columns = named.label_columns or ("label",)
    entries = {entry["column"]: entry for entry in old.metadata.processors if entry["name"] == CategoryProcessor.name}
    missing = [column for column in columns if column not in entries]
    if missing:
        raise ManifestError(f"nothing says how {missing[0]} was encoded", where=str(old.path), fix=REBUILD)
    return [CategoryProcessor.from_state(entries[column]["state"]) for column in columns]


def categories_told(named: Named, processors: Sequence[CategoryProcessor]) -> list[dict[str, Any]]:
    """What the metadata holds of them: one of `target`, or one of `targets` for each label column."""
    if not named.label_columns:
        return [processors[0].to_dict()]
    pairs = zip(named.label_columns, processors, strict=True)
    return [processor.to_dict() | {"column": column, "outputs": ["targets"]} for column, processor in pairs]


def vocab_told(
    named: Named, recipe: Recipe | None, old: Manifest | None, processors: Sequence[CategoryProcessor]
) -> dict[str, Any]:
    """vocab and class_names; empty where there are several, each with its own in `processors`."""
    if named.label_columns:
        return {"vocab": (), "class_names": ()}
    vocab = processors[0].vocab or ()
    names = dict(zip(old.vocab, old.metadata.class_names, strict=True)) if old else {}
    return {"vocab": vocab, "class_names": _class_names(vocab, recipe.classes if recipe else {}, names)}


def fit_categories(
    labels: Sequence[Coded], is_train: Mask, *, columns: Sequence[str], other_below: int
) -> list[CategoryProcessor]:
    """A vocab for each label column, fitted on its train rows. Raises LabelError where one has no label in train."""
    fitted = []
    for i, coded in enumerate(labels):
        train = as_dictionary(take_coded(coded, np.flatnonzero(is_train)))
        if columns and train.null_count == len(train):
            raise LabelError(
                f"no train row has a label in column {columns[i]}", where="--label", fix="name another column"
            )
        processor = CategoryProcessor(other_below=other_below)
        processor.fit_array(train)
        fitted.append(processor)
    return fitted


def _class_names(vocab: Sequence[str], names: Mapping[str, str], old: Mapping[str, str]) -> tuple[str, ...]:
    """A readable name for each class: the recipe's, else the older manifest's, else its own."""
    return tuple(names.get(label, old.get(label, label)) for label in vocab)
