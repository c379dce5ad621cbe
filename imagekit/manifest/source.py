"""The folder that a manifest lists: its images, and everything else in it but our own files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import SourceError
from imagekit.files.discover import Discovery, discover
from imagekit.files.names import display_name
from imagekit.rules.outcomes import UNQUARANTINED, BadFile, bad_others, unreadable_folders
from imagekit.rules.paths import PathParts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """What lies below a root. others, kinds: as in Discovery, without our own files."""

    root: Path
    discovery: Discovery
    others: pa.LargeBinaryArray
    kinds: pa.DictionaryArray

    def bad_files(self) -> list[BadFile]:
        """What is neither an image nor another plain file, and folders that could not be read."""
        is_bad = pc.invert(pc.is_in(self.kinds.cast(pa.string()), value_set=pa.array(UNQUARANTINED)))
        names, kinds = (column.filter(is_bad).to_pylist() for column in (self.others, self.kinds))
        pairs = zip(map(display_name, names), kinds, strict=True)
        return [*bad_others(pairs), *unreadable_folders(self.discovery.unreadable)]


def open_source(root: Path, *, ours: Sequence[Path]) -> Source:
    """List what lies below `root`. ours: files that count as nothing, so that a second run counts as the first did.

    Raises SourceError for a folder without images.
    """
    discovery = discover(root)
    if len(discovery) == 0:
        raise SourceError(
            "the folder holds no images", where=str(root), fix="point at the folder that make-subset built"
        )
    files = PathParts.of(discovery.others).files()
    named = pa.array([os.fsencode(path.name) for path in ours], pa.large_binary())
    alike = np.flatnonzero(np.asarray(pc.is_in(files, value_set=named)))
    # the folder is resolved, not the file: a link to our manifest is not our manifest
    places = {path.parent.resolve() / path.name for path in ours}
    is_ours = np.zeros(len(files), np.bool_)
    for row in alike.tolist():
        path = root / os.fsdecode(discovery.others[row].as_py())
        is_ours[row] = path.parent.resolve() / path.name in places
    theirs = pa.array(~is_ours)
    return Source(
        root=root,
        discovery=discovery,
        others=discovery.others.filter(theirs),
        kinds=discovery.other_kinds.filter(theirs),
    )
