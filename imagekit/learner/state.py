"""What a fit hands to one that goes on from it: what callbacks remember, and the place in the data."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from imagekit.errors import CheckpointError, ConfigError, TrainingError
from imagekit.learner.callback import Callback

MISFITS = (KeyError, RuntimeError, ValueError, TypeError, AttributeError)  # what loading a foreign state raises


def named_callbacks(callbacks: Iterable[Callback]) -> dict[str, Callback]:
    """Callbacks by name; a second one of a name is NAME_2."""
    named: dict[str, Callback] = {}
    for callback in callbacks:
        n = sum(other.name == callback.name for other in named.values())
        named[callback.name if not n else f"{callback.name}_{n + 1}"] = callback
    return named


def states_of(callbacks: Iterable[Callback]) -> dict[str, dict[str, Any]]:
    """The states of the callbacks that have one, by name."""
    states = {key: callback.state_dict() for key, callback in named_callbacks(callbacks).items()}
    return {key: state for key, state in states.items() if state}


def load_states(callbacks: Iterable[Callback], states: Mapping[str, dict[str, Any]]) -> None:
    """Give each callback its state. Raises CheckpointError for a state that none takes up, or that does not fit."""
    named = named_callbacks(callbacks)
    if lost := [key for key in states if key not in named]:
        raise CheckpointError(
            f"the saved state holds that of callbacks which are not here: {', '.join(lost)}",
            where="Learner.fit: callbacks",
            fix="add them, or take them out of the state under `callbacks` before it is loaded",
        )
    for key, state in states.items():
        try:
            named[key].load_state_dict(state)
        except MISFITS as error:
            raise CheckpointError(
                f"the saved state of {key} does not fit it: {first_lines(error)}",
                where="Learner.fit: callbacks",
                fix="go on with the configuration that the run was trained with",
            ) from error


def first_lines(error: BaseException) -> str:
    """The first two lines of what an error says, as one."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2])


def check_every(valid_every: int) -> int:
    """The number of epochs. Raises ConfigError for what is none."""
    if type(valid_every) is not int or valid_every < 1:
        raise ConfigError(
            f"valid_every is {valid_every!r}, must be a whole number, at least 1",
            where="Learner: valid_every",
            fix="give 1 to validate after every epoch",
        )
    return valid_every


def check_place(data: Any, *, n_epochs: int, first_epoch: int, first_batch: int) -> None:
    """Raises ConfigError for a place where no fit can begin, and for data that cannot begin there."""
    if not 0 <= first_epoch <= n_epochs:
        raise ConfigError(
            f"n_epochs is {n_epochs} and first_epoch is {first_epoch}",
            where="Learner.fit",
            fix="ask for 0 <= first_epoch <= n_epochs",
        )
    n_batches = len(data.train_dl) if first_epoch < n_epochs else 0
    if not 0 <= first_batch <= n_batches:
        raise ConfigError(
            f"first_batch is {first_batch}, and the epoch to go on with has {n_batches} training batches",
            where="Learner.fit",
            fix="give Learner.batches_done, as load_state_dict leaves it, and the data that it was saved with",
        )
    if 0 < first_batch < n_batches and not _can_begin_inside(data):
        raise ConfigError(
            f"a {type(data).__name__} cannot begin an epoch at batch {first_batch}: it has no set_epoch that takes"
            " first_batch",
            where="Learner.fit: data",
            fix="use a DataBunch, or give the data a method set_epoch(epoch, first_batch=0)",
        )


def tell_place(data: Any, *, epoch: int, first_batch: int) -> None:
    """Tell the data, where it can be told, which epoch its next training iteration is of, and where that begins."""
    if 0 < first_batch < len(data.train_dl):  # where all were done, no training batch is asked for
        data.set_epoch(epoch, first_batch=first_batch)
    elif hasattr(data, "set_epoch"):
        data.set_epoch(epoch)  # decides order and draws: a resumed fit sees what it would have


def _can_begin_inside(data: Any) -> bool:
    if not hasattr(data, "set_epoch"):
        return False
    parameters = inspect.signature(data.set_epoch).parameters
    return "first_batch" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def no_batch(where: str) -> TrainingError:
    """What to raise where training data is empty."""
    return TrainingError(
        "the training data has no batch",
        where=where,
        fix="check that the train split has images, and that no incomplete batch was dropped",
    )
