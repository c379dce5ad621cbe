"""Splits, groups and leaks of images: laws, and small cases told row by row."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import SplitError
from imagekit.manifest.like import OldRows
from imagekit.manifest.options import ManifestOptions
from imagekit.manifest.read import Manifest
from imagekit.manifest.splitting import Images, Splitting, split_images
from imagekit.rules.columns import Coded, recode
from imagekit.rules.similar import is_flat

# hashes that say something, far apart; and one of a flat picture
BASES = [int.from_bytes(hashlib.sha256(bytes([i])).digest()[:8], "little") for i in range(12)]
FLAT = 0


def coded(values: Sequence[str | None]) -> Coded:
    texts = sorted({value for value in values if value is not None})
    codes = np.array([-1 if value is None else texts.index(value) for value in values], np.int32)
    return recode(codes, tuple(texts))


def images(rows: Sequence[dict[str, Any]], *, given: bool = False, keyed: bool = False) -> Images:
    """Rows of name, content, dhash, label, split and key, sorted by name."""
    rows = sorted(rows, key=lambda row: str(row["name"]))
    return Images(
        names=pa.array([row["name"] for row in rows], pa.string()),
        labels=coded([row.get("label", "ant") for row in rows]),
        splits=coded([row["split"] for row in rows]) if given else None,
        sha256=pa.array([sha(row.get("content", row["name"])) for row in rows], pa.binary(32)),
        dhash=pa.array([row.get("dhash") for row in rows], pa.uint64()),
        keys=coded([row.get("key") for row in rows]) if keyed else None,
    )


def sha(content: str | None) -> bytes | None:
    return None if content is None else hashlib.sha256(content.encode()).digest()


def splits_of(found: Images, result: Splitting) -> dict[str, str]:
    """The split of each image that is not left out."""
    kept = result.kept()
    names = found.names.to_pylist()
    return {name: result.words[code] for name, code, is_kept in zip(names, result.codes, kept, strict=True) if is_kept}


def as_old(found: Images, result: Splitting, *, then: Images) -> OldRows:
    """The outcome as the older manifest of other images."""
    kept = np.flatnonzero(result.kept())
    taken = pa.array(kept)
    texts = pa.array([result.words[result.codes[row]] for row in kept], pa.string())
    table = pa.table({
        "file_name": found.names.take(taken),
        "split": texts.dictionary_encode(),
        "fold": pa.nulls(len(kept), pa.int8()) if result.folds is None else pa.array(result.folds[kept]),
        "sha256": found.sha256.take(taken),
        "dhash": found.dhash.take(taken).view(pa.int64()),
        "group": result.groups.take(taken),
    })  # fmt: skip
    return OldRows.find(Manifest(path=Path("old.parquet"), metadata=None, table=table), then.names)  # type: ignore[arg-type]


def options(split: str, **more: Any) -> ManifestOptions:
    return ManifestOptions(split=split, label="parent", seed=3, **more)


@st.composite
def row_lists(draw: st.DrawFn, *, n_most: int = 24) -> list[dict[str, Any]]:
    """Images some of which have one content, or hashes up to four bits apart, or one key."""
    rows = []
    for i in range(draw(st.integers(1, n_most))):
        base = draw(st.integers(0, 11))
        turned = draw(st.lists(st.integers(0, 63), max_size=2, unique=True))
        dhash = draw(st.sampled_from([BASES[base] ^ sum(1 << bit for bit in turned), FLAT, None]))
        content = f"content {draw(st.integers(0, 8))}" if draw(st.booleans()) else f"own {i}"
        rows.append({
            "name": f"{draw(st.integers(0, 10**6))}-{i}.png",
            "content": content,
            "dhash": dhash,
            "label": draw(st.sampled_from(["ant", "bee"])),
            "split": draw(st.sampled_from(["train", "valid", "test", "unsup", "valid:night"])),
            "key": draw(st.sampled_from([None, "p1", "p2"])),
        })  # fmt: skip
    return rows


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows belong together, by the definition."""
    if one["content"] == other["content"]:
        return True
    hashes = [row["dhash"] for row in (one, other)]
    if None in hashes or says_nothing(hashes[0]) or says_nothing(hashes[1]):
        return False
    return (hashes[0] ^ hashes[1]).bit_count() <= 3


