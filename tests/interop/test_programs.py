"""Programs of others read our manifest and our exports whole. For `make interop`: there none of them may be missing."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from interop.manifests import PETS, lists, make_manifest

from imagekit.manifest.export import export_manifest
from imagekit.manifest.export_columns import plain_table
from imagekit.manifest.read import read_manifest

pytestmark = pytest.mark.interop

TAGS = [["a", "b"], [], None, ["c"], ["d", None], None, ["=e"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    columns = {"dose": pa.array([1.5, None, -2.0, 0.0, 1.0, None, 3.0]), "tags": lists(TAGS)}
    return make_manifest(tmp_path / "pets", columns=columns)


def rows(path: Path) -> list[dict[str, Any]]:
    """What every program must find."""
    return plain_table(read_manifest(path).table).to_pylist()


def test_polars_reads_the_manifest(path: Path) -> None:
    import polars

    table = read_manifest(path).table

    assert polars.read_parquet(path).to_dicts() == table.to_pylist()


def test_polars_reads_the_csv(path: Path, tmp_path: Path) -> None:
    import polars

    export_manifest(path, to="csv", output=tmp_path / "o.csv")

    frame = polars.read_csv(tmp_path / "o.csv")

    assert frame.columns == list(rows(path)[0])
    for name in ("split", "label", "target", "width", "size_bytes", "sha256", "dhash", "dose"):
        assert frame[name].to_list() == [row[name] for row in rows(path)], name
    assert frame["file_name"].to_list() == ["'-a.png", *(name for name, _, _ in PETS[1:])]


def test_duckdb_reads_the_manifest(path: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        relation = connection.sql(f"select * from read_parquet('{path}') order by file_name")
        found = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]

    assert found == read_manifest(path).table.to_pylist()


def test_duckdb_reads_the_csv(path: Path, tmp_path: Path) -> None:
    import duckdb

    export_manifest(path, to="csv", output=tmp_path / "o.csv")

    with duckdb.connect() as connection:
        found = connection.sql(f"select label, target, dhash, dose from read_csv('{tmp_path / 'o.csv'}')").fetchall()

    assert found == [(row["label"], row["target"], row["dhash"], row["dose"]) for row in rows(path)]


def test_mlcroissant_finds_no_fault_and_loads_every_record(path: Path, tmp_path: Path) -> None:
    export_manifest(path, to="croissant", output=tmp_path / "o.json")
    with warnings.catch_warnings():
        # rdflib 7.6 warns of its own class, mlcroissant 1.1 of a keyword that pandas 3.1 gives up
        warnings.filterwarnings("ignore", "ConjunctiveGraph is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "The inplace keyword in DataFrame.reset_index", Warning)
        import mlcroissant

        dataset = mlcroissant.Dataset(str(tmp_path / "o.json"))
        records = list(dataset.records("images"))

    assert dataset.metadata.ctx.issues.errors == set()
    assert {issue.split('"')[1].rpartition("/")[2] for issue in map(str, dataset.metadata.ctx.issues.warnings)} == {
        "citeAs",
        "datePublished",
        "license",
        "version",
    }
    assert [{key.removeprefix("images/"): _text(value) for key, value in record.items()} for record in records] == rows(
        path
    )


def _text(value: Any) -> Any:
    """mlcroissant gives texts as bytes."""
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


# webdataset 1.0 closes a shard when the garbage collector comes
leaves_shards_open = pytest.mark.filterwarnings(r"ignore:unclosed file .*\.tar:ResourceWarning")


@leaves_shards_open
def test_webdataset_streams_every_sample(path: Path, tmp_path: Path) -> None:
    import webdataset

    export_manifest(path, to="webdataset", output=tmp_path / "o")
    shards = [str(shard) for shard in sorted((tmp_path / "o").iterdir())]

    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))

    samples.sort(key=lambda sample: sample["__key__"])
    assert [sample["json"] for sample in samples] == rows(path)
    assert [sample.get("cls") for sample in samples] == [row["target"] for row in rows(path)]
    assert [sample["png"].size for sample in samples] == [(row["width"], row["height"]) for row in rows(path)]


@leaves_shards_open
def test_webdataset_gives_the_bytes_of_the_images(path: Path, tmp_path: Path) -> None:
    import webdataset

    export_manifest(path, to="webdataset", output=tmp_path / "o")

    raw = list(webdataset.WebDataset(str(tmp_path / "o/train-000000.tar"), shardshuffle=False))

    hashes = [hashlib.sha256(sample["png"]).hexdigest() for sample in raw]
    assert hashes == [row["sha256"] for row in rows(path) if row["split"] == "train"]
