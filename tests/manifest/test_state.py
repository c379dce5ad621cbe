"""Incremental builds: unchanged files are not read again, and the outcome is that of a fresh build, byte for byte."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest.albums import album, inline, photo, plant, png

from imagekit.engine.pool import Done, Failed
from imagekit.errors import LabelError, SplitError
from imagekit.manifest import looking
from imagekit.manifest.build import ManifestOptions, build_manifest
from imagekit.manifest.read import read_manifest
from imagekit.manifest.state import SCHEMA, read_state
from imagekit.manifest.summary import ManifestReport

LONG_AGO = itertools.count(1_600_000_000)
RECENT = 1_700_000_000


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were read, in this process."""
    names: list[str] = []

    def counted(task: Any, items: Any, **options: Any) -> Iterator[Done]:
        def each() -> Iterator[bytes]:
            for item in items:
                names.append(os.fsdecode(item))
                yield item

        return inline(task, each(), **options)

    monkeypatch.setattr("imagekit.manifest.looking.run_items", counted)
    return names


def aged(root: Path) -> Path:
    """As if the files had been there for long: what is young may change again unseen, and is read again."""
    for path in root.rglob("*"):
        if path.is_file() and not path.name.startswith("metadata.parquet") and path.stat().st_mtime > RECENT:
            time_s = next(LONG_AGO)  # a second each: two versions of a file never have one time
            os.utime(path, (time_s, time_s))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return aged(plant(tmp_path / "root", album()))


def outputs(root: Path) -> dict[str, bytes]:
    names = ("metadata.parquet", "metadata.parquet.quarantine.jsonl")
    return {name: (root / name).read_bytes() for name in names if (root / name).exists()}


def fresh(root: Path, options: ManifestOptions | None = None) -> dict[str, bytes]:
    """What a build of a copy without state gives."""
    twin = root.with_name("twin")
    shutil.copytree(root, twin, ignore=shutil.ignore_patterns("metadata.parquet*"))
    try:
        build_manifest(twin, options=options)
        return outputs(twin)
    finally:
        shutil.rmtree(twin)


def test_what_is_unchanged_is_not_read_again(root: Path, looked_at: list[str]) -> None:
    first = build_manifest(root)
    data = outputs(root)
    looked_at.clear()

    again = build_manifest(root)

    assert looked_at == []
    assert (first.state, again.state) == ("built", "up to date")
    assert outputs(root) == data
    assert again.summary().splitlines()[:-1] == first.summary().splitlines()[:-1]
    assert (
        again.summary()
        .splitlines()[-1]
        .startswith(f"up to date: {root}/metadata.parquet holds all this already, found out in ")
    )
    assert (again.outcomes, again.per_split, again.n_read) == (first.outcomes, first.per_split, 0)


def test_only_new_and_changed_files_are_read(root: Path, looked_at: list[str]) -> None:
    build_manifest(root)
    looked_at.clear()
    plant(root, {"train/ant/new.png": photo(50), "val/bee/0.png": photo(51)})
    (root / "train/ant/0.png").unlink()

    report = build_manifest(root)

    assert sorted(looked_at) == ["train/ant/new.png", "val/bee/0.png"]
    assert report.state == "built"
    assert report.summary().endswith(", 4 of them unchanged and not read again")
    assert outputs(root) == fresh(root)


def test_a_young_file_is_read_again(root: Path, looked_at: list[str]) -> None:
    plant(root, {"train/ant/young.png": photo(50)})
    build_manifest(root)
    looked_at.clear()

    build_manifest(root)

    assert looked_at == ["train/ant/young.png"]


def test_faults_and_leaks_are_told_again_without_reading(root: Path, looked_at: list[str]) -> None:
    plant(root, {"train/ant/cut.png": png(9)[:60], "train/ant/leak.png": photo(7), "val/ant/leak.png": photo(7)})
    aged(root)
    first = build_manifest(root)
    looked_at.clear()

    again = build_manifest(root)

    assert looked_at == []
    assert (again.exit_code, again.bad_files, again.leaks) == (3, first.bad_files, first.leaks)
    assert again.state == "up to date"


@pytest.mark.parametrize("lost", ["metadata.parquet", "metadata.parquet.quarantine.jsonl"])
def test_an_output_that_is_gone_or_altered_is_written_again_without_reading(
    root: Path, looked_at: list[str], lost: str
) -> None:
    plant(root, {"train/ant/cut.png": png(9)[:60]})
    aged(root)
    build_manifest(root)
    data = outputs(root)
    looked_at.clear()
    (root / lost).unlink()

    report = build_manifest(root)

    assert (report.state, looked_at) == ("built", [])
    assert outputs(root) == data


