"""From the name of a file to its label.

`parent`: the folder that the file lies in. `folder:N`: the N-th folder from the top. `name:REGEX`: what the group
called `label`, or the only group, matches in the file name, searched without its folders.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imagekit.errors import LabelError, did_you_mean

Labeler = Callable[[Sequence[str]], list[str | None]]

_SPECS = ("parent", "folder:N", "name:REGEX")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRule:
    """Where a name holds its label: in the folder at `level` (1 is the first, 0 the parent), or where `pattern` finds
    it in the file name.
    """

    level: int = 0
    pattern: re.Pattern[str] | None = None


def parent_labeler(file_name: str) -> str:
    """The folder that the file lies in: "train/n01440764/1.JPEG" -> "n01440764".

    file_name: relative, POSIX. Raises LabelError for a file with no folder.
    """
    folder, _, _ = file_name.rpartition("/")
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
    match = pattern.search(file)
    return (match["label" if "label" in pattern.groupindex else 1] or None) if match else None


def make_labeler(spec: str) -> Labeler:
    """The labeler that `--label` names: file names in, labels out, in the same order.

    Raises LabelError for a spelling that is not known; the labeler itself raises what `parent_labeler` raises, and
    LabelError for a name with too few folders or a file name that does not match.
    """
    rule = parse_label_rule(spec)
    if rule.pattern is not None:
        pattern = rule.pattern
        return lambda file_names: [_matched_label(name, pattern, spec) for name in file_names]
    if rule.level:
        return lambda file_names: [_folder_label(name, rule.level) for name in file_names]
    return _parent_labels


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
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError) as error:
        what = f'the label rule "{spec}" holds no regular expression: {error}'
        raise LabelError(what, where="--label", fix=fix) from None
    if "label" not in pattern.groupindex and pattern.groups != 1:
        raise LabelError(
            f'the label rule "{spec}" has {pattern.groups} groups and none is called label',
            where="--label",
            fix=fix,
        )
    return pattern


def _parent_labels(file_names: Sequence[str]) -> list[str | None]:
    label_of: dict[str, str] = {}  # once a folder: a million rows share a few thousand strings
    labels: list[str | None] = []
    for file_name in file_names:
        folder = file_name.rpartition("/")[0]
        label = label_of.get(folder)
        if label is None:
            label = label_of[folder] = parent_labeler(file_name)
        labels.append(label)
    return labels


def _folder_label(file_name: str, level: int) -> str:
    folders = file_name.split("/")[:-1]
    if len(folders) < level:
        n_folders = f"{len(folders)} folder" if len(folders) == 1 else f"{len(folders)} folders"
        raise LabelError(
            f"{file_name} lies {n_folders} deep, so no folder {level} gives its label",
            where=f"--label folder:{level}",
            fix="give the number of the folder that is the class, 1 being the first, or move the file",
        )
    return sys.intern(folders[level - 1])


def _matched_label(file_name: str, pattern: re.Pattern[str], spec: str) -> str:
    label = find_label(file_name.rpartition("/")[2], pattern)
    if label is None:
        raise LabelError(
            f"the name of {file_name} does not match, so nothing gives its label",
            where=f"--label {spec}",
            fix="widen the regular expression, which is searched in the file name without its folders",
        )
    return sys.intern(label)
