"""Published optimizers by name, each the line of parts that it is made of.

Hypers have one name throughout: momentum (beta 1), sqr_momentum (beta 2, RMSprop's alpha), weight_decay, eps. Decay is
L2 in sgd, momentum, rmsprop and adam, as these names mean in torch.optim, and decoupled in the others. Defaults are
the lesson's where it has some: sqr_momentum 0.99 and eps 1e-5 for Adam and its kin, 0.999 and 1e-8 in torch.optim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from imagekit.errors import ConfigError, did_you_mean
from imagekit.optim.hypers import Params
from imagekit.optim.optimizer import Optimizer
from imagekit.optim.parts import REQUIRED, Rule, Stat, join_defaults, refuse_unknown
from imagekit.optim.stats import (
    AverageGrad,
    AverageSqrGrad,
    FactoredSqrGrad,
    MomentumBuffer,
    MomentumProduct,
    ScaledGrad,
    SlowWeights,
    StepCount,
    TrustedGrad,
)
from imagekit.optim.steppers import (
    adabound_step,
    adafactor_step,
    adam_step,
    clip_grad_norm,
    l2_reg,
    lamb_step,
    lars_step,
    lookahead,
    momentum_step,
    muon_step,
    nadam_step,
    radam_step,
    rms_step,
    weight_decay,
)


class Preset:
    """A line of parts with a name: call it with parameters and hypers to get the Optimizer.

    hypers: every hyper with its default; those without one, lr, must be given.
    """

    def __init__(
        self,
        name: str,
        steppers: Sequence[Any],
        stats: Sequence[Stat] = (),
        *,
        rest: tuple[Sequence[Any], Sequence[Stat]] | None = None,
        **defaults: Any,
    ) -> None:
        self.__name__, self.steppers, self.stats, self.rest, self.told = name, steppers, stats, rest, defaults
        rules = [Rule(*parts, settled=defaults) for parts in ((steppers, stats), *([rest] if rest else []))]
        self.hypers = join_defaults([part for rule in rules for part in rule.parts], settled=defaults) | defaults

    def __call__(self, params: Params, *, executor: str = "auto", maximize: bool = False, **hypers: Any) -> Optimizer:
        """The optimizer over params. Raises ConfigError as Optimizer does."""
        name = f'optimizer "{self.__name__}"'
        refuse_unknown(hypers, self.hypers, owner=name)
        given = {**self.told, **hypers, "maximize": maximize}
        return Optimizer(params, self.steppers, self.stats, rest=self.rest, executor=executor, name=name, **given)

    def __repr__(self) -> str:
        shown = ", ".join(key if value is REQUIRED else f"{key}={value!r}" for key, value in self.hypers.items())
        return f"{self.__name__}({shown})"


_MOMENTS = (StepCount(), AverageGrad(dampening=True), AverageSqrGrad())

sgd = Preset("sgd", [l2_reg, momentum_step], [MomentumBuffer()], momentum=0.0)
momentum = Preset("momentum", [l2_reg, momentum_step], [MomentumBuffer()])
rmsprop = Preset("rmsprop", [l2_reg, rms_step], [StepCount(), AverageSqrGrad("square_avg"), ScaledGrad()])
adam = Preset("adam", [l2_reg, adam_step], _MOMENTS)
adamw = Preset("adamw", [weight_decay, adam_step], _MOMENTS, weight_decay=0.01)
nadam = Preset("nadam", [weight_decay, nadam_step], [*_MOMENTS, MomentumProduct()])
radam = Preset("radam", [weight_decay, radam_step], _MOMENTS)
ranger = Preset("ranger", [weight_decay, radam_step, lookahead], [*_MOMENTS, SlowWeights()], momentum=0.95)
lamb = Preset("lamb", [lamb_step], _MOMENTS)
nvlamb = Preset("nvlamb", [clip_grad_norm, lamb_step], _MOMENTS, max_trust=None, always_adapt=False, weight_decay=0.01)
lars = Preset("lars", [lars_step], [TrustedGrad()], weight_decay=1e-4)
adafactor = Preset("adafactor", [adafactor_step], [StepCount(), FactoredSqrGrad()])
adabound = Preset("adabound", [weight_decay, adabound_step], _MOMENTS, sqr_momentum=0.999)
muon = Preset(
    "muon",
    [weight_decay, muon_step],
    [AverageGrad(dampening=True, name="momentum_buffer")],
    rest=([weight_decay, adam_step], _MOMENTS),
    momentum=0.95,
    weight_decay=0.01,
)

OPTIMIZERS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.__name__: preset
        for preset in (
            sgd, momentum, rmsprop, adam, adamw, nadam, radam, ranger, lamb, nvlamb, lars, adafactor, adabound, muon,
        )
    }
)  # fmt: skip


def create_optimizer(name: str, params: Params, **hypers: Any) -> Optimizer:
    """The optimizer called `name` over the parameters.

    Raises ConfigError for an unknown name, an unknown or missing hyper, and values out of range.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f'optimizer is "{name}", which is not known', where="opt", fix=did_you_mean(name, OPTIMIZERS))
    return OPTIMIZERS[name](params, **hypers)
