"""Checkpoints: one zip file of plain types and tensors, never code.

`torch.save` writes it, `torch.load(weights_only=True)` reads it, and so can ten lines without imagekit. Before torch
sees a file it must be a whole zip archive of uncompressed records with right check sums, so that a cut, damaged or
foreign file ends in one plain CheckpointError, and a pickle in an older format is never opened.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagekit.errors import CheckpointError
from imagekit.files.atomic import write_bytes

FORMAT_VERSION = 1
PLAIN_TYPES = (str, int, float, bool, bytes, type(None))

# everything that reading a hostile zip file or pickle was seen to raise; a bug of ours is none of these by design
_UNREADABLE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    RuntimeError,  # torch's reader; also RecursionError and NotImplementedError
    EOFError,
    ValueError,  # also UnicodeDecodeError
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    ImportError,
)


def save_checkpoint(path: Path, state: Mapping[str, object]) -> None:
    """Write `state` and a `format_version` to `path`, atomically: a reader finds the old file or the new one.

    state: plain types, tensors, and lists, tuples and mappings of them; mappings are written as dicts. Raises
    CheckpointError for anything else, naming its place, and DiskFullError; the old file is then untouched.
    """
    plain = {"format_version": FORMAT_VERSION, **{key: _plain(value, key) for key, value in state.items()}}
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path, *, required: Iterable[str] = ("model",)) -> dict[str, Any]:
    """The state at `path`, its tensors on the CPU.

    required: the keys that must be there. Raises CheckpointError for a file that is missing, cut, damaged, not a
    checkpoint, of another format, without a required key, or whose `model` is no state_dict.
    """
    state = _read(path)
    if not isinstance(state, dict) or type(state.get("format_version")) is not int:
        raise _refused(path, "this is not an imagekit checkpoint", "name a file of RUN/checkpoints, such as last.pt")
    version = state["format_version"]
    if version != FORMAT_VERSION:
        raise _refused(
            path,
            f"the checkpoint has format {version}; this version of imagekit reads format {FORMAT_VERSION}",
            "install a newer imagekit" if version > FORMAT_VERSION else "train again",
        )
    missing = [key for key in required if key not in state]
    if missing:
        raise _refused(path, f"the checkpoint lacks {', '.join(missing)}", "use a checkpoint that train wrote")
    if "model" in state and not _is_state_dict(state["model"]):
        raise _refused(path, "the checkpoint's model is not a state_dict", "use a checkpoint that train wrote")
    return state


def _read(path: Path) -> Any:
    fix = "use the other checkpoint of the run, or train again"
    try:
        data = path.read_bytes()
        _check_archive(data)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError as error:
        raise _refused(path, f"the checkpoint cannot be read: {error.strerror or error}", "check the path") from error
    except _UNREADABLE as error:
        raise _refused(path, "the checkpoint is cut short, damaged or not a checkpoint", fix) from error


def _check_archive(data: bytes) -> None:
    if not data.startswith(b"PK\x03\x04"):  # else torch would fall back to its reader of bare pickles
        raise zipfile.BadZipFile("no zip archive")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        # torch never compresses: a compressed record is foreign, and could unpack to any size
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise zipfile.BadZipFile("a compressed record")
        if (name := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the check sum of {name} is wrong")


def _is_state_dict(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(tensor, Tensor) for tensor in value.values())


def _plain(value: object, key: str) -> object:
    """`value` with every mapping as a dict and every tensor detached."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {_plain_key(name, key): _plain(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item, f"{key}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)  # a named tuple becomes a plain one
    if type(value) in PLAIN_TYPES:
        return value
    raise _not_plain(value, key)


def _plain_key(name: object, key: str) -> object:
    if type(name) in PLAIN_TYPES:
        return name
    raise _not_plain(name, f"{key}: a key")


def _not_plain(value: object, key: str) -> CheckpointError:
    return CheckpointError(
        f"{value!r} is a {type(value).__name__}; a checkpoint holds plain types and tensors only",
        where=f"state: {key}",
        fix="turn it into a string, a number, a list or a dict",
    )


def _refused(path: Path, what: str, fix: str) -> CheckpointError:
    return CheckpointError(what, where=str(path), fix=fix)
