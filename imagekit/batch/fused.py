"""Geometry and colour of a batch in one go: bytes to floats, one interpolation, one product.

What is drawn becomes a Plan, a few numbers an image, made where the keys are (on the CPU, from a loader). On a GPU the
plan travels in one copy and six kernels run: to float, the grid's sum and division, the interpolation, the product with
its bias. On a CPU the batch goes through in parts small enough to stay in the cache from one step to the next: read
from memory as bytes and written once, [64, 3, 128, 128] takes 6 to 7 ms on two cores, where F.affine_grid and
F.grid_sample alone, each over the whole batch, take 15.

Shapes: B batch, N draws, C channels, H and W of the output, M as in `sampling`, R = W * C values in a row of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from imagekit.batch.normalize import ToFloat
from imagekit.batch.sampling import Mode, Padding, check_mode, check_padding, grid_lines, grid_of, read
from imagekit.batch.transform import BatchTransform, Colour, Geometry
from imagekit.errors import ShapeError
from imagekit.transforms.sending import send

_IMAGES_A_THREAD = 4
_EYE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is done to each image; None where nothing is.

    along_x_BMW, along_y_BMH: the grid, see `sampling.grid_lines`. scale, shift: [B or 1, C], a product without
    mixing channels. mix_BCC, shift: one with it.
    """

    along_x_BMW: Tensor | None = None
    along_y_BMH: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None
    mix_BCC: Tensor | None = None

    def part(self, images: slice) -> Plan:
        """The plan of some of the images; what is the same for all is not cut."""
        parts = {name: tensor[images] if len(tensor) > 1 else tensor for name, tensor in self._tensors().items()}
        return Plan(**parts)

    def to(self, device: torch.device, dtype: torch.dtype) -> Plan:
        """The plan elsewhere, in one copy that nothing waits for."""
        tensors = self._tensors()
        if not tensors:
            return self
        source = next(iter(tensors.values())).device
        if source == device:
            return Plan(**{name: tensor.to(dtype) for name, tensor in tensors.items()})
        packed = torch.cat([tensor.to(dtype).flatten() for tensor in tensors.values()])
        moved = torch.split(send(packed, device), [tensor.numel() for tensor in tensors.values()])
        return Plan(**{name: part.view(tensors[name].shape) for name, part in zip(tensors, moved, strict=True)})

    def _tensors(self) -> dict[str, Tensor]:
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in pairs if value is not None}


