"""From the name of a file to its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imagekit.errors import LabelError, did_you_mean

Labeler = Callable[[Sequence[str]], list[str | None]]


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


def make_labeler(spec: str) -> Labeler:
    """The labeler that `--label` names: file names in, labels out, in the same order.

    Raises LabelError for a spelling that is not known; the labeler itself raises what `parent_labeler` raises.
    """
    if spec != "parent":
        raise LabelError(f'the label rule "{spec}" is not known', where="--label", fix=did_you_mean(spec, ("parent",)))
    return _parent_labels


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
