"""Gradients that are too large are made smaller before the step."""

from __future__ import annotations

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback


class GradientClip(Callback):
    """Bound the gradients of each step: their total norm, or each of their values.

    max_norm: all gradients of all parameter groups are multiplied by max_norm / norm where their L2 norm is larger;
    infinity only measures. `norm` is the norm before that, a tensor on the device; None before the first step.
    max_value: each number is put into -max_value..max_value.
    It acts on whole gradients: after accumulation, and after mixed precision has divided by its scale. Nothing waits
    for the device. A norm that is not finite cannot be cured: it makes NaN of every gradient or of those that were
    infinite, and the loss that NanGuard looks at is NaN one step later. (Under float16 such a step is never made.)
    Raises ConfigError for neither, both, or what is not above 0.
    Source: Pascanu and others 2012, arXiv:1211.5063.
    """

    _order = 105

    def __init__(self, max_norm: float | None = None, *, max_value: float | None = None) -> None:
        given = {name: value for name, value in (("max_norm", max_norm), ("max_value", max_value)) if value is not None}
        if len(given) != 1:
            raise ConfigError(
                f"max_norm is {max_norm} and max_value is {max_value}, exactly one must be given",
                where="GradientClip",
                fix="give max_norm=1.0, say, or max_value",
            )
        for name, value in given.items():
            if not value > 0:
                raise ConfigError(
                    f"{name} is {value}, must be above 0",
                    where=f"GradientClip: {name}",
                    fix="give a larger bound, or leave GradientClip out",
                )
        self.max_norm, self.max_value = max_norm, max_value
        self.norm: Tensor | None = None

    def after_backward(self) -> None:
        """Clip."""
        params = [param for group in self.learner.opt.param_groups for param in group["params"]]
        if self.max_norm is not None:
            self.norm = clip_grad_norm_(params, self.max_norm)
        elif self.max_value is not None:
            clip_grad_value_(params, self.max_value)
