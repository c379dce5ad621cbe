"""Model, batches and optimizer state are where the caller said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learner.toy import EventLog, linear, loaders, make_learner
from torch import nn

from imagekit.callbacks.device import DeviceCallback
from imagekit.callbacks.metrics import MetricsCallback
from imagekit.callbacks.nan_guard import NanGuard
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException
from imagekit.runs.layout import RunLayout


class Devices(Callback):
    _order = 50

    def __init__(self) -> None:
        self.seen: list[set[str]] = []

    def begin_batch(self) -> None:
        parts = [self.xb, self.yb, *self.model.parameters()]
        self.seen.append({part.device.type for part in parts})
        raise CancelBatchException  # "meta" cannot compute a loss


def test_model_and_inputs_move():
    devices = Devices()  # "meta" is a device that every machine has beside the CPU

    make_learner(loaders([2, 2], [2], with_keys=True), DeviceCallback("meta"), devices).fit(1)

    assert devices.seen == [{"meta"}] * 3


def test_loss_with_weights_moves_along():
    loss_func = nn.CrossEntropyLoss(weight=torch.ones(2))

    make_learner(None, DeviceCallback("meta"), Devices(), loss_func=loss_func).fit(1)

    assert loss_func.weight is not None
    assert loss_func.weight.device.type == "meta"


def test_optimizer_state_follows_its_parameters():
    learner = make_learner()
    learner.fit(1)
    assert learner.opt is not None
    for state in learner.opt.state.values():  # a type can be elsewhere on any machine, a device cannot
        state["momentum_buffer"] = state["momentum_buffer"].double()

    learner.fit(1, [DeviceCallback("cpu")])

    assert {state["momentum_buffer"].dtype for state in learner.opt.state.values()} == {torch.float32}
    in_one_go = make_learner()
    in_one_go.fit(2)
    for one, other in zip(learner.model.parameters(), in_one_go.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_a_batch_carries_besides_stays_where_and_as_it_is():
    class Names(Callback):
        def begin_batch(self) -> None:
            assert self.batch[2] == ["a.jpg", "b.jpg"]

    dls = loaders([2], [])
    dls.train_dl = [(*dls.train_dl[0], ["a.jpg", "b.jpg"])]
    log = EventLog()

    make_learner(dls, DeviceCallback("cpu"), Names(), log).fit(1)

    assert "after_step" in log.log


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_whole_fit_runs_on_a_gpu_without_waiting_for_it_in_the_loop(tmp_path: Path):
    class NoWaiting(Callback):
        """Any wait between the first and the last event of a training batch is an error."""

        _order = -4

        def begin_batch(self) -> None:
            torch.cuda.set_sync_debug_mode("error")

        def after_batch(self) -> None:
            torch.cuda.set_sync_debug_mode("default")

    learner = make_learner(None, MetricsCallback(), NanGuard(RunLayout(tmp_path)), model=linear())
    learner.fit(1)

    learner.fit(2, [DeviceCallback("cuda"), NoWaiting()])

    assert next(learner.model.parameters()).is_cuda
    assert learner.opt is not None
    assert all(state["momentum_buffer"].is_cuda for state in learner.opt.state.values())
    assert learner.row["train_loss"] > 0
