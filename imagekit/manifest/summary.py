"""What `manifest` tells at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.manifest.fit import Leak
from imagekit.rules.outcomes import BadFile, Outcomes, group_by_reason

SHOWN_LEAKS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestReport:
    """The outcome of one `manifest`: counts, faults, leaks, where it lies. `state`: built or planned."""

    state: str
    root: Path
    output: Path
    outcomes: Outcomes
    bad_files: tuple[BadFile, ...]
    leaks: tuple[Leak, ...]
    per_split: Mapping[str, int]
    n_classes: int
    seconds: float
    exit_code: int = 0

    @property
    def next_command(self) -> str:
        """What to type next."""
        return f"imagekit manifest {self.root}" if self.state == "planned" else f"imagekit train {self.output} -o RUN"

    def summary(self) -> str:
        """The report as text."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.per_split.items())
        quarantine = f"{self.output.name}.quarantine.jsonl"
        lines = [
            f"{self.n_classes} classes: {splits}",
            self.outcomes.line(),
            *(f"  {line}" for line in group_by_reason(self.bad_files, listed_in=quarantine)),
        ]
        if self.leaks:
            lines.append(f"{len(self.leaks)} pictures stand in more than one split (the rows are kept, exit code 3):")
            lines += [f"  {leak.line()}" for leak in self.leaks[:SHOWN_LEAKS]]
            lines += [f"  and {len(self.leaks) - SHOWN_LEAKS} more"] if len(self.leaks) > SHOWN_LEAKS else []
        if self.state == "planned":
            return "\n".join([*lines, f"would look at every image and write {self.output}; nothing was written"])
        rate = self.outcomes.selected / self.seconds if self.seconds else 0
        return "\n".join([*lines, f"built: {self.output} in {self.seconds:.1f} s, {rate:,.0f} images/s"])

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "state": self.state,
            "root": str(self.root),
            "output": str(self.output),
            "counts": self.outcomes.to_dict(),
            "per_split": dict(self.per_split),
            "n_classes": self.n_classes,
            "quarantine": [bad.to_dict() for bad in self.bad_files],
            "leaks": [[list(member) for member in leak.members] for leak in self.leaks],
            "seconds": round(self.seconds, 3),
        }
