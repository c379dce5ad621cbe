"""Put the parts of a run together: device, loaders, transforms, model, learner."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imagekit.batch.erase import RandomErasing
from imagekit.batch.geometry import Rotate, Warp, Zoom
from imagekit.batch.lighting import Brightness, Contrast, Saturation
from imagekit.batch.normalize import Normalize, ToFloat
from imagekit.batch.transform import Colour, Geometry, Pixels
from imagekit.callbacks.accumulate import GradientAccumulation
from imagekit.callbacks.batch_transforms import BatchTransforms
from imagekit.callbacks.clip import GradientClip
from imagekit.callbacks.device import DeviceCallback
from imagekit.callbacks.mix import CutMix, MixUp
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.callbacks.progressive_size import ProgressiveSize
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.data.bunch import DataBunch
from imagekit.data.loaders import OnError
from imagekit.environment import torch_facts
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.groups import body_and_head, trainable_parameters, weights_and_rest
from imagekit.learner.learner import Learner
from imagekit.learner.losses import balanced_weights, cross_entropy
from imagekit.learner.metrics import Metric, accuracy, top_k
from imagekit.manifest.read import Manifest
from imagekit.manifest.schema import ChannelStats
from imagekit.models.lsuv import lsuv_init
from imagekit.models.registry import create_model
from imagekit.optim.presets import create_optimizer
from imagekit.optim.schedules import Schedule, combine_scheds, cos_1cycle, flat_cos, sched_lin, sched_no, warmup_linear
from imagekit.training.config import TrainConfig
from imagekit.training.limits import check_device_name
from imagekit.training.weights import freeze_body
from imagekit.transforms.crops import CenterCrop, RandomCrop, RandomResizedCrop
from imagekit.transforms.flips import AlternatingFlip, RandomFlip
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.resize import ResizeFixed
from imagekit.transforms.tensors import MakeRGB

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA, else MPS, else the CPU. Raises ConfigError where it is not there."""
    check_device_name(name)
    if name == "auto":
        return torch.device(str(torch_facts().get("device", "cpu")))
    kind, _, number = name.partition(":")
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    n_there = {"cpu": 1, "cuda": n_cuda, "mps": int(torch.backends.mps.is_available())}
    if int(number or 0) >= n_there[kind]:
        raise ConfigError(
            f'device "{name}" is not there', where="device", fix="give --device cpu, or see imagekit doctor"
        )
    return torch.device(kind, int(number)) if number else torch.device(kind)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type to train under, None for float32: as told, or for `auto` bfloat16 where the processor computes in it."""
    if precision != "auto":
        return _DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    return torch.bfloat16 if device.type == "cpu" and bool(torch_facts().get("cpu_bf16")) else None


def train_item_transforms(config: TrainConfig) -> tuple[ItemTransform, ...]:
    """Per image, in training: RGB, a crop, flip; what draws nothing comes first and can be cached."""
    flip_kind = AlternatingFlip if config.alternate_flip else RandomFlip
    flip = [flip_kind(p=config.flip)] if config.flip else []
    fixed = [ResizeFixed(config.presize)] if config.presize else []
    if config.crop_scale < 1:
        return (MakeRGB(), *fixed, RandomResizedCrop(config.size, scale=(config.crop_scale, 1.0)), *flip)
    if config.presize:
        return (MakeRGB(), *fixed, RandomCrop(config.size, crop_size=config.size), *flip)
    return (MakeRGB(), CenterCrop(config.size, scale=1.0), *flip)


def valid_item_transforms(config: TrainConfig) -> tuple[ItemTransform, ...]:
    """Per image, in validation: RGB, the whole image at the training size, or as much of it as a training crop has."""
    return (MakeRGB(), CenterCrop(config.size, scale=valid_crop_scale(config)))


def valid_crop_scale(config: TrainConfig) -> float:
    """How many times the sides of what validation sees an image has."""
    return config.presize / config.size if config.presize and config.crop_scale == 1 else 1.0


def make_loaders(
    manifest: Manifest, config: TrainConfig, *, root: Path | None, n_workers: int, pin: bool, on_error: OnError = "stop"
) -> DataBunch:
    """Train and valid loaders with the transforms of the config."""
    return DataBunch.from_manifest(
        manifest,
        train_transforms=train_item_transforms(config),
        valid_transforms=valid_item_transforms(config),
        batch_size=config.batch_size,
        n_workers=n_workers,
        seed=config.seed,
        root=root,
        pin_memory=pin,
        balance=config.balance,
        on_error=on_error,
    )


def make_schedules(config: TrainConfig) -> list[Callback]:
    """What moves the learning rate, of each parameter group about its own peak; none where it stays."""
    if config.schedule == "constant":
        return []
    schedules = [_schedule(config, rate) for rate in config.rates]
    return [ParamScheduler("lr", schedules if len(schedules) > 1 else schedules[0])]


def _schedule(config: TrainConfig, peak: float) -> Schedule:
    start, end = peak * config.lr_start, peak * config.lr_end
    if config.schedule == "linear":
        return warmup_linear(peak, warmup=config.warm_up, start=start, end=end)
    if config.schedule == "flat-cosine":
        return flat_cos(peak, flat=1 - config.warm_up, end=end)
    return cos_1cycle(start, peak, end, peak=config.warm_up)


def _sides(config: TrainConfig) -> Schedule:
    """The side of training images over the position."""
    grows = sched_lin(config.start_size, config.size)
    return combine_scheds([config.grow_until, 1 - config.grow_until], [grows, sched_no(config.size, config.size)])


def batch_augmentation(config: TrainConfig) -> tuple[list[Geometry | Colour], list[Pixels]]:
    """What a training batch goes through on its device, before and after it is normalized; what is off is left out."""
    # an identity would only cost time
    before: list[Geometry | Colour] = [
        *([Rotate(max_degrees=config.degrees)] if config.degrees else []),
        *([Zoom(max_zoom=config.zoom)] if config.zoom > 1 else []),
        *([Warp(magnitude=config.warp)] if config.warp else []),
        *([Brightness(max_change=config.brightness)] if config.brightness else []),
        *([Contrast(max_change=config.contrast)] if config.contrast else []),
        *([Saturation(max_change=config.saturation)] if config.saturation else []),
    ]
    return before, [RandomErasing(p=config.erase)] if config.erase else []


def batch_callbacks(stats: ChannelStats, config: TrainConfig, device: torch.device) -> list[Callback]:
    """What every pass over batches needs: device, batch transforms, precision."""
    to_input = [ToFloat(), Normalize(stats.mean, stats.std)]
    augment, erase = batch_augmentation(config)
    callbacks: list[Callback] = [
        DeviceCallback(device),
        BatchTransforms([to_input[0], *augment, to_input[1], *erase], to_input),
    ]
    dtype = autocast_dtype(config.precision, device)
    return [*callbacks, MixedPrecision(dtype=dtype)] if dtype is not None else callbacks


def _splitter(config: TrainConfig) -> Callable[[nn.Module], Any]:
    if config.has_two_groups:
        return body_and_head
    return trainable_parameters if config.decay_bias else weights_and_rest


def choose_metrics(n_classes: int) -> dict[str, Metric]:
    """What a run measures beside the loss: accuracy, and for more than five classes top5."""
    return {"accuracy": accuracy, **({"top5": top_k(5)} if n_classes > 5 else {})}


def step_callbacks(config: TrainConfig, *, n_classes: int) -> list[Callback]:
    """What decides how a step is made: the size of its images, mixing, accumulation, clipping."""
    callbacks: list[Callback] = []
    if config.start_size:
        callbacks.append(ProgressiveSize(_sides(config)))
    if config.mixup:
        callbacks.append(MixUp(n_classes=n_classes, alpha=config.mixup))
    if config.cutmix:
        callbacks.append(CutMix(n_classes=n_classes, alpha=config.cutmix))
    if config.accumulate > 1:
        callbacks.append(GradientAccumulation(config.accumulate))
    if config.clip:
        callbacks.append(GradientClip(max_norm=config.clip))
    return callbacks


def make_learner(
    manifest: Manifest,
    data: DataBunch,
    config: TrainConfig,
    *,
    stats: ChannelStats,
    device: torch.device,
    model: nn.Module | None = None,
) -> Learner:
    """A Learner ready to fit: model for the manifest's classes, loss, optimizer, schedule, batch transforms.

    stats: what batches are normalized with. model: None makes that of the config. Validation measures plain cross
    entropy, whatever training's loss smooths or weighs. With lsuv the model is initialised on a training batch.
    """
    n_classes = len(manifest.vocab)
    if model is None:
        model = create_model(config.model, c_in=3, c_out=n_classes, seed=config.seed, **config.model_options)
    weight_K = balanced_weights(data.train_ds.targets(), n_classes).to(device) if config.class_weights else None
    callbacks = [*make_schedules(config), *batch_callbacks(stats, config, device)]
    callbacks += step_callbacks(config, n_classes=n_classes)
    learner = Learner(
        model,
        data,
        loss_func=partial(cross_entropy, label_smoothing=config.label_smoothing, weight_K=weight_K),
        valid_loss_func=cross_entropy,
        valid_every=config.valid_every,
        opt_func=partial(create_optimizer, config.opt, **config.opt_hypers),
        lr=config.rates if config.has_two_groups else config.rates[0],
        splitter=_splitter(config),
        callbacks=[*([freeze_body(model)] if config.freeze == "body" else []), *callbacks],
    )
    if config.lsuv:
        lsuv_init(model, learner.get_batch(in_train=True)[0])
    return learner
