"""What layers give is collected in training alone, from time to time, and written down whatever happens."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from learner.toy import EventLog, Loaders, ShuffledLoaders, conv_net, images, make_learner
from torch import Tensor, nn

from imagekit.callbacks import telemetry
from imagekit.callbacks.telemetry import Telemetry, spread_evenly, watched_layers
from imagekit.errors import CheckpointError, ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException, CancelTrainException
from imagekit.learner.learner import Learner
from imagekit.models.cnn import lesson_cnn
from imagekit.models.hooks import Hook
from imagekit.models.layers import conv_layer
from imagekit.models.xresnet import xresnet18
from imagekit.runs.telemetry import TelemetryRecord, read_telemetry


def n_hooks(model: nn.Module) -> int:
    return sum(len(layer._forward_hooks) for layer in model.modules())


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(conv_layer(3, 4), conv_layer(4, 4, norm=None), nn.Flatten(), nn.Linear(16, 2))


def learner_of(model: nn.Module, *callbacks: Callback, n_batches: int = 4) -> Learner:
    dls = Loaders(images([4] * n_batches, seed=1), images([4], seed=2))
    return make_learner(dls, *callbacks, model=model)


def watch(tmp_path: Path, *, n_epochs: int = 1, model: nn.Module | None = None, **options: Any) -> TelemetryRecord:
    path = tmp_path / "telemetry.json"
    learner_of(model or small_cnn(), Telemetry(path, **options)).fit(n_epochs)
    return read_telemetry(path)


# -- what is seen -----------------------------------------------------------------------------------------------------


def test_every_nth_training_batch_is_seen_and_the_first(tmp_path: Path):
    record = watch(tmp_path, n_epochs=3, every=3)

    assert (record.steps, record.every) == ([1, 4, 7, 10], 3)
    assert record.names == ["0", "1"]


def test_the_numbers_are_those_of_the_outputs(tmp_path: Path):
    model, outputs = small_cnn(), []
    hook = Hook(model[1].relu, lambda _, layer, inputs, output: outputs.append(output.detach().clone()))

    record = watch(tmp_path, every=1, model=model)

    hook.remove()
    assert len(outputs) == 5  # the last is validation's
    for step, x in enumerate(outputs[:4]):
        assert record.means[1][step] == pytest.approx(x.mean().item(), rel=1e-4)
        assert record.stds[1][step] == pytest.approx(x.std().item(), rel=1e-4)
        assert record.near_zero[1][step] == pytest.approx((x.abs() < 0.5).float().mean().item(), abs=1e-5)
        assert record.hists[1][step] == torch.histc(x.clamp(-7, 7), 40, -7, 7).int().tolist()


def test_the_weights_are_those_of_a_fit_that_nobody_watched(tmp_path: Path):
    watched, alone = learner_of(conv_net(), Telemetry(tmp_path / "telemetry.json", every=1)), learner_of(conv_net())

    watched.fit(2)
    alone.fit(2)

    for name, weight in watched.model.state_dict().items():
        assert torch.equal(weight, alone.model.state_dict()[name]), name


def test_units_are_watched_behind_their_activation():
    lesson, resnet = lesson_cnn(c_out=2), xresnet18(c_out=2)

    assert watched_layers(lesson) == [(str(i), lesson[i].relu) for i in range(7)]
    assert all(isinstance(layer, nn.Module) for _, layer in watched_layers(resnet))
    assert len(watched_layers(resnet)) == len({id(layer) for _, layer in watched_layers(resnet)}) == 22


def test_an_activation_that_several_units_share_is_passed_over_for_the_units():
    act = nn.ReLU()
    shared = nn.Sequential(nn.Sequential(nn.Linear(2, 2), act), nn.Sequential(nn.Linear(2, 2), act), nn.Linear(2, 2))

    assert watched_layers(shared) == [("0", shared[0]), ("1", shared[1])]


def test_a_bare_layer_is_watched_itself_and_a_unit_without_activation_too():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2))

    assert watched_layers(model) == [("0", model[0]), ("1", model[1])]


def test_of_very_many_layers_some_are_watched_evenly():
    layers = [(str(number), nn.Identity()) for number in range(301)]

    chosen = [int(name) for name, _ in spread_evenly(layers, 4)]

    assert chosen == [0, 100, 200, 300]
    assert spread_evenly(layers, 301) == layers


def test_ones_own_choice_of_layers(tmp_path: Path):
    record = watch(tmp_path, find=lambda model: [("head", model[3])])

    assert record.names == ["head"]


class Twice(nn.Module):
    """One layer that runs twice, one that never does."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.idle = nn.Linear(192, 192), nn.Linear(192, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x.flatten(1))
        return self.head(self.body(x * 100))


