"""The images that a model found hardest, each with a small picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from imagekit.errors import ImagekitError
from imagekit.files.names import raw_name, to_path
from imagekit.files.read import read_file
from imagekit.look.facts import RunFacts
from imagekit.look.page import data_uri
from imagekit.look.predictions import Predictions
from imagekit.look.sheet import fit_image
from imagekit.look.wording import number_text, percent_text
from imagekit.pixels.encode import encode
from imagekit.pixels.open import open_image
from imagekit.pixels.upright import upright

N_WORST = 20
THUMBNAIL_PX = 96


def worst_table(facts: RunFacts, predictions: Predictions, images_root: Path | None) -> list[dict[str, Any]]:
    """The images with the highest loss, highest first, as text; right predictions among them where few are wrong.

    images_root: the folder that the file names are relative to; None for no pictures.
    """
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
            "thumbnail": None if images_root is None else _thumbnail(images_root, name),
        }
        for row, name in zip(rows, names, strict=True)
    ]


def _thumbnail(images_root: Path, name: str) -> Markup | None:
    """A small picture inline; None where the file is gone or unusable, or the name is none that a file can have."""
    try:
        picture = upright(open_image(read_file(to_path(images_root, raw_name(name)))))
        return data_uri(encode(fit_image(picture, THUMBNAIL_PX), format="jpeg", quality=80), "image/jpeg")
    except (ImagekitError, UnicodeEncodeError):
        return None
