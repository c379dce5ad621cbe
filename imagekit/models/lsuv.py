"""Layer-sequential unit-variance initialisation: weights set by what a batch does in them.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.errors import ConfigError, TrainingError
from imagekit.models.hooks import Hook, Hooks, fit_input, undisturbed
from imagekit.models.layers import GeneralRelu
from imagekit.models.summary import align
from imagekit.models.units import WEIGHTED, Unit, as_units, find_units


@dataclass(frozen=True, kw_only=True, slots=True)
class LSUVRow:
    """One layer: where it was measured, mean and deviation there before and after, and how often it was corrected.

    can_shift: whether it has anything to move its mean with; without, its deviation alone was set.
    """

    name: str
    measured: str
    mean_before: float
    std_before: float
    mean: float
    std: float
    n_passes: int
    can_shift: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class LSUVReport:
    """What `lsuv_init` did, in the order of the forward. `skipped`: name and reason; str() is a table."""

    rows: tuple[LSUVRow, ...]
    skipped: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines: list[tuple[str, ...]] = [("layer", "measured at", "mean before", "std before", "mean", "std", "passes")]
        for row in self.rows:
            numbers = (f"{x:z.4f}" for x in (row.mean_before, row.std_before, row.mean, row.std))
            lines.append((row.name, row.measured, *numbers, str(row.n_passes)))
        names: dict[str, list[str]] = {}
        for name, reason in self.skipped:
            names.setdefault(f"skipped, {reason}", []).append(name)
        for row in self.rows:
            if not row.can_shift:
                names.setdefault("the deviation alone, there is no bias to shift", []).append(row.name)
        return "\n".join([*align(lines, n_left=2), *(f"{why}: {', '.join(them)}" for why, them in names.items())])


def lsuv_init(
    model: nn.Module,
    x: Tensor | Iterable[Tensor],
    *,
    tolerance: float = 1e-3,
    max_passes: int = 50,
    find: Callable[[nn.Module], Sequence[nn.Module]] = find_units,
) -> LSUVReport:
    """Give every layer outputs of deviation 1 and mean 0, one after the other in the order of the forward; in place.

    x: a batch [B, C, H, W] as the model trains on, normalised; or several, whose statistics are pooled as if they were
    one, because those of a small batch are noisy. find: gives the layers; see `find_units`. A layer is measured at its
    activation, or before it where that is ReLU, SiLU, Tanh or their like: no bias gives these mean 0 and deviation 1.
    In each pass the deviation comes first, then the mean, because scaling moves the mean. Scaled is the weight of the
    norm that stands before the measured point, else of the convolution; shifted is `sub` of a GeneralRelu, else the
    bias of that norm or convolution. The deviation is that of Tensor.std.
    Measured in training mode, batch norm with the statistics of the batch, dropout on and the same in each pass.
    A convolution without a bias, its norm behind the activation, keeps its mean, which that norm takes off anyway.
    Layers whose norm has weights of 0 are skipped: their blocks start as identities. Where it fails, all is put back.

    Run it once before training, after `init_cnn`, and before torch.compile; again, on fresh weights, where activation,
    norm, dropout, precision (call it inside autocast) or batch size change. A layer that runs several times is measured
    at its first call. Raises ConfigError for input that cannot be; TrainingError where a layer is dead, not finite,
    has nothing to turn or does not settle.
    Source: Mishkin and Matas 2015, arXiv:1511.06422; fast.ai course v3, lessons 10 and 11.
    """
    _check_numbers(tolerance, max_passes)
    batches = [fit_input(model, batch) for batch in _as_batches(x)]
    units, skipped = _sort_out(model, batches[0], as_units(model, find(model)))
    before = _measure(model, units, batches)
    with _all_or_nothing(units):
        passes = [_settle(model, unit, batches, tolerance=tolerance, max_passes=max_passes) for unit in units]
        after = _measure(model, units, batches)
        _check_still_set(units, after, tolerance)
    rows = (_row(*of_unit) for of_unit in zip(units, before, after, passes, strict=True))
    return LSUVReport(rows=tuple(rows), skipped=tuple(skipped))


class _Measured(Exception):
    """Raised by a hook at the measured layer: what lies behind it need not be computed."""


@dataclass(frozen=True, slots=True)
class _Stats:
    """Pooled over batches. n: values; squares: the sum of squared distances from the mean."""

    n: int
    mean: float
    squares: float

    @property
    def std(self) -> float:
        return math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else 0.0

    @property
    def is_alive(self) -> bool:
        return math.isfinite(self.mean + self.squares) and self.squares > 0

    def __add__(self, other: _Stats) -> _Stats:
        """As if the values had been one batch. Source: Chan, Golub and LeVeque 1979, STAN-CS-79-773."""
        n, gap = self.n + other.n, other.mean - self.mean
        squares = self.squares + other.squares + gap * gap * self.n * other.n / n
        return _Stats(n, self.mean + gap * other.n / n, squares)

    def holds(self, tolerance: float, *, mean_too: bool) -> bool:
        return (abs(self.mean) < tolerance or not mean_too) and abs(self.std - 1) < tolerance


def _check_numbers(tolerance: float, max_passes: int) -> None:
    for name, value, is_fine, rule in (
        ("tolerance", tolerance, 0 < tolerance < 1, "above 0 and below 1"),
        ("max_passes", max_passes, max_passes >= 1, "at least 1"),
    ):
        if not is_fine:
            raise ConfigError(
                f"{name} is {value!r}, must be {rule}", where=f"lsuv_init: {name}", fix="leave it out for the default"
            )


def _as_batches(x: Tensor | Iterable[Tensor]) -> list[Tensor]:
    batches = [x] if isinstance(x, Tensor) else list(x)
    if not batches:
        raise ConfigError(
            "there is no batch", where="lsuv_init: x", fix="pass one batch of training images, or several"
        )
    for number, batch in enumerate(batches):
        if not isinstance(batch, Tensor) or not batch.numel():
            got = list(batch.shape) if isinstance(batch, Tensor) else f"a {type(batch).__name__}"
            raise ConfigError(
                f"batch {number} is {got}, must be a tensor that holds images",
                where="lsuv_init: x",
                fix="pass the images alone: [x for x, y in batches]",
            )
    return batches


def _sort_out(model: nn.Module, x: Tensor, units: Sequence[Unit]) -> tuple[list[Unit], list[tuple[str, str]]]:
    """The units to set in the order of the forward, their parts filled in; the names of the others, and why."""
    order: dict[Unit, None] = {}

    def note(unit: Unit, part: nn.Module, _output: Tensor) -> None:
        order[unit] = None
        if unit.parts or isinstance(part, WEIGHTED):  # what comes before the convolution is not set by it
            unit.parts.append(part)

    _run(model, x, units, note)
    ran = [unit for unit in order if unit.parts]
    kept = [unit for unit in ran if not unit.is_zeroed]
    if not kept:
        raise ConfigError(
            f"{type(model).__name__} has no layer to set",
            where="lsuv_init",
            fix="pass a model with convolutions that run, and not one from torch.compile",
        )
    skipped = [(unit.name, "its norm has weights of 0") for unit in ran if unit.is_zeroed]
    return kept, skipped + [(unit.name, "does not run in the forward") for unit in units if unit not in ran]


def _run(model: nn.Module, x: Tensor, units: Sequence[Unit], see: Callable[[Unit, nn.Module, Tensor], None]) -> None:
    """One forward in training mode without a trace: see(unit, part, output) for each part in a unit's first call."""
    waiting = {unit.layer: unit for unit in units}
    current: list[Unit] = []
    parts = {part: None for unit in units for part in unit.layer.children() if not isinstance(unit.layer, WEIGHTED)}
    parts |= {unit.layer: None for unit in units if isinstance(unit.layer, WEIGHTED)}

    def enter(layer: nn.Module, _inputs: Any) -> None:
        current[:] = [waiting.pop(layer)] if layer in waiting else []

    def note(_hook: Hook, part: nn.Module, _inputs: Any, output: Tensor) -> None:
        if current:
            see(current[0], part, output)

    torch.clear_autocast_cache()  # else a forward inside autocast goes on with the weights from before
    with ExitStack() as stack, undisturbed(model, training=True), suppress(_Measured):
        for unit in units:
            stack.callback(unit.layer.register_forward_pre_hook(enter).remove)
        stack.enter_context(Hooks(parts, note))
        stack.enter_context(Hooks([unit.layer for unit in units], lambda *_: current.clear()))
        model(x)


