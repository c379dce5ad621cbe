"""What --split can say: every spelling, and every one that is refused."""

from __future__ import annotations

import pytest

from imagekit.errors import SplitError
from imagekit.rules.split_rules import MAX_FOLDS, SPECS, SplitRule, parse_split_rule, split_rank
from imagekit.rules.tables import TableRule

KNOWN = (
    "known: folders, hash:V[,T], kfold:K, list:SPLIT=FILE[,SPLIT=FILE...], random:V[,T], stratified:V[,T], "
    "table:FILE[:PATH:SPLIT]"
)
FIX_LIST = "write list:valid=val.txt,test=test.txt; images in neither file are train"
FIX_TABLE = (
    "give the file, and both of its columns by name or by number from 1, or none; a file name with a colon"
    " cannot be written"
)


def error_text(spec: str) -> str:
    with pytest.raises(SplitError) as caught:
        parse_split_rule(spec)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("folders", SplitRule(kind="folders")),
        ("hash:0.2", SplitRule(kind="hash", valid=0.2)),
        ("hash:0.2,0.1", SplitRule(kind="hash", valid=0.2, test=0.1)),
        ("random:0.25,0", SplitRule(kind="random", valid=0.25)),
        ("stratified:0.2,0.1", SplitRule(kind="stratified", valid=0.2, test=0.1)),
        ("kfold:2", SplitRule(kind="kfold", n_folds=2)),
        ("kfold:127", SplitRule(kind="kfold", n_folds=127)),
        ("table:s.csv", SplitRule(kind="table", table=TableRule(file="s.csv"))),
        (
            "table:a/s.csv:image:2",
            SplitRule(kind="table", table=TableRule(file="a/s.csv", path_column="image", value_column="2")),
        ),
        ("list:val=v.txt", SplitRule(kind="list", files={"valid": "v.txt"})),
        (
            "list:Test=a/t.txt,valid:night=n=1.txt,training=t.csv",
            SplitRule(kind="list", files={"test": "a/t.txt", "valid:night": "n=1.txt", "train": "t.csv"}),
        ),
        ("list:valid=v.csv:image:1", SplitRule(kind="list", files={"valid": "v.csv:image:1"})),
    ],
)
def test_each_spelling_is_its_rule(spec, rule):
    assert parse_split_rule(spec) == rule


def test_the_files_of_a_list_rule_keep_their_order():
    assert list(parse_split_rule("list:test=t.txt,dev=v.txt,unsup=u.txt").files) == ["test", "valid", "unsup"]


def test_every_known_spelling_starts_like_one_that_is_read():
    read = ("folders", "hash:0.2", "random:0.2", "stratified:0.2", "kfold:5", "table:a", "list:val=a")

    assert sorted(spec.partition(":")[0] for spec in SPECS) == sorted(parse_split_rule(spec).kind for spec in read)


@pytest.mark.parametrize(
    ("spec", "guess"),
    [
        ("", ""),
        ("folder", 'did you mean "folders"? '),
        ("Folders", 'did you mean "folders"? '),
        ("folders:0.2", 'did you mean "folders"? '),
        ("random", 'did you mean "random:V[,T]"? '),
        ("randm:0.2", ""),
        ("kfold", 'did you mean "kfold:K"? '),
        ("table", ""),
        ("list", ""),
        ("none", ""),
        (":0.2", ""),
        ("HASH:0.2", ""),
    ],
)
def test_an_unknown_split_rule_is_refused_with_all_that_are_known(spec, guess):
    assert error_text(spec) == f'the split rule "{spec}" is not known\n  where: --split\n  fix: {guess}{KNOWN}'


@pytest.mark.parametrize("kind", ["hash", "random", "stratified"])
@pytest.mark.parametrize("fractions", ["", "a", "20%", "0.2,", "0.1,0.1,0.1"])
def test_fractions_must_be_one_or_two_numbers(kind, fractions):
    assert error_text(f"{kind}:{fractions}") == (
        f'the split rule "{kind}:{fractions}" must be {kind}:V or {kind}:V,T with V and T numbers\n'
        f"  where: --split\n  fix: write {kind}:0.2 for a fifth as valid, {kind}:0.2,0.1 for a tenth as test, too"
    )


