"""Models by name, for configurations and the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from imagekit.errors import ConfigError, did_you_mean
from imagekit.models.cnn import lesson_cnn

MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({"lesson-cnn": lesson_cnn})


def create_model(name: str, *, c_in: int, c_out: int, seed: int = 0, **options: object) -> nn.Module:
    """The model called `name` for c_in channels and c_out classes, on the CPU.

    Its weights are a function of the seed: torch's global generator is set aside while they are drawn and put back.
    options: further arguments of the model, nfs=(32, 64) say. Raises ConfigError for an unknown name or option,
    and for values that the model refuses.
    """
    if name not in MODELS:
        raise ConfigError(f'model is "{name}", which is not known', where="model", fix=did_you_mean(name, MODELS))
    factory = MODELS[name]
    known = [option for option in inspect.signature(factory).parameters if option not in ("c_in", "c_out")]
    for option in options:
        if option not in known:
            raise ConfigError(
                f'model "{name}" has no option "{option}"',
                where=f"model.{option}",
                fix=did_you_mean(option, known),
            )
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed: that would also reseed the accelerators, which fork_rng does not put back here
        torch.default_generator.manual_seed(seed & 0xFFFF_FFFF_FFFF_FFFF)
        return factory(c_in=c_in, c_out=c_out, **options)
