"""JSON and JSON-lines files whose bytes depend on their content alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from imagekit.files.atomic import write_text


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write one object, keys sorted, two spaces, final newline, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_json_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one object a line, in the order given, atomically."""
    write_text(path, "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows))
