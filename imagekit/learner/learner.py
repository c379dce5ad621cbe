"""The training loop, whole: fit > all_epochs > all_batches > one_batch.

The loop knows no metric, device, schedule or progress bar; each is a callback. events.py says what a cancel skips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from imagekit.errors import CheckpointError, ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.events import EVENTS, CancelBatchException, CancelEpochException, CancelTrainException
from imagekit.learner.groups import all_parameters, with_rates
from imagekit.learner.memory_order import match_memory_order
from imagekit.learner.state import (
    MISFITS,
    check_every,
    check_place,
    first_lines,
    load_states,
    no_batch,
    states_of,
    tell_place,
)
from imagekit.learner.train_eval import TrainEvalCallback

C = TypeVar("C", bound=Callback)


class Batches(Protocol):
    """Batches (x, y, ...) that can be gone through once an epoch and counted beforehand."""

    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...


class Data(Protocol):
    """What a Learner learns from, a DataBunch say; `valid_dl` may be empty.

    Where it has a method set_epoch, that is told the number of each epoch, from 0, before its first batch; and the
    batch to begin with, as first_batch=3, where an earlier fit did those before. len(train_dl) stays that of an epoch.
    """

    @property
    def train_dl(self) -> Batches: ...
    @property
    def valid_dl(self) -> Batches: ...


class Learner:
    """A model, its data, its loss and its optimizer, and the loop that joins them.

    Told: model, data, loss_func, opt_func, lr, splitter, callbacks. `opt_func(splitter(model), lr=lr)` makes `opt` at
    the first fit; later fits keep it and its state unless told `reset_opt=True`. splitter: gives the parameters, or
    groups of them (groups.py); lr: one for all, or one for each group. valid_loss_func: the loss in validation, where
    training's is smoothed or weighted; None takes loss_func. valid_every: validate after so many epochs, and the last.

    While fitting:
    n_epochs    epochs in all                       epoch      the current one, from 0
    in_train    training, not validation            dl         the batches of this phase
    n_batches   batches in this phase               i_batch    the current one, from 0; its own `number` if it has one
    epochs_done whole epochs; at after_epoch the current one is among them
    batches_done  training batches of this epoch that were learnt from, all of them in validation; 0 between epochs
    n_iter      optimizer steps done                position   epochs done / n_epochs, a float in 0..1
    batch       all parts of the batch              xb, yb     its first two parts, which callbacks may replace
    pred, loss  of this batch; tensors              row        what callbacks measured in this epoch, by name
    loss_scale  what the gradients of this batch are multiplied by, a tensor without axes; None for 1. Callbacks set
                it by `scale_loss`; `loss` stays what was measured
    n_accumulate  batches a step, where a callback adds gradients up; the position moves from step to step
    stop        set it to True, from a signal handler say, to end as a cancelled training: after this batch, or where
                gradients are being added up after the step that they are for
    stop_reason why a callback ended the fit early, in words, else None
    failure     the exception that ended the fit, else None
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        *,
        loss_func: Callable[[Any, Any], Tensor],
        opt_func: Callable[..., torch.optim.Optimizer],
        lr: float | Sequence[float],
        callbacks: Iterable[Callback] = (),
        splitter: Callable[[nn.Module], Any] = all_parameters,
        valid_loss_func: Callable[[Any, Any], Tensor] | None = None,
        valid_every: int = 1,
    ) -> None:
        self.model, self.data, self.loss_func = model, data, loss_func
        self.valid_loss_func, self.valid_every = valid_loss_func or loss_func, check_every(valid_every)
        self.opt_func, self.lr, self.splitter = opt_func, lr, splitter
        self.opt: torch.optim.Optimizer | None = None
        self.n_epochs = self.epoch = self.epochs_done = self.n_batches = self.i_batch = self.n_iter = 0
        self.batches_done = 0
        self._in_step = self._may_have_gradients = False
        self.dl, self.in_train, self.stop = data.train_dl, False, False
        self.n_accumulate = 1
        self.stop_reason: str | None = None
        self.batch: Any = None
        self.xb: Any = None
        self.yb: Any = None
        self.pred: Any = None
        self.loss: Any = None
        self.loss_scale: Tensor | None = None
        self.row: dict[str, Any] = {}
        self.failure: BaseException | None = None
        # from a loaded state, until the fit that goes on from it
        self._n_iter: int | None = None
        self._states: dict[str, dict[str, Any]] = {}
        self.callbacks: list[Callback] = []
        self._handlers: dict[str, list[Callable[[], object]]] = {}
        given = list(callbacks)
        has_mode = any(isinstance(callback, TrainEvalCallback) for callback in given)
        self.add_callbacks(given if has_mode else [TrainEvalCallback(), *given])

    # -- the loop -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        n_epochs: int,
        callbacks: Iterable[Callback] = (),
        *,
        reset_opt: bool = False,
        first_epoch: int = 0,
        first_batch: int = 0,
    ) -> None:
        """Train up to `n_epochs` epochs, validating as `valid_every` says; `callbacks` are there for this fit only.

        first_epoch: epochs that an earlier, interrupted fit did; first_batch: training batches of the next one that it
        did; all of them, and the fit begins with validation. The position counts them as done.
        Raises ConfigError for numbers that cannot be and for data that cannot begin in an epoch, TrainingError if the
        training data has no batch.
        """
        with self._added(callbacks):
            self._prepare(n_epochs, first_epoch, first_batch, reset_opt)
            with self._to_its_end():
                self("begin_fit")
                states, self._states = self._states, {}
                load_states(self.callbacks, states)
                match_memory_order(self._optimizer())
                self.all_epochs(first_epoch, first_batch)

    def validate(self) -> dict[str, Any]:
        """One pass over `data.valid_dl` without gradients; returns the `row` that callbacks filled."""
        self.in_train, self.dl, self.row = False, self.data.valid_dl, {}
        self.stop, self.failure = False, None
        with self._to_its_end():
            self("begin_fit")
            with torch.no_grad():
                self.all_batches("begin_validate")
            self("after_epoch")
        return self.row

    def all_epochs(self, first_epoch: int, first_batch: int = 0) -> None:
        """Each epoch: all training batches, all validation batches without gradients.

        Of the first epoch the training batches before `first_batch` are left out.
        """
        for epoch in range(first_epoch, self.n_epochs):
            self.epoch, self.row = epoch, {}
            self.in_train, self.dl = True, self.data.train_dl
            tell_place(self.data, epoch=epoch, first_batch=first_batch)
            self.all_batches("begin_epoch", first_batch)
            self.batches_done, first_batch = self.n_batches, 0
            is_due = (epoch + 1) % self.valid_every == 0 or epoch + 1 == self.n_epochs
            self.in_train, self.dl, self._in_step = False, self.data.valid_dl if is_due else (), False
            with torch.no_grad():
                self.all_batches("begin_validate")
            self.epochs_done, self.batches_done = epoch + 1, 0
            self("after_epoch")

    def all_batches(self, begin: str, first_batch: int = 0) -> None:
        """Every batch of this phase from `first_batch` on, after the event `begin`."""
        self.i_batch, self.n_batches = first_batch, len(self.dl)
        try:
            self(begin)
            self._stop_if_asked()
            for i_batch, batch in enumerate(self.dl if first_batch < self.n_batches else (), first_batch):
                # data may leave out a batch: its place tells, not the count of those that came
                number = getattr(batch, "number", None)
                self.one_batch(i_batch if number is None else number, batch)
                self._stop_if_asked()
        except CancelEpochException:
            self("after_cancel_epoch")

    def one_batch(self, i_batch: int, batch: Any) -> None:
        """Forward and loss; in training backward and step as well. Nothing here waits for the device."""
        try:
            self._in_step = self.in_train
            self.i_batch, self.batch, self.loss_scale = i_batch, batch, None
            self.xb, self.yb = batch[0], batch[1]
            self("begin_batch")
            self.pred = self.model(self.xb)
            self("after_pred")
            self.loss = (self.loss_func if self.in_train else self.valid_loss_func)(self.pred, self.yb)
            self("after_loss")
            if not self.in_train:
                return
            self._may_have_gradients = True
            self.loss.backward(self.loss_scale)
            self("after_backward")
            self._optimizer().step()
            self("after_step")
            self._optimizer().zero_grad()
            self._may_have_gradients = False
            self.n_iter += 1
            self._count_batch()
        except CancelBatchException:
            self("after_cancel_batch")
            self._count_batch()
        finally:
            self("after_batch")

    def __call__(self, event: str) -> None:
        """Run what the callbacks have for `event`, by their order."""
        for handler in self._handlers[event]:
            handler()

    # -- around it ----------------------------------------------------------------------------------------------------

    @property
    def position(self) -> float:
        """Epochs done over epochs in all, in 0..1; a function of epoch and batch alone, so a resumed fit agrees."""
        if not self.n_epochs:
            return 0.0
        if not self.in_train:
            return (self.epoch + 1) / self.n_epochs
        # by steps, not batches: where gradients add up, a step has the hypers that one large batch would have
        n_steps = max(1, -(-self.n_batches // self.n_accumulate))  # no batch at the first begin_fit
        return (self.epoch * n_steps + self.i_batch // self.n_accumulate) / (self.n_epochs * n_steps)

    @property
    def is_between_steps(self) -> bool:
        """Whether no training batch is under way and no gradient waits for the step that it is for."""
        if self._in_step:
            return False
        if not self._may_have_gradients or self.opt is None:
            return True
        # whoever cancelled a batch behind its backward pass may have dropped its gradients, as for an overflow
        return all(param.grad is None for group in self.opt.param_groups for param in group["params"])

    def add_callbacks(self, callbacks: Iterable[Callback]) -> None:
        """Add callbacks and let each see this learner. Raises ConfigError for what is not a Callback object."""
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise ConfigError(
                    f"{callback!r} is not a callback",
                    where="Learner: callbacks",
                    fix="hand in objects of a class derived from Callback, ParamScheduler(...) say",
                )
            callback.learner = self
            self.callbacks.append(callback)
        self._bind()

    def remove_callbacks(self, callbacks: Iterable[Callback]) -> None:
        """Take these very objects away again; one that is not here is passed over."""
        gone = {id(callback) for callback in callbacks}
        self.callbacks = [callback for callback in self.callbacks if id(callback) not in gone]
        self._bind()

    def find(self, kind: type[C]) -> C | None:
        """The first callback of this class, or None."""
        return next((callback for callback in self.callbacks if isinstance(callback, kind)), None)

    def make_opt(self) -> torch.optim.Optimizer:
        """Make the optimizer anew, with empty state, and return it; `fit` does this at its first call."""
        groups, rates = self.splitter(self.model), self.lr
        if isinstance(rates, Sequence):
            groups, rates = with_rates(groups, rates), rates[-1]
        self.opt = self.opt_func(groups, lr=rates)
        return self.opt

    def scale_loss(self, factor: Tensor | float) -> None:
        """Multiply the gradients that this batch will add by `factor`; at after_loss, in training."""
        held = torch.ones_like(self.loss, requires_grad=False) if self.loss_scale is None else self.loss_scale
        self.loss_scale = held * factor

    def get_batch(self, *, in_train: bool = False) -> tuple[Any, Any]:
        """The first batch as the model would see it, x and y, after begin_batch of the callbacks that are here.

        in_train: of the training data, with its random draws; else of the validation data, or where that is empty of
        the training data as validation would see it. The model is moved to where the batch is; nothing else changes.
        Raises TrainingError where there is no batch.
        """
        names = ("in_train", "batch", "xb", "yb", "i_batch")
        before = {name: getattr(self, name) for name in names}
        batches = self.data.train_dl if in_train or not len(self.data.valid_dl) else self.data.valid_dl
        try:
            self.batch = next(iter(batches), None)
            if self.batch is None:
                raise no_batch("Learner.get_batch: data")
            self.in_train, self.i_batch, self.xb, self.yb = in_train, 0, self.batch[0], self.batch[1]
            self("begin_batch")
            if isinstance(self.xb, Tensor):
                self.model.to(self.xb.device)
            return self.xb, self.yb
        finally:
            self("after_batch")
            for name, value in before.items():
                setattr(self, name, value)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs of the loop.

        `model`; `optimizer` (None before the first fit); `epochs_done`, `batches_done`; `n_iter`, the optimizer's
        steps; `callbacks`, the states of those that have one, by name. A fit can go on from it where it was taken
        between steps. The tensors are the live ones, as torch gives them: save or copy them before the next step.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.opt.state_dict() if self.opt is not None else None,
            "epochs_done": self.epochs_done,
            "batches_done": self.batches_done,
            "n_iter": self.n_iter,
            "callbacks": states_of(self.callbacks),
        }

    def load_state_dict(self, state: dict[str, Any]) -> int:
        """Take up the state that `state_dict` gave; returns `epochs_done`, to be handed to `fit(first_epoch=...)`.

        `batches_done` is then to be handed to `fit(first_batch=...)`, else the epoch is begun anew.
        Callbacks take up theirs in the next fit, after begin_fit. Raises CheckpointError if it is the state of another
        model or optimizer; the fit does where it holds states of callbacks that are not there.
        """
        try:
            self.model.load_state_dict(state["model"])
            if state["optimizer"] is not None:
                (self.opt or self.make_opt()).load_state_dict(state["optimizer"])
            self._n_iter = state.get("n_iter")
            self._states = dict(state.get("callbacks", {}))
            self.epochs_done, self.batches_done = int(state["epochs_done"]), int(state.get("batches_done", 0))
            return self.epochs_done
        except MISFITS as error:
            raise CheckpointError(
                f"the saved state does not fit this model or optimizer: {first_lines(error)}",
                where="Learner.load_state_dict",
                fix="build the learner with the configuration that the run was trained with",
            ) from error

    def _prepare(self, n_epochs: int, first_epoch: int, first_batch: int, reset_opt: bool) -> None:
        check_place(self.data, n_epochs=n_epochs, first_epoch=first_epoch, first_batch=first_batch)
        if not (n_batches := len(self.data.train_dl)):
            raise no_batch("Learner.fit: data.train_dl")
        if reset_opt or self.opt is None:
            self.make_opt()
        self._optimizer().zero_grad()  # a cancelled fit leaves gradients behind; they are not this fit's
        self._in_step = self._may_have_gradients = False
        self.n_epochs, self.epoch, self.epochs_done = n_epochs, first_epoch, first_epoch
        self.n_batches, self.i_batch, self.batches_done = n_batches, first_batch, first_batch
        self.n_iter = first_epoch * n_batches + first_batch if self._n_iter is None else self._n_iter
        self._n_iter = None
        self.in_train, self.stop, self.failure, self.row = True, False, None, {}
        self.stop_reason = None

    def _count_batch(self) -> None:
        if self.in_train:
            self.batches_done = self.i_batch + 1
            self._in_step = False  # last: an interrupt before it finds a step under way

    def _stop_if_asked(self) -> None:
        if self.stop and (self.is_between_steps or not self.in_train):
            raise CancelTrainException

    @contextmanager
    def _to_its_end(self) -> Iterator[None]:
        """What is inside, then what comes after it however it ends."""
        try:
            try:
                yield
            except CancelTrainException:
                self("after_cancel_train")
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self("after_fit")

    def _optimizer(self) -> torch.optim.Optimizer:
        return self.opt if self.opt is not None else self.make_opt()

    @contextmanager
    def _added(self, callbacks: Iterable[Callback]) -> Iterator[None]:
        added: Sequence[Callback] = list(callbacks)
        try:
            self.add_callbacks(added)
            yield
        finally:
            self.remove_callbacks(added)

    def _bind(self) -> None:
        self._handlers = {event: [getattr(each, event) for each in self._having(event)] for event in EVENTS}

    def _having(self, event: str) -> list[Callback]:
        having = [callback for callback in self.callbacks if hasattr(type(callback), event)]
        return sorted(having, key=lambda callback: callback.order_at(event))
