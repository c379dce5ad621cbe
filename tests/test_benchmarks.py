"""The benchmarks measure what they say: a device is waited for, every transform has its line."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import torch

from imagekit.transforms import crops, flips, resize, tensors, warp
from imagekit.transforms.items import ItemTransform

SCRIPTS = Path(__file__).parent.parent / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_call_on_a_gpu_is_waited_for_before_and_after(monkeypatch):
    # a kernel is only launched when its call returns: the lesson's 81 us were those of a launch
    log: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("wait"))

    script("bench_batch").cost_ms(lambda: log.append("run"), "cuda", n=2)

    assert log == ["run"] * 3 + ["wait", "run", "wait"] * 2


def test_the_whole_of_a_batch_is_measured_from_bytes_to_floats():
    runs = script("bench_batch").systems(4, 16, "cpu")

    shapes = {name: (tuple(run().shape), run().dtype) for name, run in runs.items()}

    assert set(shapes.values()) == {((4, 3, 16, 16), torch.float32)}


def test_every_transform_has_a_line_in_the_table_of_costs():
    measured = {type(transform) for _, transform in script("bench_transforms").every_transform()}

    modules = (crops, flips, resize, tensors, warp)
    kinds = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    ready = {kind for kind in kinds if issubclass(kind, ItemTransform) and kind.apply is not ItemTransform.apply}
    abstract = {crops.Crop, warp._Warp}
    assert ready - abstract == measured


def test_a_transform_is_applied_with_draws_of_its_own():
    cost_us = script("bench_transforms").cost_us

    assert 0 < cost_us(crops.RandomResizedCrop(8), 30, 20, n=3) < 1e6


def test_the_learner_and_the_loop_by_hand_learn_the_same_in_the_benchmark(tmp_path):
    # else the difference in time would be that of other work
    bench = script("bench_learner")
    data = bench.Loaders(bench.Clocked(bench.batches(3, seed=1)), bench.Clocked(bench.batches(2, seed=2)))
    by_hand, ours = bench.model("cpu"), bench.model("cpu")

    bench.train_by_hand(by_hand, data, device="cpu")
    bench.Learner(ours, data, loss_func=bench.F.cross_entropy, opt_func=bench.torch.optim.SGD, lr=bench.LR).fit(1)

    assert ours.weight.equal(by_hand.weight)
    assert len(data.train_dl.seconds()) == 3


def test_every_line_of_the_learner_s_benchmark_has_a_figure(tmp_path):
    rounds = script("bench_learner").measure(tmp_path, n_batches=4, n_rounds=1, device="cpu")

    assert list(rounds[0])[:2] == ["by hand", "bare Learner"]
    assert list(rounds[0])[-1] == "+ run log"
    assert all(min(cost.train + cost.valid) > 0 and cost.rest > 0 for cost in rounds[0].values())
    assert len(script("bench_learner").over_by_hand_us(rounds, "bare Learner", "train")) == 1
