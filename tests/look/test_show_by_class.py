"""The sheet of a manifest: a cell for every image drawn, where its split and class say; what is left out is told."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from look.pictures_of_colour import has_ink, make_colours, places, plant_colour
from manifest.handmade import list_of, row, table, write
from PIL import Image

from imagekit.errors import SourceError
from imagekit.look import by_class
from imagekit.look.by_class import draw_by_class
from imagekit.look.drawn import Drawn
from imagekit.look.picking import pick_rows
from imagekit.look.sheet import cell_for
from imagekit.look.strips import LEAST_WIDTH_PX, MARGIN_PX, STRIP_TITLE_PX, Block
from imagekit.manifest.read import read_manifest

SIDE = 32
FOLDERS = [(split, label) for split in ("test", "train", "valid") for label in ("ant", "bee")]
ZOO = [
    *((f"{split}/{label}/{number}.png", label, split) for split, label in FOLDERS for number in range(2)),
    *((f"unsup/{number}.png", None, "unsup") for number in range(3)),
]


def draw(path: Path, *, seed: int = 0, side_px: int = SIDE) -> Drawn:
    manifest = read_manifest(path)
    return draw_by_class(manifest, root=manifest.root, side_px=side_px, seed=seed)


def test_every_image_lies_where_its_split_and_class_say(tmp_path: Path) -> None:
    path = make_colours(tmp_path, ZOO)

    drawn = draw(path)

    at = places(drawn.page, len(ZOO), side_px=SIDE)
    column, second_class = cell_for(SIDE), (LEAST_WIDTH_PX + MARGIN_PX) // 2
    x, lefts = at[4][0], {number: left for number, (left, _) in at.items()}
    # the rows of the manifest are those of test, train, unsup, valid, in this order
    of_split = [x, x + column, x + second_class, x + second_class + column]
    assert [lefts[number] for number in range(8)] == of_split * 2
    assert [lefts[number] for number in (11, 12, 13, 14)] == of_split
    assert [lefts[number] for number in (8, 9, 10)] == [x, x + column, x + 2 * column]
    rows = [{at[number][1] for number in numbers} for numbers in (range(4, 8), range(11, 15), range(4), range(8, 11))]
    assert all(len(row) == 1 for row in rows)
    heights = [row.pop() for row in rows]
    assert heights == sorted(heights), "train, then valid, test, unsup"


def test_the_notes_count_what_is_shown(tmp_path: Path) -> None:
    drawn = draw(make_colours(tmp_path, ZOO))

    assert drawn.notes == (
        "train: 4 of 4 images, 2 classes",
        "valid: 4 of 4 images, 2 classes",
        "test: 4 of 4 images, 2 classes",
        "unsup: 3 of 3 images, no class",
    )
    assert len(drawn.images) == len(ZOO)
    assert drawn.images[:4] == ("train/ant/0.png", "train/ant/1.png", "train/bee/0.png", "train/bee/1.png")
    assert not drawn.faults


def test_a_class_is_titled_by_its_readable_name(tmp_path: Path) -> None:
    plain = make_colours(tmp_path / "plain", ZOO)
    named = make_colours(tmp_path / "named", ZOO, class_names=("black ant", "honey bee"))

    def title(path: Path) -> Image.Image:
        page = draw(path).page
        x, y = places(page, len(ZOO), side_px=SIDE)[4]
        return page.crop((x - 2, y - STRIP_TITLE_PX, x + 200, y - 2))

    assert has_ink(title(plain))
    assert title(plain).getbbox() == title(named).getbbox()
    assert title(plain).tobytes() != title(named).tobytes()


def test_of_a_large_class_four_are_drawn_and_the_seed_says_which(tmp_path: Path) -> None:
    path = make_colours(tmp_path, [(f"a/{number:02}.png", "ant", "train") for number in range(30)])

    first, again, other = draw(path), draw(path), draw(path, seed=1)

    assert len(first.images) == len(places(first.page, 30, side_px=SIDE)) == 4
    assert list(first.images) == sorted(first.images)
    assert first.images == again.images
    assert first.images != other.images
    assert first.notes == ("train: 4 of 30 images, 1 class",)


def test_of_many_classes_twenty_are_shown_the_same_in_each_split(tmp_path: Path) -> None:
    listing = [
        (f"{split}/{number:02}.png", f"class{number:02}", split) for split in ("train", "valid") for number in range(25)
    ]

    drawn = draw(make_colours(tmp_path, listing))

    train, valid = drawn.images[:20], drawn.images[20:]
    assert [name.removeprefix("train/") for name in train] == [name.removeprefix("valid/") for name in valid]
    assert list(train) == sorted(train)
    assert drawn.notes[0] == "train: 20 of 25 images, 20 of its 25 classes; 5 classes not shown"


def test_another_seed_draws_other_classes(tmp_path: Path) -> None:
    manifest = read_manifest(
        make_colours(tmp_path, [(f"{number:02}.png", f"class{number:02}", "train") for number in range(25)])
    )

    drawn = [{one.target for one in pick_rows(manifest, seed=seed)[0].classes} for seed in (0, 1)]

    assert drawn[0] != drawn[1]


def test_a_page_of_many_splits_ends_after_eight(tmp_path: Path) -> None:
    splits = ["train", *(f"valid:{number}" for number in range(9))]

    drawn = draw(make_colours(tmp_path, [(f"{number}.png", "ant", split) for number, split in enumerate(splits)]))

    assert len(places(drawn.page, 10, side_px=SIDE)) == 8
    assert drawn.notes[-1] == "2 splits are not shown: valid:7, valid:8"


def test_rows_with_lists_of_labels_are_shown_without_a_class(tmp_path: Path) -> None:
    rows = table(
        [row("a.png", None, labels=["red", "round"]), row("b.png", None, labels=["red"])],
        more={"labels": list_of(pa.string())},
    )
    for number, name in enumerate(("a.png", "b.png")):
        plant_colour(tmp_path / name, (90, number, 200))
    path = write(tmp_path / "rows.parquet", rows, label_columns=("colour", "form"), vocab=(), class_names=())

    drawn = draw(path)

    assert drawn.images == ("a.png", "b.png")
    assert drawn.notes == ("train: 2 of 2 images, no class",)


def test_pictures_keep_their_aspect_and_lie_in_the_middle_of_their_cell(tmp_path: Path) -> None:
    path = make_colours(tmp_path, [("a.png", "ant", "train")])
    plant_colour(tmp_path / "a.png", (90, 0, 200), size=(128, 64))

    page = draw(path, side_px=64).page

    counts = dict(map(reversed, page.getcolors(page.width * page.height)))
    assert counts[90, 0, 200] == 64 * 32


def test_an_image_that_cannot_be_read_leaves_a_note_in_its_cell(tmp_path: Path) -> None:
    path = make_colours(tmp_path, [(f"{number}.png", "ant", "train") for number in range(3)])
    whole = draw(path, side_px=128).page
    (tmp_path / "1.png").write_bytes(b"")

    drawn = draw(path, side_px=128)

    assert dict(drawn.faults) == {"1.png": "truncated: the file is empty (0 bytes)"}
    x, y = places(whole, 3, side_px=128)[1]
    assert set(places(drawn.page, 3, side_px=128)) == {0, 2}
    assert has_ink(drawn.page.crop((x, y, x + 128, y + 128)))
    assert not has_ink(drawn.page.crop((x, y, x + 128, y + 20)))


def test_images_of_which_none_can_be_read_are_refused(tmp_path: Path) -> None:
    path = make_colours(tmp_path, ZOO)
    manifest = read_manifest(path)

    with pytest.raises(SourceError) as caught:
        draw_by_class(manifest, root=tmp_path / "gone", side_px=SIDE, seed=0)

    assert str(caught.value) == (
        "none of the 15 images drawn can be read; train/ant/0.png: vanished: No such file or directory\n"
        f"  where: {tmp_path / 'gone'}\n"
        "  fix: give --root DIR, the folder that the manifest's names are relative to"
    )


def test_progress_is_told_image_by_image(tmp_path: Path) -> None:
    manifest = read_manifest(make_colours(tmp_path, ZOO))
    told: list[tuple[int, int]] = []

    draw_by_class(
        manifest, root=manifest.root, side_px=SIDE, seed=0, progress=lambda done, total: told.append((done, total))
    )

    assert told == [(number, len(ZOO)) for number in range(1, len(ZOO) + 1)]


def test_each_class_is_titled_with_its_own_name_and_all_its_images(tmp_path: Path, monkeypatch) -> None:
    many = [*ZOO, *((f"train/bee/more{number}.png", "bee", "train") for number in range(6))]
    drawn: list[Block] = []
    monkeypatch.setattr(by_class, "draw_page", lambda title, intro, blocks, **options: drawn.extend(blocks))

    draw(make_colours(tmp_path, many, class_names=("black ant", "honey bee")))

    assert [(block.heading, [strip.title for strip in block.strips]) for block in drawn] == [
        ("train: 10 images, 2 classes", ["black ant (ant): 2 images", "honey bee (bee): 8 images"]),
        ("valid: 4 images, 2 classes", ["black ant (ant): 2 images", "honey bee (bee): 2 images"]),
        ("test: 4 images, 2 classes", ["black ant (ant): 2 images", "honey bee (bee): 2 images"]),
        ("unsup: 3 images, no label", [""]),
    ]
