"""A run that was stopped or killed anywhere, and goes on from its last checkpoint, ends as one that never was."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trees import draw_image, draw_tree

from imagekit.errors import CheckpointError, ConfigError, LockedError, ManifestError, SourceError, UsageError
from imagekit.files.lock import output_lock
from imagekit.learner.callback import Callback
from imagekit.learner.events import EVENTS
from imagekit.manifest.build import build_manifest
from imagekit.runs.checkpoint import load_checkpoint, save_checkpoint
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import read_events, read_rows
from imagekit.runs.status import read_status, write_status
from imagekit.training.config import TrainConfig
from imagekit.training.resume import resume
from imagekit.training.running import Running
from imagekit.training.train import train

N_BATCHES, N_VALID = 4, 2  # of an epoch
OF_TIME = ("images_per_s", "data_wait", "seconds")


def dropout_net(*, c_in: int, c_out: int) -> nn.Module:
    """A model that draws for itself, and has running statistics."""
    body = nn.Sequential(nn.Conv2d(c_in, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, c_out))


# all that remembers something: schedule, averages, groups of batches, the best, those kept, draws of several kinds
EVERYTHING = TrainConfig(
    model="training.test_resume:dropout_net",
    epochs=3,
    size=12,
    batch_size=4,
    accumulate=2,
    opt="adamw",
    lr=0.01,
    ema=0.9,
    mixup=0.4,
    degrees=10.0,
    balance=True,
    early_stop=2,
    keep_best=2,
    telemetry=True,
    start_size=8,
    alternate_flip=True,
    precision="fp32",
    device="cpu",
)
QUICK = TrainConfig(model_options={"nfs": [4]}, epochs=2, size=12, batch_size=4, precision="fp32", device="cpu")
SAVED_OFTEN = Running(cache="none", checkpoint_every=1)


class At(Callback):
    """Do something at the n-th time that an event comes, counted from 0; by default when all others have had it."""

    def __init__(self, event: str, nth: int, act: Callable[[Any], object], *, order: int = 10**6) -> None:
        self.event, self.n_left, self.act = event, nth, act
        self._order = order

    def came(self, event: str) -> None:
        if event == self.event:
            self.n_left -= 1
            if self.n_left == -1:
                self.act(self.learner)


for _event in EVENTS:
    setattr(At, _event, lambda self, event=_event: self.came(event))


def stop(learner: Any) -> None:
    learner.stop = True


def fail(learner: Any) -> None:
    raise OSError("killed")


def kill(learner: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 train images an epoch when balanced, 10 valid ones."""
    root = draw_tree(tmp_path_factory.mktemp("resume") / "pictures", n_train=8, n_valid=5, size=(20, 16))
    return Path(build_manifest(root, n_workers=1).output)


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    """The run of EVERYTHING that was never stopped."""
    report = train(manifest, output=tmp_path_factory.mktemp("whole") / "run", config=EVERYTHING, quiet=True)
    return RunLayout(report.run)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("imagekit.files.seam.fsync", lambda fd: None)  # a third of the time, and no power is cut here
    return tmp_path / "cache/imagekit"


def begin(manifest: Path, run: Path, *callbacks: Callback, running: Running = SAVED_OFTEN) -> RunLayout:
    """Train EVERYTHING until a callback ends it."""
    try:
        train(manifest, output=run, config=EVERYTHING, quiet=True, running=running, extra_callbacks=callbacks)
    except OSError as error:
        assert str(error) == "killed"
    return RunLayout(run)


def assert_same(one: Any, other: Any, place: str) -> None:
    """Equal in type and in every bit, but for columns of time."""
    assert type(one) is type(other), place
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), place
    elif isinstance(one, dict):
        assert list(one) == list(other), place
        for key in [key for key in one if key not in OF_TIME]:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}[{number}]")
    else:
        assert one == other, place


