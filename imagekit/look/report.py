"""The report of a run: its two plots, and one HTML page that needs no other file.

Same run, same options: same bytes. Shapes: K classes, N images.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from imagekit.errors import ImagekitError, OutputError
from imagekit.files.atomic import write_bytes, write_text
from imagekit.files.names import is_plain, to_path
from imagekit.files.read import read_file
from imagekit.look.facts import Ints, Predictions, Row, RunFacts, is_number, read_facts
from imagekit.look.lettering import drawable
from imagekit.look.page import GENERATOR, data_uri, render
from imagekit.look.plots import MAX_CLASSES, MAX_NAMED_CLASSES, draw_confusion, draw_curves
from imagekit.look.sheet import fit_image
from imagekit.pixels.encode import encode
from imagekit.pixels.open import open_image
from imagekit.pixels.upright import upright

N_ERRORS = 20
N_MIXUPS = 10
MAX_EPOCHS_SHOWN = 500  # with the two below: the page stays under 2 MB
MAX_CLASSES_SHOWN = 1000
MAX_FACTS_SHOWN = 200
THUMBNAIL_PX = 96
CURVES_SIZE = (1800, 840)  # twice what the page shows: sharp on every screen

SHARES = ("accuracy", "top", "data_wait")  # columns shown in percent
COLUMNS_LAST = ("lr", "images_per_s", "data_wait", "seconds")  # after what was reached: what it took


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportWritten:
    """The outcome of one report. `curves`, `confusion`: None where nothing was drawn; `notes`: what is missing."""

    run: Path
    output: Path
    curves: Path | None
    confusion: Path | None
    size_bytes: int
    result: str
    notes: tuple[str, ...]
    exit_code: int = 0

    @property
    def next_command(self) -> None:
        """The end of the way."""
        return None

    def summary(self) -> str:
        """The result as text."""
        drawn = [str(path) for path in (self.curves, self.confusion) if path is not None]
        lines = [self.result, *(f"note: {note}" for note in self.notes)]
        lines += [f"plots: {', '.join(drawn)}"] if drawn else []
        return "\n".join([*lines, f"report: {self.output} ({self.size_bytes / 1000:,.0f} kB)"])

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        paths = {name: None if (path := getattr(self, name)) is None else str(path) for name in ("curves", "confusion")}
        return {
            "run": str(self.run),
            "output": str(self.output),
            **paths,
            "size_bytes": self.size_bytes,
            "result": self.result,
            "notes": list(self.notes),
        }


def write_report(run: Path | str, *, output: Path | None = None, images_root: Path | None = None) -> ReportWritten:
    """Draw RUN/curves.png and RUN/confusion.png and write the page, RUN/report.html if no `output` is given.

    images_root: the folder that the file names are relative to, for thumbnails of the errors; None for none. A run may
    be unfinished: the page says what is missing. Raises CheckpointError where `run` is no run, OutputError where
    `output` is something else than an earlier report, DiskFullError.
    """
    run = Path(run)
    facts = read_facts(run)
    output = facts.layout.report if output is None else Path(output)
    _check_output(output)
    curves = draw_curves(facts.rows, size=CURVES_SIZE) if facts.rows else None
    confusion, notes = _confusion(facts)
    for picture, path in ((curves, facts.layout.curves), (confusion, facts.layout.confusion)):
        if picture is not None:
            write_bytes(path, _png(picture))
    text = render(**_values(facts, (*facts.notes, *notes), curves, confusion, images_root))
    write_text(output, text)
    return ReportWritten(
        run=run,
        output=output,
        curves=None if curves is None else facts.layout.curves,
        confusion=None if confusion is None else facts.layout.confusion,
        size_bytes=len(text.encode()),
        result=_result(facts),
        notes=(*facts.notes, *notes),
    )


def _check_output(output: Path) -> None:
    """A file that is not ours is never replaced: `-o notes.html` must not end notes.html."""
    if not output.parent.is_dir():
        raise OutputError(
            "the folder of the output does not exist", where=str(output), fix="make the folder, or give another -o"
        )
    if not output.exists() and not output.is_symlink():
        return
    if output.is_file():
        with output.open("rb") as file:
            if GENERATOR.encode() in file.read(200):
                return
    raise OutputError(
        "the output exists and is not a report of imagekit",
        where=str(output),
        fix="give another -o, or move it away yourself",
    )


def _values(
    facts: RunFacts,
    notes: Sequence[str],
    curves: Image.Image | None,
    confusion: Image.Image | None,
    images_root: Path | None,
) -> dict[str, Any]:
    """Everything that the template asks for."""
    predictions = facts.predictions if facts.predictions is not None and len(facts.predictions) else None
    errors = [] if predictions is None else _errors(facts, predictions, images_root)
    return {
        "title": facts.layout.root.resolve().name or "run",
        "subtitle": _subtitle(facts),
        "notes": notes,
        "tiles": _tiles(facts),
        "curves": [] if curves is None else _halves(curves),
        "epochs": _epochs(facts),
        "confusion": None if confusion is None else _picture(confusion, "Confusion matrix", len(facts.vocab)),
        "n_predictions": f"{0 if predictions is None else len(predictions):,}",
        "mixups": [] if predictions is None else _mixups(facts, predictions),
        "classes": _classes(facts, predictions),
        "errors": errors,
        "has_thumbnails": any(error["thumbnail"] for error in errors),
        "command": facts.command,
        "config": _columns(facts.config),
        "environment": _columns(facts.environment),
    }


def _confusion(facts: RunFacts) -> tuple[Image.Image | None, list[str]]:
    n = len(facts.vocab)
    if facts.predictions is None or not len(facts.predictions):
        return None, []
    if n > MAX_CLASSES:
        return None, [f"{n:,} classes are too many for a confusion matrix, {MAX_CLASSES:,} at most"]
    pairs = zip(facts.class_names, facts.vocab, strict=True)
    # a name in letters that the typeface lacks would be a row of "?": its identifier says more
    names = [identifier if "?" in drawable(name) and "?" not in name else name for name, identifier in pairs]
    return draw_confusion(facts.predictions.count(n).tolist(), names), []


def _subtitle(facts: RunFacts) -> str:
    status, images = facts.status, facts.predictions
    done = f"{status.epoch} of {status.n_epochs} epochs"
    states = {
        "done": f"finished, {done}",
        "interrupted": f"interrupted after {done}",
        "failed": f"failed after {done}" + (f": {facts.failure}" if facts.failure else ""),
        "running": f"running or killed, {done} when last heard of at {status.heartbeat}",
    }
    parts = [states[status.state], f"{len(facts.vocab):,} classes" if facts.vocab else ""]
    parts += [f"{len(images):,} validation images" if images is not None else ""]
    return " · ".join(part for part in parts if part)


def _result(facts: RunFacts) -> str:
    best = facts.best_row()
    if best is None:
        return f"no validation accuracy yet, {facts.status.epoch} of {facts.status.n_epochs} epochs"
    last = facts.rows[-1].get("valid_accuracy")
    reached = f"{last:.4f}" if is_number(last) else "not known"
    return (
        f"valid accuracy {reached} after {len(facts.rows)} epochs,"
        f" best {best['valid_accuracy']:.4f} in epoch {_epoch(facts, best)}"
    )


def _epoch(facts: RunFacts, row: Row) -> int:
    epoch = row.get("epoch")
    return int(epoch) if epoch is not None and math.isfinite(epoch) else facts.rows.index(row) + 1


def _tiles(facts: RunFacts) -> list[dict[str, str]]:
    """The result in five numbers."""
    best, last = facts.best_row(), facts.rows[-1] if facts.rows else {}
    seconds = facts.timing.get("seconds", math.fsum(row.get("seconds") or 0 for row in facts.rows))
    trained, train_s = facts.timing.get("images"), facts.timing.get("train_s")
    speed = trained / train_s if trained and train_s else last.get("images_per_s")
    waited, wait_s = last.get("data_wait"), facts.timing.get("data_wait_s")
    waited = wait_s / train_s if wait_s is not None and train_s else waited
    tiles = [
        (
            "best accuracy",
            _percent(best["valid_accuracy"] if best else None),
            f"epoch {_epoch(facts, best)}" if best else "",
        ),
        ("last accuracy", _percent(last.get("valid_accuracy")), f"loss {_text(last.get('valid_loss'))}"),
        ("epochs", str(len(facts.rows)), f"of {facts.status.n_epochs} asked for"),
        ("time", _duration(seconds), "in all" if "seconds" in facts.timing else "the epochs alone"),
        ("training images/s", _text(speed, 0), f"{_percent(waited, 0)} of the time waiting for data"),
    ]
    return [{"name": name, "value": value, "more": more} for name, value, more in tiles]


def _epochs(facts: RunFacts) -> dict[str, Any]:
    names = [name for name in (facts.rows[0] if facts.rows else {}) if name not in ("epoch", "is_best")]
    names.sort(key=lambda name: COLUMNS_LAST.index(name) if name in COLUMNS_LAST else -1)  # stable: the others first
    best = facts.best_row()
    numbers = range(len(facts.rows))
    if len(facts.rows) > MAX_EPOCHS_SHOWN:
        numbers = np.unique(np.linspace(0, len(facts.rows) - 1, MAX_EPOCHS_SHOWN).round().astype(int)).tolist()
    rows = [
        {
            "cells": [str(_epoch(facts, row)), *(_cell(name, row.get(name)) for name in names)],
            "is_best": row is best,
        }
        for row in (facts.rows[number] for number in numbers)
    ]
    titles = ["epoch", *(name.replace("images_per_s", "images/s").replace("_", " ") for name in names)]
    return {"columns": titles, "rows": rows, "n": len(facts.rows), "is_thinned": len(rows) < len(facts.rows)}


def _cell(name: str, value: float | None) -> str:
    if any(part in name for part in SHARES):
        return _percent(value)
    if name == "lr":
        return "" if value is None else f"{value:.3g}"
    return _text(value, {"images_per_s": 0, "seconds": 1}.get(name, 4))


def _classes(facts: RunFacts, predictions: Predictions | None) -> dict[str, Any]:
    """Classes that have images, from the lowest accuracy up."""
    if predictions is None:
        return {"rows": [], "n": 0}
    is_right = predictions.target_N == predictions.prediction_N
    all_K = np.bincount(predictions.target_N, minlength=len(facts.vocab))
    right_K = np.bincount(predictions.target_N[is_right], minlength=len(facts.vocab))
    present = np.flatnonzero(all_K)
    order = present[np.argsort(right_K[present] / all_K[present], kind="stable")]
    rows = [
        {
            "name": facts.class_names[number],
            "id": facts.vocab[number],
            "accuracy": _percent(right_K[number] / all_K[number], 1),
            "width": f"{100 * right_K[number] / all_K[number]:.1f}",
            "n_right": f"{right_K[number]:,}",
            "n": f"{all_K[number]:,}",
        }
        for number in order[:MAX_CLASSES_SHOWN].tolist()
    ]
    return {"rows": rows, "n": len(order)}


def _mixups(facts: RunFacts, predictions: Predictions) -> list[dict[str, str]]:
    """The pairs of truth and wrong prediction that occur most; no matrix is made, classes may be many."""
    wrong = predictions.target_N != predictions.prediction_N
    pairs = np.stack([predictions.target_N[wrong], predictions.prediction_N[wrong]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    all_K: Ints = np.bincount(predictions.target_N, minlength=len(facts.vocab))
    return [
        {
            "truth": facts.class_names[found[number, 0]],
            "prediction": facts.class_names[found[number, 1]],
            "count": f"{counts[number]:,}",
            "share": _percent(counts[number] / all_K[found[number, 0]], 1),
        }
        for number in np.argsort(-counts, kind="stable")[:N_MIXUPS].tolist()
    ]


def _errors(facts: RunFacts, predictions: Predictions, images_root: Path | None) -> list[dict[str, Any]]:
    rows = predictions.worst_errors(N_ERRORS)
    names = [str(predictions.file_names[row].as_py()) for row in rows]
    return [
        {
            "file_name": name,
            "truth": facts.class_names[predictions.target_N[row]],
            "prediction": facts.class_names[predictions.prediction_N[row]],
            "probability": _percent(float(predictions.probability_N[row]), 1),
            "loss": _text(float(predictions.loss_N[row]), 3),
            "thumbnail": None if images_root is None else _thumbnail(images_root, name),
        }
        for row, name in zip(rows, names, strict=True)
    ]


def _thumbnail(images_root: Path, name: str) -> Markup | None:
    """A small picture inline; None where the file is gone, unusable, or has a name that text cannot give back."""
    raw = name.encode("utf-8", "surrogatepass")
    if not is_plain(raw):
        return None
    try:
        picture = upright(open_image(read_file(to_path(images_root, raw))))
        return data_uri(encode(fit_image(picture, THUMBNAIL_PX), format="jpeg", quality=80), "image/jpeg")
    except ImagekitError:
        return None


def _halves(curves: Image.Image) -> list[dict[str, Any]]:
    """The two panels apart: beside each other on a screen, below each other on a phone."""
    half = curves.width // 2
    boxes = {"Losses by epoch": (0, 0, half, curves.height), "Accuracies by epoch": (half, 0, 2 * half, curves.height)}
    return [_picture(curves.crop(box), alt) for alt, box in boxes.items()]


def _picture(image: Image.Image, alt: str, n_classes: int = 0) -> dict[str, Any]:
    scale = 1 if n_classes > MAX_NAMED_CLASSES else 2
    uri = data_uri(_png(image), "image/png")
    return {"uri": uri, "alt": alt, "width": image.width // scale, "height": image.height // scale}


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _columns(pairs: Sequence[tuple[str, str]]) -> list[Sequence[tuple[str, str]]]:
    """Two columns of about equal length."""
    pairs, half = pairs[:MAX_FACTS_SHOWN], -(-min(len(pairs), MAX_FACTS_SHOWN) // 2)
    return [column for column in (pairs[:half], pairs[half:]) if column]


def _percent(value: float | None, decimals: int = 2) -> str:
    return _format(value, lambda number: f"{100 * number:.{decimals}f} %")


def _text(value: float | None, decimals: int = 4) -> str:
    return _format(value, lambda number: f"{number:,.{decimals}f}" if abs(number) < 1e9 else f"{number:.3g}")


def _format(value: float | None, form: Callable[[float], str]) -> str:
    return "–" if value is None else form(value) if math.isfinite(value) else str(value)


def _duration(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 07 min."""
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    return f"{hours} h {minutes % 60:02d} min" if hours else f"{minutes} min {round(seconds) % 60:02d} s"
