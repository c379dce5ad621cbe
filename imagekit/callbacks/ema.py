"""A second model: the moving average of the one that is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.callbacks.mixed_precision import refuse_narrow_weights
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.metrics import AvgStats, Metric, accuracy
from imagekit.optim.executors import lay_out_as


class ModelEma(Callback):
    """Keep `model`, an exponential moving average of the trained model, and measure it in validation.

    After each step of the optimizer average = decay * average + (1 - decay) * weights, in float32; running statistics
    likewise, other buffers (counts, masks that hold infinity) are copied. decay: in 0..1, 1 excluded. warm_up: after t
    steps use min(decay, (1 + t) / (10 + t)), so that the first weights are soon forgotten. `n_updates` counts steps;
    before the first the average is the model, whatever was loaded into that.

    metrics: measured beside the loss, accuracy if None; the row gets valid_ema_loss, valid_ema_accuracy. `pred` is what
    the average said about the validation batch at hand. This costs a second forward pass in validation, and the
    weights once more in memory. Later fits go on with the average, unless the model has other layers by then.

    Hooks on the trained model when its first fit begins are on the average too, as in every copy of a model.
    Raises ConfigError for a decay that cannot be, and for weights that are not float32.
    Source: Polyak and Juditsky 1992; the warm-up is that of tf.train.ExponentialMovingAverage.
    """

    _order = 8

    def __init__(
        self, decay: float = 0.999, *, warm_up: bool = True, metrics: Mapping[str, Metric] | None = None
    ) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(
                f"decay is {decay}, must be at least 0 and below 1",
                where="ModelEma: decay",
                fix="give 0.999, say: about the last 1,000 steps count",
            )
        self.decay, self.warm_up = float(decay), warm_up
        self.n_updates = 0
        self.pred: Any = None
        self._stats = AvgStats({"accuracy": accuracy} if metrics is None else metrics)
        self._model: nn.Module | None = None
        self._copied: set[str] = set()  # buffers that are not averaged
        self._weights: tuple[list[Tensor], list[Tensor]] = [], []  # ours, theirs

    @property
    def model(self) -> nn.Module:
        """The averaged model, in evaluation mode, without gradients. Raises ConfigError before the first fit."""
        if self._model is None:
            raise ConfigError(
                "there is no averaged model before the first fit", where="ModelEma.model", fix="call Learner.fit first"
            )
        return self._model

    def models(self) -> Iterable[nn.Module]:
        """The average, once it is there."""
        return [] if self._model is None else [self._model]

    def weights(self) -> dict[str, Any]:
        """The average as a state_dict of the trained model, for a checkpoint; live tensors, as torch gives them."""
        return self.model.state_dict()

    def begin_fit(self) -> None:
        """Copy the model, unless there is an average of it."""
        source: nn.Module = self.learner.model
        if self._model is None or not self.n_updates or _shapes(self._model) != _shapes(source):
            refuse_narrow_weights(source, who="ModelEma")
            self._model, self.n_updates = self._copy(source), 0
            # averaging makes NaN of a mask's minus infinity; looking once is no wait in a step
            self._copied = {name for name, each in source.named_buffers() if not _is_number(each)}
        self._follow()

    def begin_epoch(self) -> None:
        """Lie in the memory order of the model, which other callbacks may have changed at begin_fit."""
        self._follow()

    def after_step(self) -> None:
        """Average."""
        t = self.n_updates
        decay = min(self.decay, (1 + t) / (10 + t)) if self.warm_up else self.decay
        ours, theirs = list(self._weights[0]), list(self._weights[1])
        with torch.no_grad():
            # asked anew: a forward pass may put another tensor into the place of a buffer
            for (name, theirs_one), ours_one in zip(
                self.learner.model.named_buffers(), self.model.buffers(), strict=True
            ):
                if name in self._copied:
                    ours_one.copy_(theirs_one)
                else:
                    ours.append(ours_one)
                    theirs.append(theirs_one)
            torch._foreach_lerp_(ours, theirs, 1 - decay)  # exact where both are equal: frozen weights stay
        self.n_updates += 1

    def begin_validate(self) -> None:
        """Forget the epoch before."""
        self._stats.reset()

    def after_loss(self) -> None:
        """Ask the averaged model about the same validation batch, under the same autocast."""
        if self.learner.in_train:
            return
        self.pred = self.model(self.learner.xb)
        self._stats.accumulate(self.pred, self.learner.yb, self.learner.valid_loss_func(self.pred, self.learner.yb))

    def after_epoch(self) -> None:
        """Fill the row."""
        self.learner.row |= {f"valid_ema_{name}": value for name, value in self._stats.means().items()}

    def state_dict(self) -> dict[str, Any]:
        """The average and its count."""
        if self._model is None:
            return {}
        return {"n_updates": self.n_updates, "copied": sorted(self._copied), "weights": self.weights()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from them."""
        self.model.load_state_dict(state["weights"])
        self.n_updates, self._copied = int(state["n_updates"]), set(state["copied"])

    def _copy(self, source: nn.Module) -> nn.Module:
        # hooks that are methods of callbacks must not take the whole loop along into the copy
        keep = {id(each): each for each in (self.learner, *self.learner.callbacks)}
        return copy.deepcopy(source, keep).eval().requires_grad_(False)

    def _follow(self) -> None:
        """Our tensors go where theirs are, and lie as they do: the average is one fused pass."""
        source = self.learner.model
        self._weights = list(self.model.parameters()), list(source.parameters())
        for ours, theirs in zip(_tensors(self.model), _tensors(source), strict=True):
            if ours.device != theirs.device or ours.stride() != theirs.stride():
                ours.data = lay_out_as(theirs, ours.detach().to(theirs.device))


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: each.shape for name, each in chain(model.named_parameters(), model.named_buffers())}


def _is_number(buffer: Tensor) -> bool:
    return buffer.is_floating_point() and bool(buffer.isfinite().all())
