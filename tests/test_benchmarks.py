"""The benchmarks measure what they say: a device is waited for, every transform has its line."""

from __future__ import annotations

import importlib.util
import inspect
import os
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch

from imagekit.manifest.read import read_manifest
from imagekit.pixels import turbo
from imagekit.transforms import crops, flips, resize, tensors, warp
from imagekit.transforms.items import ItemTransform

SCRIPTS = Path(__file__).parent.parent / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
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


def test_every_way_of_loading_has_a_figure(manifest_path, monkeypatch):
    bench, decoder = script("bench_loader"), turbo.load_turbo()
    variants = [each for each in bench.every_variant(0) if each.part != "step"]
    results = {}

    for variant in variants:
        monkeypatch.setattr(turbo, "_module", decoder)
        results[variant] = bench.measure(variant, manifest_path, batch_size=1, limit=None)
        assert (turbo.load_turbo() is None) is not variant.has_turbo

    assert len(results) == 9
    for variant, result in results.items():
        assert [epoch["images"] for epoch in result["epochs"]] == [12] * (1 if variant.cache == "none" else 3)
        assert bench.rate_of(variant, result) > 0


def test_a_loader_s_rate_is_counted_as_the_peers_count(monkeypatch):
    # the clock starts with a batch that counts, and so says nothing of how long ten batches took
    bench = script("bench_loader")
    ticks = iter([0.0, 100.0, 101.0, 102.0, 103.0])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(ticks))

    epoch = bench.measure_epoch([bench.synthetic_batch(4, 8)] * 13)

    assert epoch == {"images": 52, "seconds": 103.0, "images_per_s": 52 / 103, "counted_per_s": 12 / 2}


def test_threads_make_the_batches_of_the_loader(manifest_path):
    bench = script("bench_loader")
    transforms = bench.train_item_transforms(bench.CONFIGS["crop, flip"])
    dataset = bench.ManifestDataset(bench.read_manifest(manifest_path), "train", transforms=transforms)

    by_threads = list(bench.by_threads(dataset, batch_size=5, n_threads=2))

    by_loader = list(bench.Loader(dataset, batch_size=5, shuffle=True, n_workers=0))
    assert [len(batch.y) for batch in by_threads] == [5, 5, 2]
    assert all(
        one.x.equal(other.x) and one.rows.equal(other.rows) for one, other in zip(by_threads, by_loader, strict=True)
    )


def test_a_step_is_timed_on_a_batch_that_is_there_already_and_on_the_loader_s(manifest_path):
    bench = script("bench_loader")
    variants = [each for each in bench.every_variant(0) if each.part == "step"]
    synthetic, loaded = variants[0], next(each for each in variants if each.cache == "ram" and each.by == "loader")

    results = {each: bench.measure(each, manifest_path, batch_size=6, limit=None) for each in (synthetic, loaded)}

    assert {each["steps"] for each in results.values()} == {2}
    assert all(each["ms_per_step"] > 0 and 0 <= each["data_wait"] < 1 for each in results.values())
    by_name = {each.name: result for each, result in results.items()}
    assert bench.ratios_of(synthetic, by_name) == {"synthetic": 1.0}


def test_the_lines_of_a_peer_are_read(capsys):
    bench = script("bench_loader")

    rates = bench.read_rates("loading\ntorchvision v1 2 workers         1234 img/s\nmine  56.5 img/s\n")

    assert rates == {"torchvision v1 2 workers": 1234.0, "mine": 56.5}
    with pytest.raises(SystemExit, match="no line like `name 1234 img/s`"):
        bench.read_rates("Traceback")


def test_the_name_of_every_row_is_looked_up_in_the_benchmark_of_rows(manifest_path, monkeypatch):
    bench, seen = script("bench_rows"), []
    manifest = bench.tile(bench.read_manifest(manifest_path), 500)
    monkeypatch.setattr(bench.NamedRows, "row_name", lambda self, row: seen.append(row))

    result = bench.measure(manifest, n_workers=0, batch_size=4)

    assert sorted(seen) == list(range(450))
    assert (result["rows"], result["images"]) == (500, 450)
    assert len(result["samples"]) == bench.N_SAMPLES
    assert all(each[0] > 10e6 for each in result["samples"])


def test_memory_that_grows_is_told():
    bench = script("bench_rows")
    flat = bench.summary([[300_000_000, 50_000_000, 60_000_000]] * 20)

    grown = bench.summary([[300_000_000, 50_000_000, 60_000_000], [300_000_000, 90_000_000, 60_000_000]])

    assert (flat["is_flat"], flat["is_under_bar"], flat["growth_of_workers_bytes"]) == (True, True, [0, 0])
    assert (grown["is_flat"], grown["greatest_bytes"]) == (False, 450_000_000)
    assert grown["growth_of_workers_bytes"] == [40_000_000, 0]


def test_kills_are_everywhere_and_of_every_variant():
    bench = script("measure_resume")

    kills = bench.plan(20, n_epochs=3, n_train=10, n_valid=2, seed=0)

    assert {kill.variant for kill in kills} == set(bench.VARIANTS)
    assert sum(kill.first.is_valid for kill in kills) == 4
    assert {kill.first.epoch for kill in kills} == {0, 1, 2}
    assert all(kill.second >= kill.first for kill in kills if kill.second)
    assert len({kill.variant for kill in kills if kill.second}) >= 5
    # the gradient of the batch before it waits for the step
    averaged = [kill.first for kill in kills if kill.variant.is_averaged and not kill.first.is_valid]
    assert averaged and all(place.batch % 2 for place in averaged)
    assert kills == bench.plan(20, n_epochs=3, n_train=10, n_valid=2, seed=0)


