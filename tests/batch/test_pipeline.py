"""Batch transforms as one: the order, the draws, how often pixels are read, and what runs on the device."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from imagekit.batch.erase import RandomErasing
from imagekit.batch.fused import _mix, sample
from imagekit.batch.geometry import Dihedral, Flip, Rotate, Shear, Shift, Stretch, Warp, Zoom
from imagekit.batch.lighting import Brightness, Contrast, Hue, Saturation
from imagekit.batch.matrices import flip, rotation, zoom
from imagekit.batch.mix import _upper_beta_table
from imagekit.batch.normalize import Normalize, ToFloat
from imagekit.batch.pipeline import BatchPipeline
from imagekit.batch.sampling import pixel_centres
from imagekit.batch.transform import BatchTransform, Colour, Geometry, Pixels
from imagekit.errors import ConfigError, ShapeError
from imagekit.transforms.draws import _words_and_counters, make_keys, uniform

NORMALIZE = Normalize([0.47, 0.48, 0.45], [0.29, 0.28, 0.3])


def _keys(n: int, *, epoch: int = 0) -> torch.Tensor:
    return make_keys(seed=0, epoch=epoch, ids_B=torch.arange(n))


def _bytes(n: int = 6, height: int = 20, width: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)
    return packed.permute(0, 3, 1, 2)


def _whole_chain() -> list[BatchTransform]:
    geometry = [Flip(), Rotate(), Zoom(), Shift(), Shear(), Stretch(), Warp()]
    return [ToFloat(), *geometry, Brightness(), Contrast(), Saturation(), Hue(), NORMALIZE]


def test_the_order_of_the_list_does_not_matter_where_orders_differ():
    chain = [ToFloat(), Rotate(), Brightness(), NORMALIZE]

    forwards, backwards = BatchPipeline(chain), BatchPipeline(reversed(chain))

    assert [type(t).__name__ for t in backwards.transforms] == ["ToFloat", "Rotate", "Brightness", "Normalize"]
    assert torch.equal(forwards(_bytes(), _keys(6)), backwards(_bytes(), _keys(6)))


def test_the_whole_chain_equals_its_steps_one_after_another_up_to_interpolation():
    # a picture of two waves, so that the one interpolation and the seven agree
    y, x = torch.meshgrid(torch.linspace(0, 3, 64), torch.linspace(0, 3, 64), indexing="ij")
    batch = ((torch.stack([x.sin(), y.cos() / 2 + 0.5, x.cos() / 2 + 0.5])[None] * 255).round()).to(torch.uint8)
    batch, chain = batch.repeat(4, 1, 1, 1), _whole_chain()

    at_once = BatchPipeline(chain)(batch, _keys(4))

    one_by_one = batch
    for transform in chain:
        one_by_one = transform(one_by_one, _keys(4))
    assert torch.allclose(at_once[..., 16:-16, 16:-16], one_by_one[..., 16:-16, 16:-16], atol=0.1)
    assert at_once.std() > 0.5


def test_all_geometry_is_one_interpolation(monkeypatch):
    calls = []
    real = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", lambda *args, **kwargs: calls.append(len(args[0])) or real(*args, **kwargs))

    BatchPipeline(_whole_chain())(_bytes(6), _keys(6))

    assert sum(calls) == 6


def test_colour_before_geometry_is_a_step_of_its_own():
    class EarlyContrast(Contrast):
        _order = 5

    names = [type(step).__name__ for step in BatchPipeline([EarlyContrast(), Rotate(), NORMALIZE]).steps]

    assert names == ["Fused", "Fused"]


def test_matrices_are_multiplied_in_the_order_of_the_transforms():
    keys, batch = _keys(6), _bytes() / 255
    transforms = [Flip(), Rotate(p=1.0), Zoom(p=1.0)]

    result = BatchPipeline(transforms)(batch, keys)

    u = [uniform(keys, stream=t.stream, n=t.n_draws) for t in transforms]
    matrix = flip(u[0][:, 0] < 0.5) @ rotation((2 * u[1][:, 1] - 1) * 10, aspect=24 / 20) @ zoom(1 + u[2][:, 1] * 0.1)
    assert torch.allclose(result, sample(batch, matrix), atol=1e-6)


def test_the_same_transform_twice_draws_twice():
    pipeline = BatchPipeline([Rotate(p=1.0), Rotate(p=1.0)])

    draws = pipeline.draw(_keys(50))

    assert draws.shape == (50, 4)
    assert not torch.equal(draws[:, :2], draws[:, 2:])
    assert list(pipeline.hypers()) == ["rotate.max_degrees", "rotate.p", "rotate#2.max_degrees", "rotate#2.p"]


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(12)), batch_size=st.integers(1, 12))
def test_an_image_is_changed_alike_in_any_batch(order, batch_size):
    batch, pipeline = _bytes(12), BatchPipeline([*_whole_chain(), RandomErasing()])
    whole = pipeline(batch, _keys(12))

    for start in range(0, 12, batch_size):
        rows = torch.tensor(order[start : start + batch_size])

        part = pipeline(batch[rows].contiguous(memory_format=torch.channels_last), _keys(12)[rows])

        assert torch.allclose(part, whole[rows], atol=1e-5)


def test_no_bit_depends_on_the_number_of_threads(set_threads):
    batch, pipeline = _bytes(20), BatchPipeline([*_whole_chain(), RandomErasing()])
    set_threads(1)
    alone = pipeline(batch, _keys(20))
    set_threads(2)

    shared = pipeline(batch, _keys(20))

    assert torch.equal(alone, shared)


def test_images_of_a_batch_and_epochs_differ():
    batch, pipeline = _bytes(1).repeat(8, 1, 1, 1), BatchPipeline(_whole_chain())

    first, second = pipeline(batch, _keys(8)), pipeline(batch, _keys(8, epoch=1))

    assert len({tuple(image.flatten().tolist()) for image in first}) == 8
    assert not torch.equal(first, second)


def test_draws_are_values_that_can_be_stored_and_replayed():
    pipeline = BatchPipeline(_whole_chain())
    draws = torch.tensor(pipeline.draw(_keys(6)).tolist(), dtype=torch.float64)

    replayed = pipeline.apply(_bytes(), draws)

    assert torch.equal(replayed, pipeline(_bytes(), _keys(6)))


def test_another_size_is_read_in_the_same_interpolation():
    batch = _bytes(3, 20, 24)

    result = BatchPipeline([ToFloat(), Rotate(max_degrees=0)], size=(12, 10))(batch, _keys(3))

    expected = F.interpolate(batch.float() / 255, size=(10, 12), mode="bilinear")
    assert result.shape == (3, 3, 10, 12)
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_modes_and_paddings_are_those_of_grid_sample(mode, padding_mode):
    batch = _bytes() / 255
    pipeline = BatchPipeline([Rotate(p=1.0, max_degrees=45)], mode=mode, padding_mode=padding_mode)

    result = pipeline(batch, _keys(6))

    degrees = (2 * pipeline.draw(_keys(6))[:, 1] - 1) * 45
    theta = rotation(degrees, aspect=24 / 20)[:, :2].float()
    grid = F.affine_grid(theta, [6, 3, 20, 24], align_corners=False)
    expected = F.grid_sample(batch, grid, mode=mode, padding_mode=padding_mode, align_corners=False)
    differs = (result - expected).abs() > 1e-4
    assert differs.double().mean() < (0.01 if mode == "nearest" else 1e-9)  # a tie between two pixels is a coin's fall


@pytest.mark.parametrize("n_channels", [1, 3, 4, 13])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
def test_any_channels_layout_and_type_come_out_as_they_went_in(n_channels, layout, dtype):
    batch = torch.rand(3, n_channels, 8, 10, generator=torch.Generator().manual_seed(0))
    batch = (batch * 255).to(dtype) if dtype == torch.uint8 else batch.to(dtype)
    batch = batch.contiguous(memory_format=layout)
    start = [ToFloat()] if dtype == torch.uint8 else []
    chain = [*start, Flip(), Rotate(), Brightness(), Normalize([0.5] * n_channels, [0.2] * n_channels)]

    result = BatchPipeline(chain)(batch, _keys(3))

    assert result.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert result.is_contiguous(memory_format=layout)
    plain = BatchPipeline(chain)(batch.contiguous(), _keys(3))
    assert torch.allclose(result.float(), plain.float(), atol=1e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("n", [0, 1])
def test_batches_of_none_and_of_one_are_batches(n):
    result = BatchPipeline([*_whole_chain(), RandomErasing()])(_bytes(n), _keys(n))

    assert result.shape == (n, 3, 20, 24)
    assert result.isfinite().all()


def test_the_input_is_left_alone_and_nothing_is_differentiated():
    batch = (_bytes() / 255).requires_grad_()
    before = batch.detach().clone()

    result = BatchPipeline(_whole_chain()[1:])(batch, _keys(6))

    assert torch.equal(batch, before)
    assert not result.requires_grad


def test_autocast_changes_nothing():
    pipeline = BatchPipeline(_whole_chain())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = pipeline(_bytes(), _keys(6))

    assert torch.equal(inside, pipeline(_bytes(), _keys(6)))


def test_without_strength_bytes_come_back_as_their_255th_to_the_last_bit():
    pipeline = BatchPipeline([ToFloat(), Flip(p=0), Rotate(p=0), Warp(magnitude=0)])

    assert torch.equal(pipeline(_bytes(), _keys(6)), _bytes() / 255)


def test_functions_of_ones_own_take_their_place():
    class AddKeys:
        needs_keys, _order = True, 50

        def __call__(self, x: torch.Tensor, keys_B: torch.Tensor) -> torch.Tensor:
            return x + (keys_B % 7)[:, None, None, None]

    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    result = BatchPipeline([AddKeys(), NORMALIZE, double])(_bytes() / 255, _keys(6))

    by_hand = NORMALIZE(_bytes() / 255 * 2 + (_keys(6) % 7)[:, None, None, None])
    assert torch.allclose(result, by_hand, atol=1e-5)


def test_a_pipeline_can_be_copied_and_pickled():
    pipeline = BatchPipeline([*_whole_chain(), RandomErasing()])

    for again in (copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        assert torch.equal(again(_bytes(), _keys(6)), pipeline(_bytes(), _keys(6)))


def test_a_pipeline_tells_its_transforms():
    assert BatchPipeline([NORMALIZE, Rotate(max_degrees=5), torch.neg]).to_dict() == [
        {"name": "neg"},
        {"name": "Rotate", "max_degrees": 5, "p": 0.75},
        {"name": "Normalize", "mean": [0.47, 0.48, 0.45], "std": [0.29, 0.28, 0.3]},
    ]


def test_a_hyper_set_by_name_is_that_of_the_transform():
    rotate = Rotate(p=1.0)
    pipeline = BatchPipeline([rotate, NORMALIZE])

    pipeline.set_hyper("rotate.max_degrees", 3)

    assert rotate.max_degrees == 3


def test_an_unknown_hyper_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        BatchPipeline([Rotate()]).set_hyper("rotate.degrees", 3)

    assert str(caught.value) == (
        'no transform has a hyper "rotate.degrees"\n'
        "  where: BatchPipeline\n"
        '  fix: did you mean "rotate.max_degrees"? known: rotate.max_degrees, rotate.p'
    )


def test_missing_keys_are_said_with_who_needs_them():
    with pytest.raises(ShapeError) as caught:
        BatchPipeline([ToFloat(), Rotate(), Dihedral()])(_bytes())

    assert str(caught.value) == (
        "Rotate, Dihedral got no keys\n"
        "  where: BatchPipeline: keys_B\n"
        "  fix: make them with make_keys(seed=..., epoch=..., ids_B=...)"
    )


def test_keys_of_another_batch_are_refused():
    with pytest.raises(ShapeError) as caught:
        Rotate()(_bytes(6), _keys(5))

    assert str(caught.value) == (
        "the draws are [5, 2], must be [6, 2] for this batch\n  where: BatchPipeline\n  fix: pass one key an image"
    )


def test_a_batch_of_three_axes_is_refused():
    with pytest.raises(ShapeError) as caught:
        Rotate()(torch.zeros(3, 8, 8), _keys(3))

    assert str(caught.value) == (
        "the batch is torch.float32 [3, 8, 8], must be [B, C, H, W]\n"
        "  where: Rotate\n"
        "  fix: stack images to a batch; one alone is x[None]"
    )


def test_a_kind_of_ones_own_must_say_what_it_does():
    with pytest.raises(NotImplementedError, match="Pixels"):
        Pixels()(_bytes(1))


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("mode", "linear", 'mode is "linear", which is not known\n  where: BatchPipeline.mode\n  fix: did you mean'),
        ("padding_mode", "none", 'padding_mode is "none", which is not known\n  where: BatchPipeline.padding_mode\n'),
        ("size", 0, "size is 0, must be a side or (width, height) in whole pixels, at least 1\n  where: BatchPipeline"),
    ],
)
def test_options_that_cannot_be_are_refused(option, value, text):
    with pytest.raises(ConfigError) as caught:
        BatchPipeline([Rotate()], **{option: value})

    assert str(caught.value).startswith(text)


class _Count(TorchDispatchMode):
    """What a device other than the CPU has to do, on "meta" for one: kernels, and copies from the CPU.

    A kernel is every operator that is no view; a product with its bias is two.
    """

    VIEWS = ("view", "permute", "slice", "unsqueeze", "expand", "transpose", "select", "detach", "alias", "split")

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []
        self.copies: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.name().split("::")[1].split(".")[0]
        on_device = isinstance(result, torch.Tensor) and result.device.type == "meta"
        if on_device and not name.strip("_").startswith((*self.VIEWS, "empty")):
            from_cpu = any(isinstance(a, torch.Tensor) and a.device.type == "cpu" for a in args)
            (self.copies if from_cpu else self.kernels).extend([name] * (2 if name == "baddbmm" else 1))
        return result


@pytest.mark.parametrize(
    ("chain", "n_kernels", "n_copies"),
    [
        ([ToFloat(), NORMALIZE], 2, 1),
        ([ToFloat(), Flip(), NORMALIZE], 4, 1),  # half of the images stay as they are
        ([ToFloat(), Flip(), Rotate(), Zoom(), Shift(), NORMALIZE], 4, 1),
        ([*_whole_chain()], 6, 1),
        ([*_whole_chain(), RandomErasing()], 9, 2),
    ],
)
def test_a_device_gets_one_copy_and_has_at_most_six_things_to_do(chain, n_kernels, n_copies):
    pipeline, batch = BatchPipeline(chain), torch.empty_like(_bytes(16), device="meta")

    with _Count() as count:
        result = pipeline(batch, _keys(16))

    assert len(count.kernels) <= n_kernels, count.kernels
    assert len(count.copies) <= n_copies, count.copies
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_channels_are_mixed_alike_as_planes_and_pixel_by_pixel():
    # the second is how a GPU does it
    generator = torch.Generator().manual_seed(0)
    x, mix, shift = (torch.rand(*shape, generator=generator) for shape in ((2, 3, 5, 7), (2, 3, 3), (2, 3)))
    last = torch.empty(2, 3, 5, 7).contiguous(memory_format=torch.channels_last)

    as_planes = _mix(x, mix, shift, None)

    assert torch.allclose(_mix(x, mix, shift, last), as_planes, atol=1e-6)
    assert torch.allclose(last, as_planes, atol=1e-6)
    by_hand = torch.einsum("bij,bjhw->bihw", mix, x) + shift[:, :, None, None]
    assert torch.allclose(as_planes, by_hand, atol=1e-6)


class Swap(Colour):
    """Red and green swapped: a kind of one's own that says nothing of what it mixes."""

    def matrices(self, u_BN: torch.Tensor, *, n_channels: int) -> torch.Tensor:
        return torch.eye(4)[[1, 0, 2, 3]][None]


