"""Numbers: the median fills, mean and deviation normalise, both of train; what is no number is refused by name."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imagekit.errors import ManifestError, UsageError
from imagekit.manifest.numbers import MedianFillProcessor, NormalizeProcessor, check_numbers
from imagekit.manifest.processors import Processor

REBUILD = "build it again with imagekit manifest, or restore it from a copy"
FLOATS = st.floats(-1e6, 1e6)
VALUES = st.lists(st.none() | FLOATS, min_size=1).filter(lambda values: set(values) != {None})


def floats(values: list[float | None]) -> pa.Array:
    return pa.array(values, pa.float64())


# median


@given(values=VALUES)
def test_filling_is_undone_exactly(values: list[float | None]) -> None:
    processor = MedianFillProcessor()

    processor.fit(floats(values))
    columns = processor.process(floats(values))

    assert columns["filled"].null_count == 0
    assert processor.deprocess(columns).to_pylist() == values
    assert processor.state() == {"median": pytest.approx(np.median([value for value in values if value is not None]))}


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ([3.0, None, 1.0, 2.0], 2.0),
        ([4.0, math.nan, 1.0], 2.5),
        ([None, 0.1], 0.1),
        ([1.7e308, 1.7e308], 1.7e308),
        ([-1.7e308, 1.7e308], 0.0),
        ([1.5e308, 1.75e308], 1.5e308 / 2 + 1.75e308 / 2),
    ],
)
def test_the_median_is_of_the_values_that_are_there(values: list[float | None], median: float) -> None:
    processor = MedianFillProcessor()

    processor.fit(floats(values))

    assert processor.state() == {"median": median}


def test_missing_values_are_filled_and_remembered() -> None:
    processor = MedianFillProcessor(2.5)

    columns = processor.process(floats([1.0, None, math.nan]))

    assert columns["filled"].equals(floats([1.0, 2.5, 2.5]))
    assert columns["was_missing"].equals(pa.array([False, True, True]))
    assert processor.deprocess(columns).to_pylist() == [1.0, None, None]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float16(), pa.float32()])
def test_every_kind_of_number_is_filled(kind: pa.DataType) -> None:
    values = pa.array([1, None, 3], pa.int8()).cast(kind)
    processor = MedianFillProcessor()

    processor.fit(values)

    assert processor.process(values)["filled"].equals(floats([1.0, 2.0, 3.0]))


# normalize


def test_train_has_mean_zero_and_deviation_one_afterwards() -> None:
    processor = NormalizeProcessor()

    processor.fit(pa.array([1, 3]))

    assert processor.state() == {"mean": 2.0, "std": 1.0}
    assert processor.process(pa.array([1, 3, 5]))["normalized"].equals(floats([-1.0, 1.0, 3.0]))


@given(values=st.lists(FLOATS, min_size=2))
def test_normalizing_is_undone_but_for_rounding(values: list[float]) -> None:
    assume(max(values) - min(values) > 1e-3)
    processor = NormalizeProcessor()

    processor.fit(floats(values))
    columns = processor.process(floats(values))

    assert processor.deprocess(columns).to_pylist() == pytest.approx(values, abs=1e-6)
    normalized = columns["normalized"].to_numpy()
    assert (normalized.mean(), normalized.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))


@given(values=st.lists(FLOATS, min_size=2), data=st.data())
def test_the_order_of_rows_changes_no_bit_of_the_state(values: list[float], data: st.DataObject) -> None:
    assume(max(values) - min(values) > 1e-3)
    states = []
    for some in (values, data.draw(st.permutations(values))):
        processor = NormalizeProcessor()
        processor.fit(floats(some))
        states.append(processor.state())

    assert states[0] == states[1]


def test_more_values_than_one_piece_are_all_added() -> None:
    processor = NormalizeProcessor()

    processor.fit(pa.array(np.arange(100_001)))

    assert processor.mean == 50_000
    assert processor.std == pytest.approx(math.sqrt((100_001**2 - 1) / 12))


# what is refused


def fit_median(values: list[float | None]) -> Callable[[], object]:
    return lambda: MedianFillProcessor().fit(floats(values))


def fit_normalize(values: list[float | None]) -> Callable[[], object]:
    return lambda: NormalizeProcessor().fit(floats(values))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            fit_median([None, math.nan]),
            "no train row has a value to take the median of\n  fix: give train rows values, or leave the column out",
        ),
        (
            fit_normalize([]),
            "no train row has a value to take the mean of\n  fix: give train rows values, or leave the column out",
        ),
        (
            fit_normalize([0.1, 0.1, 0.1]),
            "the column is constant: every train value is 0.1, their standard deviation 0\n"
            "  fix: leave the column out: it tells nothing",
        ),
        (
            fit_normalize([1e-200, 2e-200]),
            "the column is constant: every train value is 1e-200, their standard deviation 0\n"
            "  fix: leave the column out: it tells nothing",
        ),
        (
            fit_normalize([-1e300, 1e300]),
            "the train values are too large to take their mean and standard deviation\n  fix: scale the column",
        ),
        (
            fit_normalize([1.7e308, 1.7e308, 1]),
            "the train values are too large to take their mean and standard deviation\n  fix: scale the column",
        ),
        (
            fit_normalize([1.0, None, math.nan]),
            "2 values are missing, the first that of row 1\n"
            "  fix: fill them first: give COLUMN:median before COLUMN:normalize",
        ),
        (
            fit_median([1.0, -math.inf]),
            "1 value is infinite, the first (-inf) that of row 1\n"
            "  fix: write a number, or nothing where the value is not known",
        ),
        (
            lambda: MedianFillProcessor().process(floats([1.0])),
            "the MedianFillProcessor was not fitted yet\n  fix: call fit with the train values first",
        ),
        (
            lambda: NormalizeProcessor(0.0, 1e-10).process(floats([1e300])),
            "a value is too far from train's mean of 0.0 to be divided by 1e-10\n"
            "  fix: look for a wrong value outside train",
        ),
        (
            lambda: MedianFillProcessor().fit(pa.array([2**53 + 1])),
            "the column holds a whole number beyond 2**53, which float64 cannot tell from its neighbours\n"
            "  fix: scale the column, or treat it as text",
        ),
    ],
    ids=map(str, range(11)),
)
def test_values_that_cannot_be_used_are_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()

    assert str(caught.value) == text


def test_a_bad_value_is_told_by_the_name_of_its_image() -> None:
    values, names = floats([1.0, math.inf, None]), pa.array(["a.jpg", "b.jpg", "c.jpg"])

    with pytest.raises(UsageError, match=r"1 value is infinite, the first \(inf\) that of b\.jpg"):
        check_numbers(values, names=names, may_miss=True)
    with pytest.raises(UsageError, match=r"1 value is missing, the first that of c\.jpg"):
        check_numbers(floats([1.0, 2.0, None]), names=names, may_miss=False)
    assert check_numbers(pa.array([2**53]), names=names, may_miss=False).tolist() == [2**53]


@pytest.mark.parametrize(
    ("kind", "state", "why"),
    [
        (MedianFillProcessor, {}, "median is no number"),
        (MedianFillProcessor, {"median": True}, "median is no number"),
        (MedianFillProcessor, {"median": math.inf}, "median is no number"),
        (NormalizeProcessor, {"mean": 1.0}, "std is no number"),
        (NormalizeProcessor, {"mean": 1.0, "std": 0}, "std is not above 0"),
    ],
)
def test_damaged_state_is_refused(kind: Any, state: dict[str, Any], why: str) -> None:
    with pytest.raises(ManifestError) as caught:
        kind.from_state(state)

    assert str(caught.value) == f"the stored state of the {kind.name} cannot be used: {why}\n  fix: {REBUILD}"


@pytest.mark.parametrize("processor", [MedianFillProcessor(2.0), NormalizeProcessor(1.0, 2.0)])
def test_the_state_makes_an_equal_one(processor: Any) -> None:
    again = type(processor).from_state(processor.state())

    assert isinstance(again, Processor)
    assert again.state() == processor.state()
    assert again.process(floats([1.5])) == processor.process(floats([1.5]))