def test_a_run_is_killed_as_it_begins_the_batch_and_no_other(monkeypatch):
    bench, killed = script("measure_resume"), []
    monkeypatch.setattr(bench.os, "kill", lambda pid, number: killed.append((pid, number)))
    callback = bench.KillHere(bench.Place(1, False, 4))
    places = [(1, True, 3), (1, False, 4), (0, True, 4), (1, True, 4)]

    for epoch, in_train, i_batch in places:
        callback.learner = SimpleNamespace(epoch=epoch, in_train=in_train, i_batch=i_batch)
        callback.begin_batch()

    assert killed == [(os.getpid(), signal.SIGKILL)]


@pytest.mark.parametrize("change", ["value", "name", "type", "shape"])
def test_other_weights_have_another_digest(change):
    sha256 = script("measure_resume").weights_sha256
    weights = {"a": torch.ones(2, 3), "b": torch.zeros(())}
    others = {
        "value": {"a": torch.ones(2, 3), "b": -torch.zeros(())},  # equal to 0, and not its bytes
        "name": {"b": torch.ones(2, 3), "a": torch.zeros(())},
        "type": {"a": torch.ones(2, 3), "b": torch.zeros((), dtype=torch.int32)},
        "shape": {"a": torch.ones(3, 2), "b": torch.zeros(())},
    }

    digest = sha256(others[change])

    assert digest != sha256(weights)
    assert sha256({name: tensor.clone() for name, tensor in weights.items()}) == sha256(weights)


def test_a_part_of_a_manifest_is_a_manifest(manifest_path, tmp_path):
    bench = script("measure_resume")

    path = bench.write_part(bench.read_manifest(manifest_path), 9, tmp_path / "part.parquet")

    splits = bench.read_manifest(path).table["split"].to_pylist()
    assert len(splits) == 9
    assert set(splits) == {"train", "valid"}


def test_times_alone_may_differ_between_runs_that_are_the_same(manifest_path, tmp_path):
    bench = script("measure_resume")
    config = {"model": "mini", "size": 16, "epochs": 1, "batch_size": 4}
    runs = {"one": {}, "same": {}, "other": {"seed": 1}}

    for name, more in runs.items():
        settings = bench.TrainConfig(**config, **more).to_dict()
        task = {"run": str(tmp_path / name), "root": str(manifest_path.parent), "config": settings}
        bench.be_killed(manifest_path, task | {"running": {}, "place": None})

    one, same, other = (bench.digests(tmp_path / name) for name in runs)
    assert one == same
    assert {name for name in one if one[name] == other[name]} == set()


def test_a_training_on_noise_takes_as_many_steps_and_images(manifest_path, tmp_path, monkeypatch):
    bench = script("bench_train")
    monkeypatch.setattr(bench.training, "load", bench.load_noise)
    config = bench.TrainConfig(model="mini", size=16, epochs=2, batch_size=5, lr=1e-3)

    report = bench.training.train(manifest_path, output=tmp_path / "run", config=config, quiet=True)

    assert (report.timing["batches"], report.timing["images"]) == (6, 24)
    assert set(bench.OF_TIMING) <= set(report.timing)
    assert len(pq.read_table(tmp_path / "run" / "predictions.parquet")) == 6


def test_a_measured_training_says_what_it_trained(manifest_path):
    bench = script("bench_train")
    options = ["--model", "mini", "--size", "16", "--epochs", "1", "--batch-size", "5", "--set", "model_options.stem=4"]

    result = bench.run_ours(["-m", "imagekit"], manifest_path, 3, options)

    expected = {"model": "mini", "model_options": {"stem": 4}, "size": 16, "epochs": 1, "batch_size": 5, "seed": 3}
    assert result.facts["settings"] == expected
    assert 0 <= result.accuracy <= 1
    assert 0 <= result.facts["train_accuracy"] <= 1


def test_noise_is_one_batch_that_lies_there_already(manifest_path):
    bench = script("bench_train")
    config = bench.TrainConfig(size=16, batch_size=5)
    real = bench.make_loaders(read_manifest(manifest_path), config, root=None, n_workers=0, pin=False)

    noise = bench.SameBatch(real.train_dl, torch.device("cpu"))

    batches, wanted = list(noise), list(real.train_dl)
    assert [batch.x.shape for batch in batches] == [batch.x.shape for batch in wanted]
    assert [batch.x.stride() for batch in batches[:2]] == [batch.x.stride() for batch in wanted[:2]]
    assert len({batch.x.data_ptr() for batch in batches}) == 1
    assert all(batch.x.is_contiguous(memory_format=torch.channels_last) for batch in batches)


def test_a_training_beside_others_is_told_as_ratios(capsys):
    bench = script("bench_train")
    ours = [bench.Result(0.7, 110.0, {}), bench.Result(0.72, 120.0, {})]

    bench.report({"imagekit": ours, "synthetic": [bench.Result(None, 100.0, {})] * 2})

    assert capsys.readouterr().out.splitlines() == [
        "imagekit  mean accuracy 0.7100 (sd 0.0141), mean 115.0 s",
        "synthetic mean 100.0 s",
        "wall time, imagekit / synthetic: 1.10, 1.20, mean 1.15, the bar is 1.15: kept",
    ]
