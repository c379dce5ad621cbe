"""Checkpoints: what is written comes back; whatever else lies there is one plain error and runs no code."""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imagekit.errors import CheckpointError, DiskFullError
from imagekit.files import seam
from imagekit.runs.checkpoint import load_checkpoint, save_checkpoint

Pair = namedtuple("Pair", "a b")


def damaged(path: Path) -> str:
    return (
        f"the checkpoint is cut short, damaged or not a checkpoint\n  where: {path}\n"
        "  fix: use the other checkpoint of the run, or train again"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.pt"


@pytest.fixture
def saved(path: Path) -> bytes:
    save_checkpoint(path, {"model": nn.Linear(3, 2).state_dict(), "epoch": 2, "vocab": ["tench", "golf ball"]})
    return path.read_bytes()


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    return str(caught.value)


# -- what is written comes back ---------------------------------------------------------------------------------------


def test_state_comes_back_as_plain_types_and_equal_tensors(path: Path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 3, 5, 5)).sum().backward()
    opt.step()
    rest = {"text": "ä", "n": 1, "x": 0.1, "flag": True, "none": None, "list": [1, (2, 3)], "raw": b"\x00", "d": {1: 2}}

    save_checkpoint(path, {"model": model.state_dict(), "optimizer": opt.state_dict(), **rest})
    state = load_checkpoint(path)

    assert {key: state[key] for key in rest} == rest
    assert state["format_version"] == 1
    assert type(state["model"]) is dict
    for name, tensor in model.state_dict().items():
        assert torch.equal(state["model"][name], tensor)
        assert state["model"][name].stride() == tensor.stride()
    opt.load_state_dict(state["optimizer"])


def test_ten_lines_without_imagekit_can_read_it(path: Path, saved: bytes):
    state = torch.load(path, weights_only=True)

    model = nn.Linear(3, 2)
    model.load_state_dict(state["model"])

    assert state["vocab"] == ["tench", "golf ball"]


def test_same_state_gives_the_same_bytes_under_any_name(tmp_path: Path):
    state = {"model": {"w": torch.arange(4.0)}}

    save_checkpoint(tmp_path / "one.pt", state)
    save_checkpoint(tmp_path / "two.pt", state)

    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()


def test_mappings_and_named_tuples_become_plain(path: Path):
    weight = nn.Parameter(torch.ones(2))

    save_checkpoint(path, {"model": OrderedDict(w=weight), "pair": Pair(1, 2), "size": torch.Size([3])})
    state = load_checkpoint(path)

    assert (type(state["model"]), state["pair"], state["size"]) == (dict, (1, 2), (3,))
    assert type(state["model"]["w"]) is torch.Tensor
    assert not state["model"]["w"].requires_grad


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ({"root": Path("x")}, f"{Path('x')!r} is a {type(Path('x')).__name__}"),
        ({"a": {"b": [0, {1, 2}]}}, "{1, 2} is a set"),
        ({"a": {(1, 2): 3}}, "(1, 2) is a tuple"),
    ],
)
def test_anything_but_plain_types_is_refused_by_its_place(path: Path, state: dict[str, Any], what: str):
    where = {"root": "root", "a": "a.b[1]"}[next(iter(state))] if "tuple" not in what else "a: a key"

    with pytest.raises(CheckpointError) as caught:
        save_checkpoint(path, state)

    assert str(caught.value) == (
        f"{what}; a checkpoint holds plain types and tensors only\n"
        f"  where: state: {where}\n"
        "  fix: turn it into a string, a number, a list or a dict"
    )
    assert not path.exists()


@pytest.mark.parametrize("call", ["write_all", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint(path: Path, saved: bytes, call: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(seam, call, fail)

    with pytest.raises(DiskFullError, match=r"the disk is full while writing last\.pt"):
        save_checkpoint(path, {"model": {"w": torch.zeros(9)}})

    assert path.read_bytes() == saved
    assert list(path.parent.iterdir()) == [path]


# -- damage -----------------------------------------------------------------------------------------------------------


def test_a_file_cut_at_many_points_is_one_plain_error(path: Path, saved: bytes):
    cuts = {0, 1, 2, 3, 4, 5, 30, *range(0, len(saved), 37), *range(len(saved) - 80, len(saved))}

    assert {refusal(path, saved[:cut]) for cut in sorted(cuts)} == {damaged(path)}
    path.write_bytes(saved)
    assert load_checkpoint(path)["epoch"] == 2


def test_a_changed_byte_is_found_or_does_not_matter(path: Path, saved: bytes):
    whole = load_checkpoint(path)
    rng = random.Random(0)
    n_found = 0

    for _ in range(400):
        data = bytearray(saved)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
        try:
            state = load_checkpoint(path)
        except CheckpointError:
            n_found += 1
        else:
            assert {**state, "model": 0} == {**whole, "model": 0}
            assert all(torch.equal(state["model"][name], tensor) for name, tensor in whole["model"].items())

    assert n_found > 100


def test_a_changed_byte_inside_a_tensor_is_found(path: Path):
    save_checkpoint(path, {"model": {"w": torch.full((64,), 1.5)}})
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((8,), 1.5).numpy().tobytes()) + 9] ^= 1

    assert refusal(path, bytes(data)) == damaged(path)


@pytest.mark.parametrize(
    "data",
    [b"garbage", b"\x00" * 500, b"PK\x03\x04", b"PK\x05\x06" + b"\x00" * 18, b"<html>", pickle.dumps({"model": {}})]
    + [bytes(random.Random(seed).randbytes(300)) for seed in range(20)]
    + [b"PK\x03\x04" + random.Random(seed).randbytes(300) for seed in range(20)],
    ids=lambda data: data[:8].hex(),
)
def test_garbage_is_one_plain_error(path: Path, data: bytes):
    assert refusal(path, data) == damaged(path)


def test_bytes_before_the_archive_are_refused(path: Path, saved: bytes):
    assert refusal(path, b"\x80\x02" + saved) == damaged(path)


def test_a_compressed_archive_is_refused(path: Path, saved: bytes):
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved)) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))

    assert refusal(path, packed.getvalue()) == damaged(path)


