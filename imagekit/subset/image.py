"""One image of a subset: read, check, resize, encode, write. Runs in worker processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagekit.errors import ImageError, ShapeError
from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full
from imagekit.files.hashes import sha256_bytes
from imagekit.files.names import to_path
from imagekit.files.read import read_file
from imagekit.pixels.encode import encode
from imagekit.pixels.open import Picture, open_image
from imagekit.pixels.resize import resize, shortest_side_size
from imagekit.pixels.rgb import to_rgb
from imagekit.pixels.upright import upright
from imagekit.recipes.recipe import ResizeRule

PLAIN_MODES = ("RGB", "L")


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildImage:
    """The task of a worker: (raw source name, raw output name) -> facts about both.

    size_px: the shortest side of the result, or None to keep every byte (the picture is still decoded whole).
    builder_pid: the process that builds; a worker that outlives it by a moment must not write into the next build.
    """

    source: str
    staging: str
    size_px: int | None
    rule: ResizeRule
    builder_pid: int

    def __call__(self, item: tuple[bytes, bytes]) -> dict[str, Any]:
        """Build one image; an unusable one comes back as {"reason", "detail", ...} with what was learnt before."""
        name, out_name = item
        path = to_path(Path(self.source), name)
        row: dict[str, Any] = {}
        state = _state_of(path)  # before reading: a change from here on makes a rerun look again
        try:
            data = read_file(path)
            row |= {"size_bytes": len(data), "sha256": sha256_bytes(data)}
            picture = open_image(data)
            row |= facts(picture)
            payload, made = self.render(data, picture)
        except ImageError as error:
            return row | {"reason": error.reason, "detail": error.detail}
        except ShapeError as error:  # a side longer than the output's format can hold
            return row | {"reason": "unsupported-format", "detail": error.what}
        if self.builder_pid not in (os.getpid(), os.getppid()):
            raise SystemExit("the builder is gone")
        _write(to_path(Path(self.staging), out_name), payload)
        return row | made | state

    def render(self, data: bytes, picture: Picture) -> tuple[bytes, dict[str, Any]]:
        """The bytes to write and how they came about; bytes are kept wherever no pixel would change."""
        size = (picture.width, picture.height)
        if self.size_px is None:
            return data, self._made(data, size=size, resized=False, decode_path="kept")
        image = upright(picture)
        target = shortest_side_size(image.size, self.size_px)
        resized = target != image.size
        if (
            picture.format == self._out_format(picture).upper()
            and not resized
            and picture.orientation == 1
            and picture.mode in PLAIN_MODES
            and not picture.image.has_transparency_data
        ):
            return data, self._made(data, size=size, resized=False, decode_path="kept")
        rgb = to_rgb(image, background=self.rule.background_rgb)
        if resized:
            rgb = resize(rgb, target, filter=self.rule.filter)
        payload = encode(rgb, format=self._out_format(picture), quality=self.rule.quality)
        return payload, self._made(payload, size=target, resized=resized, decode_path="full")

    def _out_format(self, picture: Picture) -> str:
        if self.rule.format != "keep":
            return self.rule.format
        # formats that cannot be written again (GIF, BMP, TIFF) become PNG: nothing is lost
        return {"JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp"}.get(picture.format, "png")

    def _made(self, payload: bytes, *, size: tuple[int, int], resized: bool, decode_path: str) -> dict[str, Any]:
        return {
            "decode_path": decode_path,
            "resized": resized,
            "out_width": size[0],
            "out_height": size[1],
            "out_size_bytes": len(payload),
            "out_sha256": sha256_bytes(payload),
        }


def _state_of(path: Path) -> dict[str, Any]:
    """What a rerun compares to tell that the source file has not changed; nothing for one that is gone."""
    try:
        stat = path.lstat()
    except OSError:
        return {}
    return {"mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}


def _write(path: Path, payload: bytes) -> None:
    """Write one file of the staging folder; the whole folder is synced once, before it is published."""
    with explain_disk_full(path, needs_bytes=len(payload)), path.open("wb", buffering=0) as file:
        seam.write_all(file.fileno(), payload)


def facts(picture: Picture) -> dict[str, Any]:
    """What the source image is, as columns of files.parquet."""
    return {
        "format_in": picture.format,
        "mode_in": picture.mode,
        "width_in": picture.width,
        "height_in": picture.height,
        "exif_orientation": picture.orientation,
        "n_frames": picture.n_frames,
    }
