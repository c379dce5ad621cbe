"""Ask what only content can tell, before a picture is made: size, aspect, format, checksum; then the cap a class.

Only a recipe with such rules needs it: the candidates' headers are read in worker processes. What a rerun knows of a
file that has not changed is not read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.engine.pool import Done, Failed
from imagekit.files.discover import Discovery
from imagekit.files.names import display_name
from imagekit.recipes.recipe import Recipe
from imagekit.rules.choosing import (
    CONTENT_RULES,
    ContentRule,
    cap_groups,
    content_verdicts,
    match_paths,
    path_hashes,
    sha256_entries,
)
from imagekit.rules.outcomes import BadFile
from imagekit.subset.choose import OVER_CAP, RULES, Choice, not_there
from imagekit.subset.facts import FactTable
from imagekit.subset.plan import UNSUP, Aliases

Ints = npt.NDArray[np.int64]
RunItems = Callable[[Iterator[bytes]], Iterator[Done | Failed]]

ASKED = ("reason", "width_in", "height_in", "format_in", "size_bytes", "sha256")
DENIED = CONTENT_RULES.index("denied")


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What was found out about candidates: facts of `rows` (by position), and the rows that cannot be used."""

    rows: Ints
    facts: FactTable
    bad: dict[int, BadFile]

    def digest(self) -> str:
        """Equal when the same rows were looked into and gave what rules ask for, also those that were left out."""
        return hashlib.sha256(self.rows.tobytes() + self.facts.fingerprint(ASKED).encode()).hexdigest()


def no_survey() -> Survey:
    """What a recipe without rules about content finds out."""
    return Survey(rows=np.zeros(0, np.int64), facts=FactTable(0), bad={})


def survey(
    discovery: Discovery,
    choice: Choice,
    recipe: Recipe,
    *,
    facts: FactTable,
    run_items: RunItems,
) -> Survey:
    """Examine the rows that are taken so far and exclude those that a rule about content leaves out.

    facts: by position among those rows; what is done in it still holds, from an earlier build, and is not read again.
    """
    rows = choice.taken()
    examine_rows(discovery, rows, facts, run_items)
    _exclude_by_content(discovery.names, choice, recipe, rows, facts)
    return Survey(rows=rows, facts=facts, bad=_bad_rows(discovery, rows, facts))


def examine_rows(discovery: Discovery, rows: Ints, facts: FactTable, run_items: RunItems) -> None:
    """Put what files say of themselves into `facts`, by position among `rows`; those that are done are not read."""
    new = np.flatnonzero(~facts.is_done)
    names = (discovery.names[row].as_py() for row in rows[new].tolist())
    for result in run_items(names):
        failed = {"reason": result.reason, "detail": result.detail} if isinstance(result, Failed) else result.value
        facts.put(int(new[result.index]), failed)


def name_by_content(
    discovery: Discovery, choice: Choice, recipe: Recipe, run_items: RunItems
) -> tuple[Aliases, dict[int, BadFile]]:
    """New names for what a composite recipe sends to unsup, and which of it cannot be read.

    Every such file is read, in each build: that nothing is kept of it from one to the next keeps its label unknown.
    """
    sent = [index for index, part in enumerate(recipe.parts) if part.to == UNSUP]
    rows = choice.taken()
    rows = rows[np.isin(choice.parts[rows], sent)] if recipe.parts else rows[:0]
    facts = FactTable(len(rows))
    if len(rows):
        examine_rows(discovery, rows, facts, run_items)
    has = facts.has("sha256")
    digests = [facts.digest("sha256", i) for i in np.flatnonzero(has).tolist()]
    named = set(rows[has].tolist())
    bad = {row: bad for row, bad in _bad_rows(discovery, rows, facts).items() if row not in named}
    return Aliases.of(rows[has], digests), bad


def cap_classes(names: pa.LargeBinaryArray, choice: Choice, recipe: Recipe, *, bad: dict[int, BadFile]) -> None:
    """Keep at most `choose.per_class` usable images of a class in each split."""
    limit = recipe.choose.per_class
    if limit is None:
        return
    rows = choice.taken()
    rows = rows[~np.isin(rows, list(bad))]
    hashes = path_hashes(names.take(pa.array(rows)), seed=recipe.choose.seed)
    n_splits = len(choice.splits) + 1
    groups = choice.label_codes[rows] * n_splits + choice.split_codes[rows] + 1
    choice.verdicts[rows[~cap_groups(hashes, groups.astype(np.int32), limit)]] = OVER_CAP


def _exclude_by_content(
    names: pa.LargeBinaryArray, choice: Choice, recipe: Recipe, rows: Ints, facts: FactTable
) -> None:
    good = np.flatnonzero(facts.is_good)
    rule = recipe.choose
    included = match_paths(names.take(pa.array(rows[good])), rule.include).mask if rule.include else None
    codes, words = facts.words("format_in")
    # a MPO file is a JPEG with more pictures behind the first
    formats = [{"MPO": "jpeg"}.get(word, word.lower()) for word in words]
    verdicts = content_verdicts(
        widths=facts.numbers("width_in")[good],
        heights=facts.numbers("height_in")[good],
        formats=pa.array([formats[code] for code in codes[good].tolist()], pa.string()),
        sha256s=facts.to_arrow("sha256", good),
        rule=ContentRule(
            min_side=rule.min_side,
            max_aspect=rule.max_aspect,
            formats=rule.formats,
            deny=sha256_entries(rule.deny),
            include=sha256_entries(rule.include),
        ),
        included=included,
    )
    to_rule = np.array([RULES.index(word) if word in RULES else 0 for word in CONTENT_RULES], np.int8)
    choice.verdicts[rows[good]] = to_rule[verdicts]
    if sha256_entries(rule.include):  # a list of paths only was asked when names were
        left = np.setdiff1d(np.arange(len(rows)), good[verdicts == DENIED])
        unmatched = _unmatched(names.take(pa.array(rows[left])), facts, left, rule.include)
        shown = [display_name(entry.encode("utf-8", "surrogateescape")) for entry in unmatched]
        choice.problems += not_there(shown)


def _unmatched(names: pa.LargeBinaryArray, facts: FactTable, left: Ints, entries: Sequence[str]) -> list[str]:
    """The entries, paths or checksums, that none of the positions `left`, which have these names, has."""
    paths = set(match_paths(names, entries).unmatched)
    seen = facts.to_arrow("sha256", left)
    sums = sorted(sha256_entries(entries))
    is_seen = pc.is_in(pa.array(sums, pa.binary(32)), value_set=seen.cast(pa.binary(32))).to_pylist()
    gone = paths | {digest.hex() for digest, found in zip(sums, is_seen, strict=True) if not found}
    return [entry for entry in dict.fromkeys(entries) if entry in gone or entry.lower() in gone]


def _bad_rows(discovery: Discovery, rows: Ints, facts: FactTable) -> dict[int, BadFile]:
    found = {}
    for i in np.flatnonzero(facts.is_bad).tolist():
        said = facts.get(i)
        found[int(rows[i])] = BadFile(
            file_name=display_name(discovery.names[int(rows[i])].as_py()),
            reason=said["reason"],
            detail=said["detail"],
            size_bytes=said.get("size_bytes"),
            sha256=said["sha256"].hex() if "sha256" in said else None,
        )
    return found
