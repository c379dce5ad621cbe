"""Join a plan with what workers reported: the tables of a subset, its quarantine, its counts. Streamed, by columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.engine.facts import coded_array
from imagekit.files.atomic import atomic_file
from imagekit.files.names import display_name, is_plain
from imagekit.rules.outcomes import UNQUARANTINED, BadFile, Outcomes, bad_others, count_outcomes
from imagekit.subset.choose import QUARANTINED, RULES, SELECTED
from imagekit.subset.facts import LINK, FactTable
from imagekit.subset.plan import BATCH_ROWS, Plan
from imagekit.subset.receipt import FILES_SCHEMA, IMAGE_FIELDS, STATE_SCHEMA, UNLABELLED_SCHEMA
from imagekit.subset.survey import Survey

# a link is left out by rule, unless it was asked for and then led astray
OTHER_OUTCOMES = {"not-image": "not-image", "symlink": "excluded"}
OUTCOMES = ("selected", "excluded", "quarantined", "not-image")

# metadata of state.parquet: how hidden images whose bytes were kept got there. One word for all of them
HIDDEN_LINK = "hidden_link"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """A plan, the facts of its rows (by position in plan.rows()), and those of a survey."""

    plan: Plan
    facts: FactTable
    survey: Survey
    unreadable: Sequence[BadFile] = ()

    def bad_images(self) -> list[BadFile]:
        """The images that could not be used, by their name or by their content."""
        bad = list(self.plan.bad.values())
        rows = self.plan.rows()
        for i in np.flatnonzero(self.facts.is_bad).tolist():
            said = self.facts.get(i)
            bad.append(
                BadFile(
                    file_name=display_name(self.plan.names[int(rows[i])].as_py()),
                    reason=said["reason"],
                    detail=said.get("detail", ""),
                    size_bytes=said.get("size_bytes"),
                    sha256=said["sha256"].hex() if "sha256" in said else None,
                    format=said.get("format_in"),
                    decoder_said=said.get("decoder_said"),
                )
            )
        return bad

    def bad_files(self) -> list[BadFile]:
        """Everything for the quarantine list, sorted by name: images, special files, what could not be found."""
        others = bad_others(
            (display_name(self.plan.others[row].as_py()), kind)
            for row, kind in enumerate(self.plan.other_kinds.to_pylist())
            if kind not in UNQUARANTINED
        )
        listed = [*self.bad_images(), *others, *self.unreadable, *self.plan.problems]
        return sorted(listed, key=lambda bad: (bad.file_name, bad.reason))

    def outcomes(self) -> Outcomes:
        """Counts over every file found."""
        verdicts = np.bincount(self.plan.verdicts, minlength=len(RULES)).tolist()
        excluded = {rule: n for rule, n in zip(RULES, verdicts, strict=True) if n}
        excluded = {rule: n for rule, n in excluded.items() if rule not in ("selected", "quarantined")}
        return count_outcomes(
            n_images=len(self.plan.names),
            n_selected=len(self.facts) - int(self.facts.is_bad.sum()),
            excluded=excluded,
            bad_images=self.bad_images(),
            other_kinds=self.plan.other_kinds.to_pylist(),
        )

    def written(self) -> dict[str, int]:
        """Images written per folder of the subset (train/n01440764, say), sorted."""
        counts = self._per_place()
        folders: dict[str, int] = {}
        for place, n in zip(self.plan.places, counts, strict=True):
            if n:
                folder = display_name(place.folder)
                folders[folder] = folders.get(folder, 0) + n
        return dict(sorted(folders.items()))

    def per_split(self) -> dict[str, int]:
        """Images written per split, sorted."""
        splits: dict[str, int] = {}
        for place, n in zip(self.plan.places, self._per_place(), strict=True):
            if n:
                splits[place.split or "no split"] = splits.get(place.split or "no split", 0) + n
        return dict(sorted(splits.items()))

    def _per_place(self) -> list[int]:
        good = self.plan.rows()[~self.facts.is_bad]
        return [*map(int, np.bincount(self.plan.place_of[good], minlength=len(self.plan.places)))]

    def write_tables(self, folder: Path, names: tuple[str, str]) -> None:
        """Write the table of files and, where there are anonymous images, that of theirs, under these two names."""
        _write(folder / names[0], FILES_SCHEMA, map(self._file_rows, self._batches()))
        if any(place.is_anonymous for place in self.plan.places):
            _write(folder / names[1], UNLABELLED_SCHEMA, self._unlabelled())

    def write_state(self, path: Path, **metadata: str) -> None:
        """Write the rerun cache."""
        link = self._hidden_link()
        noted = metadata | ({HIDDEN_LINK: link} if link else {})
        _write(path, STATE_SCHEMA.with_metadata(noted), map(self._state_rows, self._batches()))

    def _batches(self) -> Iterator[tuple[pa.LargeBinaryArray, Ints]]:
        """Names of all files found, in order, and of each the row among the images, or -1 - the row among others."""
        names = pa.chunked_array([self.plan.names, self.plan.others], pa.large_binary())
        order = np.asarray(pa.compute.sort_indices(names)).astype(np.int64)
        rows = np.where(order < len(self.plan.names), order, len(self.plan.names) - 1 - order)
        for start in range(0, len(rows), BATCH_ROWS):
            batch = order[start : start + BATCH_ROWS]
            yield names.take(pa.array(batch)).combine_chunks(), rows[start : start + BATCH_ROWS]

    def _file_rows(self, batch: tuple[pa.LargeBinaryArray, Ints]) -> pa.Table:
        raw, rows = batch[0].to_pylist(), batch[1]
        at = self._positions(rows)
        is_shown = (at >= 0) & ~self._is_anonymous(at)
        is_good = (at >= 0) & self.facts.is_good[np.where(at >= 0, at, 0)] if len(self.facts) else at >= 0
        outcome, reason = self._verdicts(rows, at)
        columns: dict[str, pa.Array] = {
            "file_name": pa.array([display_name(name) for name in raw], pa.string()),
            "file_name_bytes": pa.array([None if is_plain(name) else name for name in raw], pa.binary()),
            "outcome": coded_array(outcome, OUTCOMES),
            "reason": reason,
            "out_name": self._out_names(at, is_shown & is_good, raw=False),
            **self._placed(rows, at),
        }
        surveyed = self._survey_positions(rows)
        for name, _ in IMAGE_FIELDS:
            built = self.facts.to_arrow(name, np.where(is_shown, at, -1))
            seen = self.survey.facts.to_arrow(name, np.where(at >= 0, -1, surveyed))
            columns[name] = _either(built, seen)
        return _table(columns, FILES_SCHEMA)

    def _state_rows(self, batch: tuple[pa.LargeBinaryArray, Ints]) -> pa.Table:
        at, surveyed = self._positions(batch[1]), self._survey_positions(batch[1])
        hidden = self._is_anonymous(at)
        shown = np.where(hidden, -1, at)
        is_good = (shown >= 0) & self.facts.is_good[np.where(at >= 0, at, 0)] if len(self.facts) else shown >= 0
        # a hard link has the stamp of its source: it would lead from the image to the folder that tells the label.
        # Where any image is linked no hidden one has a stamp: which of them lack it would tell which kept their bytes
        stamped = np.where(hidden & self._has_hard_links(), -1, at)
        columns = {
            "name": batch[0],
            "stamp": _either(
                self.facts.to_arrow("stamp", stamped),
                self.survey.facts.to_arrow("stamp", np.where(at >= 0, -1, surveyed)),
            ),
            "out_name": self._out_names(at, is_good, raw=True),
            "out_stamp": self.facts.to_arrow("out_stamp", shown),
            "link": self.facts.to_arrow(LINK, shown),
        }
        return _table(columns, STATE_SCHEMA)

    def _unlabelled(self) -> Iterator[pa.Table]:
        """The anonymous images, sorted by the name that they were given."""
        rows = self.plan.rows()
        at = np.flatnonzero(self.plan.is_anonymous(rows) & self.facts.is_good)
        names = pa.array([job.out_name for job in self.plan.jobs(rows[at])], pa.binary())
        order = np.asarray(pa.compute.sort_indices(names)).astype(np.int64)
        for start in range(0, max(len(order), 1), BATCH_ROWS):
            batch = order[start : start + BATCH_ROWS]
            shown = [display_name(name) for name in names.take(pa.array(batch)).to_pylist()]
            columns = {"out_name": pa.array(shown, pa.string())}
            columns |= {name: self.facts.to_arrow(name, at[batch]) for name, _ in IMAGE_FIELDS}
            # the checksum of the source would lead from the source, whose folder tells the label, to the image
            columns["sha256"] = pa.nulls(len(batch), pa.binary(32))
            yield _table(columns, UNLABELLED_SCHEMA)

    def _positions(self, rows: Ints) -> Ints:
        return _positions_in(self.plan.rows(), rows)

    def _survey_positions(self, rows: Ints) -> Ints:
        return _positions_in(self.survey.rows, rows)

    def _is_anonymous(self, at: Ints) -> npt.NDArray[np.bool_]:
        planned = self.plan.rows()
        return (at >= 0) & self.plan.is_anonymous(planned)[np.where(at >= 0, at, 0)] if len(planned) else at >= 0

    def _has_hard_links(self) -> bool:
        """Whether any image is a second name of its source."""
        codes, words = self.facts.words(LINK)
        return "hard" in words and bool((codes == words.index("hard")).any())

    def _hidden_link(self) -> str | None:
        """How most of the anonymous images whose bytes were kept got there."""
        codes, words = self.facts.words(LINK)
        codes = codes[self.plan.is_anonymous(self.plan.rows()) & (codes >= 0)]
        counts = np.bincount(codes, minlength=len(words)).tolist()
        return min(words, key=lambda word: (-counts[words.index(word)], word)) if len(codes) else None

    def _verdicts(self, rows: Ints, at: Ints) -> tuple[npt.NDArray[np.int8], pa.Array]:
        """An index into OUTCOMES, and a reason where the outcome has one."""
        outcome = np.zeros(len(rows), np.int8)
        reasons: list[str | None] = [None] * len(rows)
        codes, words = self.facts.words("reason")
        for i, (row, position) in enumerate(zip(rows.tolist(), at.tolist(), strict=True)):
            if position >= 0:
                if codes[position] >= 0:
                    outcome[i], reasons[i] = OUTCOMES.index("quarantined"), words[codes[position]]
            elif row < 0:
                kind = self.plan.other_kinds[-1 - row].as_py()
                outcome[i], reasons[i] = OUTCOMES.index(OTHER_OUTCOMES.get(kind, "quarantined")), kind
            elif self.plan.verdicts[row] == QUARANTINED:
                outcome[i], reasons[i] = OUTCOMES.index("quarantined"), self.plan.bad[row].reason
            elif self.plan.verdicts[row] != SELECTED:
                outcome[i], reasons[i] = OUTCOMES.index("excluded"), RULES[self.plan.verdicts[row]]
        return outcome, pa.array(reasons, pa.string()).dictionary_encode()

    def _placed(self, rows: Ints, at: Ints) -> dict[str, pa.Array]:
        place = np.where(at >= 0, self.plan.place_of[np.where(rows >= 0, rows, 0)], -1) if len(self.plan.names) else at
        result = {}
        for key in ("split", "label"):
            words: list[str | None] = [getattr(one, key) for one in self.plan.places]
            known = sorted({word for word in words if word is not None})
            code_of = np.array([*(-1 if word is None else known.index(word) for word in words), -1], np.int32)
            result[key] = coded_array(code_of[place], known)
        return result

    def _out_names(self, at: Ints, mask: npt.NDArray[np.bool_], *, raw: bool) -> pa.Array:
        rows = self.plan.rows()[at[mask]]
        found = iter([job.out_name if raw else display_name(job.out_name) for job in self.plan.jobs(rows)])
        return pa.array(
            [next(found) if is_there else None for is_there in mask.tolist()], pa.large_binary() if raw else pa.string()
        )


def _positions_in(sorted_rows: Ints, rows: Ints) -> Ints:
    """Where each of `rows` stands in `sorted_rows`, -1 where it does not."""
    if not len(sorted_rows):
        return np.full(len(rows), -1, np.int64)
    at = np.minimum(np.searchsorted(sorted_rows, rows), len(sorted_rows) - 1)
    return np.where(sorted_rows[at] == rows, at, -1)


def _either(first: pa.Array, second: pa.Array) -> pa.Array:
    """The first, and where it is null the second."""
    if second.null_count == len(second):
        return first
    if first.null_count == len(first):
        return second
    plain = [one.cast(pa.string()) if pa.types.is_dictionary(one.type) else one for one in (first, second)]
    return pa.compute.coalesce(*plain)


def _table(columns: dict[str, pa.Array], schema: pa.Schema) -> pa.Table:
    return pa.table([_as(columns[field.name], field.type) for field in schema], schema=schema.remove_metadata())


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        if pa.types.is_dictionary(column.type):
            return column if column.type == kind else column.cast(kind)
        # sorted, so that equal content gives equal bytes
        texts = column.cast(pa.string())
        known = sorted(set(texts.drop_null().to_pylist()))
        indices = pa.compute.index_in(texts, value_set=pa.array(known, pa.string()))
        return pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), pa.array(known, pa.string()))
    return column if column.type == kind else column.cast(kind)


def _write(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """One zstd Parquet file, a row group a batch, atomically."""
    with atomic_file(path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=BATCH_ROWS)
