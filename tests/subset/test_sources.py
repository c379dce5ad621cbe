"""A source as a recipe reads it: what "auto" comes to, which tables are read, and what is refused."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subset.planning import named, placed, plan_of, verdict_counts
from subset.trees import plant, two_classes

from imagekit.errors import LabelError, SourceError, SplitError
from imagekit.files.hashes import sha256_bytes
from imagekit.recipes.load import load_recipes
from imagekit.recipes.recipe import Part, Recipe
from imagekit.subset.sources import Source, open_source


def opened(root: Path, beside: Path | None = None, **rules: Any) -> Source:
    return open_source(root, Recipe(name="mine", **rules), beside=beside)


def settled(source: Source) -> tuple[Any, ...]:
    return source.recipe.layout, source.recipe.label, source.recipe.split


TINY_IMAGENET = named(
    *(f"train/{label}/images/{label}_{i}.JPEG" for label in ("n01", "n02") for i in range(3)),
    *(f"val/images/val_{i}.JPEG" for i in range(2)),
    *(f"test/images/test_{i}.JPEG" for i in range(2)),
) | {
    "val/val_annotations.txt": b"val_0.JPEG\tn01\t0\t0\t9\t9\nval_1.JPEG\tn02\t0\t0\t9\t9\n",
    "wnids.txt": b"n01\nn02\n",
}


@pytest.mark.parametrize(
    ("files", "rules", "said"),
    [
        (
            named("train/n01/0.jpg", "val/n01/0.jpg", "train/n02/0.jpg"),
            ("split/class", "parent", "folders"),
            "detected layout split/class: train/ (2 images), val/ (1)",
        ),
        (
            TINY_IMAGENET,
            ("split/tree", {"train": "folder:2", "val": "table:val/val_annotations.txt"}, "folders"),
            "detected layout split/tree: train/ (6 images, labels from folder:2), val/ (2, labels from"
            " table:val/val_annotations.txt), test/ (2, no labels)",
        ),
        (
            named("n01/0.jpg", "n02/0.jpg"),
            ("class", "parent", "none"),
            "detected layout class: 2 images in 2 class folders",
        ),
        (
            named("0.jpg", "1.jpg") | {"labels.csv": b"file,label\n0.jpg,cat\n1.jpg,dog\n"},
            ("list", "table:labels.csv", "none"),
            "detected layout list: 2 images in the root, labels from labels.csv",
        ),
        (
            named("a/b/n01/0.jpg", "a/c/n02/0.jpg"),
            ("tree", "parent", "none"),
            "detected layout tree: 2 images in 2 folders",
        ),
    ],
)
def test_the_layout_of_a_source_is_detected_and_told(
    tmp_path: Path, files: dict[str | bytes, bytes], rules: tuple[Any, ...], said: str
) -> None:
    source = opened(plant(tmp_path, files))

    assert settled(source) == rules
    assert source.said == (said,)
    assert source.read_as()["rules"] == [dict(zip(("layout", "label", "split"), rules, strict=True))]


def test_tiny_imagenet_is_read_whole_with_the_recipe_for_any_folder(tmp_path: Path) -> None:
    plan = plan_of(plant(tmp_path, TINY_IMAGENET), load_recipes()["all"])

    assert placed(plan) == {
        **{f"train/{label}/{label}_{i}.JPEG": (label, "train") for label in ("n01", "n02") for i in range(3)},
        "val/n01/val_0.JPEG": ("n01", "valid"),
        "val/n02/val_1.JPEG": ("n02", "valid"),
        "test/images/test_0.JPEG": (None, "test"),
        "test/images/test_1.JPEG": (None, "test"),
    }
    assert plan.problems == ()


def test_what_a_recipe_says_is_not_detected(tmp_path: Path) -> None:
    source = opened(plant(tmp_path, two_classes()), layout="tree", label="folder:1", split="hash:0.4")

    assert settled(source) == ("tree", "folder:1", "hash:0.4")
    assert source.said == ()


def test_a_recipe_may_leave_open_only_a_part(tmp_path: Path) -> None:
    root = plant(tmp_path, two_classes())

    assert settled(opened(root, layout="split/class")) == ("split/class", "parent", "folders")
    assert settled(opened(root, layout="split/class", split="none")) == ("split/class", "parent", "none")
    assert settled(opened(root, label="folder:2")) == ("split/class", "folder:2", "folders")
    assert settled(opened(root, split="none")) == ("split/class", "parent", "none")
    assert settled(opened(root, layout="tree")) == ("tree", "parent", "none")


def test_a_layout_without_a_label_rule_takes_the_rule_of_a_narrower_one_that_is_found(tmp_path: Path) -> None:
    table = {"labels.csv": b"0.jpg,cat\n1.jpg,dog\n"}
    flat = opened(plant(tmp_path / "flat", named("0.jpg", "1.jpg") | table), layout="flat")
    tree = opened(plant(tmp_path / "tree", two_classes()), layout="split/tree")

    assert settled(flat) == ("flat", "table:labels.csv", "none")
    assert settled(tree) == ("split/tree", "folder:2", "folders")


def test_a_layout_that_the_source_has_not_asks_for_a_label_rule(tmp_path: Path) -> None:
    root = plant(tmp_path, named("n01/0.jpg", "n02/0.jpg"))

    with pytest.raises(SourceError) as caught:
        opened(root, layout="split/tree")

    assert str(caught.value) == (
        "recipe mine has layout split/tree and no label rule, and the source is no such folder: "
        "layout class: 2 images in 2 class folders\n"
        f"  where: {root}\n"
        '  fix: give the recipe a label, such as label = "folder:2", or another layout'
    )


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    root = plant(tmp_path, named("a.txt", "b/c.pdf"))

    with pytest.raises(SourceError) as caught:
        opened(root)

    assert str(caught.value) == (
        "the folder holds no images, only 2 other files\n"
        f"  where: {root}\n"
        "  fix: point at a folder of images; names that begin with a dot are not read"
    )


@pytest.mark.parametrize(
    ("n_links", "files", "only"),
    [
        (16, (), "16 symbolic links, which are not followed"),
        (1, (), "1 symbolic link, which is not followed"),
        (2, ("a.txt",), "1 other file and 2 symbolic links, which are not followed"),
    ],
)
def test_a_folder_of_links_says_that_they_are_not_followed(
    tmp_path: Path, n_links: int, files: tuple[str, ...], only: str
) -> None:
    images = plant(tmp_path / "images", named("0.jpg"))
    root = plant(tmp_path / "links", named("n01/.keep", *files))
    for i in range(n_links):
        (root / f"n01/{i}.jpg").symlink_to(images / "0.jpg")

    with pytest.raises(SourceError) as caught:
        opened(root)

    assert str(caught.value) == (
        f"the folder holds no images, only {only}\n"
        f"  where: {root}\n"
        "  fix: point at the folder that the links lead to, or copy what they lead to (cp -rL)"
    )


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        ((".DS_Store",), "1 hidden file or folder (its name begins with a dot) was not looked into"),
        (
            (".DS_Store", "n01/.0.jpg", ".old/n01/1.jpg"),
            "3 hidden files and folders (names that begin with a dot) were not looked into",
        ),
    ],
)
def test_what_is_hidden_is_counted_and_told(tmp_path: Path, hidden: tuple[str, ...], said: str) -> None:
    source = opened(plant(tmp_path, named("n01/0.jpg", *hidden)), layout="class")

    assert source.said == (said,)
    assert "n_hidden" not in source.read_as()  # a hidden file more is no reason to publish anew
    assert len(source.discovery) == 1


def test_nothing_hidden_is_not_told(tmp_path: Path) -> None:
    source = opened(plant(tmp_path, named("n01/0.jpg")), layout="class")

    assert source.said == ()


def test_an_empty_folder_holds_no_images(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        opened(tmp_path)

    assert str(caught.value) == (
        "the folder holds no images\n"
        f"  where: {tmp_path}\n"
        "  fix: point at a folder of images; names that begin with a dot are not read"
    )


def test_the_parts_of_a_composite_are_settled_each_and_a_detection_is_told_once(tmp_path: Path) -> None:
    root = plant(tmp_path, two_classes())
    one, two = Recipe(name="one"), Recipe(name="two", split="none")
    parts = (Part(recipe=one, from_splits=("train",), to="train"), Part(recipe=two, to="valid"))

    source = open_source(root, Recipe(name="both", parts=parts), beside=None)

    assert [(part.recipe.layout, part.recipe.split) for part in source.recipe.parts] == [
        ("split/class", "folders"),
        ("split/class", "none"),
    ]
    assert source.said == ("detected layout split/class: train/ (4 images), val/ (2)",)
    assert len(source.read_as()["rules"]) == 2


# tables


def parquet(**columns: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("labels.csv", b"file,label\na/0.jpg,cat\na/1.jpg,dog\n"),
        ("labels.csv", b"a/0.jpg,cat\na/1.jpg,dog\n"),
        ("labels.tsv", b"file\tlabel\na/0.jpg\tcat\na/1.jpg\tdog\n"),
        ("labels.txt", b"\xef\xbb\xbf./a/0.jpg cat\n./a/1.jpg dog\n"),
        ("labels.txt", b'"a/0.jpg";"cat"\r\n"a/1.jpg";"dog"\r\n'),
        ("labels.parquet", parquet(file=["a/0.jpg", "a/1.jpg"], label=["cat", "dog"])),
        ("a/labels.csv", b"0.jpg|cat\n1.jpg|dog\n"),
    ],
)
def test_labels_come_from_a_table_of_any_common_kind(tmp_path: Path, file: str, content: bytes) -> None:
    root = plant(tmp_path, named("a/0.jpg", "a/1.jpg", "a/2.jpg") | {file: content})
    rule = Recipe(name="mine", layout="list", label=f"table:{file}")

    plan = plan_of(root, rule)

    assert placed(plan) == {"cat/0.jpg": ("cat", None), "dog/1.jpg": ("dog", None)}
    assert verdict_counts(plan) == {"selected": 2, "not-in-list": 1}
    read_as = open_source(root, rule, beside=None).read_as()
    assert read_as["tables"] == {file: sha256_bytes(content).hex()}


def test_a_parquet_column_of_whole_numbers_labels_and_one_of_other_values_says_what_it_holds(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    columns = {"file": ["0.jpg", "1.jpg"], "target": [3.0, 12.0], "score": [0.5, 1.0], "box": [[1], [2]]}
    pq.write_table(pa.table(columns), buffer)
    root = plant(tmp_path, named("0.jpg", "1.jpg") | {"l.parquet": buffer.getvalue()})

    plan = plan_of(root, Recipe(name="mine", layout="list", label="table:l.parquet:file:target"))

    assert placed(plan) == {"3/0.jpg": ("3", None), "12/1.jpg": ("12", None)}
    for column, kind in (("score", "double"), ("4", "list<element: int64>")):
        with pytest.raises(LabelError) as caught:
            plan_of(root, Recipe(name="mine", layout="list", label=f"table:l.parquet:file:{column}"))
        assert str(caught.value) == (
            f'the column "{"box" if column == "4" else column}" holds {kind}, must hold texts or whole numbers\n'
            "  where: table l.parquet\n"
            "  fix: write its values as texts, or name another column"
        )


def test_columns_can_be_named_or_counted(tmp_path: Path) -> None:
    table = b"id,what,where,use\n1,cat,0.jpg,train\n2,dog,1.jpg,val\n3,cat,2.jpg,train\n"
    root = plant(tmp_path, named("0.jpg", "1.jpg", "2.jpg") | {"all.csv": table})
    expected = {
        "train/cat/0.jpg": ("cat", "train"),
        "valid/dog/1.jpg": ("dog", "valid"),
        "train/cat/2.jpg": ("cat", "train"),
    }

    for label, split in (("where:what", "where:use"), ("3:2", "3:4")):
        rule = Recipe(name="mine", layout="list", label=f"table:all.csv:{label}", split=f"table:all.csv:{split}")
        assert placed(plan_of(root, rule)) == expected


def test_a_table_may_lie_beside_the_recipes_file(tmp_path: Path) -> None:
    root = plant(tmp_path / "source", named("n01/0.jpg", "n01/1.jpg"))
    beside = plant(tmp_path / "mine", {"labels.csv": b"n01/0.jpg,cat\nn01/1.jpg,dog\n"})

    plan = plan_of(root, Recipe(name="mine", layout="tree", label="table:labels.csv"), beside=beside)

    assert placed(plan) == {"cat/0.jpg": ("cat", None), "dog/1.jpg": ("dog", None)}


def test_a_table_in_the_source_goes_before_one_beside_the_recipes_file(tmp_path: Path) -> None:
    root = plant(tmp_path / "source", named("0.jpg") | {"labels.csv": b"0.jpg,inner\n"})
    beside = plant(tmp_path / "mine", {"labels.csv": b"0.jpg,outer\n"})

    plan = plan_of(root, Recipe(name="mine", layout="flat", label="table:labels.csv"), beside=beside)

    assert placed(plan) == {"inner/0.jpg": ("inner", None)}


def test_a_missing_table_says_where_it_was_looked_for(tmp_path: Path) -> None:
    root, beside = plant(tmp_path / "source", named("0.jpg")), tmp_path / "mine"
    rule = {"layout": "flat", "label": "table:meta/labels.csv"}

    with pytest.raises(SourceError) as both:
        opened(root, beside, **rule)
    with pytest.raises(SourceError) as one:
        opened(root, **rule)

    assert str(both.value) == (
        "the table meta/labels.csv is not there\n"
        f"  where: recipe mine: looked in {root}/meta and {beside}/meta\n"
        "  fix: put it into the source or beside the recipes file, or mend its name in the recipe"
    )
    assert f"looked in {root}/meta\n" in str(one.value)


def test_a_table_that_is_a_link_out_of_the_source_is_not_read(tmp_path: Path) -> None:
    secret = plant(tmp_path / "other", {"secret.csv": b"0.jpg,cat\n"}) / "secret.csv"
    root = plant(tmp_path / "source", named("0.jpg"))
    (root / "labels.csv").symlink_to(secret)

    with pytest.raises(SourceError) as caught:
        opened(root, layout="flat", label="table:labels.csv")

    assert str(caught.value) == (
        "the table cannot be read: not a regular file but a symbolic link, which is not followed\n"
        f"  where: {root}/labels.csv\n"
        "  fix: give a readable file, no link and no folder"
    )


def test_a_table_of_other_images_is_no_table_for_this_source(tmp_path: Path) -> None:
    root = plant(tmp_path, named("0.jpg", "1.jpg") | {"labels.csv": b"x.jpg,cat\ny.jpg,dog\n"})

    with pytest.raises(LabelError) as caught:
        plan_of(root, Recipe(name="mine"))

    assert str(caught.value) == (
        "no line lists an image of the source; it starts with: x.jpg, y.jpg; the images with: 0.jpg, 1.jpg\n"
        "  where: table labels.csv\n"
        "  fix: write the paths relative to the source or to the table's own folder, or name the column that holds them"
    )


def test_a_split_table_with_an_unknown_word_names_recipe_and_word(tmp_path: Path) -> None:
    root = plant(tmp_path, named("n01/0.jpg", "n01/1.jpg") | {"use.csv": b"n01/0.jpg,train\nn01/1.jpg,vall\n"})

    with pytest.raises(SplitError) as caught:
        plan_of(root, Recipe(name="mine", layout="class", split="table:use.csv"))

    assert str(caught.value) == (
        'the split "vall" of line 2 is not known\n'
        "  where: recipe mine: table use.csv\n"
        '  fix: did you mean "val"? known: dev, test, testing, train, training, unlabeled, unlabelled, unsup,'
        " unsupervised, val, valid, validation"
    )
