"""Settings that belong together, by name: `imagekit train --preset NAME`.

The lesson's are those of fast.ai's course v3, notebooks 8, 7a and 9, as they print them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from imagekit.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a preset reached.

    accuracy: of the last epoch on the validation images, the mean over n seeds (0, 1, ...); sd: its sample standard
    deviation; seconds: of one training, without its start, the mean; data, hardware: in words.
    """

    accuracy: float
    sd: float
    n: int
    seconds: float
    data: str
    hardware: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """Settings that belong together: model, epochs and size among them. measured: None where nobody has yet."""

    title: str
    settings: Mapping[str, Any]
    measured: Measured | None = None


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

# the defaults, spelt out: what a run without any option is
_CNN_5: Mapping[str, Any] = {
    "model": "lesson-cnn",
    "epochs": 5,
    "size": 128,
    "batch_size": 64,
    "opt": "sgd",
    "lr": 0.2,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "flip": 0.5,
}
# the second moment over 100 steps and an eps of 1e-6, as in the records of fastai's leaderboard; crops of 64 %
_XRESNET_5: Mapping[str, Any] = {
    "model": "xresnet18",
    "epochs": 5,
    "size": 128,
    "presize": 160,
    "batch_size": 64,
    "opt": "adamw",
    "opt_options": {"sqr_momentum": 0.99, "eps": 1e-6},
    "lr": 8e-3,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
}

# Muon was worth seven points in a screen of five epochs (scripts/LOG.md)
_MUON_5: Mapping[str, Any] = {
    "model": "xresnet18",
    "model_options": {"stem": [32, 64]},
    "epochs": 5,
    "valid_every": 5,
    "size": 128,
    "batch_size": 64,
    "opt": "muon",
    "opt_options": {"sqr_momentum": 0.99, "eps": 1e-6, "ns_steps": 3},
    "lr": 0.01,
    "decay_bias": False,
    "schedule": "linear",
    "warm_up": 0.1,
    "label_smoothing": 0.1,
    "alternate_flip": True,
}
_IMAGENETTE_5: Mapping[str, Any] = {**_MUON_5, "presize": 160, "weight_decay": 0.1}
# one block a stage and growing images: 1.07 times the time of a plain loop with the lesson's network, in turn with it
_IMAGENETTE_5_CPU: Mapping[str, Any] = {
    **_MUON_5,
    "model_options": {"stem": [32, 64], "n_blocks": [1, 1, 1, 1]},
    "start_size": 64,
    "grow_until": 0.85,
    "presize": 144,
    "weight_decay": 0.01,
}

# scripts/results/lessons.jsonl, by scripts/measure_lessons.py
_BY_LESSONS: Mapping[str, Any] = {
    "data": "Imagenette v2 as 224 px centre crops (records decode 320 px)",
    "hardware": "2 cores of an AMD EPYC",
    "n": 3,
}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "lesson-cnn": Preset(
            title="plain SGD, one cycle 0.1, 0.3, 0.05",
            settings=_LESSON,
            measured=Measured(accuracy=0.6668, sd=0.0048, seconds=186, **_BY_LESSONS),
        ),
        "lesson-lsuv": Preset(
            title="lesson-cnn, initialised by LSUV",
            settings={**_LESSON, "lsuv": True},
            measured=Measured(accuracy=0.6516, sd=0.0034, seconds=224, **_BY_LESSONS),
        ),
        "lesson-adam": Preset(
            title="a narrower network, Adam at 0.001",
            settings={**_LESSON_9, "opt": "adam", "lr": 1e-3, "opt_options": {"eps": 1e-5}},
            measured=Measured(accuracy=0.5787, sd=0.0121, seconds=119, **_BY_LESSONS),
        ),
        "lesson-lamb": Preset(
            title="a narrower network, LAMB at 0.003",
            settings={**_LESSON_9, "opt": "lamb", "lr": 3e-3, "opt_options": {"eps": 1e-6}},
            measured=Measured(accuracy=0.5886, sd=0.0062, seconds=126, **_BY_LESSONS),
        ),
        "cnn-5": Preset(
            title="the lesson's CNN with momentum and flips",
            settings=_CNN_5,
            # this and all below: scripts/results/train.jsonl, by scripts/bench_train.py
            measured=Measured(accuracy=0.7190, sd=0.0108, seconds=129, **_BY_LESSONS),
        ),
        "xresnet18-5": Preset(
            title="xresnet18, AdamW, crops of presized squares",
            settings=_XRESNET_5,
            measured=Measured(accuracy=0.8104, sd=0.0061, seconds=849, **{**_BY_LESSONS, "n": 2}),
        ),
        "imagenette-5-cpu": Preset(
            title="xresnet of one block a stage, Muon, growing images",
            settings=_IMAGENETTE_5_CPU,
            measured=Measured(accuracy=0.8598, sd=0.0035, seconds=303, **{**_BY_LESSONS, "n": 5}),
        ),
        "imagenette-5": Preset(
            title="xresnet18, Muon, crops of presized squares",
            settings=_IMAGENETTE_5,
        ),
    }
)


def find_preset(name: str) -> Mapping[str, Any]:
    """The settings of a preset. Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f'preset is "{name}", which is not known', where="preset", fix=did_you_mean(name, PRESETS))
    return PRESETS[name].settings
