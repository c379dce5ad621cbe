"""Items that are loaded when they are asked for."""

import gc
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from trees import draw_image, draw_tree

from imagekit.data.items import ImageList, ItemList
from imagekit.data.order import SampleRef
from imagekit.errors import ImageError, ManifestError, ShapeError, SourceError
from imagekit.files.walk import Walk
from imagekit.manifest.build import build_manifest
from imagekit.manifest.read import read_manifest
from imagekit.transforms.crops import RandomResizedCrop
from imagekit.transforms.draws import make_keys, uniform
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import make_rgb, to_byte_tensor

RANDOM = (make_rgb, RandomResizedCrop(16), RandomFlip(), to_byte_tensor)


@dataclass(frozen=True)
class AddDraw(ItemTransform):
    """The item plus its draw, so that a test sees which draw it got."""

    _order: ClassVar[int] = 1
    stream: ClassVar[str] = "test.add_draw"
    n_draws = 1

    def apply(self, item, draws):
        return item + draws[0]


class Doubles(ItemList):
    """A list whose items are loaded in a way of its own."""

    def get(self, item):
        return 2 * item


def add_ten(item):
    return item + 10


def first(item):
    return -item


first._order = -1


@pytest.fixture
def root(tmp_path):
    return draw_tree(tmp_path / "pictures")


@pytest.fixture
def manifest(manifest_path):
    return read_manifest(manifest_path)


def names(il):
    return [item.relative_to(il.path).as_posix() for item in il.items]


def test_an_item_without_transforms_is_itself():
    il = ItemList(["a", "b"])

    assert (il[1], il[:], il.path) == ("b", ["a", "b"], Path())


def test_a_subclass_says_what_an_item_stands_for_and_it_is_transformed_by_order():
    il = Doubles([1, 2, 3], tfms=[add_ten, first])

    assert il[0] == 8
    assert il[1:] == [6, 4]
    assert il[[2, 0]] == [4, 8]
    assert il[[True, False, True]] == [8, 4]
    assert list(il) == [8, 6, 4]
    assert il.items == [1, 2, 3]
    assert il.tfms == (first, add_ten)


def test_one_function_is_a_list_of_transforms():
    assert ItemList([1], tfms=add_ten)[0] == 11


def test_other_transforms_can_be_given_later():
    il = ItemList([1], tfms=add_ten)

    il.tfms = [add_ten, add_ten]

    assert il[0] == 21


def test_a_new_list_keeps_class_path_transforms_and_seed():
    il = Doubles([1], "some/folder", tfms=[add_ten, AddDraw()], seed=4)

    new, plain = il.new([5]), il.new([5], cls=ItemList)

    assert (type(new), type(plain)) == (Doubles, ItemList)
    for other in (new, plain):
        assert (other.items, other.path, other.tfms, other.seed) == ([5], il.path, il.tfms, 4)


def test_the_draws_of_an_item_are_keyed_by_its_position_whatever_else_is_asked_for():
    il = ItemList([0] * 6, tfms=[AddDraw()], seed=9)
    keys_B = make_keys(seed=9, epoch=0, ids_B=torch.arange(6))
    expected = uniform(keys_B, stream="test.add_draw")[:, 0].tolist()

    assert [il[i] for i in range(6)] == expected
    assert il[4:] == expected[4:]
    assert il[[5, -6]] == [expected[5], expected[0]]
    assert il[-1] == expected[-1]


def test_functions_and_transforms_that_draw_can_be_mixed():
    il = ItemList([0], tfms=[add_ten, AddDraw(), AddDraw()])
    keys_B = make_keys(seed=0, epoch=0, ids_B=torch.arange(1))

    draws = [uniform(keys_B, stream=stream).item() for stream in ("test.add_draw", "test.add_draw#2")]

    assert il[0] == 10 + draws[0] + draws[1]


def test_a_batch_of_an_epoch_comes_with_its_keys():
    il = ItemList([0] * 4, tfms=[AddDraw()], seed=2)

    items, keys_B = il.load([SampleRef(3, 2), SampleRef(3, 0)])

    assert keys_B.equal(make_keys(seed=2, epoch=3, ids_B=torch.tensor([2, 0])))
    assert items == uniform(keys_B, stream="test.add_draw")[:, 0].tolist()


def test_no_positions_give_no_items():
    assert ItemList([1, 2], tfms=[AddDraw()])[[]] == []


def test_a_list_shows_its_items_untransformed_and_its_path():
    assert repr(Doubles([1, 2], "some/folder", tfms=add_ten)) == "Doubles (2 items)\n[1, 2]\nPath: some/folder"


def test_an_index_outside_names_the_list():
    with pytest.raises(IndexError) as caught:
        Doubles([1, 2])[2]

    assert str(caught.value) == "index 2 is outside the 2 items of Doubles"


