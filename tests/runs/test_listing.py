"""The runs in a folder: which are found, what state each is in, how far it came, how to go on."""

from __future__ import annotations

import csv
import json
import math
import os
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.errors import SourceError
from imagekit.files.lock import output_lock
from imagekit.runs import listing
from imagekit.runs.listing import list_runs
from imagekit.runs.status import Status, write_status

SEEN = "2026-01-02T03:04:05.678+00:00"


def make_run(run: Path, state: str = "done", *, epoch: int = 1, best: object = None, is_saved: bool = False) -> Path:
    """A run as `imagekit train` leaves it, of this process; best: valid_accuracy of its only row."""
    run.mkdir(parents=True)
    status = {"state": state, "pid": os.getpid(), "epoch": epoch, "n_epochs": 5, "heartbeat": SEEN}
    (run / "status.json").write_text(json.dumps(status))
    (run / "config.toml").write_text("epochs = 5\n")
    if best is not None:
        (run / "metrics.csv").write_text(f"epoch,valid_accuracy\n1,{best}\n")
    (run / "checkpoints").mkdir()
    if is_saved:
        (run / "checkpoints/last.pt").write_bytes(b"")
    return run


def states(folder: Path) -> dict[str, str]:
    return {str(run.path.relative_to(folder)): run.state for run in list_runs(folder).runs}


def test_each_run_is_a_row_and_what_wants_something_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "runs/a", "done", epoch=5, best=0.66341)
    make_run(tmp_path / "runs/b c", "interrupted", epoch=3, best=0.5, is_saved=True)
    make_run(tmp_path / "runs/d", "failed", epoch=0)
    make_run(tmp_path / "runs/e", "running", epoch=2, best=0.25, is_saved=True)
    make_run(tmp_path / "runs/f", "running", epoch=2, best=0.25, is_saved=True)
    monkeypatch.chdir(tmp_path)

    with output_lock("runs/f"):
        table = list_runs("runs")

    assert table.summary() == (
        "RUN       STATE        EPOCH  BEST    LAST SIGN OF LIFE (UTC)\n"
        "runs/a    done         5/5    0.6634  2026-01-02 03:04:05\n"
        "runs/b c  interrupted  3/5    0.5000  2026-01-02 03:04:05\n"
        "runs/d    failed       0/5    -       2026-01-02 03:04:05\n"
        "runs/e    dead         2/5    0.2500  2026-01-02 03:04:05\n"
        "runs/f    running      2/5    0.2500  2026-01-02 03:04:05\n"
        "\n"
        "5 runs: 1 dead, 1 done, 1 failed, 1 interrupted, 1 running\n"
        "to go on: imagekit train --resume 'runs/b c'\n"
        "runs/d: nothing was saved: train it again with --overwrite\n"
        "to go on: imagekit train --resume runs/e"
    )
    assert (table.next_command, table.exit_code) == ("imagekit report runs/a", 0)


def test_the_same_comes_in_plain_types(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "interrupted", epoch=3, best=0.5, is_saved=True)

    facts = list_runs(tmp_path).to_dict()

    assert facts == {
        "folder": str(tmp_path),
        "runs": [
            {
                "run": str(tmp_path / "a"),
                "state": "interrupted",
                "epoch": 3,
                "n_epochs": 5,
                "best_valid_accuracy": 0.5,
                "heartbeat": "2026-01-02T03:04:05+00:00",
                "reason": None,
                "resume_command": f"imagekit train --resume {tmp_path / 'a'}",
            }
        ],
        "unreadable": [],
    }
    assert json.loads(json.dumps(facts)) == facts


def test_the_next_command_is_about_the_best_run_that_is_done(tmp_path: Path) -> None:
    make_run(tmp_path / "a", best=0.5)
    make_run(tmp_path / "b", best=0.75)
    make_run(tmp_path / "c", "interrupted", best=1.0)
    make_run(tmp_path / "d/e")

    assert list_runs(tmp_path).next_command == f"imagekit report {tmp_path / 'b'}"
    assert list_runs(tmp_path / "d").next_command is None


def test_the_folder_itself_may_be_a_run_and_hold_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run", "running")
    make_run(tmp_path / "run/more/run")
    monkeypatch.chdir(tmp_path / "run")

    with output_lock(tmp_path / "run"):
        runs = list_runs(".").runs

    assert [(str(run.path), run.state) for run in runs] == [(".", "running"), ("more/run", "done")]


def test_runs_are_found_four_levels_deep_and_neither_hidden_nor_through_links(tmp_path: Path) -> None:
    for name in ("a/b/c/d", "a/b/c/d2/e", ".hidden/a", "z", "link/real"):
        make_run(tmp_path / "deep" / name)
    (tmp_path / "deep/link/to").symlink_to(tmp_path / "deep/z")
    for name, missing in (("no_config", "config.toml"), ("no_status", "status.json")):
        (make_run(tmp_path / "deep" / name) / missing).unlink()

    assert states(tmp_path / "deep") == {"a/b/c/d": "done", "link/real": "done", "z": "done"}


@pytest.mark.timeout(10)
def test_a_pipe_called_like_a_status_is_not_waited_for(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    (make_run(tmp_path / "b") / "status.json").unlink()
    os.mkfifo(tmp_path / "b/status.json")

    assert states(tmp_path) == {"a": "done"}


def test_nothing_but_status_and_metrics_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", "running", is_saved=True)
    for name in ("config.toml", "events.jsonl", "checkpoints/last.pt"):
        (run / name).write_bytes(b"\xff\x00")
    (tmp_path / ".a.imagekit-lock").touch()
    before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}

    found = states(tmp_path)

    assert found == {"a": "dead"}
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before


