"""Every preset on a page: what it is, what it reached, and the command that reaches it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from imagekit.training.presets import PRESETS, Preset

HEADINGS = ("PRESET", "MODEL", "EPOCHS", "SIZE", "ACCURACY", "SECONDS", "WHAT IT IS")


@dataclass(frozen=True, kw_only=True, slots=True)
class PresetList:
    """The presets by name: an Outcome."""

    presets: Mapping[str, Preset] = field(default_factory=lambda: PRESETS)
    exit_code: int = 0

    @property
    def next_command(self) -> str | None:
        """Every setting of one of them: the first."""
        return next((f"imagekit train --preset {name} --print-config" for name in self.presets), None)

    def summary(self) -> str:
        """A table with a row a preset, what the figures are of, and the commands."""
        table = _lined_up([HEADINGS, *(_row(name, preset) for name, preset in self.presets.items())])
        commands = [f"  {_command(name)}" for name in self.presets]
        return "\n".join(
            [*table, "", *self._measurements(), "the command of each, FILE being the manifest:", *commands]
        )

    def to_dict(self) -> dict[str, object]:
        """The same as plain types, with every setting that a preset makes."""
        return {"presets": {name: _facts(name, preset) for name, preset in self.presets.items()}}

    def _measurements(self) -> Iterator[str]:
        """A line for each data set and machine, with the presets that were measured on them."""
        places: dict[tuple[str, str], list[str]] = {}
        for name, preset in self.presets.items():
            if preset.measured is not None:
                places.setdefault((preset.measured.data, preset.measured.hardware), []).append(name)
        if places:
            yield "accuracy: of the last epoch, the mean over n seeds; seconds: of one training; -: not measured"
        for (data, hardware), names in places.items():
            yield f"on {data}, with {hardware}: {', '.join(names)}"


def _row(name: str, preset: Preset) -> tuple[str, ...]:
    settings, measured = preset.settings, preset.measured
    accuracy = "-" if measured is None else f"{measured.accuracy:.4f} (sd {measured.sd:.4f}, n {measured.n})"
    seconds = "-" if measured is None else f"{measured.seconds:.0f}"
    told = (str(settings[key]) for key in ("model", "epochs", "size"))
    return name, *told, accuracy, seconds, preset.title


def _facts(name: str, preset: Preset) -> dict[str, object]:
    return {
        "title": preset.title,
        "settings": dict(preset.settings),
        "measured": None if preset.measured is None else asdict(preset.measured),
        "command": _command(name),
    }


def _command(name: str) -> str:
    return f"imagekit train FILE -o RUN --preset {name}"


def _lined_up(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
