"""The search for a learning rate: which rates, when it stops, that nothing is left of it, and what the curve says."""

from __future__ import annotations

import copy
import math
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import Batch, EventLog, Loaders, blobs, conv_net, images, linear, loaders, make_learner
from torch import Tensor, nn

from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.callbacks.batch_transforms import BatchTransforms
from imagekit.callbacks.device import DeviceCallback
from imagekit.callbacks.logs import CsvLog, JsonLines
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.callbacks.nan_guard import NanGuard
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.errors import ConfigError, TrainingError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException
from imagekit.learner.groups import body_and_head
from imagekit.learner.learner import Learner
from imagekit.learner.losses import cross_entropy
from imagekit.learner.lr_find import LRCurve, find_lr, noise_of, smooth
from imagekit.learner.train_eval import TrainEvalCallback
from imagekit.optim.presets import OPTIMIZERS
from imagekit.runs.layout import RunLayout

SHORT: dict[str, Any] = {"n_steps": 12, "start": 1e-4, "factor": 1e3}


def script(*values: float) -> Any:
    """A loss function that gives these values one after the other, the last for ever; the same in a copy."""
    left = list(values)

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return pred.sum() * 0 + (left.pop(0) if len(left) > 1 else left[0])

    return loss


class Broken(RuntimeError):
    pass


class BreakAtStep(Callback):
    def __init__(self, nth: int) -> None:
        self.nth = nth

    def after_step(self) -> None:
        self.nth -= 1
        if not self.nth:
            raise Broken("the cable came out")


class Epochs(Loaders):
    """Loaders that write down which epoch they were told."""

    def __init__(self, train: list[Batch], valid: list[Batch]) -> None:
        super().__init__(train, valid)
        self.told: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.told.append(epoch)


class Unreadable(list[Any]):
    def __iter__(self) -> Any:
        raise AssertionError("the validation data was gone through")


# -- the search -------------------------------------------------------------------------------------------------------


def test_the_rates_are_those_of_the_lesson_and_there_are_a_hundred():
    curve = find_lr(make_learner(loss_func=script(1.0)))

    assert len(curve.lrs) == len(curve.losses) == 100
    assert curve.lrs[0] == 1e-6
    assert curve.lrs[50] == pytest.approx(3.162e-3, rel=1e-4)
    assert curve.lrs == pytest.approx([1e-6 * 1e7 ** (i / 100) for i in range(100)])
    assert not curve.stopped_early