def test_other_options_use_what_is_known_of_the_files(root: Path, looked_at: list[str]) -> None:
    build_manifest(root)
    looked_at.clear()
    options = ManifestOptions(split="stratified:0.3", label="folder:2")

    build_manifest(root, options=options, overwrite=True)

    assert looked_at == []
    assert outputs(root) == fresh(root, options)


def test_another_check_reads_everything_again(root: Path, looked_at: list[str]) -> None:
    build_manifest(root)
    looked_at.clear()

    build_manifest(root, options=ManifestOptions(check="header"), overwrite=True)

    assert len(looked_at) == 6


def test_a_new_version_of_a_program_reads_everything_again(
    root: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_manifest(root)
    looked_at.clear()
    monkeypatch.setattr("imagekit.manifest.state.version", lambda name: "99")

    build_manifest(root)

    assert len(looked_at) == 6


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no state", None], ids=["empty", "cut", "text", "another table"])
def test_a_damaged_state_is_no_state(root: Path, looked_at: list[str], damage: bytes | None) -> None:
    build_manifest(root)
    data, state = outputs(root), root / "metadata.parquet.state"
    looked_at.clear()
    if damage is None:
        pq.write_table(pa.table({"name": [b"x"]}), state)
    else:
        state.write_bytes(damage)

    build_manifest(root)

    assert len(looked_at) == 6
    assert outputs(root) == data


def test_a_bit_of_the_state_that_turned_never_reaches_the_manifest(root: Path, looked_at: list[str]) -> None:
    build_manifest(root)
    data, state = outputs(root), root / "metadata.parquet.state"
    whole = state.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        turned = bytearray(whole)
        turned[at] ^= 1 << at % 8
        state.write_bytes(turned)
        (root / "metadata.parquet").unlink(missing_ok=True)

        build_manifest(root)

        assert outputs(root) == data, at


def test_a_class_of_ones_own_is_never_taken_for_unchanged(root: Path, looked_at: list[str]) -> None:
    options = ManifestOptions(process=("width:manifest.own:Doubled",))
    build_manifest(root, options=options)

    again = build_manifest(root, options=options)

    assert (again.state, again.n_read) == ("built", 0)


def test_each_of_two_tables_of_one_name_is_noticed_when_it_changes(root: Path, looked_at: list[str]) -> None:
    names = sorted(album())
    text = "file_name,label\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in names)
    plant(root, {"meta.csv": text.encode(), "sub/meta.csv": text.replace("label", "kind").encode()})
    options = ManifestOptions(label="table:meta.csv", columns=Path("sub/meta.csv"))
    build_manifest(root, options=options)
    plant(root, {"meta.csv": text.replace(",bee", ",wasp").encode()})

    report = build_manifest(root, options=options)

    assert report.state == "built"
    assert read_manifest(report.output).vocab == ("ant", "wasp")
    tables = read_manifest(report.output).metadata.options["tables"]
    assert sorted(tables) == ["columns:meta.csv", "meta.csv"]


def test_a_failure_of_a_worker_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(task: Any, items: Any, **options: Any) -> Iterator[Done | Failed]:
        for done in inline(task, items):
            yield Failed(0, "timeout", "took longer than 60 s") if done.index == 0 else done

    monkeypatch.setattr(looking, "run_items", failing)
    assert build_manifest(root).outcomes.quarantined == {"timeout": 1}
    monkeypatch.setattr(looking, "run_items", inline)

    report = build_manifest(root)

    assert (report.outcomes.quarantined, report.n_read) == ({}, 1)
    assert outputs(root) == fresh(root)


def test_what_a_decoder_said_of_a_bad_file_is_in_the_list_and_stays_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"train/ant/cut.png": png(9)[:60]})
    aged(root)

    def noisy(task: Any, items: Any, **options: Any) -> Iterator[Done]:
        for done in inline(task, items):
            yield Done(done.index, done.value, "libpng: what is this")

    monkeypatch.setattr(looking, "run_items", noisy)
    first = build_manifest(root)
    again = build_manifest(root)

    for report in (first, again):
        assert [bad.decoder_said for bad in report.bad_files] == ["libpng: what is this"]