def test_images_are_found_sorted_below_a_folder(root):
    il = ImageList.from_files(root)

    assert names(il)[:4] == ["train/cat/0.JPEG", "train/cat/1.JPEG", "train/cat/2.JPEG", "train/cat/3.JPEG"]
    assert names(il) == sorted(names(il))
    assert len(il) == 18
    assert il.path == root
    assert ImageList.from_files(str(root)).items == il.items


def test_an_image_is_what_is_stored_decoded_and_upright(tmp_path):
    stored = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    sideways = Image.Exif()
    sideways[0x0112] = 6
    stored.save(tmp_path / "a.png", exif=sideways)

    image = ImageList.from_files(tmp_path)[0]

    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("L", (3, 4))
    assert np.array_equal(np.asarray(image), np.rot90(np.asarray(stored), -1))


def test_extensions_recursion_and_folders_can_be_chosen(root):
    draw_image(root / "top.png", "cat", seed=50)
    Image.new("RGB", (4, 4)).save(root / "train/cat/a.bmp")

    assert names(ImageList.from_files(root, [".BMP"])) == ["train/cat/a.bmp"]
    assert names(ImageList.from_files(root, recurse=False)) == ["top.png"]
    assert len(ImageList.from_files(root, include=["val"])) == 6
    assert ImageList.from_files(root, None, True, ["val"], make_rgb, seed=5).seed == 5


def test_a_file_called_png_is_no_image_and_hidden_folders_stay_hidden(root):
    (root / "train/cat/png").write_bytes((root / "train/cat/0.JPEG").read_bytes())
    draw_image(root / ".hidden/cat/0.JPEG", "cat", seed=60)
    draw_image(root / "val/cat/.0.JPEG", "cat", seed=61)

    assert len(ImageList.from_files(root)) == 18
    assert len(ImageList.from_files(root, include=["train", ".hidden"])) == 12


