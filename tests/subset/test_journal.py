"""The journal by itself: what is noted, what is believed of it, and that it is no reason to fail."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from subset.trees import InlineWorkers, picture, plant, recipe, tree, two_classes

from imagekit.errors import DiskFullError
from imagekit.files import seam
from imagekit.files.atomic import staging_folder
from imagekit.files.discover import discover
from imagekit.subset.build import make_subset
from imagekit.subset.choose import choose_by_name
from imagekit.subset.facts import FactTable
from imagekit.subset.image import BuildImage
from imagekit.subset.journal import LINES_PER_WRITE, NAME, Journal, clear_records, is_of, read_finished
from imagekit.subset.options import SubsetOptions
from imagekit.subset.plan import Plan, place_choice

HALF = SubsetOptions(size=4)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def plan(source: Path) -> Plan:
    settled = recipe(label="parent")
    found = discover(source)
    choice = choose_by_name(found.names, settled, tables={}, root=str(source))
    return place_choice(found, choice, settled, out_format="bytes")


@pytest.fixture
def staging(source: Path, plan: Plan, tmp_path: Path) -> Path:
    """Every image written and noted."""
    folder = tmp_path / "staging"
    task = BuildImage(
        source=str(source), staging=str(folder), size_px=None, rule=recipe().resize, builder_pid=os.getpid()
    )
    for place in plan.places:
        (folder / os.fsdecode(place.folder)).mkdir(parents=True)
    with Journal(folder, "this") as journal:
        for job in plan.jobs():
            journal.add(job.row, task((job.name, job.out_name)))
    return folder


def lines(staging: Path) -> list[Any]:
    return [json.loads(line) for line in (staging / ".imagekit" / NAME).read_text().splitlines()]


def finished(staging: Path, source: Path, plan: Plan) -> list[int]:
    """The rows that are believed to be done."""
    facts = FactTable(len(plan.rows()))
    n_finished = read_finished(staging, source, plan, facts)
    rows: list[int] = plan.rows()[facts.is_done].tolist()
    assert n_finished == len(rows)
    return rows


def test_every_finished_image_is_found_again_with_its_facts(staging: Path, source: Path, plan: Plan) -> None:
    facts = FactTable(6)

    assert is_of(staging, identity="this")
    assert read_finished(staging, source, plan, facts) == 6
    assert facts.is_good.all()
    noted = facts.get(0)
    assert noted["format_in"] == "JPEG"
    assert noted["out_sha256"] == noted["sha256"]
    assert noted["out_stamp"] > 0


def test_a_journal_of_something_else_is_none(staging: Path, tmp_path: Path) -> None:
    assert not is_of(staging, identity="that")
    assert not is_of(tmp_path / "nowhere", identity="this")


def test_an_image_that_could_not_be_used_is_not_noted(tmp_path: Path) -> None:
    with Journal(tmp_path, "this") as journal:
        journal.add(0, {"reason": "truncated", "detail": "cut", "sha256": b"1"})

    assert lines(tmp_path) == [{"identity": "this"}]


def test_a_row_that_is_done_already_is_left_as_it_is(staging: Path, source: Path, plan: Plan) -> None:
    facts = FactTable(6)
    facts.put(2, {"reason": "corrupt"})

    assert read_finished(staging, source, plan, facts) == 5
    assert facts.get(2) == {"reason": "corrupt"}


@pytest.mark.parametrize(
    "damage",
    ["source touched", "source gone", "output cut", "output gone", "output a folder", "no stamp", "no checksum"],
)
def test_a_line_is_believed_only_where_source_and_output_are_what_it_says(
    staging: Path, source: Path, plan: Plan, damage: str
) -> None:
    """After a power failure a line may be on disk and the image it speaks of not."""
    made, origin = staging / "train/n01/1.JPEG", source / "train/n01/1.JPEG"
    if damage == "source touched":
        os.utime(origin, (1, 1))
    elif damage == "source gone":
        origin.unlink()
    elif damage == "output cut":
        made.write_bytes(made.read_bytes()[:-1])
    elif damage.startswith("output"):
        made.unlink()
        if damage == "output a folder":
            made.mkdir()
    else:
        noted = lines(staging)
        del noted[2][1]["stamp" if damage == "no stamp" else "out_sha256"]
        (staging / ".imagekit" / NAME).write_text("".join(json.dumps(line) + "\n" for line in noted))

    assert finished(staging, source, plan) == [0, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[1]", b"[1, 2]", b'["1", {}]', b"\xff\xfe", b"[99, {}]", b"[-1, {}]", b'[1, {"sha256": "x"}]',
     b'[1, {"sha256": 5}]', b"null"],
    ids=range(11),
)  # fmt: skip
def test_a_line_that_says_nothing_is_left_out(staging: Path, source: Path, plan: Plan, line: bytes) -> None:
    path = staging / ".imagekit" / NAME
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole[0] + line + b"\n" + b"".join(whole[2:]))

    assert finished(staging, source, plan) == [1, 2, 3, 4, 5]


def test_a_line_said_twice_counts_once(staging: Path, source: Path, plan: Plan) -> None:
    path = staging / ".imagekit" / NAME
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[3])

    assert finished(staging, source, plan) == [0, 1, 2, 3, 4, 5]


def test_a_journal_that_is_opened_again_goes_on_and_says_what_it_is_of_once(tmp_path: Path) -> None:
    for row in range(2):
        with Journal(tmp_path, "this") as journal:
            journal.add(row, {"stamp": row})

    assert lines(tmp_path) == [{"identity": "this"}, [0, {"stamp": 0}], [1, {"stamp": 1}]]


def test_lines_are_written_in_batches_so_that_a_kill_costs_few(tmp_path: Path) -> None:
    with Journal(tmp_path, "this") as journal:
        counts = []
        for row in range(2 * LINES_PER_WRITE):
            journal.add(row, {"stamp": row})
            counts.append(len(lines(tmp_path)))

    assert sorted(set(counts)) == [0, LINES_PER_WRITE, 2 * LINES_PER_WRITE]
    assert len(lines(tmp_path)) == 2 * LINES_PER_WRITE + 1


def test_a_full_disk_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_calls = []

    def full(fd: int, data: bytes) -> None:
        n_calls.append(fd)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(seam, "write_all", full)

    with pytest.raises(DiskFullError) as caught, Journal(tmp_path, "this") as journal:
        journal.add(0, {"stamp": 1})
        journal.flush()

    assert str(caught.value) == (
        f"the disk is full while writing {NAME}\n  where: {tmp_path}/.imagekit/{NAME}\n"
        "  fix: free some space there and run the same command again"
    )
    assert len(n_calls) == 1


def test_records_that_a_kill_left_beside_the_journal_are_removed(staging: Path) -> None:
    plant(staging / ".imagekit", {"files.parquet": b"1", "quarantine.jsonl": b"", ".imagekit-tmp-1-x": b""})

    clear_records(staging)

    assert [path.name for path in (staging / ".imagekit").iterdir()] == [NAME]


def test_a_kill_while_the_records_are_written_costs_no_image(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal goes only when all else is written and forced to disk."""

    def cut(fd: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("imagekit.subset.build.Workers", InlineWorkers)
    monkeypatch.setattr(seam, "sync_filesystem", cut)
    with pytest.raises(KeyboardInterrupt):
        make_subset(recipe(), source, output=tmp_path / "out", options=HALF)
    assert (staging_folder(tmp_path / "out") / ".imagekit/files.parquet").is_file()
    monkeypatch.setattr(seam, "sync_filesystem", lambda fd: True)

    report = make_subset(recipe(), source, output=tmp_path / "out", options=HALF)

    make_subset(recipe(), source, output=tmp_path / "fresh", options=HALF)
    assert report.n_resumed == 6
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert not (tmp_path / "out/.imagekit" / NAME).exists()


def test_a_plan_without_images_has_nothing_finished(staging: Path, source: Path) -> None:
    empty = Plan(
        names=pa.array([], pa.large_binary()),
        verdicts=FactTable(0).is_done.astype("int8"),
        places=(),
        place_of=FactTable(0).is_done.astype("int32"),
        out_format="bytes",
    )

    assert read_finished(staging, source, empty, FactTable(0)) == 0


def test_a_young_source_is_looked_at_again(source: Path, plan: Plan, tmp_path: Path) -> None:
    """It may change again within the clock's grain, and then nobody could tell."""
    plant(source, {"train/n01/0.JPEG": picture()})
    (source / "train/n01/0.JPEG").touch()
    folder = tmp_path / "young"
    task = BuildImage(
        source=str(source), staging=str(folder), size_px=None, rule=recipe().resize, builder_pid=os.getpid()
    )
    with Journal(folder, "this") as journal:
        for job in plan.jobs():
            (folder / os.fsdecode(job.out_name)).parent.mkdir(parents=True, exist_ok=True)
            journal.add(job.row, task((job.name, job.out_name)))

    assert finished(folder, source, plan) == [1, 2, 3, 4, 5]
