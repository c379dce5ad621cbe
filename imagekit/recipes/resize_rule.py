"""How an image is made smaller and stored: the table `resize` of a recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagekit.errors import RecipeError
from imagekit.recipes.checks import check_one_of, shown

MODES = ("none", "shortest", "longest", "fit", "fill", "stretch")
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "bicubic-nearest")
FORMATS = ("jpeg", "png", "webp", "keep")
SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")

_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeRule:
    """How an image is made smaller and stored.

    mode: what the size in pixels means: the shortest or the longest side, the square that the image is padded into
    (fit), cropped to (fill) or stretched to; none keeps every pixel. filter: how pixels are averaged; bicubic-nearest
    goes to twice the size with bicubic, then picks the nearest pixel, which keeps textures. format: `keep` stores in
    the format that the image came in. quality: of jpeg and webp. background: what lies under transparency and padding.
    enlarge: whether small images grow. subsampling: of the colours of a jpeg.
    """

    mode: str = "shortest"
    filter: str = "bicubic"
    format: str = "jpeg"
    quality: int = 90
    background: str = "#ffffff"
    enlarge: bool = False
    subsampling: str = "4:2:0"

    def __post_init__(self) -> None:
        check_one_of("mode", self.mode, MODES)
        check_one_of("filter", self.filter, FILTERS)
        check_one_of("format", self.format, FORMATS)
        check_one_of("subsampling", self.subsampling, SUBSAMPLINGS)
        if not 1 <= self.quality <= 100:
            fix = "set quality = 90, or another whole number in that range"
            raise RecipeError(f"quality is {shown(self.quality)}, must be from 1 to 100", where="quality", fix=fix)
        if not _COLOUR.fullmatch(self.background):
            raise RecipeError(
                f"background is {shown(self.background)}, must be # and six hexadecimal digits",
                where="background",
                fix='set background = "#ffffff" for white, or delete the key',
            )

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """The background as red, green and blue, each 0..255."""
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue
