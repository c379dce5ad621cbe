"""The epochs of a run: which was the best, and the table of them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from imagekit.look.wording import number_text, percent_text

MAX_EPOCHS_SHOWN = 500  # and the best: so that a page stays under 2 MB
SHARES = ("accuracy", "top", "data_wait")  # columns shown in percent
COLUMNS_LAST = ("lr", "images_per_s", "data_wait", "seconds")  # after what was reached: what it took
DECIMALS = {"images_per_s": 0, "seconds": 1}

Row = Mapping[str, float | None]


def is_number(value: float | None) -> TypeGuard[float]:
    """True for what can be compared and drawn: neither None nor NaN nor infinity."""
    return value is not None and math.isfinite(value)


def best_number(rows: Sequence[Row]) -> int | None:
    """Where the best epoch stands among the rows: the last one that says `is_best`, whatever was compared.

    Where no row has a number in that column: the highest valid accuracy, the latest of equals. None without any.
    """
    told = [row.get("is_best") for row in rows]
    if any(value is not None for value in told):
        return max((number for number, value in enumerate(told) if value == 1), default=None)
    known = [(value, number) for number, row in enumerate(rows) if is_number(value := row.get("valid_accuracy"))]
    return max(known)[1] if known else None


def epoch_at(rows: Sequence[Row], number: int) -> int:
    """The epoch of the row, counted from 1 where the row does not say."""
    epoch = rows[number].get("epoch")
    return int(epoch) if epoch is not None and math.isfinite(epoch) else number + 1


def epoch_table(rows: Sequence[Row]) -> dict[str, Any]:
    """Columns and rows of the table as text; of very many epochs some, evenly spread, the best among them."""
    names = [name for name in (rows[0] if rows else {}) if name not in ("epoch", "is_best")]
    names.sort(key=lambda name: COLUMNS_LAST.index(name) if name in COLUMNS_LAST else -1)  # stable: the others first
    best = best_number(rows)
    shown = [
        {
            "cells": [str(epoch_at(rows, number)), *(_cell(name, rows[number].get(name)) for name in names)],
            "is_best": number == best,
        }
        for number in _numbers_shown(len(rows), best)
    ]
    titles = ["epoch", *(_title(name) for name in names)]
    return {"columns": titles, "rows": shown, "n": len(rows), "is_thinned": len(shown) < len(rows)}


def _numbers_shown(n: int, best: int | None) -> list[int]:
    if n <= MAX_EPOCHS_SHOWN:
        return list(range(n))
    spread = np.linspace(0, n - 1, MAX_EPOCHS_SHOWN).round().astype(int).tolist()
    return sorted({*spread, *([] if best is None else [best])})


def _title(name: str) -> str:
    return name.replace("images_per_s", "images/s").replace("_ema_", "_EMA_").replace("_", " ")


def _cell(name: str, value: float | None) -> str:
    if any(part in name for part in SHARES):
        return percent_text(value)
    if name == "lr":
        return "" if value is None else f"{value:.3g}"
    return number_text(value, DECIMALS.get(name, 4))