def _measure(model: nn.Module, units: Sequence[Unit], batches: Sequence[Tensor]) -> list[_Stats]:
    """The statistics of the units over all batches; a forward ends at the last of them."""
    found: dict[Unit, list[_Stats]] = {unit: [] for unit in units}
    for number, batch in enumerate(batches, start=1):

        def note(unit: Unit, part: nn.Module, output: Tensor, n_wanted: int = number) -> None:
            if part is unit.measured and len(found[unit]) < n_wanted:
                found[unit].append(_stats(output))
            if all(len(stats) == n_wanted for stats in found.values()):
                raise _Measured

        _run(model, batch, units, note)
    for unit, stats in found.items():
        if len(stats) != len(batches):
            raise TrainingError(
                f'layer "{unit.name}" ran in the first forward, and not in each one after it',
                where="lsuv_init",
                fix="switch off what skips layers at random",
            )
    return [reduce(add, stats) for stats in found.values()]


def _stats(output: Tensor) -> _Stats:
    var, mean = torch.var_mean(output.float(), correction=0)
    return _Stats(output.numel(), mean.item(), var.item() * output.numel())


def _settle(model: nn.Module, unit: Unit, batches: Sequence[Tensor], *, tolerance: float, max_passes: int) -> int:
    """Scale, then shift, until both hold; the number of times."""
    [stats] = _measure(model, [unit], batches)
    _check_alive(unit, stats)
    n_passes = 0
    mean_too = unit.can_shift
    while not stats.holds(tolerance, mean_too=mean_too) and n_passes < max_passes and stats.is_alive:
        n_passes += 1
        if abs(stats.std - 1) >= tolerance:
            unit.scale(stats.std)
            [stats] = _measure(model, [unit], batches)  # scaling has moved the mean
        if mean_too and abs(stats.mean) >= tolerance:
            unit.shift(stats.mean)
            [stats] = _measure(model, [unit], batches)
    if not stats.holds(tolerance, mean_too=mean_too):
        raise TrainingError(
            f'layer "{unit.name}" has mean {stats.mean:.4g} and deviation {stats.std:.4g} after {n_passes} passes,'
            f" not 0 and 1 within {tolerance:g}",
            where="lsuv_init",
            fix="allow a larger tolerance or more max_passes, use float32, or measure before its activation: let find="
            " give its convolution alone",
        )
    return n_passes


