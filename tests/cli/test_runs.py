"""`imagekit runs` and `imagekit train --list-presets` as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from imagekit.cli.main import cli

SEEN = "2026-01-02T03:04:05.678+00:00"
# neither is to load what is slow to load
LOADED = """
import sys
from imagekit.cli.main import cli
for words in (["runs", sys.argv[1]], ["train", "--list-presets"]):
    code = cli.main(words, standalone_mode=False)
    print(code, [name for name in ("torch", "PIL", "pyarrow", "numpy", "tqdm") if name in sys.modules], file=sys.stderr)
"""


def typed(*words: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run that was interrupted and one that is done; the commands are typed beside it."""
    for name, state, accuracy in (("first", "interrupted", 0.25), ("second", "done", 0.75)):
        run = tmp_path / "runs" / name
        (run / "checkpoints").mkdir(parents=True)
        status = {"state": state, "pid": 1, "epoch": 1, "n_epochs": 2, "heartbeat": SEEN}
        (run / "status.json").write_text(json.dumps(status))
        (run / "config.toml").touch()
        (run / "checkpoints/last.pt").touch()
        (run / "metrics.csv").write_text(f"valid_accuracy\n{accuracy}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_runs_are_listed_below_the_folder_as_it_was_typed(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above = typed("runs")
    monkeypatch.chdir(runs)
    inside = typed("runs")

    assert above.stdout == (
        "RUN          STATE        EPOCH  BEST    LAST SIGN OF LIFE (UTC)\n"
        "runs/first   interrupted  1/2    0.2500  2026-01-02 03:04:05\n"
        "runs/second  done         1/2    0.7500  2026-01-02 03:04:05\n"
        "\n"
        "2 runs: 1 done, 1 interrupted\n"
        "to go on: imagekit train --resume runs/first\n"
    )
    assert (above.stderr, above.exit_code) == ("next: imagekit report runs/second\n", 0)
    assert inside.stdout == above.stdout.replace("runs/", "").replace("RUN          ", "RUN     ")


def test_a_run_that_cannot_be_read_is_exit_3_and_the_others_are_listed(runs: Path) -> None:
    (runs / "first/status.json").write_text("{")

    text, facts = typed("runs", "runs"), json.loads(typed("runs", "runs", "--json").stdout)

    reason = "the status of the run is damaged; train again, or resume to write it anew"
    assert text.exit_code == 3
    assert text.stdout.endswith(f"\n2 runs: 1 damaged, 1 done\nruns/first: {reason}\n")
    assert (facts["command"], facts["exit_code"], facts["folder"]) == ("runs", 3, "runs")
    told = [(run["run"], run["state"], run["best_valid_accuracy"], run["reason"]) for run in facts["runs"]]
    assert told == [("runs/first", "damaged", 0.25, reason), ("runs/second", "done", 0.75, None)]


def test_a_folder_without_runs_is_exit_2(runs: Path) -> None:
    (runs / "empty").mkdir()

    result = typed("runs", "runs/empty", "--json")

    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["error"], facts["where"]) == (2, "SourceError", "runs/empty")


def test_presets_are_listed_without_a_manifest(runs: Path) -> None:
    text, facts = typed("train", "--list-presets"), json.loads(typed("train", "--list-presets", "--json").stdout)

    assert text.exit_code == 0
    assert text.stdout.splitlines()[1].startswith(
        "lesson-cnn        lesson-cnn  5       128   0.6668 (sd 0.0048, n 3)  186 "
    )
    assert "  imagekit train FILE -o RUN --preset lesson-lamb\n" in text.stdout
    assert (facts["command"], facts["presets"]["lesson-adam"]["measured"]["n"]) == ("train", 3)


def test_the_next_command_of_the_presets_works(runs: Path) -> None:
    line = typed("train", "--list-presets").stderr

    result = typed(*line.removeprefix("next: imagekit ").split())

    assert line == "next: imagekit train --preset lesson-cnn --print-config\n"
    assert result.exit_code == 0
    assert "lr = 0.3  # preset lesson-cnn\n" in result.stdout


def test_training_without_a_manifest_says_so() -> None:
    result = typed("train")

    assert (result.exit_code, result.stderr) == (
        2,
        "error: no FILE was given\n  where: imagekit train\n"
        "  fix: name the manifest to train on: imagekit train FILE -o RUN\n",
    )


def test_listing_runs_and_presets_loads_nothing_heavy(runs: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    run = subprocess.run(
        [sys.executable, "-c", LOADED, runs], capture_output=True, text=True, check=False, env=environment
    )

    assert [line for line in run.stderr.splitlines() if not line.startswith("next: ")] == ["0 []", "0 []"]
