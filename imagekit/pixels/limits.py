"""What may be decoded at all: formats by content, and pixels by header."""

from __future__ import annotations

# The same number at which Pillow begins to warn of a decompression bomb: a quarter of 1 GiB of RGB.
MAX_PIXELS = 89_478_485

# Pillow's names. MPO has no name of its own here: it shares JPEG's factory and comes with it.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
