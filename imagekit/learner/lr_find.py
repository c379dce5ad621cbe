"""Which learning rate to train with: let it rise step by step, and look where the loss falls and where it explodes.

    curve = find_lr(learner)
    curve.suggestion, curve.at_minimum_over_10

Source: Smith 2015, Cyclical Learning Rates for Training Neural Networks, arXiv:1506.01186, section 3.3; fast.ai course
v3, notebook 05b. Shapes: N steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imagekit.errors import ConfigError, TrainingError
from imagekit.learner.callback import Callback
from imagekit.learner.events import CancelTrainException
from imagekit.learner.learner import Data, Learner

Array = npt.NDArray[np.float64]

BETA = 0.9  # what a step counts less with each step between: half of it is gone after 7
LEAST_STEPS = 10
N_FIRST = 5  # steps that tell what the loss was at the beginning, at least
SKIPPED = 0.1  # the share of the steps, from the first, at which nothing is suggested
# of 2000 curves of nothing but normal noise, 10 to 200 steps long, 1 % fall by more than the deviation of a step
LEAST_FALL_IN_NOISES = 1.0
LEAST_FALL = 1e-3  # and by this share of the loss
MOST_WAITED = 1000  # batches without a step


@dataclass(frozen=True, kw_only=True, slots=True)
class LRCurve:
    """What the loss was at each learning rate.

    lrs: of the last parameter group. losses: each measured before the step with its rate; finite. stopped_early: the
    loss exploded before the last step that was asked for, at a rate next to the last; that loss is left out.
    Raises ConfigError where there is not one loss for each rate.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    stopped_early: bool

    def __post_init__(self) -> None:
        if len(self.lrs) != len(self.losses):
            raise ConfigError(
                f"there are {len(self.lrs)} lrs and {len(self.losses)} losses",
                where="LRCurve",
                fix="give one loss for each learning rate",
            )

    @property
    def smoothed(self) -> tuple[float, ...]:
        """The losses as weighted means of all, each weighing BETA ** (the steps between).

        To both sides, where a running mean looks only back: that one is late by BETA / (1 - BETA) = 9 steps, and its
        steepest fall was found at 2.4 times the rate where it was. Divided by the sum of the weights, so the first
        steps are not drawn to zero. A loss above all of the first tenth of the steps counts as the greatest of those:
        an explosion that weighed as it is would reach back over the fall, and hid that of Imagenette.
        """
        losses = np.asarray(self.losses, dtype=np.float64)
        return tuple(smooth(np.minimum(losses, losses[: max(self._first, N_FIRST)].max(initial=-np.inf))).tolist())

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls fastest against the logarithm of the rate; None: see `remark`.

        Looked for from the first tenth of the steps on to the least smoothed loss.
        """
        if self._obstacle() is not None:
            return None
        smoothed, logs = np.asarray(self.smoothed), np.log(self.lrs)
        first, last = self._first, int(smoothed.argmin())
        return self.lrs[first + int(np.gradient(smoothed, logs)[first : last + 1].argmin())]

    @property
    def at_minimum_over_10(self) -> float | None:
        """A tenth of the rate with the least smoothed loss; None where there is no suggestion."""
        return self.lrs[int(np.argmin(self.smoothed))] / 10 if self._obstacle() is None else None

    @property
    def remark(self) -> str | None:
        """Why there is no suggestion, or what to know of it; None where there is nothing to say."""
        obstacle = self._obstacle()
        if obstacle is not None:
            return obstacle
        if int(np.argmin(self.smoothed)) == len(self.losses) - 1:
            return f"the loss still falls at {self.lrs[-1]:.2g}, the last rate: a search up to greater ones tells more"
        return None

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "lrs": list(self.lrs),
            "losses": list(self.losses),
            "smoothed": list(self.smoothed),
            "stopped_early": self.stopped_early,
            "suggestion": self.suggestion,
            "at_minimum_over_10": self.at_minimum_over_10,
            "remark": self.remark,
        }

    @property
    def _first(self) -> int:
        return math.ceil(SKIPPED * len(self.losses))

    def _obstacle(self) -> str | None:
        n = len(self.losses)
        if n < LEAST_STEPS:
            why = "the loss exploded at once: begin at a lower rate" if self.stopped_early else "search in more steps"
            return f"{n} steps tell too little, {LEAST_STEPS} are the least; {why}"
        smoothed = np.asarray(self.smoothed)
        lowest = int(smoothed.argmin())
        fall = float(smoothed[: lowest + 1].max() - smoothed[lowest])
        noise = noise_of(np.asarray(self.losses)[: lowest + 1])
        if fall <= max(LEAST_FALL_IN_NOISES * noise, LEAST_FALL * float(np.abs(smoothed).max())):
            return "the loss never falls by more than it varies from step to step"
        if lowest <= self._first:
            return f"the loss is least at {self.lrs[lowest]:.2g}, among the first steps: begin at a lower rate"
        return None


def find_lr(
    learner: Learner,
    *,
    start: float = 1e-6,
    factor: float = 1e7,
    n_steps: int = 100,
    stop_at: float = 10.0,
    without: Collection[type[Callback]] = (),
    progress: Callable[[int, int], object] | None = None,
) -> LRCurve:
    """Train a copy of the learner with a learning rate that rises from step to step, and return the losses.

    start, factor: step i of 0 .. n_steps - 1 is made with start * factor ** (i / n_steps). n_steps: optimizer steps at
    most; training data with fewer batches is gone through again, and nothing is validated. Parameter groups keep the
    ratio of their rates. stop_at: it ends at a loss that is no number, or more than this many times the best smoothed
    loss so far; with a best one that is not above 0 only the former. Each loss is looked at, so each step waits for
    the device. Where batches are accumulated, a step's loss is the mean of its batches.

    The learner, model, optimizer and callbacks are as before, also after an exception, and so is torch's random state:
    called again, it gives the same. `data` is shared: where it has set_epoch, it is told 0, 1, ... and at the end the
    learner's epochs_done; other data goes on where the search left it. The copy's callbacks are the learner's, with
    their position kept at the beginning of a training, but for schedules of what the optimizer holds, those that write
    files (they have a `layout`, or a Path as `path`) and classes in `without`. progress: told steps done and n_steps.

    Raises ConfigError for numbers that cannot be and for what cannot be copied, TrainingError if there is no batch or
    none that reaches its step, and what the training raises.
    """
    _check(start=start, factor=factor, n_steps=n_steps, stop_at=stop_at)
    with _random_state_kept():
        trial = _copy_of(learner, without=tuple(without))
        around = _Around(learner.data, n_batches=n_steps * MOST_WAITED)
        trial.data = around
        search = _Search(start=start, factor=factor, n_steps=n_steps, stop_at=stop_at, progress=progress)
        try:
            trial.fit(1, [search])
        finally:
            around.set_back(learner.epochs_done)
    return LRCurve(lrs=tuple(search.lrs), losses=tuple(search.losses), stopped_early=search.stopped_early)


class _Search(Callback):
    """Set the rate before each batch, note the loss, end the training in time."""

    _order = 10**6  # after all others: what they set is overruled

    def __init__(
        self,
        *,
        start: float,
        factor: float,
        n_steps: int,
        stop_at: float,
        progress: Callable[[int, int], object] | None,
    ) -> None:
        self.start, self.factor, self.n_steps, self.stop_at = start, factor, n_steps, stop_at
        self.progress = progress
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.stopped_early = False
        self._ratios: list[float] = []
        self._lr = start
        self._of_this_step: list[float] = []
        self._running = self._weight = 0.0
        self._best = math.inf

    def begin_fit(self) -> None:
        self._ratios = _ratios([float(group["lr"]) for group in self.learner.opt.param_groups])

    def begin_batch(self) -> None:
        self._lr = self.start * self.factor ** (len(self.lrs) / self.n_steps)
        for group, ratio in zip(self.learner.opt.param_groups, self._ratios, strict=True):
            group["lr"] = self._lr * ratio

    def after_loss(self) -> None:
        loss = float(self.learner.loss.detach())
        self._of_this_step.append(loss)
        if len(self._of_this_step) > MOST_WAITED:
            raise TrainingError(
                f"not one of {MOST_WAITED:,} batches reached its step",
                where="find_lr",
                fix="leave out the callback that cancels them: without=(ItsClass,)",
            )
        if not math.isfinite(loss) or 0 < self.stop_at * self._best < loss:
            self.stopped_early = True
            raise CancelTrainException
        self._running, self._weight = BETA * self._running + (1 - BETA) * loss, BETA * self._weight + (1 - BETA)
        self._best = min(self._best, self._running / self._weight)

    def after_step(self) -> None:
        self.lrs.append(self._lr)
        self.losses.append(math.fsum(self._of_this_step) / len(self._of_this_step))
        self._of_this_step = []
        if self.progress is not None:
            self.progress(len(self.lrs), self.n_steps)
        if len(self.lrs) == self.n_steps:
            raise CancelTrainException


class _Around:
    """One long epoch of training batches, by going through the data again and again; no validation batch.

    n_batches: as many as no search takes, so the position in training stays near 0, and no batch is an epoch's last.
    """

    def __init__(self, data: Data, *, n_batches: int) -> None:
        self._data, self._n_batches = data, n_batches
        self.train_dl, self.valid_dl = self, ()

    def __len__(self) -> int:
        return self._n_batches if len(self._data.train_dl) else 0

    def __iter__(self) -> Iterator[Any]:
        for n_passes in count():
            if hasattr(self._data, "set_epoch"):
                self._data.set_epoch(n_passes)
            n_batches = 0
            for batch in self._data.train_dl:
                n_batches += 1
                yield batch
            if not n_batches:
                raise TrainingError(
                    f"the training data gave no batch when it was gone through for the {_nth(n_passes + 1)} time",
                    where="find_lr: learner.data.train_dl",
                    fix="give batches that can be gone through again, a list or a DataLoader, say",
                )

    def __getattr__(self, name: str) -> Any:
        # what callbacks may ask of their learner's data; set_epoch is called here, not by the loop
        if name.startswith("_") or name == "set_epoch":
            raise AttributeError(name)
        return getattr(self._data, name)

    def set_back(self, epoch: int) -> None:
        if hasattr(self._data, "set_epoch"):
            self._data.set_epoch(epoch)


def _copy_of(learner: Learner, *, without: tuple[type[Callback], ...]) -> Learner:
    """A learner that shares nothing with this one that training changes, without the callbacks that stay out."""
    trial = copy.copy(learner)
    if trial.opt is None:
        trial.make_opt()
    left_out = [callback for callback in learner.callbacks if _stays_out(callback, trial, without)]
    # what deepcopy finds here it takes as it is: data, and tensors of the last batch, which torch cannot copy
    shared = [learner.data, learner.dl, learner.data.train_dl, learner.data.valid_dl, *left_out]
    shared += [learner.batch, learner.xb, learner.yb, learner.pred, learner.loss, learner.loss_scale]
    shared += [learner.row, learner.failure]
    memo: dict[int, Any] = {id(each): each for each in shared if each is not None}
    memo[id(learner)] = trial
    _copied(learner.model, memo, "model")
    for callback in learner.callbacks:
        _copied(callback, memo, f"callback {callback.name}")
    # what was copied above is taken from memo: the optimizer's parameters become the copied model's
    for name, value in vars(trial).items():
        setattr(trial, name, _copied(value, memo, name))
    trial.remove_callbacks(left_out)
    return trial


def _copied(value: Any, memo: dict[int, Any], name: str) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except (TypeError, RuntimeError, AttributeError, ValueError, NotImplementedError, copy.Error) as error:
        raise ConfigError(
            f"the learner's {name} cannot be copied: {' '.join(str(error).split())}",
            where="find_lr: learner",
            fix="leave out a callback by without=(ItsClass,); search with a model that copy.deepcopy takes",
        ) from error


def _stays_out(callback: Callback, trial: Learner, without: tuple[type[Callback], ...]) -> bool:
    """Whether it is one of `without`, would set what the optimizer holds, or writes files."""
    own = vars(callback)
    hyper, groups = own.get("hyper"), trial.opt.param_groups if trial.opt is not None else []
    is_schedule = isinstance(hyper, str) and all(hyper in group for group in groups)
    has_files = "layout" in own or isinstance(own.get("path"), Path)
    return isinstance(callback, without) or is_schedule or has_files


def _ratios(rates: list[float]) -> list[float]:
    """Each rate over the last; where all are alike, 0 after a schedule's end say, 1 for each."""
    if min(rates) == max(rates):
        return [1.0] * len(rates)
    if not rates[-1]:
        raise ConfigError(
            f"lr is 0 in the last of {len(rates)} parameter groups, and is above 0 in others",
            where="find_lr: learner",
            fix="give the last group a learning rate: the others keep their ratio to it",
        )
    return [rate / rates[-1] for rate in rates]


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put torch's random generators, of all devices, back to where they are now."""
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)


