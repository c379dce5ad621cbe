"""Stop at one moment of the loop and look: what is in this batch, or a debugger."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from imagekit.callbacks.progress import write_line
from imagekit.errors import ConfigError, did_you_mean
from imagekit.learner.callback import Callback
from imagekit.learner.events import EVENTS
from imagekit.learner.learner import Learner


class Debug(Callback):
    """At the named event, the first n times, call `act(learner)`; None writes `describe_batch` to stderr.

    It acts after the other callbacks: at begin_batch it sees what the model will see. With act=breakpoint one is in the
    debugger, `learner` at hand. An event of a batch happens in training and in validation; `learner.in_train` says
    which. Describing waits for the device.
    Raises ConfigError for an event that there is not, and n below 1.
    """

    _order = 200

    def __init__(
        self, event: str = "begin_batch", *, act: Callable[[Learner], object] | None = None, n: int = 1
    ) -> None:
        if event not in EVENTS:
            raise ConfigError(f'there is no event "{event}"', where="Debug: event", fix=did_you_mean(event, EVENTS))
        if n < 1:
            raise ConfigError(f"n is {n}, must be at least 1", where="Debug: n", fix="give how many times to act")
        self.event, self.act, self.n_left = event, act, n

    def _at(self, event: str) -> None:
        if event != self.event or not self.n_left:
            return
        self.n_left -= 1
        learner = self.learner
        if self.act is breakpoint:
            sys.breakpointhook()  # what breakpoint() calls; it takes no learner
        elif self.act is None:
            write_line(f"{event}: {describe_batch(learner, parts=_PARTS.get(event, _ALL))}")
        else:
            self.act(learner)


def _handler(event: str) -> Callable[[Debug], None]:
    def handle(self: Debug) -> None:
        self._at(event)

    handle.__doc__ = f"Act, if {event} is the event."
    return handle


for _event in EVENTS:
    setattr(Debug, _event, _handler(_event))

_ALL = ("xb", "yb", "pred", "loss")
# before they are made, what is there is that of the batch before
_PARTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("begin_fit", "begin_epoch", "begin_validate"), ()),
    "begin_batch": _ALL[:2],
    "after_pred": _ALL[:3],
}


def describe_batch(learner: Learner, *, parts: Sequence[str] = _ALL) -> str:
    """Where the loop is, and of each tensor of the batch its type, shape, device, range, mean and deviation.

    One line each; NaN and infinite values are counted, and left out of the numbers. It waits for the device.
    """
    phase = "training" if learner.in_train else "validation"
    head = (
        f"{phase}, epoch {learner.epoch + 1} of {learner.n_epochs}, batch {learner.i_batch + 1} of {learner.n_batches}"
    )
    found = [line for part in parts for line in _lines(part, getattr(learner, part))]
    width = max((len(name) for name, _ in found), default=0)
    return "\n".join([head, *(f"  {name:<{width}}  {text}" for name, text in found)])


def _lines(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """(name, description) of each tensor in a tensor, a sequence or a mapping of them."""
    if isinstance(value, Tensor):
        yield name, _describe(value.detach())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _lines(f"{name}[{key!r}]", item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _lines(f"{name}[{number}]", item)
    else:
        yield name, "none yet" if value is None else type(value).__name__


def _describe(x: Tensor) -> str:
    head = f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)} on {x.device}"
    if x.is_complex() or not x.numel():
        return head
    if not x.is_floating_point():
        return f"{head}, {_range(x.to(torch.int64))}"
    values = x[torch.isfinite(x)].double() if x.device.type != "mps" else x[torch.isfinite(x)].float()
    n_nan, n_infinite = int(torch.isnan(x).sum()), int(torch.isinf(x).sum())
    odd = f", {n_nan:,} NaN, {n_infinite:,} infinite" if n_nan or n_infinite else ""
    if not values.numel():
        return head + odd
    spread = f", mean {float(values.mean()):.4g}, std {float(values.std(correction=0)):.4g}" if x.numel() > 1 else ""
    return f"{head}, {_range(values)}{spread}{odd}"


def _range(values: Tensor) -> str:
    low, high = values.min().item(), values.max().item()
    first, last = (f"{value:.6g}" if isinstance(value, float) else f"{value}" for value in (low, high))
    return first if low == high else f"{first} to {last}"
