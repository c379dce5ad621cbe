"""What a callback is: its name, its view of the learner, and the check of its methods."""

from __future__ import annotations

import copy
import pickle

import pytest
from learner.toy import make_learner

from imagekit.callbacks.batch_transforms import BatchTransforms
from imagekit.callbacks.device import DeviceCallback
from imagekit.callbacks.train_eval import TrainEvalCallback
from imagekit.errors import ConfigError
from imagekit.learner import train_eval
from imagekit.learner.callback import Callback


class LRProbe(Callback):
    pass


@pytest.mark.parametrize(
    ("callback", "name"),
    [
        (TrainEvalCallback(), "train_eval"),
        (BatchTransforms(), "batch_transforms"),
        (LRProbe(), "lr_probe"),
        (Callback(), "callback"),
    ],
)
def test_name_is_the_class_in_snake_case_without_callback(callback: Callback, name: str):
    assert callback.name == name


def test_reading_goes_to_the_learner_and_writing_does_not():
    callback = LRProbe()
    learner = make_learner(None, callback)

    assert callback.model is learner.model
    callback.model = None
    assert learner.model is not None


def test_what_neither_has_is_an_attribute_error():
    callback = LRProbe()
    make_learner(None, callback)

    with pytest.raises(AttributeError, match="no attribute 'modle'"):
        _ = callback.modle


def test_callback_without_a_learner_says_what_it_lacks():
    with pytest.raises(AttributeError, match="LRProbe has no attribute 'model'"):
        _ = LRProbe().model


def test_callback_can_be_copied_and_pickled():
    device = DeviceCallback("cpu")

    assert copy.deepcopy(device).device == device.device
    assert pickle.loads(pickle.dumps(device)).device == device.device


def test_a_misspelt_event_is_refused_when_the_class_is_made():
    with pytest.raises(ConfigError) as caught:

        class Broken(Callback):
            def after_bacth(self) -> None:
                pass

    assert str(caught.value) == (
        'Broken has a method "after_bacth", which is no event\n'
        f"  where: {__name__}.test_a_misspelt_event_is_refused_when_the_class_is_made.<locals>.Broken.after_bacth\n"
        '  fix: did you mean "after_batch"? known: after_backward, after_batch, after_cancel_batch, '
        "after_cancel_epoch, after_cancel_train, after_epoch, after_fit, after_loss, after_pred, after_step, "
        "begin_batch, begin_epoch, begin_fit, begin_validate"
    )


def test_a_value_may_be_called_like_an_event():
    class Fine(Callback):
        after_n_steps = 10

        def after_step(self) -> None:
            pass

    assert Fine().after_n_steps == 10


def test_the_callbacks_room_offers_the_learners_own_train_eval():
    assert TrainEvalCallback is train_eval.TrainEvalCallback
