"""A schedule sets any hyper of every group, by the position alone."""

from __future__ import annotations

from typing import Any

import pytest
from learner.toy import loaders, make_learner
from torch import nn

from imagekit.batch.geometry import Rotate
from imagekit.callbacks.batch_transforms import BatchTransforms
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback


def line(position: float) -> float:
    return 1.0 - position


class Hypers(Callback):
    _order = 50

    def __init__(self, *names: str) -> None:
        self.names = names
        self.seen: list[Any] = []

    def after_step(self) -> None:
        self.seen.append([tuple(group[name] for name in self.names) for group in self.opt.param_groups])


def split(model: Any) -> list[dict[str, Any]]:
    return [{"params": [model.weight]}, {"params": [model.bias]}]


def test_each_step_has_the_value_of_its_position():
    hypers = Hypers("lr")

    make_learner(loaders([2] * 4, [2]), ParamScheduler("lr", line), hypers).fit(2)

    assert hypers.seen == [[(1 - i / 8,)] for i in range(8)]


def test_any_hyper_can_be_scheduled_beside_another():
    hypers = Hypers("lr", "momentum")
    schedules = [ParamScheduler("lr", line), ParamScheduler("momentum", lambda position: 0.5 + position / 2)]

    make_learner(loaders([2] * 2, [2]), *schedules, hypers).fit(1)

    assert hypers.seen == [[(1.0, 0.5)], [(0.5, 0.75)]]


def test_one_schedule_serves_all_groups_and_a_list_one_each():
    together, apart = Hypers("lr"), Hypers("lr")
    dls = loaders([2, 2], [2])

    make_learner(dls, ParamScheduler("lr", line), together, splitter=split).fit(1)
    make_learner(dls, ParamScheduler("lr", [line, lambda _: 0.25]), apart, splitter=split).fit(1)

    assert together.seen == [[(1.0,), (1.0,)], [(0.5,), (0.5,)]]
    assert apart.seen == [[(1.0,), (0.25,)], [(0.5,), (0.25,)]]


def test_resumed_fit_goes_on_where_the_schedule_was():
    hypers = Hypers("lr")

    make_learner(loaders([2, 2], [2]), ParamScheduler("lr", line), hypers).fit(4, first_epoch=3)

    assert hypers.seen == [[(0.25,)], [(0.125,)]]


def test_unknown_hyper_is_refused_before_training():
    with pytest.raises(ConfigError) as caught:
        make_learner(None, ParamScheduler("momentom", line)).fit(1)

    assert str(caught.value).startswith(
        'nothing has a hyper "momentom"\n  where: ParamScheduler\n  fix: did you mean "momentum"? known: dampening, '
    )


@pytest.mark.parametrize("n", [1, 3])
def test_a_list_of_the_wrong_length_is_refused(n: int):
    with pytest.raises(ConfigError) as caught:
        make_learner(None, ParamScheduler("lr", [line] * n), splitter=split).fit(1)

    assert str(caught.value) == (
        f"{n} schedules for 2 parameter groups\n"
        "  where: ParamScheduler: lr\n"
        "  fix: give one schedule for all groups, or one for each"
    )


def test_a_state_that_is_loaded_later_is_scheduled_too():
    class Reload(Callback):
        _order = 50

        def begin_fit(self) -> None:
            self.opt.load_state_dict(self.opt.state_dict())  # makes other groups

    hypers = Hypers("lr")

    make_learner(loaders([2, 2], [2]), ParamScheduler("lr", line), Reload(), hypers).fit(1)

    assert hypers.seen == [[(1.0,)], [(0.5,)]]


def test_the_parameters_themselves_are_no_hyper():
    with pytest.raises(ConfigError) as caught:
        make_learner(None, ParamScheduler("params", line)).fit(1)

    assert str(caught.value).startswith('nothing has a hyper "params"\n  where: ParamScheduler\n')


def test_a_list_of_schedules_for_a_strength_is_refused():
    with pytest.raises(ConfigError) as caught:
        make_learner(None, ParamScheduler("rotate.max_degrees", [line]), BatchTransforms([Rotate()])).fit(1)

    assert str(caught.value) == (
        "1 schedules for one value for all images\n"
        "  where: ParamScheduler: rotate.max_degrees\n"
        "  fix: give the schedule itself, no list"
    )


def test_a_batch_asked_for_outside_a_fit_moves_nothing():
    learner = make_learner(loaders([4], [4]), ParamScheduler("lr", line), lr=0.5)
    learner.get_batch(in_train=True)  # there is no optimizer yet
    learner.fit(1)
    learner.opt.param_groups[0]["lr"] = 0.125

    learner.get_batch(in_train=True)

    assert learner.opt.param_groups[0]["lr"] == 0.125


def test_the_dropout_of_every_layer_can_be_scheduled():
    class Rates(Callback):
        _order = 50

        def __init__(self) -> None:
            self.seen: list[Any] = []

        def after_pred(self) -> None:
            self.seen.append([layer.p for layer in self.learner.model if isinstance(layer, nn.Dropout)])

    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Linear(2, 2), nn.Dropout(0.1))
    rates = Rates()

    make_learner(loaders([2, 2], []), ParamScheduler("dropout", line), rates, model=model).fit(1)

    assert rates.seen == [[1.0, 1.0], [0.5, 0.5]]


def test_a_dropout_that_is_no_probability_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    learner = make_learner(None, ParamScheduler("dropout", lambda _: 1.5), model=model)

    with pytest.raises(ConfigError) as caught:
        learner.fit(1)

    assert str(caught.value) == (
        "dropout is 1.5, must be from 0 to 1\n  where: ParamScheduler: dropout\n"
        "  fix: let the schedule give probabilities"
    )


def test_a_model_without_dropout_has_no_such_hyper():
    with pytest.raises(ConfigError, match='nothing has a hyper "dropout"'):
        make_learner(None, ParamScheduler("dropout", line)).fit(1)