def assert_same_run(one: RunLayout, other: RunLayout) -> None:
    """Weights, optimizer, averages and counts of every checkpoint; rows; predictions; telemetry."""
    names = sorted(path.name for path in one.checkpoints.iterdir())
    assert names == sorted(path.name for path in other.checkpoints.iterdir())
    for name in names:
        assert_same(load_checkpoint(one.checkpoints / name), load_checkpoint(other.checkpoints / name), name)
    assert_same(read_rows(one.metrics), read_rows(other.metrics), "metrics")
    assert one.predictions.read_bytes() == other.predictions.read_bytes()
    assert one.telemetry_data.read_text() == other.telemetry_data.read_text()
    assert read_status(one.status).state == read_status(other.status).state == "done"


@pytest.mark.parametrize("nth", [0, 1, 3, 4, 5, 8, 11, 13, 17])
def test_a_run_stopped_at_any_batch_ends_as_one_that_never_was(manifest, whole, tmp_path, nth):
    layout = begin(manifest, tmp_path / "run", At("after_batch", nth, stop), running=Running(cache="none"))
    assert read_status(layout.status).state == "interrupted"

    report = resume(layout.root, quiet=True)

    assert report.exit_code == 0
    assert_same(report.rows, _rows_of(whole), "rows")
    assert_same_run(layout, whole)


@pytest.mark.parametrize(
    ("event", "nth", "order"),
    [
        ("begin_epoch", 0, 10**6),  # nothing was learnt yet
        ("after_backward", 2, 0),  # inside a group of batches
        ("after_step", 1, 10**6),
        ("after_batch", 4, 10**6),  # in validation
        ("begin_validate", 1, 0),
        ("after_epoch", 1, 54),  # the row is written, its checkpoint is not
        ("after_epoch", 1, 58),  # the predictions are, too
        ("after_epoch", 0, 62),  # the checkpoint is, and nobody has shown the epoch
        ("after_epoch", 2, 240),  # nothing is left to learn
    ],
)
def test_a_run_that_an_error_ended_anywhere_ends_as_one_that_never_was(manifest, whole, tmp_path, event, nth, order):
    layout = begin(manifest, tmp_path / "run", At(event, nth, fail, order=order))
    assert read_status(layout.status).state == "failed"

    resume(layout.root, quiet=True)

    assert_same_run(layout, whole)


@pytest.mark.parametrize(("event", "nth"), [("after_pred", 1), ("after_loss", 5), ("begin_batch", 9)])
def test_a_run_killed_by_the_system_ends_as_one_that_never_was(manifest, whole, tmp_path, event, nth):
    run, context = tmp_path / "run", multiprocessing.get_context("fork")
    child = context.Process(target=begin, args=(manifest, run, At(event, nth, kill)))
    child.start()
    child.join()
    assert (child.exitcode, read_status(run / "status.json").state) == (-signal.SIGKILL, "running")

    resume(run, quiet=True)

    assert_same_run(RunLayout(run), whole)


def test_however_often_a_run_is_stopped_it_ends_the_same(manifest, whole, tmp_path):
    layout = begin(manifest, tmp_path / "run", At("after_batch", 2, stop))
    for nth in (0, 1, 3):
        resume(layout.root, quiet=True, extra_callbacks=[At("after_pred", nth, stop)])

    resume(layout.root, quiet=True)

    assert_same_run(layout, whole)
    events = [event["event"] for event in read_events(layout.events)]
    assert [events.count(name) for name in ("start", "interrupt", "resume", "end")] == [1, 4, 4, 1]


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        ({"cache": "none"}, {"n_workers": 2}),
        ({"cache": "ram", "n_workers": 2}, {"cache": "none", "n_workers": 0}),
        ({"cache": "disk"}, {}),
        ({"cache": "disk"}, {"is_deleted": True}),
        ({"cache": "device"}, {}),
        ({"cache": "none"}, {"cache": "device", "checkpoint_every": None}),
        ({"cache": "auto"}, {"cache": "ram", "on_error": "skip"}),
    ],
)
def test_neither_caches_nor_workers_change_what_it_ends_in(manifest, whole, tmp_path, cache_folder, before, changes):
    changes = dict(changes)
    layout = begin(manifest, tmp_path / "run", At("after_batch", 7, stop), running=Running(**before))
    if changes.pop("is_deleted", False):
        [path] = cache_folder.glob("*.pixels")
        path.unlink()

    resume(layout.root, quiet=True, changes=changes)

    if "on_error" in changes:
        _drop_skipped(layout)
    assert_same_run(layout, whole)


