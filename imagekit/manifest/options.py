"""What shapes the rows of a manifest, checked before any work starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagekit.errors import UsageError, did_you_mean
from imagekit.manifest.image import CHECKS
from imagekit.manifest.noise import noise_columns
from imagekit.manifest.processing import WORDS, parse_process
from imagekit.manifest.schema import COLUMNS, Metadata
from imagekit.rules.grouping import GroupRule, parse_group_rule
from imagekit.rules.split_rules import SplitRule, parse_split_rule

LEAKS = ("keep", "drop", "move")
LabelFunction = Callable[[str], str | None]
SplitFunction = Callable[[str], str | bool | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestOptions:
    """Where labels, splits and groups come from, how far a file is looked into, and what is fitted.

    label, split, group: rules as `--label`, `--split`, `--group` spell them; label and split may be functions of a file
    name (relative, POSIX) that return a label, or a split, True for valid and False for train, and None for an image to
    leave out. None stands for the rule of `like`, else for parent and folders; so with the seed, else 0. leaks: what
    becomes of groups that a given split tears apart; None for keep, and for drop under a hash. check: none, header or
    decode. other_below: the least number of train rows of a label that does not become `other`. columns: a table to
    join. process: `COLUMN:PROCESSOR`. noise: percentages.
    like: an older manifest whose splits and fitted state are kept.
    Raises UsageError, LabelError or SplitError for what cannot be.
    """

    label: str | LabelFunction | None = None
    split: str | SplitFunction | None = None
    group: str | None = None
    leaks: str | None = None
    check: str = "decode"
    seed: int | None = None
    other_below: int = 0
    columns: Path | None = None
    process: tuple[str, ...] = ()
    noise: tuple[float, ...] = ()
    like: Path | None = None

    def __post_init__(self) -> None:
        for key, known in (("check", CHECKS), ("leaks", (*LEAKS, None))):
            value = getattr(self, key)
            if value not in known:
                words = [word for word in known if word]
                raise UsageError(f'{key} is "{value}"', where=f"--{key}", fix=did_you_mean(str(value), words))
        if self.other_below < 0:
            raise UsageError(
                f"other_below is {self.other_below}, must be at least 0",
                where="--other-below",
                fix="give the least number of train images that a class of its own must have",
            )

    def settled(self, old: Metadata | None) -> ManifestOptions:
        """With the rules that were left open taken from an older manifest, or else their defaults."""
        label = self.label or (old.label_rule if old else "parent")
        split = self.split or (old.split_rule if old else "folders")
        group = self.group or (old.group_rule if old else None)
        seed = self.seed if self.seed is not None else (old.seed if old else 0)
        other_below = int(old.options.get("other_below", 0)) if old else self.other_below
        if self.other_below not in (0, other_below):
            raise UsageError(
                f"--other-below {self.other_below} would fit the classes anew, and --like keeps the older ones",
                where="--other-below",
                fix="leave it out, or leave --like out",
            )
        return replace(
            self, label=_spelled(label), split=_spelled(split), group=group, seed=seed, other_below=other_below
        )

    @property
    def seed_number(self) -> int:
        """The seed, 0 where none is given."""
        return self.seed or 0

    @property
    def split_rule(self) -> SplitRule:
        """The parsed `split`."""
        if callable(self.split):
            return SplitRule(kind="function")
        return parse_split_rule(self.split or "folders")

    @property
    def group_rule(self) -> GroupRule:
        """The parsed `group`."""
        return parse_group_rule(self.group or "similar")

    @property
    def leak_rule(self) -> str:
        """What becomes of leaks: as asked, else the default of the split."""
        return self.leaks or self.split_rule.default_leaks

    def check_rules(self) -> None:
        """Raise SplitError or LabelError, before any file is looked for, where a rule cannot be read."""
        rule, group = self.split_rule, self.group_rule
        noise_columns(self.noise)
        parse_process(self.process)
        if group.column is not None and self.columns is None:
            raise UsageError(
                f"--group column:{group.column} names a column, and no table of columns is joined",
                where="--group",
                fix="give the table, too: --columns meta.csv",
            )
        if self.noise and rule.kind == "kfold":
            raise UsageError(
                "noise is of train labels, and under kfold every image is valid once",
                where="--noise",
                fix="leave --noise out, or give another --split",
            )
        if self.like is not None and self.leaks == "move":
            raise UsageError(
                "--leaks move would move rows that --like keeps where they are",
                where="--leaks",
                fix="give --leaks drop or keep",
            )

    @property
    def has_own_code(self) -> bool:
        """Whether a function or a Processor of the user's is part of it."""
        is_own = any(rule.word not in WORDS for rule in parse_process(self.process))
        return callable(self.label) or callable(self.split) or is_own

    def own_columns(self) -> list[str]:
        """Names that a joined column cannot have."""
        return [*COLUMNS.names, "labels", "targets", *noise_columns(self.noise)]

    def rules(self) -> dict[str, Any]:
        """What the metadata holds in fields of their own."""
        hashed = isinstance(self.split, str) and self.split.startswith("hash:")
        return {
            "label_rule": rule_text(self.label),
            "split_rule": rule_text(self.split),
            "group_rule": self.group,
            "salt": str(self.seed_number) if hashed else "",
            "seed": self.seed_number,
            "check": self.check,
        }

    def more(self) -> dict[str, Any]:
        """What else was asked for, defaults left out; `like` and the tables that were read are not in it."""
        asked: dict[str, Any] = {
            "leaks": self.leaks,
            "other_below": self.other_below or None,
            "columns": self.columns.name if self.columns else None,
            "process": list(self.process) or None,
            "noise": list(self.noise) or None,
        }
        return {key: value for key, value in asked.items() if value is not None}

    def spelled(self) -> dict[str, Any]:
        """Every option that shapes the rows, but `like`, by its name on the command line, where it was given."""
        rules = self.rules()
        named = {key: rules[f"{key}_rule"] for key in ("label", "split", "group")}
        asked = named | {"seed": self.seed_number, "check": self.check} | self.more()
        return {key: value for key, value in asked.items() if value is not None}


def rule_text(rule: str | Callable[..., Any] | None) -> str:
    """A rule as the manifest records it; a function by its name."""
    if callable(rule):
        return f"function {getattr(rule, '__module__', '?')}.{getattr(rule, '__qualname__', type(rule).__name__)}"
    return rule or ""


def _spelled(rule: str | Callable[..., Any]) -> Any:
    if isinstance(rule, str) and rule.startswith("function "):
        raise UsageError(
            f"the older manifest was built with the {rule}, which no option can name",
            where="--like",
            fix="give a rule of your own, or pass the function again",
        )
    return rule
