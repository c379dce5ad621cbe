"""Every file name of a run directory, once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from imagekit.files.atomic import clear_leftovers


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Where each file of the run at `root` is; nothing is created or read until asked."""

    root: Path

    def create(self) -> RunLayout:
        """Make the folders of the run; those that exist are kept."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        return self

    def clear(self) -> None:
        """Remove what a run writes, checkpoints and every file named here, and nothing else; status.json stays.

        It says that the folder is a run: without it, a kill in between would leave a folder that nobody may touch.
        """
        names = [name for name, member in vars(type(self)).items() if isinstance(member, property)]
        for path in sorted({getattr(self, name) for name in names} - {self.status}, reverse=True):
            if path.is_file():
                path.unlink()
        for path in self.checkpoints.glob("epoch-*.pt"):
            if re.fullmatch(r"epoch-\d{4,}\.pt", path.name):
                path.unlink()

    def heal(self) -> None:
        """Remove what killed writers left of checkpoints, which are large files. No other fit may be under way."""
        if self.checkpoints.is_dir():
            clear_leftovers(self.checkpoints)

    @property
    def config(self) -> Path:
        """What this run was told, resolved, with the origin of each value."""
        return self.root / "config.toml"

    @property
    def command(self) -> Path:
        """The command lines, and how the run is executed."""
        return self.root / "command.json"

    @property
    def environment(self) -> Path:
        """Versions and hardware; no environment variables."""
        return self.root / "environment.json"

    @property
    def vocab(self) -> Path:
        """The ordered classes."""
        return self.root / "vocab.json"

    @property
    def data(self) -> Path:
        """What the run was trained on: where, as it was told and from which folder; counts and digests."""
        return self.root / "data.json"

    @property
    def metrics(self) -> Path:
        """One row an epoch."""
        return self.root / "metrics.csv"

    @property
    def events(self) -> Path:
        """What happened when, one JSON object a line, only ever added to."""
        return self.root / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        """The state after the last whole epoch."""
        return self.checkpoints / "last.pt"

    @property
    def best(self) -> Path:
        """The state after the best epoch."""
        return self.checkpoints / "best.pt"

    @property
    def predictions(self) -> Path:
        """One row a validation image."""
        return self.root / "predictions.parquet"

    @property
    def curves(self) -> Path:
        """Losses and accuracies over the epochs, drawn."""
        return self.root / "curves.png"

    @property
    def confusion(self) -> Path:
        """Which class was taken for which, drawn."""
        return self.root / "confusion.png"

    @property
    def telemetry(self) -> Path:
        """What the layers' activations did, drawn."""
        return self.root / "telemetry.png"

    @property
    def telemetry_data(self) -> Path:
        """What the layers' activations did, in numbers."""
        return self.root / "telemetry.json"

    @property
    def report(self) -> Path:
        """The run on one page."""
        return self.root / "report.html"

    @property
    def timing(self) -> Path:
        """Where the time went."""
        return self.root / "timing.json"

    @property
    def status(self) -> Path:
        """Running, interrupted, failed or done."""
        return self.root / "status.json"

    @property
    def failure(self) -> Path:
        """Why the loss stopped being a number; only there if it did."""
        return self.root / "failure.json"

    @property
    def log(self) -> Path:
        """What was said on stderr."""
        return self.root / "run.log"