def test_a_layer_that_runs_twice_counts_once_and_one_that_never_runs_has_no_numbers(tmp_path: Path):
    model = Twice()

    record = watch(tmp_path, model=model, find=lambda m: [("body", m.body), ("idle", m.idle)])

    assert record.stds[0][0] < 2
    assert math.isnan(record.means[1][0])
    assert sum(record.hists[1][0]) == 0


def test_layers_that_are_frozen_in_evaluation_mode_are_seen(tmp_path: Path):
    class Freeze(Callback):
        def begin_epoch(self) -> None:
            self.model[0].eval()

    path = tmp_path / "telemetry.json"
    learner_of(small_cnn(), Freeze(), Telemetry(path)).fit(1)

    assert read_telemetry(path).stds[0][0] > 0


# -- how long it gets -------------------------------------------------------------------------------------------------


def test_a_long_training_is_thinned_out_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telemetry, "MAX_STEPS", 5)

    record = watch(tmp_path, n_epochs=6, every=1)

    assert (record.steps, record.every) == ([1, 9, 17], 8)


@pytest.mark.parametrize("cut", [1, 3])
def test_a_resumed_fit_ends_in_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int):
    monkeypatch.setattr(telemetry, "MAX_STEPS", 7)
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    learner_of(small_cnn(), Telemetry(whole, every=1)).fit(4)
    learner, again = learner_of(small_cnn()), learner_of(small_cnn())
    learner.fit(cut, [Telemetry(broken, every=1)])
    state, stop = copy.deepcopy(learner.state_dict()), EventLog("after_pred", KeyboardInterrupt(), nth=3)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(4, [Telemetry(broken, every=1), stop], first_epoch=cut)

    again.fit(4, [Telemetry(broken, every=1)], first_epoch=again.load_state_dict(state))

    assert broken.read_bytes() == whole.read_bytes()


def test_a_fit_from_the_beginning_begins_a_new_file(tmp_path: Path):
    path = tmp_path / "telemetry.json"
    learner = learner_of(small_cnn(), Telemetry(path, every=2))
    learner.fit(2)

    learner.fit(1)

    assert read_telemetry(path).steps == [1, 3]


def test_a_resumed_fit_without_a_file_begins_one(tmp_path: Path):
    path = tmp_path / "telemetry.json"

    learner_of(small_cnn()).fit(2, [Telemetry(path, every=2)], first_epoch=1)

    assert read_telemetry(path).steps == [5, 7]


def test_going_on_with_other_layers_is_refused(tmp_path: Path):
    path = tmp_path / "telemetry.json"
    learner = learner_of(small_cnn())
    learner.fit(1, [Telemetry(path)])

    with pytest.raises(CheckpointError) as caught:
        learner.fit(2, [Telemetry(path, find=lambda model: [("other", model[0])])], first_epoch=1)

    assert str(caught.value) == (
        f"telemetry.json is of other layers than this model's\n  where: {path}\n"
        "  fix: move it aside, or go on with the model and the layers that it was made with"
    )


class Kill(Callback):
    """End the fit after so many training batches; `state` and `file` are what a kill would leave there."""

    _order = 300

    def __init__(self, path: Path, n_left: int) -> None:
        self.path, self.n_left = path, n_left

    def after_batch(self) -> None:
        self.n_left -= self.in_train
        if not self.n_left:
            self.state = copy.deepcopy(self.learner.state_dict())
            self.file = self.path.read_bytes() if self.path.exists() else None
            raise CancelTrainException


