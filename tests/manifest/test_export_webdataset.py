"""webdataset: whole samples side by side, shards of bounded size, bytes that depend on the rows alone."""

import json
import math
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from interop.manifests import PETS, lists, make_manifest

from imagekit.errors import OutputError
from imagekit.manifest import export_webdataset
from imagekit.manifest.export import export_manifest
from imagekit.manifest.export_columns import plain_table
from imagekit.manifest.read import read_manifest


def members(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]


def test_a_sample_is_image_target_and_columns_side_by_side(tmp_path: Path) -> None:
    path = make_manifest(tmp_path)
    report = export_manifest(path, to="webdataset", output=tmp_path / "o")

    shards = {shard.name: members(shard) for shard in (tmp_path / "o").iterdir()}
    assert {name: [member for member, _ in some] for name, some in shards.items()} == {
        "train-000000.tar": [f"{row:09d}.{end}" for row in (0, 2, 3) for end in ("png", "cls", "json")],
        "valid-000000.tar": [f"{row:09d}.{end}" for row in (5, 6) for end in ("png", "cls", "json")],
        "test-000000.tar": [f"{row:09d}.{end}" for row in (1,) for end in ("png", "cls", "json")],
        "unsup-000000.tar": ["000000004.png", "000000004.json"],
    }
    dog = dict(shards["train-000000.tar"])
    assert dog["000000003.png"] == (tmp_path / "images/train/dog/1.png").read_bytes()
    assert dog["000000003.cls"] == b"1"
    assert json.loads(dog["000000003.json"]) == plain_table(read_manifest(path).table).slice(3, 1).to_pylist()[0]
    assert report.notes == ("4 shards",)


def test_members_have_no_time_and_no_owner(tmp_path: Path) -> None:
    export_manifest(make_manifest(tmp_path), to="webdataset", output=tmp_path / "o")

    with tarfile.open(tmp_path / "o/train-000000.tar") as tar:
        facts = {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode, i.type) for i in tar}
    assert facts == {(0, 0, 0, "", "", 0o644, tarfile.REGTYPE)}
    assert (tmp_path / "o/train-000000.tar").read_bytes()[257:265] == b"ustar\x0000"


@pytest.mark.parametrize(("constant", "value"), [("SHARD_IMAGES", 2), ("SHARD_BYTES", 7_500)])
def test_a_shard_ends_before_it_grows_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, constant: str, value: int
) -> None:
    monkeypatch.setattr(export_webdataset, constant, value)
    report = export_manifest(make_manifest(tmp_path), to="webdataset", output=tmp_path / "o")

    names = {shard.name: sorted({name[:9] for name, _ in members(shard)}) for shard in (tmp_path / "o").iterdir()}
    assert names["train-000000.tar"] == ["000000000", "000000002"]
    assert names["train-000001.tar"] == ["000000003"]
    assert report.notes == ("5 shards",)


def test_several_label_columns_are_a_list_and_no_target(tmp_path: Path) -> None:
    columns = {"labels": lists([["cat", "night"], ["dog", None]])}
    rows = [("1.png", "train", None), ("2.png", "train", None)]
    path = make_manifest(tmp_path, rows, columns=columns, label_columns=("pet", "time"))

    report = export_manifest(path, to="webdataset", output=tmp_path / "o")

    found = members(tmp_path / "o/train-000000.tar")
    assert [name for name, _ in found] == ["000000000.png", "000000000.json", "000000001.png", "000000001.json"]
    assert [json.loads(data)["labels"] for name, data in found if name.endswith("json")] == [
        ["cat", "night"],
        ["dog", None],
    ]
    assert report.notes == ("1 shard",)


@pytest.mark.parametrize("name", ["noext", "a.json", "a.cls", "dir.png/noext", "a.p-g", "a."])
def test_an_image_without_an_extension_is_refused(tmp_path: Path, name: str) -> None:
    path = make_manifest(tmp_path / "pets", [("1.JPG", "train", "cat"), (name, "train", "cat")])

    with pytest.raises(OutputError) as caught:
        export_manifest(path, to="webdataset", output=tmp_path / "o")

    assert str(caught.value) == (
        f"the image {name} has no extension that tells how to decode it\n"
        f"  where: {name}\n"
        "  fix: give it one, such as .jpg, and build the manifest again"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_the_extension_is_in_small_letters(tmp_path: Path) -> None:
    path = make_manifest(tmp_path, [("a.b.JPEG", "train", "cat")])

    export_manifest(path, to="webdataset", output=tmp_path / "o")

    assert members(tmp_path / "o/train-000000.tar")[0][0] == "000000000.jpeg"


def test_numbers_that_json_has_no_word_for_are_null(tmp_path: Path) -> None:
    path = make_manifest(
        tmp_path, PETS[:1], columns={"dose": pa.array([float("nan")]), "at": lists([[1.5, -math.inf]])}
    )

    export_manifest(path, to="webdataset", output=tmp_path / "o")

    content = json.loads(dict(members(tmp_path / "o/train-000000.tar"))["000000000.json"])
    assert (content["dose"], content["at"]) == (None, [1.5, None])