def test_a_folder_without_images_is_an_error_that_says_what_was_seen(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")

    with pytest.raises(SourceError) as caught:
        ImageList.from_files(tmp_path)

    assert str(caught.value) == (
        "no image is found; files that are no images, and symlinks: 1\n"
        f"  where: {tmp_path}\n"
        "  fix: give the folder that holds the images; extensions, recurse and include say what counts"
    )


@pytest.mark.parametrize(
    ("n_locked", "what"),
    [
        (1, "1 folder cannot be read: 0 (Permission denied)"),
        (3, "3 folders cannot be read: 0 (Permission denied), 1 (Permission denied), 2 (Permission denied)"),
        (4, "4 folders cannot be read: 0 (Permission denied), 1 (Permission denied), 2 (Permission denied), ..."),
    ],
)
def test_a_folder_that_cannot_be_read_is_an_error_and_not_a_shorter_list(tmp_path, monkeypatch, n_locked, what):
    for number in range(5):
        draw_image(tmp_path / str(number) / "1.JPEG", "cat", seed=number)
    open_folder = Walk._open

    def refuse(walk, prefix):
        if prefix[:-1] in map(str, range(n_locked)):
            raise PermissionError(13, "Permission denied")
        return open_folder(walk, prefix)

    monkeypatch.setattr(Walk, "_open", refuse)

    with pytest.raises(SourceError) as caught:
        ImageList.from_files(tmp_path)

    assert str(caught.value) == (
        f"{what}\n  where: {tmp_path}\n  fix: give them read permission, or name the folders to list: include=[...]"
    )
    assert len(ImageList.from_files(tmp_path, include=["4"])) == 1


def test_no_file_is_opened_until_it_is_asked_for(root):
    il = ImageList.from_files(root, tfms=[make_rgb])
    for item in il.items[1:]:
        item.unlink()

    image, *_ = il[:1]

    assert image.size == (40, 32)
    with pytest.raises(ImageError) as caught:
        il[1]
    assert str(caught.value) == f"vanished: No such file or directory\n  where: {root / 'train/cat/1.JPEG'}"


def test_an_image_that_cannot_be_decoded_is_named(root):
    (root / "train/cat/1.JPEG").write_bytes(b"no picture")
    il = ImageList.from_files(root)
    text = (
        f"unidentified: the content is no known image; it begins with b'no pictu'\n  where: {root / 'train/cat/1.JPEG'}"
    )

    for load in (lambda: il[1], lambda: il.get(il.items[1])):
        with pytest.raises(ImageError) as caught:
            load()
        assert str(caught.value) == text


def test_an_image_that_a_transform_refuses_is_named(tmp_path):
    Image.new("F", (4, 4), 0.5).save(tmp_path / "a.tif")

    il = ImageList.from_files(tmp_path, tfms=[make_rgb])

    assert il.get(il.items[0]).mode == "F"
    with pytest.raises(ImageError) as caught:
        il[0]
    assert str(caught.value) == (
        f"unsupported-mode: mode F has no fixed range of values that fits 8-bit RGB\n  where: {tmp_path / 'a.tif'}"
    )


@pytest.mark.parametrize(
    ("mode", "name", "colours", "in_rgb"),
    [
        ("1", "a.png", (0, 1), [(0, 0, 0), (255, 255, 255)]),
        ("P", "a.png", (0, 1), [(200, 10, 30), (5, 6, 7)]),
        ("LA", "a.png", ((90, 255), (90, 0)), [(90, 90, 90), (255, 255, 255)]),
        ("CMYK", "a.tif", ((0, 255, 255, 0), (0, 0, 0, 255)), [(255, 0, 0), (0, 0, 0)]),
        ("L", "a.png", (7, 8), [(7, 7, 7), (8, 8, 8)]),
    ],
)
def test_every_mode_comes_as_stored_and_out_right_through_make_rgb(tmp_path, mode, name, colours, in_rgb):
    stored = Image.new(mode, (2, 1))
    if mode == "P":
        stored.putpalette([200, 10, 30, 5, 6, 7])
    for x, colour in enumerate(colours):
        stored.putpixel((x, 0), colour)
    stored.save(tmp_path / name)

    il = ImageList.from_files(tmp_path, tfms=[to_byte_tensor, make_rgb])

    assert il.get(il.items[0]).mode == mode
    assert il[0].permute(1, 2, 0).tolist() == [[list(colour) for colour in in_rgb]]


def test_no_file_stays_open_while_images_are_in_use(root):
    il = ImageList.from_files(root)
    with il.items[0].open() as probe:
        lowest = probe.fileno()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        images = il[:]
        with il.items[0].open() as probe:
            in_use = probe.fileno()
        for item in il.items:
            item.unlink()
        pixels = [image.getpixel((0, 0)) for image in images]
        del images
        gc.collect()

    assert in_use == lowest
    assert len(pixels) == 18
    assert told == []


def test_a_link_to_an_image_is_followed_where_the_list_names_it(root):
    link = root / "link.JPEG"
    link.symlink_to("train/cat/0.JPEG")

    assert ImageList([link])[0] == ImageList.from_files(root)[0]
    assert link not in ImageList.from_files(root).items


def test_the_images_of_a_manifest_are_those_of_its_folder(manifest):
    of_folder = ImageList.from_files(manifest.root, tfms=[ResizeFixed(8), make_rgb, to_byte_tensor])

    of_manifest = ImageList.from_manifest(manifest, tfms=of_folder.tfms)

    assert names(of_manifest) == names(of_folder)
    assert all(one.equal(other) for one, other in zip(of_manifest, of_folder, strict=True))


def test_the_images_of_one_split_can_lie_under_another_root(manifest, tmp_path):
    moved = manifest.root.rename(tmp_path / "moved")

    il = ImageList.from_manifest(manifest, "valid", root=moved, seed=3)

    assert (len(il), il.path, il.seed) == (6, moved, 3)
    assert il[0].size == (40, 32)


def test_a_name_that_is_not_utf8_is_found_by_folder_and_by_manifest(tmp_path):
    draw_tree(tmp_path, n_train=1, n_valid=1)
    raw = Path(str(tmp_path / "train/cat") + "/caf\udce9.JPEG")
    draw_image(tmp_path / "x.JPEG", "cat", seed=70)
    try:
        (tmp_path / "x.JPEG").rename(raw)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    manifest = read_manifest(build_manifest(tmp_path, n_workers=1).output)

    lists = [ImageList.from_files(tmp_path, include=["train"]), ImageList.from_manifest(manifest, "train")]

    for il in lists:
        assert raw.name in [item.name for item in il.items]
        assert len(il[:]) == 3


def test_a_split_that_is_not_there_lists_those_that_are(manifest):
    with pytest.raises(ManifestError) as caught:
        ImageList.from_manifest(manifest, "test")

    assert str(caught.value) == f"no row has split test\n  where: {manifest.path}\n  fix: known: train, valid"


def test_a_list_of_images_can_be_pickled(root):
    il = ImageList.from_files(root, tfms=RANDOM, seed=1)

    copy = pickle.loads(pickle.dumps(il))

    assert copy.items == il.items
    assert all(one.equal(other) for one, other in zip(copy, il, strict=True))


def test_a_new_list_keeps_what_a_subclass_added():
    class Sounds(ItemList):
        def __init__(self, items, *, rate):
            super().__init__(items, "sounds")
            self.rate = rate

    made = Sounds([1, 2], rate=8000).new([3])

    assert (made.rate, made.items, str(made.path)) == (8000, [3], "sounds")


def test_a_forgotten_step_to_rgb_names_the_file_and_the_step(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "grey.png")
    il = ImageList.from_files(tmp_path, tfms=[ResizeFixed(4)])

    with pytest.raises(ShapeError) as caught:
        il[0]

    assert str(caught.value) == (
        "the image has mode L, must be RGB\n"
        f"  where: {tmp_path / 'grey.png'}, resize: image\n"
        "  fix: put make_rgb before the other transforms"
    )


def test_drawings_that_no_decoder_reads_are_not_found(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.PNG")
    (tmp_path / "b.svg").write_text("<svg/>")

    assert [path.name for path in ImageList.from_files(tmp_path).items] == ["a.PNG"]