def test_a_run_that_ends_while_it_is_looked_at_is_not_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "a", "running")

    def end(run: Path, status: Status) -> bool:
        write_status(run / "status.json", state="done", epoch=5, n_epochs=5)
        return False

    monkeypatch.setattr(listing, "is_alive", end)

    (run,) = list_runs(tmp_path).runs

    assert run.row()[1:3] == ("done", "5/5")


def test_a_damaged_run_is_listed_with_its_reason(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    (make_run(tmp_path / "b", best=0.5) / "status.json").write_text("{")

    table = list_runs(tmp_path)

    lines = table.summary().splitlines()
    assert lines[2].split() == [str(tmp_path / "b"), "damaged", "-", "0.5000", "-"]
    assert lines[3:] == [
        "",
        "2 runs: 1 damaged, 1 done",
        f"{tmp_path / 'b'}: the status of the run is damaged; train again, or resume to write it anew",
    ]
    assert table.exit_code == 3
    told = table.runs[1].to_dict()
    assert (told["state"], told["epoch"], told["heartbeat"], told["resume_command"]) == ("damaged", None, None, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epoch,valid_accuracy\n1\n", "line 2 of metrics.csv is damaged; delete the line, or move metrics.csv aside"),
        ("epoch,valid_accuracy\n1,x\ty\n", r"metrics.csv is damaged: could not convert string to float: 'x\ty'"),
        (
            f"epoch,valid_accuracy\n1,{'x' * 999}\n",
            f"metrics.csv is damaged: could not convert string to float: '{'x' * 137}...",
        ),
        (f"epoch,valid_accuracy\n1,{'9' * (csv.field_size_limit() + 1)}\n", None),
    ],
    ids=["short row", "no number", "long text", "long field"],
)
def test_metrics_that_cannot_be_read_are_said_and_the_state_is_told(
    tmp_path: Path, text: str, reason: str | None
) -> None:
    (make_run(tmp_path / "a") / "metrics.csv").write_text(text)

    table = list_runs(tmp_path)

    assert (table.runs[0].state, table.runs[0].best, table.exit_code) == ("done", None, 3)
    expected = reason or f"metrics.csv is damaged: field larger than field limit ({csv.field_size_limit()})"
    assert table.summary().splitlines()[-1] == f"{tmp_path / 'a'}: {expected}"


def test_metrics_that_are_a_folder_are_said(tmp_path: Path) -> None:
    (make_run(tmp_path / "a") / "metrics.csv").mkdir()

    (run,) = list_runs(tmp_path).runs

    assert run.remark == f"{tmp_path / 'a'}: metrics.csv cannot be read: Is a directory"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(0, 1) | st.just(math.nan), max_size=5), torn=st.sampled_from(["", "7,0.9", "7"]))
def test_the_best_accuracy_is_the_greatest_number_of_the_whole_rows(
    tmp_path: Path, values: list[float], torn: str
) -> None:
    run = tmp_path / "a"
    if not run.exists():
        make_run(run)
    rows = [f"{epoch},{value!r},\n" for epoch, value in enumerate(values, start=1)]
    (run / "metrics.csv").write_text("".join(["epoch,valid_accuracy,valid_top5\n", *rows, torn]))

    found = list_runs(tmp_path).runs[0]

    assert found.best == max((value for value in values if not math.isnan(value)), default=None)
    assert found.reason is None


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31m", "it's $HOME", "x" * 250])
def test_a_name_of_any_kind_stays_on_its_line_and_is_never_cut(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / name, "interrupted", is_saved=True)

    table = list_runs(tmp_path)

    lines = table.summary().splitlines()
    assert len(lines) == 5
    assert "\x1b" not in table.summary()
    assert all(("x" * 250 in line) == (name == "x" * 250) for line in (lines[1], lines[4]))
    (told,) = [run.resume_command for run in table.runs]
    assert shlex.split(told or "") == ["imagekit", "train", "--resume", str(tmp_path / name)]


def test_folders_that_cannot_be_looked_into_are_said_and_those_that_vanish_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "closed", "gone"):
        make_run(tmp_path / name)
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        if path.name == "gone":
            raise FileNotFoundError(2, "No such file or directory")
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", refuse)

    table = list_runs(tmp_path)
    (tmp_path / "a/status.json").unlink()
    with pytest.raises(SourceError) as caught:
        list_runs(tmp_path)

    assert [run.path.name for run in table.runs] == ["a"]
    assert table.summary().splitlines()[-1] == f"{tmp_path / 'closed'}: Permission denied"
    assert table.to_dict()["unreadable"] == [{"folder": str(tmp_path / "closed"), "reason": "Permission denied"}]
    assert table.exit_code == 3
    assert caught.value.what == "no run of imagekit train was found, and 1 folder could not be looked into"


def test_a_folder_without_runs_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        list_runs(tmp_path)

    assert str(caught.value) == (
        f"no run of imagekit train was found\n  where: {tmp_path}\n"
        "  fix: name a folder with runs at most 4 levels below it; imagekit train FILE -o RUN makes one"
    )


@pytest.mark.parametrize(("name", "reason"), [("nowhere", "No such file or directory"), ("file", "Not a directory")])
def test_a_folder_that_is_none_says_so(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SourceError) as caught:
        list_runs(tmp_path / name)

    assert str(caught.value) == (
        f"the folder cannot be read: {reason}\n  where: {tmp_path / name}\n"
        "  fix: name a folder that is there and that you may read"
    )
