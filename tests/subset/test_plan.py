"""The plan: what becomes of every name, before any pixel is read."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subset.trees import ANT, BEE, picture, plant, recipe, two_classes

from imagekit.errors import SourceError, SplitError
from imagekit.files.discover import discover
from imagekit.recipes.recipe import Recipe
from imagekit.rules.splitters import hash_splits
from imagekit.subset.plan import EXTENSIONS, NOT_CHOSEN, OUTSIDE_LAYOUT, SELECTED, Plan, plan_subset


def plan_of(root: Path, rule: Recipe, *, out_format: str = "jpeg") -> Plan:
    return plan_subset(discover(root), rule, out_format=out_format)


def named(*names: str) -> dict[str | bytes, bytes]:
    """Files of no content: a plan looks at names only."""
    return dict.fromkeys(names, b"")


def out_names(plan: Plan) -> list[str]:
    return [os.fsdecode(chosen.out_name) for chosen in plan.selected]


def test_every_image_gets_one_verdict_and_only_the_recipes_classes_are_taken(tmp_path: Path) -> None:
    extra = named("train/n03/0.JPEG", "train/loose.jpg", "loose.jpg", "other/n01/0.JPEG", "train/n01/deep/0.JPEG")
    source = plant(tmp_path, two_classes() | extra)

    plan = plan_of(source, recipe())

    assert plan.verdicts.tolist().count(SELECTED) == 6
    assert plan.verdicts.tolist().count(NOT_CHOSEN) == 1
    assert plan.verdicts.tolist().count(OUTSIDE_LAYOUT) == 4
    assert {chosen.label for chosen in plan.selected} == {ANT, BEE}
    assert len(plan.verdicts) == len(plan.names)


def test_a_recipe_without_classes_takes_every_class(tmp_path: Path) -> None:
    source = plant(tmp_path, two_classes() | named("train/n03/0.JPEG"))

    plan = plan_of(source, recipe(classes={}))

    assert {chosen.label for chosen in plan.selected} == {ANT, BEE, "n03"}


def test_the_sources_split_folders_keep_their_names_and_get_the_canonical_split(tmp_path: Path) -> None:
    plan = plan_of(plant(tmp_path, two_classes()), recipe())

    assert {name.split("/")[0] for name in out_names(plan)} == {"train", "val"}
    assert {chosen.split for chosen in plan.selected} == {"train", "valid"}


def test_a_hash_split_of_class_folders_makes_train_and_valid_folders(tmp_path: Path) -> None:
    names = [f"{label}/{i}.jpg" for label in (ANT, BEE) for i in range(20)]
    source = plant(tmp_path, named(*names))

    plan = plan_of(source, recipe(layout="class", split="hash:0.3"))

    expected = hash_splits(sorted(names), valid=0.3, salt="tiny")
    assert out_names(plan) == [f"{split}/{name}" for split, name in zip(expected, sorted(names), strict=True)]
    assert set(expected) == {"train", "valid"}


def test_a_hash_split_does_not_move_a_file_when_others_come(tmp_path: Path) -> None:
    rule = recipe(layout="class", split="hash:0.3")
    names = [f"{label}/{i}.jpg" for label in (ANT, BEE) for i in range(20)]
    before = set(out_names(plan_of(plant(tmp_path / "a", named(*names)), rule)))

    after = set(out_names(plan_of(plant(tmp_path / "b", named(*names, *(f"{ANT}/x{i}.jpg" for i in range(9)))), rule)))

    assert before < after


def test_no_split_means_class_folders_only(tmp_path: Path) -> None:
    plan = plan_of(plant(tmp_path, named("n01/a.jpg", "n02/b.jpg")), recipe(layout="class", split="none"))

    assert out_names(plan) == ["n01/a.jpg", "n02/b.jpg"]
    assert [chosen.split for chosen in plan.selected] == [None, None]


@pytest.mark.parametrize(
    ("out_format", "file", "written"),
    [
        ("bytes", "a.GIF", "a.GIF"),
        ("jpeg", "a.JPEG", "a.JPEG"),
        ("jpeg", "a.jpe", "a.jpe"),
        ("jpeg", "a.png", "a.jpg"),
        ("jpeg", "a.b.png", "a.b.jpg"),
        ("png", "a.PNG", "a.PNG"),
        ("png", "a.jpg", "a.png"),
        ("webp", "a.webp", "a.webp"),
        ("webp", "a.jpg", "a.webp"),
        ("keep", "a.webp", "a.webp"),
        ("keep", "a.JPEG", "a.JPEG"),
        ("keep", "a.gif", "a.png"),
        ("keep", "a.tif", "a.png"),
    ],
)
def test_an_extension_changes_only_when_the_format_does(
    tmp_path: Path, out_format: str, file: str, written: str
) -> None:
    source = plant(tmp_path, named(f"train/n01/{file}", "train/n02/0.jpg", "val/n01/1.jpg"))

    plan = plan_of(source, recipe(), out_format=out_format)

    assert f"train/n01/{written}" in out_names(plan)
    assert out_format == "bytes" or Path(written).suffix.lower() in EXTENSIONS[out_format]


@pytest.mark.parametrize(
    ("first", "second", "out_format"),
    [("A.jpg", "a.jpg", "bytes"), ("x.jpg", "x.png", "jpeg"), ("caf\u00e9.jpg", "cafe\u0301.jpg", "jpeg")],
)
def test_two_files_that_would_become_one_are_a_path_collision(
    tmp_path: Path, first: str, second: str, out_format: str
) -> None:
    source = plant(tmp_path, two_classes() | named(f"train/n01/{first}", f"train/n01/{second}"))
    kept, lost = sorted((f"train/n01/{first}", f"train/n01/{second}"), key=os.fsencode)

    plan = plan_of(source, recipe(), out_format=out_format)

    assert kept in out_names(plan)
    assert [(bad.file_name, bad.reason, bad.detail) for bad in plan.bad_files] == [
        (lost, "path-collision", f"would overwrite {kept} on a file system that folds case")
    ]


def test_the_same_two_files_do_not_collide_when_their_extensions_stay(tmp_path: Path) -> None:
    source = plant(tmp_path, two_classes() | named("train/n01/x.jpg", "train/n01/x.png"))

    plan = plan_of(source, recipe(), out_format="keep")

    assert plan.bad_files == ()
    assert {"train/n01/x.jpg", "train/n01/x.png"} <= set(out_names(plan))


def test_a_name_of_255_bytes_whose_extension_grows_is_too_long(tmp_path: Path) -> None:
    long = "train/n01/" + "x" * 251 + ".png"
    source = plant(tmp_path, two_classes() | named(long))

    grown, kept = plan_of(source, recipe(), out_format="webp"), plan_of(source, recipe(), out_format="jpeg")

    assert [(bad.file_name, bad.reason, bad.detail) for bad in grown.bad_files] == [
        (long, "path-too-long", "the name is longer than 255 bytes once it ends in the output's extension")
    ]
    assert kept.bad_files == ()
    assert "train/n01/" + "x" * 251 + ".jpg" in out_names(kept)


def test_a_missing_class_is_named_with_its_title(tmp_path: Path) -> None:
    source = plant(tmp_path, named("train/n01/0.jpg", "val/n01/0.jpg", "train/n03/0.jpg"))

    with pytest.raises(SourceError) as caught:
        plan_of(source, recipe())

    assert str(caught.value) == (
        "1 of the 2 classes of recipe tiny have no image: n02 (bee)\n"
        f"  where: {source}\n"
        '  fix: the source is another data set or incomplete; did you mean "n03"? known: n01, n03'
    )
    assert len(plan_of(source, recipe(classes={ANT: "ant"})).selected) == 2


@pytest.mark.parametrize(
    ("layout", "split", "file", "fix"),
    [
        ("split/class", "folders", "n01/0.jpg", "point at the folder that holds train/ and val/"),
        ("class", "none", "train/n01/0.jpg", "point at the folder that holds the class folders"),
    ],
)
def test_another_layout_than_the_recipes_says_where_to_point(
    tmp_path: Path, layout: str, split: str, file: str, fix: str
) -> None:
    source = plant(tmp_path, named(file, "loose\n.jpg"))
    rule = recipe(layout=layout, split=split)

    with pytest.raises(SourceError) as caught:
        plan_of(source, rule)

    top = file.split("/")[0]
    assert str(caught.value) == (
        f"no image lies in {layout}/file, the layout of recipe tiny\n"
        f"  where: {source} holds loose\\n.jpg, {top}\n"
        f"  fix: {fix}"
    )


def test_a_source_without_valid_images_says_which_recipe_wants_them(tmp_path: Path) -> None:
    source = plant(tmp_path, named("train/n01/0.jpg", "train/n02/0.jpg"))

    with pytest.raises(SplitError) as caught:
        plan_of(source, recipe())

    assert str(caught.value) == (
        "valid would be empty; folders found: train (2)\n"
        '  where: recipe tiny: split = "folders"\n'
        "  fix: complete the source, or give another split in a recipe of your own (--recipes FILE)"
    )
    assert len(plan_of(source, recipe(split="none")).selected) == 2


def test_links_and_other_files_are_part_of_the_plan(tmp_path: Path) -> None:
    source = plant(tmp_path, two_classes() | named("notes.txt"))
    (source / "train/n01/link.jpg").symlink_to("0.JPEG")

    plan = plan_of(source, recipe())

    assert plan.others == ((b"notes.txt", "not-image"), (b"train/n01/link.jpg", "symlink"))


def test_equal_sources_have_equal_digests_and_another_file_changes_it(tmp_path: Path) -> None:
    files = two_classes()
    one, same = plan_of(plant(tmp_path / "a", files), recipe()), plan_of(plant(tmp_path / "b", files), recipe())
    more = plan_of(plant(tmp_path / "c", files | {"notes.txt": b""}), recipe())

    assert one.digest() == same.digest() != more.digest()


FILE_NAMES = st.lists(
    st.tuples(
        st.sampled_from(["train", "val", "junk", "train/n01"]),
        st.sampled_from(["n01", "n02", "n03"]),
        st.sampled_from(["a", "A", "b", "é"]),
        st.sampled_from([".jpg", ".JPG", ".png", ".gif"]),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(parts=FILE_NAMES, out_format=st.sampled_from(["bytes", "keep", "jpeg", "png", "webp"]))
def test_every_name_is_placed_or_told_and_no_two_places_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, ...]], out_format: str
) -> None:
    names = {f"{top}/{label}/{stem}{extension}": b"" for top, label, stem, extension in parts}
    files: dict[Any, bytes] = two_classes() | names
    source = plant(tmp_path_factory.mktemp("source"), files)

    plan = plan_of(source, recipe(), out_format=out_format)

    assert len(plan.selected) + len(plan.bad_files) == plan.verdicts.tolist().count(SELECTED)
    assert len(plan.names) == len(files)
    folded = [name.casefold() for name in out_names(plan)]
    assert len(set(folded)) == len(folded)


def test_content_does_not_count_in_a_plan(tmp_path: Path) -> None:
    names = list(two_classes())

    empty, real = (
        plan_of(plant(tmp_path / "a", dict.fromkeys(names, b"")), recipe()),
        plan_of(plant(tmp_path / "b", dict.fromkeys(names, picture())), recipe()),
    )

    assert empty.digest() == real.digest()
