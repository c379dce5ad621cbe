"""Training images that grow with the position of the fit; validation never sees a smaller one."""

from __future__ import annotations

from typing import Any

import pytest
from learner.toy import Loaders, images, make_learner
from torch import Tensor, nn

from imagekit.callbacks.progressive_size import ProgressiveSize
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.optim.schedules import combine_scheds, sched_lin, sched_no


class Sides(Callback):
    """The side of every batch, as the model gets it."""

    _order = 50

    def __init__(self) -> None:
        self.train: list[int] = []
        self.valid: list[int] = []

    def after_pred(self) -> None:
        (self.train if self.learner.in_train else self.valid).append(self.learner.xb.shape[-1])


class AnySize(nn.Module):
    """Takes images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x.mean((2, 3)))


def fit(schedule: Any, *, n_epochs: int = 2, multiple: int = 1, first_epoch: int = 0) -> Sides:
    """Two batches an epoch of images of 8 pixels, and one of validation."""
    sides = Sides()
    data = Loaders(images([2, 2], seed=1), images([2], seed=2))
    learner = make_learner(data, ProgressiveSize(schedule, multiple=multiple), sides, model=AnySize())
    learner.fit(n_epochs, first_epoch=first_epoch)
    return sides


def test_training_images_have_the_side_of_their_position_and_validation_is_whole():
    sides = fit(lambda position: 4 + 4 * position)

    assert sides.train == [4, 5, 6, 7]
    assert sides.valid == [8, 8]


def test_a_fit_that_goes_on_has_the_sides_that_it_would_have_had():
    assert fit(lambda position: 4 + 4 * position, first_epoch=1).train == [6, 7]


def test_a_batch_is_never_made_larger():
    assert fit(lambda position: 8 + 8 * position).train == [8] * 4


@pytest.mark.parametrize(
    ("start", "end", "sides"),
    [
        (96, 128, [96, 96, 112, 112, 128, 128, 128]),
        (100, 128, [100, 100, 112, 112, 128, 128, 128]),  # what it begins with need be no multiple
        (8, 12, [8, 8, 8, 8, 12, 12, 12]),  # nor what it ends with
        (128, 128, [128] * 7),
    ],
)
def test_sides_are_rounded_down_to_a_multiple(start, end, sides):
    schedule = combine_scheds([0.6, 0.4], [sched_lin(start, end), sched_no(end, end)])
    progressive = ProgressiveSize(schedule)

    assert [progressive.side_at(position) for position in (0, 0.2, 0.35, 0.55, 0.6, 0.8, 1)] == sides


def test_a_batch_that_is_asked_for_alone_stays_as_it_is():
    learner = make_learner(Loaders(images([2], seed=1), []), ProgressiveSize(lambda _: 4), model=AnySize())

    x_BCHW, _ = learner.get_batch(in_train=True)

    assert x_BCHW.shape[-2:] == (8, 8)


@pytest.mark.parametrize("multiple", [0, 1.5])
def test_a_multiple_that_is_no_count_is_refused(multiple):
    with pytest.raises(ConfigError) as caught:
        ProgressiveSize(lambda _: 4, multiple=multiple)

    assert str(caught.value) == (
        f"multiple is {multiple!r}, must be a whole number, at least 1\n  where: ProgressiveSize: multiple\n"
        "  fix: give 16, say"
    )