class Fused:
    """A run of transforms: perhaps ToFloat, then Geometry, then Colour, each perhaps none.

    Takes [B, C, H, W], bytes or floats, on any device; returns a new batch in the same memory format. Bytes become
    float32 by ToFloat and stay bytes without it. Below float32 everything is computed in float32, because bfloat16
    cannot tell the pixels of a row apart.
    """

    def __init__(
        self,
        transforms: Sequence[tuple[BatchTransform, slice]],
        *,
        size: tuple[int, int] | None,
        mode: Mode,
        padding_mode: Padding,
    ) -> None:
        self.geometry = [(t, part) for t, part in transforms if isinstance(t, Geometry)]
        self.colours = [(t, part) for t, part in transforms if isinstance(t, Colour)]
        self.is_projective = any(t.is_projective for t, _ in self.geometry)
        self.mixes = any(t.mixes_channels for t, _ in self.colours)
        self.makes_floats = bool(self.colours) and isinstance(self.colours[0][0], ToFloat)
        self.only_divides = self.makes_floats and len(self.colours) == 1
        self.size, self.mode, self.padding_mode = size, mode, padding_mode

    def __call__(self, x_BCHW: Tensor, u_BN: Tensor, keys_B: Tensor | None = None) -> Tensor:
        """u_BN: the draws of the whole pipeline; keys_B is for other steps. ShapeError where the batch does not fit."""
        self._check(x_BCHW)
        size = self._out_size(x_BCHW)
        plan, same = self.plan(u_BN, x_BCHW, size)
        work = torch.float64 if x_BCHW.dtype == torch.float64 else torch.float32
        plan = plan.to(x_BCHW.device, work)
        out_dtype = torch.float32 if self.makes_floats else x_BCHW.dtype
        n_images, n_channels = x_BCHW.shape[:2]
        shape = (n_images, n_channels, *size)
        out_BCHW = torch.empty(shape, dtype=out_dtype, device=x_BCHW.device, memory_format=_format(x_BCHW))
        n_part = _IMAGES_A_THREAD * torch.get_num_threads() if x_BCHW.device.type == "cpu" else max(n_images, 1)
        for start in range(0, n_images, n_part):
            part = slice(start, min(start + n_part, n_images))
            here = [i - start for i in same if part.start <= i < part.stop]
            self._run(x_BCHW[part], plan.part(part), work, same=here, out_BCHW=out_BCHW[part])
        return out_BCHW

    def plan(self, u_BN: Tensor, x_BCHW: Tensor, size: tuple[int, int]) -> tuple[Plan, list[int]]:
        """What these draws do to images of this batch's shape, and which images stay where they are.

        float64, on the device of the draws; the list is empty unless draws and batch are on the CPU, where asking is
        free and so is putting an image back.
        """
        n_images, n_channels, height, width = x_BCHW.shape
        parts: dict[str, Tensor] = {}
        same: list[int] = []
        if self.geometry:
            matrices = [t.matrices(u_BN[:, part], aspect=width / height).double() for t, part in self.geometry]
            matrix_B33 = reduce(torch.matmul, matrices)
            lines = grid_lines(matrix_B33, size, projective=self.is_projective)
            parts |= {"along_x_BMW": lines[0], "along_y_BMH": lines[1]}
            if size == (height, width) and matrix_B33.device.type == x_BCHW.device.type == "cpu":
                is_same_B = (matrix_B33 == matrix_B33.new_tensor(_EYE)).flatten(1).all(dim=1)
                same = is_same_B.nonzero().flatten().tolist()
        if self.colours and not self.only_divides:
            parts |= self._colour_plan(u_BN, n_images, n_channels)
        return Plan(**parts), same

    def _colour_plan(self, u_BN: Tensor, n_images: int, n_channels: int) -> dict[str, Tensor]:
        """The product of all colour matrices, the last one leftmost: it is applied last."""
        drawn = [t.matrices(u_BN[:, part], n_channels=n_channels) for t, part in reversed(self.colours)]
        matrices = [matrix_BMM.double() for matrix_BMM in drawn]
        matrix_BMM = reduce(torch.matmul, matrices)
        shift = matrix_BMM[:, :n_channels, n_channels]
        if self.mixes:
            return {"shift": shift, "mix_BCC": matrix_BMM[:, :n_channels, :n_channels]}
        return {"shift": shift, "scale": matrix_BMM.diagonal(dim1=1, dim2=2)[:, :n_channels]}

    def _run(self, x_BCHW: Tensor, plan: Plan, work: torch.dtype, *, same: Sequence[int], out_BCHW: Tensor) -> None:
        """These images through their plan, into `out_BCHW`. same: see `plan`."""
        # channels are mixed as planes on a CPU: 3 x 3 times 3 x HW takes a tenth of HW x 3 times 3 x 3
        planes = self.mixes and x_BCHW.device.type == "cpu"
        y_BCHW = x_BCHW = x_BCHW.to(work, memory_format=torch.contiguous_format if planes else _format(x_BCHW))
        if plan.along_x_BMW is not None and plan.along_y_BMH is not None:
            grid_BHW2 = grid_of(plan.along_x_BMW, plan.along_y_BMH)
            y_BCHW = read(x_BCHW, grid_BHW2, mode=self.mode, padding_mode=self.padding_mode)
            if same:  # rounding inside grid_sample moves a pixel by up to 1e-5 of the step to its neighbour
                y_BCHW[same] = x_BCHW[same]
        if out_BCHW.dtype == work and not planes:
            self._colour(y_BCHW, plan, out_BCHW)
            return
        y_BCHW = self._colour(y_BCHW, plan, None)
        out_BCHW.copy_(y_BCHW.round().clamp_(0, 255) if out_BCHW.dtype == torch.uint8 else y_BCHW)  # bicubic overshoots

    def _colour(self, x_BCHW: Tensor, plan: Plan, out_BCHW: Tensor | None) -> Tensor:
        """The product with its bias, written to `out_BCHW` where that is given."""
        if self.only_divides:  # on a CPU exactly what Pillow's v / 255 gives, as a product with 1/255 does not
            return torch.div(x_BCHW, 255, out=out_BCHW)
        if plan.mix_BCC is not None and plan.shift is not None:
            return _mix(x_BCHW, plan.mix_BCC, plan.shift, out_BCHW)
        if plan.scale is not None and plan.shift is not None:
            return _scale(x_BCHW, plan.scale, plan.shift, out_BCHW)
        return x_BCHW if out_BCHW is None else out_BCHW.copy_(x_BCHW)

    def _out_size(self, x_BCHW: Tensor) -> tuple[int, int]:
        height, width = x_BCHW.shape[2:]
        return self.size if self.geometry and self.size is not None else (height, width)

    def _check(self, x: Tensor) -> None:
        where = type(self.colours[0][0] if self.colours else self.geometry[0][0]).__name__
        facts = f"the batch is {x.dtype} {list(x.shape)}"
        if x.ndim != 4:
            raise ShapeError(
                f"{facts}, must be [B, C, H, W]", where=where, fix="stack images to a batch; one alone is x[None]"
            )
        if self.makes_floats and x.dtype != torch.uint8:
            fix = "leave ToFloat out for floats" if x.is_floating_point() else "give bytes, 0 to 255"
            raise ShapeError(f"{facts}, must be uint8", where=where, fix=fix)
        needs_floats = bool(self.colours) and not self.makes_floats
        if not x.is_floating_point() and (needs_floats or x.dtype != torch.uint8):
            fix = "put ToFloat before it" if x.dtype == torch.uint8 else "give bytes, 0 to 255, or floats"
            wanted = "floats" if needs_floats else "floats or uint8"
            raise ShapeError(f"{facts}, must be {wanted}", where=where, fix=fix)