@functools.cache
def says_nothing(dhash: int) -> bool:
    """Kept, for the laws compare every row with every other."""
    return bool(is_flat(np.array([dhash], np.uint64))[0])


def assert_groups_whole(rows: Sequence[dict[str, Any]], splits: dict[str, str]) -> None:
    there = [row for row in rows if row["name"] in splits]
    for i, one in enumerate(there):
        for other in there[:i]:
            if alike(one, other):
                assert splits[one["name"]] == splits[other["name"]], (one, other)


DRAWN = ["random:0.3,0.2", "stratified:0.3,0.2", "hash:0.3,0.2"]


# -- laws ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(rows=row_lists(), rule=st.sampled_from(DRAWN))
def test_a_group_is_in_one_split(rows: list[dict[str, Any]], rule: str) -> None:
    found = images(rows)

    splits = splits_of(found, split_images(found, options(rule), old=None))

    assert_groups_whole(rows, splits)
    if not rule.startswith("hash"):
        assert len(splits) == len(rows)  # nothing is left out where splits are free


@settings(deadline=None, max_examples=50)
@given(rows=row_lists(), leaks=st.sampled_from(["drop", "move"]))
def test_a_group_that_folders_tore_apart_is_mended(rows: list[dict[str, Any]], leaks: str) -> None:
    found = images(rows, given=True)

    splits = splits_of(found, split_images(found, options("folders", leaks=leaks), old=None))

    assert_groups_whole(rows, splits)
    gone = [row for row in rows if row["name"] not in splits]
    assert leaks == "drop" or all(row["split"] == "unsup" for row in gone)


@settings(deadline=None, max_examples=50)
@given(rows=row_lists())
def test_groups_that_folders_tore_apart_are_kept_and_told(rows: list[dict[str, Any]]) -> None:
    found = images(rows, given=True)

    result = split_images(found, options("folders"), old=None)

    assert splits_of(found, result) == {row["name"]: row["split"] for row in rows}
    told = {name for leak in result.leaks for _, name in leak.members}
    for i, one in enumerate(rows):
        for other in rows[:i]:
            if alike(one, other) and one["split"] != other["split"]:
                assert {one["name"], other["name"]} <= told


