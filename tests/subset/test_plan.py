"""The plan: what becomes of every name, before any pixel is read."""

import gc
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subset.planning import named, out_names, placed, plan_of, told, verdict_counts
from subset.trees import ANT, BEE, picture, plant, recipe, two_classes

from imagekit.errors import SourceError, SplitError
from imagekit.files.discover import Discovery
from imagekit.recipes.recipe import Recipe
from imagekit.rules.columns import SourceTable
from imagekit.rules.outcomes import BadFile
from imagekit.rules.splitters import hash_splits
from imagekit.subset.choose import choose_by_name
from imagekit.subset.plan import EXTENSIONS, Aliases, Job, Place, Plan, place_choice


def test_every_image_gets_one_verdict_and_only_the_recipes_classes_are_taken(tmp_path: Path) -> None:
    extra = named("train/n03/0.JPEG", "train/loose.jpg", "loose.jpg", "other/n01/0.JPEG", "train/n01/deep/0.JPEG")
    source = plant(tmp_path, two_classes() | extra)

    plan = plan_of(source, recipe())

    assert verdict_counts(plan) == {"selected": 6, "class-not-in-recipe": 1, "outside-layout": 4}
    assert {label for label, _ in placed(plan).values()} == {ANT, BEE}
    assert len(plan.verdicts) == len(plan.names) == len(plan.place_of)
    assert np.array_equal(plan.place_of >= 0, plan.verdicts == 0)


def test_a_recipe_without_classes_takes_every_class(tmp_path: Path) -> None:
    source = plant(tmp_path, two_classes() | named("train/n03/0.JPEG"))

    plan = plan_of(source, recipe(classes={}))

    assert {label for label, _ in placed(plan).values()} == {ANT, BEE, "n03"}


def test_the_sources_split_folders_keep_their_names_and_get_the_canonical_split(tmp_path: Path) -> None:
    plan = plan_of(plant(tmp_path, two_classes()), recipe())

    assert {name.split("/")[0] for name in out_names(plan)} == {"train", "val"}
    assert {split for _, split in placed(plan).values()} == {"train", "valid"}


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

    assert placed(plan) == {"n01/a.jpg": ("n01", None), "n02/b.jpg": ("n02", None)}


def test_without_a_split_the_split_folders_of_the_source_become_one(tmp_path: Path) -> None:
    source = plant(tmp_path, named("train/n01/a.jpg", "val/n01/a.jpg", "val/n02/b.jpg"))

    plan = plan_of(source, recipe(split="none"))

    assert out_names(plan) == ["n01/a.jpg", "n02/b.jpg"]
    assert told(plan) == [
        ("val/n01/a.jpg", "path-collision", "would overwrite train/n01/a.jpg on a file system that folds case")
    ]


def test_a_deep_tree_comes_out_flat_below_its_class_and_names_can_carry_the_folders(tmp_path: Path) -> None:
    source = plant(tmp_path, named("train/n01/x/0.jpg", "train/n01/y/0.jpg", "train/n02/0.jpg", "val/n01/x/0.jpg"))
    rule: dict[str, Any] = {"layout": "split/tree", "label": "folder:2"}

    by_file, by_path = plan_of(source, recipe(**rule)), plan_of(source, recipe(**rule, names="path"))

    assert out_names(by_file) == ["train/n01/0.jpg", "train/n02/0.jpg", "val/n01/0.jpg"]
    assert [reason for _, reason, _ in told(by_file)] == ["path-collision"]
    assert out_names(by_path) == [
        "train/n01/train__n01__x__0.jpg",
        "train/n01/train__n01__y__0.jpg",
        "train/n02/train__n02__0.jpg",
        "val/n01/val__n01__x__0.jpg",
    ]
    assert told(by_path) == []


