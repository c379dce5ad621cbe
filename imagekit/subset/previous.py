"""An earlier build of the same subset: what of it still holds, and what has to be made again.

Everything here is a cache, believed only where it fits the receipt: without it everything is made again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagekit.errors import ImageError
from imagekit.files.hashes import sha256_file
from imagekit.files.names import display_name, to_path
from imagekit.files.stamps import ABSENT, SETTLED_NS, number_at, stat_all
from imagekit.subset.facts import LINK, FactTable
from imagekit.subset.layout import FILES, FOLDER, QUARANTINE, STATE, UNLABELLED
from imagekit.subset.plan import BATCH_ROWS, Plan
from imagekit.subset.receipt import IMAGE_FIELDS, STATE_SCHEMA, UNLABELLED_SCHEMA, Receipt
from imagekit.subset.records import HIDDEN_LINK

# an image is refused for them by the plan, whatever is in it
NAME_REASONS = ("path-collision", "path-escape", "path-too-long")

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamped:
    """Rows of today's source: number and size of each file as it is now, and where the earlier build has it (-1)."""

    numbers: npt.NDArray[np.uint64]
    sizes: Ints
    at: Ints
    is_unchanged: Mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone:
    """Files that an earlier build took and that are no longer there; the first three of their raw names."""

    names: tuple[bytes, ...]
    n_files: int
    n_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Previous:
    """The records of an earlier build. state: STATE_SCHEMA, a row a row of files.parquet."""

    output: Path
    receipt: Receipt
    state: pa.Table
    built_ns: int

    @property
    def names(self) -> pa.LargeBinaryArray:
        """Every file that the earlier build found, as raw names in order."""
        return self.state["name"].combine_chunks()

    def plan_digest(self) -> str:
        """The digest of the plan that was built."""
        return self._note(b"plan")

    def seconds_per_image(self) -> float | None:
        """How long an image took one worker, where it was noted."""
        return float(self._note(b"seconds_per_image") or 0) or None

    def gone(self, names: pa.LargeBinaryArray) -> Gone:
        """What the earlier build took and `names` no longer holds."""
        table = pq.read_table(self.output / FOLDER / FILES, columns=["outcome", "size_bytes"])
        taken = pc.equal(table["outcome"].cast(pa.string()), "selected").combine_chunks()
        is_gone = pc.and_(taken, pc.invert(pc.is_in(self.names, value_set=names)))
        return Gone(
            names=tuple(self.names.filter(is_gone).slice(0, 3).to_pylist()),
            n_files=pc.sum(is_gone).as_py() or 0,
            n_bytes=pc.sum(table["size_bytes"].combine_chunks().filter(is_gone)).as_py() or 0,
        )

    def stamped(self, source: Path, names: pa.LargeBinaryArray, rows: Ints) -> Stamped:
        """Compare `rows` of today's names with what was read then. One system call a file."""
        wanted = names.take(pa.array(rows))
        at = np.asarray(pc.index_in(wanted, value_set=self.names).fill_null(-1)).astype(np.int64)
        numbers, sizes, mtimes = stat_all(source, wanted)
        then = np.asarray(self.state["stamp"].combine_chunks().fill_null(ABSENT))
        known = np.where(at >= 0, then[np.maximum(at, 0)] if len(then) else 0, ABSENT)
        settled = self.built_ns - mtimes > SETTLED_NS
        return Stamped(
            numbers=numbers,
            sizes=sizes,
            at=at,
            is_unchanged=(known != ABSENT) & (known == numbers) & settled,
        )

    def load(self, facts: FactTable, positions: Ints, at: Ints) -> None:
        """Put what files.parquet has about its rows `at` into `facts`, at `positions`."""
        if not len(at):
            return
        columns = ["file_name", "outcome", "reason", *(name for name, _ in IMAGE_FIELDS)]
        table = pq.read_table(self.output / FOLDER / FILES, columns=columns).take(pa.array(at))
        reasons = _reasons_of_images(table)
        facts.put_columns(positions, "reason", reasons)
        for name in columns[3:]:
            facts.put_columns(positions, name, _whole(table[name]))
        taken = self.state.take(pa.array(at))
        for name in ("stamp", "out_stamp", LINK):
            facts.put_columns(positions, name, _whole(taken[name]))
        self._load_details(facts, positions, _whole(table["file_name"]), reasons)

    def load_unlabelled(self, facts: FactTable, positions: Ints, out_names: list[bytes]) -> Mask:
        """As `load`, for anonymous images by the names that they were given; returns which are there."""
        path = self.output / FOLDER / UNLABELLED
        table = pq.read_table(path) if path.exists() else UNLABELLED_SCHEMA.empty_table()
        shown = pa.array([display_name(name) for name in out_names], pa.string())
        at = np.asarray(pc.index_in(shown, value_set=_whole(table["out_name"])).fill_null(-1)).astype(np.int64)
        found: Mask = at >= 0
        taken = table.take(pa.array(at[found]))
        for name, _ in IMAGE_FIELDS:
            facts.put_columns(positions[found], name, _whole(taken[name]))
        link = self._note(HIDDEN_LINK.encode()) or None
        links = pc.if_else(_whole(taken["kept"]), pa.scalar(link, pa.string()), pa.scalar(None, pa.string()))
        facts.put_columns(positions[found], LINK, links)
        return found

    def out_names(self, at: Ints) -> pa.LargeBinaryArray:
        """What the rows `at` became, as raw names; null where nothing was written or nobody may know."""
        return _whole(self.state["out_name"].take(pa.array(at)))

    def _note(self, key: bytes) -> str:
        return ((self.state.schema.metadata or {}).get(key) or b"").decode()

    def _load_details(self, facts: FactTable, positions: Ints, names: pa.Array, reasons: pa.Array) -> None:
        bad = np.flatnonzero(np.asarray(reasons.is_valid()))
        if not len(bad):
            return
        lines = (self.output / FOLDER / QUARANTINE).read_text(encoding="utf-8").split("\n")
        details = {noted["file_name"]: noted["detail"] for noted in map(json.loads, filter(None, lines))}
        for i in bad.tolist():
            facts.put(int(positions[i]), {"detail": details.get(names[i].as_py(), "")})


