"""One image of a subset: read, check, resize or keep, write. Runs in worker processes.

Whoever only hands the task on needs no decoder: what makes pixels is imported in the worker, when it is needed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagekit.errors import ImageError, ShapeError
from imagekit.files.hashes import sha256_bytes
from imagekit.files.link import place, write_new
from imagekit.files.names import path_in
from imagekit.files.read import Reading, read_stamped
from imagekit.files.stamps import number_of, proof_of
from imagekit.recipes.recipe import ResizeRule
from imagekit.subset.examine import header_facts

if TYPE_CHECKING:
    from imagekit.pixels.shrink import Shrinking


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildImage:
    """The task of a worker: (raw source name, raw output name) -> facts about both, as columns of a FactTable.

    staging: None to do everything but write, which tells how long it takes. size_px: the side that the rule's mode
    speaks of, or None to keep every byte. check, link: as in SubsetOptions. builder_pid: the process that builds; a
    worker that outlives it by a moment must not write into the next build.
    """

    source: str
    staging: str | None
    size_px: int | None
    rule: ResizeRule
    builder_pid: int
    check: str = "decode"
    link: str | None = None

    def warm_up(self) -> None:
        """Import what the rule will need; called once a worker."""
        if self.size_px is not None:
            from imagekit.pixels.shrink import warm_up

            warm_up(_shrinking(self.rule, self.size_px))
        elif self.check != "none":  # now, for the limit on memory comes after: an import must not meet it
            from imagekit.pixels.turbo import load_turbo

            load_turbo()

    def __call__(self, item: tuple[bytes, bytes]) -> dict[str, Any]:
        """Build one image; an unusable one comes back as {"reason", "detail", ...} with what was learnt before."""
        name, out_name = item
        path = path_in(self.source, name)
        facts: dict[str, Any] = {}
        try:
            reading = read_stamped(path)
            facts["stamp"] = proof_of(reading.stamp)
            facts |= {"size_bytes": len(reading.data), "sha256": sha256_bytes(reading.data)}
            made, payload = self._make(reading.data)
            if self.builder_pid not in (os.getpid(), os.getppid()):
                raise SystemExit("the builder is gone")
            if self.staging is not None:
                target = path_in(self.staging, out_name)
                made |= self._write(reading, path, target, payload)
        except ImageError as error:
            return facts | {"reason": error.reason, "detail": error.detail}
        except ShapeError as error:  # a side longer than the output's format can hold
            return facts | {"reason": "unsupported-format", "detail": error.what}
        payload = reading.data if payload is None else payload
        digest = facts["sha256"] if payload is reading.data else sha256_bytes(payload)
        return facts | made | {"out_size_bytes": len(payload), "out_sha256": digest}

    def _make(self, data: bytes) -> tuple[dict[str, Any], bytes | None]:
        """What the image is and what became of it, and the bytes to write: None for the source's own."""
        if self.size_px is None:
            return self._look(data), None
        from imagekit.pixels.shrink import shrink

        shrunk = shrink(data, _shrinking(self.rule, self.size_px))
        made = header_facts(shrunk.header) | {
            "decode_path": shrunk.decode_path,
            "resized": shrunk.resized,
            "kept": shrunk.kept,
            "out_width": shrunk.width,
            "out_height": shrunk.height,
        }
        return made, None if shrunk.kept else shrunk.payload

    def _look(self, data: bytes) -> dict[str, Any]:
        """Look into an image whose bytes are kept, as far as the check goes."""
        made: dict[str, Any] = {"decode_path": self.check, "resized": False, "kept": True}
        if self.check == "none":
            return made
        if self.check == "decode":
            from imagekit.pixels.shrink import check_image

            header = check_image(data)
            made["decode_path"] = "full"
        else:
            from imagekit.pixels.open import read_header

            header = read_header(data)
        return made | header_facts(header) | {"out_width": header.width, "out_height": header.height}

    def _write(self, reading: Reading, path: str, target: str, payload: bytes | None) -> dict[str, Any]:
        if payload is None:
            kind = place(reading, Path(path), Path(target), link=self.link)
            return {"link": kind, "out_stamp": number_of(os.lstat(target))}
        return {"out_stamp": number_of(write_new(target, payload))}


@cache
def _shrinking(rule: ResizeRule, side_px: int) -> Shrinking:
    from imagekit.pixels.shrink import Shrinking

    return Shrinking(
        side_px=side_px,
        mode=rule.mode,
        filter=rule.filter,
        format=rule.format,
        quality=rule.quality,
        background=rule.background_rgb,
        enlarge=rule.enlarge,
        subsampling=rule.subsampling,
    )
