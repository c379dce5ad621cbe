"""Looking into a model while it runs: hooks that always come off, and statistics of what each layer gives.

Shapes: L layers, T steps, N bins.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import torch
from torch import Tensor, nn

from imagekit.errors import ConfigError, ShapeError, TrainingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Watcher = Callable[["Hook", nn.Module, tuple[Any, ...], Any], object]
Which = slice | Sequence[bool]

EXACT_COUNT = 2**24  # histc counts in float32: a bin that holds more values than this no longer counts them one by one


class Hook:
    """Calls f(hook, module, inputs, output) after each forward of the module; what f sets on the hook is its memory.

    The hook watches: what f returns is ignored. It is on as long as this object lives, until `remove` or the end of
    its with-block; neither it nor the model keeps the other alive, and a copy of the model made meanwhile is not
    watched. Keep numbers of the output, not the tensor: the next layer may work in place on it.
    Raises ConfigError for what is no module. Source: fast.ai course v3, lesson 10.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __init__(self, module: nn.Module, f: Watcher) -> None:
        if not isinstance(module, nn.Module):
            raise ConfigError(
                f"a hook was given a {type(module).__name__}, it needs a torch module",
                where="Hook: module",
                fix="pass a part of the model, model[0] say",
            )
        self.f = f
        # not __del__: a finalizer holds no reference to the hook, runs once, and never at the interpreter's end
        self._off = weakref.finalize(self, module.register_forward_hook(_Listener(self)).remove)
        self._off.atexit = False

    def remove(self) -> None:
        """Take the hook off; what it remembers stays. Doing it twice does no harm."""
        self._off()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


class _Listener:
    """What the module holds and calls. It knows its hook weakly, and its copies, pickled or not, know none."""

    def __init__(self, hook: Hook | None = None) -> None:
        self._hook = None if hook is None else weakref.ref(hook)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        hook = self._hook() if self._hook is not None else None
        if hook is not None:
            hook.f(hook, module, inputs, output)

    def __reduce__(self) -> tuple[type[_Listener], tuple[()]]:
        return _Listener, ()


class Hooks(Sequence[Hook]):
    """One `Hook` on each of the modules, all with the same f, in their order.

    Indexed by a number (a hook), or a slice or a mask of booleans (a list of hooks); deleting an item takes it off.
    All come off together: at the end of a with-block, after an exception, by `remove`, with the last reference, and
    where one of the modules is refused. Raises ConfigError for what is no module or no list of them, ShapeError for a
    mask of another length.
    """

    def __init__(self, modules: Iterable[nn.Module], f: Watcher) -> None:
        if not isinstance(modules, Iterable):
            raise ConfigError(
                f"hooks were given one {type(modules).__name__}, they need a list of modules",
                where="Hooks: modules",
                fix="pass a list, model.children() or find_modules(model, ...) say",
            )
        self._hooks: list[Hook] = []
        try:
            for module in modules:
                self._hooks.append(Hook(module, f))
        except BaseException:
            self.remove()
            raise

    def __len__(self) -> int:
        return len(self._hooks)

    @overload
    def __getitem__(self, which: int) -> Hook: ...
    @overload
    def __getitem__(self, which: Which) -> list[Hook]: ...
    def __getitem__(self, which: int | Which) -> Hook | list[Hook]:
        if isinstance(which, int):
            return self._hooks[which]
        return [self._hooks[number] for number in self._numbers(which)]

    def __delitem__(self, which: int | Which) -> None:
        for number in sorted(
            {range(len(self))[which]} if isinstance(which, int) else self._numbers(which), reverse=True
        ):
            self._hooks.pop(number).remove()

    def _numbers(self, which: Which) -> Sequence[int]:
        if isinstance(which, slice):
            return range(len(self))[which]
        if len(which) != len(self):
            raise ShapeError(
                f"the mask has {len(which)} entries, there are {len(self)} hooks",
                where="Hooks",
                fix="give one True or False a hook",
            )
        return [number for number, is_wanted in enumerate(which) if is_wanted]

    def remove(self) -> None:
        """Take all hooks off; they stay in the sequence with what they remember."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def find_modules(model: nn.Module, condition: Callable[[nn.Module], bool]) -> list[nn.Module]:
    """The modules that meet the condition, depth first, each once; the model itself can be one.

    Nothing is looked for inside a module that meets it. Source: fast.ai course v3, lesson 11.
    """
    found: list[nn.Module] = []
    seen: set[nn.Module] = set()

    def visit(module: nn.Module) -> None:
        if module in seen:
            return
        seen.add(module)
        if condition(module):
            found.append(module)
        else:
            for child in module.children():
                visit(child)

    visit(model)
    return found


def path_of(model: nn.Module, module: nn.Module) -> str:
    """The dotted name of a part of the model, as in its state_dict; "(model)" for the model, "" for a stranger."""
    return next((name or "(model)" for name, other in model.named_modules() if other is module), "")


def fit_input(model: nn.Module, x: Tensor) -> Tensor:
    """x on the device of the model's first parameter, and in its type where both are floats; else x as it is."""
    parameter = next(model.parameters(), None)
    if parameter is None:
        return x
    both_float = x.is_floating_point() and parameter.is_floating_point()
    return x.to(parameter.device, parameter.dtype if both_float else x.dtype)


