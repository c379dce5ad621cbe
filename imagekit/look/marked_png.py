"""PNG files that are known again: a picture of ours may be replaced, anybody else's file never."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imagekit.errors import OutputError
from imagekit.files.atomic import write_bytes


def check_picture(output: Path, *, maker: str, overwrite: bool) -> None:
    """Raise OutputError where a picture may not be written: it has to be a .png in a folder that exists.

    A file that is not the maker's is never replaced, one that is only with overwrite. maker: "imagekit show", say.
    """
    if output.suffix.lower() != ".png":
        raise OutputError(
            f'the output is called "{output.name}", and the picture is a PNG',
            where=str(output),
            fix="give a name that ends in .png",
        )
    if not output.parent.is_dir():
        raise OutputError(
            "the folder of the output does not exist", where=str(output), fix="make the folder, or give another -o"
        )
    if not output.exists() and not output.is_symlink():
        return
    if not _is_of(maker, output):
        raise OutputError(
            f"the output exists and is not a picture of {maker}",
            where=str(output),
            fix="give another -o, or move it away yourself",
        )
    if not overwrite:
        raise OutputError(
            "the output exists already", where=str(output), fix="give another -o, or --overwrite to draw it anew"
        )


def write_picture(output: Path, picture: Image.Image, *, maker: str, compress_level: int = 6) -> None:
    """Write it as PNG, all at once, the maker's mark in front of the pixels; no time: same picture, same bytes.

    compress_level: 0 to 9. Raises DiskFullError or OSError.
    """
    mark = PngInfo()
    mark.add_text("Software", maker)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=mark, compress_level=compress_level)
    write_bytes(output, buffer.getvalue())


def _is_of(maker: str, output: Path) -> bool:
    if not output.is_file():
        return False
    with output.open("rb") as file:
        return f"Software\0{maker}".encode() in file.read(200)