@pytest.mark.parametrize("n_steps", [1, 7])
def test_no_more_steps_are_made_than_were_asked_for(n_steps: int):
    steps: list[int] = []

    class Counted(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            steps.append(1)

    curve = find_lr(make_learner(opt_func=Counted), n_steps=n_steps)

    assert len(steps) == len(curve.lrs) == n_steps


def test_the_losses_are_those_of_a_loop_written_by_hand():
    learner = make_learner(loaders([4, 4, 3], []), model=nn.Sequential(linear(), nn.BatchNorm1d(2)))
    model = copy.deepcopy(learner.model).train()
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    expected = []
    for i in range(12):
        x, y = learner.data.train_dl[i % 3]
        opt.param_groups[0]["lr"] = 1e-4 * 1e3 ** (i / 12)
        loss = cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        opt.zero_grad()
        expected.append(loss.item())

    curve = find_lr(learner, **SHORT)

    assert curve.losses == tuple(expected)


@pytest.mark.parametrize(
    ("losses", "n"),
    [
        ([1.0, 1.0, 10.0, 10.1], 3),  # not beyond ten times
        ([1.0, math.nan], 1),
        ([1.0, 1.0, math.inf], 2),
        ([math.nan], 0),
        ([-1.0, -1.0, 100.0, math.nan], 3),  # ten times less than nothing says nothing
        ([0.0, 1.0, 100.0, math.nan], 3),
    ],
)
def test_it_stops_at_a_loss_beyond_ten_times_the_best_and_leaves_that_out(losses: list[float], n: int):
    curve = find_lr(make_learner(loss_func=script(*losses)))

    assert curve.losses == tuple(losses[:n])
    assert len(curve.lrs) == n
    assert curve.stopped_early


def test_one_lucky_batch_does_not_stop_it():
    # a trained model: losses of single batches differ a hundredfold
    curve = find_lr(make_learner(loss_func=script(*[0.1, 0.1, 0.001] * 6, 0.1)), n_steps=20)

    assert not curve.stopped_early


def test_another_limit_stops_it_earlier():
    assert len(find_lr(make_learner(loss_func=script(1.0, 1.0, 2.5)), stop_at=2.0).lrs) == 2


def test_few_batches_are_gone_through_again_and_nothing_is_validated():
    data = Epochs(blobs([4, 4, 4, 4, 4], seed=1), Unreadable(blobs([4], seed=2)))
    learner = make_learner(data)

    find_lr(learner, n_steps=12)

    assert data.told == [0, 1, 2, 0]  # at last the learner's own
    assert learner.epochs_done == 0


def test_the_events_are_those_of_a_training_that_was_cancelled():
    events: list[str] = []
    log = EventLog()
    log.__class__ = type("Shared", (EventLog,), {"__deepcopy__": lambda self, memo: self})
    log.log = events

    find_lr(make_learner(None, log), n_steps=1)

    step = ["begin_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch"]
    assert events == ["begin_fit", "begin_epoch", *step, "after_cancel_train", "after_fit"]


def test_progress_is_told():
    told: list[tuple[int, int]] = []

    find_lr(make_learner(), n_steps=3, progress=lambda *at: told.append(at))

    assert told == [(1, 3), (2, 3), (3, 3)]


# -- nothing is left of it --------------------------------------------------------------------------------------------


def facts_of(learner: Learner) -> dict[str, Any]:
    """Everything that a search could have changed, copied."""
    attributes = {name: value for name, value in vars(learner).items() if name not in ("model", "opt", "_handlers")}
    modules = [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in learner.model.modules()
    ]
    parameters = [
        (parameter.requires_grad, None if parameter.grad is None else parameter.grad.clone(), parameter.stride())
        for parameter in learner.model.parameters()
    ]
    return {
        "attributes": {name: copied(value) for name, value in attributes.items()},
        "model": {name: value.clone() for name, value in learner.model.state_dict().items()},
        "opt": learner.opt and copy.deepcopy(learner.opt.state_dict()),
        "modules": modules,
        "parameters": parameters,
        "callbacks": [
            {name: copied(value) for name, value in vars(callback).items()} for callback in learner.callbacks
        ],
        "handlers": {event: list(handlers) for event, handlers in learner._handlers.items()},
        "random": (torch.get_rng_state(), random.getstate(), repr(np.random.get_state())),
    }


def copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else list(value) if isinstance(value, list) else value


def same(a: Any, b: Any) -> bool:
    """Equal, tensors to the bit."""
    if isinstance(a, Tensor):
        return a is b or (a.dtype == b.dtype and a.equal(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b or a is b)


class Memory(Callback):
    """One with a state of every kind."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.n, self.mean = 0, torch.zeros(())

    def after_loss(self) -> None:
        self.losses.append(self.learner.loss.detach())
        self.n += 1
        self.mean += self.learner.loss.detach()


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("opt_func", [partial(torch.optim.Adam), OPTIMIZERS["lamb"]], ids=["torch", "ours"])
def test_learner_and_all_that_it_holds_are_as_before(opt_func: Any, fitted: bool, breaks: bool):
    model = nn.Sequential(conv_net(), nn.Dropout(0.5))
    model[0][0].weight.requires_grad_(False)
    model[0][2].eval()
    callbacks = [Memory(), MixedPrecision(), DeviceCallback("cpu"), ParamScheduler("dropout", lambda position: 0.25)]
    learner = make_learner(Loaders(images([4] * 3, seed=1), []), *callbacks, model=model, opt_func=opt_func)
    if fitted:
        learner.fit(2)
        cross_entropy(learner.model(images([4], seed=3)[0][0]), torch.zeros(4, dtype=torch.int64)).backward()
    before = facts_of(learner)

    if breaks:
        learner.add_callbacks([broken := BreakAtStep(3)])
        with pytest.raises(Broken):
            find_lr(learner, n_steps=5)
        assert broken.nth == 3
        learner.remove_callbacks([broken])
    else:
        find_lr(learner, n_steps=5)

    after = facts_of(learner)
    assert [name for name in before if not same(before[name], after[name])] == []


def test_python_s_and_numpy_s_random_numbers_are_never_touched(monkeypatch: pytest.MonkeyPatch):
    for name in ("seed", "setstate"):
        monkeypatch.setattr(random, name, None)
    for name in ("seed", "set_state"):
        monkeypatch.setattr(np.random, name, None)

    assert find_lr(make_learner(), n_steps=2).lrs


def test_called_again_it_gives_the_same_to_the_bit():
    learner = make_learner(model=nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 2)))

    assert find_lr(learner, **SHORT) == find_lr(learner, **SHORT)


def test_a_fit_after_it_is_the_fit_without_it():
    searched, plain = (make_learner(model=nn.Sequential(linear(), nn.Dropout(0.5))) for _ in "ab")

    find_lr(searched, **SHORT)
    for learner in (searched, plain):
        torch.manual_seed(5)
        learner.fit(2)

    assert same(searched.state_dict(), plain.state_dict())


def test_groups_that_a_splitter_holds_itself_are_not_trained_on():
    model = linear()
    held = list(model.parameters())  # of the learner's model, whatever model the splitter is given
    learner = make_learner(model=model, splitter=lambda _: held)
    before = model.weight.clone()

    curve = find_lr(learner, **SHORT)

    assert model.weight.equal(before)
    assert curve.losses[-1] < curve.losses[0]


def test_what_a_learner_of_another_class_does_is_done_in_the_search_too():
    class Noting(Learner):
        def one_batch(self, i_batch: int, batch: Any) -> None:
            self.noted.append(i_batch)
            self.places.append(self.position)
            super().one_batch(i_batch, batch)

    learner = make_learner()
    learner.__class__ = Noting
    learner.noted, learner.places = [], shared = [], []

    class Shared(Callback):
        def after_batch(self) -> None:
            shared.extend(self.learner.noted[-1:])

    learner.add_callbacks([Shared()])
    find_lr(learner, n_steps=3)

    assert learner.noted == []
    assert shared == [0, 1, 2]


def test_a_callback_that_holds_a_part_of_the_model_holds_that_of_the_copy():
    class HeldStill(TrainEvalCallback):
        def __init__(self, part: nn.Module) -> None:
            self.part = part

        def begin_epoch(self) -> None:
            self.learner.model.train()
            self.part.eval()

    norm = nn.BatchNorm1d(2)
    learner = make_learner(None, HeldStill(norm), BreakAtStep(2), model=nn.Sequential(linear(), norm))

    with pytest.raises(Broken) as caught:
        find_lr(learner)

    frames = [frame.frame.f_locals.get("self") for frame in caught.traceback]
    trial = next(each for each in frames if isinstance(each, Learner) and each is not learner)
    assert (norm.training, trial.model[1].training, trial.model.training) == (True, False, True)
    assert trial.callbacks[0].part is trial.model[1]


def test_what_cannot_be_copied_is_named_and_can_be_left_out():
    class Keeper(Callback):
        def __init__(self) -> None:
            self.lines = (line for line in "ab")

    learner = make_learner(None, Keeper())

    with pytest.raises(ConfigError) as caught:
        find_lr(learner)

    assert str(caught.value) == (
        "the learner's callback keeper cannot be copied: cannot pickle 'generator' object\n"
        "  where: find_lr: learner\n"
        "  fix: leave out a callback by without=(ItsClass,); search with a model that copy.deepcopy takes"
    )
    assert len(find_lr(learner, n_steps=3, without=(Keeper,)).lrs) == 3


# -- callbacks and groups ---------------------------------------------------------------------------------------------


def seen_rates(learner: Learner) -> list[float]:
    """The rates with which the steps of a search were really made."""
    rates: list[float] = []

    class Seeing(Callback):
        def after_step(self) -> None:
            rates.append(self.learner.opt.param_groups[0]["lr"])

    learner.add_callbacks([Seeing()])
    assert len(find_lr(learner, n_steps=4).lrs) == 4
    return rates


class SetRate(Callback):
    def begin_batch(self) -> None:
        self.learner.opt.param_groups[0]["lr"] = 7.0


@pytest.mark.parametrize("callback", [ParamScheduler("lr", lambda position: 7.0), SetRate()])
def test_no_schedule_of_the_learning_rate_overrules_the_search(callback: Callback):
    rates = seen_rates(make_learner(None, callback))

    assert rates == pytest.approx([1e-6 * 1e7 ** (i / 4) for i in range(4)])


def test_schedules_of_other_hypers_of_the_optimizer_stay_out():
    momenta: list[float] = []

    class Seeing(Callback):
        def after_step(self) -> None:
            momenta.append(self.learner.opt.param_groups[0]["momentum"])

    find_lr(make_learner(None, ParamScheduler("momentum", lambda position: 0.5), Seeing()), n_steps=3)

    assert momenta == [0.9] * 3


def test_schedules_of_other_things_stay_where_a_training_begins():
    rates: list[float] = []
    schedule = ParamScheduler("dropout", lambda position: rates.append(position) or 0.5)

    find_lr(make_learner(None, schedule, model=nn.Sequential(linear(), nn.Dropout(0.1))), n_steps=50)

    assert len(rates) == 50
    assert max(rates) < 1e-3


def test_batch_transforms_and_precision_are_those_of_the_training():
    class Seeing(Callback):
        def after_pred(self) -> None:
            seen.append((self.learner.xb.max().item(), self.learner.pred.dtype))

    seen: list[Any] = []
    transforms = BatchTransforms([lambda x: x.clamp(max=0.25)])

    find_lr(make_learner(None, transforms, MixedPrecision(), Seeing()), n_steps=2)

    assert seen == [(0.25, torch.bfloat16)] * 2


def test_callbacks_that_write_files_stay_out(tmp_path: Path):
    writers = [NanGuard(RunLayout(tmp_path)), JsonLines(tmp_path / "events.jsonl"), CsvLog(tmp_path / "rows.csv")]

    curve = find_lr(make_learner(None, *writers, loss_func=script(1.0, math.nan)))

    assert curve.stopped_early
    assert list(tmp_path.iterdir()) == []


def test_parameter_groups_keep_the_ratio_of_their_rates():
    class Seeing(Callback):
        def after_step(self) -> None:
            rates.append([group["lr"] for group in self.learner.opt.param_groups])

    rates: list[list[float]] = []
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))

    curve = find_lr(make_learner(None, Seeing(), model=model, splitter=body_and_head, lr=[0.01, 0.1]), n_steps=3)

    assert [head for _, head in rates] == list(curve.lrs)
    assert [head / body for body, head in rates] == pytest.approx([10.0] * 3)


def test_rates_that_a_schedule_took_to_zero_rise_alike():
    learner = make_learner(None, ParamScheduler("lr", lambda position: 0.0))
    learner.fit(1)

    assert seen_rates(learner) == pytest.approx([1e-6 * 1e7 ** (i / 4) for i in range(4)])


def test_a_last_group_that_is_not_trained_is_refused():
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))

    with pytest.raises(ConfigError) as caught:
        find_lr(make_learner(model=model, splitter=body_and_head, lr=[0.1, 0.0]))

    assert str(caught.value) == (
        "lr is 0 in the last of 2 parameter groups, and is above 0 in others\n"
        "  where: find_lr: learner\n"
        "  fix: give the last group a learning rate: the others keep their ratio to it"
    )


def test_batches_that_are_added_up_have_one_rate_and_their_mean_loss():
    loss = script(3.0, 4.0, 5.0, 2.0, 2.0, 5.0, 1.0)

    # of two batches in an epoch none is the last of it: a step is made of three all through
    curve = find_lr(make_learner(None, GradientAccumulation(3), loss_func=loss), n_steps=3)

    assert curve.losses == (4.0, 3.0, 1.0)
    assert curve.lrs == pytest.approx([1e-6 * 1e7 ** (i / 3) for i in range(3)])


def test_the_losses_of_half_precision_are_those_before_they_are_scaled():
    narrow, wide = (
        find_lr(make_learner(None, *callbacks), **SHORT)
        for callbacks in ([MixedPrecision(dtype=torch.float16, init_scale=512.0)], [])
    )

    assert narrow.losses == pytest.approx(wide.losses, rel=0.02)


def test_batches_that_never_reach_a_step_end_the_search(monkeypatch: pytest.MonkeyPatch):
    class Never(Callback):
        def after_backward(self) -> None:
            raise CancelBatchException

    monkeypatch.setattr("imagekit.learner.lr_find.MOST_WAITED", 20)

    with pytest.raises(TrainingError) as caught:
        find_lr(make_learner(None, Never()))

    assert str(caught.value) == (
        "not one of 20 batches reached its step\n"
        "  where: find_lr\n"
        "  fix: leave out the callback that cancels them: without=(ItsClass,)"
    )


# -- what cannot be ---------------------------------------------------------------------------------------------------


def test_no_training_batch_is_an_error():
    with pytest.raises(TrainingError) as caught:
        find_lr(make_learner(loaders([], [4])))

    assert str(caught.value) == (
        "the training data has no batch\n"
        "  where: Learner.fit: data.train_dl\n"
        "  fix: check that the train split has images, and that no incomplete batch was dropped"
    )


def test_batches_that_can_be_gone_through_once_are_refused_when_they_end():
    class Once:
        def __init__(self, batches: list[Batch]) -> None:
            self.left = iter(batches)

        def __iter__(self) -> Any:
            return self.left

        def __len__(self) -> int:
            return 2

    with pytest.raises(TrainingError) as caught:
        find_lr(make_learner(Loaders(Once(blobs([4, 4], seed=1)), [])))

    assert str(caught.value) == (
        "the training data gave no batch when it was gone through for the second time\n"
        "  where: find_lr: learner.data.train_dl\n"
        "  fix: give batches that can be gone through again, a list or a DataLoader, say"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"start": 0.0},
            "start is 0.0, must be a number above 0\n  where: find_lr: start\n  fix: leave it out for 1e-6",
        ),
        (
            {"factor": 1.0},
            "factor is 1.0, must be a number above 1, and start * factor finite\n"
            "  where: find_lr: factor\n  fix: leave it out for 1e7",
        ),
        (
            {"start": 1e10, "factor": 1e300},
            "factor is 1e+300, must be a number above 1, and start * factor finite\n"
            "  where: find_lr: factor\n  fix: leave it out for 1e7",
        ),
        ({"n_steps": 0}, "n_steps is 0, must be at least 1\n  where: find_lr: n_steps\n  fix: leave it out for 100"),
        ({"stop_at": 1.0}, "stop_at is 1.0, must be above 1\n  where: find_lr: stop_at\n  fix: leave it out for 10"),
    ],
)
def test_numbers_that_cannot_be_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as caught:
        find_lr(make_learner(), **options)

    assert str(caught.value) == message


def test_a_curve_with_more_rates_than_losses_is_refused():
    with pytest.raises(ConfigError) as caught:
        LRCurve(lrs=(1.0, 2.0), losses=(1.0,), stopped_early=False)

    assert str(caught.value) == (
        "there are 2 lrs and 1 losses\n  where: LRCurve\n  fix: give one loss for each learning rate"
    )


# -- what a curve says ------------------------------------------------------------------------------------------------


def curve_of(losses: Any, *, stopped_early: bool = False) -> LRCurve:
    lrs = tuple(1e-6 * 1e7 ** (i / 100) for i in range(len(losses)))
    return LRCurve(lrs=lrs, losses=tuple(float(loss) for loss in losses), stopped_early=stopped_early)


def falling(*, at: float, noise: float = 0.0, seed: int = 0, n: int = 85) -> LRCurve:
    """From 2.3 down to 1.4, steepest where log10 of the rate is `at`, and up again at the end."""
    logs = -6 + 7 * np.arange(n) / 100
    losses = 2.3 - 0.9 / (1 + np.exp(-4 * (logs - at))) + 0.05 * np.exp(6 * (logs + 0.7))
    return curve_of(losses + noise * np.random.default_rng(seed).standard_normal(n), stopped_early=True)


@settings(deadline=None, max_examples=20)
@given(at=st.floats(-4.0, -1.8))
def test_the_suggestion_is_where_the_curve_is_steepest(at: float):
    assert math.log10(falling(at=at).suggestion) == pytest.approx(at, abs=0.15)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_noise_moves_the_suggestion_by_less_than_a_factor_of_ten(seed: int):
    curve = falling(at=-2.5, noise=0.1, seed=seed)

    assert abs(math.log10(curve.suggestion) + 2.5) < 1
    assert curve.suggestion < curve.at_minimum_over_10 * 10


def test_the_tenth_of_the_minimum_is_on_the_safe_side_of_it():
    curve = falling(at=-2.5)

    lowest = curve.lrs[int(np.argmin(curve.losses))]
    assert lowest / 100 < curve.at_minimum_over_10 <= lowest / 10
    assert curve.remark is None


FLAT = "the loss never falls by more than it varies from step to step"


@pytest.mark.parametrize(
    ("losses", "remark"),
    [
        ([], "0 steps tell too little, 10 are the least; search in more steps"),
        ([2.3], "1 steps tell too little, 10 are the least; search in more steps"),
        ([1.0] * 100, FLAT),
        (np.linspace(1, 5, 100), FLAT),
        (2.3 + 0.2 * np.random.default_rng(0).standard_normal(100), FLAT),
        (
            [*np.linspace(9, 1, 6), *np.linspace(1, 30, 60)],
            "the loss is least at 2.2e-06, among the first steps: begin at a lower rate",
        ),
    ],
    ids=["none", "one", "flat", "rising", "noise", "early"],
)
def test_where_the_loss_never_falls_nothing_is_suggested_and_the_reason_said(losses: Any, remark: str):
    curve = curve_of(losses)

    assert (curve.suggestion, curve.at_minimum_over_10) == (None, None)
    assert curve.remark == remark


def test_a_loss_that_explodes_at_once_says_so():
    assert curve_of([1.0] * 3, stopped_early=True).remark == (
        "3 steps tell too little, 10 are the least; the loss exploded at once: begin at a lower rate"
    )


def test_a_loss_that_still_falls_at_the_end_says_to_search_further():
    curve = curve_of(np.linspace(3, 1, 100))

    assert curve.suggestion is not None
    assert curve.remark == "the loss still falls at 8.5, the last rate: a search up to greater ones tells more"


@settings(deadline=None, max_examples=30)
@given(losses=st.lists(st.floats(-1e6, 1e6), max_size=60), stopped=st.booleans())
def test_any_curve_has_a_suggestion_among_its_rates_or_a_remark(losses: list[float], stopped: bool):
    curve = curve_of(losses, stopped_early=stopped)

    if curve.suggestion is None:
        assert curve.remark
    else:
        assert curve.lrs[0] < curve.suggestion < 10 * curve.at_minimum_over_10 * (1 + 1e-12)


def test_smoothing_is_the_mean_weighted_by_the_distance_in_steps():
    values = np.array([1.0, 5.0, 2.0, 8.0])

    by_hand = [
        sum(0.9 ** abs(i - j) * value for j, value in enumerate(values)) / sum(0.9 ** abs(i - j) for j in range(4))
        for i in range(4)
    ]

    assert smooth(values) == pytest.approx(by_hand, abs=1e-12)
    assert smooth(np.full(5, 3.0)) == pytest.approx([3.0] * 5)


def test_noise_is_that_of_the_differences_and_no_trend():
    noise = np.random.default_rng(0).standard_normal(5000)

    assert noise_of(0.3 * noise + np.linspace(0, 100, 5000)) == pytest.approx(0.3, rel=0.1)
    assert noise_of(np.ones(1)) == 0.0


def test_plain_types_hold_everything():
    facts = falling(at=-2.5).to_dict()

    assert facts["suggestion"] == falling(at=-2.5).suggestion
    assert set(facts) == {
        "lrs", "losses", "smoothed", "stopped_early", "suggestion", "at_minimum_over_10", "remark",
    }  # fmt: skip


def test_the_suggestion_trains_where_lesser_and_greater_rates_do_not():
    def reached(lr: float) -> float:
        learner = make_learner(data, lr=lr, opt_func=torch.optim.SGD)
        learner.fit(1)
        with torch.no_grad():
            return float(cross_entropy(learner.model(x), y))

    data = Loaders(blobs([32] * 20, seed=1), [])
    for _, labels in data.train_dl:
        labels[:8] = 1 - labels[:8]  # a quarter is wrong: no rate makes the loss vanish
    x, y = (torch.cat(parts) for parts in zip(*data.train_dl, strict=True))

    curve = find_lr(make_learner(data, opt_func=torch.optim.SGD))

    first, suggested, last = (reached(lr) for lr in (curve.suggestion / 100, curve.suggestion, 100.0))
    assert suggested < 0.9 * min(first, last)
