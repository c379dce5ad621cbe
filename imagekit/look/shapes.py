"""The demo's source: an ImageNet-like tree of drawn figures, with the dirt of a real collection planted in it.

Nothing is downloaded and nobody's photographs are shipped: every picture follows from the seed. A figure is a signed
distance in its own coordinates (negative inside, 1 about the radius), so that it can be turned, scaled and moved
freely, and its edge is smooth. Figure and ground differ clearly in luminance: without that a small network learns
little in a minute.

u, v: figure coordinates, float32 [H, W]; H height and W width of the picture in pixels.
"""

from __future__ import annotations

import errno
import functools
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagekit.errors import UsageError
from imagekit.pixels.upright import UNDO

Array = npt.NDArray[np.floating[Any]]

SHAPES_CLASSES: dict[str, str] = {
    "s00000001": "circle",
    "s00000002": "square",
    "s00000003": "triangle",
    "s00000004": "star",
    "s00000005": "cross",
    "s00000006": "ring",
    "s00000007": "stripes",
    "s00000008": "checker",
    "s00000009": "dots",
    "s00000010": "crescent",
    "s00000011": "zigzag",
    "s00000012": "heart",
}
N_RECIPE_CLASSES = 10  # the recipe `shapes` takes the first ten; the others show what choosing leaves out

MIN_CONTRAST = 100.0  # grey levels between figure and ground as drawn; at least 80 remain after shading and noise
_SHADING = 8.0
_NOISE = 12
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's "L"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One planted oddity: relative POSIX path with odd bytes escaped, what it is, and what should become of it."""

    path: str
    kind: str
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapesSource:
    """The folder that was drawn, and every oddity in it."""

    root: Path
    planted: tuple[Planted, ...]


def draw_shapes(
    root: Path, *, n_train_per_class: int = 80, n_valid_per_class: int = 20, side_px: int = 96, seed: int = 0
) -> ShapesSource:
    """Draw `train|val/<class id>/*.JPEG` for every class of SHAPES_CLASSES, then plant the oddities.

    side_px: every picture's shortest side is at least this, its longest about 1.4 times as much. The same arguments
    give the same bytes on one machine; a picture does not depend on how many others are drawn. Files of the same names
    are overwritten. A name that the file system refuses is not planted. Errors: UsageError for less than one picture a
    class and split, or a side below 32 pixels.
    """
    _check_at_least("n_train_per_class", n_train_per_class, 1)
    _check_at_least("n_valid_per_class", n_valid_per_class, 1)
    _check_at_least("side_px", side_px, 32)
    splits = {"train": range(n_train_per_class), "val": range(n_train_per_class, n_train_per_class + n_valid_per_class)}
    for split, indices in splits.items():
        for number, class_id in enumerate(SHAPES_CLASSES):
            folder = root / split / class_id
            folder.mkdir(parents=True, exist_ok=True)
            for index in indices:
                rng = np.random.default_rng([seed, number, index])
                picture = draw_figure(SHAPES_CLASSES[class_id], rng=rng, side_px=side_px)
                (folder / f"{class_id}_{index:04d}.JPEG").write_bytes(_jpeg(picture))
    oddities = _oddities(root, side_px=side_px, seed=seed)
    planted = tuple(about for raw, data, about in oddities if _plant(root, raw, data))
    return ShapesSource(root=root, planted=planted)


def draw_figure(name: str, *, rng: np.random.Generator, side_px: int) -> Image.Image:
    """One RGB picture of the figure `name` (a value of SHAPES_CLASSES), of random size, place, turn and colours."""
    width, height = _pick_size(rng, side_px)
    shortest = min(width, height)
    radius = shortest * rng.uniform(0.30, 0.40)
    turn = rng.uniform(0.0, 2.0 * np.pi)
    # Near enough to the middle for a centre crop to keep the figure.
    roam = (shortest / 2 - radius) * 0.7
    centre_x, centre_y = width / 2 + rng.uniform(-roam, roam), height / 2 + rng.uniform(-roam, roam)
    x = (np.arange(width, dtype=np.float32)[None, :] + 0.5 - np.float32(centre_x)) / np.float32(radius)
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5 - np.float32(centre_y)) / np.float32(radius)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    distance_HW = _FIGURES[name](cos * x + sin * y, cos * y - sin * x)
    cover_HW1 = np.clip(0.5 - distance_HW * np.float32(radius), 0.0, 1.0)[..., None]
    return _paint(cover_HW1, rng)


def _paint(cover_HW1: Array, rng: np.random.Generator) -> Image.Image:
    height, width = cover_HW1.shape[:2]
    figure, ground = pick_colours(rng)
    # Soft patches of light, as on a wall: a flat ground would make strangers near-identical to a difference hash.
    patches = Image.fromarray(rng.uniform(-_SHADING, _SHADING, (8, 9)).astype(np.float32))
    shading_HW1 = np.asarray(patches.resize((width, height), Image.Resampling.BILINEAR))[..., None]
    noise_HWC = rng.integers(-_NOISE, _NOISE + 1, (height, width, 3), dtype=np.int8)
    values_HWC = ground + cover_HW1 * (figure - ground) + shading_HW1 + noise_HWC
    return Image.fromarray(np.clip(values_HWC + 0.5, 0, 255).astype(np.uint8))


