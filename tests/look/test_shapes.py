"""The drawn source: the same bytes each time, clear contrast, and every planted oddity is what the list says."""

import errno
import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagekit.errors import ImageError, UsageError
from imagekit.files.names import display_name
from imagekit.look import shapes
from imagekit.look.shapes import MIN_CONTRAST, N_RECIPE_CLASSES, SHAPES_CLASSES, draw_figure, draw_shapes, pick_colours
from imagekit.pixels.dhash import dhash
from imagekit.pixels.open import open_image, read_header
from imagekit.pixels.rgb import to_rgb
from imagekit.pixels.upright import upright, upright_size


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return draw_shapes(tmp_path_factory.mktemp("source"), n_train_per_class=4, n_valid_per_class=2)


def all_files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {display_name(os.fsencode(path.relative_to(root))): path.read_bytes() for path in found}


def planted_bytes(source, kind: str) -> bytes:
    planted = next(planted for planted in source.planted if planted.kind == kind)
    return all_files(source.root)[planted.path]


def levels(image: Image.Image) -> tuple[float, float]:
    """Mean luminance of the darker and the lighter part, parted where they differ most (Otsu's threshold)."""
    values = np.sort(np.asarray(image.convert("L"), np.float64).ravel())
    n = np.arange(1, values.size)
    low = np.cumsum(values)[:-1] / n
    high = (values.sum() - np.cumsum(values)[:-1]) / (values.size - n)
    at = np.argmax(n * (values.size - n) * (high - low) ** 2)
    return float(low[at]), float(high[at])


# -- the tree --------------------------------------------------------------------------------------------------------


def test_every_class_has_its_pictures_in_both_splits(source):
    planted = {planted.path for planted in source.planted}
    drawn = [Path(name) for name in all_files(source.root) if name not in planted]

    counts = Counter((path.parts[0], path.parts[1]) for path in drawn)

    assert counts == {("train", id): 4 for id in SHAPES_CLASSES} | {("val", id): 2 for id in SHAPES_CLASSES}
    assert {path.suffix for path in drawn} == {".JPEG"}


def test_a_clean_picture_is_an_rgb_jpeg_of_uneven_sides(source):
    planted = {planted.path for planted in source.planted}
    for name, data in all_files(source.root).items():
        if name not in planted:
            header = read_header(data)
            assert (header.format, header.mode, header.orientation) == ("JPEG", "RGB", 1)
            assert 96 <= min(header.width, header.height) < max(header.width, header.height) <= 140


def test_every_file_that_was_not_drawn_is_on_the_list(source):
    drawn = {
        f"{split}/{id}/{id}_{index:04d}.JPEG"
        for split, indices in (("train", range(4)), ("val", range(4, 6)))
        for id in SHAPES_CLASSES
        for index in indices
    }

    assert set(all_files(source.root)) - drawn == {planted.path for planted in source.planted}
    assert len({planted.path for planted in source.planted}) == len(source.planted)


def test_the_recipe_takes_the_first_ten_classes_and_dirt_lies_in_them(source):
    recipe = list(SHAPES_CLASSES)[:N_RECIPE_CLASSES]

    assert list(SHAPES_CLASSES.values())[N_RECIPE_CLASSES:] == ["zigzag", "heart"]
    assert {Path(planted.path).parts[1] for planted in source.planted} <= set(recipe)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, source):
    again = draw_shapes(tmp_path / "again", n_train_per_class=4, n_valid_per_class=2)
    other = draw_shapes(tmp_path / "other", n_train_per_class=4, n_valid_per_class=2, seed=1)

    assert all_files(again.root) == all_files(source.root)
    assert again.planted == source.planted == other.planted
    name = "train/s00000001/s00000001_0000.JPEG"
    assert all_files(other.root)[name] != all_files(source.root)[name]


def test_a_picture_does_not_depend_on_how_many_are_drawn(tmp_path, source):
    few = all_files(draw_shapes(tmp_path, n_train_per_class=1, n_valid_per_class=1).root)
    many = all_files(source.root)

    assert all(data == many[name] for name, data in few.items() if name.startswith("train/"))


