"""From the name of a file to its label.

`parent`: the folder that the file lies in. `folder:N`: the N-th folder from the top. `name:REGEX`: what the group
called `label`, or the only group, matches in the file name, searched without its folders.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from imagekit.errors import LabelError, did_you_mean
from imagekit.rules.patterns import parse_pattern, search_name

_SPECS = ("parent", "folder:N", "name:REGEX", "table:FILE[:PATH:LABEL]")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRule:
    """Where a name holds its label: in the folder at `level` (1 is the first, 0 the parent), or where `pattern` finds
    it in the file name.
    """

    level: int = 0
    pattern: re.Pattern[str] | None = None


def parent_labeler(file_name: str | PurePath) -> str:
    """The folder that the file lies in: "train/n01440764/1.JPEG" -> "n01440764".

    Raises LabelError for a file with no folder. Source: lesson 11 of fast.ai's 2019 course.
    """
    folder = str(file_name).rpartition("/")[0]
    if not folder:
        raise LabelError(
            f"{file_name} lies directly in the root, so no folder gives its label",
            where="--label parent",
            fix="move it into the folder of its class, or out of the root",
        )
    return folder.rpartition("/")[2]


def parse_label_rule(spec: str) -> LabelRule:
    """Read `parent`, `folder:N` or `name:REGEX`. Raises LabelError for anything else."""
    kind, colon, rest = spec.partition(":")
    if spec == "parent":
        return LabelRule()
    if kind == "folder" and colon:
        return LabelRule(level=_parse_level(spec, rest))
    if kind == "name" and colon:
        return LabelRule(pattern=_parse_pattern(spec, rest))
    raise LabelError(f'the label rule "{spec}" is not known', where="--label", fix=did_you_mean(spec, _SPECS))


def find_label(file: str, pattern: re.Pattern[str]) -> str | None:
    """What the pattern's group finds in a file name without folders; None where nothing is found, or only ""."""
    return search_name(pattern, file, "label")


def _parse_level(spec: str, text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise LabelError(
            f'the label rule "{spec}" must be folder:N with N from 1, counted from the top',
            where="--label",
            fix="write folder:2 for train/<class>/images/1.jpg",
        )
    return int(text)


def _parse_pattern(spec: str, text: str) -> re.Pattern[str]:
    fix = r"write name:^(.+)_\d+ for tench_12.jpg, or call the group that counts (?P<label>...)"
    what = f'the label rule "{spec}"'
    return parse_pattern(text, group="label", what=what, where="--label", fix=fix, error_class=LabelError)
