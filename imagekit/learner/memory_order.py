"""Keep what the optimizer remembers in the memory order of the weights."""

from __future__ import annotations

import torch

from imagekit.optim.executors import lay_out_as


def match_memory_order(opt: torch.optim.Optimizer) -> None:
    """Lay every state tensor out as its parameter is; values stay.

    Fused CPU steps go through weight, gradient and state as three flat arrays. A momentum made for contiguous weights
    and used with channels_last ones, or loaded from a run that had them, updates the wrong weights without a word:
    one epoch of a small net ended 0.10 away from where it should (torch 2.13).
    """
    for param, state in opt.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == param.shape and value.stride() != param.stride():
                state[name] = lay_out_as(param, value)