class Lean(Geometry):
    """A perspective of one's own, in single precision."""

    def matrices(self, u_BN: torch.Tensor, *, aspect: float) -> torch.Tensor:
        return torch.tensor([[1.0, 0, 0], [0, 1, 0.2], [0, 0.2, 1]]).repeat(len(u_BN), 1, 1)


class Noise(Pixels):
    """One draw an image added to all of it."""

    n_draws, stream = 1, "test.noise"

    def apply(self, x: torch.Tensor, u_BN: torch.Tensor) -> torch.Tensor:
        return x + u_BN[:, :, None, None].to(x.dtype)


def test_kinds_of_ones_own_are_done_in_full_and_in_their_place():
    batch = _bytes()

    result = BatchPipeline([Noise(), NORMALIZE, Swap(), Lean(), Rotate(p=0), ToFloat()])(batch, _keys(6))

    leaning = Lean().matrices(torch.empty(6, 0), aspect=1.0)
    swapped = sample(batch / 255, leaning)[:, [1, 0, 2]]
    noise = uniform(_keys(6), stream="test.noise")[:, :, None, None]
    assert torch.allclose(result, NORMALIZE(swapped) + noise.float(), atol=1e-5)


def test_a_kind_that_changes_shape_or_type_is_told():
    class Wide(Pixels):
        n_draws, stream = 1, "test.wide"

        def apply(self, x: torch.Tensor, u_BN: torch.Tensor) -> torch.Tensor:
            return x + u_BN[:, :, None, None]

    with pytest.raises(ShapeError) as caught:
        Wide()(_bytes(2) / 255, _keys(2))

    assert str(caught.value) == (
        "Wide made torch.float64 [2, 3, 20, 24] of torch.float32 [2, 3, 20, 24]\n"
        "  where: BatchPipeline\n"
        "  fix: let apply keep shape and dtype; draws are float64"
    )