@pytest.mark.parametrize("kind", ["hash", "random", "stratified"])
@pytest.mark.parametrize(("valid", "test"), [("0", "0"), ("1", "0"), ("0.9", "0.1"), ("nan", "0"), ("inf", "0")])
def test_fractions_must_leave_a_train_and_a_valid(kind, valid, test):
    assert error_text(f"{kind}:{valid},{test}") == (
        f"the fractions are {valid} for valid and {test} for test, which leaves no train or no valid\n"
        "  where: --split\n  fix: give fractions above 0 that add up to less than 1, such as 0.2 or 0.2,0.1"
    )
    assert parse_split_rule(f"{kind}:0.89,0.1").valid == 0.89


@pytest.mark.parametrize("folds", ["", "0", "1", "128", "1000", "-2", "2.0", "five", "٥", " 5", "5\n"])
def test_folds_are_two_or_more_and_fit_their_column(folds):
    assert error_text(f"kfold:{folds}") == (
        f'the split rule "kfold:{folds}" must be kfold:K with K from 2 to 127\n'
        "  where: --split\n  fix: write kfold:5 for five folds"
    )


def test_the_number_of_a_fold_fits_an_int8():
    assert MAX_FOLDS - 1 <= 127


@pytest.mark.parametrize("spec", ["table:", "table:a:b", "table:a:b:", "table:a:b:c:d"])
def test_a_table_rule_of_other_parts_is_an_error_of_the_split(spec):
    assert error_text(spec) == (
        f'the table rule "{spec}" must be table:FILE or table:FILE:PATH:VALUE\n  where: --split\n  fix: {FIX_TABLE}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "valid",
        "v.txt",
        "=v.txt",
        "holdout=v.txt",
        "valid=v.txt,",
        "valid=v.txt,w.txt",
        "valid=v.txt,val=w.txt",
        "valid:night=v.txt,val_night=w.txt",
        "valid =v.txt",
    ],
)
def test_a_list_rule_gives_each_split_one_file(text):
    assert error_text(f"list:{text}") == (
        f'the split rule "list:{text}" must be list:SPLIT=FILE, more of them behind commas, each split once\n'
        f"  where: --split\n  fix: {FIX_LIST}"
    )


def test_a_list_must_lie_below_the_folder_that_it_is_relative_to():
    assert error_text("list:valid=v.txt,test=../t.txt") == (
        'the table rule "table:../t.txt" leads out of the folder that it is relative to\n'
        '  where: --split\n  fix: use a relative path without ".."'
    )
    assert parse_split_rule("list:valid=v.txt,test=a..b/t.txt").files["test"] == "a..b/t.txt"


def test_a_list_without_a_file_is_a_table_rule_that_cannot_be():
    assert error_text("list:valid=") == (
        f'the table rule "table:" must be table:FILE or table:FILE:PATH:VALUE\n  where: --split\n  fix: {FIX_TABLE}'
    )


@pytest.mark.parametrize(
    ("spec", "is_given"),
    [
        ("folders", True),
        ("table:a", True),
        ("list:val=a", True),
        ("hash:0.2", False),
        ("random:0.2", False),
        ("stratified:0.2", False),
        ("kfold:5", False),
    ],
)
def test_a_split_is_given_where_somebody_else_decided(spec, is_given):
    assert parse_split_rule(spec).is_given is is_given


def test_what_a_function_says_is_given():
    assert SplitRule(kind="function").is_given


def test_the_tables_of_a_rule_are_told_in_its_order():
    assert parse_split_rule("hash:0.2").table_rules() == ()
    assert parse_split_rule("table:s.csv").table_rules() == ("table:s.csv",)
    assert parse_split_rule("table:s.csv:a:2").table_rules() == ("table:s.csv:a:2",)
    assert parse_split_rule("list:val=v.txt,test=t.csv:image:1").table_rules() == ("table:v.txt", "table:t.csv:image:1")


def test_test_is_kept_from_most_and_a_named_valid_is_like_any_valid():
    splits = ["unsup", "valid:night", "test", "train", "valid"]

    assert sorted(splits, key=split_rank) == ["unsup", "train", "valid:night", "valid", "test"]
    assert split_rank("valid:night") == split_rank("valid")
