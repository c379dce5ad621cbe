"""What every picture of `imagekit show` comes with: what it shows, and of which images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One drawn page. images: names of those on it, in reading order; notes: what is to be seen, a line each.

    faults: name -> why the image cannot be shown; its place on the page says so, too.
    """

    page: Image.Image
    images: tuple[str, ...]
    notes: tuple[str, ...]
    faults: Mapping[str, str] = field(default_factory=dict)
