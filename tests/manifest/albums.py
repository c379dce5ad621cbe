"""Small folders of images for manifests, drawn the same everywhere: PNG pixels do not hang on a decoder's version."""

import io
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagekit.engine.pool import Done
from imagekit.files.names import to_path


def pixels(seed: int, size: tuple[int, int] = (7, 5)) -> np.ndarray:
    """[H, W, 3] uint8, from a formula: the same on every machine."""
    width, height = size
    y, x, c = np.mgrid[0:height, 0:width, 0:3]
    return ((x * 31 + y * 17 + c * 50 + seed * 23) % 256).astype(np.uint8)


def png(seed: int = 0, size: tuple[int, int] = (7, 5)) -> bytes:
    """A PNG of stored (not compressed) rows, made by hand: the same bytes whatever zlib is installed."""
    return stored_png(pixels(seed, size))


def photo(seed: int, *, altered: int = 0) -> bytes:
    """A PNG whose difference hash is a random one; altered: that many bits of it turned."""
    generator = np.random.default_rng(seed)
    rises = generator.random((8, 8)) < 0.5
    rises.flat[generator.permutation(64)[:altered]] ^= True
    steps = np.where(rises, 9, -9)
    rows = 128 + np.cumsum(np.concatenate([np.zeros((8, 1), int), steps], axis=1), axis=1)
    grey = np.repeat(np.repeat(rows, 4, axis=0), 4, axis=1).astype(np.uint8)  # 36 x 32: cells of 4 x 4
    return stored_png(np.repeat(grey[:, :, None], 3, axis=2))


def stored_png(pixels_HW3: np.ndarray) -> bytes:
    """uint8 pixels as a PNG of stored rows."""
    height, width, _ = pixels_HW3.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels_HW3)
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw
    stored += struct.pack(">I", zlib.adler32(raw))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", stored), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg(seed: int = 0, size: tuple[int, int] = (7, 5), *, orientation: int = 1) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels(seed, size)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def plant(root: Path, files: Mapping[str | bytes, bytes]) -> Path:
    """Write files below root."""
    for name, data in files.items():
        path = to_path(root, name if isinstance(name, bytes) else os.fsencode(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def album() -> dict[str | bytes, bytes]:
    """Two classes; two images a class in train, one in val; all pictures differ."""
    names = [f"{split}/{label}/{i}.png" for split, n in (("train", 2), ("val", 1)) for label in ("ant", "bee")
             for i in range(n)]  # fmt: skip
    return {name: png(seed, (7, 5 + seed)) for seed, name in enumerate(names)}


def inline(task: Any, items: Any, **options: Any) -> Iterator[Done]:
    """What the engine does, in this process."""
    for index, item in enumerate(items):
        yield Done(index, task(item))
