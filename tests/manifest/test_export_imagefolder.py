"""ImageFolder: the classes get the numbers of the manifest, and where they cannot, it is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from interop.manifests import PETS, Listing, lists, make_manifest

from imagekit.errors import LabelError, OutputError, UsageError
from imagekit.manifest.export import export_manifest


def image_folder(root: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """The classes and samples that torchvision's ImageFolder finds: find_classes and make_dataset, re-told."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    samples = [
        (str(Path(folder, name).relative_to(root)), number)
        for number, label in enumerate(classes)
        for folder, _, names in sorted(os.walk(root / label, followlinks=True))
        for name in sorted(names)
    ]
    return classes, samples


def export(tmp_path: Path, listing: Listing, **options: object) -> tuple[Path, list[str]]:
    path = make_manifest(tmp_path / "pets", listing, **options)  # type: ignore[arg-type]
    report = export_manifest(path, to="imagefolder", output=tmp_path / "o")
    return tmp_path / "o", [note for note in report.notes if "hard links" not in note]


def refused(tmp_path: Path, kind: type[Exception], listing: Listing, **options: object) -> str:
    with pytest.raises(kind) as caught:
        export(tmp_path, listing, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]
    return str(caught.value).replace(str(tmp_path), "TMP")


def test_classes_have_the_numbers_of_the_vocab(tmp_path: Path) -> None:
    output, notes = export(tmp_path, PETS)

    assert image_folder(output / "train") == (
        ["cat", "dog"],
        [("cat/-a.png", 0), ("cat/1.png", 0), ("dog/1.png", 1)],
    )
    assert image_folder(output / "valid") == (["cat", "dog"], [("cat/1.png", 0), ("dog/1.png", 1)])
    assert image_folder(output / "test")[0] == ["cat"]
    assert [path.name for path in (output / "unsup").iterdir()] == ["1.png"]
    assert notes == []


def test_two_files_of_one_name_get_their_folders_in_front(tmp_path: Path) -> None:
    output, _ = export(
        tmp_path, [("a/1.png", "train", "cat"), ("b/1.png", "train", "cat"), ("b/2.png", "train", "cat")]
    )

    assert sorted(path.name for path in (output / "train/cat").iterdir()) == ["2.png", "a__1.png", "b__1.png"]


def test_a_name_that_is_taken_even_so_is_refused(tmp_path: Path) -> None:
    rows = [("a/1.png", "train", "cat"), ("a__1.png", "train", "cat"), ("b/1.png", "train", "cat")]

    assert refused(tmp_path, OutputError, rows) == (
        "path-collision: a/1.png and a__1.png would both become train/cat/a__1.png\n"
        "  where: TMP/pets/rows.parquet\n"
        "  fix: rename one of them and build the manifest again"
    )


@pytest.mark.parametrize("label", ["", ".", "..", "a/b", "a\0b", "x" * 256])
def test_a_label_that_is_no_name_of_a_folder_is_refused(tmp_path: Path, label: str) -> None:
    rows = [("1.png", "train", label), ("2.png", "train", "..."), ("3.png", "train", "x" * 255)]

    assert refused(tmp_path, LabelError, rows, vocab=sorted(["...", "x" * 255, label])) == (
        f'the label "{label[:80]}" cannot be the name of a folder\n'
        "  where: TMP/pets/rows.parquet\n"
        "  fix: build the manifest again with other labels, or export it to hf or webdataset"
    )


def test_odd_labels_that_are_names_of_folders_are_kept(tmp_path: Path) -> None:
    labels = ["...", "a\\b", "x" * 255, "ü é"]
    output, _ = export(tmp_path, [(f"{i}.png", "train", label) for i, label in enumerate(labels)], vocab=labels)

    assert image_folder(output / "train")[0] == labels


def test_a_row_without_a_label_is_refused_outside_unsup(tmp_path: Path) -> None:
    rows = [("1.png", "train", "cat"), ("2.png", "train", None), ("3.png", "valid", None), ("4.png", "unsup", None)]

    assert refused(tmp_path, LabelError, rows) == (
        "2 rows outside unsup without a label, the first is 2.png\n"
        "  where: TMP/pets/rows.parquet\n"
        "  fix: build the manifest again with a --label rule that covers every image"
    )


def test_several_label_columns_are_refused_by_name(tmp_path: Path) -> None:
    columns = {"labels": lists([["cat", "night"]])}

    said = refused(tmp_path, UsageError, [("1.png", "train", None)], columns=columns, label_columns=("pet", "time"))

    assert said == (
        "the manifest has several label columns (pet, time), a folder has one name\n"
        "  where: TMP/pets/rows.parquet\n"
        "  fix: export it to hf, csv, croissant or webdataset, which keep the list of labels"
    )


def test_a_split_that_lacks_a_class_is_said(tmp_path: Path) -> None:
    rows = [("1.png", "train", "cat"), ("2.png", "train", "dog"), ("3.png", "valid", "dog"), ("4.png", "test", "cat")]
    output, notes = export(tmp_path, rows)

    assert image_folder(output / "valid")[0] == ["dog"]
    assert notes == ["valid: dog is 0 for ImageFolder, 1 in the manifest; the folder has no image of cat"]


def test_a_vocab_in_another_order_is_said(tmp_path: Path) -> None:
    rows = [("1.png", "train", "zebra"), ("2.png", "train", "other"), ("3.png", "train", "ant")]
    output, notes = export(tmp_path, rows, vocab=("ant", "zebra", "other"))

    assert image_folder(output / "train")[0] == ["ant", "other", "zebra"]
    assert notes == ["train: other is 1 for ImageFolder, 2 in the manifest; it sorts the folder names"]


def test_a_named_valid_split_is_a_folder_of_its_own(tmp_path: Path) -> None:
    output, _ = export(tmp_path, [("1.png", "train", "cat"), ("2.png", "valid:night", "cat")])

    assert sorted(path.name for path in output.iterdir()) == ["train", "valid_night"]


def test_all_classes_missing_from_a_split_are_listed_up_to_five(tmp_path: Path) -> None:
    vocab = [f"c{number}" for number in range(8)]
    rows = [(f"{name}.png", "train", name) for name in vocab] + [("last.png", "valid", "c7")]
    _, notes = export(tmp_path, rows, vocab=vocab)

    assert notes == [
        "valid: c7 is 0 for ImageFolder, 7 in the manifest; the folder has no image of c0, c1, c2, c3, c4, ..."
    ]