def test_a_zip_of_something_else_is_refused(path: Path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("photo.txt", "hello")

    assert refusal(path, packed.getvalue()) == damaged(path)


def test_a_missing_file_says_so(path: Path):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)

    assert str(caught.value) == (
        f"the checkpoint cannot be read: No such file or directory\n  where: {path}\n  fix: check the path"
    )


# -- hostile pickles --------------------------------------------------------------------------------------------------


class Hostile:
    """Unpickling this makes a folder: proof that code ran."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["pickle", "torch", "torch_old", "inside"])
def test_a_hostile_object_is_refused_and_never_run(path: Path, tmp_path: Path, how: str):
    proof = tmp_path / "it-ran"
    buffer = io.BytesIO()
    if how == "pickle":
        pickle.dump(Hostile(proof), buffer)
    elif how == "inside":
        torch.save({"format_version": 1, "model": {"w": torch.zeros(1), "x": Hostile(proof)}}, buffer)
    else:
        torch.save(Hostile(proof), buffer, _use_new_zipfile_serialization=how == "torch")

    assert refusal(path, buffer.getvalue()) == damaged(path)
    assert not proof.exists()
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False) if how != "pickle" else pickle.loads(
        buffer.getvalue()
    )
    assert proof.exists()  # the object was a live one


# -- foreign and newer ------------------------------------------------------------------------------------------------


def saved_by_torch(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "value",
    [nn.Linear(1, 1).state_dict(), [1, 2], {"format_version": "1"}, {"format_version": True}, torch.zeros(2), None],
)
def test_a_checkpoint_of_another_program_is_refused(path: Path, value: object):
    assert refusal(path, saved_by_torch(value)) == (
        f"this is not an imagekit checkpoint\n  where: {path}\n  fix: name a file of RUN/checkpoints, such as last.pt"
    )


@pytest.mark.parametrize(("version", "fix"), [(2, "install a newer imagekit"), (0, "train again")])
def test_another_format_is_refused_by_its_number(path: Path, version: int, fix: str):
    assert refusal(path, saved_by_torch({"format_version": version, "model": {}})) == (
        f"the checkpoint has format {version}; this version of imagekit reads format 1\n  where: {path}\n  fix: {fix}"
    )


def test_missing_keys_are_named_and_present_ones_pass(path: Path, saved: bytes):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, required=("model", "mean", "std"))

    assert str(caught.value) == (
        f"the checkpoint lacks mean, std\n  where: {path}\n  fix: use a checkpoint that train wrote"
    )
    assert load_checkpoint(path, required=("model", "vocab"))["vocab"] == ["tench", "golf ball"]


def test_a_model_that_is_no_state_dict_is_refused(path: Path):
    for model in (3, None, {"w": 1}, [torch.zeros(1)]):
        assert refusal(path, saved_by_torch({"format_version": 1, "model": model})) == (
            f"the checkpoint's model is not a state_dict\n  where: {path}\n  fix: use a checkpoint that train wrote"
        )


KILLED = """
import os, sys
from pathlib import Path
import torch
from imagekit.files import seam
from imagekit.runs.checkpoint import save_checkpoint
name, nth = sys.argv[2], int(sys.argv[3])
real, calls = getattr(seam, name), []
def killed(*args):
    calls.append(1)
    if len(calls) == nth:
        os._exit(9)
    return real(*args)
setattr(seam, name, killed)
save_checkpoint(Path(sys.argv[1]), {"model": {"w": torch.ones(1000)}, "epoch": 3})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "nth", "epoch"), [("write_all", 1, 2), ("fsync", 1, 2), ("replace", 1, 2), ("fsync", 2, 3)]
)
def test_a_kill_while_saving_leaves_the_old_or_the_new_checkpoint(
    path: Path, saved: bytes, call: str, nth: int, epoch: int
):
    code = subprocess.run([sys.executable, "-c", KILLED, str(path), call, str(nth)], check=False).returncode

    assert code == 9
    assert load_checkpoint(path)["epoch"] == epoch