def test_drawing_again_into_the_same_folder_changes_nothing(tmp_path):
    first = all_files(draw_shapes(tmp_path, n_train_per_class=1, n_valid_per_class=1).root)

    assert all_files(draw_shapes(tmp_path, n_train_per_class=1, n_valid_per_class=1).root) == first


def test_the_default_source_has_a_hundred_pictures_a_class(monkeypatch, tmp_path):
    monkeypatch.setattr(shapes, "draw_figure", lambda name, *, rng, side_px: Image.new("RGB", (side_px, side_px + 1)))

    source = draw_shapes(tmp_path)

    counts = Counter(Path(name).parts[0] for name in all_files(source.root))
    n_planted = Counter(Path(planted.path).parts[0] for planted in source.planted)
    assert counts == {"train": 12 * 80 + n_planted["train"], "val": 12 * 20 + n_planted["val"]}


# -- what is planted -------------------------------------------------------------------------------------------------


def test_every_kind_of_oddity_is_planted(source):
    assert Counter(planted.kind for planted in source.planted) == {
        "truncated": 1,
        "cmyk": 1,
        "exif-rotated": 1,
        "16-bit": 1,
        "misnamed": 1,
        "animated": 1,
        "odd-name": 4,
        "duplicate": 1,
        "not-image": 1,
        "hidden": 1,
        "empty": 1,
    }


def test_what_is_expected_of_an_oddity_is_what_the_reader_does(source):
    files = all_files(source.root)
    for planted in source.planted:
        if planted.expected.startswith("quarantined: "):
            with pytest.raises(ImageError) as caught:
                open_image(files[planted.path])
            assert caught.value.reason == planted.expected.removeprefix("quarantined: ")
        elif planted.expected.startswith("kept"):
            rgb = to_rgb(upright(open_image(files[planted.path])))
            low, high = levels(rgb)
            assert high - low >= 80, planted
        else:
            assert planted.expected in ("not an image", "hidden, passed over")


@pytest.mark.parametrize(
    ("kind", "format", "mode", "n_frames", "orientation"),
    [
        ("cmyk", "JPEG", "CMYK", 1, 1),
        ("exif-rotated", "JPEG", "RGB", 1, 6),
        ("16-bit", "PNG", "I;16", 1, 1),
        ("misnamed", "PNG", "RGB", 1, 1),
        ("animated", "GIF", "P", 3, 1),
    ],
)
def test_an_odd_picture_is_stored_as_its_kind_says(source, kind, format, mode, n_frames, orientation):
    picture = open_image(planted_bytes(source, kind))

    assert (picture.format, picture.mode) == (format, mode)
    assert (picture.n_frames, picture.orientation) == (n_frames, orientation)
    assert min(upright_size(picture)) >= 96


def test_the_sixteen_bit_picture_would_be_flat_if_it_were_clipped(source):
    picture = open_image(planted_bytes(source, "16-bit")).image

    assert np.asarray(picture).min() > 255
    assert np.asarray(to_rgb(picture)).std() > 10


def test_the_misnamed_picture_ends_in_jpeg(source):
    assert next(planted.path for planted in source.planted if planted.kind == "misnamed").endswith(".JPEG")


def test_the_duplicate_repeats_a_train_picture_in_val(source):
    planted = next(planted for planted in source.planted if planted.kind == "duplicate")
    twin = planted.expected.removeprefix("kept, the same bytes as ")

    assert (planted.path.split("/")[0], twin.split("/")[0]) == ("val", "train")
    assert all_files(source.root)[planted.path] == all_files(source.root)[twin]


def test_odd_names_are_shown_escaped(source):
    names = [Path(planted.path).name for planted in source.planted if planted.kind == "odd-name"]

    assert names == [r"two\nlines.JPEG", r"red\x1b[31m.JPEG", r"caf\xe9.JPEG", 'it\'s a "ring".JPEG']