def _rows_of(layout: RunLayout) -> list[dict[str, Any]]:
    """The rows of a run as its checkpoints have them."""
    kinds = load_checkpoint(layout.last)["row"]
    return [{key: type(kinds[key])(float(text)) for key, text in row.items()} for row in read_rows(layout.metrics)]


def _drop_skipped(layout: RunLayout) -> None:
    """Make a run that counted what it skipped, which was nothing, one that did not."""
    assert [row["skipped"] for row in read_rows(layout.metrics)] == ["0"] * 3
    lines = layout.metrics.read_text().splitlines()
    layout.metrics.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    for path in layout.checkpoints.iterdir():
        state = load_checkpoint(path)
        state["row"].pop("skipped", None)
        state["callbacks"].pop("skipped", None)
        save_checkpoint(path, {key: value for key, value in state.items() if key != "format_version"})


# -- what else goes on -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped_run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that was stopped in its first, after two of its four steps; to be copied."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    running = Running(cache="ram", checkpoint_every="1h")
    train(manifest, output=run, config=QUICK, quiet=True, running=running, extra_callbacks=[At("after_batch", 1, stop)])
    return run


@pytest.fixture
def stopped(stopped_run: Path, tmp_path: Path) -> RunLayout:
    return RunLayout(Path(shutil.copytree(stopped_run, tmp_path / "run")))


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def text_of(kind: type[Exception], layout: RunLayout, **options: Any) -> str:
    """What resume refuses with; nothing of the run may have changed."""
    before = {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file()}
    with pytest.raises(kind) as caught:
        resume(layout.root, quiet=True, **options)
    assert {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file()} == before
    return str(caught.value)


def test_a_run_is_executed_as_it_was_unless_told_otherwise_and_says_so(stopped):
    begun = read(stopped.command)

    resume(stopped.root, quiet=True, changes={"on_error": "skip"}, command=["imagekit", "train", "--resume", "run"])

    command = read(stopped.command)
    assert begun["running"] == {
        "cache": "ram", "cache_limit": None, "checkpoint_every": "1h", "n_workers": 0, "on_error": "stop",
    }  # fmt: skip
    assert command["running"] == begun["running"] | {"on_error": "skip"}
    assert command["resumed"] == [{"argv": ["imagekit", "train", "--resume", "run"]}]
    assert (command["argv"], read(stopped.timing)["cache"]) == (begun["argv"], "ram")


def test_what_was_changed_stays_so_when_the_run_is_stopped_again(stopped):
    resume(stopped.root, quiet=True, changes={"cache": "none"}, extra_callbacks=[At("after_batch", 0, stop)])

    resume(stopped.root, quiet=True)

    assert read(stopped.timing)["cache"] == "none"
    assert len(read(stopped.command)["resumed"]) == 2


def test_the_times_of_all_parts_of_a_run_are_kept(stopped):
    resume(stopped.root, quiet=True, extra_callbacks=[At("after_batch", 3, stop)])

    resume(stopped.root, quiet=True)

    times = read(stopped.timing)
    assert [part["batches"] for part in [*times["earlier"], times]] == [2, 2, 4]


