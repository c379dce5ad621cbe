"""The images that are looked at: rows of a manifest, or any file, read as training reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from imagekit.errors import ImageError, SourceError
from imagekit.files.names import display_name, to_path
from imagekit.files.read import read_file
from imagekit.look.picking import in_order
from imagekit.manifest.read import Manifest
from imagekit.pixels.open import Picture, open_image
from imagekit.pixels.rgb import to_rgb
from imagekit.pixels.upright import upright


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One image: its name as people read it, and what its file holds, decoded, as stored."""

    name: str
    picture: Picture

    def rgb(self) -> Image.Image:
        """The image as training sees it: upright, RGB."""
        return to_rgb(upright(self.picture))


def find_source(manifest: Manifest, image: Path | None, *, root: Path) -> Source:
    """The image to look at closely.

    image: a file_name of the manifest, else the path of any image file; None is the first row of train, or of the first
    split that there is. Raises SourceError where it is neither or cannot be used.
    """
    row = _first_row(manifest) if image is None else _named_row(manifest, image)
    if row is not None:
        name, path = name_of(manifest, row), to_path(root, _raw_name_of(manifest, row))
    elif image is not None and image.exists():
        name, path = str(image), image
    else:
        raise SourceError(
            "the image is not there: no row of the manifest has this name, and no file this path",
            where=f"--image {image}",
            fix="give a file_name of the manifest, or the path of an image file",
        )
    try:
        source = Source(name=name, picture=_open(path))
        source.rgb()  # a mode without a meaning in RGB shows here
    except ImageError as error:
        what, fix = f"the image cannot be used: {error.what}", "give another one with --image"
        raise SourceError(what, where=str(path), fix=fix) from error
    return source


def open_row(manifest: Manifest, row: int, *, root: Path) -> Source:
    """The image of one row of the manifest's table. Raises ImageError with the reason why it cannot be used."""
    return Source(name=name_of(manifest, row), picture=_open(to_path(root, _raw_name_of(manifest, row))))


def name_of(manifest: Manifest, row: int) -> str:
    """The file_name of one row."""
    return str(manifest.table["file_name"][row])


def _open(path: Path) -> Picture:
    return open_image(read_file(path, follow_symlinks=True))


def _raw_name_of(manifest: Manifest, row: int) -> bytes:
    """The name of one row as the file system has it."""
    raw: bytes = manifest.raw_names(manifest.table.slice(row, 1))[0].as_py()
    return raw


def _first_row(manifest: Manifest) -> int:
    return int(pc.index(manifest.table["split"].cast(pa.string()), in_order(manifest)[0]).as_py())


def _named_row(manifest: Manifest, image: Path) -> int | None:
    """The row that is called so, by its bytes or as the manifest shows it; None where there is none."""
    typed = os.fsencode(image)
    for name in (display_name(typed), typed.decode("utf-8", "backslashreplace")):
        row = int(pc.index(manifest.table["file_name"], name).as_py())
        if row >= 0:
            return row
    return None
