"""Layouts: which names fit one, and which one a source seems to have."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ImagekitError, LabelError, SourceError
from imagekit.rules.layouts import LAYOUTS, Detected, detect_layout, fits_layout
from imagekit.rules.splitters import SPLIT_SYNONYMS

FIX_LABELS = 'write a recipe with label = "table:FILE", label = "name:REGEX" or label = "folder:N"'
AUTO = 'layout = "auto"'


def column(names):
    raws = [name if isinstance(name, bytes) else name.encode() for name in names]
    return pa.array(sorted(raws), type=pa.large_binary())


def detect(names, others=()):
    return detect_layout(column(names), column(others))


def files(folder, n, *, extension="jpg"):
    return [f"{folder}/{i:03d}.{extension}" for i in range(n)]


def refusal(kind, names, others=()):
    with pytest.raises(ImagekitError) as caught:
        detect(names, others)
    assert type(caught.value) is kind
    return str(caught.value)


def text(what, fix, where=AUTO):
    return f"{what}\n  where: {where}\n  fix: {fix}"


# fits_layout


@pytest.mark.parametrize(
    ("name", "layouts"),
    [
        ("1.jpg", {"flat"}),
        ("cat/1.jpg", {"class", "tree"}),
        ("train/1.jpg", {"class", "tree", "split/tree"}),
        ("train/cat/1.jpg", {"tree", "split/class", "split/tree"}),
        ("VAL/cat/1.jpg", {"tree", "split/class", "split/tree"}),
        ("cat/train/1.jpg", {"tree"}),
        ("trainer/cat/1.jpg", {"tree"}),
        ("train/cat/images/1.jpg", {"tree", "split/tree"}),
        ("a/b/c/d/1.jpg", {"tree"}),
        (b"\xff\n\xfe/\n.jpg", {"class", "tree"}),
        (b"train/\xff/\n\xfe", {"tree", "split/class", "split/tree"}),
        ("dev/é/ü.jpg", {"tree", "split/class", "split/tree"}),
    ],
)
def test_a_name_fits_these_layouts_and_no_other(name, layouts):
    assert {layout for layout in LAYOUTS if fits_layout(column([name]), layout)[0]} == layouts | {"list"}


@pytest.mark.parametrize("folder", SPLIT_SYNONYMS)
def test_every_known_split_folder_fits(folder):
    assert fits_layout(column([f"{folder}/a/1.jpg", f"{folder.title()}/a/1.jpg"]), "split/class").all()


def test_the_answer_is_in_the_order_of_the_names():
    names = pa.array([b"b/1", b"0", b"a/b/1", b"a/1"], type=pa.large_binary())

    assert fits_layout(names, "class").tolist() == [True, False, False, True]


def test_no_names_fit_no_layout():
    assert [len(fits_layout(column([]), layout)) for layout in LAYOUTS] == [0] * 6


def test_an_unknown_layout_is_refused_with_the_nearest():
    with pytest.raises(LabelError) as caught:
        fits_layout(column(["a/1.jpg"]), "split-class")

    known = "known: class, flat, list, split/class, split/tree, tree"
    assert str(caught.value) == text(
        'the layout "split-class" is not known', f'did you mean "split/class"? {known}', where="layout"
    )


@given(st.lists(st.text("at/rin", min_size=1, max_size=12), max_size=8))
def test_fitting_is_the_same_as_counting_folders(names):
    folders = [name.split("/")[:-1] for name in sorted(names)]
    full = ["" not in name.split("/") for name in sorted(names)]

    fits = fits_layout(column(names), "class").tolist()

    assert [a for a, ok in zip(fits, full, strict=True) if ok] == [
        len(f) == 1 for f, ok in zip(folders, full, strict=True) if ok
    ]


# split folders with class folders


def test_split_folders_with_class_folders_are_told_with_their_counts():
    names = [*files("train/n1", 700), *files("train/n2", 769), *files("val/n1", 25), *files("val/n2", 10)]

    assert detect(names) == Detected(
        layout="split/class",
        label="parent",
        split="folders",
        why="layout split/class: train/ (1,469 images), val/ (35)",
    )


def test_a_few_images_elsewhere_change_nothing_and_are_told():
    names = [*files("train/a", 50), *files("train/b", 50), *files("val/a", 50), "README.png", "docs/a.png"]

    found = detect(names)

    assert (found.layout, found.why) == (
        "split/class",
        "layout split/class: train/ (100 images), val/ (50); 2 images elsewhere",
    )


def test_one_image_elsewhere_is_one_image():
    assert detect([*files("train/a", 50), *files("val/a", 50), "a.png"]).why.endswith("; 1 image elsewhere")


def test_every_spelling_of_a_split_folder_is_found_in_the_order_of_the_splits():
    names = [f"{folder}/{c}/1.jpg" for folder in ("UNSUP", "Test", "val", "dev", "Training") for c in "ab"]

    found = detect(names)

    told = "Training/ (2 images), dev/ (2), val/ (2), Test/ (2), UNSUP/ (2)"
    assert (found.split, found.why) == ("folders", f"layout split/class: {told}")


def test_a_single_class_is_a_class_unless_its_folder_is_called_images():
    assert detect(["train/cat/1.jpg", "val/cat/2.jpg"]).layout == "split/class"
    assert refusal(LabelError, ["train/Images/1.jpg", "val/Images/2.jpg"]) == text(
        "nothing tells the labels of the 1 image in train/: they lie in no class folders, and no table lists them",
        FIX_LABELS,
    )


def test_a_single_split_folder_splits_nothing():
    found = detect([*files("train/a", 3), *files("train/b", 3)])

    assert (found.layout, found.split, found.why) == ("split/class", "none", "layout split/class: train/ (6 images)")


def test_deeper_class_folders_are_labelled_by_the_second_folder():
    names = [f"{split}/{c}/images/{i}.jpg" for split in ("train", "val") for c in "ab" for i in range(3)]

    assert detect(names) == Detected(
        layout="split/tree",
        label="folder:2",
        split="folders",
        why="layout split/tree: train/ (6 images, labels from folder:2), val/ (6, labels from folder:2)",
    )


# split folders with label tables


def tiny_imagenet():
    names = [f"train/n{c:02d}/images/n{c:02d}_{i}.JPEG" for c in range(20) for i in range(10)]
    names += [f"{split}/images/{split}_{i}.JPEG" for split in ("val", "test") for i in range(20)]
    boxes = [f"train/n{c:02d}/n{c:02d}_boxes.txt" for c in range(20)]
    return names, ["val/val_annotations.txt", "wnids.txt", "words.txt", *boxes]


def test_tiny_imagenet_is_labelled_by_folder_and_by_annotation_file():
    assert detect(*tiny_imagenet()) == Detected(
        layout="split/tree",
        label={"train": "folder:2", "val": "table:val/val_annotations.txt"},
        split="folders",
        why="layout split/tree: train/ (200 images, labels from folder:2),"
        " val/ (20, labels from table:val/val_annotations.txt), test/ (20, no labels)",
        table="val/val_annotations.txt",
    )


def test_tiny_imagenet_without_its_annotations_names_the_split_that_lacks_labels():
    names, others = tiny_imagenet()

    assert refusal(LabelError, names, [other for other in others if not other.startswith("val/")]) == text(
        "nothing tells the labels of the 20 images in val/: they lie in no class folders, and several tables are at"
        " hand: train/n00/n00_boxes.txt, train/n01/n01_boxes.txt, train/n02/n02_boxes.txt, train/n03/n03_boxes.txt,"
        " train/n04/n04_boxes.txt, train/n05/n05_boxes.txt, train/n06/n06_boxes.txt, train/n07/n07_boxes.txt, ...",
        FIX_LABELS,
    )


def test_a_folder_with_a_table_of_its_own_has_no_class_folders():
    found = detect(["train/a/1.jpg", "train/b/2.jpg", "val/frames/3.jpg"], ["val/labels.tsv"])

    assert found.label == {"train": "folder:2", "val": "table:val/labels.tsv"}


def test_a_single_table_deeper_in_the_folder_counts():
    found = detect(["train/a/1.jpg", "train/b/2.jpg", "val/images/3.jpg"], ["val/about/labels.parquet"])

    assert found.label == {"train": "folder:2", "val": "table:val/about/labels.parquet"}


def test_tables_in_the_root_serve_the_split_that_they_name():
    names = [*files("train", 5), *files("val", 5), *files("test", 5)]

    found = detect(names, ["train_labels.csv", "LOC_val_solution.csv", "test.csv", "sample_submission.csv"])

    assert found.label == {"train": "table:train_labels.csv", "val": "table:LOC_val_solution.csv"}
    assert (found.split, found.table) == ("folders", "train_labels.csv")


def test_one_table_in_the_root_serves_every_split_but_test():
    found = detect([*files("train", 5), *files("val", 5), *files("test", 5)], ["labels.csv", "test.csv"])

    assert found.label == {"train": "table:labels.csv", "val": "table:labels.csv"}


def test_one_table_for_all_splits_is_one_rule():
    found = detect([*files("train", 5), *files("val", 5)], ["labels.csv"])

    assert (found.label, found.table) == ("table:labels.csv", "labels.csv")


def test_a_table_of_another_split_is_not_taken():
    what = "nothing tells the labels of the 5 images in val/: they lie in no class folders, and the table at hand is"

    assert refusal(LabelError, [*files("train", 5), *files("val", 5)], ["train.csv"]) == text(
        f"{what} train.csv", FIX_LABELS
    )


def test_a_test_folder_with_one_unknown_subfolder_stays_without_labels():
    classes = ["train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg"]

    assert detect([*classes, "test/unknown/4.jpg"]).label == {"train": "folder:2", "val": "folder:2"}
    assert detect([*classes, "test/b/4.jpg"]).label == "parent"


def test_an_unsup_folder_of_files_stays_without_labels():
    found = detect([*files("train/a", 9), *files("train/b", 9), *files("val/a", 9), *files("unsup", 9)])

    assert (found.layout, found.label) == ("split/tree", {"train": "folder:2", "val": "folder:2"})


def test_a_source_of_test_images_only_has_no_labels():
    assert refusal(LabelError, files("test", 4)) == text(
        "nothing tells the labels of the 4 images in test/: they lie in no class folders, and no table lists them",
        FIX_LABELS,
    )


# no split folders


def test_class_folders_are_told_with_their_number():
    assert detect([*files("cat", 3), *files("dog", 2), *files("emu", 1)]) == Detected(
        layout="class", label="parent", split="none", why="layout class: 6 images in 3 class folders"
    )


def test_one_folder_without_a_table_is_one_class():
    assert detect(files("cat", 1)).why == "layout class: 1 image in 1 class folder"


def test_one_folder_with_a_table_beside_it_is_a_list():
    assert detect(files("images", 3), ["labels.csv", "README.txt"]) == Detected(
        layout="list",
        label="table:labels.csv",
        split="none",
        why="layout list: 3 images in one folder, labels from labels.csv",
        table="labels.csv",
    )


def test_class_folders_with_a_table_beside_them_stay_class_folders():
    assert detect([*files("cat", 3), *files("dog", 3)], ["labels.csv"]).layout == "class"


def test_images_in_the_root_with_one_table_are_a_list():
    found = detect(["1.jpg", "2.jpg"], ["labels.TSV"])

    assert (found.layout, found.label) == ("list", "table:labels.TSV")
    assert found.why == "layout list: 2 images in the root, labels from labels.TSV"


@pytest.mark.parametrize(
    "others",
    [
        ["list.txt"],
        ["list.txt", "README.txt", "LICENSE.txt", "readme.csv"],
        ["list.txt", "list.doc", "txt", "sub/list.csv"],
    ],
)
def test_a_text_file_counts_where_it_is_the_only_table_in_the_root(others):
    assert detect(["1.jpg"], others).label == "table:list.txt"


def test_a_csv_file_goes_before_text_files():
    assert detect(["1.jpg"], ["classes.txt", "notes.txt", "labels.csv"]).label == "table:labels.csv"


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ([], "no table lists them"),
        (["README.txt"], "no table lists them"),
        (["sub/labels.csv"], "no table lists them"),
        (["a:b.csv"], "the table at hand is a:b.csv"),
        ([b"\xff.csv"], "the table at hand is \udcff.csv"),
        (["a.csv", "b.csv"], "several tables are at hand: a.csv, b.csv"),
    ],
)
def test_images_in_the_root_without_one_table_have_no_labels(others, found):
    what = f"nothing tells the labels of the 2 images directly in the root: they lie in no class folders, and {found}"

    assert refusal(LabelError, ["1.jpg", "2.jpg"], others) == text(what, FIX_LABELS)


def test_deeper_folders_are_a_tree_labelled_by_the_last_folder():
    assert detect(["pets/cat/1.jpg", "pets/cat/2.jpg", "pets/dogs/pug/3.jpg"]) == Detected(
        layout="tree", label="parent", split="none", why="layout tree: 3 images in 2 folders"
    )


def test_split_folders_one_folder_down_are_pointed_at():
    names = ["0.jpg", *files("imagenette2/train/a", 20), *files("imagenette2/val/a", 20)]

    assert refusal(SourceError, names) == text(
        "the split folders lie one folder down, in imagenette2/",
        'point at imagenette2, or write a recipe with layout = "tree", a label rule and a split rule',
    )


FIX_MIXED = 'point at one of these folders, or write a recipe with layout = "tree" and a label rule'


def test_images_half_in_the_root_and_half_in_folders_fit_no_layout():
    assert refusal(SourceError, ["1.jpg", "2.jpg", "a/1.jpg"]) == text(
        "no layout fits 95 % of the 3 images: directly in the root (2), a/ (1)", FIX_MIXED
    )


def test_split_folders_beside_others_are_no_tree():
    names = [*files("train/a", 9), *files("val/a", 9), *(f"{c}/b/1.jpg" for c in "efghijklm")]

    assert refusal(SourceError, names) == text(
        "no layout fits 95 % of the 27 images: train/ (9), val/ (9), e/ (1), f/ (1), g/ (1), h/ (1), i/ (1), j/ (1),"
        " ...",
        FIX_MIXED,
    )


def test_no_image_at_all_is_an_error():
    assert refusal(SourceError, [], ["labels.csv"]) == text(
        "there is no image to tell the layout by", "point at a folder of images"
    )


def test_95_percent_is_enough_and_a_little_less_is_not():
    folders = [f"c{i}/1.jpg" for i in range(19)]

    assert detect([*folders, "a/b/c.jpg"]).why == "layout class: 19 images in 19 class folders; 1 image elsewhere"
    assert detect([*folders[1:], "a/b/c.jpg"]).layout == "tree"


@given(
    names=st.lists(st.lists(st.sampled_from(["train", "VAL", "test", "a", "b", "images"]), max_size=3), min_size=1),
    others=st.lists(st.sampled_from(["a.csv", "train.csv", "val/v.txt", "val/w.txt", "test/t.tsv", "z"]), unique=True),
)
def test_detection_gives_a_layout_that_fits_or_a_reason(names, others):
    paths = ["/".join([*folders, f"{i}.jpg"]) for i, folders in enumerate(names)]

    try:
        found = detect(paths, others)
    except (LabelError, SourceError) as error:
        assert error.what and error.fix
    else:
        assert fits_layout(column(paths), found.layout).mean() >= 0.95
        assert "\n" not in found.why
        assert found.table is None or found.table in others
