"""Splitters: from the names of the rows to train, valid, test or unsup."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imagekit.errors import SplitError
from imagekit.rules.split_rules import parse_split_rule
from imagekit.rules.splitters import (
    SPLIT_SYNONYMS,
    check_folders,
    check_table_splits,
    folder_splits,
    grandparent_splitter,
    hash_fractions,
    hash_splits,
    is_valid,
    parse_fractions,
    random_splits,
    split_by_func,
    to_split,
)

FIX_FOLDERS = "use --split random:0.2 or hash:0.2, or name the folders train and valid (or val)"
FIX_FRACTIONS = "give fractions above 0 that add up to less than 1, such as 0.2 or 0.2,0.1"
TEN = [f"train/{c}/{i}.jpg" for c in "ab" for i in range(5)]


def error_text(call, *args, **options):
    with pytest.raises(SplitError) as caught:
        call(*args, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


# words


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train", "train"),
        ("Validation", "valid"),
        ("DEV", "valid"),
        ("UnLabelled", "unsup"),
        ("val_night", "valid:night"),
        ("valid-night", "valid:night"),
        ("Validation:night", "valid:night"),
        ("dev_2024.v1-b", "valid:2024.v1-b"),
        ("val_Night", "valid:Night"),
        ("val:" + "x" * 64, "valid:" + "x" * 64),
    ],
)
def test_a_word_stands_for_its_split_and_the_name_of_a_validation_set_is_kept(word, split):
    assert to_split(word) == split


@pytest.mark.parametrize(
    "word",
    [
        *("", "trains", " train", "train ", "train\n", "train_night", "test:night", "unsup_a", "validnight"),
        *("valid:", "val_", "val__night", "val_-night", "val_.night", "val night", "val.night", "my_val_night"),
        *("val_a b", "val_a/b", "val_a\n", "val_\udcff", "val:" + "x" * 65, "valid:night:2"),
    ],
)
def test_any_other_word_stands_for_no_split(word):
    assert to_split(word) is None


@given(st.sampled_from(sorted(SPLIT_SYNONYMS)) | st.from_regex(r"(val|dev)[:_-][a-z][\w.-]{0,9}", fullmatch=True))
def test_a_split_stands_for_itself(word):
    split = to_split(word)

    assert split is not None
    assert to_split(split) == split


@pytest.mark.parametrize(
    ("split", "answer"),
    [
        ("valid", True),
        ("valid:night", True),
        ("train", False),
        ("test", False),
        ("unsup", False),
        ("validation", False),
    ],
)
def test_valid_and_each_of_several_validation_sets_is_one(split, answer):
    assert is_valid(split) is answer


# the splitters of the course


@pytest.mark.parametrize(
    ("file_name", "answer"),
    [
        ("train/a/1.jpg", False),
        ("valid/a/1.jpg", True),
        ("data/valid/a/1.jpg", True),
        ("valid/train/a/1.jpg", False),
        ("val/a/1.jpg", None),
        ("Train/a/1.jpg", None),
        ("train/1.jpg", None),
        ("a/train/1.jpg", None),
        ("1.jpg", None),
        ("", None),
        (PurePosixPath("train/a/1.jpg"), False),
        (Path("/data/valid/a/1.jpg"), True),
    ],
)
def test_the_folder_above_the_folder_tells_the_split(file_name, answer):
    assert grandparent_splitter(file_name) is answer


def test_the_folders_above_may_have_other_names():
    names = ["val/a/1.jpg", "valid/a/1.jpg", "good/a/1.jpg"]

    answers = [grandparent_splitter(name, valid_name="val", train_name="good") for name in names]

    assert answers == [True, None, False]


def test_a_function_splits_items_into_train_and_valid_in_order_and_leaves_out_what_it_does_not_know():
    items = ["train/b/1", "valid/a/1", "other/a/1", "train/a/2", "valid/b/2"]

    assert split_by_func(items, grandparent_splitter) == (["train/b/1", "train/a/2"], ["valid/a/1", "valid/b/2"])


def test_an_iterator_is_split_once_and_nothing_is_split_into_nothing():
    assert split_by_func(iter(range(6)), lambda i: None if i == 5 else i % 2 == 0) == ([1, 3], [0, 2, 4])
    assert split_by_func([], lambda _: True) == ([], [])


# folders


def test_imagenette_version_2_splits_into_9469_and_3925():
    train = [963, 955, 993, 858, 941, 956, 961, 931, 951, 960]
    valid = [387, 395, 357, 386, 409, 394, 389, 419, 399, 390]
    names = [
        f"{split}/n{c}/{i}.JPEG"
        for split, sizes in (("train", train), ("val", valid))
        for c in range(10)
        for i in range(sizes[c])
    ]

    assert Counter(folder_splits(names)) == {"train": 9469, "valid": 3925}


@pytest.mark.parametrize(("folder", "split"), SPLIT_SYNONYMS.items())
def test_every_synonym_stands_for_its_split(folder, split):
    names = [f"{folder}/a/1.jpg", "train/a/1.jpg", "val/a/1.jpg"]

    assert folder_splits(names) == [split, "train", "valid"]


def test_the_synonyms_never_change():
    assert {
        **dict.fromkeys(("train", "training"), "train"),
        **dict.fromkeys(("val", "valid", "validation", "dev"), "valid"),
        **dict.fromkeys(("test", "testing"), "test"),
        **dict.fromkeys(("unsup", "unsupervised", "unlabeled", "unlabelled"), "unsup"),
    } == SPLIT_SYNONYMS


def test_the_case_of_a_split_folder_does_not_matter():
    assert folder_splits(["Train/a/1.jpg", "VAL/a/1.jpg"]) == ["train", "valid"]


def test_a_folder_may_be_one_of_several_validation_sets():
    assert folder_splits(["train/a/1.jpg", "val_night/a/1.jpg", "valid-Day/a/1.jpg"]) == [
        "train",
        "valid:night",
        "valid:Day",
    ]


def test_folders_are_checked_by_their_counts():
    assert check_folders({"train": 5, "val_night": 2, "Test": 1}, n_at_root=0, at_root=[]) == {
        "train": "train",
        "val_night": "valid:night",
        "Test": "test",
    }


def test_files_in_the_root_are_counted_where_only_some_names_are_at_hand():
    assert error_text(check_folders, {"train": 5, "val": 2}, n_at_root=7, at_root=["a.jpg", "b.jpg"]) == (
        "7 files lie directly in the root, outside any split folder: a.jpg, b.jpg, ...\n"
        f"  where: --split folders\n  fix: {FIX_FOLDERS}"
    )


def test_only_the_first_folder_counts():
    assert folder_splits(["train/test/1.jpg", "train/val/unsup/1.jpg", "val/train/1.jpg"]) == [
        "train",
        "train",
        "valid",
    ]


def test_files_in_the_root_are_refused_and_the_first_three_named():
    assert error_text(folder_splits, ["d.jpg", "train/a/1.jpg", "c.jpg", "b.jpg", "a.jpg"]) == (
        "4 files lie directly in the root, outside any split folder: d.jpg, c.jpg, b.jpg, ...\n"
        f"  where: --split folders\n  fix: {FIX_FOLDERS}"
    )


def test_one_file_in_the_root_is_one_file():
    assert error_text(folder_splits, ["train/a/1.jpg", "val/a/1.jpg", "a.jpg"]) == (
        "1 file lies directly in the root, outside any split folder: a.jpg\n"
        f"  where: --split folders\n  fix: {FIX_FOLDERS}"
    )


def test_a_folder_that_names_no_split_is_refused_with_all_that_was_found():
    assert error_text(folder_splits, ["train/a/1.jpg", "val/a/1.jpg", "val/a/2.jpg", "holdout/a/1.jpg"]) == (
        "no split is known for the folders holdout; found: holdout (1), train (1), val (2)\n"
        f"  where: --split folders\n  fix: {FIX_FOLDERS}"
    )


def test_a_tree_of_class_folders_only_lists_at_most_ten():
    assert error_text(folder_splits, [f"c{i:02}/1.jpg" for i in range(12)]) == (
        "no split is known for the folders c00, c01, c02, c03, c04, c05, c06, c07, c08, c09, ...; "
        "found: c00 (1), c01 (1), c02 (1), c03 (1), c04 (1), c05 (1), c06 (1), c07 (1), c08 (1), c09 (1), ...\n"
        f"  where: --split folders\n  fix: {FIX_FOLDERS}"
    )


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["train/a/1.jpg", "test/a/1.jpg"], "valid would be empty; folders found: test (1), train (1)"),
        (["val/a/1.jpg", "val/a/2.jpg"], "train would be empty; folders found: val (2)"),
        ([], "train would be empty; there are no files"),
    ],
)
def test_an_empty_train_or_valid_is_refused(names, what):
    assert error_text(folder_splits, names) == f"{what}\n  where: --split folders\n  fix: {FIX_FOLDERS}"


# random


def test_the_random_split_of_fixed_names_never_changes():
    # fmt: off
    assert random_splits(TEN, valid=0.3, test=0.2, seed=42) == [
        "valid", "valid", "train", "train", "test", "valid", "test", "train", "train", "train",
    ]
    # fmt: on


def test_another_seed_gives_another_random_split():
    names = [f"{i}.jpg" for i in range(100)]

    assert random_splits(names, valid=0.3, seed=0) != random_splits(names, valid=0.3, seed=1)


@pytest.mark.parametrize(("n", "n_valid"), [(9, 2), (10, 2), (11, 3), (14, 4), (100_000, 25_000)])
def test_a_half_is_rounded_to_the_even_neighbour(n, n_valid):
    assert random_splits([str(i) for i in range(n)], valid=0.25, seed=0).count("valid") == n_valid


NAMES = st.lists(st.text(max_size=6), min_size=5, max_size=60, unique=True)
FRACTIONS = st.tuples(st.floats(0.05, 0.5), st.just(0.0) | st.floats(0.05, 0.4))


@settings(deadline=None)
@given(NAMES, FRACTIONS, st.integers())
def test_random_counts_are_exact(names, fractions, seed):
    valid, test = fractions
    n = len(names)
    n_valid, n_test = round(valid * n), round(test * n)
    assume(0 < n_valid < n - n_test and (n_test or not test))

    counts = Counter(random_splits(names, valid=valid, test=test, seed=seed))

    assert counts == Counter(train=n - n_valid - n_test, valid=n_valid, test=n_test)


@settings(deadline=None)
@given(NAMES, st.integers(), st.randoms(use_true_random=False))
def test_a_random_split_ignores_the_order_of_its_input(names, seed, random):
    shuffled = random.sample(names, len(names))

    before = dict(zip(names, random_splits(names, valid=0.3, test=0.2, seed=seed), strict=True))
    after = dict(zip(shuffled, random_splits(shuffled, valid=0.3, test=0.2, seed=seed), strict=True))

    assert after == before


def test_a_row_listed_twice_is_refused():
    assert error_text(random_splits, ["a", "b", "c", "b"], valid=0.3, seed=0) == (
        "b is listed more than once\n  where: --split random\n  fix: list every row once"
    )


@pytest.mark.parametrize(
    ("names", "valid", "test", "what"),
    [
        (["a", "b"], 0.2, 0.0, "valid would be empty with fractions 0.2 for valid and 0 for test; found: train (2)"),
        (["a"], 0.6, 0.0, "train would be empty with fractions 0.6 for valid and 0 for test; found: valid (1)"),
        (
            ["a", "b", "c"],
            0.3,
            0.1,
            "test would be empty with fractions 0.3 for valid and 0.1 for test; found: train (2), valid (1)",
        ),
        ([], 0.2, 0.0, "train would be empty with fractions 0.2 for valid and 0 for test; there are no rows"),
    ],
)
def test_a_random_split_that_would_be_empty_is_refused(names, valid, test, what):
    assert error_text(random_splits, names, valid=valid, test=test, seed=0) == (
        f"{what}\n  where: --split random\n  fix: add images, or change the fractions"
    )


def test_just_enough_rows_make_a_random_split():
    assert sorted(random_splits(["a", "b", "c"], valid=0.2, seed=0)) == ["train", "train", "valid"]


# hash


def test_the_hash_split_of_fixed_names_never_changes():
    # fmt: off
    assert hash_splits(TEN, valid=0.3, test=0.2, salt="42") == [
        "test", "valid", "train", "train", "train", "valid", "test", "train", "train", "train",
    ]
    # fmt: on


def test_the_salt_and_the_key_are_kept_apart():
    keys = [f"{i}" for i in range(200)]

    one = hash_splits([f"b{key}" for key in keys], valid=0.5, salt="a")
    other = hash_splits(keys, valid=0.5, salt="ab")

    assert one != other


def test_the_hash_ratio_is_met_in_expectation():
    counts = Counter(hash_splits([f"{i}.jpg" for i in range(20_000)], valid=0.2, test=0.1, salt="0"))

    # five standard deviations of a binomial: sqrt(20000 * 0.2 * 0.8) = 57
    assert abs(counts["valid"] - 4000) < 285
    assert abs(counts["test"] - 2000) < 215


@settings(deadline=None)
@given(st.integers(0, 40), st.randoms(use_true_random=False))
def test_rows_that_come_later_never_move_a_row(n_more, random):
    old = [f"{i}.jpg" for i in range(40)]
    both = old + [f"new/{i}.jpg" for i in range(n_more)]
    random.shuffle(both)

    before = dict(zip(old, hash_splits(old, valid=0.3, test=0.2, salt="0"), strict=True))
    after = dict(zip(both, hash_splits(both, valid=0.3, test=0.2, salt="0"), strict=True))

    assert {key: after[key] for key in old} == before


def test_a_larger_valid_fraction_only_takes_rows_from_train():
    keys = [str(i) for i in range(500)]

    small = hash_splits(keys, valid=0.1, salt="0")
    large = hash_splits(keys, valid=0.3, salt="0")

    assert {pair for pair in zip(small, large, strict=True) if pair[0] != pair[1]} == {("train", "valid")}


def test_rows_of_one_key_share_a_split():
    splits = hash_splits([str(i % 20) for i in range(100)], valid=0.4, salt="0")

    assert splits[:20] * 5 == splits


def test_a_hash_split_that_would_be_empty_is_refused():
    assert error_text(hash_splits, ["a"], valid=0.0001, salt="0") == (
        "valid would be empty with fractions 0.0001 for valid and 0 for test; found: train (1)\n"
        "  where: --split hash\n  fix: add images, or change the fractions"
    )


def test_a_name_that_is_no_unicode_still_has_a_split():
    names = [f"{i}\udcff.jpg" for i in range(20)]

    assert len(hash_splits(names, valid=0.5, salt="0")) == 20
    assert random_splits(names, valid=0.5, seed=0).count("valid") == 10


def test_a_hash_fraction_is_the_first_53_bits_of_the_sha256():
    # sha256 of nothing starts with e3b0c44298fc1c14
    assert hash_fractions([b""]).tolist() == [(0xE3B0C44298FC1C14 >> 11) / 2**53]
    assert hash_fractions([]).tolist() == []


# tables


@pytest.mark.parametrize(
    ("known", "what"),
    [
        ({}, 'the split "val_night" of line 3 is not known'),
        ({"known": to_split}, 'the split "vall" of line 9 is not known'),
    ],
)
def test_a_table_may_name_validation_sets_where_the_caller_knows_them(known, what):
    n_rows, lines = {"train": 2, "val_night": 2, "vall": 1}, {"train": 2, "val_night": 3, "vall": 9}
    guess = 'did you mean "val"? ' if known else ""

    text = error_text(check_table_splits, n_rows, lines=lines, file="s.csv", **known)

    assert text == (
        f"{what}\n  where: table s.csv\n  fix: {guess}known: dev, test, testing, train, training, unlabeled, "
        "unlabelled, unsup, unsupervised, val, valid, validation"
    )
    check_table_splits({"train": 2, "val_night": 2}, lines={"train": 2, "val_night": 3}, file="s.csv", known=to_split)


# fractions and spellings

BAD_FRACTIONS = [(0.0, 0.0), (1.0, 0.0), (-0.2, 0.0), (0.2, -0.1), (0.5, 0.5), (0.2, 1.0), (float("nan"), 0.0)]


@pytest.mark.parametrize(("valid", "test"), BAD_FRACTIONS)
def test_fractions_that_leave_nothing_are_refused(valid, test):
    text = (
        f"the fractions are {valid:g} for valid and {test:g} for test, which leaves no train or no valid\n"
        f"  where: --split\n  fix: {FIX_FRACTIONS}"
    )

    assert error_text(random_splits, TEN, valid=valid, test=test, seed=0) == text
    assert error_text(hash_splits, TEN, valid=valid, test=test, salt="0") == text
    assert error_text(parse_split_rule, f"hash:{valid},{test}") == text


@pytest.mark.parametrize(
    ("spec", "fractions"),
    [("hash:0.3", (0.3, 0.0)), ("random:0.3,0.2", (0.3, 0.2)), ("random:.3,0", (0.3, 0.0)), ("hash:2e-1", (0.2, 0.0))],
)
def test_one_number_is_valid_and_two_are_valid_and_test(spec, fractions):
    assert parse_fractions(spec) == fractions


@pytest.mark.parametrize("fractions", ["", "a", "20%", "0.2,", "0.1,0.1,0.1"])
def test_a_split_rule_without_one_or_two_numbers_is_refused(fractions):
    assert error_text(parse_fractions, f"random:{fractions}") == (
        f'the split rule "random:{fractions}" must be random:V or random:V,T with V and T numbers\n'
        "  where: --split\n  fix: write random:0.2 for a fifth as valid, random:0.2,0.1 for a tenth as test, too"
    )


@pytest.mark.slow
def test_a_million_rows_are_split_in_memory_shared_by_all():
    names = [f"{'val' if i % 5 == 0 else 'train'}/n{i % 1000:04}/{i}.jpg" for i in range(1_000_000)]

    by_folder = folder_splits(names)
    by_rank = random_splits(names, valid=0.2, seed=0)

    assert by_rank.count("valid") == 200_000
    assert len({id(split) for split in by_folder + by_rank}) == 2
