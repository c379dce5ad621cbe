"""What an optimizer is made of: stats that remember, steppers that act, and the rule that puts them in order.

Both work on lists of tensors, whatever their number: a single parameter on a CPU, a whole model on a GPU. What they
need besides is asked for by name: the keywords of a stepper, or of a stat's `update`, are its hypers, and their
defaults are the optimizer's.

    @stepper(order=5)
    def weight_decay(x: Lists, *, lr: float, weight_decay: float = 0.0) -> None:
        multiply_(x.params, 1 - lr * weight_decay)

Source of the idea: fast.ai course v3, lesson 11.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from imagekit.errors import ConfigError, did_you_mean
from imagekit.optim.lists import Lists

REQUIRED = inspect.Parameter.empty  # the default of a hyper that has none
# keys of a parameter group, and words of Optimizer, that are no hypers
RESERVED = ("params", "param_names", "maximize", "initial_lr", "rest", "executor", "name")
Hypers = Mapping[str, Any]


@runtime_checkable
class Stat(Protocol):
    """Something remembered of each parameter. Frozen dataclasses, so that equal compositions are known as equal.

    One that keeps numbers in `counts` names them there too, and in `needs` what stats before it must keep; one that
    keeps nothing at times says `optional = True`; one that treats vectors and matrices differently says `by_rank =
    True`, gets lists of one kind only, and tells the shapes of what it keeps by `shapes(param)`.
    """

    @property
    def keeps(self) -> tuple[str, ...]:
        """The names of what it remembers."""
        ...

    @property
    def update(self) -> Callable[..., None]:
        """A method of (Lists, *, hypers)."""
        ...


@dataclass(frozen=True)
class Stepper:
    """A function of Lists and hypers that acts on the parameters, or before the stats on the gradients.

    order: steppers run by it, those below 0 before the stats see the gradients. takes: which parameters it can act
    on; the others need a rule of their own. needs: what stats must keep for it. needs_total_norm: whether
    `total_norm` is to be there.
    """

    func: Callable[..., None]
    order: float = 10
    takes: Callable[[Tensor], bool] | None = None
    needs: tuple[str, ...] = ()
    needs_total_norm: bool = False

    @property
    def __name__(self) -> str:
        return getattr(self.func, "__name__", repr(self.func))

    def __call__(self, x: Lists, **hypers: Any) -> None:
        self.func(x, **hypers)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # a decorated function is found again under its own name
        home = inspect.getmodule(self.func)
        if home is not None and getattr(home, self.__name__, None) is self:
            return _find_stepper, (home.__name__, self.__name__)
        return Stepper, (self.func, self.order, self.takes, self.needs, self.needs_total_norm)


def _find_stepper(module: str, name: str) -> Stepper:
    import importlib

    found: Stepper = getattr(importlib.import_module(module), name)
    return found


def stepper(
    *,
    order: float = 10,
    takes: Callable[[Tensor], bool] | None = None,
    needs: tuple[str, ...] = (),
    needs_total_norm: bool = False,
) -> Callable[[Callable[..., None]], Stepper]:
    """Make a stepper of a function; see Stepper."""

    def make(func: Callable[..., None]) -> Stepper:
        made = Stepper(func, order, takes, needs, needs_total_norm)
        object.__setattr__(made, "__doc__", func.__doc__)
        return made

    return make


@dataclass(frozen=True)
class Part:
    """A stat or stepper with the names of its hypers."""

    name: str
    run: Callable[..., None]
    hypers: tuple[tuple[str, Any], ...]
    optional: tuple[str, ...] = ()

    def pick(self, group: Hypers) -> dict[str, Any]:
        """Its own hypers out of a parameter group."""
        return {name: group[name] for name, _ in self.hypers}


class Rule:
    """Steppers and stats in the order in which they run: gradient steppers, stats, the other steppers.

    steppers: functions made by `@stepper`, or plain functions of the same form; sorted by their order, equal ones stay
    as given. stats: run as given. Raises ConfigError for what is neither, for two stats that keep the same name, for a
    part that needs what no stat before it keeps, and for a default that two parts do not agree on unless `settled`
    has it.
    """

    def __init__(self, steppers: Sequence[Any], stats: Sequence[Stat] = (), *, settled: Iterable[str] = ()) -> None:
        made = [each if isinstance(each, Stepper) else _plain(each) for each in steppers]
        self.steppers = tuple(sorted(made, key=lambda each: each.order))
        self.stats, self.settled = tuple(stats), tuple(settled)
        _check_stats(self.stats)
        by_stat = [_part_of(type(stat).__name__, stat.update) for stat in self.stats]
        by_stepper = [_part_of(each.__name__, each.func) for each in self.steppers]
        first = [part for part, each in zip(by_stepper, self.steppers, strict=True) if each.order < 0]
        last = [part for part, each in zip(by_stepper, self.steppers, strict=True) if each.order >= 0]
        self.parts = (*first, *by_stat, *last)
        self.defaults = join_defaults(self.parts, settled=self.settled)
        self.keeps = tuple(name for stat in self.stats for name in stat.keeps)
        self.counts = tuple(name for stat in self.stats for name in getattr(stat, "counts", ()))
        self.by_rank = any(getattr(stat, "by_rank", False) for stat in self.stats)
        self.optional = frozenset(name for part in self.parts for name in part.optional)
        self.needs_total_norm = any(each.needs_total_norm for each in self.steppers)
        # what makes two rules the same: the steppers in order, the stats in any
        self.key = (self.steppers, frozenset(self.stats))
        self._check_needs()

    def _check_needs(self) -> None:
        kept: set[str] = set()
        needs: list[tuple[str, tuple[str, ...], tuple[str, ...]]]
        needs = [(type(stat).__name__, getattr(stat, "needs", ()), stat.keeps) for stat in self.stats]
        needs += [(each.__name__, each.needs, ()) for each in self.steppers]
        for who, needed, keeps in needs:
            for name in needed:
                if name not in kept:
                    raise ConfigError(
                        f'{who} needs "{name}", which no stat before it keeps',
                        where="Optimizer: stats",
                        fix="add the stat that keeps it: imagekit.optim.presets shows which go together",
                    )
            kept |= set(keeps)

    def shapes(self, param: Tensor) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor that may be remembered of a parameter."""
        found: dict[str, tuple[int, ...]] = {}
        for stat in self.stats:
            own = getattr(stat, "shapes", None)
            found |= own(param) if own is not None else {name: tuple(param.shape) for name in stat.keeps}
        return {name: shape for name, shape in found.items() if name not in self.counts}

    @property
    def must_keep(self) -> frozenset[str]:
        """What every parameter that has taken a step has a memory of."""
        return frozenset(name for stat in self.stats if not getattr(stat, "optional", False) for name in stat.keeps)

    def takes(self, param: Tensor) -> bool:
        """Whether every stepper can act on this parameter."""
        return all(each.takes is None or each.takes(param) for each in self.steppers)

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_rule, (self.steppers, self.stats, self.settled)


