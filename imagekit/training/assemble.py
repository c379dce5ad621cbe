"""Put the parts of a run together: device, loaders, transforms, model, learner."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from imagekit.batch.geometry import Rotate, Zoom
from imagekit.batch.normalize import Normalize, ToFloat
from imagekit.batch.transform import Geometry
from imagekit.callbacks.batch_transforms import BatchTransforms
from imagekit.callbacks.device import DeviceCallback
from imagekit.callbacks.mixed_precision import MixedPrecision
from imagekit.callbacks.scheduler import ParamScheduler
from imagekit.data.bunch import DataBunch
from imagekit.environment import torch_facts
from imagekit.errors import ConfigError
from imagekit.learner.callback import Callback
from imagekit.learner.learner import Learner
from imagekit.learner.losses import cross_entropy
from imagekit.manifest.read import Manifest
from imagekit.manifest.schema import ChannelStats
from imagekit.models.registry import create_model
from imagekit.optim.presets import create_optimizer
from imagekit.optim.schedules import cos_1cycle
from imagekit.training.config import TrainConfig
from imagekit.transforms.crops import CenterCrop, RandomResizedCrop
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.items import ItemTransform
from imagekit.transforms.tensors import MakeRGB

VALID_CROP_SCALE = 1.0  # validation sees the whole image


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA, else MPS, else the CPU. Raises ConfigError where it is not there."""
    if name == "auto":
        return torch.device(str(torch_facts().get("device", "cpu")))
    device = torch.device(name)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, True):
        raise ConfigError(
            f'device "{name}" is not there', where="device", fix="give --device cpu, or see imagekit doctor"
        )
    return device


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether to train under bfloat16 autocast: as told, or for `auto` where the processor has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch_facts().get("cpu_bf16"))


def train_item_transforms(config: TrainConfig) -> tuple[ItemTransform, ...]:
    """Per image, in training: RGB, random resized crop, flip."""
    crop = RandomResizedCrop(config.size, scale=(config.crop_scale, 1.0))
    return (MakeRGB(), crop, RandomFlip(p=config.flip))


def valid_item_transforms(config: TrainConfig) -> tuple[ItemTransform, ...]:
    """Per image, in validation: RGB, the whole image at the training size."""
    return (MakeRGB(), CenterCrop(config.size, scale=VALID_CROP_SCALE))


def make_loaders(manifest: Manifest, config: TrainConfig, *, root: Path | None, n_workers: int, pin: bool) -> DataBunch:
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
    )


def one_cycle(config: TrainConfig) -> ParamScheduler:
    """The learning rate up to its peak and down again, by two cosines."""
    return ParamScheduler("lr", cos_1cycle(config.lr / 25, config.lr, config.lr / 1e4, peak=config.warm_up))


def batch_callbacks(stats: ChannelStats, config: TrainConfig, device: torch.device) -> list[Callback]:
    """What every pass over batches needs: device, batch transforms, precision."""
    to_input = [ToFloat(), Normalize(stats.mean, stats.std)]
    augment: list[Geometry] = []  # an identity would only cost time
    if config.degrees > 0:
        augment.append(Rotate(max_degrees=config.degrees))
    if config.zoom > 1:
        augment.append(Zoom(max_zoom=config.zoom))
    callbacks: list[Callback] = [DeviceCallback(device), BatchTransforms([*to_input, *augment], to_input)]
    if uses_bf16(config.precision, device):
        callbacks.append(MixedPrecision())
    return callbacks


def make_learner(
    manifest: Manifest, data: DataBunch, config: TrainConfig, *, stats: ChannelStats, device: torch.device
) -> Learner:
    """A Learner ready to fit: model for the manifest's classes, loss, optimizer, schedule, batch transforms.

    stats: what batches are normalized with.
    """
    model = create_model(config.model, c_in=3, c_out=len(manifest.vocab), seed=config.seed)
    return Learner(
        model,
        data,
        loss_func=partial(cross_entropy, label_smoothing=config.label_smoothing),
        opt_func=partial(create_optimizer, config.opt, **config.opt_hypers),
        lr=config.lr,
        callbacks=[one_cycle(config), *batch_callbacks(stats, config, device)],
    )