def test_a_transform_of_no_kind_is_refused():
    class Nothing(BatchTransform):
        pass

    with pytest.raises(ConfigError) as caught:
        BatchPipeline([Nothing()])

    assert str(caught.value) == (
        "Nothing is a BatchTransform of no kind\n"
        "  where: BatchPipeline\n"
        "  fix: derive it from Geometry, Colour or Pixels"
    )


def test_bytes_become_floats_once():
    with pytest.raises(ShapeError) as caught:
        BatchPipeline([ToFloat(), ToFloat()])(_bytes())

    assert str(caught.value).startswith("the batch is torch.float32 [6, 3, 20, 24], must be uint8\n  where: ToFloat")


def test_a_size_alone_is_a_resize_without_keys():
    result = BatchPipeline([ToFloat(), NORMALIZE], size=(12, 10))(_bytes())

    expected = F.interpolate(_bytes() / 255, size=(10, 12), mode="bilinear")
    assert torch.allclose(result, NORMALIZE(expected), atol=1e-5)


def test_functions_alone_may_take_anything():
    def first(pair: tuple[int, int]) -> int:
        return pair[0]

    assert BatchPipeline([first])((4, 5)) == 4


def test_another_default_device_changes_nothing():
    expected = BatchPipeline(_whole_chain())(_bytes(), _keys(6))
    with torch.device("meta"):
        caches = (pixel_centres, _words_and_counters, _upper_beta_table)
        for cache in caches:
            cache.cache_clear()

        made = [
            pixel_centres(9, torch.device("cpu")),
            *_words_and_counters((("a", 2),), torch.device("cpu")),
            *_upper_beta_table(0.3),
        ]

    assert {tensor.device.type for tensor in made} == {"cpu"}
    assert torch.equal(BatchPipeline(_whole_chain())(_bytes(), _keys(6)), expected)


