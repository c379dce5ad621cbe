"""CategoryProcessor: fitted once, on train, and refused where it does not match."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import LabelError, ManifestError
from imagekit.manifest.processors import CategoryProcessor, Processor, plain_array
from imagekit.manifest.read import read_metadata

LABELS = st.lists(st.none() | st.text(alphabet="abcé", max_size=2), min_size=1).filter(any)
REBUILD = "build it again with imagekit manifest, or restore it from a copy"


@given(labels=st.lists(st.text(max_size=3), min_size=1))
def test_labels_go_to_indices_of_a_sorted_vocab_and_back(labels: list[str]) -> None:
    processor = CategoryProcessor()

    targets = processor.process(labels)

    assert processor.vocab == tuple(sorted(set(labels)))
    assert processor.deprocess(targets) == labels


def test_the_first_call_fits_and_later_calls_do_not_change_the_vocab() -> None:
    processor = CategoryProcessor()

    assert processor.process(["b", "a"]) == [1, 0]
    assert processor.process(["b"]) == [1]
    assert processor.vocab == ("a", "b")


def test_a_vocab_that_was_given_is_kept_in_its_order() -> None:
    processor = CategoryProcessor(["z", "a"])

    assert processor.process(["a", "z"]) == [1, 0]
    assert processor.to_dict() == {
        "name": "CategoryProcessor",
        "column": "label",
        "outputs": ["target"],
        "state": {"vocab": ["z", "a"]},
    }


@pytest.mark.parametrize(
    ("labels", "what", "fix"),
    [
        (["a", "x"], "1 label is not in train: x (1 rows)", "known: a, bee"),
        (["be", "a", "be"], "1 label is not in train: be (2 rows)", 'did you mean "bee"? known: a, bee'),
        (list("stuvwxy"), "7 labels are not in train: s (1 rows), t (1 rows), u (1 rows), v (1 rows), w (1 rows)"
         " and 2 more", "known: a, bee"),
    ],
)  # fmt: skip
def test_labels_outside_the_vocab_are_listed(labels: list[str], what: str, fix: str) -> None:
    processor = CategoryProcessor(["a", "bee"])
    text = f"{what}\n  where: root\n  fix: add images of them to train, or take them out; {fix}"

    with pytest.raises(LabelError) as caught:
        processor.process(labels, where="root")
    with pytest.raises(LabelError) as caught_array:
        processor.encode(pa.array([*labels, None]), where="root")

    assert str(caught.value) == str(caught_array.value) == text
    assert processor.process(["a", "bee"]) == [0, 1]


def test_indices_before_a_vocab_is_there_are_refused() -> None:
    text = "the CategoryProcessor has no vocab yet\n  fix: call fit or process with the train labels first"

    for call in (
        lambda: CategoryProcessor().deprocess([0]),
        lambda: CategoryProcessor().decode(pa.array([0])),
        lambda: CategoryProcessor().process(pa.array(["a"])),
    ):
        with pytest.raises(LabelError) as caught:
            call()
        assert str(caught.value) == text

    assert CategoryProcessor().to_dict()["state"] == {"vocab": []}


@pytest.mark.parametrize("target", [-1, 2, 99])
def test_an_index_outside_the_vocab_is_refused(target: int) -> None:
    processor = CategoryProcessor(["a", "b"])
    text = f"target {target} is outside the vocab\n  fix: targets run from 0 to 1"

    with pytest.raises(LabelError) as caught:
        processor.deprocess([0, target])
    with pytest.raises(LabelError) as caught_array:
        processor.decode(pa.array([0, None, target]))

    assert str(caught.value) == str(caught_array.value) == text
    assert processor.deprocess([0, 1]) == ["a", "b"]


# arrays


@given(labels=LABELS)
def test_arrays_give_what_lists_give_and_nulls_stay(labels: list[str | None]) -> None:
    known = [label for label in labels if label is not None]
    by_list, by_array = CategoryProcessor(), CategoryProcessor()

    by_list.fit(known)
    by_array.fit(pa.array(labels, pa.string()))
    columns = by_array.process(pa.array(labels, pa.string()))

    assert by_array.vocab == by_list.vocab
    assert columns["target"].type == pa.int32()
    assert columns["target"].drop_null().to_pylist() == by_list.process(known)
    assert by_array.deprocess(columns).to_pylist() == labels


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_every_layout_of_strings_is_encoded_alike(kind: pa.DataType) -> None:
    plain = pa.array(["x", "b", None, "a", "b"])
    chunks = pa.chunked_array([plain.slice(0, 2), plain.slice(2)]).cast(kind)
    processor = CategoryProcessor()

    processor.fit_array(chunks.slice(1))

    assert processor.vocab == ("a", "b")
    assert processor.encode(chunks.slice(1), where="here").to_pylist() == [1, None, 0, 1]
    assert processor.encode(plain.cast(kind).slice(1), where="here").to_pylist() == [1, None, 0, 1]
    assert processor.encode(pa.chunked_array([], kind), where="here").to_pylist() == []


def test_a_dictionary_may_hold_labels_that_no_row_has() -> None:
    rows = pa.DictionaryArray.from_arrays(pa.array([0, 2], pa.int8()), pa.array(["a", "unused", "b"]))
    processor = CategoryProcessor()

    processor.fit(rows)

    assert processor.vocab == ("a", "b")
    assert processor.encode(rows, where="here").to_pylist() == [0, 1]


def test_a_million_rows_are_encoded_without_an_object_each() -> None:
    codes = pa.array(np.arange(1_000_000) % 10, pa.int8())
    labels = pa.DictionaryArray.from_arrays(codes, pa.array([f"class {i}" for i in range(10)]))
    processor = CategoryProcessor()

    processor.fit_array(labels)

    assert processor.encode(labels, where="here").equals(codes.cast(pa.int32()))


def test_a_column_without_a_label_in_train_fits_nothing() -> None:
    with pytest.raises(LabelError) as caught:
        CategoryProcessor().fit_array(pa.array([None, None], pa.string()))

    assert str(caught.value) == "no train row has a label\n  fix: label some train rows, or leave the column out"


# other


def test_rare_labels_become_other_which_is_sorted_like_any() -> None:
    processor = CategoryProcessor(other_below=2)

    processor.fit(["zebra", "zebra", "ant", "ant", "rare", "rarer"])

    assert processor.vocab == ("ant", "other", "zebra")
    assert processor.process(["rare", "ant", "never seen"]) == [1, 0, 1]
    assert processor.encode(pa.array(["rare", None, "never seen"]), where="here").to_pylist() == [1, None, 1]
    assert processor.deprocess([1, 2]) == ["other", "zebra"]
    assert processor.state() == {"vocab": ["ant", "other", "zebra"], "other_below": 2}


def test_without_a_rare_label_there_is_no_other_and_the_unseen_are_refused() -> None:
    processor = CategoryProcessor(other_below=2)

    processor.fit(["a", "a", "b", "b"])

    assert processor.vocab == ("a", "b")
    with pytest.raises(LabelError) as caught:
        processor.process(["c"])
    assert str(caught.value) == (
        "1 label is not in train: c (1 rows)\n  where: labels\n"
        "  fix: add images of them to train, or take them out; known: a, b"
    )


def test_rare_labels_join_a_class_that_is_called_other() -> None:
    processor = CategoryProcessor(other_below=2)

    processor.fit(["other", "other", "a", "a", "b"])

    assert processor.vocab == ("a", "other")
    assert processor.process(["b", "other"]) == [1, 1]


def test_a_class_called_other_is_no_refuge_without_folding() -> None:
    with pytest.raises(LabelError, match="1 label is not in train: b"):
        CategoryProcessor(["a", "other"]).process(["b"])


@pytest.mark.parametrize(
    ("labels", "n", "label"), [(["a", "b", "b"], 2, "b"), (["other"] * 9 + ["a"], 1, "a"), (["other"], 1, "other")]
)
def test_a_vocab_of_other_alone_is_refused(labels: list[str], n: int, label: str) -> None:
    with pytest.raises(LabelError) as caught:
        CategoryProcessor(other_below=5).fit(labels)

    assert str(caught.value) == (
        "with other_below 5 no class but other is left\n  where: --other-below\n"
        f"  fix: give at most {n}: the most frequent label, {label}, has as many train rows"
    )


def test_a_negative_least_number_is_refused() -> None:
    with pytest.raises(LabelError) as caught:
        CategoryProcessor(other_below=-1)

    assert str(caught.value) == (
        "a CategoryProcessor has other_below -1, must be at least 0\n"
        "  fix: give the least number of train rows that a class of its own must have"
    )


@given(train=LABELS, valid=LABELS, other_below=st.integers(0, 2))
def test_encoding_more_rows_never_changes_the_state(
    train: list[str | None], valid: list[str | None], other_below: int
) -> None:
    processor = CategoryProcessor(other_below=other_below)
    try:
        processor.fit(pa.array(train, pa.string()))
    except LabelError:
        return
    before = processor.state()

    try:
        processor.process(pa.array(valid, pa.string()))
    except LabelError:
        assert set(valid) - set(train)

    assert processor.state() == before


# as stored


@given(labels=LABELS, other_below=st.integers(0, 3))
def test_the_state_makes_an_equal_one(labels: list[str | None], other_below: int) -> None:
    processor = CategoryProcessor(other_below=other_below)
    try:
        processor.fit(pa.array(labels, pa.string()))
    except LabelError:
        return

    again = CategoryProcessor.from_dict(json.loads(json.dumps(processor.to_dict())))

    values = pa.array(labels, pa.string())
    assert again.to_dict() == processor.to_dict()
    assert again.process(values)["target"].equals(processor.process(values)["target"])


def test_an_entry_of_the_first_manifests_names_no_outputs_and_is_read() -> None:
    entry = {"name": "CategoryProcessor", "column": "label", "state": {"vocab": ["ant", "bee"]}}

    golden = read_metadata(Path(__file__).parent.parent / "golden" / "manifest-v1.parquet").processors

    assert CategoryProcessor.from_dict(entry).process(["bee"]) == [1]
    assert [CategoryProcessor.from_dict(one).vocab for one in golden] == [("ant", "bee")]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"name": "Other", "state": {}}, "the entry has the name Other and a state of dict"),
        ({"name": "CategoryProcessor"}, "the entry has the name CategoryProcessor and a state of NoneType"),
        ({"state": {}}, "vocab is no list of strings"),
        ({"state": {"vocab": "ab"}}, "vocab is no list of strings"),
        ({"state": {"vocab": ["a", 1]}}, "vocab is no list of strings"),
        ({"state": {"vocab": ["a", "a"]}}, "a word stands twice in vocab"),
        ({"state": {"vocab": ["a"], "other_below": -1}}, "other_below is no count"),
        ({"state": {"vocab": ["a"], "other_below": True}}, "other_below is no count"),
        ({"state": {"vocab": ["a"], "other_below": "2"}}, "other_below is no count"),
    ],
)
def test_damaged_state_is_refused(entry: dict[str, Any], why: str) -> None:
    with pytest.raises(ManifestError) as caught:
        CategoryProcessor.from_dict({"name": "CategoryProcessor", **entry})

    text = f"the stored state of the CategoryProcessor cannot be used: {why}\n  fix: {REBUILD}"
    assert str(caught.value) == text


def test_a_class_with_the_methods_and_a_name_is_a_processor() -> None:
    class Nameless:
        fit = process = deprocess = state = from_state = None

    assert isinstance(CategoryProcessor(), Processor)
    assert not isinstance(Nameless(), Processor)


def test_a_plain_array_has_one_chunk_and_no_dictionary() -> None:
    coded = pa.array(["a", None, "a"]).dictionary_encode()

    assert plain_array(pa.chunked_array([coded.slice(1), coded])).to_pylist() == [None, "a", "a", None, "a"]
    assert plain_array(coded).type == pa.string()
    assert plain_array(pa.chunked_array([], pa.int8())).equals(pa.array([], pa.int8()))
