"""Random numbers as pure functions of (seed, epoch, sample id, stream, index): a splitmix64 counter hash.

No generator and no state: the draw of an image does not depend on its batch, the worker, the device or where a
run was resumed. With S(z) = mix(z + GAMMA), all arithmetic modulo 2**64:

    key(seed, epoch, id)  = S(S(S(seed) ^ epoch) ^ id)
    start(key, stream)    = S(key ^ first 8 bytes of sha256(stream), little-endian)
    draw(key, stream, i)  = (mix(start + (i + 1) * GAMMA) >> 11) / 2**53

so the draws of a stream are the outputs of the published splitmix64 generator started at `start`.
Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"; constants of Vigna's splitmix64.c.

Shapes: B batch, N draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from imagekit.errors import ShapeError

_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def make_keys(*, seed: int, epoch: int, ids_B: Tensor) -> Tensor:
    """One 64-bit key per sample of one epoch; different ids never share a key within a (seed, epoch).

    ids_B: any integer dtype, any device. seed, epoch: any integers, taken modulo 2**64. Returns int64 [B] on the
    device of the ids. Raises ShapeError if the ids are not one axis of integers.
    """
    if ids_B.ndim != 1 or ids_B.is_floating_point() or ids_B.is_complex() or ids_B.dtype == torch.bool:
        raise ShapeError(
            f"sample ids have shape {list(ids_B.shape)} and dtype {ids_B.dtype}, must be one axis of integers",
            where="make_keys: ids_B",
            fix="pass the rows' positions as an int64 tensor of shape [B]",
        )
    base = _step_word(_step_word(seed & _WORD) ^ (epoch & _WORD))
    return _mix((ids_B.to(torch.int64) ^ _signed(base)) + _signed(_GAMMA))


def uniform(keys_B: Tensor, *, stream: str, n: int = 1) -> Tensor:
    """n uniform numbers in [0, 1) per key, 53 bits each; the same bits on every device.

    keys_B: int64, as `make_keys` returns. stream: the name that keeps one use of randomness apart from another.
    Asking for more draws never changes the earlier ones. Returns float64 [B, N] on the device of the keys.
    Raises ShapeError if the keys are not int64 [B].
    """
    return uniform_streams(keys_B, [(stream, n)])


def uniform_streams(keys_B: Tensor, streams: Sequence[tuple[str, int]]) -> Tensor:
    """The draws of several streams side by side, n of each (name, n): what `uniform` gives for one after another.

    keys_B: int64. Returns float64 [B, N], N the sum of all n, on the device of the keys. One pass over all numbers:
    0.1 ms for 64 keys and ten streams, where ten calls take 0.6. Raises ShapeError if the keys are not int64 [B].
    """
    if keys_B.ndim != 1 or keys_B.dtype != torch.int64:
        raise ShapeError(
            f"keys have shape {list(keys_B.shape)} and dtype {keys_B.dtype}, must be int64 of shape [B]",
            where="uniform: keys_B",
            fix="make the keys with make_keys(seed=..., epoch=..., ids_B=...)",
        )
    words_N, counters_N = _words_and_counters(tuple(streams), keys_B.device)
    start_BN = _mix((keys_B[:, None] ^ words_N) + _signed(_GAMMA))
    bits_BN = _shift_right(_mix(start_BN + counters_N), 11)
    return bits_BN.to(torch.float64) * 2.0**-53


@lru_cache(maxsize=256)
def _words_and_counters(streams: tuple[tuple[str, int], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """For each draw the word of its stream and (i + 1) * GAMMA, int64 [N] each; only to be read."""
    words = [_stream_word(name) for name, n in streams for _ in range(n)]
    counts = [i for _, n in streams for i in range(1, n + 1)]
    counters_N = torch.tensor(counts, dtype=torch.int64, device="cpu") * _signed(_GAMMA)
    return torch.tensor(words, dtype=torch.int64, device="cpu").to(device), counters_N.to(device)


def _stream_word(stream: str) -> int:
    """The signed 64-bit word that stands for a stream's name."""
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little", signed=True)


def _mix(z: Tensor) -> Tensor:
    """The finalizer of splitmix64, elementwise; torch's int64 products wrap modulo 2**64 on every device."""
    z = (z ^ _shift_right(z, 30)) * _signed(_MULTIPLIER_1)
    z = (z ^ _shift_right(z, 27)) * _signed(_MULTIPLIER_2)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, n_bits: int) -> Tensor:
    """Logical shift: torch shifts int64 arithmetically, so the copies of the sign bit are masked away."""
    return (z >> n_bits) & ((1 << (64 - n_bits)) - 1)


def _step_word(z: int) -> int:
    """S of the module docstring on one Python integer; seed and epoch are scalars, no tensor is worth its cost."""
    z = (z + _GAMMA) & _WORD
    z = ((z ^ (z >> 30)) * _MULTIPLIER_1) & _WORD
    z = ((z ^ (z >> 27)) * _MULTIPLIER_2) & _WORD
    return z ^ (z >> 31)


def _signed(word: int) -> int:
    """The int64 with the same bits; torch refuses Python integers above 2**63 - 1."""
    return word - (1 << 64) if word >> 63 else word
