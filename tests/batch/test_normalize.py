"""Bytes to floats, floats to normalised floats."""

from __future__ import annotations

import pytest
import torch

from imagekit.batch.normalize import Normalize, ToFloat
from imagekit.batch.pipeline import BatchPipeline
from imagekit.errors import ConfigError, ShapeError

_MEAN, _STD = [0.47, 0.48, 0.45], [0.29, 0.28, 0.30]


def _bytes(n: int = 2, height: int = 5, width: int = 7, n_channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (n, height, width, n_channels), dtype=torch.uint8, generator=generator)
    return packed.permute(0, 3, 1, 2)  # channels_last, as loaders ship it


def test_every_byte_becomes_exactly_its_255th():
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)

    result = ToFloat()(values)

    assert torch.equal(result.flatten(), torch.arange(256) / 255)
    assert result.max() == 1.0


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_bytes_become_floats_where_they_lie(layout):
    batch = _bytes().contiguous(memory_format=layout)

    result = ToFloat()(batch)

    assert (result.shape, result.dtype) == ((2, 3, 5, 7), torch.float32)
    assert result.is_contiguous(memory_format=layout)
    assert torch.equal(result, batch / 255)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-12), (torch.bfloat16, 3e-2)])
def test_normalised_is_minus_mean_over_std_per_channel(layout, dtype, atol):
    batch = ToFloat()(_bytes()).to(dtype, memory_format=layout)
    mean, std = (torch.tensor(values, dtype=dtype)[:, None, None] for values in (_MEAN, _STD))

    result = Normalize(_MEAN, _STD)(batch)

    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=layout)
    assert torch.allclose(result, (batch - mean) / std, atol=atol)


def test_a_batch_normalised_by_its_own_statistics_has_mean_0_and_std_1():
    batch = ToFloat()(_bytes(8, 32, 32))

    result = Normalize(batch.mean((0, 2, 3)).tolist(), batch.std((0, 2, 3)).tolist())(batch)

    assert torch.allclose(result.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(result.std((0, 2, 3)), torch.ones(3), atol=1e-5)


def test_normalising_leaves_its_input_alone():
    batch = ToFloat()(_bytes())
    before = batch.clone()

    Normalize(_MEAN, _STD)(batch)

    assert torch.equal(batch, before)


@pytest.mark.parametrize("n_channels", [1, 3, 4, 13])
def test_any_number_of_channels_can_be_normalised(n_channels):
    normalize = Normalize([0.5] * n_channels, [0.25] * n_channels)

    for height, width in ((5, 7), (9, 2), (5, 7)):
        batch = ToFloat()(_bytes(2, height, width, n_channels))

        assert torch.allclose(normalize(batch), (batch - 0.5) / 0.25, atol=1e-6)


def test_bytes_are_normalised_in_one_product_with_the_division():
    batch, mean, std = _bytes(), torch.tensor(_MEAN)[:, None, None], torch.tensor(_STD)[:, None, None]

    result = BatchPipeline([Normalize(_MEAN, _STD), ToFloat()])(batch)

    assert torch.allclose(result, (batch / 255 - mean) / std, atol=2e-6)


def test_transforms_tell_their_options_in_plain_types():
    assert ToFloat().to_dict() == {"name": "ToFloat"}
    assert Normalize(_MEAN, torch.tensor([0.5, 0.5, 0.5])).to_dict() == {
        "name": "Normalize",
        "mean": _MEAN,
        "std": [0.5, 0.5, 0.5],
    }


@pytest.mark.parametrize(
    ("dtype", "fix"), [(torch.float32, "leave ToFloat out for floats"), (torch.int64, "give bytes, 0 to 255")]
)
def test_only_bytes_go_through_the_byte_step(dtype, fix):
    with pytest.raises(ShapeError) as caught:
        ToFloat()(torch.zeros(2, 3, 5, 7, dtype=dtype))

    assert str(caught.value) == f"the batch is {dtype} [2, 3, 5, 7], must be uint8\n  where: ToFloat\n  fix: {fix}"


@pytest.mark.parametrize(
    ("dtype", "fix"), [(torch.uint8, "put ToFloat before it"), (torch.int16, "give bytes, 0 to 255, or floats")]
)
def test_only_floats_are_normalised(dtype, fix):
    with pytest.raises(ShapeError) as caught:
        Normalize(_MEAN, _STD)(torch.zeros(2, 3, 5, 7, dtype=dtype))

    assert str(caught.value) == f"the batch is {dtype} [2, 3, 5, 7], must be floats\n  where: Normalize\n  fix: {fix}"


def test_a_batch_with_other_channels_than_the_statistics_is_refused():
    with pytest.raises(ShapeError) as caught:
        Normalize(_MEAN, _STD)(torch.zeros(2, 1, 5, 7))

    assert str(caught.value) == (
        "the batch has 1 channels, Normalize was given 3 means\n"
        "  where: Normalize\n"
        "  fix: give one mean and std per channel"
    )


@pytest.mark.parametrize(
    ("mean", "std"), [([0.5], [0.2, 0.2]), ([], []), ([0.5], [0.0]), ([0.5], [-1.0]), ([float("nan")], [1.0])]
)
def test_statistics_that_cannot_be_are_refused(mean, std):
    with pytest.raises(ConfigError) as caught:
        Normalize(mean, std)

    assert str(caught.value) == (
        f"mean is {mean} and std is {std}, must be one of each per channel, std above 0\n"
        "  where: Normalize\n"
        "  fix: pass the manifest's train mean and std"
    )
