"""Small image trees for tests, drawn from a seed: each class has its own colour, so that a model can learn it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"cat": (200, 60, 60), "dog": (60, 200, 60), "emu": (60, 60, 200)}


def draw_tree(
    root: Path,
    *,
    classes: Sequence[str] = ("cat", "dog"),
    n_train: int = 6,
    n_valid: int = 3,
    size: tuple[int, int] = (40, 32),
) -> Path:
    """`root/{train,val}/<class>/<n>.JPEG`: noise around the colour of the class; no two pictures alike."""
    for split, count in (("train", n_train), ("val", n_valid)):
        for name in classes:
            for number in range(count):
                draw_image(
                    root / split / name / f"{number}.JPEG", name, seed=number + 1000 * (split == "val"), size=size
                )
    return root


def draw_image(path: Path, name: str, *, seed: int, size: tuple[int, int] = (40, 32)) -> None:
    """One JPEG of a class."""
    noise = np.random.default_rng([seed, *name.encode()]).integers(-40, 40, (size[1], size[0], 3))
    pixels = np.clip(noise + np.array(COLOURS[name]), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)