@contextmanager
def undisturbed(model: nn.Module, *, training: bool) -> Iterator[None]:
    """For forwards that leave no trace: what they change is put back, also after an exception.

    Inside, all modules are in the mode asked for, there are no gradients, and the global random numbers are those of
    seed 0, so that dropout repeats itself. Put back are each module's mode, every buffer (running statistics) and the
    random state of the CPU and of the CUDA devices that the model is on.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module._buffers, name, buffer, buffer.detach().clone())
        for module, _ in modes
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    cuda = sorted({parameter.device.index for parameter in model.parameters() if parameter.device.type == "cuda"})
    with torch.no_grad(), torch.random.fork_rng(devices=cuda):
        # not torch.manual_seed: it would reseed the devices that are not put back, too
        torch.default_generator.manual_seed(0)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(0)
        try:
            model.train(training)
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for owner, name, buffer, before in buffers:
                owner[name] = buffer
                # an unchanged buffer is not written: autograd may hold it; one on torch's meta device has no values
                if not buffer.is_meta and not torch.equal(buffer, before):
                    buffer.copy_(before)


@dataclass(slots=True)
class _Memory:
    """What LayerStats keeps on a hook: tensors on the layer's device, one of each a step."""

    kind: str
    moments: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStats:
    """For `Hooks`: collects mean, deviation, histogram and near-zero share of each output; `stack_stats` reads them.

    Counted in float32, without waiting for the device. n_bins, value_range: of the histogram; values beyond the range
    are counted in its end bins, NaN nowhere. near_zero: the share is that of the values with abs(x) < near_zero; 0.5
    equals the first two of the 40 bins from 0 to 10 for a ReLU. in_eval: collect in evaluation mode as well, where the
    layer sees other batches. The deviation is that of Tensor.std, and 0 for a single value.
    Raises ConfigError for settings that cannot be, and for an output that is not one tensor.
    Source: fast.ai course v3, lesson 10.
    """

    n_bins: int = 40
    value_range: tuple[float, float] = (0.0, 10.0)
    near_zero: float = 0.5
    in_eval: bool = False

    def __post_init__(self) -> None:
        low, high = self.value_range
        for name, is_fine, rule in (
            ("n_bins", self.n_bins >= 1, "at least 1"),
            ("value_range", math.isfinite(high - low) and low < high, "two finite numbers, the lower first"),
            ("near_zero", 0 < self.near_zero < math.inf, "above 0 and finite"),
        ):
            if not is_fine:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}, must be {rule}",
                    where=f"LayerStats: {name}",
                    fix=f"leave it out for {LayerStats.__dataclass_fields__[name].default!r}",
                )

    def __call__(self, hook: Hook, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Add the statistics of one output to hook.stats."""
        if not isinstance(output, Tensor):
            raise ConfigError(
                f"a {type(module).__name__} gives a {type(output).__name__}, statistics need one tensor",
                where="LayerStats",
                fix="hook a module that gives one tensor",
            )
        if "stats" not in vars(hook):
            hook.stats = _Memory(kind=type(module).__name__)
        if module.training or self.in_eval:
            x = output.detach().float()
            hook.stats.moments.append(self._moments(x))
            hook.stats.counts.append(self._histogram(x))

    def _moments(self, x: Tensor) -> Tensor:
        """Mean, deviation, near-zero share: float32 [3]."""
        mean = x.sum() / x.numel()
        # not torch.std_mean, which takes four times as long on a CPU
        std = ((x - mean).square_().sum() / max(x.numel() - 1, 1)).sqrt()
        return torch.stack((mean, std, torch.count_nonzero(x.abs() < self.near_zero) / x.numel()))

    def _histogram(self, x: Tensor) -> Tensor:
        """int64 [N]."""
        low, high = self.value_range
        inside = x.clamp(low, high).nan_to_num_(nan=high + (high - low)).flatten()  # histc leaves out what is outside
        parts = [torch.histc(part, self.n_bins, low, high).long() for part in torch.split(inside, EXACT_COUNT)]
        return torch.stack(parts).sum(0)


append_stats = LayerStats()
"""`LayerStats` as the lesson has it: 40 bins from 0 to 10."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Telemetry:
    """What `LayerStats` collected, as NumPy arrays: float32, counts int64. np.savez(file, **asdict(it)) saves it."""

    names: tuple[str, ...]
    means_LT: npt.NDArray[np.float32]
    stds_LT: npt.NDArray[np.float32]
    near_zero_LT: npt.NDArray[np.float32]
    hists_LTN: npt.NDArray[np.int64]
    value_range: tuple[float, float]
    near_zero: float


def stack_stats(hooks: Hooks, *, names: Sequence[str] | None = None) -> Telemetry:
    """Bring what the hooks collected with `LayerStats` to the CPU; the hooks may be off by now.

    names: of the layers, their number and type where None. Raises ConfigError where the hooks hold other things and
    where the names are not one a hook, TrainingError where they saw no step or not the same number of them.
    """
    stats = hooks[0].f if len(hooks) else None
    if not isinstance(stats, LayerStats):
        raise ConfigError(
            "the hooks collect no statistics" if len(hooks) else "there are no hooks",
            where="stack_stats: hooks",
            fix="make them with Hooks(modules, append_stats), one module at least",
        )
    memories: list[_Memory] = [vars(hook).get("stats", _Memory("never called")) for hook in hooks]
    names = [f"{number} {memory.kind}" for number, memory in enumerate(memories)] if names is None else names
    _check_steps(memories, names)
    moments_LT3 = torch.stack([torch.stack(memory.moments).cpu() for memory in memories])
    means, stds, near_zero = (part.contiguous().numpy() for part in moments_LT3.unbind(-1))
    return Telemetry(
        names=tuple(names),
        means_LT=means,
        stds_LT=stds,
        near_zero_LT=near_zero,
        hists_LTN=torch.stack([torch.stack(memory.counts).cpu() for memory in memories]).numpy(),
        value_range=stats.value_range,
        near_zero=stats.near_zero,
    )


def _check_steps(memories: Sequence[_Memory], names: Sequence[str]) -> None:
    if len(names) != len(memories):
        raise ConfigError(
            f"there are {len(names)} names and {len(memories)} hooks", where="stack_stats: names", fix="give one a hook"
        )
    steps = [len(memory.moments) for memory in memories]
    if not any(steps):
        raise TrainingError(
            "the hooks saw no forward in training mode",
            where="stack_stats",
            fix="call model.train() before the forward, or collect with LayerStats(in_eval=True)",
        )
    odd = next((number for number, count in enumerate(steps) if count != steps[0]), None)
    if odd is not None:
        raise TrainingError(
            f'layer "{names[odd]}" ran {steps[odd]} times, layer "{names[0]}" {steps[0]} times',
            where="stack_stats",
            fix="hook modules that run once a step",
        )
