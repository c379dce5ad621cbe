"""Where a fit begins that goes on from an earlier one, when it may be stopped, and what its state says of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import Batch, EventLog, Loaders, ShuffledLoaders, blobs, linear, loaders, make_learner
from torch import nn

from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException, CancelEpochException
from imagekit.learner.learner import Learner

STEP = ["begin_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch"]
LOOK = ["begin_batch", "after_pred", "after_loss", "after_batch"]


def shuffled(n_images: int = 10, *, size: int = 4) -> ShuffledLoaders:
    return ShuffledLoaders(blobs([n_images], seed=1)[0], blobs([4], seed=2), size=size)


class Places(Callback):
    """Where the loop says that it is, at each beginning of an epoch and each training batch."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int, int]] = []
        self.batches: list[tuple[float, int, int, int]] = []

    def begin_epoch(self) -> None:
        self.epochs.append((self.epoch, self.i_batch, self.n_batches))

    def after_batch(self) -> None:
        if self.in_train:
            self.batches.append((self.position, self.i_batch, self.n_iter, self.batches_done))


class StopAfter(Callback):
    """Ask for a stop at an event, the nth time."""

    def __init__(self, event: str, nth: int = 1) -> None:
        self.event, self.n_left = event, nth

    def _count(self, event: str) -> None:
        self.n_left -= event == self.event
        self.learner.stop |= not self.n_left

    def after_pred(self) -> None:
        self._count("after_pred")

    def begin_epoch(self) -> None:
        self._count("begin_epoch")

    def begin_validate(self) -> None:
        self._count("begin_validate")

    def after_epoch(self) -> None:
        self._count("after_epoch")


# -- the place to begin -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(n_done=st.integers(0, 6))
def test_a_fit_begun_anywhere_has_the_places_of_the_whole_one(n_done: int):
    whole, rest = Places(), Places()
    data = shuffled()
    first_epoch, first_batch = divmod(n_done, 3)

    make_learner(shuffled(), whole).fit(2)
    learner = make_learner(data, rest)
    learner.fit(2, first_epoch=first_epoch, first_batch=first_batch)

    assert rest.batches == whole.batches[n_done:]
    assert rest.epochs == [(epoch, first_batch * (epoch == first_epoch), 3) for epoch in range(first_epoch, 2)]
    assert data.told == [(epoch, first_batch * (epoch == first_epoch)) for epoch in range(first_epoch, 2)]
    assert (learner.epochs_done, learner.batches_done, learner.n_iter) == (2, 0, 6)


def test_at_begin_fit_the_place_is_known():
    class Place(Callback):
        def begin_fit(self) -> None:
            self.at = (self.position, self.epochs_done, self.batches_done, self.i_batch, self.n_iter)

    place = Place()

    make_learner(shuffled(16), place).fit(2, first_epoch=1, first_batch=2)

    assert place.at == (0.75, 1, 2, 2, 6)


@pytest.mark.parametrize("dls", [loaders([4, 4], [4]), shuffled(8)])
def test_where_all_batches_were_done_only_validation_is_left(dls: Any):
    log = EventLog()
    learner = make_learner(dls, log)
    before = learner.model.weight.clone()

    learner.fit(1, first_batch=2)

    assert log.log == ["begin_fit", "begin_epoch", "begin_validate", *LOOK, "after_epoch", "after_fit"]
    assert torch.equal(learner.model.weight, before)
    assert learner.epochs_done == 1


def test_data_that_knows_whole_epochs_alone_is_told_of_these_alone():
    class Whole(Loaders):
        def set_epoch(self, epoch: int) -> None:
            self.told = epoch

    data = Whole(blobs([4, 4], seed=1), [])

    make_learner(data).fit(3)
    make_learner(data).fit(3, first_epoch=2, first_batch=2)

    assert data.told == 2


class AnyOptions(Loaders):
    told: dict[str, int]

    def set_epoch(self, epoch: int, **options: int) -> None:
        self.told = options


def test_data_that_takes_any_option_is_told():
    data = AnyOptions(blobs([4, 4], seed=1), [])

    make_learner(data).fit(1, first_batch=1)

    assert data.told == {"first_batch": 1}


class WholeEpochs(Loaders):
    def set_epoch(self, epoch: int) -> None:
        raise AssertionError("it was begun")