def sample(
    x_BCHW: Tensor,
    matrix_B33: Tensor,
    *,
    size: tuple[int, int] | None = None,
    mode: Mode = "bilinear",
    padding_mode: Padding = "reflection",
) -> Tensor:
    """One reading of the batch through the matrices: [B, C, height, width], in the type and memory format of the batch.

    x_BCHW: floats or uint8; matrix_B33: see `matrices`, best float64 on the CPU; size: (height, width) of the output,
    default that of the input. An image of the same size whose matrix is the identity comes back bit for bit on a CPU.
    Raises ShapeError if batch and matrices do not fit each other, ConfigError for an unknown mode or padding.
    """
    check_mode(mode, where="sample.mode")
    check_padding(padding_mode, where="sample.padding_mode")
    given: Any = size  # a side alone is a likely mistake
    if given is not None and not _is_size(given):
        raise ShapeError(f"size is {size}, must be (height, width) in whole pixels, at least 1", where="sample.size")
    if x_BCHW.ndim != 4 or matrix_B33.shape != (x_BCHW.shape[0], 3, 3):
        raise ShapeError(
            f"the batch is {list(x_BCHW.shape)} and the matrices are {list(matrix_B33.shape)}",
            where="sample",
            fix="pass a batch [B, C, H, W] and one 3 x 3 matrix an image",
        )
    step = Fused([(_Given(matrix_B33), slice(0, 0))], size=size, mode=mode, padding_mode=padding_mode)
    return step(x_BCHW, matrix_B33.new_empty(len(matrix_B33), 0))


def _is_size(size: Any) -> bool:
    return isinstance(size, tuple | list) and len(size) == 2 and all(type(side) is int and side >= 1 for side in size)


class _Given(Geometry):
    """Matrices that somebody made already."""

    def __init__(self, matrix_B33: Tensor) -> None:
        self.matrix_B33 = matrix_B33

    def matrices(self, u_BN: Tensor, *, aspect: float) -> Tensor:
        return self.matrix_B33


def _scale(x_BCHW: Tensor, scale_BC: Tensor, shift_BC: Tensor, out_BCHW: Tensor | None) -> Tensor:
    formats = {_format(x_BCHW), _format(x_BCHW if out_BCHW is None else out_BCHW)}
    if x_BCHW.device.type == "cpu" and formats == {torch.channels_last}:
        # along rows of pixels, not over three channels: 0.2 ms instead of 2.7 for [64, 3, 128, 128] on two cores
        n_images, n_channels, height, width = x_BCHW.shape
        x_BHR = x_BCHW.permute(0, 2, 3, 1).flatten(2)
        scale_B1R, shift_B1R = scale_BC.repeat(1, width)[:, None], shift_BC.repeat(1, width)[:, None]
        out_BHR = None if out_BCHW is None else out_BCHW.permute(0, 2, 3, 1).flatten(2)
        y_BHR = torch.addcmul(shift_B1R, x_BHR, scale_B1R, out=out_BHR)
        return out_BCHW if out_BCHW is not None else y_BHR.view(n_images, height, width, n_channels).permute(0, 3, 1, 2)
    return torch.addcmul(shift_BC[:, :, None, None], x_BCHW, scale_BC[:, :, None, None], out=out_BCHW)


def _mix(x_BCHW: Tensor, mix_BCC: Tensor, shift_BC: Tensor, out_BCHW: Tensor | None) -> Tensor:
    n_images, n_channels, height, width = x_BCHW.shape
    mix_BCC, shift_BC = mix_BCC.expand(n_images, -1, -1), shift_BC.expand(n_images, -1)
    if _format(x_BCHW if out_BCHW is None else out_BCHW) == torch.channels_last:
        out_BPC = None if out_BCHW is None else out_BCHW.permute(0, 2, 3, 1).flatten(1, 2)
        x_BPC = x_BCHW.permute(0, 2, 3, 1).flatten(1, 2)
        y_BPC = torch.baddbmm(shift_BC[:, None, :], x_BPC, mix_BCC.transpose(1, 2), out=out_BPC)
        return y_BPC.view(n_images, height, width, n_channels).permute(0, 3, 1, 2)
    out_BCP = None if out_BCHW is None else out_BCHW.flatten(2)
    y_BCP = torch.baddbmm(shift_BC[:, :, None], mix_BCC, x_BCHW.flatten(2), out=out_BCP)
    return y_BCP.view(x_BCHW.shape)


def _format(x_BCHW: Tensor) -> torch.memory_format:
    is_last = x_BCHW.is_contiguous(memory_format=torch.channels_last) and not x_BCHW.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format
