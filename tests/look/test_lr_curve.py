"""The picture of a search for a learning rate: what is drawn, and which file may be replaced by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagekit.errors import OutputError, ShapeError
from imagekit.look.lines import COLOURS, DOTS
from imagekit.look.lr_curve import draw_lr_curve
from imagekit.look.marked_png import check_picture, write_picture

LINE, FIRST_MARK, SECOND_MARK = COLOURS[:3]
MAKER = "imagekit find-lr"
LRS = [1e-6 * 1e7 ** (i / 100) for i in range(100)]
FALL = [*np.linspace(2.3, 2.3, 40), *np.linspace(2.3, 1.5, 40), *np.linspace(1.5, 15, 20)]


def count_pixels(image: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(image) == colour).all(axis=2).sum())


def columns_of(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """The pixel columns below the legend where the colour is."""
    return np.flatnonzero((np.asarray(image)[80:] == colour).all(axis=2).any(axis=0))


def test_dots_the_line_and_the_marks_are_drawn():
    image = draw_lr_curve(LRS, FALL, FALL, marked={"falls fastest": 1e-3, "least / 10": 1e-2})

    assert (image.size, image.mode) == ((820, 480), "RGB")
    assert all(count_pixels(image, colour) > 100 for colour in (DOTS, LINE, FIRST_MARK, SECOND_MARK))


def test_a_mark_stands_at_its_rate():
    image = draw_lr_curve(LRS, [2.0] * 50 + [1.0] * 50, [2.0] * 50 + [1.0] * 50, marked={"falls fastest": LRS[50]})

    line, mark = columns_of(image, LINE), columns_of(image, FIRST_MARK)
    assert abs(mark.mean() - line[0] - 50 / 99 * (line[-1] - line[0])) < 3


def test_the_explosion_at_the_end_does_not_press_the_fall_flat():
    # 0.8 of fall and 13 of explosion: drawn whole, the fall would have a sixteenth of the height
    rows = np.flatnonzero((np.asarray(draw_lr_curve(LRS, FALL, FALL))[100:] == LINE).all(axis=2).any(axis=1))

    assert rows[-1] - rows[0] > 200


@pytest.mark.parametrize(
    "losses", [[], [2.3], [1.0] * 50, list(np.linspace(1, 9, 50))], ids=["none", "one", "flat", "rising"]
)
def test_curves_without_a_fall_are_drawn_whole(losses: list[float]):
    image = draw_lr_curve(LRS[: len(losses)], losses, losses)

    assert count_pixels(image, LINE) == 0
    assert (count_pixels(image, DOTS) > 20) or not losses


def test_lengths_that_differ_are_refused():
    with pytest.raises(ShapeError) as caught:
        draw_lr_curve([1.0, 2.0], [1.0], [1.0])

    assert str(caught.value) == (
        "there are 2 lrs, 1 losses and 1 smoothed ones\n  where: draw_lr_curve\n  fix: give one of each for every step"
    )


def test_the_same_picture_gives_the_same_bytes_and_is_known_again(tmp_path: Path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        check_picture(path, maker=MAKER, overwrite=False)
        write_picture(path, draw_lr_curve(LRS, FALL, FALL), maker=MAKER)

    assert first.read_bytes() == second.read_bytes()
    check_picture(first, maker=MAKER, overwrite=True)
    with pytest.raises(OutputError) as caught:
        check_picture(first, maker=MAKER, overwrite=False)
    assert str(caught.value) == (
        f"the output exists already\n  where: {first}\n  fix: give another -o, or --overwrite to draw it anew"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "lr.jpg",
            'the output is called "lr.jpg", and the picture is a PNG\n'
            "  where: {}\n  fix: give a name that ends in .png",
        ),
        (
            "none/lr.png",
            "the folder of the output does not exist\n  where: {}\n  fix: make the folder, or give another -o",
        ),
        (
            "mine.png",
            "the output exists and is not a picture of imagekit find-lr\n"
            "  where: {}\n  fix: give another -o, or move it away yourself",
        ),
        (
            "folder.png",
            "the output exists and is not a picture of imagekit find-lr\n"
            "  where: {}\n  fix: give another -o, or move it away yourself",
        ),
    ],
)
def test_where_no_picture_may_be_written_the_reason_is_said(tmp_path: Path, name: str, message: str):
    Image.new("RGB", (8, 8)).save(tmp_path / "mine.png")
    (tmp_path / "folder.png").mkdir()

    with pytest.raises(OutputError) as caught:
        check_picture(tmp_path / name, maker=MAKER, overwrite=True)

    assert str(caught.value) == message.format(tmp_path / name)
