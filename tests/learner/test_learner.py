"""The loop: the order of events, what each cancel skips, and that it is the loop one would write by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from learner.toy import EventLog, blobs, conv_net, images, linear, loaders, make_learner
from learner.toy import Loaders as ToyLoaders
from torch import Tensor, nn

from imagekit.errors import CheckpointError, ConfigError, TrainingError
from imagekit.learner.callback import Callback
from imagekit.learner.events import (
    EVENTS,
    CancelBatchException,
    CancelEpochException,
    CancelTrainException,
)
from imagekit.learner.learner import Learner
from imagekit.learner.train_eval import TrainEvalCallback

STEP = ["begin_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch"]
LOOK = ["begin_batch", "after_pred", "after_loss", "after_batch"]
EPOCH = ["begin_epoch", *STEP, *STEP, "begin_validate", *LOOK, "after_epoch"]


def log_of(event: str = "", error: BaseException | None = None, *, nth: int = 1, n_epochs: int = 2) -> list[str]:
    log = EventLog(event, error, nth=nth)
    make_learner(None, log).fit(n_epochs)
    return list(log.log)


# -- events -----------------------------------------------------------------------------------------------------------


def test_two_epochs_fire_every_event_in_its_place():
    assert log_of() == ["begin_fit", *EPOCH, *EPOCH, "after_fit"]


def test_events_are_the_fourteen_of_the_lessons():
    assert len(EVENTS) == len(set(EVENTS)) == 14
    assert set(log_of()) | {"after_cancel_batch", "after_cancel_epoch", "after_cancel_train"} == set(EVENTS)


@pytest.mark.parametrize("at", STEP[:-1])
def test_cancelled_batch_skips_its_rest_and_nothing_else(at: str):
    done = STEP[: STEP.index(at) + 1]

    log = log_of(at, CancelBatchException())

    first = ["begin_epoch", *done, "after_cancel_batch", "after_batch", *STEP, "begin_validate", *LOOK, "after_epoch"]
    assert log == ["begin_fit", *first, *EPOCH, "after_fit"]


@pytest.mark.parametrize("at", LOOK[:-1])
def test_batch_cancelled_in_validation_still_reaches_after_batch(at: str):
    log = log_of(at, CancelBatchException(), nth=3)  # the third batch of an epoch is the validation batch

    look = [*LOOK[: LOOK.index(at) + 1], "after_cancel_batch", "after_batch"]
    first = ["begin_epoch", *STEP, *STEP, "begin_validate", *look, "after_epoch"]
    assert log == ["begin_fit", *first, *EPOCH, "after_fit"]


@pytest.mark.parametrize("at", ["begin_epoch", *STEP])
def test_epoch_cancelled_in_training_still_validates(at: str):
    done = [] if at == "begin_epoch" else STEP[: STEP.index(at) + 1]
    closing = [] if at in ("begin_epoch", "after_batch") else ["after_batch"]

    log = log_of(at, CancelEpochException())

    first = ["begin_epoch", *done, *closing, "after_cancel_epoch", "begin_validate", *LOOK, "after_epoch"]
    assert log == ["begin_fit", *first, *EPOCH, "after_fit"]


@pytest.mark.parametrize("at", ["begin_validate", *LOOK])
def test_epoch_cancelled_in_validation_still_reaches_after_epoch(at: str):
    done = [] if at == "begin_validate" else LOOK[: LOOK.index(at) + 1]
    closing = [] if at in ("begin_validate", "after_batch") else ["after_batch"]

    log = log_of(at, CancelEpochException(), nth=1 if at == "begin_validate" else 3)

    first = ["begin_epoch", *STEP, *STEP, "begin_validate", *done, *closing, "after_cancel_epoch", "after_epoch"]
    assert log == ["begin_fit", *first, *EPOCH, "after_fit"]


@pytest.mark.parametrize("at", ["begin_fit", "begin_epoch", *STEP, "begin_validate", "after_epoch"])
def test_cancelled_training_skips_validation_and_after_epoch(at: str):
    whole = ["begin_fit", *EPOCH]
    done = whole[: whole.index(at) + 1]
    closing = ["after_batch"] if at in STEP[:-1] else []

    log = log_of(at, CancelTrainException())

    assert log == [*done, *closing, "after_cancel_train", "after_fit"]


@pytest.mark.parametrize(
    ("at", "error"),
    [(at, CancelBatchException()) for at in ("begin_fit", "begin_epoch", "begin_validate", "after_epoch", "after_fit")]
    + [(at, CancelEpochException()) for at in ("begin_fit", "after_epoch", "after_fit")]
    + [("after_batch", CancelBatchException()), ("after_fit", CancelTrainException())],
)
def test_cancel_with_nothing_to_cancel_leaves_the_fit_after_after_fit(at: str, error: Exception):
    log = EventLog(at, error)

    with pytest.raises(type(error)):
        make_learner(None, log).fit(2)

    assert log.log[-1] == "after_fit"
    assert log.log.count("after_fit") == 1


@pytest.mark.parametrize("at", ["after_cancel_batch", "after_cancel_epoch", "after_cancel_train"])
@pytest.mark.parametrize("error", [CancelBatchException(), CancelEpochException(), CancelTrainException()])
def test_cancel_at_a_cancel_event_goes_one_level_up_or_out(at: str, error: Exception):
    first = {"batch": CancelBatchException(), "epoch": CancelEpochException(), "train": CancelTrainException()}
    starter = EventLog("after_pred", first[at.rpartition("_")[2]])
    log = EventLog(at, error)
    learner = make_learner(None, starter, log)
    levels = ["batch", "epoch", "train"]
    own = levels.index(at.rpartition("_")[2])
    raised = [CancelBatchException, CancelEpochException, CancelTrainException].index(type(error))

    if raised > own:
        learner.fit(2)
        assert f"after_cancel_{levels[raised]}" in log.log
    else:
        with pytest.raises(type(error)):
            learner.fit(2)
    assert log.log[-1] == "after_fit"


def test_other_exceptions_run_after_batch_and_after_fit_and_are_kept_as_the_failure():
    log = EventLog("after_loss", error := RuntimeError("the cable came out"))
    learner = make_learner(None, log)

    with pytest.raises(RuntimeError, match="the cable came out"):
        learner.fit(2)

    assert log.log == ["begin_fit", "begin_epoch", *STEP[:3], "after_batch", "after_fit"]
    assert learner.failure is error
    learner.fit(1)
    assert learner.failure is None


def test_callback_that_stops_at_ten_steps_lets_eleven_happen():
    class StopAtTen(Callback):
        def __init__(self) -> None:
            self.n_steps = 0

        def after_step(self) -> None:
            self.n_steps += 1
            if self.n_iter >= 10:
                raise CancelTrainException

    stopper = StopAtTen()

    make_learner(loaders([2] * 20, [2]), stopper).fit(3)

    assert stopper.n_steps == 11


def test_what_a_handler_returns_is_ignored():
    class Talkative(Callback):
        def begin_epoch(self) -> bool:
            return True

        def begin_batch(self) -> bool:
            return False

    log = EventLog()

    make_learner(None, Talkative(), log).fit(1)

    assert log.log == ["begin_fit", *EPOCH, "after_fit"]


def test_stop_ends_the_training_after_the_batch():
    class Stopper(Callback):
        def after_pred(self) -> None:
            self.learner.stop = True

    log = EventLog()
    learner = make_learner(None, log)

    learner.fit(2, [Stopper()])

    assert log.log == ["begin_fit", "begin_epoch", *STEP, "after_cancel_train", "after_fit"]
    assert learner.stop
    learner.fit(1)
    assert not learner.stop
    assert learner.epochs_done == 1


# -- callbacks --------------------------------------------------------------------------------------------------------


class Named(Callback):
    def __init__(self, name_it_has: str, order: int, log: list[str]) -> None:
        self.called, self.log = name_it_has, log
        self._order = order  # type: ignore[misc]

    def begin_fit(self) -> None:
        self.log.append(self.called)


def test_callbacks_run_by_order_and_equals_as_they_were_added():
    log: list[str] = []
    callbacks = [Named("c", 5, log), Named("a", -1, log), Named("d", 5, log), Named("b", 0, log)]

    make_learner(None, *callbacks).fit(0)

    assert log == ["a", "b", "c", "d"]


@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()])
def test_callbacks_of_one_fit_are_gone_afterwards(error: BaseException | None):
    learner = make_learner()
    before = list(learner.callbacks)
    log = EventLog("after_pred" if error else "", error)

    if error is None:
        learner.fit(1, [log])
    else:
        with pytest.raises(type(error)):
            learner.fit(1, [log])

    assert learner.callbacks == before
    n = len(log.log)
    learner.fit(1)
    assert len(log.log) == n


def test_callbacks_are_removed_also_when_the_fit_cannot_start():
    learner = make_learner()

    with pytest.raises(ConfigError):
        learner.fit(-1, [EventLog()])

    assert [type(callback) for callback in learner.callbacks] == [TrainEvalCallback]


def test_a_class_in_place_of_an_object_is_refused():
    with pytest.raises(ConfigError) as caught:
        make_learner(None, TrainEvalCallback)  # type: ignore[arg-type]

    assert str(caught.value) == (
        "<class 'imagekit.learner.train_eval.TrainEvalCallback'> is not a callback\n"
        "  where: Learner: callbacks\n"
        "  fix: hand in objects of a class derived from Callback, ParamScheduler(...) say"
    )


def test_learner_has_one_train_eval_callback_its_own_or_the_one_it_was_handed():
    class Frozen(TrainEvalCallback):
        pass

    assert [type(callback) for callback in make_learner().callbacks] == [TrainEvalCallback]
    assert [type(callback) for callback in make_learner(None, Frozen()).callbacks] == [Frozen]


def test_find_gives_the_callback_of_a_class_or_none():
    learner = make_learner(None, log := EventLog())

    assert learner.find(EventLog) is log
    assert learner.find(Named) is None


# -- modes, counts, positions -----------------------------------------------------------------------------------------


def test_model_trains_in_training_mode_and_validates_in_evaluation_mode_without_gradients():
    class Modes(Callback):
        def __init__(self) -> None:
            self.modes: list[tuple[bool, bool, bool]] = []

        def after_loss(self) -> None:
            self.modes.append((self.in_train, self.model.training, self.loss.requires_grad))

    modes = Modes()

    make_learner(None, modes).fit(2)

    assert modes.modes == [(True, True, True), (True, True, True), (False, False, False)] * 2


def test_position_goes_from_zero_towards_one_by_batches():
    class Positions(Callback):
        def __init__(self) -> None:
            self.at: list[tuple[str, float, int, int]] = []

        def begin_batch(self) -> None:
            self.at.append(("train" if self.in_train else "valid", self.position, self.epoch, self.n_iter))

    positions = Positions()
    learner = make_learner(loaders([4, 4, 4, 4], [4]), positions)

    learner.fit(2)

    first = [("train", i / 8, 0, i) for i in range(4)] + [("valid", 0.5, 0, 4)]
    second = [("train", 0.5 + i / 8, 1, 4 + i) for i in range(4)] + [("valid", 1.0, 1, 8)]
    assert positions.at == first + second
    assert learner.position == 1.0


def test_position_before_any_fit_is_zero_and_at_begin_fit_that_of_the_first_epoch():
    class Position(Callback):
        at = -1.0

        def begin_fit(self) -> None:
            self.at = self.position

    position = Position()
    learner = make_learner(None, position)

    assert learner.position == 0.0
    learner.fit(4, first_epoch=1)
    assert position.at == 0.25


def test_resumed_fit_has_the_positions_of_the_whole_one():
    class Positions(Callback):
        def __init__(self) -> None:
            self.at: list[tuple[float, int]] = []

        def begin_batch(self) -> None:
            self.at.append((self.position, self.n_iter))

    whole, second_half = Positions(), Positions()

    make_learner(None, whole).fit(4)
    make_learner(None, second_half).fit(4, first_epoch=2)

    assert second_half.at == whole.at[len(whole.at) // 2 :]


@pytest.mark.parametrize(("n_epochs", "first_epoch"), [(-1, 0), (2, 3), (2, -1)])
def test_epoch_numbers_that_cannot_be_are_shown(n_epochs: int, first_epoch: int):
    with pytest.raises(ConfigError) as caught:
        make_learner().fit(n_epochs, first_epoch=first_epoch)

    assert str(caught.value) == (
        f"n_epochs is {n_epochs} and first_epoch is {first_epoch}\n"
        "  where: Learner.fit\n"
        "  fix: ask for 0 <= first_epoch <= n_epochs"
    )


def test_no_epochs_left_is_a_fit_of_two_events():
    log = EventLog()

    make_learner(None, log).fit(2, first_epoch=2)

    assert log.log == ["begin_fit", "after_fit"]


def test_training_data_without_a_batch_says_so():
    with pytest.raises(TrainingError) as caught:
        make_learner(ToyLoaders([], blobs([2], seed=1))).fit(1)

    assert str(caught.value) == (
        "the training data has no batch\n"
        "  where: Learner.fit: data.train_dl\n"
        "  fix: check that the train split has images, and that no incomplete batch was dropped"
    )


@pytest.mark.parametrize("valid_every", [0, 1.5])
def test_a_number_of_epochs_that_is_none_is_refused(valid_every):
    with pytest.raises(ConfigError) as caught:
        make_learner(None, valid_every=valid_every)

    assert str(caught.value) == (
        f"valid_every is {valid_every!r}, must be a whole number, at least 1\n  where: Learner: valid_every\n"
        "  fix: give 1 to validate after every epoch"
    )


def test_empty_validation_data_is_allowed():
    log = EventLog()

    make_learner(ToyLoaders(blobs([2], seed=1), []), log).fit(1)

    assert log.log == ["begin_fit", "begin_epoch", *STEP, "begin_validate", "after_epoch", "after_fit"]


def test_validate_fires_the_validation_events_and_changes_no_weight():
    log = EventLog()
    learner = make_learner(ToyLoaders([], blobs([4, 3], seed=1)), log)
    before = [param.clone() for param in learner.model.parameters()]

    row = learner.validate()

    assert log.log == ["begin_fit", "begin_validate", *LOOK, *LOOK, "after_epoch", "after_fit"]
    assert row is learner.row
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))


def test_validate_after_a_stopped_fit_sees_every_batch():
    class Stopper(Callback):
        def after_step(self) -> None:
            self.learner.stop = True

    learner = make_learner()
    learner.fit(1, [Stopper()])
    learner.add_callbacks([log := EventLog()])

    learner.validate()

    assert log.log == ["begin_fit", "begin_validate", *LOOK, "after_epoch", "after_fit"]


def test_validate_can_be_cancelled_and_keeps_its_failure():
    log = EventLog("after_pred", CancelTrainException())
    make_learner(None, log).validate()
    broken = make_learner(None, EventLog("after_pred", error := ValueError("broken")))

    with pytest.raises(ValueError, match="broken"):
        broken.validate()

    assert log.log[-3:] == ["after_batch", "after_cancel_train", "after_fit"]
    assert broken.failure is error


# -- optimizer --------------------------------------------------------------------------------------------------------


def test_second_fit_goes_on_with_the_optimizer_and_its_state():
    learner = make_learner()
    learner.fit(1)
    opt = learner.opt

    learner.fit(1)

    assert learner.opt is opt
    in_one_go = make_learner()
    in_one_go.fit(2)
    assert_same_weights(learner.model, in_one_go.model)


def test_reset_opt_makes_a_new_optimizer():
    learner = make_learner()
    learner.fit(1)
    opt = learner.opt

    learner.fit(0, reset_opt=True)

    assert learner.opt is not opt
    assert not learner.opt.state


def test_splitter_gives_each_group_its_own_learning_rate():
    def split(model: Any) -> list[dict[str, Any]]:
        return [{"params": [model.weight], "lr": 0.0}, {"params": [model.bias]}]

    learner = make_learner(splitter=split)
    weight, bias = (param.detach().clone() for param in learner.model.parameters())

    learner.fit(1)

    after = list(learner.model.parameters())
    assert torch.equal(after[0], weight)
    assert not torch.equal(after[1], bias)


def test_cancelled_batch_keeps_its_gradient_for_the_next():
    class SumPairs(Callback):
        """Accumulate: step on every second batch only."""

        def after_loss(self) -> None:
            if self.in_train:
                self.learner.loss = self.learner.loss / 2

        def after_backward(self) -> None:
            if self.i_batch % 2 == 0:
                raise CancelBatchException

    parts = blobs([4, 4, 4, 4], seed=3)
    joined = [tuple(torch.cat(pair) for pair in zip(*parts[i : i + 2], strict=True)) for i in (0, 2)]
    small = make_learner(ToyLoaders(parts, []), SumPairs())
    large = make_learner(ToyLoaders(joined, []))

    small.fit(2)
    large.fit(2)

    assert small.n_iter == large.n_iter == 4
    for one, other in zip(small.model.parameters(), large.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_gradients_left_by_a_cancelled_fit_do_not_reach_the_next():
    learner = make_learner()
    learner.fit(1, [EventLog("after_backward", CancelTrainException())])
    assert any(param.grad is not None for param in learner.model.parameters())

    learner.fit(1)

    fresh = make_learner()
    fresh.fit(1)
    assert_same_weights(learner.model, fresh.model)


# -- the numbers ------------------------------------------------------------------------------------------------------


def hand_written_loop(model: nn.Module, dls: ToyLoaders, *, n_epochs: int) -> None:
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(n_epochs):
        model.train()
        for x, y in dls.train_dl:
            F.cross_entropy(model(x), y).backward()
            opt.step()
            opt.zero_grad()
        model.eval()
        with torch.no_grad():
            for x, _ in dls.valid_dl:
                model(x)


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_fit_equals_the_loop_written_by_hand_bit_for_bit():
    dls = ToyLoaders(images([8, 8, 3], seed=1), images([8], seed=2))
    by_hand, learner = conv_net(), make_learner(dls, model=conv_net())

    hand_written_loop(by_hand, dls, n_epochs=3)
    learner.fit(3)

    assert_same_weights(learner.model, by_hand)


def test_same_seed_gives_the_same_weights_bit_for_bit():
    dls = ToyLoaders(images([16, 16], seed=1), images([16], seed=2))
    models = [conv_net(seed=5), conv_net(seed=5)]

    for model in models:
        make_learner(dls, model=model).fit(3)

    assert_same_weights(*models)
    assert not torch.equal(models[0][0].weight, conv_net(seed=5)[0].weight)  # type: ignore[index]


def share_right(model: nn.Module, batches: list[tuple[Tensor, ...]]) -> float:
    with torch.no_grad():
        return float(torch.cat([model(x).argmax(1) == y for x, y in batches]).float().mean())


def test_a_linear_model_learns_what_a_line_separates():
    dls = loaders([16] * 8, [64])
    learner = make_learner(dls)

    learner.fit(3)

    assert share_right(learner.model.eval(), dls.valid_dl) >= 0.98


def test_a_conv_net_learns_which_half_is_bright():
    dls = ToyLoaders(images([16] * 8, seed=1), images([64], seed=2))
    learner = make_learner(dls, model=conv_net())

    learner.fit(3)

    assert share_right(learner.model.eval(), dls.valid_dl) >= 0.98


def test_loop_keeps_what_a_batch_carries_besides_x_and_y():
    class Keys(Callback):
        def __init__(self) -> None:
            self.keys: list[list[int]] = []

        def begin_batch(self) -> None:
            self.keys.append(self.batch.keys.tolist())

    keys = Keys()

    make_learner(loaders([2, 3], [1], with_keys=True), keys).fit(1)

    assert keys.keys == [[0, 1], [0, 1, 2], [0]]


# -- state ------------------------------------------------------------------------------------------------------------


def test_resumed_learner_ends_in_the_weights_of_an_uninterrupted_one():
    dls = ToyLoaders(images([8, 8], seed=1), images([8], seed=2))
    whole, first = make_learner(dls, model=conv_net()), make_learner(dls, model=conv_net())
    whole.fit(4)
    first.fit(4, [EventLog("begin_epoch", CancelTrainException(), nth=3)])

    resumed = make_learner(dls, model=conv_net(seed=9))
    epochs_done = resumed.load_state_dict(first.state_dict())
    resumed.fit(4, first_epoch=epochs_done)

    assert epochs_done == 2
    assert_same_weights(resumed.model, whole.model)


def test_epoch_cut_short_in_validation_is_not_done():
    learner = make_learner()

    learner.fit(2, [EventLog("begin_validate", CancelTrainException(), nth=2)])

    assert learner.state_dict()["epochs_done"] == 1


def test_state_before_any_fit_has_no_optimizer_and_loads():
    state = make_learner().state_dict()

    assert state["optimizer"] is None
    assert make_learner(model=linear(seed=4)).load_state_dict(state) == 0


def test_state_of_another_model_is_refused():
    state = make_learner(model=nn.Linear(2, 3)).state_dict()

    with pytest.raises(CheckpointError) as caught:
        make_learner().load_state_dict(state)

    assert str(caught.value) == (
        "the saved state does not fit this model or optimizer: Error(s) in loading state_dict for Linear: "
        "size mismatch for weight: copying a param with shape torch.Size([3, 2]) from checkpoint, "
        "the shape in current model is torch.Size([2, 2]).\n"
        "  where: Learner.load_state_dict\n"
        "  fix: build the learner with the configuration that the run was trained with"
    )


def test_state_without_a_part_is_refused():
    with pytest.raises(CheckpointError, match="does not fit this model or optimizer: 'model'"):
        make_learner().load_state_dict({})


def test_opt_func_gets_the_learning_rate():
    learner = Learner(
        linear(), loaders([2], [2]), loss_func=F.cross_entropy, opt_func=partial(torch.optim.SGD, momentum=0.5), lr=0.3
    )

    group = learner.make_opt().param_groups[0]

    assert (group["lr"], group["momentum"]) == (0.3, 0.5)