def test_a_manifest_and_images_that_moved_are_found_where_they_are_said_to_be(stopped, manifest, tmp_path):
    moved = Path(shutil.move(shutil.copytree(manifest.parent, tmp_path / "pictures"), tmp_path / "elsewhere"))
    own = Path(shutil.copy(manifest, tmp_path / "mine.parquet"))
    facts = read(stopped.data)
    stopped.data.write_text(json.dumps(facts | {"manifest": str(tmp_path / "pictures/metadata.parquet")}))

    text = text_of(SourceError, stopped)
    nowhere = text_of(SourceError, stopped, manifest=own)
    resume(stopped.root, quiet=True, manifest=own, root=moved, extra_callbacks=[At("after_batch", 0, stop)])
    report = resume(stopped.root, quiet=True)

    assert text == (
        f"the manifest of the run is not where it was\n  where: {tmp_path / 'pictures/metadata.parquet'}\n"
        f"  fix: say where it is now: imagekit train FILE --resume {stopped.root}; and --root DIR for its images"
    )
    assert nowhere == (
        f"26 of 26 files looked for are not there, train/cat/0.JPEG for one\n  where: {tmp_path}\n"
        "  fix: give --root DIR, the folder that the manifest's names are relative to"
    )
    assert (report.exit_code, report.manifest, report.images_root) == (0, own, moved)
    assert read(stopped.data) == facts | {"manifest": str(own), "root": str(moved)}


def test_weights_that_a_run_was_started_from_need_not_be_there_any_more(manifest, tmp_path, stopped):
    weights = Path(shutil.copy(stopped.last, tmp_path / "first.pt"))
    config, run = replace(QUICK, weights=str(weights)), tmp_path / "tuned"
    train(manifest, output=run, config=config, quiet=True, extra_callbacks=[At("after_batch", 1, stop)])
    weights.unlink()

    assert len(resume(run, quiet=True).rows) == 2


def test_a_model_initialised_on_a_batch_is_not_initialised_again(manifest, tmp_path):
    config = replace(QUICK, lsuv=True)
    train(manifest, output=tmp_path / "whole", config=config, quiet=True)
    train(manifest, output=tmp_path / "run", config=config, quiet=True, extra_callbacks=[At("after_batch", 2, stop)])

    resume(tmp_path / "run", quiet=True)

    one, other = (load_checkpoint(RunLayout(tmp_path / name).last) for name in ("run", "whole"))
    assert_same(one["model"], other["model"], "model")


def test_a_run_computes_with_the_threads_that_it_began_with_everywhere(manifest, tmp_path, set_threads, capsys):
    set_threads(1)
    train(manifest, output=tmp_path / "run", config=QUICK, quiet=True, extra_callbacks=[At("after_batch", 1, stop)])
    seen: list[int] = []
    set_threads(2)

    resume(tmp_path / "run", extra_callbacks=[At("after_pred", 0, lambda _: seen.append(torch.get_num_threads()))])

    assert (seen, torch.get_num_threads()) == ([1], 2)
    assert load_checkpoint(RunLayout(tmp_path / "run").last)["threads"] == 1
    assert "computing with 1 threads, as the run did, not with 2\n" in capsys.readouterr().err


def test_other_versions_are_said(stopped, capsys):
    state = load_checkpoint(stopped.last)
    state["versions"]["torch"] = "1.0"
    save_checkpoint(stopped.last, {key: value for key, value in state.items() if key != "format_version"})

    resume(stopped.root)

    said = capsys.readouterr().err
    words = "other versions than the run began with, so weights may differ a little: torch 1.0 -> "
    assert f"{words}{torch.__version__}\n" in said
    assert "going on in epoch 1 of 2, after 2 of 4 steps\n" in said


def test_a_run_that_only_did_not_say_that_it_was_done_says_so(manifest, tmp_path, capsys):
    layout = RunLayout(train(manifest, output=tmp_path / "run", config=QUICK, quiet=True).run)
    before = load_checkpoint(layout.last)
    write_status(layout.status, state="running", epoch=2, n_epochs=2)

    report = resume(layout.root)

    assert "every epoch is done already: what is left is to say so\n" in capsys.readouterr().err
    assert (report.exit_code, len(report.rows), read_status(layout.status).state) == (0, 2, "done")
    assert_same(load_checkpoint(layout.last), before, "last")


def test_a_status_that_cannot_be_read_is_written_anew(stopped, capsys):
    stopped.status.write_text("{")

    resume(stopped.root)

    assert read_status(stopped.status).state == "done"
    assert "the status of the run is damaged: it is written anew\n" in capsys.readouterr().err