def test_an_image_without_a_label_in_the_test_folder_stays_where_it_lies(tmp_path: Path) -> None:
    names = ["test/0.jpg", "test/deep/er/1.jpg", "train/0.jpg", "train/n01/0.jpg", "val/n01/0.jpg"]
    source = plant(tmp_path, named(*names))

    plan = plan_of(source, recipe(layout="split/tree", label={"train": "folder:2", "val": "folder:2"}, classes={}))

    assert placed(plan) == {
        "test/0.jpg": (None, "test"),
        "test/deep/er/1.jpg": (None, "test"),
        "train/n01/0.jpg": ("n01", "train"),
        "val/n01/0.jpg": ("n01", "valid"),
    }
    assert verdict_counts(plan) == {"selected": 4, "no-label": 1}


# names


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
    assert told(plan) == [(lost, "path-collision", f"would overwrite {kept} on a file system that folds case")]


def test_the_same_two_files_do_not_collide_when_their_extensions_stay(tmp_path: Path) -> None:
    source = plant(tmp_path, two_classes() | named("train/n01/x.jpg", "train/n01/x.png"))

    plan = plan_of(source, recipe(), out_format="keep")

    assert plan.bad == {}
    assert {"train/n01/x.jpg", "train/n01/x.png"} <= set(out_names(plan))


def test_a_name_of_255_bytes_whose_extension_grows_is_too_long(tmp_path: Path) -> None:
    long = "train/n01/" + "x" * 251 + ".png"
    source = plant(tmp_path, two_classes() | named(long))

    grown, kept = plan_of(source, recipe(), out_format="webp"), plan_of(source, recipe(), out_format="jpeg")

    assert told(grown) == [
        (long, "path-too-long", "the name is longer than 255 bytes once it ends in the output's extension")
    ]
    assert kept.bad == {}
    assert "train/n01/" + "x" * 251 + ".jpg" in out_names(kept)


def test_a_refused_row_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    """A name that is too long goes to no place, so an equal one is told to be too long as well, not to clash."""
    stem = "y" * 251
    source = plant(tmp_path, two_classes() | named(f"train/n01/{stem}.gif", f"train/n01/{stem}.png"))

    plan = plan_of(source, recipe(), out_format="webp")

    assert [reason for _, reason, _ in told(plan)] == ["path-too-long", "path-too-long"]


@pytest.mark.parametrize("label", ["../x", "a/b", ".hidden", "..", "/abs", "x\0y"])
def test_a_label_that_cannot_be_a_folder_puts_its_images_into_quarantine_and_makes_no_place(label: str) -> None:
    plan = plan_of_labels({b"1.jpg": label, b"2.jpg": "cat"})

    shown = label.replace("\0", r"\x00")
    assert told(plan) == [("1.jpg", "path-escape", f'the label "{shown}" cannot be the name of a folder')]
    assert placed(plan) == {"cat/2.jpg": ("cat", None)}
    assert plan.places == (Place(b"cat", "cat", None),)


@pytest.mark.parametrize(("file", "label"), [("test/0.png", "0.png"), ("test/A.png", "a.png"), ("test/x.png", "0.png")])
def test_a_file_that_would_lie_where_a_folder_is_made_is_a_path_collision(
    tmp_path: Path, file: str, label: str
) -> None:
    folder = f"test/{label}"
    source = plant(
        tmp_path, named("train/n01/0.jpg", "test/n/1.png", file) | {"test/l.csv": f"n/1.png,{label}\n".encode()}
    )
    rule = recipe(layout="split/tree", label={"train": "folder:2", "test": "table:test/l.csv:1:2"}, classes={})

    plan = plan_of(source, rule, out_format="bytes")

    collides = file.lower() == folder
    expected = [(file, "path-collision", f"would lie where the subset has the folder {file}")]
    assert told(plan) == (expected if collides else [])
    assert sorted(out_names(plan)) == sorted([f"{folder}/1.png", "train/n01/0.jpg", *([] if collides else [file])])


