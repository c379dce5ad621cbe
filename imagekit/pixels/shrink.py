"""One image of a subset, from file bytes to file bytes: decoded, placed, resized, turned, composited, encoded.

The bytes are kept where no pixel would change: the format is the wanted one, nothing is resampled or padded, nothing
has to be turned, composited or converted, and there is one frame. The picture is decoded whole even then: a header
says nothing about what follows it.

JPEGs far larger than the target are decoded at 1/2, 1/4 or 1/8 of their size: the decoder then skips the fine detail
that the resize would average away. See `geometry.decode_scale` for when; filters that keep texture ask for more.

filter            resized by
bicubic, bilinear torch's uint8 antialiased kernel; Pillow where only a part of the picture is seen
bicubic-nearest   bicubic to twice the size, then every second pixel: texture survives. Plain bicubic where the picture
                  is smaller than twice the size
others            Pillow

Which one serves depends on the picture and the rule alone, never on what a worker did before.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from imagekit.errors import ImageError, UsageError, did_you_mean
from imagekit.pixels.encode import ENCODE_FORMATS, SUBSAMPLINGS, encode
from imagekit.pixels.geometry import MODES, Box, Placement, Size, decode_scale, place
from imagekit.pixels.limits import MAX_PIXELS
from imagekit.pixels.memory import image_of, pixels_of
from imagekit.pixels.open import Header, reading
from imagekit.pixels.reasons import bomb_if_no_memory
from imagekit.pixels.resize import TORCH_FILTERS, resize, resize_hwc
from imagekit.pixels.rgb import to_rgb
from imagekit.pixels.turbo import decode_turbo, load_turbo, scan_header
from imagekit.pixels.upright import TURN

SHRINK_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "bicubic-nearest")

Pixels = np.ndarray | Image.Image  # uint8 [H, W, 3], or an RGB image

_CHOICES = {
    "mode": MODES,
    "filter": SHRINK_FILTERS,
    "format": (*ENCODE_FORMATS, "keep"),
    "subsampling": SUBSAMPLINGS,
}
_UNTOUCHED_MODES = ("RGB", "L")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrinking:
    """How: side_px and mode as in geometry.place; filter of SHRINK_FILTERS; format jpeg, png, webp or keep."""

    side_px: int
    mode: str = "shortest"
    filter: str = "bicubic"
    format: str = "jpeg"
    quality: int = 90
    background: tuple[int, int, int] = (255, 255, 255)
    enlarge: bool = False
    subsampling: str = "4:2:0"

    def __post_init__(self) -> None:
        if self.side_px < 1:
            raise UsageError(f"side_px is {self.side_px}, must be at least 1 pixel", where="shrink: side_px")
        for key, known in _CHOICES.items():
            if getattr(self, key) not in known:
                value = getattr(self, key)
                raise UsageError(f'{key} is "{value}"', where=f"shrink: {key}", fix=did_you_mean(value, known))


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrunk:
    """payload: the file to write; header: of the source, as stored; width and height of the result in pixels.

    decode_path: full, scaled/2, scaled/4 or scaled/8. resized: pixels were resampled or cropped. kept: the payload is
    the source's bytes.
    """

    payload: bytes
    header: Header
    decode_path: str
    resized: bool
    kept: bool
    width: int
    height: int


def shrink(data: bytes, how: Shrinking, *, max_pixels: int = MAX_PIXELS) -> Shrunk:
    """The image in `data` as `how` wants it; the same bytes wherever versions and processor are the same.

    max_pixels: as in open_image, and no result may be enlarged beyond it. Errors: ImageError as open_image, and bomb
    where memory runs out at any step; ShapeError for a result with a side longer than its format can hold; UsageError
    for a quality outside 1 to 100.
    """
    with bomb_if_no_memory():
        return _shrink(data, how, max_pixels)


def check_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """The facts of an image that decodes completely; its pixels are thrown away, so a JPEG's are not even made.

    Errors: ImageError exactly as open_image.
    """
    with bomb_if_no_memory():
        header = scan_header(data)
        if header and header.width * header.height <= max_pixels and decode_turbo(data, header, scale=8) is not None:
            return header
        with reading(data, max_pixels=max_pixels) as reader:
            image = reader.decode(scale=8)
            if reader.header.format == "JPEG":
                return reader.header
            return replace(reader.header, mode=image.mode, width=image.width, height=image.height)


def warm_up(how: Shrinking) -> None:
    """Import and start all that `how` will need, about a second; for workers, once, before any limit is set.

    Leaves torch with one thread in this process: the workers are the parallelism.
    """
    load_turbo()
    if any(name in TORCH_FILTERS for name in how.filter.split("-")):
        import torch

        torch.set_num_threads(1)
    small = replace(how, side_px=8)
    for format in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        Image.new("RGB", (30, 20)).save(buffer, format)
        shrink(buffer.getvalue(), small)


def out_format(header: Header, format: str) -> str:
    """The format to write; keep is the source's, or png for those that cannot be written again: nothing is lost."""
    if format != "keep":
        return format
    return {"JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp"}.get(header.format, "png")


