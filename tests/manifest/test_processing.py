"""Processors over the columns of a table: fitted on train alone, stored as JSON, the same for every later row."""

import json
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ImagekitError, LabelError, ManifestError, UsageError
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.processing import BUILT_IN, WORDS, load_processor, parse_process, run_processors
from imagekit.manifest.processors import Processor

IS_TRAIN = np.array([True, True, True, False])
TABLE = pa.table(
    {
        "file_name": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        "label": ["cat", "dog", "dog", "cat"],
        "age": pa.array([1, None, 3, 8], pa.int64()),
        "site": pa.array(["north", "south", None, "north"]).dictionary_encode(),
        "caption": ["a cat", "a dog", None, "My new cat"],
        "tags": [["x"], ["x", "y"], [], ["z"]],
        "flag": [True, False, True, True],
        "x": [0.5, 1.5, 2.5, 3.5],
    }
)
ALL = ("site:category", "caption:numericalize", "age:median", "age:normalize", "tags:numericalize")


def run(*specs: str, table: pa.Table = TABLE, **options: Any) -> tuple[pa.Table, list[dict[str, Any]]]:
    return run_processors(specs, table, IS_TRAIN, where="root", **options)


def refusal(*specs: str, kind: type[ImagekitError] = UsageError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        run(*specs, **options)
    assert type(caught.value) is kind
    return str(caught.value)


# what comes out


def test_output_columns_stand_behind_those_that_were_there() -> None:
    table, _ = run(*ALL)

    assert table.column_names == [
        *TABLE.column_names,
        *("site_target", "caption_tokens", "caption_ids", "age_filled", "age_was_missing", "age_normalized"),
        "tags_ids",
    ]
    assert table.select(TABLE.column_names).equals(TABLE)
    assert table["site_target"].to_pylist() == [0, 1, None, 0]
    assert table["caption_tokens"][3].as_py() == ["xxbos", "xxmaj", "my", "new", "cat", "xxeos"]
    assert table["caption_ids"].to_pylist() == [[2, 8, 0, 3], [2, 8, 0, 3], None, [2, 7, 0, 0, 0, 3]]
    assert table["age_filled"].to_pylist() == [1.0, 2.0, 3.0, 8.0]
    assert table["age_was_missing"].to_pylist() == [False, True, False, False]
    assert table["age_normalized"].to_pylist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5, 6 * 1.5**0.5])
    assert table["tags_ids"].to_pylist() == [[8], [8, 0], [], [0]]


def test_the_metadata_of_all_processors_never_changes() -> None:
    """Golden: manifests in use hold it."""
    _, entries = run(*ALL)

    marks = '"xxunk","xxpad","xxbos","xxeos","xxrep","xxwrep","xxup","xxmaj"'
    assert json.dumps(entries, separators=(",", ":")) == (
        '[{"name":"CategoryProcessor","column":"site","outputs":["site_target"],"state":{"vocab":["north","south"]}},'
        '{"name":"TokenizeProcessor","column":"caption","outputs":["caption_tokens"],"state":{"rules":1}},'
        '{"name":"NumericalizeProcessor","column":"caption_tokens","outputs":["caption_ids"],'
        f'"state":{{"vocab":[{marks},"a"]}}}},'
        '{"name":"MedianFillProcessor","column":"age","outputs":["age_filled","age_was_missing"],'
        '"state":{"median":2.0}},'
        '{"name":"NormalizeProcessor","column":"age_filled","outputs":["age_normalized"],'
        '"state":{"mean":2.0,"std":0.816496580927726}},'
        '{"name":"NumericalizeProcessor","column":"tags","outputs":["tags_ids"],'
        f'"state":{{"vocab":[{marks},"x"]}}}}]'
    )


def test_nothing_asked_for_changes_nothing() -> None:
    assert run() == (TABLE, [])


def test_numericalize_takes_the_tokens_that_are_there() -> None:
    table, entries = run("caption:tokenize", "caption:numericalize")

    assert [entry["column"] for entry in entries] == ["caption", "caption_tokens"]
    assert table.equals(run("caption:numericalize")[0])


def test_a_column_without_missing_values_is_normalised_as_it_is() -> None:
    _, entries = run("x:normalize")

    assert entries[0]["column"] == "x"


def test_whole_numbers_and_booleans_are_categories_by_their_texts() -> None:
    table, entries = run("flag:category", table=TABLE.set_column(2, "age", pa.array([10, 2, None, 2])))
    table, more = run("age:category", table=table)

    assert [entry["state"] for entry in [*entries, *more]] == [{"vocab": ["false", "true"]}, {"vocab": ["10", "2"]}]
    assert table["flag_target"].to_pylist() == [1, 0, 1, 1]
    assert table["age_target"].to_pylist() == [0, 1, None, 1]
    assert load_processor(more[0]).process(pa.array([2]))["target"].to_pylist() == [1]


