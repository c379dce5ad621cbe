"""What the command may set beside the recipe: everything here shapes the result and stands in the receipt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from imagekit.errors import UsageError, did_you_mean
from imagekit.recipes.recipe import Recipe

LINKS = ("reflink", "hard", "copy")
CHECKS = ("none", "header", "decode")


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetOptions:
    """What shapes the result; equal options and recipe give equal bytes.

    size: "full" keeps every byte, a number is the side in pixels that `mode` speaks of. link: how bytes that are kept
    get into the subset; None: reflink where the file system can, else copy. check: how far an image is looked into
    whose bytes are kept; one that is resized is always decoded whole. mode, filter, format, quality: in place of the
    recipe's, with a size in pixels only; mode "none" goes with "full". Raises UsageError for what cannot go together.
    """

    size: int | str = "full"
    mode: str | None = None
    filter: str | None = None
    format: str | None = None
    quality: int | None = None
    link: str | None = None
    check: str = "decode"

    def __post_init__(self) -> None:
        if self.size != "full" and (isinstance(self.size, str) or self.size < 1):
            raise UsageError(
                f'size is {self.size!r}, must be "full" or at least 1', where="--size", fix="give --size 160, say"
            )
        if self.link is not None and self.link not in LINKS:
            raise UsageError(f'link is "{self.link}"', where="--link", fix=did_you_mean(self.link, LINKS))
        if self.check not in CHECKS:
            raise UsageError(f'check is "{self.check}"', where="--check", fix=did_you_mean(self.check, CHECKS))
        if self.size != "full" and self.check != "decode":
            raise UsageError(
                f'check is "{self.check}", but an image that is resized is decoded whole',
                where=f"--check {self.check} --size {self.size}",
                fix="leave --check out, or build --size full",
            )
        if self.size != "full" and self.mode == "none":
            raise UsageError(
                f'mode is "none", but the size is {self.size}',
                where=f"--mode none --size {self.size}",
                fix="leave --size out, or give another --mode",
            )
        if self.size == "full":
            self._refuse_settings_of_a_size()

    def _refuse_settings_of_a_size(self) -> None:
        """Nothing is resized or encoded at full size: whoever asks how it is done has forgotten the size."""
        mode = None if self.mode == "none" else self.mode
        for name, value in (
            ("mode", mode),
            ("filter", self.filter),
            ("format", self.format),
            ("quality", self.quality),
        ):
            if value is not None:
                raise UsageError(
                    f"{name} is {json.dumps(value)}, but size full keeps every byte as it is",
                    where=f"--{name} {value}",
                    fix=f"leave --{name} out, or give a size such as --size 160",
                )

    @property
    def size_px(self) -> int | None:
        """The side in pixels, None for `full`."""
        return None if self.size == "full" else int(self.size)

    def applied_to(self, recipe: Recipe) -> Recipe:
        """The recipe with the options given on the command line in place of its own."""
        rule = recipe.resize
        if self.size_px is not None and self.mode is None and rule.mode == "none":
            raise UsageError(
                f'recipe {recipe.name} has resize.mode "none", but the size is {self.size}',
                where=f"--size {self.size}",
                fix="give a --mode such as shortest, or --size full",
            )
        return replace(
            recipe,
            resize=replace(
                rule,
                mode=rule.mode if self.mode in (None, "none") else self.mode,
                filter=self.filter or rule.filter,
                format=self.format or rule.format,
                quality=rule.quality if self.quality is None else self.quality,
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """What stands in the receipt; filter and the like stand in its recipe."""
        return {"size": self.size, "link": self.link, "check": self.check}


def options_of(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a receipt; those that an early version did not write have their defaults."""
    return SubsetOptions().to_dict() | dict(recorded)
