"""How far an image is looked into whose bytes are kept: --check none, header, decode."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms
from subset.trees import picture, plant, recipe, two_classes

from imagekit.errors import OutputError
from imagekit.subset.build import make_subset
from imagekit.subset.options import CHECKS, SubsetOptions
from imagekit.subset.summary import SubsetReport

in_process = pytest.mark.usefixtures("in_process")
CUT = "train/n01/cut.JPEG"
TEXT = "train/n02/text.jpg"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes() | {CUT: picture((60, 40))[:-60], TEXT: b"this is text"})


def build(source: Path, output: Path, **options: Any) -> SubsetReport:
    return make_subset(recipe(), source, output=output, options=SubsetOptions(**options), n_workers=1)


def rows(output: Path) -> dict[str, dict[str, Any]]:
    return {row["file_name"]: row for row in pq.read_table(output / ".imagekit/files.parquet").to_pylist()}


@in_process
@pytest.mark.parametrize(
    ("check", "found"),
    [
        ("none", {}),
        ("header", {TEXT: "unidentified"}),
        ("decode", {CUT: "truncated", TEXT: "unidentified"}),
    ],
)
def test_each_check_finds_what_it_looks_for(source: Path, tmp_path: Path, check: str, found: dict[str, str]) -> None:
    report = build(source, tmp_path / "out", check=check)

    assert {bad.file_name: bad.reason for bad in report.bad_files} == found
    assert report.outcomes.selected == 8 - len(found)
    assert report.exit_code == (3 if found else 0)
    for name in {CUT, TEXT} - set(found):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


@in_process
@pytest.mark.parametrize(("check", "decode_path"), [("none", "none"), ("header", "header"), ("decode", "full")])
def test_how_far_it_was_looked_into_stands_in_the_table_of_files(
    source: Path, tmp_path: Path, check: str, decode_path: str
) -> None:
    build(source, tmp_path / "out", check=check)

    row = rows(tmp_path / "out")["train/n01/0.JPEG"]
    assert row["decode_path"] == decode_path
    assert (row["kept"], row["resized"]) == (True, False)
    known = None if check == "none" else 12
    assert (row["width_in"], row["out_width"]) == (known, known)
    assert row["sha256"] == row["out_sha256"] is not None


@in_process
@pytest.mark.parametrize("check", CHECKS)
def test_the_same_check_again_is_up_to_date_and_another_one_needs_overwrite(
    source: Path, tmp_path: Path, check: str
) -> None:
    first = build(source, tmp_path / "out", check=check)
    again = build(source, tmp_path / "out", check=check)
    other = CHECKS[CHECKS.index(check) - 1]

    assert (again.state, again.exit_code, again.bad_files) == ("up to date", first.exit_code, first.bad_files)
    with pytest.raises(OutputError) as caught:
        build(source, tmp_path / "out", check=other)
    assert str(caught.value) == (
        f"the output was built with --check {check}\n  where: {tmp_path / 'out'}\n"
        "  fix: give another -o, or --overwrite to build it anew"
    )


@in_process
def test_colour_profiles_are_counted_and_said_not_to_be_applied(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(io.BytesIO(picture())).save(buffer, "JPEG", icc_profile=profile)
    source = plant(tmp_path / "source", two_classes() | {"train/n01/icc.JPEG": buffer.getvalue()})

    report = build(source, tmp_path / "out", size=4)
    again = build(source, tmp_path / "out", size=4)

    line = "1 image with a colour profile (ICC), which is not applied"
    assert report.n_icc == report.to_dict()["n_icc"] == again.n_icc == 1
    assert line in report.summary().splitlines()
    assert line in again.summary().splitlines()
    assert {name for name, row in rows(tmp_path / "out").items() if row["icc"]} == {"train/n01/icc.JPEG"}
    with Image.open(tmp_path / "out/train/n01/icc.JPEG") as made:
        assert "icc_profile" not in made.info


@in_process
def test_bytes_kept_in_a_resized_subset_are_said_to_keep_their_metadata(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    Image.open(io.BytesIO(picture((4, 4)))).save(buffer, "JPEG", exif=exif)
    source = plant(tmp_path / "source", two_classes() | {"train/n01/small.JPEG": buffer.getvalue()})

    report = build(source, tmp_path / "out", size=4, link="copy")

    with Image.open(tmp_path / "out/train/n01/small.JPEG") as made:
        assert made.getexif()[0x0110] == "a camera"
    assert "bytes kept: 1 copied, their metadata (EXIF, GPS) with them" in report.summary().splitlines()
    full = build(source, tmp_path / "full", link="copy")
    assert "bytes kept: 7 copied" in full.summary().splitlines()


@in_process
@pytest.mark.parametrize(
    ("split", "more"),
    [("folders", ""), ("hash:0.5", ""), ("none", " --split hash:0.2")],
    ids=["folders", "hash", "none"],
)
def test_the_next_command_fits_the_splits(tmp_path: Path, split: str, more: str) -> None:
    names = [f"{'train/' if i % 2 else 'val/'}n01/{i}.JPEG" for i in range(8)]
    if split != "folders":
        names = [name.partition("/")[2] for name in names]
    source = plant(tmp_path / "source", dict.fromkeys(names, picture()))
    rule = recipe(split=split, layout="split/class" if split == "folders" else "class", classes={})

    report = make_subset(rule, source, output=tmp_path / "out", n_workers=1)

    assert report.next_command == f"imagekit manifest {tmp_path / 'out'}{more}"


def tiff(compression: str) -> bytearray:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture((64, 48)))).save(buffer, "TIFF", compression=compression)
    return bytearray(buffer.getvalue())


def test_what_a_decoder_writes_to_stderr_stands_beside_the_image_it_was_said_of(tmp_path: Path) -> None:
    """libtiff writes straight to file descriptor 2: real workers catch it, and tell whom it was said of."""
    broken, odd = tiff("tiff_lzw"), tiff("jpeg")
    broken[14] = 199  # a code that is not yet in the table
    marker = odd.index(b"\xff\x00")  # a stuffed byte of the compressed data
    odd[marker + 1] = 0x55  # a marker that nobody knows, which libjpeg skips
    source = plant(
        tmp_path / "source", two_classes() | {"train/n01/b.tif": bytes(broken), "train/n02/o.tif": bytes(odd)}
    )

    report = build(source, tmp_path / "out")
    again = build(source, tmp_path / "out")

    (bad,) = report.bad_files
    found = rows(tmp_path / "out")
    assert (bad.file_name, bad.decoder_said) == ("train/n01/b.tif", found["train/n01/b.tif"]["decoder_said"])
    assert "Using code not yet in table" in str(bad.decoder_said)
    assert json.loads((tmp_path / "out/.imagekit/quarantine.jsonl").read_text()) == bad.to_dict()
    assert bad.to_dict()["decoder_said"] == bad.decoder_said
    assert "Unsupported marker type 0x55" in found["train/n02/o.tif"]["decoder_said"]
    assert found["train/n02/o.tif"]["outcome"] == "selected"
    assert {name for name, row in found.items() if row["decoder_said"]} == {"train/n01/b.tif", "train/n02/o.tif"}
    assert (again.state, again.bad_files) == ("up to date", report.bad_files)