def test_chunks_of_a_table_do_not_count() -> None:
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])

    assert run(*ALL, table=chunked)[1] == run(*ALL)[1]
    assert run(*ALL, table=chunked)[0].combine_chunks() == run(*ALL)[0].combine_chunks()


def test_output_columns_have_the_same_digest_once_they_are_written(tmp_path: Path) -> None:
    table = run(*ALL)[0]
    outputs = table.select(table.column_names[TABLE.num_columns :])

    pq.write_table(outputs, tmp_path / "outputs.parquet")

    assert rows_sha256(pq.read_table(tmp_path / "outputs.parquet")) == rows_sha256(outputs)


# train alone decides


@settings(max_examples=40, deadline=None)
@given(
    age=st.none() | st.floats(-1e9, 1e9),
    site=st.none() | st.sampled_from(["north", "south"]),
    caption=st.none() | st.text(max_size=9),
    tags=st.none() | st.lists(st.text(max_size=2), max_size=2),
)
def test_values_outside_train_never_change_the_state(
    age: float | None, site: str | None, caption: str | None, tags: list[str] | None
) -> None:
    row = {"file_name": "d.jpg", "label": "cat", "flag": True, "x": 1.0, "age": age, "site": site}
    train = TABLE.set_column(2, "age", TABLE["age"].cast(pa.float64())).slice(0, 3)
    last = pa.Table.from_pylist([row | {"caption": caption, "tags": tags}], schema=train.schema)

    _, entries = run(*ALL, table=pa.concat_tables([train, last]))

    assert entries == run(*ALL)[1]


def test_the_stored_state_gives_the_same_columns_and_fits_nothing() -> None:
    table, entries = run(*ALL)
    stored = json.loads(json.dumps(entries))

    again, same = run_processors(ALL, TABLE, np.zeros(4, bool), old=stored, where="root")

    assert again.equals(table)
    assert same == entries


def test_other_rows_are_encoded_with_the_stored_state() -> None:
    _, entries = run("age:median")
    table = pa.table({"file_name": ["x.jpg"], "age": pa.array([None], pa.float64())})

    again, _ = run_processors(["age:median"], table, np.ones(1, bool), old=entries, where="root")

    assert again["age_filled"].to_pylist() == [2.0]


def test_each_entry_is_loaded_and_reads_the_column_that_it_names() -> None:
    table, entries = run(*ALL)

    for entry in entries:
        processor = load_processor(json.loads(json.dumps(entry)))
        values = table[entry["column"]].combine_chunks()
        columns = processor.process(values)

        assert isinstance(processor, Processor)
        assert processor.state() == entry["state"]
        for name, column in zip(entry["outputs"], columns.values(), strict=True):
            assert table[name].combine_chunks().equals(column)
            assert table[name].type == column.type


def test_every_word_stands_for_a_processor_of_its_own() -> None:
    assert list(WORDS) == ["category", "tokenize", "numericalize", "median", "normalize"]
    assert all(isinstance(kind(), Processor) for kind in WORDS.values())
    assert {name: kind.name for name, kind in BUILT_IN.items()} == {name: name for name in BUILT_IN}


# what is refused


