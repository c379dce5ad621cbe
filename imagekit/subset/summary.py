"""What make-subset tells at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.rules.outcomes import BadFile, Outcomes, group_by_reason
from imagekit.subset.receipt import FOLDER, QUARANTINE


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetReport:
    """The outcome of one make-subset: counts, faults, where it lies. `state`: built, up to date or planned.

    manifest_is_gone: the version that was replaced had a manifest in it.
    """

    state: str
    recipe: str
    size: int | str
    output: Path
    outcomes: Outcomes
    bad_files: tuple[BadFile, ...]
    per_split: Mapping[str, int]
    n_classes: int
    size_bytes: int
    seconds: float
    exit_code: int = 0
    manifest_is_gone: bool = False
    n_resumed: int = 0

    @property
    def next_command(self) -> str:
        """What to type next."""
        if self.state == "planned":
            return f"imagekit make-subset {self.recipe} SRC -o {self.output}"
        return f"imagekit manifest {self.output}"

    def summary(self) -> str:
        """The report as text."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.per_split.items())
        lines = [
            f"recipe {self.recipe}, size {self.size}: {self.n_classes} classes, {splits}",
            self.outcomes.line(),
            *(f"  excluded {count:,}: {rule}" for rule, count in self.outcomes.excluded.items()),
            *(f"  {line}" for line in group_by_reason(self.bad_files, listed_in=f"{FOLDER}/{QUARANTINE}")),
        ]
        if self.state == "planned":
            lines.append(f"would write {self.outcomes.selected:,} images to {self.output}; nothing was written")
        else:
            rate = (
                f", {self.outcomes.selected / self.seconds:,.0f} images/s"
                if self.state == "built" and self.seconds
                else ""
            )
            lines.append(f"{self.state}: {self.output}, {self.size_bytes / 1e6:,.1f} MB in {self.seconds:.1f} s{rate}")
        if self.n_resumed:
            lines.append(f"resumed: {self.n_resumed:,} images had been finished by a run that was interrupted")
        if self.manifest_is_gone:
            lines.append("the manifest in it was of the old version and is gone: run imagekit manifest again")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "state": self.state,
            "recipe": self.recipe,
            "size": self.size,
            "output": str(self.output),
            "counts": self.outcomes.to_dict(),
            "per_split": dict(self.per_split),
            "n_classes": self.n_classes,
            "quarantine": [bad.to_dict() for bad in self.bad_files],
            "size_bytes": self.size_bytes,
            "n_resumed": self.n_resumed,
            "seconds": round(self.seconds, 3),
            "manifest_is_gone": self.manifest_is_gone,
        }
