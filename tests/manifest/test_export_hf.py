"""The folder for Hugging Face datasets; tests/interop loads it with the library itself."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from interop.manifests import PETS, Listing, lists, make_manifest

from imagekit.errors import OutputError
from imagekit.manifest.export import export_manifest
from imagekit.manifest.export_columns import OWN_COLUMNS


def export(tmp_path: Path, listing: Listing, **options: object) -> list[str]:
    path = make_manifest(tmp_path / "pets", listing, **options)  # type: ignore[arg-type]
    report = export_manifest(path, to="hf", output=tmp_path / "o")
    return [note for note in report.notes if "hard links" not in note]


def images(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_each_split_is_a_folder_of_images_and_a_metadata_file(tmp_path: Path) -> None:
    notes = export(tmp_path, PETS)

    assert images(tmp_path / "o") == sorted(
        f"{'validation' if split == 'valid' else split}/{name}" for name, split, _ in PETS
    )
    train = pq.read_table(tmp_path / "o/train/metadata.parquet")
    assert tuple(train.column_names) == OWN_COLUMNS
    assert train["file_name"].to_pylist() == ["-a.png", "train/cat/1.png", "train/dog/1.png"]
    assert train["label"].to_pylist() == ["cat", "cat", "dog"]
    assert pq.read_table(tmp_path / "o/unsup/metadata.parquet")["label"].to_pylist() == [None]
    assert notes == []


def test_every_metadata_file_has_the_same_types(tmp_path: Path) -> None:
    export(tmp_path, PETS, columns={"tags": lists([["a"], [], None, ["b"], None, ["c"], []])})

    schemas = [pq.read_schema(path).remove_metadata() for path in (tmp_path / "o").rglob("metadata.parquet")]
    assert len(schemas) == 4
    assert all(schema == schemas[0] for schema in schemas)
    assert not any(pa.types.is_dictionary(kind) or pa.types.is_uint64(kind) for kind in schemas[0].types)


def test_the_page_names_every_split(tmp_path: Path) -> None:
    rows = [("1.png", "train", "cat"), ("2.png", "valid:night-2", "cat"), ("3.png", "valid", "dog")]
    export(tmp_path, rows, recipe={"name": "pets", "version": "3", "sha256": "0"})

    assert (tmp_path / "o/README.md").read_text(encoding="utf-8") == (
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        '  - split: train\n    path: "train/**"\n'
        '  - split: validation\n    path: "validation/**"\n'
        '  - split: valid_night_2\n    path: "validx_night_2/**"\n'
        "---\n\n# pets 3\n\n"
        '3 images, listed by imagekit. Every split: `datasets.load_dataset("path/of/this/folder")`.\n\n'
        "- train: 1\n- validation: 1\n- valid_night_2: 1\n\n"
        "Each folder of a split holds `metadata.parquet`, a row an image. `sha256` and `dhash` are hex digits.\n"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test/1.png", "testx/1.png"),
        ("a/test/eval/1.png", "a/testx/evalx/1.png"),
        ("my-test_2/1.png", "my-testx_2/1.png"),
        ("test eval/1.png", "testx evalx/1.png"),
        ("evaluation/1.png", "evaluationx/1.png"),
        ("contest/latest/1.png", "contest/latest/1.png"),
        ("testing1/test.png", "testingx1/test.png"),
        ("Test/1.png", "Test/1.png"),
        ("train/val/dev/1.png", "train/val/dev/1.png"),  # those splits are there
    ],
)
def test_a_folder_that_calls_for_a_split_that_is_not_there_gets_an_x(tmp_path: Path, name: str, expected: str) -> None:
    notes = export(tmp_path, [(name, "train", "cat"), ("0.png", "valid", "cat")])

    assert images(tmp_path / "o/train") == [expected]
    assert pq.read_table(tmp_path / "o/train/metadata.parquet")["file_name"].to_pylist() == [expected]
    said = ["1 file name is written in another way, because datasets would misread it"]
    assert notes == (said if name != expected else [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a\xff.png", "a%FF.png"),
        ("a\\b 100%.png", "a%5Cb 100%25.png"),
        ("a:/b.png", "a:/b.png"),
        ("c/file:..png", "c/file:..png"),
        ("ü%20#?*[x].png", "ü%20#?*[x].png"),
    ],
)
def test_names_that_datasets_would_misread_are_encoded(tmp_path: Path, name: str | bytes, expected: str) -> None:
    export(tmp_path, [(name, "train", "cat")])

    assert images(tmp_path / "o/train") == [expected]
    assert pq.read_table(tmp_path / "o/train/metadata.parquet")["file_name"].to_pylist() == [expected]


def test_several_names_that_are_written_in_another_way_are_counted(tmp_path: Path) -> None:
    notes = export(tmp_path, [("a\\b.png", "train", "cat"), ("c\\d.png", "train", "cat")])

    assert notes == ["2 file names are written in another way, because datasets would misread them"]


def test_a_name_that_is_taken_after_the_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        export(tmp_path, [("test/1.png", "train", "cat"), ("testx/1.png", "train", "cat")])

    assert str(caught.value).startswith(
        "path-collision: test/1.png and testx/1.png would both become train/testx/1.png\n"
    )


def test_columns_that_datasets_would_open_as_images_get_another_name(tmp_path: Path) -> None:
    columns = {"image": pa.array(["x"]), "mask_file_name": pa.array(["m.png"]), "file_names": lists([["a"]])}
    notes = export(tmp_path, PETS[:1], columns=columns)

    renamed = ["image_column", "mask_file_name_column", "file_names_column"]
    assert pq.read_schema(tmp_path / "o/train/metadata.parquet").names[-3:] == renamed
    assert notes == [f"column {old} is called {new}" for old, new in zip(columns, renamed, strict=True)]