def _check_alive(unit: Unit, stats: _Stats) -> None:
    if not math.isfinite(stats.mean + stats.squares):
        raise TrainingError(
            f'layer "{unit.name}" gives values that are not finite',
            where="lsuv_init",
            fix="look for NaN in the batch and in the weights; initialise these first, with init_cnn say",
        )
    if not stats.is_alive:
        raise TrainingError(
            f'layer "{unit.name}" is dead: all its outputs are {stats.mean:.4g}',
            where="lsuv_init",
            fix="initialise its weights first, with init_cnn say, and pass a batch of images that differ",
        )


def _check_still_set(units: Sequence[Unit], after: Sequence[_Stats], tolerance: float) -> None:
    for unit, stats in zip(units, after, strict=True):
        if not stats.holds(tolerance, mean_too=unit.can_shift):
            raise TrainingError(
                f'layer "{unit.name}" lost what it was set to: mean {stats.mean:.4g}, deviation {stats.std:.4g}',
                where="lsuv_init",
                fix="give each layer its own weights and activation, or leave the layer out by find=",
            )


@contextmanager
def _all_or_nothing(units: Sequence[Unit]) -> Iterator[None]:
    """Put back weights, biases and what is taken off where the body fails: half of it is no initialisation."""
    tensors = [t for u in units for name in ("weight", "bias") if (t := u.source._parameters.get(name)) is not None]
    relus = [unit.measured for unit in units if isinstance(unit.measured, GeneralRelu)]
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    subs = [(relu, None if relu.sub is None else relu.sub.clone()) for relu in relus]
    try:
        with torch.no_grad():
            yield
    except BaseException:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
        for relu, sub in subs:
            relu.sub = sub
        raise


def _row(unit: Unit, before: _Stats, after: _Stats, n_passes: int) -> LSUVRow:
    return LSUVRow(
        name=unit.name,
        measured=type(unit.measured).__name__,
        mean_before=before.mean,
        std_before=before.std,
        mean=after.mean,
        std=after.std,
        n_passes=n_passes,
        can_shift=unit.can_shift,
    )
