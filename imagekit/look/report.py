"""The report of a run: its two plots, and one HTML page that needs no other file.

Same run, same options: same bytes. Shapes: K classes, N images.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from imagekit.errors import CheckpointError, OutputError, ShapeError, SourceError
from imagekit.files.atomic import write_bytes, write_text
from imagekit.files.plain import plain
from imagekit.look.confusion import MAX_CLASSES, MAX_NAMED_CLASSES, draw_confusion
from imagekit.look.epochs import epoch_table
from imagekit.look.facts import RunFacts, read_facts
from imagekit.look.headline import result_line, subtitle, tiles
from imagekit.look.lettering import drawable
from imagekit.look.page import GENERATOR, data_uri, render
from imagekit.look.per_class import class_table, mixup_table
from imagekit.look.plots import draw_curves
from imagekit.look.telemetry_file import write_run_telemetry
from imagekit.look.worst import worst_table
from imagekit.runs.layout import RunLayout

MAX_FACTS_SHOWN = 200
CURVES_SIZE = (1800, 840)  # twice what the page shows: sharp on every screen


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

    images_root: the folder that the file names are relative to, for thumbnails of the errors; None for the root of the
    manifest that the run names, as long as it can be read and has the same rows. A run may be unfinished: the page says
    what is missing. Raises SourceError where `run` is no run, CheckpointError where its status is damaged, OutputError
    where `output` is something else than an earlier report, DiskFullError.
    """
    run = Path(run)
    _check_run(run)
    undrawn = _draw_activations(run)
    facts = read_facts(run)
    output = facts.layout.report if output is None else Path(output)
    _check_output(output)
    curves = draw_curves(facts.rows, size=CURVES_SIZE) if facts.rows else None
    confusion, notes = _confusion(facts)
    for picture, path in ((curves, facts.layout.curves), (confusion, facts.layout.confusion)):
        if picture is not None:
            write_bytes(path, _png(picture))
    worst = worst_table(facts, facts.predictions, images_root) if facts.predictions is not None else []
    notes = [*facts.notes, *undrawn, *notes, *_without_pictures(worst, images_root)]
    text = render(**_values(facts, notes, curves, confusion, worst))
    write_text(output, text)
    return ReportWritten(
        run=run,
        output=output,
        curves=None if curves is None else facts.layout.curves,
        confusion=None if confusion is None else facts.layout.confusion,
        size_bytes=len(text.encode()),
        result=result_line(facts),
        notes=tuple(notes),
    )


def _check_run(run: Path) -> None:
    """Into a folder that is no run nothing is written."""
    if not RunLayout(run).status.exists():
        raise SourceError(
            "the folder is not a run of imagekit train", where=str(run), fix="give the folder that train wrote with -o"
        )


def _draw_activations(run: Path) -> list[str]:
    """Draw what the run's telemetry holds, where it has some; returns why not, if it could not be drawn."""
    try:
        write_run_telemetry(run)
    except (CheckpointError, ShapeError) as error:
        return [f"the activations are not drawn: {error.what}"]
    return []


def _without_pictures(worst: Sequence[Mapping[str, Any]], images_root: Path | None) -> list[str]:
    """A note where none of the images that are shown was found."""
    if not worst or any(image["thumbnail"] for image in worst):
        return []
    if images_root is None:
        return ["no pictures: give --root DIR"]
    return [f"no pictures: no image was found below {plain(str(images_root))}, give another --root DIR"]


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
    worst: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Everything that the template asks for."""
    predictions = facts.predictions if facts.predictions is not None and len(facts.predictions) else None
    return {
        "title": facts.layout.root.resolve().name or "run",
        "subtitle": subtitle(facts),
        "notes": notes,
        "tiles": tiles(facts),
        "curves": [] if curves is None else _halves(curves),
        "epochs": epoch_table(facts.rows),
        "confusion": None if confusion is None else _picture(confusion, "Confusion matrix", len(facts.vocab)),
        "n_predictions": f"{0 if predictions is None else len(predictions):,}",
        "mixups": [] if predictions is None else mixup_table(facts, predictions),
        "classes": class_table(facts, predictions),
        "worst": worst,
        "has_thumbnails": any(image["thumbnail"] for image in worst),
        "telemetry": _telemetry(facts),
        "data_splits": [split.row() for split in facts.data.splits] if facts.data else [],
        "data_facts": _columns(facts.data.facts if facts.data else ()),
        "command": facts.command,
        "config": _columns(facts.config, facts.origins),
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


def _halves(curves: Image.Image) -> list[dict[str, Any]]:
    """The two panels apart: beside each other on a screen, below each other on a phone."""
    half = curves.width // 2
    boxes = {"Losses by epoch": (0, 0, half, curves.height), "Accuracies by epoch": (half, 0, 2 * half, curves.height)}
    return [_picture(curves.crop(box), alt) for alt, box in boxes.items()]


def _picture(image: Image.Image, alt: str, n_classes: int = 0) -> dict[str, Any]:
    scale = 1 if n_classes > MAX_NAMED_CLASSES else 2
    uri = data_uri(_png(image), "image/png")
    return {"uri": uri, "alt": alt, "width": image.width // scale, "height": image.height // scale}


def _telemetry(facts: RunFacts) -> dict[str, Any] | None:
    """The picture as it is in the run."""
    if facts.telemetry is None:
        return None
    content, picture = facts.telemetry
    uri = data_uri(content, "image/png")
    return {"uri": uri, "alt": "Activations of the layers", "width": picture.width, "height": picture.height}


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _columns(pairs: Sequence[tuple[str, str]], origins: Mapping[str, str] | None = None) -> list[list[dict[str, str]]]:
    """Two columns of about equal length: key, value, and where the value came from."""
    known = origins or {}
    shown = [{"key": key, "value": value, "origin": known.get(key, "")} for key, value in pairs[:MAX_FACTS_SHOWN]]
    half = -(-len(shown) // 2)
    return [column for column in (shown[:half], shown[half:]) if column]
