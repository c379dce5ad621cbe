"""Samples and batches: what a dataset hands to a loader, and a loader to the loop.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from imagekit.data.order import SampleRef
from imagekit.errors import ShapeError


class Sample(NamedTuple):
    """One item of a split: x (a uint8 image [C, H, W], say), its target y or None, the key of its draws, its row."""

    x: Any
    y: Any
    key: int
    row: int


class SampleSource(Protocol):
    """What a loader needs of a dataset: its length, the seed of its draws, and the samples of a batch at once."""

    seed: int

    def __len__(self) -> int: ...

    def samples(self, refs: Sequence[SampleRef]) -> list[Sample]:
        """The samples that the refs name; refs of one batch share an epoch."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`x, y = batch`; beside them `keys` and `rows`, int64 [B], and `number`, the batch's place in its epoch from 0.

    x: [B, C, H, W] uint8 for images, channels_last in memory; y: targets, None where the rows have none. keys seed what
    batch transforms draw and stay on the CPU: that is where draws are cheap. rows lead back to the split.
    """

    x: Any
    y: Any
    keys: Tensor
    rows: Tensor
    number: int | None = None

    def __iter__(self) -> Iterator[Any]:
        yield self.x
        yield self.y

    def __getitem__(self, index: int) -> Any:
        return (self.x, self.y)[index]

    def __len__(self) -> int:
        return 2

    def pin_memory(self) -> Batch:
        """The same with x and y in memory that a GPU can fetch by itself; torch's DataLoader calls this."""
        x, y = (part.pin_memory() if isinstance(part, Tensor) else part for part in self)
        return replace(self, x=x, y=y)


Collate = Callable[[Sequence[Sample]], Any]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size. Raises ShapeError where sizes differ: give a transform that makes one size."""
    _check_tensors(samples, where="collate")
    shapes = sorted({tuple(sample.x.shape) for sample in samples})
    if len(shapes) > 1:
        are_images = {len(shape) for shape in shapes} == {3} and len({shape[0] for shape in shapes}) == 1
        sizes = [f"{shape[2]} x {shape[1]}" if are_images else str(list(shape)) for shape in shapes[:3]]
        same_size = "add ResizeFixed, CenterCrop or RandomResizedCrop to the transforms"
        raise ShapeError(
            f"{'images' if are_images else 'samples'} of {len(shapes)} sizes cannot be stacked: {', '.join(sizes)}",
            where="collate",
            fix=f"{same_size}, or give your own collate" if are_images else "make them alike, or use padding_collate",
        )
    return _batch(_stack([sample.x for sample in samples]), samples)


def padding_collate(samples: Sequence[Sample], *, value: float = 0) -> Batch:
    """Stack samples of several sizes, each filled up with `value` at the end of every axis to the largest of the batch.

    For sequences of words or sounds, and for pictures that must not be resized. Raises ShapeError where the samples
    differ in the number of their axes. Source: the pad_collate of fast.ai's 2019 course.
    """
    _check_tensors(samples, where="padding_collate")
    n_axes = {sample.x.ndim for sample in samples}
    if len(n_axes) > 1:
        raise ShapeError(
            f"samples with {' and '.join(map(str, sorted(n_axes)))} axes cannot be padded to one size",
            where="padding_collate",
            fix="give tensors with the same number of axes",
        )
    most = [max(sides) for sides in zip(*(sample.x.shape for sample in samples), strict=True)]
    padded = [F.pad(sample.x, _missing(sample.x, most), value=value) for sample in samples]
    return _batch(_stack(padded), samples)


def _check_tensors(samples: Sequence[Sample], *, where: str) -> None:
    """Raises ShapeError for no samples, what is no tensor, and targets that are neither numbers, tensors nor absent."""
    if not samples:
        raise ShapeError("there is no sample to stack", where=where, fix="ask for at least one row")
    for sample in samples:
        if not isinstance(sample.x, Tensor):
            raise ShapeError(
                f"row {sample.row} is a {type(sample.x).__name__}, must be a tensor",
                where=where,
                fix="end the transforms with to_byte_tensor",
            )
        if not (sample.y is None or isinstance(sample.y, Tensor | Number)):
            raise ShapeError(
                f"the target of row {sample.row} is {sample.y!r}, must be a number or a tensor",
                where=where,
                fix="encode labels with a Processor, names with label_by_func(..., proc_y=CategoryProcessor()) say",
            )
    targets = {tuple(sample.y.shape) if isinstance(sample.y, Tensor) else sample.y is None for sample in samples}
    if len(targets) > 1:
        raise ShapeError(
            "some targets of the batch are numbers, some tensors of another shape, or absent",
            where=where,
            fix="give every row a target of one kind",
        )


def _missing(x: Tensor, most: Sequence[int]) -> list[int]:
    """Padding as F.pad takes it: before and after, the last axis first."""
    return [n for have, want in zip(reversed(x.shape), reversed(most), strict=True) for n in (0, want - have)]


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if first.ndim == 3 and first.permute(1, 2, 0).is_contiguous():
        # pixel by pixel in memory: stacked as they lie and only looked at as [B, C, H, W]
        return torch.stack([x.permute(1, 2, 0) for x in tensors]).permute(0, 3, 1, 2)
    return torch.stack(list(tensors))


def _stack_targets(targets: Sequence[Any]) -> Tensor | None:
    if targets[0] is None:
        return None
    if isinstance(targets[0], Tensor):
        return torch.stack(list(targets))
    return torch.tensor([target.item() if hasattr(target, "item") else target for target in targets])


def _batch(x: Tensor, samples: Sequence[Sample]) -> Batch:
    return Batch(
        x=x,
        y=_stack_targets([sample.y for sample in samples]),
        keys=torch.tensor([sample.key for sample in samples]),
        rows=torch.tensor([sample.row for sample in samples]),
    )