def of_eight_batches(callback: Telemetry, *callbacks: Callback) -> Learner:
    dls = ShuffledLoaders(images([32], seed=1)[0], images([4], seed=2), size=4)
    return make_learner(dls, callback, *callbacks, model=small_cnn())


def killed(path: Path, n_batches: int, **options: Any) -> dict[str, Any]:
    """Leave what a fit that was killed after so many batches leaves, and return its state."""
    kill = Kill(path, n_batches)
    of_eight_batches(Telemetry(path, **options), kill).fit(2)
    path.unlink() if kill.file is None else path.write_bytes(kill.file)
    return dict(kill.state)


@pytest.mark.parametrize("n_batches", [1, 2, 7, 8, 9, 12, 15])
def test_a_fit_killed_inside_an_epoch_ends_in_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_batches: int
):
    monkeypatch.setattr(telemetry, "MAX_STEPS", 5)
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    of_eight_batches(Telemetry(whole, every=1)).fit(2)
    state = killed(broken, n_batches, every=1)

    again = of_eight_batches(Telemetry(broken, every=1))
    again.fit(2, first_epoch=again.load_state_dict(state), first_batch=again.batches_done)

    assert broken.read_bytes() == whole.read_bytes()


def test_steps_that_no_file_holds_are_in_the_state(tmp_path: Path):
    first = killed(tmp_path / "a.json", 2, every=1)["callbacks"]["telemetry"]
    second = killed(tmp_path / "b.json", 11, every=1)["callbacks"]["telemetry"]

    assert (first["names"], first["every"], first["steps"]) == (["0", "1"], 1, [1, 2])
    assert (first["moments"].shape, first["counts"].shape) == ((2, 2, 3), (2, 2, 40))
    assert second["steps"] == [9, 10, 11]


def test_those_of_the_file_stay_out_of_the_state_of_a_fit_that_goes_on(tmp_path: Path):
    path = tmp_path / "telemetry.json"
    of_eight_batches(Telemetry(path, every=4)).fit(1)
    callback = Telemetry(path, every=4)

    of_eight_batches(callback, kill := Kill(path, 2)).fit(2, first_epoch=1)

    assert kill.state["callbacks"]["telemetry"]["steps"] == [9]


def test_a_second_fit_from_the_beginning_has_a_state_of_its_own(tmp_path: Path):
    path = tmp_path / "telemetry.json"
    learner = of_eight_batches(Telemetry(path, every=1))
    learner.fit(1)

    learner.fit(1, [kill := Kill(path, 2)])

    assert kill.state["callbacks"]["telemetry"]["steps"] == [1, 2]


def test_a_checkpoint_of_a_whole_epoch_finds_all_steps_in_the_file(tmp_path: Path):
    class States(Callback):
        _order = 60

        def after_epoch(self) -> None:
            self.found = self.learner.state_dict()["callbacks"]
            self.steps = read_telemetry(tmp_path / "telemetry.json").steps

    states = States()

    learner_of(small_cnn(), Telemetry(tmp_path / "telemetry.json", every=1), states).fit(1)

    assert (states.found, states.steps) == ({}, [1, 2, 3, 4])


def test_steps_of_the_file_beyond_the_checkpoint_are_made_again(tmp_path: Path):
    path, dls = tmp_path / "telemetry.json", ShuffledLoaders(images([16], seed=1)[0], [], size=4)
    make_learner(dls, Telemetry(path, every=1), model=small_cnn()).fit(2)
    before = read_telemetry(path)
    saw = Telemetry(path, every=1, find=lambda model: watched_layers(model))

    make_learner(dls, saw, model=small_cnn()).fit(2, first_epoch=1, first_batch=1)

    after = read_telemetry(path)
    assert after.steps == before.steps == list(range(1, 9))
    assert after.means[0][:5] == before.means[0][:5]
    assert after.means[0][5:] != before.means[0][5:]  # of other weights


