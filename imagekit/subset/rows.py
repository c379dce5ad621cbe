"""Join a plan with what workers reported: rows of files.parquet, the quarantine, the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imagekit.files.names import display_name, is_plain
from imagekit.rules.outcomes import BadFile, Outcomes, bad_others, count_outcomes
from imagekit.subset.plan import RULES, SELECTED, Plan

# a link is left out by rule, unless it was asked for and then led astray
OTHER_OUTCOMES = {"not-image": "not-image", "symlink": "excluded"}


def bad_images_of(plan: Plan, built: Sequence[Mapping[str, Any]]) -> tuple[BadFile, ...]:
    """The images that could not be used, by their name or by their content."""
    bad = [*plan.bad_files]
    for chosen, facts in zip(plan.selected, built, strict=True):
        if "reason" in facts:
            bad.append(
                BadFile(
                    file_name=display_name(chosen.name),
                    reason=facts["reason"],
                    detail=facts["detail"],
                    size_bytes=facts.get("size_bytes"),
                    sha256=facts["sha256"].hex() if "sha256" in facts else None,
                    format=facts.get("format_in"),
                )
            )
    return tuple(bad)


def bad_files_of(plan: Plan, built: Sequence[Mapping[str, Any]], unreadable: Sequence[BadFile] = ()) -> list[BadFile]:
    """Everything for the quarantine list, sorted by name: images, special files, unreadable folders."""
    others = bad_others((display_name(name), kind) for name, kind in plan.others)
    return sorted([*bad_images_of(plan, built), *others, *unreadable], key=lambda bad: bad.file_name)


def outcomes_of(plan: Plan, built: Sequence[Mapping[str, Any]]) -> Outcomes:
    """Counts over every file found."""
    return count_outcomes(
        n_images=len(plan.names),
        n_selected=sum("reason" not in facts for facts in built),
        excluded={
            rule: int(np.count_nonzero(plan.verdicts == index)) for index, rule in enumerate(RULES) if index != SELECTED
        },
        bad_images=bad_images_of(plan, built),
        other_kinds=[kind for _, kind in plan.others],
    )


def file_rows(plan: Plan, built: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a source file, sorted by raw name."""
    rows: dict[bytes, dict[str, Any]] = {}
    for name, verdict in zip(plan.names.to_pylist(), plan.verdicts.tolist(), strict=True):
        if verdict != SELECTED:
            rows[name] = {"outcome": "excluded", "reason": RULES[verdict]}
    for name, kind in plan.others:
        rows[name] = {"outcome": OTHER_OUTCOMES.get(kind, "quarantined"), "reason": kind}
    for name, bad in zip(plan.bad_names, plan.bad_files, strict=True):
        rows[name] = {"outcome": "quarantined", "reason": bad.reason}
    for chosen, facts in zip(plan.selected, built, strict=True):
        placed = {"label": chosen.label, "split": chosen.split, **facts}
        if "reason" in facts:
            rows[chosen.name] = placed | {"outcome": "quarantined"}
        else:
            rows[chosen.name] = placed | {"outcome": "selected", "out_name": display_name(chosen.out_name)}
    return [
        {"file_name": display_name(name), "file_name_bytes": None if is_plain(name) else name} | rows[name]
        for name in sorted(rows)
    ]


def state_rows(plan: Plan, built: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a rerun compares to tell that nothing has changed."""
    keys = ("size_bytes", "mtime_ns", "inode", "out_size_bytes")
    return [
        {"name": chosen.name, "out_name": chosen.out_name} | {key: facts.get(key) for key in keys}
        for chosen, facts in zip(plan.selected, built, strict=True)
    ]