def _shrink(data: bytes, how: Shrinking, max_pixels: int) -> Shrunk:
    decoded = _decode_plain(data, how, max_pixels) or _decode(data, how, max_pixels)
    header, placement, pixels = decoded.header, decoded.placement, decoded.pixels
    size = (header.width, header.height)
    resized = placement.changes(size)
    if pixels is None:
        payload = data
    else:
        image = _resample(pixels, placement, how, decoded.scale) if resized else _as_image(pixels)
        image = _finish(image, header, placement, how)
        size = image.size
        format = out_format(header, how.format)
        payload = encode(image, format=format, quality=how.quality, subsampling=how.subsampling)
    return Shrunk(
        payload=payload,
        header=header,
        decode_path=f"scaled/{decoded.scale}" if decoded.scale > 1 else "full",
        resized=resized,
        kept=pixels is None,
        width=size[0],
        height=size[1],
    )


@dataclass(slots=True)
class _Decoded:
    """pixels: RGB, as stored, reduced by scale; None where the file's bytes are to be kept."""

    header: Header
    placement: Placement
    scale: int
    pixels: Pixels | None


def _decode_plain(data: bytes, how: Shrinking, max_pixels: int) -> _Decoded | None:
    """A plain JPEG by the fast decoder alone; None for any other file, and for one with the least trouble."""
    if load_turbo() is None or (header := scan_header(data)) is None or header.width * header.height > max_pixels:
        return None
    placement = _place(header, how, max_pixels)
    scale = _decode_scale(placement, how)
    pixels_HW3 = decode_turbo(data, header, scale=scale)
    if pixels_HW3 is None:
        return None
    return _Decoded(header, placement, scale, None if _is_kept(header, placement, how) else pixels_HW3)


def _decode(data: bytes, how: Shrinking, max_pixels: int) -> _Decoded:
    with reading(data, max_pixels=max_pixels) as reader:
        header = reader.header
        placement = _place(header, how, max_pixels)
        scale = _decode_scale(placement, how)
        pixels_HW3 = decode_turbo(data, header, scale=scale)
        if pixels_HW3 is not None:
            return _Decoded(header, placement, scale, None if _is_kept(header, placement, how) else pixels_HW3)
        image = reader.decode(scale=scale)
        if scale == 1 or image.size != (-(-header.width // scale), -(-header.height // scale)):
            # some facts are sure only now: a frame may be larger than the header said
            header = replace(header, mode=image.mode, width=image.width, height=image.height)
            placement, scale = _place(header, how, max_pixels), 1
        kept = _is_kept(header, placement, how) and not image.has_transparency_data
        return _Decoded(header, placement, scale, None if kept else to_rgb(image, background=how.background))


def _place(header: Header, how: Shrinking, max_pixels: int) -> Placement:
    placement = place((header.width, header.height), how.side_px, mode=how.mode, enlarge=how.enlarge)
    width, height = placement.size
    if width * height > max_pixels:
        raise ImageError(
            "bomb", f"{width} x {height} = {width * height} pixels when enlarged, the limit is {max_pixels}"
        )
    return placement


def _decode_scale(placement: Placement, how: Shrinking) -> int:
    if how.filter == "nearest":  # shows single pixels, which a reduced decode no longer has
        return 1
    return decode_scale(placement, times=2 if how.filter == "bicubic-nearest" else 1)


def _is_kept(header: Header, placement: Placement, how: Shrinking) -> bool:
    size = (header.width, header.height)
    return (
        header.format == out_format(header, how.format).upper()
        and not placement.changes(size)
        and placement.canvas == size
        and header.orientation == 1
        and header.n_frames == 1
        and header.mode in _UNTOUCHED_MODES
    )


def _resample(rgb: Pixels, placement: Placement, how: Shrinking, scale: int) -> Image.Image:
    """The box of the decoded picture at its size: in one step, or in the two of bicubic-nearest."""
    box, size = placement.box, placement.size
    if scale > 1:  # the last row and column of a reduced picture may stand for fewer pixels than the others
        box = (box[0] / scale, box[1] / scale, box[2] / scale, box[3] / scale)
    if how.filter != "bicubic-nearest":
        return _resize(rgb, size, how.filter, box)
    twice = (2 * size[0], 2 * size[1])
    if box[2] - box[0] < twice[0] or box[3] - box[1] < twice[1]:
        return _resize(rgb, size, "bicubic", box)
    return _resize(rgb, twice, "bicubic", box).resize(size, Image.Resampling.NEAREST)


def _resize(rgb: Pixels, size: Size, filter: str, box: Box) -> Image.Image:
    width, height = rgb.size if isinstance(rgb, Image.Image) else (rgb.shape[1], rgb.shape[0])
    whole = box[:2] == (0, 0) and width - box[2] < 1 and height - box[3] < 1
    if filter not in TORCH_FILTERS or not whole:
        return resize(_as_image(rgb), size, filter=filter, box=box)
    pixels_HWC = pixels_of(rgb) if isinstance(rgb, Image.Image) else rgb
    return image_of(resize_hwc(pixels_HWC, size, filter=filter, box=box))


def _finish(image: Image.Image, header: Header, placement: Placement, how: Shrinking) -> Image.Image:
    """Turned upright, then centred on its canvas; without the source's metadata."""
    if header.orientation in TURN:
        image = image.transpose(TURN[header.orientation])
    if placement.canvas == placement.size:
        return image
    canvas = Image.new("RGB", placement.canvas, how.background)
    canvas.paste(image, ((canvas.width - image.width) // 2, (canvas.height - image.height) // 2))
    return canvas


def _as_image(rgb: Pixels) -> Image.Image:
    return rgb if isinstance(rgb, Image.Image) else image_of(rgb)
