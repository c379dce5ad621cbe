"""Where the files lie that stand beside a manifest."""

from __future__ import annotations

from pathlib import Path


def state_path(manifest: Path) -> Path:
    """What an earlier run found out about the files: a cache, safe to delete."""
    return manifest.with_name(manifest.name + ".state")


def quarantine_path(manifest: Path) -> Path:
    """The files that the manifest left out as unusable; not there where it left out none."""
    return manifest.with_name(manifest.name + ".quarantine.jsonl")