def test_a_file_that_would_lie_where_a_deeper_folder_begins_is_a_path_collision() -> None:
    names = discovery_of([b"test/a.png/x/1.jpg", b"test/y/0.jpg", b"train/n01/0.jpg"])
    rule = Recipe(name="tiny", layout="split/tree", label={"train": "folder:2"}, split="folders")
    choice = choose_by_name(names.names, rule, tables={}, root="source")
    found = discovery_of([b"test/a.png/x/1.jpg", b"test/a.png", b"train/n01/0.jpg"])  # as no file system has them

    plan = place_choice(found, choice, rule, out_format="bytes")

    detail = "would lie where the subset has the folder test/a.png"
    assert told(plan) == [("test/a.png", "path-collision", detail)]


def test_a_label_longer_than_a_folders_name_can_be_is_too_long() -> None:
    plan = plan_of_labels({b"1.jpg": "x" * 256, b"2.jpg": "x" * 255})

    assert told(plan) == [("1.jpg", "path-too-long", "its label is longer than 255 bytes")]
    assert [place.folder for place in plan.places] == [b"x" * 255]


def test_a_label_of_any_other_text_is_a_folder_and_shown_escaped() -> None:
    plan = plan_of_labels({b"1.jpg": "two words", b"2.jpg": "new\nline", b"3.jpg": "caf\u00e9", b"4.jpg": "=cmd"})

    assert [place.folder for place in plan.places] == [b"two words", b"new\nline", "caf\u00e9".encode(), b"=cmd"]
    assert [place.label for place in plan.places] == ["two words", r"new\nline", "caf\u00e9", "=cmd"]
    assert plan.bad == {}


def plan_of_labels(labels: dict[bytes, str]) -> Plan:
    """A plan of images in the root whose labels come from a table."""
    names = discovery_of(sorted(labels))
    columns = {"path": [name.decode() for name in labels], "label": [*labels.values()]}
    tables = {"labels.parquet": SourceTable(data=pa.table(columns), has_header=False, base="")}
    rule = Recipe(name="tiny", layout="list", label="table:labels.parquet", split="none")
    choice = choose_by_name(names.names, rule, tables=tables, root="source")
    return place_choice(names, choice, rule, out_format="bytes")


def discovery_of(names: list[bytes]) -> Discovery:
    return Discovery(
        root=Path("source"),
        names=pa.array(names, pa.large_binary()),
        others=pa.array([], pa.large_binary()),
        other_kinds=pa.array([], pa.string()).dictionary_encode(),
        unreadable=(),
        n_hidden=0,
    )


# errors


def test_a_missing_class_is_named_with_its_title(tmp_path: Path) -> None:
    source = plant(tmp_path, named("train/n01/0.jpg", "val/n01/0.jpg", "train/n03/0.jpg"))

    with pytest.raises(SourceError) as caught:
        plan_of(source, recipe())

    assert str(caught.value) == (
        "1 of the 2 classes of recipe tiny have no image: n02 (bee)\n"
        f"  where: {source}\n"
        '  fix: the source is another data set or incomplete; did you mean "n03"? known: n01, n03'
    )
    assert len(plan_of(source, recipe(classes={ANT: "ant"})).rows()) == 2


