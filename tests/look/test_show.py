"""show_manifest: one call a mode, one PNG, nothing replaced unasked, and a report that says what is on it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from look.pictures_of_colour import make_colours
from manifest.handmade import table, write
from PIL import Image
from trees import draw_image, draw_tree

from imagekit.errors import ManifestError, OutputError, SourceError, UsageError
from imagekit.look.show import ShowReport, show_manifest
from imagekit.manifest.build import build_manifest

MODES: list[dict[str, Any]] = [{}, {"augment": True}, {"resamplers": True}, {"image": Path("train/a.png")}]
NAMES = ["by-class", "augment", "resamplers", "steps"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    listing = [("train/a.png", "ant", "train"), ("train/b.png", "bee", "train"), ("valid/a.png", "ant", "valid")]
    made = make_colours(tmp_path / "zoo", listing)
    for number, (name, _, _) in enumerate(listing):
        noise_HWC = np.random.default_rng(number).integers(0, 256, (50, 70, 3), dtype=np.uint8)
        Image.fromarray(noise_HWC).save(made.parent / name)
    return made


def show(path: Path, **options: Any) -> ShowReport:
    return show_manifest(path, **({"output": path.parent / "page.png", "side_px": 32} | options))


@pytest.mark.parametrize(("options", "mode"), list(zip(MODES, NAMES, strict=True)), ids=NAMES)
def test_each_mode_writes_a_picture_and_says_of_what(path: Path, options: dict[str, Any], mode: str) -> None:
    report = show(path, **options)

    with Image.open(report.output) as page:
        page.load()
        assert (page.format, page.mode, page.size) == ("PNG", "RGB", (report.width, report.height))
    first = ("train/a.png",)
    assert (report.mode, report.images[:1], report.exit_code) == (mode, first, 0)
    assert len(report.images) == (3 if mode == "by-class" else 1)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["page.png", "rows.parquet", "train", "valid"]


@pytest.mark.parametrize("options", MODES, ids=NAMES)
def test_the_same_seed_gives_the_same_bytes(path: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    pages = [show(path, output=tmp_path / f"{number}.png", seed=3, **options).output for number in range(2)]

    assert pages[0].read_bytes() == pages[1].read_bytes()


@pytest.mark.parametrize("options", [MODES[1], MODES[3]], ids=["augment", "steps"])
def test_another_seed_gives_another_picture(path: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    pages = [show(path, output=tmp_path / f"{seed}.png", seed=seed, **options).output for seed in (0, 1)]

    with Image.open(pages[0]) as first, Image.open(pages[1]) as second:
        # below the lines of text, which name the seed
        below = (0, 120, first.width, first.height)
        assert first.crop(below).tobytes() != second.crop(below).tobytes()


def test_the_summary_of_a_sheet_counts_what_is_on_it(path: Path) -> None:
    report = show(path)

    assert report.summary() == (
        "by-class: 3 images, drawn with seed 0\n"
        "  train: 2 of 2 images, 2 classes\n"
        "  valid: 1 of 1 image, 1 class\n"
        f"built: {report.output} ({report.width:,} x {report.height:,} pixels)"
    )


def test_the_facts_are_plain_types(path: Path) -> None:
    report = show(path, seed=4)

    assert report.to_dict() == {
        "manifest": str(path),
        "output": str(report.output),
        "mode": "by-class",
        "seed": 4,
        "size": 32,
        "width": report.width,
        "height": report.height,
        "images": ["train/a.png", "train/b.png", "valid/a.png"],
        "notes": ["train: 2 of 2 images, 2 classes", "valid: 1 of 1 image, 1 class"],
        "faults": {},
    }


def test_images_that_cannot_be_read_are_told_by_name_with_exit_code_3(tmp_path: Path) -> None:
    listing = [(f"{number:02}.png", f"class{number:02}", "train") for number in range(13)]
    path = make_colours(tmp_path, listing)
    for number in range(1, 13):
        (tmp_path / f"{number:02}.png").unlink()

    report = show(path)

    assert report.exit_code == 3
    lines = report.summary().splitlines()
    assert lines[2:4] == ["cannot be read: 12 of 13 images", "  01.png: vanished: No such file or directory"]
    assert lines[-2] == "  and 2 more; --json tells all"
    assert len(report.to_dict()["faults"]) == 12


@pytest.mark.parametrize(
    ("options", "follows"),
    [
        ({}, "imagekit show {path} -o augment.png --augment --size 32"),
        ({"augment": True}, "imagekit show {path} -o resamplers.png --resamplers --size 32"),
        ({"image": Path("train/a.png")}, "imagekit show {path} -o augment.png --augment --image train/a.png --size 32"),
        ({"resamplers": True}, None),
    ],
)
def test_the_way_goes_from_the_many_to_one(path: Path, options: dict[str, Any], follows: str | None) -> None:
    report = show(path, **options)

    assert report.next_command == (follows and follows.format(path=path))


def test_images_that_moved_are_found_by_the_root(path: Path, tmp_path: Path) -> None:
    (path.parent / "train").rename(tmp_path / "train")
    (path.parent / "valid").rename(tmp_path / "valid")

    report = show(path, root=tmp_path)

    assert report.exit_code == 0
    assert report.next_command == f"imagekit show {path} -o augment.png --augment --root {tmp_path} --size 32"


def test_a_file_beside_the_manifest_can_be_looked_at(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("L", (20, 30), 7).save(other)

    report = show(path, image=other)

    assert report.images == (str(other),)
    assert report.notes[1:3] == ("as stored: PNG, L, 20 x 30", "upright RGB: 20 x 30")


@pytest.mark.parametrize("name", ["train/cat/two\nlines.JPEG", "train/cat/two\\nlines.JPEG"], ids=["raw", "escaped"])
def test_a_name_of_odd_signs_is_found_as_it_is_and_as_the_manifest_shows_it(tmp_path: Path, name: str) -> None:
    root = draw_tree(tmp_path / "pictures")
    draw_image(root / "train/cat/two\nlines.JPEG", "cat", seed=99)
    path = build_manifest(root, n_workers=1).output

    report = show(path, image=Path(name))

    assert report.images == ("train/cat/two\\nlines.JPEG",)
    assert report.notes[1] == "as stored: JPEG, RGB, 40 x 32"


def test_a_name_of_the_manifest_goes_before_a_file_of_that_path(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    Image.new("L", (5, 5)).save("train/a.png")

    report = show(path, image=Path("train/a.png"))

    assert report.notes[1] == "as stored: PNG, RGB, 70 x 50"


def test_the_image_of_no_train_row_is_the_first_of_the_next_split(tmp_path: Path) -> None:
    path = make_colours(tmp_path, [("a.png", "ant", "test"), ("b.png", "ant", "valid")])

    report = show(path, resamplers=True)

    assert report.images == ("b.png",)


def test_steps_show_an_image_as_stored_and_as_it_should_be_seen(path: Path, tmp_path: Path) -> None:
    halves = Image.new("RGB", (64, 32), (200, 0, 0))
    halves.paste((0, 0, 200), (32, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise: the left half comes to the top
    halves.save(tmp_path / "turned.png", exif=exif)

    report = show(path, image=tmp_path / "turned.png", side_px=256)

    with Image.open(report.output) as page:
        left, top = 20, page.height - 16 - 3 * 264 - 2 * 24 + 4
        stored = page.crop((left, top, left + 256, top + 256))
        upright = page.crop((left + 264, top, left + 264 + 256, top + 256))
    assert report.notes[1] == "as stored: PNG, RGB, 64 x 32, orientation 6"
    assert [stored.getpixel(at) for at in ((60, 128), (200, 128))] == [(200, 0, 0), (0, 0, 200)]
    assert [upright.getpixel(at) for at in ((128, 60), (128, 200))] == [(200, 0, 0), (0, 0, 200)]
    assert len(report.notes) == 1 + 9


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side_px", [31, 513])
def test_a_size_out_of_bounds_is_refused(path: Path, side_px: int) -> None:
    assert show(path, side_px=32).side_px == 32

    with pytest.raises(UsageError) as caught:
        show(path, side_px=side_px)

    assert str(caught.value) == (
        f"the size is {side_px}, must be from 32 to 512 pixels\n  where: --size\n  fix: give --size 128, say"
    )


def test_two_pictures_at_once_are_refused(path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        show(path, augment=True, resamplers=True)

    assert str(caught.value) == (
        "--augment and --resamplers ask for two different pictures\n"
        "  where: --augment --resamplers\n"
        "  fix: give one of them, and the other in a second call with an -o of its own"
    )


def test_an_earlier_picture_is_replaced_when_asked_to(path: Path) -> None:
    before = show(path).output.read_bytes()

    with pytest.raises(OutputError) as caught:
        show(path, seed=1)

    output = path.parent / "page.png"
    assert str(caught.value) == (
        f"the output exists already\n  where: {output}\n  fix: give another -o, or --overwrite to draw it anew"
    )
    assert output.read_bytes() == before
    assert show(path, seed=1, overwrite=True).output.read_bytes() != before


@pytest.mark.parametrize("kind", ["picture", "folder", "link"])
def test_what_imagekit_show_did_not_draw_is_never_replaced(path: Path, kind: str) -> None:
    output = path.parent / "page.png"
    if kind == "picture":
        buffer = io.BytesIO()
        Image.new("RGB", (9, 9)).save(buffer, "PNG")
        output.write_bytes(buffer.getvalue())
    elif kind == "folder":
        output.mkdir()
    else:
        output.symlink_to(path.parent / "nowhere")

    with pytest.raises(OutputError) as caught:
        show(path, overwrite=True)

    assert str(caught.value) == (
        "the output exists and is not a picture of imagekit show\n"
        f"  where: {output}\n"
        "  fix: give another -o, or move it away yourself"
    )


@pytest.mark.parametrize(("name", "called"), [("page.jpg", "page.jpg"), ("page", "page"), (".", "")])
def test_a_name_that_promises_another_format_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, called: str
) -> None:
    monkeypatch.chdir(path.parent)

    with pytest.raises(OutputError) as caught:
        show(path, output=name)

    assert str(caught.value) == (
        f'the output is called "{called}", and the picture is a PNG\n'
        f"  where: {name}\n"
        "  fix: give a name that ends in .png"
    )
    assert show(path, output="PAGE.PNG").output.exists()


def test_a_folder_that_is_not_there_is_not_made(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        show(path, output=tmp_path / "new" / "page.png")

    assert str(caught.value) == (
        "the folder of the output does not exist\n"
        f"  where: {tmp_path / 'new' / 'page.png'}\n"
        "  fix: make the folder, or give another -o"
    )


def test_an_image_that_is_nowhere_is_refused(path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        show(path, image=Path("train/c.png"))

    assert str(caught.value) == (
        "the image is not there: no row of the manifest has this name, and no file this path\n"
        "  where: --image train/c.png\n"
        "  fix: give a file_name of the manifest, or the path of an image file"
    )


@pytest.mark.parametrize("mode", ["augment", "resamplers"])
def test_one_image_that_cannot_be_used_leaves_nothing_to_draw(path: Path, mode: str) -> None:
    (path.parent / "train/a.png").write_bytes(b"")

    with pytest.raises(SourceError) as caught:
        show(path, **{mode: True})

    assert str(caught.value) == (
        "the image cannot be used: truncated: the file is empty (0 bytes)\n"
        f"  where: {path.parent}/train/a.png\n"
        "  fix: give another one with --image"
    )
    assert not (path.parent / "page.png").exists()


def test_an_image_without_a_meaning_in_rgb_is_refused(path: Path, tmp_path: Path) -> None:
    Image.new("F", (9, 9)).save(tmp_path / "float.tiff")

    with pytest.raises(SourceError) as caught:
        show(path, image=tmp_path / "float.tiff")

    assert str(caught.value) == (
        "the image cannot be used: unsupported-mode: mode F has no fixed range of values that fits 8-bit RGB\n"
        f"  where: {tmp_path / 'float.tiff'}\n"
        "  fix: give another one with --image"
    )


def test_a_manifest_without_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", table([]), vocab=(), class_names=())

    with pytest.raises(ManifestError) as caught:
        show(path)

    assert str(caught.value) == (
        f"the manifest has no row\n  where: {path}\n  fix: build it again from a folder that holds images"
    )