def test_rows_that_are_gone_are_said_and_the_run_goes_on(manifest, tmp_path, capsys):
    run = tmp_path / "run"
    train(manifest, output=run, config=QUICK, quiet=True, extra_callbacks=[At("after_batch", 7, stop)])
    (run / "metrics.csv").unlink()

    report = resume(run)

    assert [row["epoch"] for row in report.rows] == [2]
    assert "metrics.csv has 0 rows of the 1 epochs that are done\n" in capsys.readouterr().err


def test_what_a_callback_of_ones_own_wrote_into_a_row_comes_back(manifest, tmp_path):
    class Words(Callback):
        _order = 15

        def after_epoch(self) -> None:
            self.learner.row |= {"word": "so", "none": None, "share": 1e-05, "many": 3}

    run, words = tmp_path / "run", Words()
    stopping = [words, At("after_batch", 7, stop)]
    first = train(manifest, output=run, config=QUICK, quiet=True, extra_callbacks=stopping).rows[0]

    rows = resume(run, quiet=True, extra_callbacks=[Words()]).rows

    assert rows[0] == first
    assert [type(value) for value in rows[0].values()] == [type(value) for value in first.values()]


# -- images that went bad ----------------------------------------------------------------------------------------------


@pytest.fixture
def spoilt(tmp_path: Path) -> tuple[Path, RunLayout]:
    """A manifest, and a run on it that ended in its second epoch at an image that had gone bad after the first."""
    manifest = Path(build_manifest(draw_tree(tmp_path / "pictures", n_train=8, n_valid=2), n_workers=1).output)
    bad = manifest.parent / "train/dog/3.JPEG"
    spoil = At("after_epoch", 0, lambda _: bad.write_bytes(b"no picture"))
    with pytest.raises(ManifestError) as caught:
        train(manifest, output=tmp_path / "run", config=QUICK, quiet=True, extra_callbacks=[spoil])
    assert str(caught.value) == (
        "train/dog/3.JPEG cannot be used any more: unidentified: the content is no known image; it begins with"
        f" b'no pictu'\n  where: {manifest.parent}, row 11 of train in {manifest}\n"
        "  fix: restore the file, or build the manifest again so that it is left out"
    )
    return manifest, RunLayout(tmp_path / "run")


def test_a_run_that_met_a_bad_image_goes_on_when_it_is_restored(spoilt):
    manifest, layout = spoilt
    draw_image(manifest.parent / "train/dog/3.JPEG", "dog", seed=3)

    report = resume(layout.root, quiet=True)

    assert (len(report.rows), report.skipped, "skipped" in report.rows[0]) == (2, [], False)


def test_a_run_that_met_a_bad_image_goes_on_without_it_when_told(spoilt):
    _, layout = spoilt

    report = resume(layout.root, quiet=True, changes={"on_error": "skip"})

    assert [row["skipped"] for row in report.rows] == [0, 1]
    assert [row["skipped"] for row in read_rows(layout.metrics)] == ["0", "1"]
    assert [name for name, _ in report.skipped] == ["train/dog/3.JPEG"]
    assert report.exit_code == 3


def test_skipping_may_be_told_again_or_taken_back_where_nothing_was_saved_in_between(spoilt):
    _, layout = spoilt
    for _ in range(2):
        with pytest.raises(OSError, match="killed"):
            resume(layout.root, quiet=True, changes={"on_error": "skip"}, extra_callbacks=[At("begin_fit", 0, fail)])
    headers = [list(read_rows(layout.metrics)[0])]
    with pytest.raises(ManifestError):
        resume(layout.root, quiet=True, changes={"on_error": "stop"})
    headers.append(list(read_rows(layout.metrics)[0]))

    report = resume(layout.root, quiet=True, changes={"on_error": "skip"})

    assert [header.count("skipped") for header in headers] == [1, 0]
    assert [row["skipped"] for row in read_rows(layout.metrics)] == ["0", "1"]
    assert report.exit_code == 3