@pytest.mark.parametrize(
    ("specs", "text"),
    [
        (
            ["age"],
            'the process rule "age" is not written as COLUMN:PROCESSOR\n  where: --process\n  fix: give a column and'
            " one of category, tokenize, numericalize, median, normalize, or package.module:Class",
        ),
        (
            ["age:"],
            'the process rule "age:" is not written as COLUMN:PROCESSOR\n  where: --process\n  fix: give a column and'
            " one of category, tokenize, numericalize, median, normalize, or package.module:Class",
        ),
        (
            ["age:medain"],
            'the processor "medain" is not known\n  where: --process age:medain\n  fix: did you mean "median"? known:'
            " category, median, normalize, numericalize, tokenize; or package.module:Class for one of your own",
        ),
        (
            ["age:median", "age:median"],
            "the process rule age:median is given twice\n  where: --process\n  fix: give it once",
        ),
        (
            ["aeg:median"],
            'there is no column "aeg" to process\n  where: root: aeg:median\n  fix: did you mean "age"? known: age,'
            " caption, file_name, flag, label, site, tags, x; --columns FILE joins further ones",
        ),
        (
            ["label:category"],
            "the label is encoded without being asked for: it gives the column target\n"
            "  where: root: label:category\n  fix: leave this --process out",
        ),
        (
            ["caption:median"],
            'the column "caption" holds string, the MedianFillProcessor takes numbers\n  where: root: caption:median\n'
            "  fix: choose another processor or column, or change the type of the column in its table",
        ),
        (
            ["flag:normalize"],
            'the column "flag" holds bool, the NormalizeProcessor takes numbers\n  where: root: flag:normalize\n'
            "  fix: choose another processor or column, or change the type of the column in its table",
        ),
        (
            ["x:category"],
            'the column "x" holds double, the CategoryProcessor takes texts, whole numbers or booleans\n'
            "  where: root: x:category\n"
            "  fix: choose another processor or column, or change the type of the column in its table",
        ),
        (
            ["age:numericalize"],
            'the column "age" holds int64, the NumericalizeProcessor takes texts or lists of texts\n'
            "  where: root: age:numericalize\n"
            "  fix: choose another processor or column, or change the type of the column in its table",
        ),
        (
            ["age:normalize"],
            "1 value is missing, the first that of b.jpg\n  where: root: age:normalize\n"
            "  fix: fill them first: give COLUMN:median before COLUMN:normalize",
        ),
        (
            ["caption:numericalize", "caption:tokenize"],
            'the output column "caption_tokens" is there already\n  where: root: caption:tokenize\n'
            "  fix: give each --process once, and rename a joined column that has this name",
        ),
    ],
)
def test_rules_that_cannot_be_are_refused(specs: list[str], text: str) -> None:
    assert refusal(*specs) == text


def test_an_infinite_value_is_told_by_the_name_of_its_image() -> None:
    table = TABLE.append_column("y", pa.array([1.0, 2.0, 3.0, float("inf")]))

    assert refusal("y:median", table=table) == (
        "1 value is infinite, the first (inf) that of d.jpg\n  where: root: y:median\n"
        "  fix: write a number, or nothing where the value is not known"
    )
    assert "that of row 3\n" in refusal("y:median", table=table.drop_columns(["file_name"]))


def test_a_text_that_train_does_not_have_says_in_which_column() -> None:
    table = TABLE.set_column(3, "site", pa.array(["a", "b", "b", "new"]))

    assert refusal("site:category", table=table, kind=LabelError) == (
        "1 label is not in train: new (1 rows)\n  where: root: site:category\n"
        "  fix: add images of them to train, or take them out; known: a, b"
    )


def test_what_an_older_manifest_did_not_fit_is_refused() -> None:
    old = [{"name": "CategoryProcessor", "column": "label", "state": {"vocab": ["cat"]}}, *run("age:median")[1]]

    assert refusal("age:normalize", old=old) == (
        "the older manifest has no NormalizeProcessor of the column age\n  where: root: age:normalize\n"
        "  fix: it has CategoryProcessor of label, MedianFillProcessor of age: ask for these, or build without --like"
    )


def test_damaged_state_of_an_older_manifest_is_refused() -> None:
    old = [{"name": "MedianFillProcessor", "column": "age", "state": {"median": "2"}}]

    assert refusal("age:median", old=old, kind=ManifestError) == (
        "the stored state of the MedianFillProcessor cannot be used: median is no number\n  where: root: age:median\n"
        "  fix: build it again with imagekit manifest, or restore it from a copy"
    )


def test_an_entry_of_another_class_is_not_loaded() -> None:
    with pytest.raises(ManifestError) as caught:
        load_processor({"name": "os:system", "column": "x", "state": {}})

    assert str(caught.value) == (
        "the Processor os:system is not one of imagekit's, which are CategoryProcessor, TokenizeProcessor,"
        " NumericalizeProcessor, MedianFillProcessor, NormalizeProcessor\n"
        '  fix: import its class yourself and call its from_state(entry["state"])'
    )


# one's own


