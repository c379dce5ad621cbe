"""Models by name, for configurations and the command line: those of the package, and functions of one's own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType

import torch
from torch import nn

from imagekit.errors import ConfigError, ImagekitError, did_you_mean
from imagekit.models.cnn import lesson_cnn
from imagekit.models.mini import mini_net
from imagekit.models.xresnet import xresnet18, xresnet26, xresnet34, xresnet50, xresnext50, xse_resnet50, xse_resnext50

MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "lesson-cnn": lesson_cnn,
        "mini": mini_net,
        "xresnet18": xresnet18,
        "xresnet26": xresnet26,
        "xresnet34": xresnet34,
        "xresnet50": xresnet50,
        "xresnext50": xresnext50,
        "xse-resnet50": xse_resnet50,
        "xse-resnext50": xse_resnext50,
    }
)

_GIVEN = ("c_in", "c_out")


def create_model(name: str, *, c_in: int, c_out: int, seed: int = 0, **options: object) -> nn.Module:
    """The model called `name` for c_in channels and c_out classes, on the CPU.

    name: one of MODELS, or "package.module:function" for a function or class of one's own, which is called with c_in=,
    c_out= and the options and returns a module. Its module is imported, so its code is run.
    Its weights are a function of the seed: torch's global generator is set aside while they are drawn and put back.
    options: further arguments of the model, nfs=(32, 64) say. Raises ConfigError for an unknown name or option,
    for values that the model refuses, and for a function of one's own that cannot be found or called, or fails.
    """
    check_model_name(name)
    with torch.random.fork_rng(devices=[]):
        # here too: a module of one's own may draw from the generator or seed it when it is imported
        factory = MODELS[name] if name in MODELS else _own_factory(name)
        _check_options(name, factory, options)
        # not torch.manual_seed: that would also reseed the accelerators, which fork_rng does not put back here
        torch.default_generator.manual_seed(seed & 0xFFFF_FFFF_FFFF_FFFF)
        model = _made(name, factory, c_in=c_in, c_out=c_out, **options)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f'model "{name}" returned {type(model).__name__}, must return a torch.nn.Module',
            where="model",
            fix="let the function return the model",
        )
    return model


def check_model_name(name: str) -> None:
    """Raise ConfigError unless name is one of MODELS or reads "package.module:function"; imports nothing."""
    if name in MODELS:
        return
    if ":" not in name:
        raise ConfigError(
            f'model is "{name}", which is not known',
            where="model",
            fix=f'{did_you_mean(name, MODELS)}; or write "package.module:function" for one of your own',
        )
    module_name, _, function_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise ConfigError(
            f'model is "{name}", which is no name of a function',
            where="model",
            fix='write it as "package.module:function", with dots between the parts of the module and one colon',
        )


def _made(name: str, factory: Callable[..., object], *, c_in: int, c_out: int, **options: object) -> object:
    try:
        return factory(c_in=c_in, c_out=c_out, **options)
    except ImagekitError:
        raise
    except Exception as error:  # a function of one's own may raise anything
        called = ", ".join(f"{key}={value!r}" for key, value in {"c_in": c_in, "c_out": c_out, **options}.items())
        raise ConfigError(
            f'model "{name}" cannot be made: {type(error).__name__}: {error}',
            where="model",
            fix=f"correct its options, or repair it until it can be called with {called}",
        ) from error


def _own_factory(name: str) -> Callable[..., object]:
    module_name, _, function_name = name.partition(":")
    module = _import(module_name, name=name)
    if not hasattr(module, function_name):
        public = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise ConfigError(
            f'model is "{name}", but module {module_name} has no {function_name}',
            where="model",
            fix=did_you_mean(function_name, public),
        )
    factory: object = getattr(module, function_name)
    if not callable(factory):
        raise ConfigError(
            f'model is "{name}", but {function_name} is {type(factory).__name__}, which cannot be called',
            where="model",
            fix="name a function or a class that takes c_in and c_out and makes the model",
        )
    return factory


def _import(module_name: str, *, name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # the name says who is missing: the module itself, one of its packages, or something that its code imports
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f'model is "{name}", but there is no module {error.name}',
                where="model",
                fix="check the name; if it is right, install its package or put its folder on PYTHONPATH",
            ) from error
        raise _broken(name, module_name, error) from error
    except (Exception, SystemExit) as error:  # a script that was meant to be run, not imported, may end itself
        raise _broken(name, module_name, error) from error


def _broken(name: str, module_name: str, error: BaseException) -> ConfigError:
    return ConfigError(
        f'model is "{name}", but importing {module_name} failed: {type(error).__name__}: {error}',
        where="model",
        fix=f"repair it until python -c 'import {module_name}' works",
    )


def _check_options(name: str, factory: Callable[..., object], options: Mapping[str, object]) -> None:
    """Refuse a function that cannot be called with c_in, c_out and these options, before it is called."""
    parameters = _parameters(name, factory)
    by_name = {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for given in _GIVEN:
        if given not in by_name and not takes_any:
            raise ConfigError(
                f'model "{name}" takes no {given}',
                where="model",
                fix=f"let it begin with def {name.partition(':')[2]}(c_in, c_out, ...)",
            )
    known = [option for option in by_name if option not in _GIVEN]
    for option in options:
        if option not in known and not takes_any:
            raise ConfigError(
                f'model "{name}" has no option "{option}"',
                where=f"model.{option}",
                fix=did_you_mean(option, known),
            )
    for option in known:
        if by_name[option].default is inspect.Parameter.empty and option not in options:
            raise ConfigError(
                f'model "{name}" needs a value for "{option}"',
                where=f"model.{option}",
                fix=f"give {option}, or let it have a default",
            )


def _parameters(name: str, factory: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f'model "{name}" does not say which arguments it takes',
            where="model",
            fix="put a Python function around it that takes c_in and c_out",
        ) from error
