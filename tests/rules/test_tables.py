"""match_table: which image each line of a table means, which value it gives it, and which lines mean none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import LabelError
from imagekit.rules.outcomes import BadFile
from imagekit.rules.tables import TableMatch, TableRule, match_table, parse_table_rule, resolve

NAMES = [b"train/a/1.jpg", b"train/a/2.jpg", b"val/images/3.jpg", b"val/images/4.jpg", b"val/more/4.jpg"]


def arrow(names: list[bytes]) -> pa.LargeBinaryArray:
    return pa.array(names, pa.large_binary())


def match(
    *columns: list[str | None], names: list[bytes] = NAMES, rule: str = "table:val/list.csv", base: str = "", **options
) -> TableMatch:
    heads = options.pop("heads", [str(i + 1) for i in range(len(columns))])
    data = pa.table([pa.array(column, pa.string()) for column in columns], names=heads)
    options = {"has_header": False} | options
    return match_table(arrow(names), data, rule=parse_table_rule(rule), base=base, **options)


def error_text(*columns: list[str | None], **options) -> str:
    with pytest.raises(LabelError) as caught:
        match(*columns, **options)
    return str(caught.value)


def given_values(found: TableMatch) -> list[str | None]:
    return [found.values[code] if code >= 0 else None for code in found.codes]


# the rule


def test_a_rule_names_a_file_and_perhaps_its_columns():
    assert parse_table_rule("table:val/list.txt") == TableRule(file="val/list.txt")
    rule = parse_table_rule("table:list.csv:image:2")
    assert rule == TableRule(file="list.csv", path_column="image", value_column="2")
    assert str(rule) == "table:list.csv:image:2"
    assert str(parse_table_rule("table:a b.csv")) == "table:a b.csv"


@pytest.mark.parametrize("spec", ["table:", "table", "table:a:b", "table:a:b:", "table:a:b:c:d", "tables:a"])
def test_a_rule_of_other_parts_is_refused(spec):
    with pytest.raises(LabelError) as caught:
        parse_table_rule(spec)

    assert str(caught.value) == (
        f'the table rule "{spec}" must be table:FILE or table:FILE:PATH:VALUE\n  where: table\n'
        "  fix: give the file, and both of its columns by name or by number from 1, or none; a file name with a colon"
        " cannot be written"
    )


@pytest.mark.parametrize("file", ["../a.csv", "/a.csv", "a/../../b.csv", "a\0.csv"])
def test_a_rule_never_leads_out_of_its_folder(file):
    with pytest.raises(LabelError) as caught:
        parse_table_rule(f"table:{file}")

    assert str(caught.value) == (
        f'the table rule "table:{file}" leads out of the folder that it is relative to\n  where: table\n'
        '  fix: use a relative path without ".."'
    )


# which image a line means


def test_a_path_is_relative_to_the_source():
    found = match(["val/images/3.jpg", "train/a/1.jpg"], ["x", "y"])

    assert given_values(found) == ["y", None, "x", None, None]
    assert found.listed.tolist() == [True, False, True, False, False]
    assert found.problems == ()
    assert found.codes.dtype == np.int32


def test_a_path_may_be_relative_to_the_folder_of_the_table():
    assert given_values(match(["images/3.jpg", "more/4.jpg"], ["x", "y"], base="val")) == [None, None, "x", None, "y"]


def test_the_source_comes_before_the_folder_of_the_table():
    names = [b"a/1.jpg", b"val/a/1.jpg"]

    assert given_values(match(["a/1.jpg"], ["x"], names=names, base="val")) == ["x", None]


def test_a_bare_file_name_means_the_one_image_below_the_folder_of_the_table_that_has_it():
    """Tiny ImageNet: val/val_annotations.txt lists val_0.JPEG, which lies in val/images/."""
    names = [b"train/n1/images/val_0.JPEG", b"val/images/val_0.JPEG", b"val/images/val_1.JPEG", b"valid/val_1.JPEG"]

    found = match(["val_0.JPEG", "val_1.JPEG"], ["n1", "n2"], ["0", "0"], names=names, base="val")

    assert given_values(found) == [None, "n1", "n2", None]


def test_a_bare_file_name_is_searched_in_the_whole_source_by_a_table_at_its_root():
    assert given_values(match(["3.jpg"], ["x"])) == [None, None, "x", None, None]


def test_a_bare_file_name_that_two_images_have_means_neither():
    found = match(["3.jpg", "4.jpg"], ["x", "y"])

    assert given_values(found) == [None, None, "x", None, None]
    assert found.problems == (
        BadFile(
            file_name="4.jpg",
            reason="path-collision",
            detail="listed in val/list.csv, line 2: more than one image has this file name",
        ),
    )


def test_a_leading_dot_is_dropped():
    assert given_values(match(["./train/a/1.jpg", "././3.jpg", "./4.jpg"], ["x", "y", "z"])) == [
        "x",
        None,
        "y",
        None,
        None,
    ]


def test_a_line_without_an_image_is_a_problem_of_its_line():
    cells = ["train/a/1.jpg", "gone.jpg", None, "/abs.jpg", "../up.jpg", "a/../1.jpg", "..", "x\0.jpg", "a..b/..c.jpg"]

    found = match(cells, ["x"] * 9, has_header=True)

    outside = ": it does not name a file below the source"
    assert [(bad.file_name, bad.reason, bad.detail) for bad in found.problems] == [
        ("gone.jpg", "vanished", "listed in val/list.csv, line 3, but not in the source"),
        ("/abs.jpg", "path-escape", f"listed in val/list.csv, line 5{outside}"),
        ("../up.jpg", "path-escape", f"listed in val/list.csv, line 6{outside}"),
        ("a/../1.jpg", "path-escape", f"listed in val/list.csv, line 7{outside}"),
        ("..", "path-escape", f"listed in val/list.csv, line 8{outside}"),
        ("x\0.jpg", "path-escape", f"listed in val/list.csv, line 9{outside}"),
        ("a..b/..c.jpg", "vanished", "listed in val/list.csv, line 10, but not in the source"),
    ]


def test_line_numbers_count_the_header_only_where_there_is_one():
    details = [match(["1.jpg", "0.jpg"], ["x", "x"], has_header=has).problems[0].detail for has in (True, False)]

    assert details == [f"listed in val/list.csv, line {line}, but not in the source" for line in (3, 2)]


def test_a_name_that_is_not_utf8_is_no_line_and_no_fault():
    assert given_values(match(["1.jpg"], ["x"], names=[b"\xff/1.jpg", b"\xff/\xfe.jpg"])) == ["x", None]


NAME = st.lists(st.sampled_from(["a", "b", "é", "1.jpg", "2.jpg"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(NAME, unique=True, max_size=12), st.lists(NAME, max_size=12), st.sampled_from(["", "a", "a/b"]))
def test_every_path_means_what_the_three_rules_say(names: list[str], cells: list[str], base: str) -> None:
    def meant(cell: str) -> int:
        prefix = f"{base}/" if base else ""
        for path in (cell, prefix + cell):
            if path in names:
                return names.index(path)
        below = [i for i, name in enumerate(names) if name.startswith(prefix) and name.split("/")[-1] == cell]
        return below[0] if len(below) == 1 else (-3 if below else -1)

    rows = resolve(arrow([cell.encode() for cell in cells]), arrow([name.encode() for name in names]), base=base)

    assert rows.tolist() == [meant(cell) for cell in cells]


# columns


def test_the_path_column_is_the_one_with_most_images_and_the_value_stands_to_its_right():
    found = match(["7", "8"], ["3.jpg", "1.jpg"], ["x", "y"], ["0", "0"])

    assert given_values(found) == ["y", None, "x", None, None]


def test_of_two_columns_the_other_one_holds_the_values():
    assert given_values(match(["x", "y"], ["3.jpg", "1.jpg"])) == ["y", None, "x", None, None]


def test_an_empty_column_is_passed_over():
    assert given_values(match(["x", "y"], ["3.jpg", "1.jpg"], [None, None])) == ["y", None, "x", None, None]


@pytest.mark.parametrize("columns", ["image:kind", "1:3", "image:3", "1:kind"])
def test_columns_are_named_or_numbered(columns):
    found = match(
        ["3.jpg", "1.jpg"],
        ["x", "y"],
        ["p", "q"],
        heads=["image", "colour", "kind"],
        rule=f"table:t.csv:{columns}",
        has_header=True,
    )

    assert given_values(found) == ["q", None, "p", None, None]


def test_a_column_called_by_a_number_comes_before_the_number():
    assert given_values(match(["3.jpg"], ["x"], ["y"], heads=["p", "3", "2"], rule="table:t:p:2")) == [
        None, None, "y", None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(("column", "guess"), [("imag", 'did you mean "image"? '), ("4", ""), ("0", "")])
def test_a_column_that_is_not_there_is_refused(column, guess):
    text = error_text(["3.jpg"], ["x"], heads=["image", "kind"], rule=f"table:t.csv:{column}:kind")

    assert text == (
        f'the table has no column "{column}"\n  where: table t.csv\n'
        f"  fix: {guess}known: image, kind; or a number from 1 to 2"
    )


@pytest.mark.parametrize("columns", [(["x"], ["y"], ["3.jpg"]), (["3.jpg"],)])
def test_values_that_are_not_to_be_told_are_refused(columns):
    heads = ["p", "q", "r"][: len(columns)]

    text = error_text(*columns, heads=heads, rule="table:t.csv")

    assert text == (
        f'no column stands to the right of the paths in column "{heads[-1]}"; columns: {", ".join(heads)}\n'
        f"  where: table t.csv\n  fix: name both columns: table:t.csv:{heads[-1]}:VALUE"
    )


def test_a_list_of_paths_alone_says_which_images_are_listed():
    found = match(["3.jpg", "gone.jpg"], value=False)

    assert found.listed.tolist() == [False, False, True, False, False]
    assert (found.values, found.lines, found.codes.tolist()) == ((), (), [-1] * 5)
    assert len(found.problems) == 1


# values


def test_values_are_sorted_with_the_line_where_each_comes_first():
    found = match(["4.jpg", "1.jpg", "2.jpg", "3.jpg"], ["z", "y", "x", "y"], names=NAMES[:4], has_header=True)

    assert found.values == ("x", "y", "z")
    assert found.lines == (4, 3, 2)


def test_an_empty_value_is_none_but_the_image_is_listed():
    found = match(["1.jpg", "2.jpg"], ["x", None])

    assert given_values(found)[:2] == ["x", None]
    assert found.listed.tolist()[:2] == [True, True]


def test_values_of_lines_that_mean_no_image_are_not_among_the_values():
    assert match(["1.jpg", "gone.jpg"], ["x", "a"]).values == ("x",)


def test_an_image_may_be_listed_twice_with_one_value():
    found = match(["1.jpg", "train/a/1.jpg", "1.jpg"], ["x", "x", None])

    assert given_values(found)[0] == "x"


def test_an_image_listed_with_two_values_is_refused_with_both_lines():
    assert error_text(["2.jpg", "1.jpg", "train/a/1.jpg", "1.jpg"], ["x", "x", "y", "x"], has_header=True) == (
        'train/a/1.jpg has two values: line 3 says "x", line 4 says "y"\n'
        "  where: table val/list.csv\n  fix: list every image once, or with one value"
    )


FIX_PATHS = "write the paths relative to the source or to the table's own folder, or name the column that holds them"


@pytest.mark.parametrize(("base", "beside"), [("", ""), ("val", " or below val/")])
def test_a_table_of_other_paths_is_refused_with_both_sides_shown(base, beside):
    assert error_text(["a/0.jpg", None, "b/0.jpg", "c", "d"], ["x"] * 5, base=base, rule="table:t.csv:1:2") == (
        f"no line lists an image of the source{beside}; it starts with: a/0.jpg, b/0.jpg, c; "
        "the images with: train/a/1.jpg, train/a/2.jpg, val/images/3.jpg\n"
        f"  where: table t.csv\n  fix: {FIX_PATHS}"
    )


def test_a_table_for_no_images_is_refused():
    assert error_text(["1.jpg"], ["x"], names=[]) == (
        "no line lists an image of the source; it starts with: 1.jpg; the images with: \n"
        f"  where: table val/list.csv\n  fix: {FIX_PATHS}"
    )


# columns that give no value


@pytest.mark.parametrize("values", [[None, None], [None, "x"]])
def test_an_empty_column_of_values_is_refused_by_name(values):
    text = error_text(
        ["train/a/1.jpg", "gone.jpg"], values, ["1", "2"], rule="table:l.csv:1:what", heads=["1", "what", "3"]
    )

    assert text == (
        'no line that lists an image has a value in column "what"\n'
        "  where: table l.csv\n"
        "  fix: fill the column, or name both columns: table:l.csv:PATH:VALUE"
    )


def test_one_value_is_enough_for_a_column_of_values():
    found = match(["train/a/1.jpg", "train/a/2.jpg"], [None, "x"], rule="table:l.csv:1:2")

    assert given_values(found) == [None, "x", None, None, None]


def test_a_column_right_of_the_paths_that_could_not_be_read_says_what_it_holds():
    fields = [pa.field("path", pa.string()), pa.field("score", pa.string(), metadata={"type": "double"})]
    data = pa.table([["train/a/1.jpg"], pa.nulls(1, pa.string())], schema=pa.schema(fields))

    with pytest.raises(LabelError) as caught:
        match_table(arrow(NAMES), data, rule=parse_table_rule("table:l.parquet"), has_header=False, base="")

    assert str(caught.value) == (
        'the column "score" holds double, must hold texts or whole numbers\n'
        "  where: table l.parquet\n"
        "  fix: write its values as texts, or name another column"
    )
