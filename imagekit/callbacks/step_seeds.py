"""What a model draws itself, as a function of seed, epoch and batch."""

from __future__ import annotations

import torch

from imagekit.learner.callback import Callback

_WORD = (1 << 64) - 1


class StepSeeds(Callback):
    """Seed torch's generators before each batch by (seed, epoch, batch), and give them back after the fit.

    Dropout and stochastic depth take their draws from torch's default generators, whose position is not part of a
    checkpoint. With this callback a fit that goes on inside an epoch draws what an uninterrupted one would, and so does
    validation, where a model draws there too. The generators are that of the CPU, and on CUDA that of the device where
    the model is; after the fit they go on where they were before it. Batch transforms that draw from them are covered,
    those of imagekit need nothing. seed: any integer, taken modulo 2^64.
    """

    _order = -4  # behind the device, where the model then is; before all that may draw

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._before: list[tuple[torch.Generator, torch.Tensor]] = []

    def begin_fit(self) -> None:
        """Remember where the generators are."""
        self._before = [(generator, generator.get_state()) for generator in self._generators()]

    def begin_batch(self) -> None:
        """Seed them; a batch that is only looked at, outside a fit, moves nothing."""
        number = step_seed(self.seed, self.learner.epoch, self.learner.i_batch, int(self.learner.in_train))
        for generator, _ in self._before:
            generator.manual_seed(number)

    def after_fit(self) -> None:
        """Put them back."""
        for generator, state in self._before:
            generator.set_state(state)
        self._before = []

    def _generators(self) -> list[torch.Generator]:
        weight = next(self.learner.model.parameters(), None)
        generators: list[torch.Generator] = [torch.default_generator]
        if weight is not None and weight.device.type == "cuda":
            generators.append(torch.cuda.default_generators[weight.device.index])
        return generators


def step_seed(*numbers: int) -> int:
    """64 bits made from integers: splitmix64 chained over them, as keys are made from seed, epoch and image."""
    word = 0
    for number in numbers:
        z = ((word ^ (number & _WORD)) + 0x9E3779B97F4A7C15) & _WORD
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
        word = z ^ (z >> 31)
    return word
