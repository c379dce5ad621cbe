"""Every error that imagekit raises on purpose, and the exit code that each carries.

    ImagekitError                1   failed, nothing published
    |-- UsageError               2   an argument or a setting that cannot work
    |   |-- RecipeError          2   datasets.toml says something that cannot be
    |   |-- ConfigError          2   a training configuration that cannot be
    |   |-- SourceError          2   what was handed in is missing, empty or in the wrong place
    |   |-- OutputError          2   the output exists and is not what this command would build
    |   |-- SplitError           2   a split would be empty or cannot be told
    |   |-- LabelError           2   a label is unknown or cannot be told
    |   `-- MissingExtraError    2   an optional package is not installed
    |-- ImageError               1   one image cannot be used; carries a reason code
    |-- ManifestError            1   a manifest is damaged, newer than this version, or its files moved
    |-- CheckpointError          1   a run or checkpoint is damaged or does not fit
    |-- ShapeError               1   a tensor or image has the wrong shape
    |-- TooManyBadError          1   more images were unusable than --max-bad allows
    |-- DiskFullError            1   the disk is full; what was there is untouched
    |-- TrainingError            1   training cannot go on (a loss that is not finite, say)
    |-- WorkerError              1   a process that makes batches ended by itself
    `-- LockedError              4   another process is writing the same output

An error says what is wrong, where, and how to fix it; `cli` turns it into text and an exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ImagekitError(Exception):
    """An error with a cure: what is wrong, where, and how to fix it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints: kind, what, where, fix and the exit code."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "fix": self.fix,
            "exit_code": self.exit_code,
        }


class UsageError(ImagekitError):
    """An argument or a setting that cannot work."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe file says something that cannot be; `where` carries the dotted key."""


class ConfigError(UsageError):
    """A training configuration that cannot be; `where` carries the key and its origin."""


class SourceError(UsageError):
    """What was handed in is missing, empty or in the wrong place."""


class OutputError(UsageError):
    """The output exists and is not what this command would build."""


class SplitError(UsageError):
    """A split would be empty or cannot be told."""


class LabelError(UsageError):
    """A label is unknown or cannot be told."""


class MissingExtraError(UsageError):
    """An optional package is not installed; `fix` names the pip extra."""


class ImageError(ImagekitError):
    """One image cannot be used; `reason` is one of the documented reason codes, `detail` the decoder's own words."""

    def __init__(self, reason: str, detail: str, *, where: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}", where=where)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        # worker processes send their errors back, and an exception is unpickled from its first argument alone
        return type(self), (self.reason, self.detail), {"where": self.where, "fix": self.fix}


class ManifestError(ImagekitError):
    """A manifest is damaged, newer than this version, or its files moved."""


class CheckpointError(ImagekitError):
    """A run or checkpoint is damaged or does not fit."""


class ShapeError(ImagekitError):
    """A tensor or image has the wrong shape."""


class TooManyBadError(ImagekitError):
    """More images were unusable than --max-bad allows."""


class DiskFullError(ImagekitError):
    """The disk is full; what was there before is untouched."""


class WorkerError(ImagekitError):
    """A process that makes batches ended by itself, could not be started, or could not send what it made."""


class TrainingError(ImagekitError):
    """Training cannot go on."""


class LockedError(ImagekitError):
    """Another process is writing the same output."""

    exit_code = 4


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence for `fix`: the nearest known name if one is near, and all known names in order (at most 20)."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [other.lower() for other in names], n=1, cutoff=0.6)
    guess = next((f'did you mean "{other}"? ' for other in names if near and other.lower() == near[0]), "")
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{guess}known: {listed}" if names else f"{guess}none are known"