@pytest.mark.parametrize("kind", [Loaders, WholeEpochs])
def test_data_that_cannot_begin_inside_an_epoch_is_refused_before_anything_runs(kind: Any):
    log = EventLog()

    with pytest.raises(ConfigError) as caught:
        make_learner(kind(blobs([4, 4], seed=1), []), log).fit(1, first_batch=1)

    assert str(caught.value) == (
        f"a {kind.__name__} cannot begin an epoch at batch 1: it has no set_epoch that takes first_batch\n"
        "  where: Learner.fit: data\n"
        "  fix: use a DataBunch, or give the data a method set_epoch(epoch, first_batch=0)"
    )
    assert log.log == []


@pytest.mark.parametrize(("first_epoch", "first_batch", "n_batches"), [(0, 4, 3), (0, -1, 3), (2, 1, 0)])
def test_a_batch_that_no_epoch_has_is_refused(first_epoch: int, first_batch: int, n_batches: int):
    with pytest.raises(ConfigError) as caught:
        make_learner(shuffled()).fit(2, first_epoch=first_epoch, first_batch=first_batch)

    assert str(caught.value) == (
        f"first_batch is {first_batch}, and the epoch to go on with has {n_batches} training batches\n"
        "  where: Learner.fit\n"
        "  fix: give Learner.batches_done, as load_state_dict leaves it, and the data that it was saved with"
    )


class Numbered(Batch):
    """A batch that knows its place."""

    number: int


def numbered(numbers: list[int]) -> list[Numbered]:
    batches = [Numbered(batch) for batch in blobs([4] * len(numbers), seed=1)]
    for number, batch in zip(numbers, batches, strict=True):
        batch.number = number
    return batches


class Sparse(list[Any]):
    """Training batches of which some were left out."""

    def __len__(self) -> int:
        return 5


def test_where_the_data_leaves_out_a_batch_the_others_keep_their_places():
    places = Places()
    learner = make_learner(SimpleNamespace(train_dl=Sparse(numbered([0, 2, 3])), valid_dl=[]), places)

    learner.fit(1)

    assert places.batches == [(0.0, 0, 1, 1), (0.4, 2, 2, 3), (0.6, 3, 3, 4)]


# -- the place that is saved ------------------------------------------------------------------------------------------


def test_the_state_says_how_far_the_epoch_is():
    class States(Callback):
        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        def _look(self) -> None:
            state = self.learner.state_dict()
            self.seen.append((state["epochs_done"], state["batches_done"]))

        begin_epoch = begin_batch = after_batch = begin_validate = after_epoch = _look

    states = States()

    make_learner(loaders([4, 4], [4]), states).fit(1)

    in_training = [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2)]
    assert states.seen == [*in_training, *[(0, 2)] * 3, (1, 0)]


def test_batches_that_were_cancelled_count_and_those_left_out_of_an_epoch_too():
    learner = make_learner(loaders([4, 4, 4], [4]), EventLog("begin_batch", CancelBatchException(), nth=2))
    cut = make_learner(loaders([4, 4, 4], [4]), EventLog("after_loss", CancelEpochException(), nth=2))

    learner.fit(1, [StopAfter("after_pred", 2)])
    cut.fit(1, [StopAfter("begin_validate")])

    assert (learner.batches_done, learner.n_iter) == (3, 2)
    assert (cut.batches_done, cut.n_iter, cut.is_between_steps) == (3, 1, True)


def test_a_loaded_place_is_there_to_be_handed_to_fit():
    first = make_learner(shuffled())
    first.fit(2, [StopAfter("after_pred", 2)])
    again = make_learner(shuffled(), model=linear(seed=5))

    epoch = again.load_state_dict(first.state_dict())

    assert (epoch, again.epochs_done, again.batches_done) == (0, 0, 2)
    state = first.state_dict()
    del state["batches_done"]  # of a version that saved whole epochs alone
    again.load_state_dict(state)
    assert again.batches_done == 0


