"""`imagekit train` interrupted, and gone on with by `--resume`, as it is typed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from faults import commands
from torch import Tensor, nn
from trees import draw_image, draw_tree

from imagekit.cli.main import cli
from imagekit.manifest.build import build_manifest
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows
from imagekit.runs.status import read_status

SMALL = ("--size", 12, "--batch-size", 4, "--workers", 0, "--epochs", 2, "--set", "precision=fp32", "--device", "cpu")


class SignalNet(nn.Sequential):
    """A net that sends its own process signals when it learns its `at`-th batch, counted from 0."""

    def __init__(self, *, c_in: int, c_out: int, at: int, numbers: list[int]) -> None:
        super().__init__(nn.Conv2d(c_in, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, c_out))
        self.n_left, self.numbers = at, numbers

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.n_left -= 1
            for number in self.numbers if self.n_left == -1 else ():
                os.kill(os.getpid(), number)
        return super().forward(x)


def sending(at: int, *numbers: int) -> tuple[str, ...]:
    """The options of a training that gets these signals in its `at`-th step."""
    model = ("--model", "cli.test_resume:SignalNet")
    return (*model, "--set", f"model_options.at={at}", "--set", f"model_options.numbers={list(map(int, numbers))}")


def typed(*words: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)))


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three train batches of four."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(build_manifest(draw_tree(tmp_path / "pictures", n_valid=2, size=(20, 16)), n_workers=1).output)


def test_ctrl_c_exits_130_and_says_what_goes_on(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["imagekit", "train", "--resume", "my run"])

    stopped = typed("train", manifest, "-o", "my run", *SMALL, *sending(4, signal.SIGINT))
    resumed = typed("train", "--resume", "my run", "--workers", 1, "--cache", "ram")

    assert stopped.exit_code == 130
    assert stopped.stdout.startswith("interrupted in epoch 2 of 2, after 2 of 3 steps; everything is saved\nvalid acc")
    assert stopped.stderr.endswith("\nnext: imagekit train --resume 'my run'\n")
    assert (tmp_path / "my run/report.html").exists()
    assert resumed.exit_code == 0, resumed.output
    assert "\ngoing on in epoch 2 of 2, after 2 of 3 steps\n" in f"\n{resumed.stderr}"
    assert resumed.stderr.endswith(f"\nnext: imagekit evaluate 'my run' {manifest}\n")
    assert len(read_rows(tmp_path / "my run/metrics.csv")) == 2
    command = json.loads((tmp_path / "my run/command.json").read_text())
    assert command["running"] == {
        "cache": "ram", "cache_limit": None, "checkpoint_every": "10m", "n_workers": 1, "on_error": "stop",
    }  # fmt: skip
    assert command["resumed"] == [{"argv": ["imagekit", "train", "--resume", "my run"]}]


def test_sigterm_prints_one_object_under_json_and_draws_no_page_of_no_epoch(manifest, tmp_path):
    run = tmp_path / "run"

    result = typed("train", manifest, "-o", run, *SMALL, *sending(1, signal.SIGTERM), "--json")

    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["exit_code"], facts["epochs"], facts["best"]) == (130, 130, [], None)
    assert facts["interrupted"] == "interrupted in epoch 1 of 2, after 2 of 3 steps; everything is saved"
    assert not (run / "report.html").exists()


def test_twice_it_leaves_at_once_and_says_how_to_go_on_all_the_same(manifest, tmp_path):
    run = tmp_path / "run"

    told = typed("train", manifest, "-o", run, *SMALL, *sending(1, signal.SIGINT, signal.SIGINT))
    facts = typed("train", "--resume", run, "--json")  # the net sends them again: no setting is lost

    assert (told.exit_code, told.stdout) == (130, "")
    assert told.stderr.endswith(f"\ninterrupted: to go on: imagekit train --resume {run}\n")
    assert json.loads(facts.stdout)["fix"] == f"imagekit train --resume {run}"
    assert read_status(run / "status.json").state == "interrupted"


def test_before_anything_is_saved_there_is_nothing_to_go_on_with(manifest, tmp_path, monkeypatch):
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imagekit.training.train.find_stats", interrupted)

    result = typed("train", manifest, "-o", tmp_path / "run", *SMALL)

    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.endswith("interrupted\n")


def test_a_bad_image_stops_it_and_it_goes_on_without_that_image_when_told(manifest, tmp_path):
    bad = manifest.parent / "train/dog/2.JPEG"
    bad.write_bytes(b"no picture")

    stopped = typed("train", manifest, "-o", tmp_path / "run", *SMALL)
    again = typed("train", "--resume", tmp_path / "run", "--on-error", "skip")

    assert stopped.exit_code == 1
    assert stopped.stderr.endswith(
        f"to go on from the last checkpoint: imagekit train --resume {tmp_path / 'run'}\n"
        "error: train/dog/2.JPEG cannot be used any more: unidentified: the content is no known image; it begins with"
        f" b'no pictu'\n  where: {manifest.parent}, row 8 of train in {manifest}\n"
        "  fix: restore the file, or build the manifest again so that it is left out\n"
    )
    assert again.exit_code == 3
    assert again.stdout.endswith(
        "\n1 image could not be used and was left out:\n  train/dog/2.JPEG: cannot be used any more:"
        " unidentified: the content is no known image; it begins with b'no pictu'\n"
    )


def test_skipped_images_are_counted_named_and_replaced_by_none(manifest, tmp_path):
    run = tmp_path / "run"
    for path in ("train/dog/1.JPEG", "train/dog/2.JPEG", "train/cat/0.JPEG", "val/cat/0.JPEG"):
        (manifest.parent / path).write_bytes(b"no picture")

    result = typed("train", manifest, "-o", run, *SMALL, "--on-error", "skip", "--json")

    facts = json.loads(result.stdout)
    events = [event for event in read_events(run / "events.jsonl") if event["event"] == "skip"]
    assert (result.exit_code, facts["exit_code"]) == (3, 3)
    assert [row["skipped"] for row in facts["epochs"]] == [4, 4]
    assert sorted(each["file"] for each in facts["skipped"]) == sorted(event["file"] for event in events)
    assert sorted((event["phase"], event["file"]) for event in events) == [
        ("train", "train/cat/0.JPEG"),
        ("train", "train/dog/1.JPEG"),
        ("train", "train/dog/2.JPEG"),
        ("valid", "val/cat/0.JPEG"),
    ]
    assert facts["timing"]["images"] == 2 * 9


def test_a_file_that_holds_another_image_now_is_noticed_by_a_cache(manifest, tmp_path):
    draw_image(manifest.parent / "train/dog/2.JPEG", "cat", seed=77)

    result = typed("train", manifest, "-o", tmp_path / "run", *SMALL, "--cache", "ram")

    assert result.exit_code == 1
    assert "corrupt: the bytes are not those that the manifest lists: their sha256 differs\n" in result.stderr


def test_no_worker_process_is_needed_to_train(manifest, tmp_path):
    result = typed("train", manifest, "-o", tmp_path / "run", *SMALL, "--checkpoint-every", 2)

    inside = [event for event in read_events(tmp_path / "run/events.jsonl") if event.get("batch") == 2]
    assert result.exit_code == 0
    assert [(event["event"], event["epoch"]) for event in inside] == [("checkpoint", 0), ("checkpoint", 1)]
    assert json.loads((tmp_path / "run/timing.json").read_text())["workers"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "n_times"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_signal_for_the_whole_group_ends_the_command_and_its_workers(manifest, tmp_path, number, n_times):
    layout, words = RunLayout(tmp_path / "run"), [*SMALL, "--epochs", 2000, "--workers", 2, "--cache", "ram"]
    process = commands.start_command("train", manifest, "-o", layout.root, *map(str, words))
    commands.wait_for(layout.best, process)

    for _ in range(n_times):
        commands.signal_group(process, number)
    code, out, err = commands.end_of(process)

    assert code == 130, err
    assert "Traceback" not in err
    assert commands.is_group_gone(process)
    last = err.splitlines()[-1].removeprefix("interrupted: to go on: ").removeprefix("next: ")
    assert shlex.split(last) == ["imagekit", "train", "--resume", str(layout.root)]
    assert layout.last.exists()
    if n_times == 1:
        assert out.startswith("interrupted in epoch ")
        assert read_status(layout.status).state == "interrupted"
        assert layout.report.exists()