def test_a_begun_epoch_of_other_layers_is_refused(tmp_path: Path):
    state = killed(tmp_path / "killed.json", 2, find=lambda model: [("other", model[0])])
    learner = of_eight_batches(Telemetry(tmp_path / "new.json"))
    learner.load_state_dict(state)

    with pytest.raises(CheckpointError) as caught:
        learner.fit(1, first_batch=learner.batches_done)

    assert str(caught.value) == (
        "the checkpoint has telemetry of other layers than this model's\n  where: Telemetry: find\n"
        "  fix: go on with the model and the layers that the epoch was begun with"
    )


# -- the hooks --------------------------------------------------------------------------------------------------------


class CountHooks(Callback):
    """How many hooks are on the model at each event."""

    _order = 300

    def __init__(self) -> None:
        self.seen: set[tuple[str, bool, int]] = set()

    def _look(self, event: str) -> None:
        self.seen.add((event, self.learner.in_train, n_hooks(self.learner.model)))

    def begin_batch(self) -> None:
        self._look("begin_batch")

    def after_pred(self) -> None:
        self._look("after_pred")

    def after_batch(self) -> None:
        self._look("after_batch")


def test_hooks_are_on_during_the_forward_pass_of_such_a_step_alone(tmp_path: Path):
    count, model = CountHooks(), small_cnn()

    learner_of(model, Telemetry(tmp_path / "telemetry.json", every=2), count).fit(1)

    assert count.seen == {
        ("begin_batch", True, 2),
        ("begin_batch", True, 0),
        ("begin_batch", False, 0),
        *((event, in_train, 0) for event in ("after_pred", "after_batch") for in_train in (True, False)),
    }
    assert n_hooks(model) == 0


@pytest.mark.parametrize("event", ["begin_batch", "after_pred", "after_loss", "after_epoch"])
def test_after_an_exception_no_hook_is_left_and_what_was_seen_is_written(tmp_path: Path, event: str):
    log, model, path = EventLog(event, ValueError("broken"), nth=2), small_cnn(), tmp_path / "telemetry.json"
    log._order = 130

    with pytest.raises(ValueError, match="broken"):
        learner_of(model, Telemetry(path, every=1), log).fit(3)

    assert n_hooks(model) == 0
    assert (
        len(read_telemetry(path).steps) == {"begin_batch": 1, "after_pred": 2, "after_loss": 2, "after_epoch": 8}[event]
    )


def test_after_a_model_that_fails_no_hook_is_left(tmp_path: Path):
    model = nn.Sequential(conv_layer(3, 4), nn.Flatten(), nn.Linear(5, 2))

    with pytest.raises(RuntimeError):
        learner_of(model, Telemetry(tmp_path / "telemetry.json")).fit(1)

    assert n_hooks(model) == 0


def test_a_cancelled_batch_is_not_seen(tmp_path: Path):
    log, path = EventLog("begin_batch", CancelBatchException(), nth=2), tmp_path / "telemetry.json"
    log._order = 130

    learner_of(small_cnn(), Telemetry(path, every=1), log).fit(1)

    assert read_telemetry(path).steps == [1, 3, 4]


def test_a_batch_that_is_only_looked_at_and_validation_leave_nothing(tmp_path: Path):
    model = small_cnn()
    learner = learner_of(model, Telemetry(tmp_path / "telemetry.json", every=1))

    learner.get_batch(in_train=True)
    learner.validate()

    assert n_hooks(model) == 0
    assert list(tmp_path.iterdir()) == []


# -- what cannot be ---------------------------------------------------------------------------------------------------


def test_a_model_without_layers_to_watch_is_refused_before_anything_runs(tmp_path: Path):
    log = EventLog()

    with pytest.raises(ConfigError) as caught:
        make_learner(None, Telemetry(tmp_path / "telemetry.json"), log).fit(1)

    assert str(caught.value) == (
        "found no layer to watch in a Linear\n  where: Telemetry: find\n"
        "  fix: hand in find=, a function that gives pairs of a name and a module of the model"
    )
    assert "begin_batch" not in log.log


def test_a_distance_below_one_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        Telemetry(tmp_path / "telemetry.json", every=0)

    assert str(caught.value) == (
        "every is 0, must be at least 1\n  where: Telemetry: every\n"
        "  fix: give the distance of the steps in training batches, 10 say"
    )
