"""Croissant: what is said is known, and the rows lie beside it; tests/interop loads it with mlcroissant."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from interop.manifests import PETS, lists, make_manifest

from imagekit.errors import OutputError
from imagekit.manifest.export import export_manifest
from imagekit.manifest.export_columns import plain_table
from imagekit.manifest.read import read_manifest
from imagekit.recipes.load import load_recipes


def test_the_description_points_at_the_rows_beside_it(tmp_path: Path) -> None:
    path = make_manifest(tmp_path / "pets")
    report = export_manifest(path, to="croissant", output=tmp_path / "o.json")

    document = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))
    rows = tmp_path / "o.parquet"
    assert document["distribution"] == [
        {
            "@type": "cr:FileObject",
            "@id": "rows",
            "name": "o.parquet",
            "contentUrl": "o.parquet",
            "encodingFormat": "application/x-parquet",
            "sha256": hashlib.sha256(rows.read_bytes()).hexdigest(),
        }
    ]
    assert pq.read_table(rows).to_pydict() == plain_table(read_manifest(path).table).to_pydict()
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert document["name"] == "o"
    assert document["description"] == ("7 images in 2 classes, listed by imagekit: train 3, valid 2, test 1, unsup 1")
    assert not {"license", "url", "creator", "datePublished", "version"} & set(document)
    assert report.notes == (
        "the rows are in o.parquet",
        "to publish it, add what no manifest knows: license, url, creator, datePublished",
    )


def test_every_column_is_a_field_with_its_type(tmp_path: Path) -> None:
    columns = {"a b": pa.array([0.5]), "good": pa.array([True]), "tags": lists([["x"]])}
    export_manifest(make_manifest(tmp_path, PETS[:1], columns=columns), to="croissant", output=tmp_path / "o.json")

    fields = json.loads((tmp_path / "o.json").read_text())["recordSet"][0]["field"]
    types = {field["name"]: (field["@id"], field["dataType"], field.get("repeated")) for field in fields}
    assert types["file_name"] == ("images/file_name", "sc:Text", None)
    assert types["target"] == ("images/target", "sc:Integer", None)
    assert types["dhash"] == ("images/dhash", "sc:Text", None)
    assert types["a b"] == ("images/a%20b", "sc:Float", None)
    assert types["good"] == ("images/good", "sc:Boolean", None)
    assert types["tags"] == ("images/tags", "sc:Text", True)
    assert fields[-1]["source"] == {"fileObject": {"@id": "rows"}, "extract": {"column": "tags"}}


def test_licence_and_page_are_those_of_the_recipe_that_ships(tmp_path: Path) -> None:
    recipe = load_recipes()["imagenette"]
    facts = {"name": recipe.name, "version": recipe.version, "sha256": recipe.sha256()}
    report = export_manifest(make_manifest(tmp_path, recipe=facts), to="croissant", output=tmp_path / "o.json")

    document = json.loads((tmp_path / "o.json").read_text())
    assert (document["name"], document["version"]) == (recipe.title, recipe.version)
    assert (document["license"], document["url"]) == (recipe.licence, recipe.homepage)
    assert report.notes[1] == "to publish it, add what no manifest knows: creator, datePublished"


@pytest.mark.parametrize("name", ["imagenette", "of somebody"])
def test_a_recipe_that_says_something_else_now_vouches_for_nothing(tmp_path: Path, name: str) -> None:
    facts = {"name": name, "version": "2", "sha256": "0" * 64}
    export_manifest(make_manifest(tmp_path, recipe=facts), to="croissant", output=tmp_path / "o.json")

    document = json.loads((tmp_path / "o.json").read_text())
    assert (document["name"], document["version"]) == (name, "2")
    assert not {"license", "url"} & set(document)


def test_rows_and_description_cannot_be_one_file(tmp_path: Path) -> None:
    path = make_manifest(tmp_path)

    with pytest.raises(OutputError) as caught:
        export_manifest(path, to="croissant", output=tmp_path / "o.parquet")

    assert str(caught.value) == (
        "the rows and their description would be one file\n"
        f"  where: {tmp_path / 'o.parquet'}\n"
        "  fix: give -o a name that ends in .json"
    )


def test_a_file_that_has_the_name_of_the_rows_is_not_replaced(tmp_path: Path) -> None:
    path = make_manifest(tmp_path)
    before = path.read_bytes()

    with pytest.raises(OutputError) as caught:
        export_manifest(path, to="croissant", output=tmp_path / "rows.json")  # beside it: rows.parquet, the manifest

    assert str(caught.value) == (
        "the rows of the export would replace another file\n"
        f"  where: {tmp_path / 'rows.parquet'}\n"
        "  fix: give another -o, or move that file away yourself"
    )
    assert path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "rows.parquet"]


def test_the_same_rows_left_by_a_killed_export_are_no_obstacle(tmp_path: Path) -> None:
    path = make_manifest(tmp_path / "pets")
    export_manifest(path, to="croissant", output=tmp_path / "o.json")
    whole = (tmp_path / "o.json").read_bytes()
    (tmp_path / "o.json").unlink()

    export_manifest(path, to="croissant", output=tmp_path / "o.json")

    assert (tmp_path / "o.json").read_bytes() == whole