def read_previous(output: Path, receipt: Receipt) -> Previous | None:
    """The records of the subset at `output`; None where they are missing, damaged or do not fit its receipt."""
    folder = output / FOLDER
    try:
        state = pq.read_table(folder / STATE)
        built_ns = (folder / STATE).stat().st_mtime_ns
        noted = state.schema.metadata or {}
        fits = (
            state.schema.equals(STATE_SCHEMA)
            and sha256_file(folder / FILES).hex() == receipt.files_sha256
            and noted.get(b"files") == receipt.files_sha256.encode()
            and noted.get(b"quarantine") == sha256_file(folder / QUARANTINE).hex().encode()
            and pq.read_metadata(folder / FILES).num_rows == len(state)
            and _digest_of(folder / UNLABELLED) == receipt.unlabelled_sha256
        )
    except (OSError, ImageError, pa.ArrowException):
        return None
    return Previous(output=output, receipt=receipt, state=state, built_ns=built_ns) if fits else None


class OldNames(Mapping[int, bytes]):
    """Raw names by position, held as Arrow: a million of them cost their bytes. positions: ascending."""

    def __init__(self, positions: Ints, names: pa.LargeBinaryArray) -> None:
        self._positions = positions
        self._names = names

    def __getitem__(self, position: int) -> bytes:
        at = int(np.searchsorted(self._positions, position))
        if at == len(self._positions) or self._positions[at] != position:
            raise KeyError(position)
        name: bytes = self._names[at].as_py()
        return name

    def __iter__(self) -> Iterator[int]:
        return map(int, self._positions)

    def __len__(self) -> int:
        return len(self._positions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What an earlier build is worth for a plan; masks and numbers over plan.rows().

    kept: facts are loaded and an output, if there is one, is as it was written. old_names: where the kept outputs lie,
    by position; what was quarantined has none. sizes: of the sources as they are now.
    """

    kept: Mask
    is_new: Mask
    sizes: Ints
    old_names: OldNames

    @property
    def is_changed(self) -> Mask:
        """Neither new nor kept."""
        result: Mask = ~self.kept & ~self.is_new
        return result


def compare(
    previous: Previous, plan: Plan, facts: FactTable, *, source: Path, retry: Collection[str] = ()
) -> Comparison:
    """Find what of the earlier build still holds for the plan, and put its facts into `facts`.

    retry: reasons; what was quarantined for one of them is looked at again.
    """
    rows = plan.rows()
    now = previous.stamped(source, plan.names, rows)
    hidden = plan.is_anonymous(rows)
    candidates = np.flatnonzero(now.is_unchanged & ~hidden)
    loaded = FactTable(len(rows))
    previous.load(loaded, candidates, now.at[candidates])
    kept = _check_outputs(previous, loaded, candidates, now.at)
    kept |= _keep_unlabelled(previous, plan, loaded, np.flatnonzero(now.is_unchanged & hidden), now)
    codes, words = loaded.words("reason")
    again = [code for code, word in enumerate(words) if word in retry]
    kept &= ~np.isin(codes, again)
    facts.take_over(loaded, kept)
    return Comparison(
        kept=kept,
        is_new=now.at < 0,
        sizes=now.sizes,
        old_names=_old_names(previous, plan, now.at, hidden, np.flatnonzero(kept & ~loaded.is_bad)),
    )


def _old_names(previous: Previous, plan: Plan, at: Ints, hidden: Mask, positions: Ints) -> OldNames:
    """Where the outputs of these positions lie: an anonymous one where its source's name is to go today."""
    shown, own = positions[~hidden[positions]], positions[hidden[positions]]
    given = pa.array((job.out_name for job in plan.jobs(plan.rows()[own])), pa.large_binary())
    names = pa.concat_arrays([previous.out_names(at[shown]), given])
    return OldNames(positions, names.take(pa.array(np.argsort(np.concatenate([shown, own])))))


def _check_outputs(previous: Previous, loaded: FactTable, candidates: Ints, at: Ints) -> Mask:
    """Which candidates are as they were written, or were quarantined and stay so."""
    kept = np.zeros(len(loaded), np.bool_)
    bad = loaded.is_bad
    written = loaded.numbers("out_stamp")
    for start in range(0, len(candidates), BATCH_ROWS):
        batch = candidates[start : start + BATCH_ROWS]
        for i, name in zip(batch.tolist(), previous.out_names(at[batch]).to_pylist(), strict=True):
            is_there = name is not None and written[i] != ABSENT
            kept[i] = bad[i] or (is_there and number_at(previous.output, name)[0] == written[i])
    return kept


def _keep_unlabelled(previous: Previous, plan: Plan, loaded: FactTable, positions: Ints, now: Stamped) -> Mask:
    """The same for anonymous images: by the name that a source gets, and by the sha256 of what lies there."""
    kept = np.zeros(len(loaded), np.bool_)
    if not len(positions):
        return kept
    out_names = [job.out_name for job in plan.jobs(plan.rows()[positions])]
    found = previous.load_unlabelled(loaded, positions, out_names)
    for i, name, is_there in zip(positions.tolist(), out_names, found.tolist(), strict=True):
        if is_there and _holds(previous.output, name, loaded, i):
            kept[i] = True
            loaded.put(i, {"stamp": int(now.numbers[i])})
    return kept


def _holds(output: Path, name: bytes, loaded: FactTable, i: int) -> bool:
    """Whether a file has the bytes that were written. No stamp of it is kept: it is read, if its size is right."""
    if number_at(output, name)[2] != loaded.numbers("out_size_bytes")[i]:
        return False
    try:
        return sha256_file(to_path(output, name)) == loaded.digest("out_sha256", i)
    except (ImageError, OSError):
        return False  # made again, which tells what is wrong there


def _reasons_of_images(table: pa.Table) -> pa.Array:
    """Why images could not be used; null for what a rule or its name left out: that may be wanted today."""
    reasons = _whole(table["reason"].cast(pa.string()))
    is_bad = pc.equal(_whole(table["outcome"].cast(pa.string())), "quarantined")
    by_name = pc.is_in(reasons, value_set=pa.array(NAME_REASONS))
    return pc.if_else(pc.and_(is_bad, pc.invert(by_name)), reasons, pa.scalar(None, pa.string()))


def _digest_of(path: Path) -> str | None:
    return sha256_file(path).hex() if path.exists() else None


def _whole(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