def _make_rule(steppers: Sequence[Stepper], stats: Sequence[Stat], settled: Sequence[str]) -> Rule:
    return Rule(steppers, stats, settled=settled)


def _plain(func: object) -> Stepper:
    if isinstance(func, type) or not callable(func):
        raise ConfigError(
            f"{func!r} is not a stepper",
            where="Optimizer: steppers",
            fix="hand in functions of (x, *, hypers), as in imagekit.optim.steppers",
        )
    return Stepper(func)


def _check_stats(stats: Sequence[Stat]) -> None:
    seen: dict[str, str] = {}
    for stat in stats:
        if not _is_stat(stat):
            raise ConfigError(
                f"{stat!r} is not a stat",
                where="Optimizer: stats",
                fix="hand in objects with `keeps` and `update`, AverageGrad() say; make a dataclass frozen=True",
            )
        for name in stat.keeps:
            if name in seen:
                raise ConfigError(
                    f'{seen[name]} and {type(stat).__name__} both keep "{name}"',
                    where="Optimizer: stats",
                    fix="give one of them another name, AverageSqrGrad(name=...) say",
                )
            seen[name] = type(stat).__name__


def _is_stat(value: object) -> bool:
    """An object, not its class, with what a stat has; hashable, for compositions are compared by their stats."""
    return isinstance(value, Stat) and not isinstance(value, type) and type(value).__hash__ is not None


def _part_of(name: str, run: Callable[..., None]) -> Part:
    hypers, optional = [], []
    for key, parameter in list(inspect.signature(run).parameters.items())[1:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or key in RESERVED:
            raise ConfigError(
                f'{name} has a parameter "{key}" that cannot be a hyper',
                where=f"Optimizer: {name}",
                fix=f"name each hyper after a *, and none of them {', '.join(RESERVED)}",
            )
        hypers.append((key, parameter.default))
        if "None" in str(parameter.annotation):
            optional.append(key)
    return Part(name, run, tuple(hypers), tuple(optional))


def join_defaults(parts: Iterable[Part], *, settled: Collection[str]) -> dict[str, Any]:
    """Each hyper with its default, REQUIRED where no part has one.

    Raises ConfigError for a default that two parts do not agree on, unless `settled` names it.
    """
    defaults: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for part in parts:
        for name, default in part.hypers:
            known = defaults.get(name, REQUIRED)
            if default is REQUIRED or known is REQUIRED:
                defaults[name] = known if default is REQUIRED else default
            elif known != default and name not in settled:
                raise ConfigError(
                    f"{name} is {known} by {owner[name]} and {default} by {part.name}",
                    where=f"Optimizer: {name}",
                    fix=f"say which: {name}={known}",
                )
            if default is not REQUIRED:
                owner.setdefault(name, part.name)
    return defaults


def refuse_unknown(names: Iterable[str], known: Iterable[str], *, owner: str) -> None:
    """Raise ConfigError for the first name that is not among the known hypers."""
    listed = list(known)
    for name in names:
        if name not in listed:
            raise ConfigError(f'{owner} has no hyper "{name}"', where=f"opt.{name}", fix=did_you_mean(name, listed))
