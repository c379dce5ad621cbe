"""Start from weights that something else was trained to, and hold a part of them still."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagekit.errors import CheckpointError
from imagekit.files.hashes import sha256_bytes
from imagekit.learner.groups import head_of
from imagekit.learner.train_eval import TrainEvalCallback

N_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What of a file of weights went into a model.

    loaded: tensors that did. reshaped: of the model's name but another shape, with both shapes in words. missing: the
    model's that the file lacks; unknown: the file's that the model lacks. Only `loaded` was changed.
    """

    file: Path
    sha256: str
    loaded: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        n = len(self.loaded) + len(self.reshaped) + len(self.missing)
        parts = [f"{len(self.loaded)} of the model's {n} tensors loaded from {self.file}"]
        parts += [f"of another shape, left as they are: {_listed(self.reshaped)}"] if self.reshaped else []
        parts += [f"not in the file, left as they are: {_listed(self.missing)}"] if self.missing else []
        parts += [f"in the file alone: {_listed(self.unknown)}"] if self.unknown else []
        return "; ".join(parts)


def load_weights(model: nn.Module, file: Path) -> Loaded:
    """Put the weights of `file` into the model, each tensor whose name and shape are the same.

    file: a checkpoint of imagekit, a plain state_dict, or a dict that holds one under model, state_dict or
    model_state_dict; names may begin with "module.", as torch's parallel wrappers write them. Read with weights_only.
    Raises CheckpointError for a file that cannot be read or holds no weights, and where no tensor fits.
    """
    state, digest = _read(file)
    own = model.state_dict()
    same = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    # running statistics alone would fit many a model
    if not any(name in same for name, _ in model.named_parameters()):
        raise CheckpointError(
            f"none of its {len(state)} tensors fits the model, {next(iter(state))} for one;"
            f" the model has {next(iter(own))} for one",
            where=str(file),
            fix="give --model and its options as these weights were trained with",
        )
    model.load_state_dict(same, strict=False)
    return Loaded(
        file=file,
        sha256=digest,
        loaded=tuple(same),
        reshaped=tuple(
            f"{name} ({_shape(value)} in the file, {_shape(own[name])} in the model)"
            for name, value in state.items()
            if name in own and name not in same
        ),
        missing=tuple(name for name in own if name not in state),
        unknown=tuple(name for name in state if name not in own),
    )


def freeze_body(model: nn.Module) -> TrainEvalCallback:
    """Hold everything but the head still; returns the callback that keeps it in evaluation mode while training.

    Norms of a part that learns nothing must not go on measuring. Raises ConfigError for a model without parameters.
    """
    head = head_of(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    return FrozenBody(head)


class FrozenBody(TrainEvalCallback):
    """Training mode for the head alone."""

    def __init__(self, head: nn.Module) -> None:
        self.head = head

    def begin_epoch(self) -> None:
        """The head learns, the rest does not."""
        self.learner.model.eval()
        self.head.train()


def _read(file: Path) -> tuple[dict[str, Tensor], str]:
    try:
        data = file.read_bytes()
        content: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"the weights cannot be read: {error.strerror or error}", where=str(file), fix="check the path"
        ) from error
    except _UNREADABLE as error:
        raise CheckpointError(
            "the file holds no weights that can be read safely",
            where=str(file),
            fix="give a checkpoint of imagekit, or what torch.save(model.state_dict(), FILE) wrote",
        ) from error
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise CheckpointError(
            "the file holds no state_dict",
            where=str(file),
            fix="give a checkpoint of imagekit, or what torch.save(model.state_dict(), FILE) wrote",
        )
    return {str(name).removeprefix("module."): value for name, value in content.items()}, sha256_bytes(data).hex()


_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ImportError,
    MemoryError,
)


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "one number"


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more
