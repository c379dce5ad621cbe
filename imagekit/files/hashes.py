"""The checksum that identifies content: sha256, as 32 raw bytes."""

from __future__ import annotations

import hashlib
import os

from imagekit.files.read import open_regular


def sha256_bytes(data: bytes) -> bytes:
    """sha256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def sha256_file(path: str | os.PathLike[str]) -> bytes:
    """sha256 of one regular file, 32 bytes, read in pieces. Raises ImageError as `read_file` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
