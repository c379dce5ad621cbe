"""Processors of number columns: the median fills what is missing, train's mean and deviation make it comparable.

A value is missing when it is null or NaN. Infinite values are refused. Whole numbers become float64, and are refused
where that would change them (beyond 2**53).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import UsageError
from imagekit.manifest.processors import bad_state

Floats = npt.NDArray[np.float64]
_CHUNK = 65_536


def is_number(kind: pa.DataType) -> bool:
    """Whether columns of this type can be filled and normalised: integers and floats, no booleans."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def check_numbers(values: pa.Array, *, names: pa.Array | None = None, may_miss: bool) -> Floats:
    """The values as float64, NaN where one is missing.

    names: of the rows, for errors; without them rows are counted from 0. may_miss: whether a value may be missing.
    Raises UsageError for an infinite value, a whole number that float64 cannot hold, and a missing value unless it may.
    """
    try:
        floats = values.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise UsageError(
            "the column holds a whole number beyond 2**53, which float64 cannot tell from its neighbours",
            fix="scale the column, or treat it as text",
        ) from error
    numbers: Floats = floats.fill_null(math.nan).to_numpy(zero_copy_only=False)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        row = int(infinite[0])
        raise UsageError(
            f"{_counted(len(infinite))} infinite, the first ({numbers[row]}) that of {_row(row, names)}",
            fix="write a number, or nothing where the value is not known",
        )
    missing = np.flatnonzero(np.isnan(numbers))
    if len(missing) and not may_miss:
        raise UsageError(
            f"{_counted(len(missing))} missing, the first that of {_row(int(missing[0]), names)}",
            fix="fill them first: give COLUMN:median before COLUMN:normalize",
        )
    return numbers


def _counted(n: int) -> str:
    return "1 value is" if n == 1 else f"{n:,} values are"


def _row(row: int, names: pa.Array | None) -> str:
    return f"row {row}" if names is None else str(names[row].as_py())


class MedianFillProcessor:
    """Fills missing numbers with the median of train, and remembers which they were.

    Of an even number of values the median is the mean of the middle two.
    """

    name = "MedianFillProcessor"

    def __init__(self, median: float | None = None) -> None:
        self.median = median

    def fit(self, values: pa.Array) -> None:
        """Take the median of the train values. Raises UsageError if all are missing, or as `check_numbers`."""
        numbers = check_numbers(values, may_miss=True)
        numbers = np.sort(numbers[~np.isnan(numbers)])
        if not len(numbers):
            raise UsageError(
                "no train row has a value to take the median of", fix="give train rows values, or leave the column out"
            )
        low, high = float(numbers[(len(numbers) - 1) // 2]), float(numbers[len(numbers) // 2])
        # halves first: the sum of two large numbers may be infinite
        self.median = low if low == high else low / 2 + high / 2

    def process(self, values: pa.Array) -> dict[str, pa.Array]:
        """filled: float64, nothing missing; was_missing: bool. Raises UsageError before fit, or as `check_numbers`."""
        median = fitted(self.median, self.name)
        numbers = check_numbers(values, may_miss=True)
        missing = np.isnan(numbers)
        return {"filled": pa.array(np.where(missing, median, numbers)), "was_missing": pa.array(missing)}

    def deprocess(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        """float64 values, null where one was missing; a NaN comes back as null."""
        return pc.if_else(columns["was_missing"], pa.scalar(None, pa.float64()), columns["filled"])

    def state(self) -> dict[str, Any]:
        """The median. Raises UsageError before fit."""
        return {"median": fitted(self.median, self.name)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> MedianFillProcessor:
        """A fitted one. Raises ManifestError for what is no state of it."""
        return cls(_state_number(cls.name, state, "median"))


class NormalizeProcessor:
    """Subtracts the mean of train and divides by its (population) standard deviation.

    Both are sums rounded once, so that the order of the rows is nothing.
    """

    name = "NormalizeProcessor"

    def __init__(self, mean: float | None = None, std: float | None = None) -> None:
        self.mean = mean
        self.std = std

    def fit(self, values: pa.Array) -> None:
        """Take mean and deviation of the train values.

        Raises UsageError where a value is missing, none is there, all are equal, or they are too large to be squared.
        """
        numbers = check_numbers(values, may_miss=False)
        if not len(numbers):
            raise UsageError(
                "no train row has a value to take the mean of", fix="give train rows values, or leave the column out"
            )
        mean, std = _mean_and_std(numbers)
        if not (math.isfinite(mean) and math.isfinite(std)):
            raise UsageError(
                "the train values are too large to take their mean and standard deviation", fix="scale the column"
            )
        if std == 0 or numbers.min() == numbers.max():
            raise UsageError(
                f"the column is constant: every train value is {float(numbers[0])!r}, their standard deviation 0",
                fix="leave the column out: it tells nothing",
            )
        self.mean, self.std = mean, std

    def process(self, values: pa.Array) -> dict[str, pa.Array]:
        """normalized: float64. Raises UsageError before fit, where a value is missing, or as `check_numbers`."""
        mean, std = fitted(self.mean, self.name), fitted(self.std, self.name)
        numbers = check_numbers(values, may_miss=False)
        with np.errstate(over="ignore"):
            normalized = (numbers - mean) / std
        if np.isinf(normalized).any():
            raise UsageError(
                f"a value is too far from train's mean of {mean!r} to be divided by {std!r}",
                fix="look for a wrong value outside train",
            )
        return {"normalized": pa.array(normalized)}

    def deprocess(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        """The values as float64, but for rounding. Raises UsageError before fit."""
        mean, std = fitted(self.mean, self.name), fitted(self.std, self.name)
        return pc.add(pc.multiply(columns["normalized"], std), mean)

    def state(self) -> dict[str, Any]:
        """Mean and standard deviation. Raises UsageError before fit."""
        return {"mean": fitted(self.mean, self.name), "std": fitted(self.std, self.name)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> NormalizeProcessor:
        """A fitted one. Raises ManifestError for what is no state of it."""
        mean, std = (_state_number(cls.name, state, key) for key in ("mean", "std"))
        if std <= 0:
            raise bad_state(cls.name, "std is not above 0")
        return cls(mean, std)


def _mean_and_std(numbers: Floats) -> tuple[float, float]:
    """Of all numbers, infinite where a sum or a square is too large."""
    try:
        mean = math.fsum(_each(numbers)) / len(numbers)
        with np.errstate(over="ignore"):
            squares = np.square(numbers - mean)
        return mean, math.sqrt(math.fsum(_each(squares)) / len(numbers))
    except OverflowError:
        return math.inf, math.inf


def _each(numbers: Floats) -> Iterator[float]:
    for start in range(0, len(numbers), _CHUNK):
        yield from numbers[start : start + _CHUNK].tolist()


def fitted(value: float | None, name: str) -> float:
    """The value that `fit` has set. Raises UsageError before."""
    if value is None:
        raise UsageError(f"the {name} was not fitted yet", fix="call fit with the train values first")
    return value


def _state_number(name: str, state: Mapping[str, Any], key: str) -> float:
    value = state.get(key)
    if not isinstance(value, float | int) or isinstance(value, bool) or not math.isfinite(value):
        raise bad_state(name, f"{key} is no number")
    return float(value)
