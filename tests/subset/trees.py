"""Small sources of images, and ways to build and compare subsets; importable by worker processes."""

import io
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagekit.engine.pool import Done
from imagekit.files.names import to_path
from imagekit.recipes.recipe import Recipe, ResizeRule
from imagekit.subset.image import BuildImage

ANT, BEE = "n01", "n02"
ORIENTATION = 0x0112


def pixels(size: tuple[int, int] = (12, 8), seed: int = 0) -> Image.Image:
    """A smooth picture, so that JPEG keeps it nearly as it is."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 200 // max(width, 1), y * 200 // max(height, 1)
    blue = np.full_like(x, (37 * seed) % 200)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def picture(
    size: tuple[int, int] = (12, 8), *, seed: int = 0, format: str = "JPEG", mode: str = "RGB", orientation: int = 1
) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    options: dict[str, Any] = {}
    if orientation != 1:
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    pixels(size, seed).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def plant(root: Path, files: Mapping[str | bytes, bytes]) -> Path:
    """Write files below root, their time stamps ten seconds old, so that a build takes them for settled."""
    for name, data in files.items():
        path = to_path(root, name if isinstance(name, bytes) else os.fsencode(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        settle(path)
    return root


def settle(path: Path) -> None:
    """Set the time stamp ten seconds into the past."""
    past_s = time.time() - 10
    os.utime(path, (past_s, past_s))


def two_classes(*, size: tuple[int, int] = (12, 8)) -> dict[str | bytes, bytes]:
    """Two images a class in train, one in val."""
    names = [f"{split}/{label}/{i}.JPEG" for split, n in (("train", 2), ("val", 1)) for label in (ANT, BEE)
             for i in range(n)]  # fmt: skip
    return {name: picture(size, seed=seed) for seed, name in enumerate(names)}


def recipe(**changes: Any) -> Recipe:
    """A recipe of two classes with the source's own split."""
    rule = ResizeRule(**changes.pop("resize", {}))
    table = {"layout": "split/class", "split": "folders", "sizes": ("full", 4), "classes": {ANT: "ant", BEE: "bee"}}
    return Recipe(name="tiny", resize=rule, **(table | changes))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the rerun cache left out: it is outside every same-bytes promise."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "state.parquet"
    }


class InlineWorkers:
    """What the engine does, in this process: nothing to start, and faults in this process reach the task."""

    def __init__(self, task: Any, **options: Any) -> None:
        self.task = task

    def __enter__(self) -> "InlineWorkers":
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def start(self) -> None:
        """Nothing to start."""

    def run(self, items: Iterable[Any]) -> Iterator[Done]:
        for index, item in enumerate(items):
            yield Done(index, self.task(item))


class CrashOnOne(BuildImage):
    """Dies in the middle of writing the image whose name ends in `crash.JPEG`, as a broken decoder would."""

    def __call__(self, item: tuple[bytes, bytes]) -> dict[str, Any]:
        name, out_name = item
        if name.endswith(b"crash.JPEG"):
            assert self.staging is not None
            to_path(Path(self.staging), out_name).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return BuildImage.__call__(self, item)
