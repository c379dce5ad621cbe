"""What make-subset tells at the end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from imagekit.rules.outcomes import BadFile, Outcomes, group_by_reason
from imagekit.subset.layout import FOLDER, QUARANTINE

NO_SPLIT = "no split"  # a subset that keeps its source's lack of splits
LINK_WORDS = {"reflink": "reflinked", "hard": "hard-linked", "copy": "copied"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """Images that are new, changed and gone since the last build, with bytes of their sources and some names."""

    n_new: int = 0
    new_bytes: int = 0
    n_changed: int = 0
    changed_bytes: int = 0
    n_gone: int = 0
    gone_bytes: int = 0
    n_kept: int = 0
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A line each of new, changed and gone, those that there are, and how many stay."""
        rows = (
            ("new", self.n_new, self.new_bytes, self.new),
            ("changed", self.n_changed, self.changed_bytes, self.changed),
            ("gone", self.n_gone, self.gone_bytes, self.gone),
        )
        lines = [
            f"  {word} {n:,} ({size / 1e6:,.1f} MB): {', '.join(names)}{', ...' * (n > len(names))}"
            for word, n, size, names in rows
            if n
        ]
        return [*lines, f"  unchanged {self.n_kept:,}"] if self.n_kept else lines


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetReport:
    """The outcome of one make-subset: counts, faults, where it lies. `state`: built, up to date or planned.

    said: what was found out about the source. links: images whose bytes were kept, by how they got there. n_icc: images
    with a colour profile, which is not applied. n_made: images made by this command, not kept or resumed.
    changes: against what was there before; estimate_s: of a dry run.
    manifest_is_gone: the version that was replaced had a manifest in it. typed: after a dry run, the command line that
    builds what it planned, where there was one.
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
    said: tuple[str, ...] = ()
    links: Mapping[str, int] = field(default_factory=dict)
    n_icc: int = 0
    n_made: int = 0
    changes: Changes | None = None
    estimate_s: float | None = None
    typed: str | None = None

    @property
    def next_command(self) -> str:
        """What to type next."""
        output = shlex.quote(str(self.output))
        if self.state == "planned":
            size = "" if self.size == "full" else f" --size {self.size}"
            return self.typed or f"imagekit make-subset {self.recipe} SRC -o {output}{size}"
        split = " --split hash:0.2" if set(self.per_split) == {NO_SPLIT} else ""
        return f"imagekit manifest {output}{split}"

    def summary(self) -> str:
        """The report as text."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.per_split.items())
        lines = [
            *self.said,
            f"recipe {self.recipe}, size {self.size}: {self.n_classes} classes, {splits}",
            self.outcomes.line(),
            *(f"  excluded {count:,}: {rule}" for rule, count in self.outcomes.excluded.items()),
            *(f"  {line}" for line in group_by_reason(self.bad_files, listed_in=f"{FOLDER}/{QUARANTINE}")),
            *([] if self.state == "planned" else self._details()),
            *(self._planned() if self.state == "planned" else [self._written()]),
        ]
        if self.n_resumed:
            lines.append(f"resumed: {self.n_resumed:,} images had been finished by a run that was interrupted")
        if self.manifest_is_gone:
            lines.append("the manifest in it was of the old version and is gone: run imagekit manifest again")
        return "\n".join(lines)

    def _details(self) -> list[str]:
        kept = [f"{count:,} {LINK_WORDS[link]}" for link, count in sorted(self.links.items()) if count]
        too = "" if self.size == "full" else ", their metadata (EXIF, GPS) with them"
        lines = [f"bytes kept: {', '.join(kept)}{too}"] if kept else []
        if self.n_icc:
            noun = "image" if self.n_icc == 1 else "images"
            lines.append(f"{self.n_icc:,} {noun} with a colour profile (ICC), which is not applied")
        if self.changes is not None:
            lines += ["brought up to date:", *self.changes.lines()]
        return lines

    def _planned(self) -> list[str]:
        lines = []
        if self.changes is not None:
            lines += ["against what is there:" if self.changes.n_kept else "to make:", *self.changes.lines()]
        if self.estimate_s:
            lines.append(f"about {_duration(self.estimate_s)} of work")
        return [*lines, f"would write {self._n_to_write()} images to {self.output}; nothing was written"]

    def _n_to_write(self) -> str:
        if self.changes is None or not self.changes.n_kept:
            return f"{self.outcomes.selected:,}"
        return f"{self.changes.n_new + self.changes.n_changed:,} of {self.outcomes.selected:,}"

    def _written(self) -> str:
        rate = f", {self.n_made / self.seconds:,.0f} images/s" if self.n_made and self.seconds else ""
        return f"{self.state}: {self.output}, {self.size_bytes / 1e6:,.1f} MB in {self.seconds:.1f} s{rate}"

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
            "detected": list(self.said),
            "links": dict(self.links),
            "n_icc": self.n_icc,
            "n_made": self.n_made,
            "changes": None if self.changes is None else asdict(self.changes),
            "estimate_s": None if self.estimate_s is None else round(self.estimate_s, 1),
        }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0.1):.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
