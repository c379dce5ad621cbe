"""Look at one source image without decoding it. Runs in worker processes, so it imports little."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagekit.errors import ImageError
from imagekit.files.hashes import sha256_bytes
from imagekit.files.names import to_path
from imagekit.files.read import read_stamped
from imagekit.files.stamps import proof_of

if TYPE_CHECKING:
    from imagekit.pixels.open import Header


# what Examine gives of a file that can be read
EXAMINED = (
    "stamp",
    "size_bytes",
    "sha256",
    "format_in",
    "mode_in",
    "width_in",
    "height_in",
    "exif_orientation",
    "n_frames",
    "icc",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Examine:
    """The task of a worker: a raw source name -> what its bytes and header say. Nothing is decoded."""

    source: str

    def warm_up(self) -> None:
        """Import what looks into a file: now, for the limit on memory comes after."""
        from imagekit.pixels.open import read_header  # noqa: F401 - to have it loaded

    def __call__(self, name: bytes) -> dict[str, Any]:
        """Facts as columns of files.parquet, or {"reason", "detail"}."""
        path = to_path(Path(self.source), name)
        facts: dict[str, Any] = {}
        try:
            reading = read_stamped(path)
            facts["stamp"] = proof_of(reading.stamp)
            facts |= {"size_bytes": len(reading.data), "sha256": sha256_bytes(reading.data)}
            from imagekit.pixels.open import read_header

            return facts | header_facts(read_header(reading.data))
        except ImageError as error:
            return facts | {"reason": error.reason, "detail": error.detail}


def header_facts(header: Header) -> dict[str, Any]:
    """What the source image is, as columns of files.parquet."""
    return {
        "format_in": header.format,
        "mode_in": header.mode,
        "width_in": header.width,
        "height_in": header.height,
        "exif_orientation": header.orientation,
        "n_frames": header.n_frames,
        "icc": header.icc,
    }
