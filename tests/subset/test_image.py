"""One image: bytes kept where nothing changes, the shortest side made smaller otherwise."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from subset.trees import picture, pixels, plant

from imagekit.files.hashes import sha256_bytes
from imagekit.files.read import Reading
from imagekit.files.stamps import ABSENT, number_of
from imagekit.recipes.recipe import ResizeRule
from imagekit.subset.image import BuildImage


def build(folder: Path, data: bytes, *, size_px: int | None = None, **rule: Any) -> tuple[dict[str, Any], bytes | None]:
    """The facts of one image called `in.jpg`, and what was written."""
    plant(folder, {"in.jpg": data})
    task = BuildImage(
        source=str(folder), staging=str(folder), size_px=size_px, rule=ResizeRule(**rule), builder_pid=os.getpid()
    )
    facts = task((b"in.jpg", b"out"))
    out = folder / "out"
    return facts, out.read_bytes() if out.exists() else None


def opened(data: bytes | None) -> Image.Image:
    assert data is not None
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_full_keeps_every_byte_and_tells_what_the_image_is(tmp_path: Path) -> None:
    data = picture((12, 8), orientation=6)

    facts, written = build(tmp_path, data)

    assert written == data
    assert facts == {
        "stamp": number_of((tmp_path / "in.jpg").stat()),
        "size_bytes": len(data),
        "sha256": sha256_bytes(data),
        "format_in": "JPEG",
        "mode_in": "RGB",
        "width_in": 12,
        "height_in": 8,
        "exif_orientation": 6,
        "n_frames": 1,
        "icc": False,
        "decode_path": "full",
        "resized": False,
        "kept": True,
        "out_width": 12,
        "out_height": 8,
        "out_size_bytes": len(data),
        "out_sha256": sha256_bytes(data),
        "link": "copy",
        "out_stamp": number_of((tmp_path / "out").stat()),
    }


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 60), height=st.integers(1, 60), side_px=st.integers(1, 40))
def test_the_shortest_side_becomes_the_size_and_nothing_is_enlarged(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, side_px: int
) -> None:
    data = picture((width, height), format="PNG")

    facts, written = build(tmp_path_factory.mktemp("one"), data, size_px=side_px, format="png")

    made = opened(written)
    assert min(made.size) == min(side_px, width, height)
    assert made.size == (facts["out_width"], facts["out_height"])
    # the aspect is kept as well as whole pixels can: half a pixel off at most
    assert abs(max(made.size) - max(width, height) * min(made.size) / min(width, height)) <= 0.5
    assert facts["resized"] == (made.size != (width, height))


@pytest.mark.parametrize(("format", "saved"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("keep", "PNG")])
def test_an_image_that_needs_no_change_keeps_its_bytes(tmp_path: Path, format: str, saved: str) -> None:
    data = picture((12, 8), format=saved)

    facts, written = build(tmp_path, data, size_px=8, format=format)

    assert written == data
    assert (facts["decode_path"], facts["resized"], facts["kept"]) == ("full", False, True)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_and_colour_jpegs_at_their_size_are_both_kept(tmp_path: Path, mode: str) -> None:
    data = picture(mode=mode)

    assert build(tmp_path, data, size_px=8)[1] == data


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (picture((12, 8), orientation=3), {}),
        (picture((12, 8), format="PNG"), {}),
        (picture((12, 8), mode="CMYK"), {}),
        (picture((12, 8), format="PNG", mode="RGBA"), {"format": "png"}),
        (picture((12, 8), format="PNG", mode="P"), {"format": "keep"}),
    ],
    ids=["turned", "another format", "CMYK", "alpha", "palette"],
)
def test_an_image_that_needs_a_change_is_written_anew_as_plain_rgb(
    tmp_path: Path, data: bytes, rule: dict[str, Any]
) -> None:
    facts, written = build(tmp_path, data, size_px=8, **rule)

    made = opened(written)
    assert (facts["decode_path"], facts["kept"]) == ("full", False)
    assert made.mode == "RGB"
    assert dict(made.getexif()) == {}


def test_a_transparent_colour_is_composited_on_the_recipes_background(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(buffer, "PNG", transparency=(1, 2, 3))

    facts, written = build(tmp_path, buffer.getvalue(), size_px=8, format="png", background="#ff8000")

    assert (facts["decode_path"], facts["kept"]) == ("full", False)
    assert opened(written).getpixel((0, 0)) == (255, 128, 0)


@pytest.mark.parametrize(
    ("saved", "expected"),
    [("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WEBP"), ("GIF", "PNG"), ("BMP", "PNG"), ("TIFF", "PNG")],
)
def test_keep_writes_the_format_that_came_or_png_where_it_cannot(tmp_path: Path, saved: str, expected: str) -> None:
    _, written = build(tmp_path, picture((12, 8), format=saved), size_px=4, format="keep")

    assert opened(written).format == expected
    assert opened(written).size == (6, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_dropped(tmp_path: Path, orientation: int) -> None:
    data = picture((12, 8), format="PNG", orientation=orientation)
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    expected = pixels((12, 8)).transpose(turn[orientation]) if orientation > 1 else pixels((12, 8))

    facts, written = build(tmp_path, data, size_px=8, format="png")

    made = opened(written)
    assert np.array_equal(np.asarray(made), np.asarray(expected))
    assert 0x0112 not in made.getexif()
    assert (facts["width_in"], facts["height_in"], facts["exif_orientation"]) == (12, 8, orientation)


def test_the_filter_and_the_quality_of_the_recipe_are_used(tmp_path: Path) -> None:
    data = picture((40, 30), format="PNG")

    variants = [
        build(tmp_path, data, size_px=10, **rule)[1]
        for rule in ({}, {"filter": "nearest"}, {"quality": 20}, {"format": "png"}, {"format": "webp"})
    ]

    assert len(set(variants)) == len(variants)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (picture((60, 40))[:300], "truncated"),
        (picture((60, 40), format="PNG")[:-30], "truncated"),
        (b"GIF is not what this is", "unidentified"),
        (b"P6 1 1 255 ", "unsupported-format"),
    ],
)
def test_an_unusable_image_is_told_with_its_reason_and_writes_nothing(tmp_path: Path, data: bytes, reason: str) -> None:
    facts, written = build(tmp_path, data, size_px=4)

    assert facts["reason"] == reason
    assert facts["detail"]
    assert facts["sha256"] == sha256_bytes(data)
    assert written is None


def test_a_misnamed_image_is_told_by_its_content(tmp_path: Path) -> None:
    facts, written = build(tmp_path, picture(format="PNG"), size_px=4)

    assert facts["format_in"] == "PNG"
    assert opened(written).format == "JPEG"


def test_a_file_that_vanished_costs_itself_only(tmp_path: Path) -> None:
    task = BuildImage(
        source=str(tmp_path), staging=str(tmp_path), size_px=None, rule=ResizeRule(), builder_pid=os.getpid()
    )

    facts = task((b"gone.jpg", b"out"))

    assert facts == {"reason": "vanished", "detail": "No such file or directory"}


def test_a_side_that_the_output_format_cannot_hold_costs_that_image_only(tmp_path: Path) -> None:
    data = picture((20_000, 2), format="PNG")

    facts, written = build(tmp_path, data, size_px=160, format="webp")
    kept = build(tmp_path, data, size_px=160, format="png")[1]

    assert facts["reason"] == "unsupported-format"
    assert facts["detail"] == "the image is 20000 x 2 pixels; webp takes at most 16383 a side"
    assert written is None
    assert kept == data


def test_a_source_that_changes_after_it_was_read_is_looked_at_again_by_a_rerun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagekit.subset import image

    read = image.read_stamped

    def read_then_touch(path: Path) -> Reading:
        reading = read(path)
        os.utime(path, ns=(1, 1))
        return reading

    monkeypatch.setattr(image, "read_stamped", read_then_touch)

    facts, _ = build(tmp_path, picture())

    assert (tmp_path / "in.jpg").stat().st_mtime_ns == 1
    assert facts["stamp"] != number_of((tmp_path / "in.jpg").stat())


def test_a_file_so_young_that_it_may_change_again_unseen_proves_nothing_to_a_rerun(tmp_path: Path) -> None:
    young, old = plant(tmp_path / "young", {"in.jpg": picture()}), plant(tmp_path / "old", {"in.jpg": picture()})
    (young / "in.jpg").touch()

    stamps = [
        BuildImage(source=str(source), staging=None, size_px=None, rule=ResizeRule(), builder_pid=os.getpid())(
            (b"in.jpg", b"out")
        )["stamp"]
        for source in (young, old)
    ]

    assert stamps == [ABSENT, number_of((old / "in.jpg").stat())]


def test_a_worker_whose_builder_is_gone_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(picture())
    task = BuildImage(source=str(tmp_path), staging=str(tmp_path), size_px=None, rule=ResizeRule(), builder_pid=1)

    with pytest.raises(SystemExit, match="the builder is gone"):
        task((b"in.jpg", b"out"))

    assert not (tmp_path / "out").exists()