def test_ctrl_c_costs_no_file_that_was_read(root: Path, looked_at: list[str]) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 6
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_manifest(root, progress=interrupt)
    looked_at.clear()
    build_manifest(root)

    assert len(looked_at) == 2
    assert outputs(root) == fresh(root)


def test_a_split_that_cannot_be_costs_no_file_that_was_read(root: Path, looked_at: list[str]) -> None:
    with pytest.raises(SplitError):
        build_manifest(root, options=ManifestOptions(split="random:0.05"))
    assert len(looked_at) == 6
    looked_at.clear()

    build_manifest(root, options=ManifestOptions(split="random:0.4"))

    assert looked_at == []


def test_what_is_known_is_saved_now_and_then(root: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "SAVE_SECONDS", 0.0)
    known: list[int] = []

    def count(done: int, total: int) -> None:
        path = root / "metadata.parquet.state"
        known.append(pq.read_metadata(path).num_rows if path.exists() else 0)

    build_manifest(root, progress=count)

    assert known == [0, 1, 2, 3, 4, 5]


def test_a_manifest_of_names_alone_keeps_no_state(root: Path) -> None:
    build_manifest(root, options=ManifestOptions(check="none"))

    assert not (root / "metadata.parquet.state").exists()


def test_a_file_that_went_away_after_it_was_listed_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = looking.stat_all

    def gone(folder: Path, names: Any) -> Any:
        (root / "val/bee/0.png").unlink()
        return measure(folder, names)

    monkeypatch.setattr(looking, "stat_all", gone)

    report = build_manifest(root, options=ManifestOptions(check="none"))

    assert [(bad.file_name, bad.reason, bad.detail) for bad in report.bad_files] == [
        ("val/bee/0.png", "vanished", "the file went away after it was listed")
    ]


def test_the_state_has_a_schema_of_its_own_and_no_absolute_path(root: Path, tmp_path: Path) -> None:
    build_manifest(root, n_workers=1)

    state = read_state(root / "metadata.parquet.state", check="decode")

    assert state is not None
    assert pq.read_schema(root / "metadata.parquet.state").remove_metadata().equals(SCHEMA)
    assert set(state.notes) == {*("check", "digests", "identity", "manifest", "report", "state_version", "versions")}
    assert os.fsencode(tmp_path) not in (root / "metadata.parquet.state").read_bytes()


def test_a_report_goes_through_its_notes_unchanged(root: Path, looked_at: list[str]) -> None:
    plant(root, {"train/ant/cut.png": png(9)[:60], "train/ant/leak.png": photo(7), "val/ant/leak.png": photo(7)})
    report = build_manifest(root, options=ManifestOptions(split="folders"))

    twin = ManifestReport.from_notes(report.to_notes(), root=report.root, output=report.output)

    assert twin.to_dict() == report.to_dict() | {"seconds": 0.0, "n_read": 0}


SIX = [f"{split}/{label}/{i}.png" for split in ("train", "val") for label in ("ant", "bee") for i in range(3)]


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data(), check=st.sampled_from(["header", "decode"]), split=st.sampled_from(["folders", "hash:0.4"]))
def test_any_series_of_changes_ends_in_the_bytes_of_a_fresh_build(
    tmp_path_factory: pytest.TempPathFactory, looked_at: list[str], data: st.DataObject, check: str, split: str
) -> None:
    options = ManifestOptions(check=check, split=split)
    must = (
        "train/ant/0.png",
        "train/ant/1.png",
        "train/bee/0.png",
        "train/bee/1.png",
        "val/ant/0.png",
        "val/bee/0.png",
    )
    root = plant(tmp_path_factory.mktemp("series") / "root", {name: photo(i) for i, name in enumerate(must)})

    for step in range(data.draw(st.integers(1, 3))):
        for name in data.draw(st.lists(st.sampled_from(SIX), unique=True, max_size=4)):
            what = data.draw(st.sampled_from(["same", "other", "bad", "gone"]))
            if what == "gone" and name not in must:
                (root / name).unlink(missing_ok=True)
            elif what in ("same", "other"):
                plant(root, {name: photo(0 if what == "same" else 100 * step + len(name) + SIX.index(name))})
            elif name not in must:
                plant(root, {name: png(3)[:50]})
        if data.draw(st.booleans()):
            aged(root)
        try:
            build_manifest(root, options=options)
        except (LabelError, SplitError):
            return  # a draw that left a class without train is told, whatever was known

    assert outputs(root) == fresh(root, options)
