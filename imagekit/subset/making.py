"""One build under way: what is planned and known, making the rest, publishing it in one step."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.engine.pool import Done, Failed
from imagekit.errors import DiskFullError, SourceError, TooManyBadError
from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full, publish_folder, staging_folder, sync_folder, sync_tree
from imagekit.files.hashes import sha256_file
from imagekit.files.jsonl import write_json_lines
from imagekit.files.link import can_reflink
from imagekit.files.names import display_name, to_path
from imagekit.files.stamps import ABSENT, SETTLED_NS, number_at, stat_all
from imagekit.recipes.recipe import Recipe
from imagekit.rules.outcomes import BadFile, group_by_reason
from imagekit.rules.tolerance import Tolerance, exit_code_for
from imagekit.subset import journal
from imagekit.subset.carry import carry_over
from imagekit.subset.facts import LINK, FactTable
from imagekit.subset.foreign import has_manifest, refuse_foreign_files
from imagekit.subset.layout import FILES, FOLDER, QUARANTINE, STATE, UNLABELLED
from imagekit.subset.options import SubsetOptions
from imagekit.subset.order import Progress
from imagekit.subset.plan import Plan
from imagekit.subset.previous import Comparison, Previous
from imagekit.subset.receipt import Receipt, write_receipt
from imagekit.subset.records import Records
from imagekit.subset.sources import Source
from imagekit.subset.summary import Changes, SubsetReport
from imagekit.subset.survey import Survey

SAMPLED_IMAGES = 32  # tried by a dry run to tell how long the rest will take
TIMED_IMAGES = 30  # fewer tell no pace
SHOWN_NAMES = 3

Ints = npt.NDArray[np.int64]


RunItems = Callable[[Iterator[tuple[bytes, bytes]]], Iterator[Done | Failed]]


@dataclass(kw_only=True, slots=True)
class Making:
    """A plan, what is known of its rows so far (by position in plan.rows()), and where it shall go."""

    found: Source
    recipe: Recipe
    plan: Plan
    facts: FactTable
    survey: Survey
    output: Path
    options: SubsetOptions
    begun: float
    n_workers: int
    previous: Previous | None
    comparison: Comparison | None
    unreadable: tuple[BadFile, ...]
    seconds_per_image: float | None = None
    n_made: int = 0

    @property
    def records(self) -> Records:
        """The plan joined with what is known."""
        return Records(plan=self.plan, facts=self.facts, survey=self.survey, unreadable=self.unreadable)

    def identity(self) -> dict[str, Any]:
        """What decides whether an existing output is the one asked for."""
        return {"recipe_sha256": self.recipe.sha256(), "options": self.options.to_dict()}

    def is_up_to_date(self) -> bool:
        """Whether the earlier build is what this one would end in."""
        return (
            self.previous is not None
            and self.comparison is not None
            and bool(self.comparison.kept.all())
            and self.previous.plan_digest() == self._digest()
        )

    def run(self, run_items: RunItems, *, max_bad: Tolerance | None, progress: Progress | None) -> SubsetReport:
        """Build aside and publish at the end. Whatever stops it, the old output stays, and the next run resumes."""
        staging, takes_manifest = staging_folder(self.output), has_manifest(self.output)
        identity = self._journal_identity()
        resumes = journal.is_of(staging, identity=identity)
        if not resumes:
            shutil.rmtree(staging, ignore_errors=True)  # left by a build of something else
        self._make_folders(staging)
        journal.clear_records(staging)
        self._carry_over(staging)
        n_resumed = journal.read_finished(staging, self.found.root, self.plan, self.facts) if resumes else 0
        self._require_space(staging)
        self._make(staging, identity, run_items, progress=progress)
        report = self.report(state="built")
        code = self._exit_code(report, max_bad)  # where it refuses, what was made stays aside for a more patient run
        self._publish(staging)
        seconds = time.monotonic() - self.begun
        return replace(report, exit_code=code, seconds=seconds, manifest_is_gone=takes_manifest, n_resumed=n_resumed)

    def report_planned(self, seconds: float | None) -> SubsetReport:
        """The report of a dry run: what would be made anew, and about how long that takes."""
        sizes = self._sizes()
        changes = self.changes(sizes)
        self.facts = FactTable(len(self.facts))  # of a plan, not of what is there
        report = self.report(state="planned")
        return replace(report, changes=changes, size_bytes=int(sizes.sum()), estimate_s=seconds)

    def report_again(self, max_bad: Tolerance | None) -> SubsetReport:
        """The report of an output that is up to date already, read back from its own records."""
        report = self.report(state="up to date")
        return replace(report, exit_code=self._exit_code(report, max_bad))

    def changes(self, sizes: Ints) -> Changes:
        """What is new, changed and gone since the earlier build. sizes: of the selected sources, in bytes."""
        if self.comparison is None or self.previous is None:
            everything = np.arange(len(self.facts))
            return Changes(new=self._names(everything), n_new=len(everything), new_bytes=int(sizes.sum()))
        new, changed = np.flatnonzero(self.comparison.is_new), np.flatnonzero(self.comparison.is_changed)
        gone = self.previous.gone(self.plan.names.take(self.plan.rows()))
        return Changes(
            new=self._names(new),
            n_new=len(new),
            new_bytes=int(sizes[new].sum()),
            changed=self._names(changed),
            n_changed=len(changed),
            changed_bytes=int(sizes[changed].sum()),
            gone=tuple(map(display_name, gone.names[:SHOWN_NAMES])),
            n_gone=gone.n_files,
            gone_bytes=gone.n_bytes,
            n_kept=int(self.comparison.kept.sum()),
        )

    def report(self, *, state: str) -> SubsetReport:
        """What became of every file; for a dry run nothing is built and nothing quarantined but by name."""
        records = self.records
        return SubsetReport(
            state=state,
            recipe=self.recipe.name,
            size=self.options.size,
            output=self.output,
            outcomes=records.outcomes(),
            bad_files=tuple(records.bad_files()),
            per_split=records.per_split(),
            n_classes=len({place.label for place in self.plan.places if place.label is not None}),
            size_bytes=int(self.facts.numbers("out_size_bytes").sum()),
            seconds=time.monotonic() - self.begun,
            said=self.found.said,
            links=self._links(),
            n_icc=int(self.facts.numbers("icc").sum()),
            n_made=self.n_made,
            changes=None if self.comparison is None or state != "built" else self.changes(self.comparison.sizes),
        )

    def _digest(self) -> str:
        """Equal when plan, what was asked of content, the tables and the folders nobody can read are the same."""
        parts = [self.plan.digest(), self.survey.digest(), self.found.read_as(), *map(repr, self.unreadable)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _journal_identity(self) -> str:
        parts = [self._digest(), self.identity(), versions()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _make_folders(self, staging: Path) -> None:
        with explain_disk_full(staging):
            (staging / FOLDER).mkdir(parents=True, exist_ok=True)
            for folder in sorted({place.folder for place in self.plan.places}):
                (to_path(staging, folder) if folder else staging).mkdir(parents=True, exist_ok=True)

    def _carry_over(self, staging: Path) -> None:
        """Give the outputs that still hold their names in the new version."""
        if self.comparison is None:
            return
        rows = self.plan.rows()
        kept = np.array(sorted(self.comparison.old_names), np.int64)
        for i, job in zip(kept.tolist(), self.plan.jobs(rows[kept]), strict=True):
            target = to_path(staging, job.out_name)
            if carry_over(to_path(self.output, self.comparison.old_names[i]), target):
                self.facts.put(i, {"out_stamp": number_at(staging, job.out_name)[0]})

    def _require_space(self, staging: Path) -> None:
        """Refuse to begin where copies of whole files cannot fit; how large resized ones become, nobody knows."""
        todo = np.flatnonzero(~self.facts.is_done)
        if self.options.size_px is not None or self.options.link not in (None, "copy") or not len(todo):
            return
        names = self.plan.names.take(pa.array(self.plan.rows()[todo]))
        needed, free = int(stat_all(self.found.root, names)[1].sum()), shutil.disk_usage(staging).free
        may_share = self.options.link is None  # reflinks need no room, where the file system can
        if needed > free and not (may_share and can_reflink(self.found.root, names[0].as_py(), staging)):
            raise DiskFullError(
                f"the images have {needed:,} bytes and the disk has {free:,} free",
                where=str(self.output),
                fix=f"free {needed - free:,} bytes there, or give --link hard or a --size N",
            )

    def _make(self, staging: Path, identity: str, run_items: RunItems, *, progress: Progress | None) -> None:
        """Make every image that is not done."""
        todo = self.plan.in_making_order(np.flatnonzero(~self.facts.is_done))
        n_before, n_bytes, n_bad = len(self.facts) - len(todo), 0, int(self.facts.is_bad.sum())
        rows = self.plan.rows()[todo]
        started, n_timed = time.monotonic(), 0
        if progress:
            progress(n_before, len(self.facts), n_bytes=0, n_bad=n_bad)  # where the rates begin
        with journal.Journal(staging, identity) as noted:
            results = run_items((job.name, job.out_name) for job in self.plan.jobs(rows))
            for n_done, result in enumerate(results, start=1):
                facts = self._facts_of(result, rows)
                self.facts.put(int(todo[result.index]), facts)
                noted.add(int(rows[result.index]), facts)
                if n_done == 1:
                    started = time.monotonic()  # the first waits until its worker is ready
                n_timed = n_done - 1
                n_bytes += facts.get("size_bytes", 0)
                n_bad += "reason" in facts
                if progress:
                    progress(n_before + n_done, len(self.facts), n_bytes=n_bytes, n_bad=n_bad)
        self.n_made = len(todo)
        if n_timed >= TIMED_IMAGES:
            self.seconds_per_image = (time.monotonic() - started) * self.n_workers / n_timed

    def _facts_of(self, result: Done | Failed, rows: Ints) -> dict[str, Any]:
        if isinstance(result, Failed):
            stamp = self._proof_since_begun(self.plan.names[int(rows[result.index])].as_py())
            return {"reason": result.reason, "detail": result.detail, "stamp": stamp}
        facts: dict[str, Any] = result.value
        return facts | {"decoder_said": result.noise} if result.noise else facts

    def _proof_since_begun(self, name: bytes) -> int:
        """The number of a source file; ABSENT if it changed since this command began.

        A worker that died cannot tell any more which state of the file it was that killed it.
        """
        number, mtime_ns, _ = number_at(self.found.root, name)
        begun_ns = time.time_ns() - int((time.monotonic() - self.begun) * 1e9)
        return number if begun_ns - mtime_ns > SETTLED_NS else ABSENT

    def _exit_code(self, report: SubsetReport, max_bad: Tolerance | None) -> int:
        n_bad = len(report.bad_files)
        listed = group_by_reason(report.bad_files, listed_in="the source")
        if report.outcomes.selected == 0 and not report.bad_files:
            rules = ", ".join(f"{rule} {n:,}" for rule, n in report.outcomes.excluded.items())
            raise SourceError(
                f"the recipe's rules leave out every image: {rules}",
                where=str(self.found.root),
                fix="mend the rules of the recipe; nothing was published",
            )
        if report.outcomes.selected == 0:
            raise TooManyBadError(
                "\n  ".join(["not one of the chosen images can be used", *listed]),
                where=str(self.found.root),
                fix="check that the source was copied whole; nothing was published",
            )
        n_total = report.outcomes.selected + n_bad
        return exit_code_for(max_bad, n_bad=n_bad, n_total=n_total, where=str(self.found.root), listed=listed)

    def _publish(self, staging: Path) -> None:
        bad_rows = self.plan.rows()[self.facts.is_bad]
        for job in self.plan.jobs(bad_rows):  # a worker that was killed may have left a part of it
            to_path(staging, job.out_name).unlink(missing_ok=True)
        self._remove_empty_folders(staging)
        folder, records = staging / FOLDER, self.records
        records.write_tables(folder, (FILES, UNLABELLED))
        write_json_lines(folder / QUARANTINE, [bad.to_dict() for bad in records.bad_files()])
        digest, quarantine = (sha256_file(folder / name).hex() for name in (FILES, QUARANTINE))
        records.write_state(
            folder / STATE,
            plan=self._digest(),
            files=digest,
            quarantine=quarantine,
            seconds_per_image=f"{self._pace():.6f}",
        )
        sync_tree(staging)
        write_receipt(
            staging,
            Receipt(
                recipe=self.recipe.to_dict() | {"name": self.recipe.name},
                versions=versions(),
                counts=records.outcomes().to_dict() | {"written": records.written()},
                files_sha256=digest,
                quarantine_sha256=quarantine,
                unlabelled_sha256=sha256_file(folder / UNLABELLED).hex() if (folder / UNLABELLED).exists() else None,
                read_as=self.found.read_as(),
                **self.identity(),
            ),
        )
        if self.output.exists():
            refuse_foreign_files(self.output)  # somebody may have put a file there while images were made
        with explain_disk_full(staging):  # a file system that copies on write needs room even for this
            seam.unlink(folder / journal.NAME)  # last of all: what fails before it is resumed
            sync_folder(folder)
        publish_folder(staging, self.output)

    def _remove_empty_folders(self, staging: Path) -> None:
        """A class of which no image can be used has no folder: other programs refuse a class without images."""
        filled = np.unique(self.plan.place_of[self.plan.rows()[~self.facts.is_bad]])
        written = {self.plan.places[code].folder for code in filled.tolist()}
        for folder in sorted({place.folder for place in self.plan.places} - written, reverse=True):
            if folder and not any(other.startswith(folder + b"/") for other in written):
                to_path(staging, folder).rmdir()

    def _pace(self) -> float:
        if self.seconds_per_image is not None:
            return self.seconds_per_image
        return (self.previous.seconds_per_image() if self.previous else None) or 0.0

    def estimate_seconds(self, run_items: RunItems) -> float | None:
        """About how long the images that are not done will take, from the last build or else by trying some."""
        todo = np.flatnonzero(~self.facts.is_done)
        if not len(todo):
            return 0.0
        pace = self.previous.seconds_per_image() if self.previous else None
        if pace is None:
            rows = self.plan.rows()[todo[np.linspace(0, len(todo) - 1, min(SAMPLED_IMAGES, len(todo))).astype(int)]]
            started = 0.0
            for n_done, _ in enumerate(run_items((job.name, job.out_name) for job in self.plan.jobs(rows)), start=1):
                if n_done == 1:
                    started = time.monotonic()  # the first waits until its worker is ready
            if n_done > 1:
                pace = (time.monotonic() - started) * self.n_workers / (n_done - 1)
        return None if pace is None else pace * len(todo) / self.n_workers

    def _sizes(self) -> Ints:
        """Bytes of every selected source file."""
        if self.comparison is not None:
            return self.comparison.sizes
        return stat_all(self.found.root, self.plan.names.take(pa.array(self.plan.rows())))[1]

    def _names(self, positions: Ints) -> tuple[str, ...]:
        rows = self.plan.rows()[positions[:SHOWN_NAMES]]
        return tuple(display_name(job.name) for job in self.plan.jobs(rows))

    def _links(self) -> dict[str, int]:
        codes, words = self.facts.words(LINK)
        return {word: int((codes == code).sum()) for code, word in enumerate(words)}


def versions() -> dict[str, str]:
    """The programs that decide about bytes."""
    return {name: version(name) for name in ("imagekit", "pillow", "pyarrow", "torch")}
