"""Parameter groups as functions of the model: splitters of a Learner.

    Learner(model, data, splitter=body_and_head, lr=[0.001, 0.01], ...)     # discriminative learning rates
    Learner(model, data, splitter=weights_and_rest, lr=0.01, ...)           # no decay of biases and norms

A splitter takes a model and returns its parameters, or a list of groups: lists of parameters, or dicts of `params` and
hypers of their own. Source: fast.ai course v3, lessons 9 and 11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from imagekit.errors import ConfigError


def all_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of `model` as one group: the splitter of a Learner that is told no other."""
    return list(model.parameters())


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn, as one group: what was frozen is not even looked at by the optimizer."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def body_and_head(model: nn.Module) -> list[list[nn.Parameter]]:
    """Two groups: everything but the head, and the head, which is the last layer that has parameters.

    Raises ConfigError for a model with fewer than two such layers.
    """
    head = head_of(model)
    in_head = {id(parameter) for parameter in head.parameters()}
    body = [parameter for parameter in model.parameters() if id(parameter) not in in_head]
    if not body:
        raise ConfigError(
            "the model has one layer with parameters, which makes no body and head",
            where="body_and_head",
            fix="use all_parameters, or a splitter of your own",
        )
    return [body, list(head.parameters())]


def head_of(model: nn.Module) -> nn.Module:
    """The last module, in the order in which they were added, that has parameters of its own.

    Raises ConfigError for a model without parameters.
    """
    layers = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    if not layers:
        raise ConfigError(
            "the model has no parameters", where=type(model).__name__, fix="give a model with something to learn"
        )
    return layers[-1]


def weights_and_rest(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups of what learns: matrices and kernels, and all else (biases, norms), which does not decay."""
    learning = trainable_parameters(model)
    weights = [parameter for parameter in learning if parameter.ndim > 1]
    rest = [parameter for parameter in learning if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def with_rates(groups: Iterable[Any], rates: Sequence[float]) -> list[dict[str, Any]]:
    """Each group with its learning rate. Raises ConfigError where there is not one for each."""
    listed = list(groups)
    if listed and isinstance(listed[0], nn.Parameter):
        listed = [listed]
    if len(listed) != len(rates):
        raise ConfigError(
            f"lr has {len(rates)} values for {len(listed)} parameter groups",
            where="Learner: lr",
            fix="give one lr for all groups, or one for each",
        )
    dicts = [dict(group) if isinstance(group, Mapping) else {"params": list(group)} for group in listed]
    return [{**group, "lr": float(rate)} for group, rate in zip(dicts, rates, strict=True)]