class Lengths:
    """Text -> its share of the longest text of train."""

    name = "lengths"

    def __init__(self, longest: int = 0) -> None:
        self.longest = longest

    def fit(self, values: pa.Array) -> None:
        self.longest = max(len(text) for text in values.drop_null().to_pylist())

    def process(self, values: pa.Array) -> dict[str, Any]:
        lengths = [None if text is None else len(text) for text in values.to_pylist()]
        shares = [None if n is None else [n, self.longest] for n in lengths]
        return {"length": pa.array(lengths, pa.int64()), "share": pa.array(shares, pa.list_(pa.int64()))}

    def deprocess(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        raise NotImplementedError

    def state(self) -> Any:
        return {"longest": self.longest}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Lengths":
        return cls(state["longest"])


@pytest.fixture(autouse=True)
def own_module() -> Iterator[types.ModuleType]:
    """A module that is there to import."""
    module = types.ModuleType("own_module")
    sys.modules["own_module"] = module
    module.Lengths = Lengths
    yield module
    del sys.modules["own_module"]


def variant(own_module: types.ModuleType, **members: Any) -> None:
    own_module.Variant = type("Variant", (Lengths,), members)


def test_a_class_of_ones_own_is_fitted_and_goes_on_with_its_state() -> None:
    spec = "caption:own_module:Lengths"

    table, entries = run(spec)
    again, same = run_processors([spec], TABLE, np.zeros(4, bool), old=entries, where="root")

    assert entries == [
        {
            "name": "lengths",
            "column": "caption",
            "outputs": ["caption_length", "caption_share"],
            "state": {"longest": 5},
        }
    ]
    assert table["caption_share"].to_pylist() == [[5, 5], [5, 5], None, [10, 5]]
    assert table["caption_share"].type == pa.list_(pa.field("element", pa.int64()))
    assert again.equals(table)
    assert same == entries


def test_a_column_may_have_a_colon_in_its_name() -> None:
    rules = parse_process(["a:b:median", "a:b:own_module:Lengths"])

    assert [(rule.column, str(rule)) for rule in rules] == [("a:b", "a:b:median"), ("a:b", "a:b:own_module:Lengths")]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            "x:no_such_module:Thing",
            "the module no_such_module cannot be imported: ModuleNotFoundError: No module named 'no_such_module'\n"
            "  where: --process x:no_such_module:Thing\n"
            "  fix: install it, or name its folder in PYTHONPATH (PYTHONPATH=. for this one)",
        ),
        (
            "x:own_module:Length",
            "the module own_module has no class Length\n  where: --process x:own_module:Length\n"
            '  fix: did you mean "Lengths"? known: Lengths',
        ),
        (
            "x:fractions:Fraction",
            "the class Fraction is no Processor: it has no fit, process, deprocess, state, from_state\n"
            "  where: --process x:fractions:Fraction\n"
            "  fix: give it what imagekit.manifest.processors.Processor lists",
        ),
    ],
)
def test_classes_that_are_no_processors_are_refused(spec: str, text: str) -> None:
    assert refusal(spec) == text


def fail(self: Any, values: pa.Array) -> None:
    raise ZeroDivisionError("oh")


def returns(value: Any) -> Any:
    return lambda self, values: value


@pytest.mark.parametrize(
    ("members", "what", "fix"),
    [
        (
            {"name": "CategoryProcessor"},
            "the class Variant needs a name that is none of CategoryProcessor, TokenizeProcessor,"
            " NumericalizeProcessor, MedianFillProcessor, NormalizeProcessor",
            "set name to a word of your own in the class",
        ),
        (
            {"fit": fail},
            "the Processor Variant failed: ZeroDivisionError: oh",
            "mend the class; --debug shows where it failed",
        ),
        (
            {"process": returns([1])},
            "process must return a dict of suffix and array, not list with no columns",
            'return {"suffix": array}',
        ),
        (
            {"process": returns({})},
            "process must return a dict of suffix and array, not dict with 0 columns",
            'return {"suffix": array}',
        ),
        (
            {"process": returns({"a\n": pa.array([1])})},
            "process returned the suffix 'a\\n', which names no column",
            "use a word",
        ),
        (
            {"process": returns({"a": pa.array([1])})},
            "process must return 4 numbers, booleans, texts or lists of them as a, not 1 of int64",
            "return a pyarrow.Array with a value for each row",
        ),
        (
            {"process": returns({"a": pa.array([{"b": 1}] * 4)})},
            "process must return 4 numbers, booleans, texts or lists of them as a, not 4 of struct<b: int64>",
            "return a pyarrow.Array with a value for each row",
        ),
        (
            {"process": returns({"a": [1, 2, 3, 4]})},
            "process must return 4 numbers, booleans, texts or lists of them as a, not list",
            "return a pyarrow.Array with a value for each row",
        ),
        (
            {"state": lambda self: {"x": {1}}},
            "the state is no plain JSON: Object of type set is not JSON serializable",
            "use dicts, lists, texts and numbers",
        ),
        (
            {"state": lambda self: {1: "x"}},
            "the state is no dict that JSON gives back as it was",
            "use dicts with text keys, and lists for tuples",
        ),
    ],
)
def test_what_a_class_of_ones_own_gets_wrong_is_told(
    own_module: types.ModuleType, members: dict[str, Any], what: str, fix: str
) -> None:
    variant(own_module, **members)

    text = refusal("caption:own_module:Variant")

    assert text == f"{what}\n  where: root: caption:own_module:Variant\n  fix: {fix}"


def test_a_failing_processor_of_imagekit_is_not_blamed_on_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WORDS["median"], "fit", fail)

    with pytest.raises(ZeroDivisionError):
        run("age:median")