def test_an_image_that_cannot_be_used_costs_no_step_that_was_made(spoilt):
    _, layout = spoilt

    state = load_checkpoint(layout.last)

    assert state["epochs_done"] == 1
    assert state["batches_done"] == next(
        event["batch"] for event in read_events(layout.events) if event["event"] == "failure"
    )


def test_what_a_killed_save_left_goes_with_the_next_fit(stopped):
    left = [stopped.checkpoints / f".imagekit-tmp-0123456789ab-{name}.pt" for name in ("last", "epoch-0001")]
    for path in left:
        path.write_bytes(b"half a checkpoint")

    resume(stopped.root, quiet=True)

    assert [path.exists() for path in left] == [False, False]


def test_a_run_is_found_and_its_data_too_from_another_folder(manifest, tmp_path, monkeypatch):
    folder, run = tmp_path / "project", tmp_path / "project/run"
    folder.mkdir()
    shutil.copy(manifest, folder / "data.parquet")
    monkeypatch.chdir(folder)
    root = Path(os.path.relpath(manifest.parent, folder))
    interrupted = [At("after_batch", 0, stop)]
    train(Path("data.parquet"), output=Path("run"), config=QUICK, root=root, quiet=True, extra_callbacks=interrupted)
    monkeypatch.chdir(tmp_path)

    report = resume(Path("project/run"), quiet=True)

    assert len(report.rows) == 2
    assert read(RunLayout(run).data)["manifest"] == str(folder / "data.parquet")


def test_another_precision_than_the_runs_is_told(manifest, tmp_path, capsys):
    config = replace(QUICK, precision="auto")
    train(manifest, output=tmp_path / "run", config=config, quiet=True, extra_callbacks=[At("after_batch", 0, stop)])
    layout = RunLayout(tmp_path / "run")
    state = load_checkpoint(layout.last)
    save_checkpoint(layout.last, state | {"precision": "fp16"})

    resume(layout.root)

    assert ", the run did so far in fp16: the weights will be others\n" in capsys.readouterr().err


def test_a_file_that_is_gone_is_skipped_like_one_that_is_bad(spoilt):
    manifest, layout = spoilt
    (manifest.parent / "train/dog/3.JPEG").unlink()

    report = resume(layout.root, quiet=True, changes={"on_error": "skip"})

    assert [name for name, _ in report.skipped] == ["train/dog/3.JPEG"]


def test_times_that_cannot_be_read_are_no_reason_to_stop(stopped):
    stopped.timing.write_text("[3]")

    report = resume(stopped.root, quiet=True)

    assert (len(report.rows), "earlier" in read(stopped.timing)) == (2, False)


def test_a_run_that_skipped_goes_on_without_skipping_and_keeps_its_counts(spoilt):
    manifest, layout = spoilt
    resume(layout.root, quiet=True, changes={"on_error": "skip"}, extra_callbacks=[At("begin_validate", 0, stop)])
    draw_image(manifest.parent / "train/dog/3.JPEG", "dog", seed=3)

    report = resume(layout.root, quiet=True, changes={"on_error": "stop"})

    assert [row["skipped"] for row in report.rows] == [0, 1]
    assert [name for name, _ in report.skipped] == ["train/dog/3.JPEG"]
    assert report.exit_code == 3


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_run_cannot_be_gone_on_with(tmp_path):
    text = text_of(SourceError, RunLayout(tmp_path))

    assert text == (
        f"the folder is not a run of imagekit train\n  where: {tmp_path}\n"
        "  fix: give the folder that train wrote with -o; imagekit runs lists them"
    )


def test_a_run_that_is_done_is_left_as_it_is(stopped):
    write_status(stopped.status, state="done", epoch=2, n_epochs=2)

    assert text_of(UsageError, stopped) == (
        f"the run is done: 2 of 2 epochs\n  where: {stopped.root}\n"
        "  fix: evaluate it, or train a new run with more --epochs"
    )