def test_what_was_kept_in_inference_mode_serves_those_who_want_gradients():
    pixel_centres.cache_clear()
    turn = rotation(torch.tensor([10.0]), aspect=1.0)
    with torch.inference_mode():
        sample(torch.rand(1, 3, 11, 11), turn)
    x = torch.rand(1, 3, 11, 11, requires_grad=True)

    sample(x, turn.clone()).sum().backward()

    assert x.grad is not None


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@gpu
def test_the_gpu_agrees_with_the_cpu_and_nobody_waits():
    pipeline, batch, keys = BatchPipeline([*_whole_chain(), RandomErasing()]), _bytes(16, 64, 64), _keys(16)
    on_gpu = batch.cuda()
    pipeline(on_gpu, keys)

    torch.cuda.set_sync_debug_mode("error")
    try:
        result = pipeline(on_gpu, keys)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(result.cpu(), pipeline(batch, keys), atol=1e-3)


@pytest.mark.gpu
@gpu
def test_the_gpu_runs_at_most_six_kernels_for_the_whole_chain():
    from torch.profiler import ProfilerActivity, profile

    pipeline, batch, keys = BatchPipeline(_whole_chain()), _bytes(16, 64, 64).cuda(), _keys(16)
    for _ in range(3):
        pipeline(batch, keys)

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        pipeline(batch, keys)
        torch.cuda.synchronize()

    kernels = [event.name for event in seen.events() if "Launch" in event.name]
    waits = [event.name for event in seen.events() if "StreamSynchronize" in event.name]
    assert len(kernels) <= 6, kernels
    assert waits == []


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("chain", [[ToFloat()], [ToFloat(), Flip(), NORMALIZE], [ToFloat(), Flip(), Hue(), NORMALIZE]])
def test_images_that_stay_as_they_are_make_nobody_wait(chain):
    pipeline, batch, keys = BatchPipeline(chain), _bytes(16, 64, 64), _keys(16)
    on_gpu = batch.cuda()
    pipeline(on_gpu, keys)

    torch.cuda.set_sync_debug_mode("error")
    try:
        result = pipeline(on_gpu, keys)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert torch.allclose(result.cpu(), pipeline(batch, keys), atol=1e-3)
