"""Noisy labels: exactly as many as asked for, nested, the same for the same image whatever stands around it."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import LabelError, UsageError
from imagekit.manifest.noise import noise_columns, noisy_labels

VOCAB = ["ant", "bee", "cow", "dog"]
PERCENTS = [1, 5, 25, 50]
Rows = tuple[list[bytes], pa.Array, np.ndarray]


def rows(n: int) -> Rows:
    """Names, labels (each twelfth null) and which rows are train (two of three)."""
    labels = [None if i % 12 == 5 else VOCAB[i % 4] for i in range(n)]
    return [b"train/%d.jpg" % i for i in range(n)], pa.array(labels, pa.string()), np.arange(n) % 3 < 2


def changed(noisy: pa.Array, labels: pa.Array) -> set[int]:
    pairs = zip(noisy.to_pylist(), labels.to_pylist(), strict=True)
    return {i for i, (one, other) in enumerate(pairs) if one != other}


@settings(deadline=None, max_examples=30)
@given(n=st.integers(0, 300), seed=st.integers(0, 9), percents=st.lists(st.floats(0.5, 99), max_size=3, unique=True))
def test_exactly_the_share_of_labelled_train_rows_is_wrong(n: int, seed: int, percents: list[float]) -> None:
    names, labels, is_train = rows(n)
    percents = list(noise_columns({float(f"{percent:g}"): 0 for percent in percents}).values())

    noisy = noisy_labels(names, labels, is_train, vocab=VOCAB, percents=percents, seed=seed)

    n_train = int((is_train & np.asarray(labels.is_valid())).sum())
    for percent in percents:
        wrong = changed(noisy[f"noisy_{percent:g}"], labels)
        assert len(wrong) == round(percent * n_train / 100)
        assert all(is_train[row] and labels[row].is_valid for row in wrong)
        assert set(noisy[f"noisy_{percent:g}"].drop_null().to_pylist()) <= set(VOCAB)


def test_columns_are_named_by_their_percentage_and_hold_strings() -> None:
    names, labels, is_train = rows(24)

    noisy = noisy_labels(names, labels, is_train, vocab=VOCAB, percents=[1, 2.5, 50.0], seed=0)

    assert list(noisy) == ["noisy_1", "noisy_2.5", "noisy_50"]
    assert {column.type for column in noisy.values()} == {pa.string()}
    assert noisy_labels(names, labels, is_train, vocab=VOCAB, percents=[], seed=0) == {}


def test_more_noise_keeps_the_wrong_labels_of_less() -> None:
    names, labels, is_train = rows(2_000)

    noisy = noisy_labels(names, labels, is_train, vocab=VOCAB, percents=PERCENTS, seed=0)

    for less, more in (("noisy_1", "noisy_5"), ("noisy_5", "noisy_25"), ("noisy_25", "noisy_50")):
        wrong = changed(noisy[less], labels)
        assert wrong < changed(noisy[more], labels)
        assert all(noisy[less][row] == noisy[more][row] for row in wrong)
    alone = noisy_labels(names, labels, is_train, vocab=VOCAB, percents=[25], seed=0)
    assert alone["noisy_25"].equals(noisy["noisy_25"])


def test_the_order_of_rows_changes_no_label() -> None:
    names, labels, is_train = rows(500)
    order = np.random.default_rng(0).permutation(500)

    there = noisy_labels(names, labels, is_train, vocab=VOCAB, percents=[25], seed=1)["noisy_25"]
    shuffled = pa.array([names[row] for row in order], pa.large_binary())
    back = noisy_labels(
        shuffled, labels.take(pa.array(order)), is_train[order], vocab=VOCAB, percents=[25], seed=1
    )["noisy_25"]  # fmt: skip

    assert back.equals(there.take(pa.array(order)))


def test_another_seed_makes_other_labels_wrong() -> None:
    names, labels, is_train = rows(500)

    one, other = (noisy_labels(names, labels, is_train, vocab=VOCAB, percents=[25], seed=seed) for seed in (0, 1))

    assert changed(one["noisy_25"], labels) != changed(other["noisy_25"], labels)


def test_wrong_classes_are_equally_frequent() -> None:
    n = 20_000
    names, labels = [b"%d" % i for i in range(n)], pa.array(["bee"] * n)

    noisy = noisy_labels(names, labels, np.ones(n, bool), vocab=VOCAB, percents=[50], seed=0)["noisy_50"]

    counts = {label: noisy.to_pylist().count(label) for label in VOCAB}
    assert counts["bee"] == 10_000
    # 10,000 draws of one in three: 3,333 with a standard deviation of 47
    assert all(abs(counts[label] - 3_333) < 5 * 47 for label in ("ant", "cow", "dog"))


def test_noise_for_seed_0_never_changes() -> None:
    """Golden: published noisy labels depend on it. Two of four rows, by the rank of sha256(seed, noise, name); the
    class by its third eight bytes, counted over the classes that are not the row's own.
    """
    names, labels = [b"a.jpg", b"b.jpg", b"c.jpg", b"\xff.jpg"], pa.array(["ant", "bee", "cow", "dog"])
    digests = [hashlib.sha256(b"0\0noise\0" + name).digest() for name in names]

    noisy = noisy_labels(names, labels, np.ones(4, bool), vocab=VOCAB, percents=[50], seed=0)["noisy_50"]

    rows = sorted(range(4), key=digests.__getitem__)[:2]
    others = [[label for label in VOCAB if label != VOCAB[row]] for row in range(4)]
    assert changed(noisy, labels) == set(rows) == {1, 2}
    assert [noisy[row].as_py() for row in rows] == [
        others[row][int.from_bytes(digests[row][16:24], "big") % 3] for row in rows
    ]
    assert noisy.to_pylist() == ["ant", "dog", "dog", "dog"]


def test_a_label_that_was_folded_counts_as_other() -> None:
    names, labels = [b"%d" % i for i in range(100)], pa.array(["rare", "ant"] * 50)

    noisy = noisy_labels(names, labels, np.ones(100, bool), vocab=["ant", "other"], percents=[50], seed=0)["noisy_50"]

    pairs = {(was, now) for was, now in zip(labels.to_pylist(), noisy.to_pylist(), strict=True) if was != now}
    assert pairs == {("rare", "ant"), ("ant", "other")}


@pytest.mark.parametrize(
    ("percents", "what", "fix"),
    [
        ([0], "a noise of 0 percent cannot be", "give percentages above 0 and below 100, as 1,5,25,50"),
        ([5, 100], "a noise of 100 percent cannot be", "give percentages above 0 and below 100, as 1,5,25,50"),
        ([float("nan")], "a noise of nan percent cannot be", "give percentages above 0 and below 100, as 1,5,25,50"),
        ([5, 1, 5.0], "the noise percentage 5 is given twice", "give each percentage once"),
    ],
)
def test_percentages_that_cannot_be_are_refused(percents: list[float], what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        noise_columns(percents)

    assert str(caught.value) == f"{what}\n  where: --noise\n  fix: {fix}"
    assert noise_columns([0.5, 99.5]) == {"noisy_0.5": 0.5, "noisy_99.5": 99.5}


def test_one_class_cannot_be_mistaken_for_another() -> None:
    names, labels, is_train = rows(4)

    with pytest.raises(LabelError) as caught:
        noisy_labels(names, labels, is_train, vocab=["ant"], percents=[5], seed=0)

    assert str(caught.value) == (
        "noisy labels need at least 2 classes, there are 1\n"
        "  where: --noise\n  fix: leave --noise out, or label the images with more classes"
    )


def test_a_label_that_is_no_class_is_refused() -> None:
    names, labels, is_train = rows(4)

    with pytest.raises(LabelError) as caught:
        noisy_labels(names, labels, is_train, vocab=["ant", "beer"], percents=[5], seed=0)

    assert str(caught.value) == (
        "2 train rows have a label that is no class: bee\n"
        '  where: --noise\n  fix: did you mean "beer"? known: ant, beer'
    )
