"""Several batches, one step: the step of the one big batch."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.toy import Batch, EventLog, Loaders, blobs, conv_net, images, linear, make_learner
from torch import Tensor

from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.callbacks.clip import GradientClip
from imagekit.callbacks.ema import ModelEma
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.callbacks.recorder import StepRecorder
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelBatchException, CancelEpochException
from imagekit.learner.learner import Learner
from imagekit.learner.losses import cross_entropy

OPTIMIZERS = [partial(torch.optim.SGD, momentum=0.9), partial(torch.optim.AdamW, eps=1e-3)]


def joined(batches: list[Batch], n: int) -> list[Batch]:
    """Each n batches as one."""
    groups = (batches[i : i + n] for i in range(0, len(batches), n))
    return [Batch((torch.cat([x for x, _ in group]), torch.cat([y for _, y in group]))) for group in groups]


def weights_after(n_epochs: int, batches: list[Batch], *callbacks: Callback, **options: Any) -> Tensor:
    learner = make_learner(Loaders(batches, blobs([4], seed=2)), *callbacks, **options)
    learner.fit(n_epochs)
    return flat(learner)


def flat(learner: Learner) -> Tensor:
    return torch.cat([param.detach().flatten() for param in learner.model.parameters()])


class CancelWhere(Callback):
    """Cancels training batch `i_batch` at `event`, once an epoch."""

    def __init__(self, event: str, i_batch: int) -> None:
        self.event, self.i = event, i_batch

    def begin_batch(self) -> None:
        self._maybe("begin_batch")

    def after_loss(self) -> None:
        self._maybe("after_loss")

    def _maybe(self, event: str) -> None:
        if self.in_train and event == self.event and self.learner.i_batch == self.i:
            raise CancelBatchException


@settings(deadline=None, max_examples=10)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    n=st.integers(1, 5),
    opt_func=st.sampled_from(OPTIMIZERS),
)
def test_groups_of_batches_step_as_the_big_batches_do(sizes: list[int], n: int, opt_func: Any):
    batches = blobs(sizes, seed=1)
    options: dict[str, Any] = {"opt_func": opt_func, "loss_func": partial(cross_entropy, label_smoothing=0.1)}

    small = weights_after(1, batches, GradientAccumulation(n), **options)

    big = weights_after(1, joined(batches, n), **options)
    torch.testing.assert_close(small, big, rtol=1e-4, atol=1e-5)


def test_every_batch_alone_is_the_plain_loop_to_the_bit():
    batches = blobs([4, 3, 5], seed=1)

    alone = weights_after(2, batches, GradientAccumulation(1))

    assert torch.equal(alone, weights_after(2, batches))


def test_soft_targets_are_counted_by_their_rows():
    batches = [Batch((x, torch.nn.functional.one_hot(y, 2) * 0.8 + 0.1)) for x, y in blobs([4, 3, 2], seed=1)]

    small = weights_after(2, batches, GradientAccumulation(2))

    torch.testing.assert_close(small, weights_after(2, joined(batches, 2)))


def test_steps_are_counted_and_not_batches():
    steps = StepRecorder()
    learner = make_learner(Loaders(blobs([4] * 5, seed=1), blobs([4], seed=2)), GradientAccumulation(2), steps)

    learner.fit(2)

    assert learner.n_iter == len(steps.losses) == 2 * 3


def test_the_loss_that_callbacks_see_is_that_of_the_batch():
    batches = blobs([4, 4], seed=1)
    steps = StepRecorder()

    make_learner(Loaders(batches, []), GradientAccumulation(2), steps).fit(1)

    x, y = batches[1]
    assert steps.losses == [cross_entropy(linear()(x), y).item()]


@pytest.mark.parametrize("event", ["begin_batch", "after_loss"])
@pytest.mark.parametrize("i_batch", [0, 1, 2])
def test_a_batch_cancelled_before_its_backward_pass_does_not_count(event: str, i_batch: int):
    batches = blobs([4, 3, 5, 2, 1], seed=1)

    cancelled = weights_after(1, batches, GradientAccumulation(2), CancelWhere(event, i_batch))

    left = [batch for i, batch in enumerate(batches) if i != i_batch]
    torch.testing.assert_close(cancelled, weights_after(1, joined(left, 2)))


def test_a_batch_cancelled_after_its_share_was_told_does_not_count():
    batches = blobs([4, 3, 5], seed=1)
    late = CancelWhere("after_loss", 0)
    late._order = 97  # type: ignore[misc]

    cancelled = weights_after(1, batches, GradientAccumulation(2), late)

    torch.testing.assert_close(cancelled, weights_after(1, joined(batches[1:], 2)))


def test_a_group_whose_first_batch_came_to_nothing_is_that_of_the_others_to_the_bit():
    batches = blobs([4, 3, 5], seed=1)
    late = CancelWhere("after_loss", 0)
    late._order = 97  # type: ignore[misc]

    cancelled = weights_after(1, batches, GradientAccumulation(2), late)

    # a checkpoint between the two would know nothing of the first
    assert torch.equal(cancelled, weights_after(1, batches, GradientAccumulation(2), CancelWhere("begin_batch", 0)))


def test_gradients_of_a_cancelled_epoch_are_dropped():
    batches = blobs([4, 3, 5], seed=1)
    cancel = EventLog("begin_batch", CancelEpochException(), nth=2)  # batch 0 waits for batch 1
    learner = make_learner(Loaders(batches, []), GradientAccumulation(2), cancel)
    left: list[bool] = []

    class Look(Callback):
        _order = 96

        def begin_validate(self) -> None:
            left.append(any(param.grad is not None for param in self.model.parameters()))

    learner.add_callbacks([Look()])
    learner.fit(2)

    assert left == [False, False]
    torch.testing.assert_close(flat(learner), weights_after(1, joined(batches, 2)))


def test_clipping_sees_the_gradient_of_the_whole_group():
    batches, options = blobs([4, 3, 5], seed=1), {"lr": 1.0}
    clips = GradientClip(0.05), GradientClip(0.05)

    small = weights_after(2, batches, GradientAccumulation(2), clips[0], **options)

    torch.testing.assert_close(small, weights_after(2, joined(batches, 2), clips[1], **options))
    assert clips[0].norm is not None
    torch.testing.assert_close(clips[0].norm, clips[1].norm)
    assert float(clips[0].norm) > 0.05


def test_an_overflow_drops_the_whole_group_and_nothing_else():
    batches = blobs([4, 3, 5, 2], seed=1)
    batches[0][0].mul_(1e4)  # its gradient is beyond float16 at the first scale
    precision = MixedPrecision(dtype=torch.float16)
    learner = make_learner(Loaders(batches, []), GradientAccumulation(2), precision)

    learner.fit(1)

    assert (learner.n_iter, precision.n_skipped, precision.state_dict()["scale"]) == (1, 1, 2.0**15)
    half = MixedPrecision(dtype=torch.float16, init_scale=2.0**15)
    assert torch.equal(flat(learner), weights_after(1, batches[2:], GradientAccumulation(2), half))


def test_under_float16_the_scale_stays_within_a_group():
    scales: list[float] = []
    precision = MixedPrecision(dtype=torch.float16, init_scale=4.0, growth_interval=1)

    class Look(Callback):
        _order = 100

        def after_loss(self) -> None:
            if self.in_train:
                scales.append(float(self.learner.loss_scale))

    make_learner(Loaders(blobs([4] * 5, seed=1), []), GradientAccumulation(2), precision, Look()).fit(1)

    assert scales == [4 / 2, 4 / 2, 8 / 2, 8 / 2, 16.0]


@pytest.mark.parametrize("sizes", [[4] * 6, [4] * 5, [5, 3, 4, 2, 1]])
def test_a_step_has_the_rate_that_the_big_batch_has(sizes: list[int]):
    def curve(position: float) -> float:
        return 0.2 * (1 - position) + 0.01

    batches = blobs(sizes, seed=1)

    summed = weights_after(3, batches, GradientAccumulation(2), ParamScheduler("lr", curve))

    whole = weights_after(3, joined(batches, 2), ParamScheduler("lr", curve))
    torch.testing.assert_close(summed, whole)


def test_the_position_is_of_batches_again_after_the_fit():
    learner = make_learner(Loaders(blobs([4] * 4, seed=1), []), lr=0.1)
    learner.fit(1, [GradientAccumulation(2)])

    assert learner.n_accumulate == 1


def test_the_average_moves_once_a_step():
    ema, reference = ModelEma(0.5), ModelEma(0.5)
    batches = blobs([4, 3, 5, 2, 1], seed=1)

    weights_after(2, batches, GradientAccumulation(2), ema)

    weights_after(2, joined(batches, 2), reference)
    assert ema.n_updates == reference.n_updates == 2 * 3
    for one, other in zip(ema.weights().values(), reference.weights().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_batch_norm_sees_the_small_batches():
    batches = images([4, 4], seed=1)

    nets = [conv_net(), conv_net()]
    make_learner(Loaders(batches, []), GradientAccumulation(2), model=nets[0]).fit(1)
    make_learner(Loaders(joined(batches, 2), []), model=nets[1]).fit(1)

    assert [int(net[2].num_batches_tracked) for net in nets] == [2, 1]  # type: ignore[index, union-attr]
    assert not torch.allclose(nets[0][0].weight, nets[1][0].weight, rtol=1e-4)  # type: ignore[index, union-attr]


@pytest.mark.parametrize(("n", "shown"), [(0, "0"), (-2, "-2"), (1.5, "1.5"), (True, "True"), ("4", "'4'")])
def test_less_than_one_batch_is_refused(n: Any, shown: str):
    with pytest.raises(ConfigError) as caught:
        GradientAccumulation(n)

    assert str(caught.value) == (
        f"n_batches is {shown}, must be a whole number, at least 1\n"
        "  where: GradientAccumulation: n_batches\n"
        "  fix: give the number of batches that make one step, 4 say"
    )
    assert GradientAccumulation(1).n_batches == 1