def refuse_odd_names(monkeypatch, code: int, *, only: str) -> None:
    write = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        if only in str(path):
            raise OSError(code, os.strerror(code))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def test_a_name_that_the_file_system_refuses_is_left_out_of_the_list(monkeypatch, tmp_path):
    refuse_odd_names(monkeypatch, errno.EILSEQ, only="\udce9")

    source = draw_shapes(tmp_path, n_train_per_class=1, n_valid_per_class=1)

    assert set(all_files(tmp_path)) >= {planted.path for planted in source.planted}
    assert Counter(planted.kind for planted in source.planted)["odd-name"] == 3


def test_a_full_disk_is_not_taken_for_a_refused_name(monkeypatch, tmp_path):
    refuse_odd_names(monkeypatch, errno.ENOSPC, only="\udce9")

    with pytest.raises(OSError, match="No space left"):
        draw_shapes(tmp_path, n_train_per_class=1, n_valid_per_class=1)


# -- the figures -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(seed=st.integers(0, 2**63))
def test_figure_and_ground_are_far_apart_in_luminance(seed):
    figure, ground = pick_colours(np.random.default_rng(seed))

    luma = np.array([0.299, 0.587, 0.114])
    assert abs(float(figure @ luma) - float(ground @ luma)) >= MIN_CONTRAST - 1e-3
    assert min(figure.min(), ground.min()) >= 28 and max(figure.max(), ground.max()) < 228


@pytest.mark.parametrize("name", SHAPES_CLASSES.values())
def test_a_drawn_picture_keeps_eighty_grey_levels_of_contrast(name):
    for seed in range(25):
        picture = draw_figure(name, rng=np.random.default_rng(seed), side_px=96)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=88)

        low, high = levels(Image.open(buffer))

        assert high - low >= 80, seed


def test_either_figure_or_ground_may_be_the_lighter():
    luma = np.array([0.299, 0.587, 0.114])
    pairs = [pick_colours(np.random.default_rng(seed)) for seed in range(400)]

    lighter = sum(float(figure @ luma) > float(ground @ luma) for figure, ground in pairs)

    assert 140 < lighter < 260  # 200, give or take six standard deviations


@pytest.mark.parametrize("name", SHAPES_CLASSES.values())
def test_a_figure_covers_a_fair_part_of_the_picture_and_stays_off_its_rim(name):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        picture = np.asarray(draw_figure(name, rng=rng, side_px=96).convert("L"), np.float64)
        low, high = levels(Image.fromarray(picture.astype(np.uint8)))
        lighter = picture > (low + high) / 2
        rim = np.concatenate([lighter[0], lighter[-1], lighter[:, 0], lighter[:, -1]])
        figure = lighter if rim.mean() < 0.5 else ~lighter

        assert 0.03 < figure.mean() < 0.5, seed
        assert min(rim.mean(), 1 - rim.mean()) < 0.05, seed


def test_no_two_pictures_are_near_identical_to_the_difference_hash():
    hashes = [
        dhash(draw_figure(name, rng=np.random.default_rng([number, seed]), side_px=96))
        for number, name in enumerate(SHAPES_CLASSES.values())
        for seed in range(20)
    ]

    distances = [(one ^ other).bit_count() for index, one in enumerate(hashes) for other in hashes[:index]]

    assert min(distances) > 3  # at most 3 would make them one group, and a leak where splits differ


def test_pictures_of_one_class_differ():
    pictures = {draw_figure("star", rng=np.random.default_rng(seed), side_px=64).tobytes() for seed in range(20)}

    assert len(pictures) == 20


def test_the_side_can_be_chosen(tmp_path):
    source = draw_shapes(tmp_path, n_train_per_class=1, n_valid_per_class=1, side_px=40)

    header = read_header(all_files(source.root)["train/s00000004/s00000004_0000.JPEG"])
    assert 40 <= min(header.width, header.height) <= 45


@pytest.mark.parametrize(
    ("key", "value", "least"), [("n_train_per_class", 0, 1), ("n_valid_per_class", -1, 1), ("side_px", 31, 32)]
)
def test_an_argument_below_its_least_is_refused(tmp_path, key, value, least):
    with pytest.raises(UsageError) as caught:
        draw_shapes(tmp_path, **{key: value})

    assert str(caught.value) == f"{key} is {value}, must be at least {least}\n  where: draw_shapes: {key}"
    assert not list(tmp_path.iterdir())
