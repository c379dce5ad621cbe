"""What `manifest` tells at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagekit.manifest.leaks import Leak
from imagekit.rules.outcomes import BadFile, Outcomes, group_by_reason
from imagekit.rules.splitters import is_valid

SHOWN_LEAKS = 20
SHOWN_CLASSES = 10
_BECAME = {
    "keep": "the rows are kept, exit code 3",
    "drop": "left out where they were not in the first of test, valid and train",
    "move": "moved to the first of test, valid and train",
}
_NOTED = ("per_split", "n_classes", "asked", "per_class", "remarks", "n_looked", "leak_rule")


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestReport:
    """The outcome of one `manifest`: counts, faults, leaks, where it lies.

    state: built, up to date or planned. per_class: rows by label and split. asked: the share of all rows that each
    split was to have. n_looked: images that were to be looked at; n_read: files that were read for it.
    """

    state: str
    root: Path
    output: Path
    outcomes: Outcomes
    bad_files: tuple[BadFile, ...]
    leaks: tuple[Leak, ...]
    leak_rule: str
    per_split: Mapping[str, int]
    n_classes: int
    asked: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    n_looked: int = 0
    n_read: int = 0
    seconds: float = 0.0
    exit_code: int = 0

    @property
    def next_command(self) -> str:
        """What to type next."""
        return f"imagekit manifest {self.root}" if self.state == "planned" else f"imagekit train {self.output} -o RUN"

    def summary(self) -> str:
        """The report as text."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.per_split.items())
        lines = [
            f"{self.n_classes:,} classes: {splits or 'the splits are drawn when the images are known'}",
            *self._ratio_lines(),
            self.outcomes.line(),
            *(f"  {line}" for line in self.listed_bad(f"{self.output.name}.quarantine.jsonl")),
            *self._leak_lines(),
            *self.remarks,
        ]
        return "\n".join([*lines, self._last_line()])

    def listed_bad(self, listed_in: str) -> list[str]:
        """A line for each reason why files could not be used."""
        return group_by_reason(self.bad_files, listed_in=listed_in)

    def _last_line(self) -> str:
        if self.state == "planned":
            return f"would look at every image and write {self.output}; nothing was written"
        if self.state == "up to date":
            return f"up to date: {self.output} holds all this already, found out in {self.seconds:.1f} s"
        rate = self.outcomes.selected / self.seconds if self.seconds else 0
        n_known = self.n_looked - self.n_read
        again = f", {n_known:,} of them unchanged and not read again" if n_known and self.n_read else ""
        return f"built: {self.output} in {self.seconds:.1f} s, {rate:,.0f} images/s{again}"

    def _ratio_lines(self) -> list[str]:
        """Of every split that was asked for as a share: what was asked and what was reached, for all and by class."""
        if not self.asked or not self.per_split:
            return []
        total = sum(n for split, n in self.per_split.items() if split != "unsup")
        told = [
            f"{split} asked {asked:.4g}, reached {self._share(self.per_split, split, total)}"
            for split, asked in self.asked.items()
        ]
        by_class = [
            f"  {label}: "
            + ", ".join(f"{split} {self._share(counts, split, sum(counts.values()))}" for split in self.asked)
            for label, counts in list(self.per_class.items())[:SHOWN_CLASSES]
        ]
        n_more = len(self.per_class) - SHOWN_CLASSES
        return [
            "; ".join(told),
            *by_class,
            *([f"  and {n_more:,} more classes: imagekit inspect shows all"] if n_more > 0 else []),
        ]

    @staticmethod
    def _share(counts: Mapping[str, int], split: str, total: int) -> str:
        n = sum(count for name, count in counts.items() if name == split or (split == "valid" and is_valid(name)))
        return f"{n / total:.4f} ({n:,} of {total:,})"

    def _leak_lines(self) -> list[str]:
        if not self.leaks:
            return []
        n = len(self.leaks)
        head = "1 group of images stands" if n == 1 else f"{n:,} groups of images stand"
        return [
            f"{head} in more than one split ({_BECAME[self.leak_rule]}):",
            *(f"  {leak.line()}" for leak in self.leaks[:SHOWN_LEAKS]),
            *([f"  and {n - SHOWN_LEAKS:,} more: --json lists all"] if n > SHOWN_LEAKS else []),
        ]

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "state": self.state,
            "root": str(self.root),
            "output": str(self.output),
            "counts": self.outcomes.to_dict(),
            "per_split": dict(self.per_split),
            "n_classes": self.n_classes,
            "asked": dict(self.asked),
            "per_class": {label: dict(counts) for label, counts in self.per_class.items()},
            "quarantine": [bad.to_dict() for bad in self.bad_files],
            "leaks": [[list(member) for member in leak.members] for leak in self.leaks],
            "leak_rule": self.leak_rule,
            "remarks": list(self.remarks),
            "n_read": self.n_read,
            "seconds": round(self.seconds, 3),
        }

    def to_notes(self) -> dict[str, Any]:
        """What the state keeps, so that a run that finds nothing to do can tell the same."""
        told = self.to_dict()
        return {name: told.get(name, getattr(self, name)) for name in _NOTED} | {
            "counts": told["counts"],
            "quarantine": told["quarantine"],
            "leaks": told["leaks"],
        }

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any], *, root: Path, output: Path) -> ManifestReport:
        """The report of the run that left these notes."""
        kept: dict[str, Any] = {name: tuple(notes[name]) if name == "remarks" else notes[name] for name in _NOTED}
        return cls(
            state="built",
            root=root,
            output=output,
            outcomes=Outcomes(**notes["counts"]),
            bad_files=tuple(BadFile(**bad) for bad in notes["quarantine"]),
            leaks=tuple(Leak(members=tuple((split, name) for split, name in leak)) for leak in notes["leaks"]),
            **kept,
        )
