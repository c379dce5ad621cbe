"""What two manifests say of themselves, compared: classes first, for an id that moved changes what a model says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from imagekit.files.plain import plain
from imagekit.manifest.schema import ChannelStats, Metadata

SHOWN = 5
# told as they are; root is where the images lie, rows_sha256 follows from the rows
FIELDS = (
    "check", "label_rule", "split_rule", "salt", "seed", "group_rule", "label_columns", "sizes", "fold_stats",
    "format_version",
)  # fmt: skip
Change = tuple[Any, Any]  # was, is


@dataclass(frozen=True, kw_only=True, slots=True)
class MetadataDiff:
    """moved: (class, old id, new id); added, removed: (class, id). titles: class -> readable name, was and is.

    values: changed fields, options as "options.NAME", recipe as "recipe.KEY", counts as "counts.KEY": was and is.
    processors: "NAME of COLUMN" -> the keys of its state that changed, or "added" or "removed".
    """

    moved: tuple[tuple[str, int, int], ...]
    added: tuple[tuple[str, int], ...]
    removed: tuple[tuple[str, int], ...]
    titles: Mapping[str, Change]
    stats: tuple[ChannelStats | None, ChannelStats | None] | None
    values: Mapping[str, Change]
    processors: Mapping[str, tuple[str, ...]]

    @property
    def differs(self) -> bool:
        """Whether anything is not the same."""
        classes = self.moved or self.added or self.removed or self.titles
        return bool(classes or self.stats or self.values or self.processors)

    def class_lines(self) -> list[str]:
        """Classes as text: ids that moved before all else."""
        lines = []
        if self.moved:
            each = [f"{plain(name)} was {was}, is {now}" for name, was, now in self.moved]
            lines.append(f"{_count(self.moved, 'class id')} moved, a model of OLD names other classes: {_first(each)}")
        for word, classes in (("added", self.added), ("removed", self.removed)):
            if classes:
                each = [f"{plain(name)} ({index})" for name, index in classes]
                lines.append(f"{_count(classes, 'class')} {word}: {_first(each)}")
        if self.titles:
            each = [f"{plain(name)} was {plain(was)}, is {plain(now)}" for name, (was, now) in self.titles.items()]
            lines.append(f"{_count(self.titles, 'class name')} changed: {_first(each)}")
        return lines

    def lines(self) -> list[str]:
        """The rest as text."""
        lines = _stats_lines(*self.stats) if self.stats else []
        lines += [f"{plain(key)} was {_short(was)}, is {_short(now)}" for key, (was, now) in self.values.items()]
        for name, keys in self.processors.items():
            is_whole = keys in (("added",), ("removed",))
            lines.append(f"processor {plain(name)}: {', '.join(map(plain, keys))}{'' if is_whole else ' changed'}")
        return lines

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "vocab": {
                "moved": [{"class": name, "from": was, "to": now} for name, was, now in self.moved],
                "added": [{"class": name, "id": index} for name, index in self.added],
                "removed": [{"class": name, "id": index} for name, index in self.removed],
            },
            "class_names": _as_changes(self.titles),
            "stats": None if self.stats is None else _stats_dict(*self.stats),
            "metadata": _as_changes(self.values),
            "processors": {name: list(keys) for name, keys in self.processors.items()},
        }


def diff_metadata(old: Metadata, new: Metadata) -> MetadataDiff:
    """Compare everything but root and rows_sha256."""
    was = {name: index for index, name in enumerate(old.vocab)}
    now = {name: index for index, name in enumerate(new.vocab)}
    titles_old, titles_new = (dict(zip(one.vocab, one.class_names, strict=True)) for one in (old, new))
    stats = None if _is_same(_plain_stats(old.stats), _plain_stats(new.stats)) else (old.stats, new.stats)
    values = {key: (_field(old, key), _field(new, key)) for key in FIELDS}
    for name in ("options", "recipe", "counts"):
        values |= _by_key(name, getattr(old, name) or {}, getattr(new, name) or {})
    return MetadataDiff(
        moved=tuple((name, was[name], now[name]) for name in was if name in now and was[name] != now[name]),
        added=tuple((name, index) for name, index in now.items() if name not in was),
        removed=tuple((name, index) for name, index in was.items() if name not in now),
        titles=_changed({name: (titles_old[name], titles_new[name]) for name in titles_old if name in titles_new}),
        stats=stats,
        values=_changed(values),
        processors=_diff_processors(old.processors, new.processors),
    )


def _field(metadata: Metadata, key: str) -> Any:
    value = getattr(metadata, key)
    return [asdict(stats) for stats in value] if key == "fold_stats" else value


def _by_key(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    return {f"{name}.{key}": (old.get(key), new.get(key)) for key in sorted({*old, *new})}


def _changed(changes: Mapping[str, Change]) -> dict[str, Change]:
    return {key: change for key, change in changes.items() if not _is_same(*change)}


def _is_same(one: Any, other: Any) -> bool:
    """As JSON: a list equals a tuple, and what is not a number equals itself."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _diff_processors(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    was, now = ({f"{one['name']} of {one['column']}": one for one in each} for each in (old, new))
    result: dict[str, tuple[str, ...]] = {name: ("removed",) for name in was if name not in now}
    result |= {name: ("added",) for name in now if name not in was}
    for name in was:
        if name in now:
            outputs = _changed({"outputs": (was[name].get("outputs"), now[name].get("outputs"))})
            states = _changed(_by_key("state", was[name]["state"], now[name]["state"]))
            if outputs or states:
                result[name] = (*outputs, *(key.removeprefix("state.") for key in states))
    if not result and not _is_same(list(was), list(now)):
        return {"their order": ("order",)}
    return dict(sorted(result.items()))


def _plain_stats(stats: ChannelStats | None) -> Any:
    return None if stats is None else asdict(stats)


def _stats_lines(was: ChannelStats | None, now: ChannelStats | None) -> list[str]:
    if was is None or now is None:
        return [f"train statistics: {'none before' if was is None else 'none any more'}"]
    lines = []
    for name, one, other in (("mean", was.mean, now.mean), ("std", was.std, now.std)):
        if one != other:
            steps = " ".join(f"{b - a:+.4f}" for a, b in zip(one, other, strict=True))
            shown = [" ".join(f"{value:.4f}" for value in values) for values in (one, other)]
            lines.append(f"train {name} was {shown[0]}, is {shown[1]} ({steps})")
    if (was.n_images, was.n_pixels) != (now.n_images, now.n_pixels):
        images = f"{was.n_images:,} images of {was.n_pixels:,} pixels"
        lines.append(f"train statistics were of {images}, are of {now.n_images:,} images of {now.n_pixels:,} pixels")
    return lines


def _stats_dict(was: ChannelStats | None, now: ChannelStats | None) -> dict[str, object]:
    facts: dict[str, object] = {"from": _plain_stats(was), "to": _plain_stats(now)}
    if was and now:
        for name, one, other in (("mean", was.mean, now.mean), ("std", was.std, now.std)):
            facts[f"{name}_difference"] = [b - a for a, b in zip(one, other, strict=True)]
    return facts


def _as_changes(changes: Mapping[str, Change]) -> dict[str, object]:
    return {key: {"from": was, "to": now} for key, (was, now) in changes.items()}


def _count(items: Any, noun: str) -> str:
    many = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{len(items):,} {noun if len(items) == 1 else many}"


def _first(each: list[str]) -> str:
    return "; ".join(each[:SHOWN]) + ("; ..." if len(each) > SHOWN else "")


def _short(value: Any) -> str:
    return plain(value, max_signs=60)
