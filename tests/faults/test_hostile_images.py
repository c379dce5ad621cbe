"""Rows 1-4 and 6-14 of the threat table: whatever the bytes are, an image or a reason, and never a crash.

One source of every kind of file is built twice by real workers, as `full` and resized; most tests look at the results.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from faults import hostile
from PIL import Image
from subset.trees import plant, recipe

from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

BACKGROUND = "#2040c0"
BACKGROUND_RGB = (0x20, 0x40, 0xC0)
SIDE = 16
WHOLE = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}

# what cannot be used -> the reason, and the words where they are ours
BAD: Mapping[str, tuple[bytes, str, str | None]] = {
    "pixel_bomb.png": (hostile.pixel_bomb(), "bomb", None),
    "below_pillows_limit.png": (
        hostile.png_header(9_460, 9_460) + hostile.chunk(b"IDAT", b""),
        "bomb",
        "9460 x 9460 = 89491600 pixels, the limit is 89478485",
    ),
    "text_bomb.png": (
        hostile.text_bomb(),
        "bomb",
        "Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK",
    ),
    "empty.jpg": (b"", "truncated", "the file is empty (0 bytes)"),
    "page.jpg": (
        b"<!DOCTYPE html><html>404 Not Found</html>",
        "unidentified",
        "the content is no known image; it begins with b'<!DOCTYP'",
    ),
    "shell.jpg": (b"#!/bin/sh\nexit 1\n", "unidentified", "the content is no known image; it begins with b'#!/bin/s'"),
    **{
        f"{name}.jpg": (
            head + b" " * 500,
            "unsupported-format",
            f"the content is {name}; formats read: JPEG, PNG, WEBP, GIF, BMP, TIFF",
        )
        for name, head in {"PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n", "PDF": b"%PDF-1.7", "SVG": b"<svg "}.items()
    },
    **{f"half_{ending}.{ending}": (hostile.half(hostile.saved(hostile.noise(), format)), "truncated", None)
       for format, ending in WHOLE.items()},
    "nothing.bmp": (
        hostile.saved(hostile.noise(), "BMP")[:18] + b"\0\0\0\0" + hostile.saved(hostile.noise(), "BMP")[22:],
        "too-small",
        "the header promises no pixels",
    ),
}  # fmt: skip

# what can, and holds an oddity
GOOD: Mapping[str, bytes] = {
    "flood_gif.gif": hostile.gif_flood(),
    "flood_tif.tif": hostile.tiff_flood(),
    "loop.tif": hostile.tiff_loop(),
    **{f"frames_{format}.{WHOLE.get(format, 'jpg')}": hostile.three_frames(format)
       for format in ("GIF", "TIFF", "WEBP", "PNG", "MPO")},
    "png_inside.JPEG": hostile.saved(hostile.flat(hostile.RED), "PNG"),
    "jpeg_inside.png": hostile.saved(hostile.flat(hostile.RED), "JPEG", quality=95),
    "gif_inside.bmp": hostile.saved(hostile.flat(hostile.RED), "GIF"),
    "cmyk.jpg": hostile.saved(hostile.flat((0, 200, 200, 30), "CMYK"), "JPEG", quality=95),
    "ycck.jpg": hostile.ycck(),
    **{f"alpha_{mode}.png": hostile.half_transparent(mode) for mode in ("RGBA", "LA", "P")},
    "deep_png.png": hostile.saved(hostile.ramp_16_bit(), "PNG"),
    "deep_tif.tif": hostile.saved(hostile.ramp_16_bit(), "TIFF"),
    "whole_numbers.tif": hostile.saved(Image.fromarray(np.asarray(hostile.ramp_16_bit()).astype(np.int32)), "TIFF"),
    "bits.png": hostile.saved(hostile.noise("1"), "PNG"),
    **{f"turned_{n}.jpg": hostile.turned(n) for n in range(1, 9)},
    **{f"exif_{i}.jpg": hostile.saved(hostile.flat(hostile.RED), "JPEG", exif=exif)
       for i, exif in enumerate((b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"))},
    "profile.jpg": hostile.with_profile(),
    "gps.jpg": hostile.with_gps(),
}  # fmt: skip

# modes whose range nobody can know: whole as a copy, and refused where pixels have to be made
UNKNOWN_RANGE: Mapping[str, bytes] = {
    "float.tif": hostile.saved(hostile.noise("F"), "TIFF"),
    "lab.tif": hostile.saved(hostile.noise("LAB"), "TIFF"),
    "beyond_16_bits.tif": hostile.saved(Image.fromarray(np.full((32, 48), 70_000, np.int32)), "TIFF"),
}


@dataclass(frozen=True)
class Built:
    """One subset of the gallery."""

    output: Path
    report: SubsetReport
    rows: Mapping[str, dict[str, Any]]
    bad: Mapping[str, dict[str, Any]]

    def image(self, name: str) -> Image.Image:
        """What became of one source file."""
        made = Image.open(self.output / self.rows[name]["out_name"])
        made.load()
        return made

    def data(self, name: str) -> bytes:
        """Its bytes."""
        return (self.output / self.rows[name]["out_name"]).read_bytes()

    def colour(self, name: str, at: tuple[float, float]) -> tuple[int, ...]:
        """The colour at a place given as parts of width and height."""
        image = self.image(name)
        return tuple(np.asarray(image.convert("RGB"))[int(at[1] * image.height), int(at[0] * image.width)].tolist())


def build(folder: Path, size: int | str, name: str) -> Built:
    output = folder / name
    report = make_subset(
        recipe(layout="class", split="none", classes={}, resize={"background": BACKGROUND}),
        folder / "source",
        output=output,
        options=SubsetOptions(size=size),
        n_workers=1,
    )
    rows = {
        row["file_name"].rpartition("/")[2]: row
        for row in pq.read_table(output / ".imagekit/files.parquet").to_pylist()
    }
    lines = map(json.loads, (output / ".imagekit/quarantine.jsonl").read_text().splitlines())
    return Built(output, report, rows, {line["file_name"].rpartition("/")[2]: line for line in lines})


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    files = {name: data for name, (data, _, _) in BAD.items()} | {**GOOD, **UNKNOWN_RANGE}
    plant(folder / "source", {f"n01/{name}": data for name, data in files.items()})
    return folder


@pytest.fixture(scope="module")
def full(gallery: Path) -> Built:
    return build(gallery, "full", "full")


@pytest.fixture(scope="module")
def small(gallery: Path) -> Built:
    return build(gallery, SIDE, "small")


@pytest.fixture(params=["full", "small"])
def either(request: pytest.FixtureRequest) -> Built:
    built: Built = request.getfixturevalue(request.param)
    return built


def close(one: tuple[int, ...], other: tuple[int, ...], *, by: int = 12) -> bool:
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


def test_every_file_has_its_outcome_and_only_the_unusable_are_quarantined(full: Built, small: Built) -> None:
    assert set(full.bad) == set(BAD)
    assert set(small.bad) == set(BAD) | set(UNKNOWN_RANGE)
    assert (full.report.exit_code, small.report.exit_code) == (3, 3)
    for built in (full, small):
        assert built.report.outcomes.found == len(BAD) + len(GOOD) + len(UNKNOWN_RANGE)
        assert built.report.outcomes.selected == built.report.outcomes.found - len(built.bad)


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_file_is_named_with_its_reason_and_leaves_nothing(either: Built, name: str) -> None:
    data, reason, words = BAD[name]

    told = either.bad[name]

    assert told["reason"] == reason
    assert told["detail"] == words if words else told["detail"]
    assert told["size_bytes"] == len(data)
    assert either.rows[name]["outcome"] == "quarantined"
    assert either.rows[name]["out_name"] is None
    assert not list(either.output.rglob(f"{Path(name).stem}.*"))


@pytest.mark.parametrize(
    ("name", "n_frames"), [("flood_gif.gif", 10_000), ("flood_tif.tif", 2_000), ("loop.tif", 1), *(
        (f"frames_{format}.{WHOLE.get(format, 'jpg')}", 3) for format in ("GIF", "TIFF", "WEBP", "PNG", "MPO")
    )]
)  # fmt: skip
def test_of_many_frames_the_first_is_used_and_all_are_counted(small: Built, name: str, n_frames: int) -> None:
    shown = (128,) * 3 if name in ("flood_tif.tif", "loop.tif") else hostile.RED

    row = small.rows[name]

    assert (row["outcome"], row["n_frames"]) == ("selected", n_frames)
    assert close(small.colour(name, (0.5, 0.5)), shown)
    assert getattr(small.image(name), "n_frames", 1) == 1


def test_full_keeps_every_frame_for_it_keeps_every_byte(full: Built) -> None:
    assert {name: full.data(name) for name in GOOD} == dict(GOOD)
    assert {name: full.data(name) for name in UNKNOWN_RANGE} == dict(UNKNOWN_RANGE)


def test_content_decides_and_not_the_name(full: Built, small: Built) -> None:
    for name, format in {"png_inside.JPEG": "PNG", "jpeg_inside.png": "JPEG", "gif_inside.bmp": "GIF"}.items():
        assert full.rows[name]["format_in"] == small.rows[name]["format_in"] == format
        assert full.rows[name]["out_name"] == f"n01/{name}"
        assert small.image(name).format == "JPEG"
        assert close(small.colour(name, (0.5, 0.5)), hostile.RED)
    assert small.rows["png_inside.JPEG"]["out_name"] == "n01/png_inside.JPEG"
    assert small.rows["jpeg_inside.png"]["out_name"] == "n01/jpeg_inside.jpg"


@pytest.mark.parametrize("name", ["cmyk.jpg", "ycck.jpg"])
def test_inks_become_rgb_and_the_record_says_what_they_were(small: Built, name: str) -> None:
    expected = Image.open(io.BytesIO(GOOD[name])).convert("RGB").getpixel((10, 10))

    assert small.rows[name]["mode_in"] == "CMYK"
    assert small.image(name).mode == "RGB"
    assert isinstance(expected, tuple)
    assert close(small.colour(name, (0.5, 0.5)), expected)


@pytest.mark.parametrize(("name", "shown"), [
    ("alpha_RGBA.png", hostile.RED), ("alpha_LA.png", (40, 40, 40)), ("alpha_P.png", hostile.RED)
])  # fmt: skip
def test_transparency_shows_the_recipes_background_and_nothing_hidden(
    small: Built, name: str, shown: tuple[int, int, int]
) -> None:
    assert close(small.colour(name, (0.2, 0.5)), shown)
    assert close(small.colour(name, (0.8, 0.5)), BACKGROUND_RGB)


@pytest.mark.parametrize(
    ("name", "mode"), [("deep_png.png", "I;16"), ("deep_tif.tif", "I;16"), ("whole_numbers.tif", "I")]
)
def test_sixteen_bits_are_scaled_and_never_clipped(small: Built, name: str, mode: str) -> None:
    greys = [small.colour(name, (at, 0.5))[0] for at in (0.02, 0.25, 0.5, 0.75, 0.98)]

    assert small.rows[name]["mode_in"] == mode
    assert all(abs(grey - expected) < 14 for grey, expected in zip(greys, (3, 64, 130, 195, 252), strict=True))


def test_one_bit_is_black_and_white(full: Built, small: Built) -> None:
    assert small.rows["bits.png"]["mode_in"] == full.rows["bits.png"]["mode_in"] == "1"
    assert small.image("bits.png").mode == "RGB"


@pytest.mark.parametrize(("name", "words"), [
    ("float.tif", "mode F has no fixed range of values that fits 8-bit RGB"),
    ("lab.tif", "mode LAB has no fixed range of values that fits 8-bit RGB"),
    ("beyond_16_bits.tif", "mode I with values 70000..70000, more than 16 bits hold"),
])  # fmt: skip
def test_a_range_that_nobody_knows_is_refused_and_not_guessed(small: Built, name: str, words: str) -> None:
    assert (small.bad[name]["reason"], small.bad[name]["detail"]) == ("unsupported-mode", words)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_its_tag_is_gone(small: Built, full: Built, orientation: int) -> None:
    name = f"turned_{orientation}.jpg"

    image = small.image(name)

    assert small.rows[name]["exif_orientation"] == full.rows[name]["exif_orientation"] == orientation
    assert image.size == (24, 16)
    assert close(small.colour(name, (0.2, 0.5)), hostile.RED)
    assert close(small.colour(name, (0.8, 0.5)), hostile.BLUE)
    assert hostile.ORIENTATION not in image.getexif()
    assert full.image(name).getexif()[hostile.ORIENTATION] == orientation


@pytest.mark.parametrize("number", range(3))
def test_broken_metadata_is_no_loss(small: Built, number: int) -> None:
    row = small.rows[f"exif_{number}.jpg"]

    assert (row["outcome"], row["exif_orientation"]) == ("selected", 1)
    assert close(small.colour(f"exif_{number}.jpg", (0.5, 0.5)), hostile.RED)


def test_a_colour_profile_is_counted_not_applied_and_dropped_with_the_rest(full: Built, small: Built) -> None:
    assert (full.report.n_icc, small.report.n_icc) == (2, 1)  # the LAB picture has one, too, and is no part of small
    assert "with a colour profile (ICC), which is not applied" in small.report.summary()
    assert small.rows["profile.jpg"]["icc"] is True
    assert "icc_profile" in full.image("profile.jpg").info
    assert "icc_profile" not in small.image("profile.jpg").info


def test_the_place_of_a_photo_is_stripped_on_writing_anew_and_kept_by_full(full: Built, small: Built) -> None:
    assert hostile.SECRET in full.data("gps.jpg")
    assert full.image("gps.jpg").getexif().get_ifd(hostile.GPS)[1] == "N"
    assert hostile.SECRET not in small.data("gps.jpg")
    assert b"Exif" not in small.data("gps.jpg")
    assert not small.image("gps.jpg").getexif()
    assert "bytes kept" not in small.report.summary()
    assert "bytes kept: " in full.report.summary()


@pytest.mark.slow
def test_flipped_bits_and_cut_files_are_an_image_or_a_reason_and_never_a_crash(tmp_path: Path) -> None:
    whole = {ending: hostile.saved(hostile.noise(), format) for format, ending in WHOLE.items()}
    files = {f"n01/good_{ending}.{ending}": data for ending, data in whole.items()}
    for seed in range(20):
        for ending, data in whole.items():
            files[f"n01/flip{seed}_{ending}.{ending}"] = hostile.flipped(data, seed=seed)
            files[f"n02/cut{seed}_{ending}.{ending}"] = data[: len(data) * (seed + 1) // 21]
    plant(tmp_path / "source", files)

    one = build(tmp_path, "full", "one")
    other = build(tmp_path, SIDE, "other")

    documented = {"truncated", "corrupt", "bomb", "unidentified", "unsupported-format", "unsupported-mode", "too-small"}
    for built in (one, other):
        assert built.report.outcomes.found == len(files) == len(built.rows)
        assert set(built.report.outcomes.quarantined) <= documented
        assert {built.rows[f"good_{ending}.{ending}"]["outcome"] for ending in whole} == {"selected"}
        assert {
            built.bad[f"cut{seed}_{ending}.{ending}"]["reason"] for seed in range(10) for ending in whole
        } <= documented
