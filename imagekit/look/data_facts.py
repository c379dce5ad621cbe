"""What a run was trained on, as its data.json says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imagekit.look.settings import flatten
from imagekit.look.wording import count_text

ORDER = ("manifest", "rows_sha256", "recipe", "label_rule", "split_rule", "target_column", "fold", "weights")
ROLES = {"train_split": "trained on", "valid_split": "validated on"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitCounts:
    """Images of one split, in all and of each class by its id; `role`: what the run did with them, "" for nothing."""

    split: str
    role: str
    n_images: int
    classes: Mapping[str, int]

    def row(self) -> dict[str, str]:
        """A line of the table, as text."""
        sizes = [n for n in self.classes.values() if n]
        return {
            "split": self.split,
            "role": self.role,
            "images": count_text(self.n_images),
            "classes": count_text(len(sizes)),
            "fewest": count_text(min(sizes, default=None)),
            "most": count_text(max(sizes, default=None)),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFacts:
    """`facts`: dotted key and value; `splits`: the counts, none where they are not known.

    manifest, rows_sha256: the path that the run had it from and the digest of its rows; None where that is not told.
    """

    facts: tuple[tuple[str, str], ...]
    splits: tuple[SplitCounts, ...] = field(default=())
    manifest: str | None = None
    rows_sha256: str | None = None

    def n_train_images(self, class_id: str) -> int | None:
        """Images of the class in the split that was trained on; None where that is not known."""
        trained = (split for split in self.splits if split.role == ROLES["train_split"])
        return next((split.classes.get(class_id) for split in trained), None)


def parse_data(value: Mapping[str, Any]) -> DataFacts:
    """The facts in data.json. Raises ValueError, TypeError, LookupError or AttributeError where it is damaged."""
    roles = {str(value.get(key)): role for key, role in reversed(ROLES.items())}
    splits = tuple(
        SplitCounts(
            split=split,
            role=roles.get(split, ""),
            n_images=_count(counts["images"]),
            classes={key: _count(n) for key, n in (counts.get("classes") or {}).items()},
        )
        for split, counts in value["counts"].items()
    )
    others = {key: _readable(item) for key, item in value.items() if key not in ("counts", *ROLES)}
    in_order = {key: others[key] for key in (*(key for key in ORDER if key in others), *others)}
    manifest, digest = (_text(value.get(key)) for key in ("manifest", "rows_sha256"))
    return DataFacts(facts=tuple(flatten(in_order)), splits=splits, manifest=manifest, rows_sha256=digest)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is no count")
    return value


def _readable(value: object) -> object:
    """Mean and std with four digits, three channels in one line."""
    if isinstance(value, list) and value and all(isinstance(item, float) for item in value):
        return ", ".join(f"{item:.4f}" for item in value)
    return value
