"""Settings that belong together, by name: `imagekit train --preset NAME`.

The lesson's are those of fast.ai's course v3, notebooks 8, 7a and 9, as they print them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from imagekit.errors import ConfigError, did_you_mean

# plain stochastic gradient descent, one cycle of cosines 0.1 > 0.3 > 0.05, whole images, no flip
_LESSON: Mapping[str, Any] = {
    "model": "lesson-cnn",
    "epochs": 5,
    "size": 128,
    "batch_size": 64,
    "opt": "sgd",
    "lr": 0.3,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "lr_start": 1 / 3,
    "lr_end": 1 / 6,
    "flip": 0.0,
}
_LESSON_9: Mapping[str, Any] = {
    "model": "lesson-cnn",
    "model_options": {"nfs": [32, 64, 128, 256]},
    "epochs": 3,
    "size": 128,
    "batch_size": 128,
    "weight_decay": 0.0,
    "schedule": "constant",
    "flip": 0.0,
}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "lesson-cnn": _LESSON,
        "lesson-lsuv": {**_LESSON, "lsuv": True},
        "lesson-adam": {**_LESSON_9, "opt": "adam", "lr": 1e-3, "opt_options": {"eps": 1e-5}},
        "lesson-lamb": {**_LESSON_9, "opt": "lamb", "lr": 3e-3, "opt_options": {"eps": 1e-6}},
    }
)


def find_preset(name: str) -> Mapping[str, Any]:
    """The settings of a preset. Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f'preset is "{name}", which is not known', where="preset", fix=did_you_mean(name, PRESETS))
    return PRESETS[name]