def pick_colours(rng: np.random.Generator) -> tuple[Array, Array]:
    """Figure and ground, RGB float32 [3] each, at least MIN_CONTRAST apart in luminance; either may be the lighter."""
    while True:
        pairs = rng.integers(28, 228, (16, 2, 3)).astype(np.float32)  # room for shading and noise at both ends
        luma = pairs @ _LUMA
        far = np.flatnonzero(np.abs(luma[:, 0] - luma[:, 1]) >= MIN_CONTRAST)
        if far.size:
            figure, ground = pairs[far[0]]
            return figure, ground


def _pick_size(rng: np.random.Generator, side_px: int) -> tuple[int, int]:
    shortest = side_px + int(rng.integers(0, max(side_px // 8, 1)))
    longest = shortest + int(rng.integers(max(side_px // 16, 1), max(side_px // 3, 2)))
    return (shortest, longest) if rng.integers(2) else (longest, shortest)


# -- figures ---------------------------------------------------------------------------------------------------------


def _both(*distances_HW: Array) -> Array:
    """Inside all of them."""
    return functools.reduce(np.maximum, distances_HW)


def _either(*distances_HW: Array) -> Array:
    """Inside any of them."""
    return functools.reduce(np.minimum, distances_HW)


def _disc(u: Array, v: Array, radius: float) -> Array:
    distance: Array = np.hypot(u, v) - np.float32(radius)
    return distance


def _box(u: Array, v: Array, half: float) -> Array:
    return _both(np.abs(u), np.abs(v)) - np.float32(half)


def _circle(u: Array, v: Array) -> Array:
    return _disc(u, v, 0.9)


def _square(u: Array, v: Array) -> Array:
    return _box(u, v, 0.82)


def _triangle(u: Array, v: Array) -> Array:
    slant = np.float32(np.sqrt(0.75))
    return _both(v, slant * u - 0.5 * v, -slant * u - 0.5 * v) - np.float32(0.55)


def _star(u: Array, v: Array) -> Array:
    """Five points: the angle is folded onto half a point, whose edge runs from the valley to the tip."""
    fifth = np.float32(2.0 * np.pi / 5.0)
    angle = np.abs(np.mod(np.arctan2(v, u), fifth) - fifth / 2)
    radius = np.hypot(u, v)
    valley, tip = 0.42, 1.1
    edge_x, edge_y = tip * np.cos(fifth / 2) - valley, tip * np.sin(fifth / 2)
    across = edge_y * (radius * np.cos(angle) - valley) - edge_x * radius * np.sin(angle)
    return np.asarray(across / np.hypot(edge_x, edge_y), np.float32)


def _cross(u: Array, v: Array) -> Array:
    return _either(_both(np.abs(u) - 1, np.abs(v) - 0.3), _both(np.abs(v) - 1, np.abs(u) - 0.3))


def _ring(u: Array, v: Array) -> Array:
    return np.abs(_disc(u, v, 0.78)) - np.float32(0.2)


def _stripes(u: Array, v: Array) -> Array:
    return _both(np.abs(np.mod(u, np.float32(0.4)) - 0.2) - np.float32(0.1), _box(u, v, 0.8))


def _checker(u: Array, v: Array) -> Array:
    """Four by four cells: where the two waves differ in sign."""
    across, down = (np.abs(np.mod(w + np.float32(0.2), np.float32(0.8)) - 0.4) - 0.2 for w in (u, v))
    return _both(np.sign(across * down) * _either(np.abs(across), np.abs(down)), _box(u, v, 0.8))


def _dots(u: Array, v: Array) -> Array:
    step = 0.62
    nearest_u, nearest_v = (np.mod(w + np.float32(step / 2), np.float32(step)) - np.float32(step / 2) for w in (u, v))
    return _both(_disc(nearest_u, nearest_v, 0.2), _box(u, v, 1.5 * step))


def _crescent(u: Array, v: Array) -> Array:
    return _both(_disc(u, v, 0.95), -_disc(u - np.float32(0.45), v, 0.8))


def _zigzag(u: Array, v: Array) -> Array:
    wave = np.abs(np.mod(u * np.float32(1.25), 1) - 0.5) * 2 - 0.5
    return _both((np.abs(v - wave) - np.float32(0.38)) * np.float32(0.37), np.abs(u) - 1)


def _heart(u: Array, v: Array) -> Array:
    """A square on its corner with a half disc on each of its two upper sides."""
    half, root = np.float32(0.52), np.float32(np.sqrt(0.5))
    p, q = root * (u + v - 0.2), root * (u - v + 0.2)
    return _either(_box(p, q, 0.52), _disc(p + half, q, 0.52), _disc(p, q - half, 0.52))


_FIGURES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "stripes": _stripes,
    "checker": _checker,
    "dots": _dots,
    "crescent": _crescent,
    "zigzag": _zigzag,
    "heart": _heart,
}


# -- oddities --------------------------------------------------------------------------------------------------------


def _oddities(root: Path, *, side_px: int, seed: int) -> Iterator[tuple[bytes, bytes, Planted]]:
    """(path as bytes, content, what to say of it) of every oddity, in the order of its class."""
    for name, kind, expected, class_number, make in _PICTURES:
        class_id = list(SHAPES_CLASSES)[class_number]
        rng = np.random.default_rng([seed, class_number, 10**6 + len(name)])
        frames = [draw_figure(SHAPES_CLASSES[class_id], rng=rng, side_px=side_px) for _ in range(3)]
        raw = f"train/{class_id}/".encode() + name
        yield raw, make(frames), Planted(path=_display(raw), kind=kind, expected=expected)
    twin = b"train/s00000007/s00000007_0000.JPEG"
    yield (
        b"val/s00000007/s00000007_again.JPEG",
        (root / os.fsdecode(twin)).read_bytes(),
        Planted(
            path="val/s00000007/s00000007_again.JPEG",
            kind="duplicate",
            expected=f"kept, the same bytes as {twin.decode()}",
        ),
    )
    for raw, data, kind, expected in _NO_PICTURES:
        yield raw, data, Planted(path=_display(raw), kind=kind, expected=expected)


def _plant(root: Path, raw: bytes, data: bytes) -> bool:
    """Write one oddity; False where the file system has no such names (macOS: bytes that are not UTF-8)."""
    try:
        (root / os.fsdecode(raw)).write_bytes(data)
    except OSError as error:
        if error.errno not in (errno.EILSEQ, errno.EINVAL):
            raise
        return False
    return True


def _display(raw: bytes) -> str:
    """The path as people read it, as `files.names` escapes it; the names here need no more than this."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _jpeg(picture: Image.Image, **options: object) -> bytes:
    return _save(picture, "JPEG", quality=88, **options)


def _save(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def _cut(frames: list[Image.Image]) -> bytes:
    data = _jpeg(frames[0])
    return data[: len(data) * 3 // 5]


def _sideways(frames: list[Image.Image]) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _jpeg(frames[0].transpose(UNDO[6]), exif=exif)


def _sixteen_bit(frames: list[Image.Image]) -> bytes:
    grey_HW = np.asarray(frames[0], np.float32) @ _LUMA
    return _save(Image.fromarray((grey_HW * 257).astype(np.uint16)), "PNG")


def _animation(frames: list[Image.Image]) -> bytes:
    same_size = [frame.resize(frames[0].size) for frame in frames]
    return _save(same_size[0], "GIF", save_all=True, append_images=same_size[1:], duration=200, loop=0)


def _plain(frames: list[Image.Image]) -> bytes:
    return _jpeg(frames[0])


_PICTURES: tuple[tuple[bytes, str, str, int, Callable[[list[Image.Image]], bytes]], ...] = (
    (b"s00000001_cut.JPEG", "truncated", "quarantined: truncated", 0, _cut),
    (
        b"s00000002_inks.JPEG",
        "cmyk",
        "kept, CMYK converted",
        1,
        lambda frames: _jpeg(frames[0].convert("CMYK")),
    ),
    (b"s00000003_sideways.JPEG", "exif-rotated", "kept upright", 2, _sideways),
    (b"s00000004_deep.png", "16-bit", "kept, 16-bit scaled", 3, _sixteen_bit),
    (b"s00000005_really_png.JPEG", "misnamed", "kept, PNG by content", 4, lambda frames: _save(frames[0], "PNG")),
    (b"s00000006_moving.gif", "animated", "kept, first of 3 frames", 5, _animation),
    (b"two\nlines.JPEG", "odd-name", "kept, name escaped", 7, _plain),
    (b"red\x1b[31m.JPEG", "odd-name", "kept, name escaped", 8, _plain),
    (b"caf\xe9.JPEG", "odd-name", "kept, name escaped", 9, _plain),
    (b'it\'s a "ring".JPEG', "odd-name", "kept, name as it is", 5, _plain),
)

_NO_PICTURES: tuple[tuple[bytes, bytes, str, str], ...] = (
    (b"train/s00000001/README.txt", b"Circles, drawn from a seed.\n", "not-image", "not an image"),
    (b"train/s00000002/.DS_Store", b"\0\0\0\1Bud1\0", "hidden", "hidden, passed over"),
    (b"val/s00000003/s00000003_empty.JPEG", b"", "empty", "quarantined: truncated"),
)


def _check_at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{key} is {value}, must be at least {least}", where=f"draw_shapes: {key}")
