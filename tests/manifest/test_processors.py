"""CategoryProcessor: fitted once, on train, and refused where it does not match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import LabelError
from imagekit.manifest.processors import CategoryProcessor


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
    assert processor.to_dict() == {"name": "CategoryProcessor", "column": "label", "state": {"vocab": ["z", "a"]}}


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

    with pytest.raises(LabelError) as caught:
        processor.process(labels, where="root")

    assert str(caught.value) == f"{what}\n  where: root\n  fix: add images of them to train, or take them out; {fix}"
    assert processor.process(["a", "bee"]) == [0, 1]


def test_indices_before_a_vocab_is_there_are_refused() -> None:
    with pytest.raises(LabelError) as caught:
        CategoryProcessor().deprocess([0])

    assert str(caught.value) == (
        "the CategoryProcessor has no vocab yet\n  fix: call fit or process with the train labels first"
    )
    assert CategoryProcessor().to_dict()["state"] == {"vocab": []}


@pytest.mark.parametrize("target", [-1, 2, 99])
def test_an_index_outside_the_vocab_is_refused(target: int) -> None:
    processor = CategoryProcessor(["a", "b"])

    with pytest.raises(LabelError) as caught:
        processor.deprocess([0, target])

    assert str(caught.value) == f"target {target} is outside the vocab\n  fix: targets run from 0 to 1"
    assert processor.deprocess([0, 1]) == ["a", "b"]