def test_a_run_of_which_nothing_was_saved_has_to_be_begun_again(stopped):
    stopped.last.unlink()

    assert text_of(UsageError, stopped) == (
        f"nothing of the run was saved yet\n  where: {stopped.root}\n"
        "  fix: type the command that began it again, with --overwrite"
    )


def test_a_manifest_with_other_rows_is_refused(stopped, tmp_path):
    other = build_manifest(draw_tree(tmp_path / "pictures", n_train=3, n_valid=1), n_workers=1).output

    assert text_of(CheckpointError, stopped, manifest=other) == (
        "the manifest has other rows than the one that the run was trained on\n"
        f"  where: {other} and {stopped.last}\n"
        "  fix: go on with the manifest of the run, or train a new run on this one"
    )


def test_a_manifest_with_other_classes_is_refused(stopped, tmp_path):
    tree = draw_tree(tmp_path / "pictures", classes=["cat", "emu"], n_train=3, n_valid=1)
    other = build_manifest(tree, n_workers=1).output

    assert text_of(CheckpointError, stopped, manifest=other) == (
        "the checkpoint was trained on other classes than the manifest has; not in both: dog, emu\n"
        f"  where: {stopped.last} and {other}\n  fix: go on with the manifest of the run"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data", None),
        ("data", "{"),
        ("data", "[]"),
        ("data", '{"manifest": 3}'),
        ("data", '{"manifest": "m.parquet", "root": 3}'),
        ("command", None),
        ("command", "[3]"),
        ("command", "{}"),
        ("command", '{"running": {"cache": "much"}}'),
        ("command", '{"running": {"n_workers": "2"}}'),
    ],
)
def test_a_file_of_the_run_that_cannot_be_read_is_named(stopped, name, content):
    path = getattr(stopped, name)
    path.unlink() if content is None else path.write_text(content)

    assert text_of(CheckpointError, stopped) == (
        f"{path.name} of the run cannot be read\n  where: {path}\n  fix: take it from a copy of the run, or train again"
    )


def test_a_checkpoint_that_was_cut_is_named(stopped):
    stopped.last.write_bytes(stopped.last.read_bytes()[:-100])

    assert text_of(CheckpointError, stopped) == (
        f"the checkpoint is cut short, damaged or not a checkpoint\n  where: {stopped.last}\n"
        "  fix: use the other checkpoint of the run, or train again"
    )


def test_a_checkpoint_of_an_earlier_version_is_named(stopped):
    state = load_checkpoint(stopped.last)
    save_checkpoint(stopped.last, {key: state[key] for key in state if key not in ("format_version", "batches_done")})

    assert text_of(CheckpointError, stopped) == (
        f"the checkpoint lacks batches_done\n  where: {stopped.last}\n  fix: use a checkpoint that train wrote"
    )


def test_averaged_weights_in_the_place_of_the_last_ones_are_refused(whole, tmp_path):
    layout = RunLayout(Path(shutil.copytree(whole.root, tmp_path / "run")))
    shutil.copy(layout.best, layout.last)
    write_status(layout.status, state="interrupted", epoch=2, n_epochs=3)

    assert text_of(CheckpointError, layout) == (
        "the checkpoint holds averaged weights, which are to be used and not to be trained on\n"
        f"  where: {layout.last}\n  fix: put back the last.pt that the run wrote, or train a new run with --weights"
    )


def test_a_run_that_is_still_going_on_is_left_alone(stopped):
    with output_lock(stopped.root):
        text = text_of(LockedError, stopped)

    assert text == (
        f"another process (pid {os.getpid()}) is writing run\n  where: {stopped.root}\n"
        "  fix: wait until it has ended, or choose another output"
    )


def test_a_change_of_what_is_no_way_to_execute_a_run_is_refused(stopped):
    assert text_of(ConfigError, stopped, changes={"n_worker": 2}) == (
        "n_worker says nothing of how a run is executed\n  where: changes\n"
        '  fix: did you mean "n_workers"? known: cache, cache_limit, checkpoint_every, n_workers, on_error'
    )