def _check(*, start: float, factor: float, n_steps: int, stop_at: float) -> None:
    _refuse_unless(0 < start < math.inf, "start", start, "a number above 0", "leave it out for 1e-6")
    is_fit = 1 < factor < math.inf and start * factor < math.inf
    _refuse_unless(is_fit, "factor", factor, "a number above 1, and start * factor finite", "leave it out for 1e7")
    _refuse_unless(n_steps >= 1, "n_steps", n_steps, "at least 1", "leave it out for 100")
    _refuse_unless(stop_at > 1, "stop_at", stop_at, "above 1", "leave it out for 10")


def _refuse_unless(fits: bool, name: str, value: float, words: str, fix: str) -> None:
    if not fits:
        raise ConfigError(f"{name} is {value}, must be {words}", where=f"find_lr: {name}", fix=fix)


def smooth(x_N: Array) -> Array:
    """Weighted means of all values, the weight of each BETA ** its distance: float64 [N]."""
    numbers_N = np.arange(len(x_N))
    weights_NN = BETA ** np.abs(numbers_N[:, None] - numbers_N)
    means_N: Array = weights_NN @ x_N / weights_NN.sum(axis=1)
    return means_N


def noise_of(x_N: Array) -> float:
    """The standard deviation of what varies from one value to the next; neither a trend nor a lone leap is noise."""
    if len(x_N) < 2:
        return 0.0
    differences = np.diff(x_N)
    # the median distance of normal noise from its middle is 0.6745 deviations, and a difference has that of two values
    return float(np.median(np.abs(differences - np.median(differences)))) / 0.6745 / math.sqrt(2)


def _nth(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