@settings(deadline=None, max_examples=50)
@given(rows=row_lists(), more=row_lists())
def test_under_hash_no_row_moves_when_others_come(rows: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    few, many = images(rows), images(joined(rows, more))
    rule = options("hash:0.3,0.2")

    before = splits_of(few, split_images(few, rule, old=None))
    after = splits_of(many, split_images(many, rule, old=None))

    assert all(after[name] == split for name, split in before.items() if name in after)


@settings(deadline=None, max_examples=50)
@given(rows=row_lists(), more=row_lists(), rule=st.sampled_from([*DRAWN, "hash:0.3 similar"]), gone=st.integers(0, 5))
def test_like_an_older_manifest_no_row_moves_and_groups_stay_whole(
    rows: list[dict[str, Any]], more: list[dict[str, Any]], rule: str, gone: int
) -> None:
    spec, _, group = rule.partition(" ")
    settled = options(spec, group=group or None)
    first = images(rows)
    before = split_images(first, settled, old=None)
    old_splits = splits_of(first, before)
    today = joined(rows, more)[gone:]
    found = images(today)

    after = splits_of(found, split_images(found, settled, old=as_old(first, before, then=found)))

    there = {row["name"] for row in today}
    assert {name: after[name] for name in old_splits if name in there} == {
        name: split for name, split in old_splits.items() if name in there
    }
    assert_groups_whole(today, after)


@settings(deadline=None, max_examples=40)
@given(rows=row_lists(), more=row_lists(), n_folds=st.integers(2, 4))
def test_folds_keep_groups_whole_and_stay_like_those_of_an_older_manifest(
    rows: list[dict[str, Any]], more: list[dict[str, Any]], n_folds: int
) -> None:
    settled = options(f"kfold:{n_folds}")
    first = images(rows)
    try:
        before = split_images(first, settled, old=None)
        found = images(joined(rows, more))
        after = split_images(found, settled, old=as_old(first, before, then=found))
    except SplitError:
        return  # too few rows for so many folds: told, see below
    folds = {name: str(fold) for name, fold in zip(found.names.to_pylist(), after.folds, strict=True)}  # type: ignore[arg-type]
    kept = {name: folds[name] for name in splits_of(found, after)}

    assert_groups_whole(joined(rows, more), kept)
    was = dict(zip(first.names.to_pylist(), map(str, before.folds), strict=True))  # type: ignore[arg-type]
    assert all(kept[name] == fold for name, fold in was.items() if name in kept)
    assert {after.words[code] for code, fold in zip(after.codes, after.folds, strict=True) if fold == 0} <= {"valid"}  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(rows=row_lists(), data=st.data(), rule=st.sampled_from([*DRAWN, "folders"]))
def test_the_order_of_the_rows_does_not_count(rows: list[dict[str, Any]], data: st.DataObject, rule: str) -> None:
    shuffled = data.draw(st.permutations(rows))
    given = rule == "folders"

    one, other = images(rows, given=given), images(shuffled, given=given)

    first, second = (split_images(each, options(rule), old=None) for each in (one, other))
    assert splits_of(one, first) == splits_of(other, second)
    assert first.groups.equals(second.groups)
    assert first.leaks == second.leaks


@settings(deadline=None, max_examples=40)
@given(rows=row_lists())
def test_rows_of_one_key_are_in_one_split(rows: list[dict[str, Any]]) -> None:
    for rule in DRAWN:
        found = images(rows, keyed=True)
        splits = splits_of(found, split_images(found, options(rule, group="column:key", columns=None), old=None))
        for key in ("p1", "p2"):
            assert len({splits[row["name"]] for row in rows if row["key"] == key and row["name"] in splits}) <= 1


@settings(deadline=None, max_examples=40)
@given(rows=row_lists(), more=row_lists(), leaks=st.sampled_from(["keep", "drop"]), keyed=st.booleans())
def test_like_an_older_manifest_of_folders_no_old_row_moves_or_goes(
    rows: list[dict[str, Any]], more: list[dict[str, Any]], leaks: str, keyed: bool
) -> None:
    settled = options("folders", leaks=leaks, group="column:key" if keyed else None)
    first = images(rows, given=True, keyed=keyed)
    before = split_images(first, settled, old=None)
    today = joined(rows, more)
    found = images(today, given=True, keyed=keyed)

    after = splits_of(found, split_images(found, settled, old=as_old(first, before, then=found)))

    old_splits = splits_of(first, before)
    assert {name: after.get(name) for name in old_splits} == old_splits
    if leaks == "drop":
        assert_groups_whole(today, after)


@settings(deadline=None, max_examples=40)
@given(rows=row_lists(), changed=st.lists(st.integers(0, 23), max_size=4), n_folds=st.integers(2, 3))
def test_folds_that_changed_files_tear_apart_are_told_or_left_out(
    rows: list[dict[str, Any]], changed: list[int], n_folds: int
) -> None:
    first = images(rows)
    for leaks in ("keep", "drop"):
        settled = options(f"kfold:{n_folds}", leaks=leaks)
        try:
            before = split_images(first, settled, old=None)
            today = [
                row | ({"content": rows[0]["content"], "dhash": rows[0]["dhash"]} if i in changed else {})
                for i, row in enumerate(rows)
            ]
            found = images(today)
            after = split_images(found, settled, old=as_old(first, before, then=found))
        except SplitError:
            return  # too few rows for so many folds
        kept = splits_of(found, after)
        folds = {name: str(fold) for name, fold in zip(found.names.to_pylist(), after.folds, strict=True)}  # type: ignore[arg-type]
        if not after.leaks or leaks == "drop":
            assert_groups_whole(today, {name: folds[name] for name in kept})


def joined(rows: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, *(row | {"name": f"more/{row['name']}"} for row in more)]


# -- cases ---------------------------------------------------------------------------------------------------------


def test_near_pictures_join_and_a_flat_hash_joins_nothing() -> None:
    found = images([
        {"name": "a.png", "dhash": BASES[0]},
        {"name": "b.png", "dhash": BASES[0] ^ 0b111},
        {"name": "c.png", "dhash": BASES[0] ^ 0b1111 << 40},
        {"name": "d.png", "dhash": FLAT},
        {"name": "e.png", "dhash": FLAT},
    ])  # fmt: skip

    result = split_images(found, options("random:0.5"), old=None)

    groups = result.groups.to_pylist()
    least = min(sha("a.png").hex(), sha("b.png").hex())[:16]  # type: ignore[union-attr]
    assert groups == [least, least, None, None, None]
    assert result.n_unlike == 2


def test_the_group_of_a_key_is_its_text_even_for_one_row() -> None:
    rows = [
        {"name": "a.png", "key": "p1", "content": "x"},
        {"name": "b.png", "key": None, "content": "x"},
        {"name": "c.png", "key": "p2"},
        {"name": "d.png", "key": None},
    ]
    found = images(rows, keyed=True)

    groups = split_images(found, options("random:0.5", group="column:key"), old=None).groups.to_pylist()

    assert groups == ["p1", "p1", "p2", None]


LEAKY = [
    {"name": "test/a.png", "split": "test", "content": "x"},
    {"name": "train/a.png", "split": "train", "content": "x"},
    {"name": "unsup/a.png", "split": "unsup", "content": "x"},
    {"name": "val/a.png", "split": "valid", "content": "x"},
    {"name": "train/b.png", "split": "train"},
]
MEMBERS = (("test", "test/a.png"), ("train", "train/a.png"), ("unsup", "unsup/a.png"), ("valid", "val/a.png"))


def test_a_leak_keeps_what_is_in_test_first() -> None:
    found = images(LEAKY, given=True)

    dropped = split_images(found, options("folders", leaks="drop"), old=None)
    moved = split_images(found, options("folders", leaks="move"), old=None)

    assert splits_of(found, dropped) == {"test/a.png": "test", "train/b.png": "train"}
    assert next(bad.to_dict() for _, bad in dropped.left_out) == {
        "file_name": "train/a.png",
        "reason": "leak",
        "detail": "is like test/a.png in test, and was to be in train",
        "size_bytes": None,
        "sha256": sha("x").hex(),  # type: ignore[union-attr]
        "format": None,
    }
    assert splits_of(found, moved) == {
        "test/a.png": "test", "train/a.png": "test", "val/a.png": "test", "train/b.png": "train",
    }  # fmt: skip
    assert dropped.leaks == moved.leaks
    assert dropped.leaks[0].members == MEMBERS
    assert dropped.leaks[0].line() == (
        "test/a.png (test) = train/a.png (train) = unsup/a.png (unsup) = val/a.png (valid)"
    )


def test_a_leak_of_very_many_rows_shows_the_first_eight() -> None:
    rows = [{"name": f"{i:02}.png", "split": "train" if i else "valid", "content": "x"} for i in range(12)]
    found = images(rows, given=True)

    (leak,) = split_images(found, options("folders"), old=None).leaks

    assert leak.line().endswith("07.png (train) and 4 more")
    assert len(leak.members) == 12


def test_a_new_image_joins_the_split_of_its_group_and_one_that_bridges_two_is_left_out() -> None:
    first = images([
        {"name": "a.png", "dhash": BASES[0]},
        {"name": "b.png", "dhash": BASES[0] ^ 0b1111110},
        {"name": "gone.png", "dhash": BASES[1]},
    ])  # fmt: skip
    before = replace_splits(split_images(first, options("random:0.5"), old=None), ["train", "valid", "valid"])
    found = images([
        {"name": "a.png", "dhash": BASES[0]},
        {"name": "b.png", "dhash": BASES[0] ^ 0b1111110},
        {"name": "bridge.png", "dhash": BASES[0] ^ 0b1110},
        {"name": "like-a.png", "dhash": BASES[0] ^ (1 << 50)},
        {"name": "like-gone.png", "dhash": BASES[1] ^ 1},
    ])  # fmt: skip

    result = split_images(found, options("random:0.5"), old=as_old(first, before, then=found))

    assert splits_of(found, result) == {
        "a.png": "train", "b.png": "valid", "like-a.png": "train", "like-gone.png": "valid",
    }  # fmt: skip
    ((row, bad),) = result.left_out
    assert (row, bad.file_name, bad.reason) == (2, "bridge.png", "leak")
    assert bad.detail == "like images of more than one split of the older manifest: train, valid"
    assert result.leaks == ()


def test_an_old_file_that_became_a_picture_of_another_split_is_left_out() -> None:
    first = images([{"name": "a.png"}, {"name": "b.png"}])
    before = replace_splits(split_images(first, options("random:0.5"), old=None), ["train", "valid"])
    found = images([{"name": "a.png"}, {"name": "b.png", "content": "a.png"}])

    result = split_images(found, options("random:0.5"), old=as_old(first, before, then=found))

    assert splits_of(found, result) == {"a.png": "train"}
    assert result.left_out[0][1].detail.endswith("of the older manifest: train, valid")


def test_like_an_older_manifest_the_new_side_of_a_leak_between_folders_is_dropped() -> None:
    first = images([{"name": "train/a.png", "split": "train"}], given=True)
    before = split_images(first, options("folders"), old=None)
    rows = [
        {"name": "train/a.png", "split": "train"},
        {"name": "val/new.png", "split": "valid", "content": "train/a.png"},
    ]
    found = images(rows, given=True)

    result = split_images(found, options("folders", leaks="drop"), old=as_old(first, before, then=found))

    assert splits_of(found, result) == {"train/a.png": "train"}


def replace_splits(result: Splitting, splits: list[str]) -> Splitting:
    words = sorted(set(splits))
    return replace(result, codes=np.array([words.index(split) for split in splits], np.int32), words=words)


def test_a_fold_that_would_be_empty_is_told() -> None:
    found = images([{"name": "a.png", "content": "x"}, {"name": "b.png", "content": "x"}])

    with pytest.raises(SplitError) as caught:
        split_images(found, options("kfold:2"), old=None)

    assert str(caught.value) == (
        "fold 1 of 2 would be empty; found: 2 images, and their groups\n"
        "  where: --split kfold\n  fix: ask for fewer folds, or add images"
    )


def test_a_class_that_stands_in_one_fold_only_is_told() -> None:
    rows = [{"name": f"{i}.png", "label": "ant"} for i in range(6)]
    found = images([*rows, {"name": "b.png", "label": "bee"}, {"name": "c.png", "label": "cow"}])

    with pytest.raises(SplitError) as caught:
        split_images(found, options("kfold:3"), old=None)

    first, *rest = str(caught.value).splitlines()
    assert first.startswith("every image of bee is in fold ")
    assert first.endswith(", so training without it has none; so it is with 1 more classes")
    assert rest == [
        "  where: --split kfold",
        "  fix: add images that belong to no group of them, or take the class out",
    ]


@pytest.mark.parametrize(("had", "words"), [(None, "has no folds"), (2, "has 2 folds")])
def test_an_older_manifest_of_other_folds_is_refused(had: int | None, words: str) -> None:
    rows = [{"name": f"{i}.png"} for i in range(6)]
    found = images(rows)
    first = split_images(found, options(f"kfold:{had}" if had else "random:0.5"), old=None)

    with pytest.raises(SplitError) as caught:
        split_images(found, options("kfold:3"), old=as_old(found, first, then=found))

    fix = "ask for kfold:2, or leave --like out" if had else "leave --like out, or give another --split"
    assert str(caught.value) == (
        f"the older manifest {words}, kfold:3 is asked for\n  where: --like old.parquet\n  fix: {fix}"
    )
