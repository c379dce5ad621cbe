"""Batch transforms as one: drawn together, and as few passes over the pixels as their kinds allow.

Shapes: B batch, N draws, C channels, H height, W width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from imagekit.batch.fused import Fused
from imagekit.batch.geometry import Identity
from imagekit.batch.normalize import ToFloat
from imagekit.batch.sampling import Mode, Padding, check_mode, check_padding
from imagekit.batch.transform import BatchTransform, Colour, Geometry, Pixels
from imagekit.errors import ConfigError, ShapeError, did_you_mean
from imagekit.transforms.compose import Drawing, name_of
from imagekit.transforms.images import check_size
from imagekit.transforms.order import number_repeats, sort_by_order

AnyBatchTransform = Callable[..., Any]


class BatchPipeline(Drawing[AnyBatchTransform]):
    """Batch transforms and plain functions by their `_order`, all geometry in a row one matrix and one interpolation,
    all colour in a row one product.

    size: a side or (width, height) of the output, default that of the input; a batch that is
    reduced to less than half aliases, so reduce images one by one before. mode: bilinear, nearest or bicubic.
    padding_mode: what lies outside the image, reflection (no black corners), border or zeros.
    A plain function is called f(x), or f(x, keys_B) if it has `needs_keys = True`.
    Raises ConfigError for an unknown mode or padding, or a bad size.
    """

    def __init__(
        self,
        transforms: AnyBatchTransform | Iterable[AnyBatchTransform] | None,
        *,
        size: int | tuple[int, int] | None = None,
        mode: Mode = "bilinear",
        padding_mode: Padding = "reflection",
    ) -> None:
        listed = sort_by_order(transforms)
        if size is not None and not any(isinstance(transform, Geometry) for transform in listed):
            listed.append(Identity())  # something has to read the pixels anew
        super().__init__(listed)
        check_mode(mode, where="BatchPipeline.mode")
        check_padding(padding_mode, where="BatchPipeline.padding_mode")
        width_height = None if size is None else check_size(size, where="BatchPipeline.size")
        self.size = width_height and (width_height[1], width_height[0])
        self.mode, self.padding_mode = mode, padding_mode
        self.steps = list(self._steps())

    def __call__(self, x: Any, keys_B: Tensor | None = None) -> Any:
        """x: [B, C, H, W], on any device; keys_B: int64, best on the CPU, as loaders give them.

        Returns a new batch, or x itself where there is nothing to do. Raises ShapeError if something draws and there
        are no keys, or not as many as images.
        """
        if self.needs_keys and keys_B is None:
            raise ShapeError(
                f"{self.who_draws()} got no keys",
                where="BatchPipeline: keys_B",
                fix="make them with make_keys(seed=..., epoch=..., ids_B=...)",
            )
        if keys_B is None:
            return self.apply(x, torch.empty(len(x), 0, dtype=torch.float64, device="cpu"))
        return self.apply(x, self.draw(keys_B), keys_B)

    @torch.no_grad()
    def apply(self, x: Any, u_BN: Tensor, keys_B: Tensor | None = None) -> Any:
        """What `draw` gave, done to a batch; keys_B only for plain functions that ask for them."""
        if u_BN.shape != (len(x), self.n_draws):
            raise ShapeError(
                f"the draws are {list(u_BN.shape)}, must be [{len(x)}, {self.n_draws}] for this batch",
                where="BatchPipeline",
                fix="pass one key an image",
            )
        device_type = x.device.type if isinstance(x, Tensor) else "cpu"  # functions may take anything
        with _no_autocast(device_type):
            for step in self.steps:
                x = step(x, u_BN, keys_B)
        return x

    @property
    def needs_keys(self) -> bool:
        """Whether anything in it draws."""
        return any(map(_draws, self.transforms))

    def who_draws(self) -> str:
        """The names of the transforms that draw."""
        return ", ".join(name_of(t) for t in self.transforms if _draws(t))

    def hypers(self) -> dict[str, tuple[BatchTransform, str]]:
        """What may change between batches: `rotate.max_degrees` and so on, of a second one `rotate#2.max_degrees`."""
        own = [t for t in self.transforms if isinstance(t, BatchTransform)]
        names = number_repeats([_snake_case(type(t).__name__) for t in own])
        return {f"{name}.{key}": (t, key) for name, t in zip(names, own, strict=True) for key in t.hypers}

    def set_hyper(self, name: str, value: float) -> None:
        """Set one of `hypers`. Raises ConfigError for one that is not there, or a value out of its bounds."""
        known = self.hypers()
        if name not in known:
            raise ConfigError(
                f'no transform has a hyper "{name}"', where="BatchPipeline", fix=did_you_mean(name, known)
            )
        transform, key = known[name]
        setattr(transform, key, value)

    def _steps(self) -> Iterable[Callable[[Tensor, Tensor, Tensor | None], Tensor]]:
        """Runs of ToFloat, Geometry, Colour as one each; everything else by itself."""
        waiting: list[tuple[BatchTransform, slice]] = []
        for transform, part in zip(self.transforms, self._slices, strict=True):
            if waiting and not _follows(waiting[-1][0], transform):
                yield self._fuse(waiting)
                waiting = []
            if isinstance(transform, Geometry | Colour):
                waiting.append((transform, part))
            elif isinstance(transform, Pixels) or not isinstance(transform, BatchTransform):
                yield _Single(transform, part)
            else:
                raise ConfigError(
                    f"{name_of(transform)} is a BatchTransform of no kind",
                    where="BatchPipeline",
                    fix="derive it from Geometry, Colour or Pixels",
                )
        if waiting:
            yield self._fuse(waiting)

    def _fuse(self, transforms: list[tuple[BatchTransform, slice]]) -> Fused:
        return Fused(transforms, size=self.size, mode=self.mode, padding_mode=self.padding_mode)


class _Single:
    """A transform that cannot be joined with others."""

    def __init__(self, transform: AnyBatchTransform, part: slice) -> None:
        self.transform, self.part = transform, part

    def __call__(self, x: Tensor, u_BN: Tensor, keys_B: Tensor | None) -> Tensor:
        if isinstance(self.transform, Pixels):
            y = self.transform.apply(x, u_BN[:, self.part])
            if (y.shape, y.dtype) != (x.shape, x.dtype):
                raise ShapeError(
                    f"{name_of(self.transform)} made {y.dtype} {list(y.shape)} of {x.dtype} {list(x.shape)}",
                    where="BatchPipeline",
                    fix="let apply keep shape and dtype; draws are float64",
                )
            return y
        result: Tensor = self.transform(x, keys_B) if _draws(self.transform) else self.transform(x)
        return result


def _follows(before: BatchTransform, after: AnyBatchTransform) -> bool:
    """Whether `after` can be done in the same go: geometry comes before colour, a scaling to floats before both."""
    if isinstance(after, ToFloat):
        return False
    return isinstance(after, Colour) or (isinstance(after, Geometry) and isinstance(before, Geometry | ToFloat))


def _no_autocast(device_type: str) -> AbstractContextManager[Any]:
    """Nothing here is multiplied in half precision; devices that never do that have no such switch."""
    can = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type, enabled=False) if can else nullcontext()


def _draws(transform: AnyBatchTransform) -> bool:
    return bool(getattr(transform, "n_draws", 0) or getattr(transform, "needs_keys", False))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
