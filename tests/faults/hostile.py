"""Image files as the world has them: bombs, halves, liars, odd modes, odd metadata. Made here, none is copied."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

RED, GREEN, BLUE = (220, 30, 30), (30, 220, 30), (30, 30, 220)
ORIENTATION, GPS, MAKER = 0x0112, 0x8825, 0x010F
SECRET = b"taken-at-home"


def noise(mode: str = "RGB", size: tuple[int, int] = (48, 32), seed: int = 0) -> Image.Image:
    """Noise, which no coder makes small; of any mode."""
    width, height = size
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values).convert("RGB").convert(mode)


def flat(colour: tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    """One colour throughout."""
    return Image.new(mode, size, colour)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG up to its pixels; colour 0 grey, 2 RGB."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def pixel_bomb() -> bytes:
    """A header that promises 3.6 billion pixels."""
    return png_header(60_000, 60_000) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A kilobyte of text that swells to more than a megabyte."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1)))
    return saved(noise(), "PNG")[:33] + text + saved(noise(), "PNG")[33:]


def memory_eater(side_px: int = 8_000) -> bytes:
    """A grey PNG that is small on disk, allowed by its header, and large once decoded."""
    rows = zlib.compress(b"\0" * (side_px + 1) * side_px, 1)
    return png_header(side_px, side_px, colour=0) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif_flood(n_frames: int = 10_000) -> bytes:
    """A GIF whose first frame is a picture, and n - 1 frames of one pixel each."""
    first = saved(flat(RED, size=(24, 16)), "GIF")
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return first[:-1] + frame * (n_frames - 1) + b";"


def tiff_flood(n_frames: int = 2_000) -> bytes:
    """A TIFF of n directories that all show the same grey strip."""
    width, height = 24, 16
    strip_at = 8
    tags = [(256, 3, width), (257, 3, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, strip_at),
            (277, 3, 1), (278, 3, height), (279, 4, width * height)]  # fmt: skip
    at = strip_at + width * height
    data = [b"II*\0", struct.pack("<I", at), b"\x80" * (width * height)]
    for index in range(n_frames):
        directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, kind, 1, value)
                                                            for tag, kind, value in tags)  # fmt: skip
        at += len(directory) + 4
        data.append(directory + struct.pack("<I", at if index < n_frames - 1 else 0))
    return b"".join(data)


def tiff_loop() -> bytes:
    """A TIFF whose only directory names itself as the next."""
    data = bytearray(tiff_flood(1))
    data[-4:] = data[4:8]
    return bytes(data)


def three_frames(format: str) -> bytes:
    """Red, green, blue."""
    frames = [flat(colour) for colour in (RED, GREEN, BLUE)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:])


def ycck() -> bytes:
    """A CMYK JPEG whose marker says that its channels are YCCK."""
    plain = saved(flat((0, 200, 200, 30), "CMYK"), "JPEG", quality=95)
    at = plain.index(b"Adobe") + 11
    return plain[:at] + b"\x02" + plain[at + 1 :]


def ramp_16_bit() -> Image.Image:
    """0..65,535 from left to right."""
    row = np.linspace(0, 65_535, 48).astype(np.uint16)
    return Image.fromarray(np.tile(row, (32, 1)))


def half_transparent(mode: str) -> bytes:
    """Left half opaque red (or dark grey), right half wholly transparent, hiding green (or light grey)."""
    if mode == "P":
        image = Image.new("P", (48, 32), 0)
        image.putpalette([*RED, *GREEN])
        image.paste(1, (24, 0, 48, 32))
        return saved(image, "PNG", transparency=1)
    shown, hidden = ((*RED, 255), (*GREEN, 0)) if mode == "RGBA" else ((40, 255), (200, 0))
    image = Image.new(mode, (48, 32), shown)
    image.paste(hidden, (24, 0, 48, 32))
    return saved(image, "PNG")


def turned(orientation: int) -> bytes:
    """A JPEG that looks alike whatever its orientation, once that is applied: red left, blue right, 48 x 32."""
    upright = flat(RED)
    upright.paste(BLUE, (24, 0, 48, 32))
    # what has to be done to the upright picture so that a viewer, obeying the tag, gets it back; EXIF 2.3, table 6
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    return saved(stored, "JPEG", quality=95, exif=exif)


def with_gps() -> bytes:
    """A JPEG that tells where it was taken, in EXIF and in a comment."""
    exif = Image.Exif()
    exif[MAKER] = SECRET.decode()
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (48.0, 51.0, 29.6)
    return saved(noise(), "JPEG", exif=exif, comment=SECRET)


def with_profile() -> bytes:
    """A JPEG with a colour profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return saved(noise(), "JPEG", icc_profile=profile)


def noisy_tiff() -> bytes:
    """A TIFF whose compressed strip is damaged: libtiff complains straight to file descriptor 2."""
    data = bytearray(saved(noise(), "TIFF", compression="tiff_adobe_deflate"))
    at = data.index(b"\x78")  # where the zlib stream begins
    data[at + 40 : at + 60] = b"\xff" * 20
    return bytes(data)


def half(data: bytes) -> bytes:
    """The first half."""
    return data[: len(data) // 2]


def flipped(data: bytes, *, seed: int, n_flips: int = 3) -> bytes:
    """Some bits changed anywhere behind the first 16 bytes."""
    drawn = np.random.default_rng(seed)
    changed = bytearray(data)
    for at in drawn.integers(16, len(data), n_flips).tolist():
        changed[at] ^= 1 << int(drawn.integers(8))
    return bytes(changed)