@pytest.mark.parametrize(
    ("layout", "split", "file", "fix"),
    [
        ("split/class", "folders", "n01/0.jpg", "point at the folder that holds train/ and val/"),
        (
            "class",
            "none",
            "train/n01/0.jpg",
            "point at the folder that holds the class folders, or give the recipe another layout",
        ),
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


@pytest.mark.parametrize("other", ["test", "unlabeled", "train"])
@pytest.mark.parametrize("name", ["n01/1.jpg", "1.jpg"])
def test_a_source_without_valid_images_is_taken_as_it_is(tmp_path: Path, other: str, name: str) -> None:
    source = plant(tmp_path, named("train/n01/0.jpg", "train/n02/0.jpg", f"{other}/{name}"))
    rule = recipe(layout="split/tree", label={"train": "folder:2", other: "folder:2"}, classes={})

    plan = plan_of(source, rule)

    expected = ["train/n01/0.jpg", "train/n02/0.jpg"]
    if (other, name) != ("train", "1.jpg"):  # the only one that has to have a label
        expected.append(f"{other}/{name}")
    assert sorted(out_names(plan)) == sorted(expected)


def test_a_source_of_only_a_test_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    source = plant(tmp_path, named("test/n01/0.jpg", "test/n02/0.jpg"))

    assert {split for _, split in placed(plan_of(source, recipe())).values()} == {"test"}


def test_a_source_whose_folders_stand_for_no_split_says_which_recipe_wants_them(tmp_path: Path) -> None:
    source = plant(tmp_path, named("a/n01/0.jpg", "b/n02/0.jpg"))
    rule: dict[str, Any] = {"layout": "tree", "label": "parent"}

    with pytest.raises(SplitError) as caught:
        plan_of(source, recipe(**rule, split="folders"))

    assert str(caught.value) == (
        "no folder stands for a split; folders found: a (1), b (1)\n"
        '  where: recipe tiny: split = "folders"\n'
        "  fix: complete the source, or give another split in a recipe of your own (--recipes FILE)"
    )
    assert len(plan_of(source, recipe(**rule, split="none")).rows()) == 2


# the rest of a plan


def test_links_and_other_files_are_part_of_the_plan(tmp_path: Path) -> None:
    source = plant(tmp_path, two_classes() | named("notes.txt"))
    (source / "train/n01/link.jpg").symlink_to("0.JPEG")

    plan = plan_of(source, recipe())

    assert plan.others.to_pylist() == [b"notes.txt", b"train/n01/link.jpg"]
    assert plan.other_kinds.to_pylist() == ["not-image", "symlink"]


def test_equal_sources_have_equal_digests_and_another_file_changes_it(tmp_path: Path) -> None:
    files = two_classes()
    one, same = plan_of(plant(tmp_path / "a", files), recipe()), plan_of(plant(tmp_path / "b", files), recipe())
    more = plan_of(plant(tmp_path / "c", files | {"notes.txt": b""}), recipe())

    assert one.digest() == same.digest() != more.digest()


def test_a_digest_tells_kinds_verdicts_labels_problems_and_formats_apart() -> None:
    names = discovery_of([b"n01/1.jpg", b"n02/2.jpg"])
    rule = Recipe(name="tiny", layout="class", label="parent", split="none")
    choice = choose_by_name(names.names, rule, tables={}, root="source")
    plan = place_choice(names, choice, rule, out_format="bytes")
    gone = (BadFile(file_name="x.jpg", reason="vanished", detail="listed"),)
    others = {"others": pa.array([b"a"], pa.large_binary())}

    variants = [
        plan,
        place_choice(names, choice, rule, out_format="jpeg"),
        place_choice(names, choice, Recipe(name="tiny", names="path"), out_format="bytes"),
        place_choice(names, choice, rule, out_format="bytes", bad={0: gone[0]}),
        *(
            Plan(**{**fields_of(plan), **change})
            for change in (
                {"problems": gone},
                {"places": (plan.places[0], Place(b"n02", "n03", None))},
                others | {"other_kinds": pa.array(["symlink"]).dictionary_encode()},
                others | {"other_kinds": pa.array(["not-image"]).dictionary_encode()},
            )
        ),
    ]

    assert len({variant.digest() for variant in variants}) == len(variants)
    assert plan.digest() == place_choice(names, choice, rule, out_format="bytes").digest()


def fields_of(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__slots__}


def test_content_does_not_count_in_a_plan(tmp_path: Path) -> None:
    names = list(two_classes())

    empty, real = (
        plan_of(plant(tmp_path / "a", dict.fromkeys(names, b"")), recipe()),
        plan_of(plant(tmp_path / "b", dict.fromkeys(names, picture())), recipe()),
    )

    assert empty.digest() == real.digest()


def test_jobs_of_some_rows_are_those_rows_in_their_order(tmp_path: Path) -> None:
    plan = plan_of(plant(tmp_path, two_classes()), recipe())
    everything = list(plan.jobs())

    assert list(plan.jobs(plan.rows()[[4, 1]])) == [everything[4], everything[1]]
    assert everything[0] == Job(0, b"train/n01/0.JPEG", b"train/n01/0.JPEG")


FILE_NAMES = st.lists(
    st.tuples(
        st.sampled_from(["train", "val", "junk", "train/n01"]),
        st.sampled_from(["n01", "n02", "n03"]),
        st.sampled_from(["a", "A", "b", "\u00e9", "e\u0301"]),
        st.sampled_from([".jpg", ".JPG", ".png", ".gif"]),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=100)
@given(
    parts=FILE_NAMES,
    out_format=st.sampled_from(["bytes", "keep", "jpeg", "png", "webp"]),
    layout=st.sampled_from(["split/class", "split/tree"]),
    names_from=st.sampled_from(["file", "path"]),
)
def test_every_name_is_placed_or_told_and_no_two_places_are_the_same(
    parts: list[tuple[str, ...]], out_format: str, layout: str, names_from: str
) -> None:
    found = {os.fsencode(name) for name in two_classes()}
    found |= {f"{top}/{label}/{stem}{extension}".encode() for top, label, stem, extension in parts}
    rule = recipe(layout=layout, label="folder:2", names=names_from)
    names = discovery_of(sorted(found))

    plan = place_choice(names, choose_by_name(names.names, rule, tables={}, root="source"), rule, out_format=out_format)

    counts = verdict_counts(plan)
    assert sum(counts.values()) == len(found)
    assert counts["selected"] == len(plan.rows()) == len(out_names(plan))
    assert counts.get("quarantined", 0) == len(plan.bad)
    folded = [name.casefold() for name in out_names(plan)]
    assert len(set(folded)) == len(folded)
    assert {name.split("/")[1] for name in out_names(plan)} <= {ANT, BEE}


def test_a_plan_keeps_no_python_object_a_row() -> None:
    n_names = 200_000
    raw = [f"{'val' if i % 4 == 0 else 'train'}/n{i % 100:03}/{i:07}.JPEG".encode() for i in range(n_names)]
    names = discovery_of(sorted(raw))
    del raw
    rule = Recipe(name="big", layout="split/class", label="parent", split="folders")
    gc.collect()
    n_before = sys.getallocatedblocks()  # bytes and texts are objects, too, and no business of the collector

    choice = choose_by_name(names.names, rule, tables={}, root="source")
    plan = place_choice(names, choice, rule, out_format="jpeg")

    gc.collect()
    assert len(plan.rows()) == n_names
    assert sys.getallocatedblocks() - n_before < 20_000  # 200 places, and what is loaded at the first call
    columns = (plan.verdicts, plan.place_of, choice.label_codes, choice.split_codes, choice.parts)
    assert sum(column.nbytes for column in columns) < 20 * n_names


def test_the_name_of_an_anonymous_image_is_made_of_its_content() -> None:
    names = pa.array([b"train/n01/a.JPEG", b"train/n01/b.JPEG", b"train/n02/c.JPEG"], pa.large_binary())
    same, other = hashlib.sha256(b"same").digest(), hashlib.sha256(b"other").digest()
    plan = Plan(
        names=names,
        verdicts=np.zeros(3, np.int8),
        places=(Place(b"unsup", None, "unsup", is_anonymous=True),),
        place_of=np.zeros(3, np.int32),
        out_format="bytes",
        aliases=Aliases.of(np.arange(3), [same, other, same]),
    )

    stems = [hashlib.sha256(text).hexdigest()[:24] for text in (same + b" 0", other + b" 0", same + b" 1")]
    assert out_names(plan) == [f"unsup/{stem}.JPEG" for stem in stems]
    assert plan.is_anonymous(plan.rows()).tolist() == [True, True, True]
