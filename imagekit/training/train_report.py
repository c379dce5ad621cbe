"""What one training came to, as text and as plain types."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagekit.training.run_files import is_of_average

N_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """The outcome of one training: where it lies, what it reached, how long it took.

    rows: an epoch each, those of before a resume too. interrupted: where it was stopped from outside, in words; it can
    be gone on with then. skipped: names of the images that could not be used, each with its reason. hint: what would
    make it faster.
    """

    run: Path
    manifest: Path
    images_root: Path
    rows: Sequence[dict[str, Any]]
    seed: int
    seconds: float
    timing: dict[str, Any]
    valid_split: str = "valid"
    monitor: str = "valid_accuracy"
    stopped: str | None = None
    interrupted: str | None = None
    skipped: Sequence[tuple[str, str]] = ()
    hint: str | None = None

    @property
    def exit_code(self) -> int:
        """130 where it was interrupted, 3 where images were left out, else 0."""
        if self.interrupted is not None:
            return 130
        return 3 if self.skipped else 0

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best epoch, the latest of equals; None before the first."""
        return next((row for row in reversed(self.rows) if row["is_best"]), None)

    @property
    def next_command(self) -> str:
        """What to type next."""
        if self.interrupted is not None:
            return shlex.join(["imagekit", "train", "--resume", str(self.run)])
        option = [] if self.valid_split == "valid" else ["--split", self.valid_split]
        return shlex.join(["imagekit", "evaluate", str(self.run), str(self.manifest), *option])

    def summary(self) -> str:
        """The result as text."""
        lines = [*([self.interrupted] if self.interrupted else []), *self._reached()]
        lines += [self.hint] if self.hint else []
        lines.append(f"run: {self.run}, seed {self.seed}")
        lines += [self.stopped] if self.stopped else []
        return "\n".join([*lines, *self._skipped_in_words()])

    def _reached(self) -> list[str]:
        best = self.best
        if best is None:
            return ["no epoch is whole yet"]
        last = self.rows[-1]
        return [
            self._accuracy_in_words(best),
            f"{self.seconds:.1f} s, {last['images_per_s'] or 0:,.0f} training images/s,"
            f" {last['data_wait'] or 0:.0%} of the time waiting for data",
        ]

    def _accuracy_in_words(self, best: dict[str, Any]) -> str:
        validated = [row for row in self.rows if row["valid_accuracy"] is not None]
        if not validated:
            n = len(self.rows)
            return f"no accuracy on {self.valid_split} yet, {n} epoch{'s are' if n != 1 else ' is'} whole"
        last = validated[-1]
        epochs = f"{last['epoch']} epoch{'s' * (last['epoch'] != 1)}"
        reached = f"{self.valid_split} accuracy {last['valid_accuracy']:.4f} after {epochs}"
        return f"{reached}, best {self._best_in_words(best)} in epoch {best['epoch']}"

    def _best_in_words(self, best: dict[str, Any]) -> str:
        """The accuracy of the weights that were kept, which may be averaged, and what told them."""
        if self.monitor == "valid_accuracy":
            return _four(best["valid_accuracy"])
        is_averaged = is_of_average(self.monitor)
        accuracy = best["valid_ema_accuracy" if is_averaged else "valid_accuracy"]
        words = f"{_four(accuracy)}{' of the averaged weights' * is_averaged}"
        is_told_by_it = self.monitor in ("valid_ema_accuracy", "valid_accuracy")
        return words if is_told_by_it else f"{words}, by {self.monitor} {best[self.monitor]:.4f},"

    def _skipped_in_words(self) -> list[str]:
        if not self.skipped:
            return []
        n = len(self.skipped)
        shown = [f"  {name}: {why}" for name, why in self.skipped[:N_SHOWN]]
        more = [f"  and {n - N_SHOWN:,} more, all in events.jsonl"] if n > N_SHOWN else []
        return [
            f"{n:,} image{'s' * (n != 1)} could not be used and {'were' if n != 1 else 'was'} left out:",
            *shown,
            *more,
        ]

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "run": str(self.run),
            "manifest": str(self.manifest),
            "seed": self.seed,
            "epochs": list(self.rows),
            "best": self.best,
            "seconds": round(self.seconds, 3),
            "timing": self.timing,
            "stopped": self.stopped,
            "interrupted": self.interrupted,
            "skipped": [{"file": name, "why": why} for name, why in self.skipped],
            "hint": self.hint,
        }


def _four(accuracy: float | None) -> str:
    """None: of an epoch that was not validated."""
    return "not measured" if accuracy is None else f"{accuracy:.4f}"
