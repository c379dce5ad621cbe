"""A manifest seen with another column as its target, another fold as its validation set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from trees import draw_image

from imagekit.errors import ManifestError
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.manifest.views import n_without_target, view, with_fold, with_target

KINDS = ("cat", "dog")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve images of two kinds, and a table of their sizes and colours, three sizes left out."""
    root = tmp_path_factory.mktemp("views") / "pictures"
    lines = ["path,kind,size,colour"]
    for number in range(12):
        name = f"{KINDS[number % 2]}/{number}.png"
        draw_image(root / name, KINDS[number % 2], seed=number)
        size = "" if number >= 9 else ("large", "small", "tiny")[number % 3]
        lines.append(f"{name},{KINDS[number % 2]},{size},{'red' if number % 4 else 'blue'}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root


def build(root: Path, output: Path, **options: object) -> Manifest:
    return read_manifest(build_manifest(root, output=output, options=ManifestOptions(**options), n_workers=1).output)


def values(manifest: Manifest, column: str) -> list[object]:
    return manifest.table[column].to_pylist()


def test_one_of_several_label_columns_is_the_target(root, tmp_path):
    two = build(root, tmp_path / "two.parquet", label="table:table.csv:path:kind,colour", split="hash:0.3")

    seen = with_target(two, "colour")

    assert (seen.vocab, seen.metadata.class_names, seen.metadata.label_columns) == (("blue", "red"),) * 2 + ((),)
    colours = [labels[1] for labels in values(two, "labels")]
    assert values(seen, "label") == colours
    assert [seen.vocab[target] for target in values(seen, "target")] == colours
    assert values(seen, "split") == values(two, "split")
    assert seen.metadata.rows_sha256 == two.metadata.rows_sha256


def test_rows_without_a_value_leave_their_split(root, tmp_path):
    table, process = root / "table.csv", ("size:category",)
    whole = build(root, tmp_path / "m.parquet", columns=table, process=process, split="random:0.25")

    seen = with_target(whole, "size")

    assert seen.vocab == ("large", "small", "tiny")
    assert Counter(values(seen, "split"))["unsup"] == 3 == n_without_target(whole, seen)
    assert all((target is None) == (split == "unsup")
               for target, split in zip(values(seen, "target"), values(seen, "split"), strict=True))  # fmt: skip
    assert with_target(whole, "size_target").table.equals(seen.table)
    assert with_target(whole, "label").table.to_pydict() == whole.table.to_pydict()


def test_a_noisy_column_has_the_classes_of_the_labels(root, tmp_path):
    noisy = build(root, tmp_path / "n.parquet", noise=(50.0,), split="random:0.25")

    seen = view(noisy, target_column="noisy_50")

    changed = [a != b for a, b in zip(values(seen, "target"), values(noisy, "target"), strict=True)]
    assert seen.vocab == KINDS
    assert [seen.vocab[target] for target in values(seen, "target")] == values(noisy, "noisy_50")
    assert sum(changed) == round(0.5 * values(noisy, "split").count("train"))


def test_a_fold_is_validated_on_with_the_statistics_of_the_others(root, tmp_path):
    folds = build(root, tmp_path / "f.parquet", split="kfold:3")

    seen = view(folds, fold=2)

    assert values(seen, "split") == ["valid" if fold == 2 else "train" for fold in values(folds, "fold")]
    assert seen.metadata.stats == folds.metadata.fold_stats[2] != folds.metadata.stats
    assert with_fold(folds, 0).table.to_pydict() == folds.table.to_pydict()


def test_a_row_without_a_target_comes_back_with_no_fold(root, tmp_path):
    table, process = root / "table.csv", ("size:category",)
    folds = build(root, tmp_path / "b.parquet", columns=table, process=process, split="kfold:3")

    seen = view(folds, target_column="size", fold=1)

    assert Counter(values(seen, "split"))["unsup"] == 3


def test_a_column_that_cannot_be_learnt_names_those_that_can(root, tmp_path):
    table, process = root / "table.csv", ("size:category",)
    whole = build(root, tmp_path / "m.parquet", columns=table, process=process, split="random:0.25")

    with pytest.raises(ManifestError) as caught:
        with_target(whole, "sizes")

    assert str(caught.value) == (
        f'no column "sizes" can be learnt\n  where: {tmp_path / "m.parquet"}\n'
        '  fix: did you mean "size"? known: label, size, size_target'
    )


def test_a_fold_that_is_not_there_is_said(root, tmp_path):
    folds = build(root, tmp_path / "f.parquet", split="kfold:3")
    plain = build(root, tmp_path / "p.parquet", split="random:0.25")

    with pytest.raises(ManifestError) as too_high:
        with_fold(folds, 3)
    with pytest.raises(ManifestError) as none_at_all:
        with_fold(plain, 0)

    assert str(too_high.value) == (
        f"the manifest has folds 0 to 2, not fold 3\n  where: {tmp_path / 'f.parquet'}\n  fix: choose one of them"
    )
    assert str(none_at_all.value) == (
        f"the manifest has no folds, not fold 0\n  where: {tmp_path / 'p.parquet'}\n"
        "  fix: build it with --split kfold:5, say"
    )
