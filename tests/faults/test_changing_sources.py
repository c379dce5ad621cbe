"""Row 26 of the threat table: source files that vanish, grow, shrink or are replaced while they are read."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from subset.trees import picture, plant, recipe, settle, tree

from imagekit.files import read
from imagekit.files.discover import Discovery, discover
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

NAMES = [f"n01/{i}.jpg" for i in range(4)]
VICTIM = "n01/2.jpg"
OLD, NEW = picture((40, 30), seed=7), picture((40, 30), seed=8) + b"\0"  # of another length


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", {name: picture((40, 30), seed=i) for i, name in enumerate(NAMES)} | {VICTIM: OLD})


def build(source: Path, output: Path, **options: Any) -> SubsetReport:
    return make_subset(recipe(layout="class", split="none", classes={}), source, output=output, **options)


def quarantine(output: Path) -> list[tuple[str, str, str]]:
    lines = map(json.loads, (output / ".imagekit/quarantine.jsonl").read_text().splitlines())
    return [(line["file_name"], line["reason"], line["detail"]) for line in lines]


def meddle(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], object]) -> None:
    """Call `change(n)` between the n-th read of the victim and the second look at it."""
    read_all, n_reads = read._read_all, 0

    def read_then_change(fd: int, size: int) -> bytes:
        nonlocal n_reads
        data = read_all(fd, size)
        if data in (OLD, NEW) or data.startswith((OLD, NEW[:-1])):
            n_reads += 1
            change(n_reads)
        return data

    monkeypatch.setattr(read, "_read_all", read_then_change)


def check_rerun(source: Path, output: Path) -> None:
    """Once the source is quiet, the same command ends in what a fresh build makes."""
    for path in source.rglob("*.jpg"):
        settle(path)
    report = build(source, output)
    build(source, output.with_name("fresh"))
    assert report.exit_code == 0
    assert tree(output) == tree(output.with_name("fresh"))


@pytest.mark.usefixtures("in_process")
def test_a_file_rewritten_once_while_it_is_read_comes_in_as_it_is_now(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        meddle(patch, lambda n: (source / VICTIM).write_bytes(NEW) if n == 1 else None)
        report = build(source, output)

    assert report.exit_code == 0
    assert (output / VICTIM).read_bytes() == NEW
    check_rerun(source, output)


@pytest.mark.usefixtures("in_process")
def test_a_file_that_never_rests_is_quarantined_and_comes_in_later(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        meddle(patch, lambda n: (source / VICTIM).write_bytes(NEW if n % 2 else OLD))
        report = build(source, output)

    assert report.exit_code == 3
    assert quarantine(output) == [(VICTIM, "changed-during-read", "the file changed twice while it was read")]
    assert not (output / VICTIM).exists()
    check_rerun(source, output)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("size", [100, 0])
def test_a_file_cut_while_it_is_read_is_truncated_and_comes_in_once_it_is_whole(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    with monkeypatch.context() as patch:
        meddle(patch, lambda n: os.truncate(source / VICTIM, size))
        build(source, output)

    assert [line[:2] for line in quarantine(output)] == [(VICTIM, "truncated")]
    (source / VICTIM).write_bytes(OLD)
    check_rerun(source, output)


@pytest.mark.usefixtures("in_process")
def test_a_file_that_grows_while_it_is_read_is_read_again(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append(n: int) -> None:
        if n == 1:
            with (source / VICTIM).open("ab") as file:
                file.write(b"\0")

    with monkeypatch.context() as patch:
        meddle(patch, append)
        build(source, output)

    assert (output / VICTIM).read_bytes() == OLD + b"\0"
    check_rerun(source, output)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("link", ["copy", "hard"])
def test_a_file_removed_while_it_is_read_is_whole_or_vanished_and_gone_the_next_time(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    with monkeypatch.context() as patch:
        meddle(patch, lambda n: (source / VICTIM).unlink())
        report = build(source, output, options=SubsetOptions(link=link))

    if link == "copy":  # what was read is whole: it lives on in the copy
        assert (report.exit_code, (output / VICTIM).read_bytes()) == (0, OLD)
    else:
        assert quarantine(output) == [(VICTIM, "vanished", os.strerror(2))]
        assert not (output / VICTIM).exists()
    again = build(source, output, options=SubsetOptions(link=link))
    build(source, output.with_name("fresh"), options=SubsetOptions(link=link))
    assert (again.outcomes.found, again.exit_code) == (3, 0)
    assert tree(output) == tree(output.with_name("fresh"))


@pytest.mark.usefixtures("in_process")
def test_a_file_replaced_between_reading_and_linking_is_not_taken_for_what_was_read(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagekit.subset import image

    place = image.place

    def replace_then_place(reading: Any, path: Path, target: Path, *, link: str | None) -> str:
        if path == source / VICTIM:
            path.unlink()
            path.write_bytes(NEW)
        return place(reading, path, target, link=link)

    with monkeypatch.context() as patch:
        patch.setattr(image, "place", replace_then_place)
        build(source, output, options=SubsetOptions(link="hard"))

    assert quarantine(output) == [(VICTIM, "changed-during-read", "the file changed between reading and linking it")]
    assert not (output / VICTIM).exists()


@pytest.mark.usefixtures("in_process")
def test_files_and_folders_that_vanish_after_they_were_listed_are_named(
    tmp_path: Path, source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(source, {"n02/a.jpg": picture(), "n03/b.jpg": picture()})

    def list_then_remove(root: Path) -> Discovery:
        found = discover(root)
        shutil.rmtree(root / "n02")
        (root / VICTIM).unlink()
        (root / "n03").rename(tmp_path / "n03")
        (root / "n03").write_bytes(b"a file where a folder was")
        return found

    with monkeypatch.context() as patch:
        patch.setattr("imagekit.subset.sources.discover", list_then_remove)
        report = build(source, output)

    assert report.outcomes.quarantined == {"vanished": 3}
    assert [line[:2] for line in quarantine(output)] == [
        (VICTIM, "vanished"), ("n02/a.jpg", "vanished"), ("n03/b.jpg", "vanished")
    ]  # fmt: skip
    (source / "n03").unlink()
    check_rerun(source, output)


@pytest.mark.slow
def test_a_source_that_is_rewritten_all_the_time_gives_whole_files_and_a_quiet_one_the_usual_bytes(
    tmp_path: Path, output: Path
) -> None:
    """Real workers beside a writer that cuts, replaces, removes and brings back whatever it meets."""
    one, other = picture((200, 150), seed=1), picture((200, 150), seed=2) + b"\0"
    files = [f"n0{c}/{i}.jpg" for c in (1, 2) for i in range(40)]
    source = plant(tmp_path / "source", dict.fromkeys(files, one))
    stop = threading.Event()

    def disturb() -> None:
        drawn = random.Random(0)
        while not stop.is_set():
            path, act = source / drawn.choice(files), drawn.choice(("one", "other", "cut", "remove", "rename"))
            if act == "remove":
                path.unlink(missing_ok=True)
            elif act == "rename":
                path.with_suffix(".new").write_bytes(other)
                path.with_suffix(".new").replace(path)
            else:
                path.write_bytes({"one": one, "other": other, "cut": one[:500]}[act])
            time.sleep(0.0005)

    writer = threading.Thread(target=disturb)
    writer.start()
    try:
        for _ in range(3):
            report = build(source, output, n_workers=2)
            made = {name: data for name, data in tree(output).items() if not name.startswith(".")}
            assert set(made.values()) <= {one, other}
            assert set(report.outcomes.quarantined) <= {"truncated", "vanished", "changed-during-read"}
            assert len(made) == report.outcomes.selected
    finally:
        stop.set()
        writer.join()
    plant(source, dict.fromkeys(files, other))
    check_rerun(source, output)
