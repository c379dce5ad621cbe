"""What a model is made of: its layers with the shapes of their outputs, their parameters, and what they compute.

Shapes: B batch, and whatever the model takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.errors import ConfigError, ShapeError
from imagekit.models.hooks import find_modules, fit_input, path_of, undisturbed

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_COUNTED = (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)


@dataclass(frozen=True, kw_only=True, slots=True)
class SummaryRow:
    """One call of a layer. output_shape: None where that is no tensor; n_parameters: those of no earlier row."""

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    n_parameters: int
    n_macs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSummary:
    """The rows in the order of the forward, and totals of the whole model; str() is a table.

    n_macs: multiplications with a weight, each with its addition, for one sample. n_parameters: each counted once;
    n_trainable: those with requires_grad.
    """

    input_shape: tuple[int, ...]
    rows: tuple[SummaryRow, ...]
    n_parameters: int
    n_trainable: int
    n_macs: int

    def __str__(self) -> str:
        lines = [("layer", "type", "output", "parameters", "MACs")]
        lines += [(r.name, r.kind, _shape(r.output_shape), f"{r.n_parameters:,}", _short(r.n_macs)) for r in self.rows]
        elsewhere = self.n_parameters - sum(row.n_parameters for row in self.rows)
        macs_elsewhere = self.n_macs - sum(row.n_macs for row in self.rows)
        if elsewhere or macs_elsewhere:
            lines.append(("(elsewhere)", "", "", f"{elsewhere:,}", _short(macs_elsewhere)))
        lines.append(("total", "", "", f"{self.n_parameters:,}", _short(self.n_macs)))
        frozen = self.n_parameters - self.n_trainable
        return "\n".join(
            [
                *align(lines, n_left=3),
                f"input {_shape(self.input_shape)}; MACs are those of one sample"
                + (f"; {frozen:,} parameters are frozen" if frozen else ""),
            ]
        )


def model_summary(
    model: nn.Module,
    x: Tensor | Sequence[int],
    *,
    deep: bool = False,
    find: Callable[[nn.Module], bool] | None = None,
) -> ModelSummary:
    """Run one forward and tell of each layer its output, parameters and multiply-accumulates.

    x: a batch, or its shape with the batch axis, for zeros of that shape; it is brought to the model's device and
    floating type. Rows are the model's children, and the entries of a ModuleList among them; with `deep` all modules
    without children; with `find` those that meet the condition (see `find_modules`). A module that runs twice has two
    rows, its parameters in the first.
    MACs are counted for convolutions, transposed ones too, and linear layers, padding as if it were image; they are 0
    for everything else: norms, activations, products that are no layer. A model on the meta device costs no memory.
    The forward is in evaluation mode and leaves no trace: no hook, no moved running statistics or random state.
    Raises ConfigError for `deep` with `find` and a find that nothing meets, ShapeError for an empty batch and where the
    forward fails: in which layer, and on what shape. Source: fast.ai course v3, lesson 11.
    """
    x = _as_batch(model, x)
    watch = _Watch(model=model, rows=[])
    with undisturbed(model, training=False), _watching(watch, _modules(model, deep=deep, find=find)):
        try:
            model(x)
        except Exception as error:
            raise watch.failure(error, x) from error
    parameters = list(model.parameters())
    return ModelSummary(
        input_shape=tuple(x.shape),
        rows=tuple(
            SummaryRow(
                name=r.name, kind=r.kind, output_shape=r.shape, n_parameters=r.n_parameters, n_macs=r.n_macs // len(x)
            )
            for r in watch.rows
        ),
        n_parameters=sum(parameter.numel() for parameter in parameters),
        n_trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        n_macs=watch.n_macs // len(x),
    )


def align(lines: Sequence[Sequence[str]], *, n_left: int) -> list[str]:
    """Cells in columns two spaces apart: the first n_left columns to the left, the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < n_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _shape(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else " x ".join(map(str, shape))


def _short(n_macs: int) -> str:
    """Three digits or a little more: 2.56 K, 58.98 M, 4.12 G."""
    for letter, unit in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if n_macs >= unit:
            return f"{n_macs / unit:,.2f} {letter}"
    return str(n_macs)


def _as_batch(model: nn.Module, x: Tensor | Sequence[int]) -> Tensor:
    x = fit_input(model, x if isinstance(x, Tensor) else torch.zeros(tuple(x)))
    if not x.dim() or not len(x):
        raise ShapeError(
            f"the batch is {list(x.shape)}, must hold one sample at least",
            where="model_summary: x",
            fix="pass a batch, or its shape with the batch axis: (1, 3, 128, 128) say",
        )
    return x


def _modules(model: nn.Module, *, deep: bool, find: Callable[[nn.Module], bool] | None) -> list[nn.Module]:
    if deep and find is not None:
        raise ConfigError(
            "deep and find are both given", where="model_summary", fix="leave one out: each says which layers are rows"
        )
    if deep:
        return find_modules(model, _is_leaf)
    found = find_modules(model, find or (lambda module: _is_leaf(module) or not (module is model or _is_list(module))))
    if not found:
        raise ConfigError(
            f"find is met by no module of {type(model).__name__}",
            where="model_summary: find",
            fix="leave it out for the model's children",
        )
    return found


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _is_list(module: nn.Module) -> bool:
    """It holds modules and never runs itself."""
    return isinstance(module, nn.ModuleList | nn.ModuleDict)


@dataclass(slots=True)
class _Row:
    """A row while its module runs: n_macs is the count before it, and then the difference."""

    name: str
    kind: str
    n_macs: int
    n_parameters: int = 0
    shape: tuple[int, ...] | None = None


@dataclass(slots=True)
class _Watch:
    """What the hooks gather. running: the modules whose forward has begun and not ended, and what they were given."""

    model: nn.Module
    rows: list[_Row]
    open_rows: list[tuple[nn.Module, _Row]] = field(default_factory=list)
    running: list[tuple[nn.Module, tuple[Any, ...]]] = field(default_factory=list)
    counted: set[nn.Parameter] = field(default_factory=set)
    n_macs: int = 0

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.running.append((module, inputs))

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        while self.running.pop()[0] is not module:
            pass  # its forward failed, and the model caught that
        if isinstance(module, _COUNTED):
            self.n_macs += _macs(module, inputs, output)

    def open_row(self, module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        row = _Row(path_of(self.model, module), type(module).__name__, self.n_macs)
        self.rows.append(row)
        self.open_rows.append((module, row))

    def close_row(self, module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        opened, row = self.open_rows.pop()
        while opened is not module:
            opened, row = self.open_rows.pop()
        new = set(module.parameters()) - self.counted
        self.counted |= new
        row.n_parameters = sum(parameter.numel() for parameter in new)
        row.n_macs = self.n_macs - row.n_macs
        row.shape = tuple(output.shape) if isinstance(output, Tensor) else None

    def failure(self, error: Exception, x: Tensor) -> ShapeError:
        """The error that names the innermost module that was running."""
        module, inputs = self.running[-1] if self.running else (self.model, (x,))
        shapes = ", ".join(
            str(list(part.shape)) if isinstance(part, Tensor) else type(part).__name__ for part in inputs
        )
        return ShapeError(
            f'layer "{path_of(self.model, module)}" ({type(module).__name__}) fails on {shapes or "no input"}: {error}',
            where="model_summary",
            fix="pass a batch as the model takes it, its shape and type, or mend the layer",
        )


def _macs(module: Any, inputs: tuple[Any, ...], output: Tensor) -> int:
    """Of the whole batch: each output of a convolution is a product with weight[0], each input of a transposed one."""
    values = inputs[0] if isinstance(module, _TRANSPOSED) else output
    return int(values.numel() * module.weight[0].numel())


@contextmanager
def _watching(watch: _Watch, row_modules: Sequence[nn.Module]) -> Iterator[None]:
    """Hooks on all modules, and on those of the rows, that come off at the end."""
    with ExitStack() as stack:
        for module in watch.model.modules():
            stack.callback(module.register_forward_pre_hook(watch.enter).remove)
        for module in row_modules:
            stack.callback(module.register_forward_pre_hook(watch.open_row).remove)
        # the counts come before the rows that hold them
        for module in watch.model.modules():
            stack.callback(module.register_forward_hook(watch.leave).remove)
        for module in row_modules:
            stack.callback(module.register_forward_hook(watch.close_row).remove)
        yield
