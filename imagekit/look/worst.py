"""The images that a model found hardest, each with a small picture of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from markupsafe import Markup

from imagekit.errors import ImagekitError
from imagekit.files.names import raw_name, to_path
from imagekit.files.read import read_file
from imagekit.look.data_facts import DataFacts
from imagekit.look.facts import RunFacts
from imagekit.look.page import data_uri
from imagekit.look.predictions import Predictions
from imagekit.look.sheet import fit_image
from imagekit.look.wording import number_text, percent_text
from imagekit.manifest.read import read_metadata
from imagekit.pixels.encode import encode
from imagekit.pixels.open import open_image
from imagekit.pixels.upright import upright

N_WORST = 20
THUMBNAIL_PX = 96


def worst_table(facts: RunFacts, predictions: Predictions, images_root: Path | None) -> list[dict[str, Any]]:
    """The images with the highest loss, highest first, as text; right predictions among them where few are wrong.

    images_root: the folder that the file names are relative to; None for that of the manifest that the run names, if
    it is there still. Links lead out of the first alone: the second was named by a file.
    """
    root = _find_root(facts.data) if images_root is None else images_root
    is_confined = images_root is None
    rows = predictions.highest_losses(N_WORST)
    names = [str(predictions.file_names[row].as_py()) for row in rows]
    return [
        {
            "file_name": name,
            "truth": facts.class_names[predictions.target_N[row]],
            "prediction": facts.class_names[predictions.prediction_N[row]],
            "is_right": bool(predictions.is_right_N[row]),
            "probability": percent_text(float(predictions.probability_N[row]), 1),
            "loss": number_text(float(predictions.loss_N[row]), 3),
            "thumbnail": None if root is None else _thumbnail(root, name, is_confined=is_confined),
        }
        for row, name in zip(rows, names, strict=True)
    ]


def _find_root(data: DataFacts | None) -> Path | None:
    """The root of the manifest that the run was trained on; None unless it is there and has the very rows."""
    if data is None or not data.manifest or not data.rows_sha256:
        return None
    path = Path(data.manifest)
    try:
        metadata = read_metadata(path)
    except (ImagekitError, OSError, ValueError):  # also a path that none can be, and half a sign in it
        return None
    return path.parent / metadata.root if metadata.rows_sha256 == data.rows_sha256 else None


def _thumbnail(root: Path, name: str, *, is_confined: bool) -> Markup | None:
    """A small picture inline; None where the file is gone or unusable, or the name is none that a file can have."""
    try:
        path = to_path(root, raw_name(name))
        if is_confined and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            return None
        picture = upright(open_image(read_file(path)))
        return data_uri(encode(fit_image(picture, THUMBNAIL_PX), format="jpeg", quality=80), "image/jpeg")
    except (ImagekitError, UnicodeEncodeError):
        return None