# -- the moment to stop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "nth", "events"),
    [
        ("begin_epoch", 1, ["begin_epoch"]),
        ("after_pred", 2, ["begin_epoch", *STEP, *STEP]),
        ("begin_validate", 1, ["begin_epoch", *STEP, *STEP, "begin_validate"]),
        ("after_pred", 3, ["begin_epoch", *STEP, *STEP, "begin_validate", *LOOK]),
        ("after_epoch", 1, ["begin_epoch", *STEP, *STEP, "begin_validate", *LOOK, *LOOK, "after_epoch", "begin_epoch"]),
    ],
)
def test_a_stop_is_heard_after_each_batch_and_at_each_beginning(event: str, nth: int, events: list[str]):
    log = EventLog()

    make_learner(loaders([4, 4], [4, 4]), StopAfter(event, nth), log).fit(2)

    assert log.log == ["begin_fit", *events, "after_cancel_train", "after_fit"]


@pytest.mark.parametrize(("nth", "n_done"), [(1, 2), (2, 2), (3, 4), (4, 4), (5, 5)])
def test_where_gradients_are_added_up_a_stop_waits_for_the_step(nth: int, n_done: int):
    learner = make_learner(loaders([4] * 5, [4]), GradientAccumulation(2), StopAfter("after_pred", nth))

    learner.fit(1)

    assert (learner.batches_done, learner.n_iter) == (n_done, -(-n_done // 2))
    assert learner.is_between_steps


class Between(Callback):
    _order = 200

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def _look(self, event: str) -> None:
        self.seen.append((event, self.learner.is_between_steps))

    def begin_batch(self) -> None:
        self._look("begin_batch")

    def after_step(self) -> None:
        self._look("after_step")

    def after_batch(self) -> None:
        self._look("after_batch")

    def begin_validate(self) -> None:
        self._look("begin_validate")


def seen_between(*callbacks: Callback, n_batches: int = 2, **options: Any) -> list[tuple[str, bool]]:
    between = Between()
    make_learner(Loaders(blobs([4] * n_batches, seed=1), []), *callbacks, between, **options).fit(1)
    return between.seen


def test_between_steps_is_where_no_batch_is_under_way_and_no_gradient_waits():
    batch = [("begin_batch", False), ("after_step", False), ("after_batch", True)]
    first_of_group = [("begin_batch", False), ("after_batch", False)]

    assert seen_between() == [*batch, *batch, ("begin_validate", True)]
    assert seen_between(GradientAccumulation(2), n_batches=3) == [
        *first_of_group,
        *batch,
        *batch,
        ("begin_validate", True),
    ]


def test_an_optimizer_that_keeps_gradients_as_zeros_is_between_steps_too():
    class Zeros(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            super().zero_grad(set_to_none=False)

    seen = seen_between(opt_func=Zeros)

    assert [is_between for event, is_between in seen if event == "after_batch"] == [True, True]


def test_a_batch_cancelled_behind_its_backward_pass_keeps_its_gradients_unless_it_drops_them():
    class Drop(Callback):
        _order = 100

        def after_cancel_batch(self) -> None:
            self.learner.opt.zero_grad()

    kept = seen_between(EventLog("after_backward", CancelBatchException()))
    dropped = seen_between(EventLog("after_backward", CancelBatchException()), Drop())

    assert [is_between for event, is_between in kept if event == "after_batch"] == [False, True]
    assert [is_between for event, is_between in dropped if event == "after_batch"] == [True, True]


def test_a_learner_that_never_fitted_is_between_steps():
    assert make_learner().is_between_steps


def test_an_error_at_the_end_of_a_cancelled_training_is_its_failure():
    log = EventLog("after_cancel_train", error := ValueError("no room"))
    learner = make_learner(None, StopAfter("after_pred"), log)

    with pytest.raises(ValueError, match="no room"):
        learner.fit(1)

    assert learner.failure is error


# -- orders of single events ------------------------------------------------------------------------------------------


def test_a_callback_can_have_an_order_of_its_own_for_an_event():
    log: list[str] = []

    class Late(Callback):
        _order = -50
        _orders = {"after_batch": 50}  # noqa: RUF012

        def begin_batch(self) -> None:
            log.append("late begin")

        def after_batch(self) -> None:
            log.append("late after")

    class Plain(Callback):
        def begin_batch(self) -> None:
            log.append("begin")

        def after_batch(self) -> None:
            log.append("after")

    learner = Learner(
        nn.Linear(2, 2),
        Loaders(blobs([2], seed=1), []),
        loss_func=nn.CrossEntropyLoss(),
        opt_func=torch.optim.SGD,
        lr=0.1,
        callbacks=[Plain(), Late()],
    )
    learner.fit(1)

    assert log == ["late begin", "begin", "after", "late after"]
