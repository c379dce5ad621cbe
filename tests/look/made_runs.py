"""Runs as `imagekit train` leaves them, made by hand, and a parser that is stricter than a browser."""

from __future__ import annotations

import html.parser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.files.jsonl import write_json
from imagekit.look.report import ReportWritten
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import append_row
from imagekit.runs.status import write_status

VOID = {"meta", "img", "br", "link", "input", "hr"}
LOADING = ("src", "href", "srcset", "action", "data", "poster", "background", "formaction")


class Page(html.parser.HTMLParser):
    """Parse strictly enough: every tag closed in order; keep text, tags with attributes, and what would load."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.shape: list[tuple[str, ...]] = []
        self.loads: list[str] = []
        self.comments: list[str] = []
        self.handlers: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.shape.append((tag, *(name for name, _ in attrs)))
        self.loads += [value or "" for name, value in attrs if name in LOADING]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data.strip())

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def text(self) -> str:
        return "\n".join(filter(None, self.texts))


def row(epoch: int, accuracy: float | None = None, *, is_best: bool = False, **others: Any) -> dict[str, Any]:
    return {
        "images_per_s": 150.0,
        "data_wait": 0.25,
        "seconds": 8.0,
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "train_accuracy": 0.4,
        "valid_loss": 2.1 / epoch,
        "valid_accuracy": accuracy,
        "lr": 1.2345e-5,
        **others,
        "is_best": is_best,
    }


DATA: dict[str, Any] = {
    "manifest": "shapes/metadata.parquet",
    "rows_sha256": "58465857b745af6b",
    "recipe": {"name": "shapes", "version": "1", "sha256": "ab12"},
    "split_rule": "folders",
    "label_rule": "parent",
    "train_split": "train",
    "valid_split": "valid",
    "target_column": None,
    "fold": None,
    "counts": {
        "train": {"images": 3009, "classes": {"n01": 1009, "n02": 2000}},
        "valid": {"images": 8, "classes": {"n01": 4, "n02": 4}},
    },
    "mean": [0.4712345, 0.45, 0.4],
    "std": [0.25, 0.25, 0.25],
    "stats_source": "the manifest",
}


def make_run(
    root: Path,
    *,
    accuracies: tuple[float | None, ...] = (0.5, 0.75, 0.625),
    class_names: tuple[str, ...] = ("tench", "church"),
    file_names: tuple[str, ...] = tuple(f"val/a/{i}.jpg" for i in range(8)),
    state: str = "done",
) -> RunLayout:
    """A finished run of two classes: eight validation images, three of them wrong."""
    layout = RunLayout(root).create()
    best = 0.0
    for epoch, accuracy in enumerate(accuracies, start=1):
        is_best = accuracy is not None and accuracy >= best
        best = max(best, accuracy if is_best and accuracy else 0.0)
        append_row(layout.metrics, row(epoch, accuracy, is_best=is_best))
    write_status(layout.status, state=state, epoch=len(accuracies), n_epochs=3)
    write_json(layout.vocab, {"vocab": ["n01", "n02"], "class_names": list(class_names)})
    write_json(layout.timing, {"images": 3000.0, "train_s": 20.0, "data_wait_s": 5.0, "seconds": 127.0})
    write_json(layout.command, {"argv": ["imagekit", "train", "my data.parquet"], "rows_sha256": "00"})
    write_json(layout.environment, {"versions": {"torch": "2.13.0"}, "memory": {"total_bytes": 2**34}, "gone": None})
    write_json(layout.data, DATA)
    layout.config.write_text('model = "lesson-cnn"\nlr = 0.2  # default of sgd\n', encoding="utf-8")
    write_predictions(layout, file_names=file_names)
    return layout


def write_predictions(layout: RunLayout, *, file_names: tuple[str, ...], **others: list[Any]) -> None:
    columns: Mapping[str, Any] = {
        "file_name": list(file_names),
        "split": ["valid"] * 8,
        "target": pa.array([0, 0, 0, 0, 1, 1, 1, 1], pa.int32()),
        "prediction": pa.array([0, 0, 0, 1, 1, 1, 0, 0], pa.int32()),
        "probability": pa.array([0.9, 0.8, 0.7, 0.987, 0.9, 0.8, 0.654, 0.7], pa.float32()),
        "loss": pa.array([0.1, 0.2, 0.3, 4.25, 0.1, 0.2, 1.5, 2.75], pa.float32()),
    }
    pq.write_table(pa.table({**columns, **others}), layout.predictions)


def page_of(report: ReportWritten) -> Page:
    return Page(report.output.read_text(encoding="utf-8"))
