"""Hooks come off whatever happens, and the statistics they collect are those of the outputs."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import subprocess
import sys
import weakref
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imagekit.errors import ConfigError, ShapeError, TrainingError
from imagekit.models.hooks import (
    EXACT_COUNT,
    Hook,
    Hooks,
    LayerStats,
    append_stats,
    find_modules,
    fit_input,
    path_of,
    stack_stats,
    undisturbed,
)


def _noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _model():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def _n_hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def _count(hook, module, inputs, output):
    hook.n = getattr(hook, "n", 0) + 1


def _fail(hook, module, inputs, output):
    raise ValueError("inside the hook")


def test_a_hook_is_called_with_itself_the_module_its_inputs_and_its_output():
    model, seen = nn.Linear(4, 2), []

    with Hook(model, lambda *given: seen.append(given)) as hook:
        x = _noise(1, 4)
        output = model(x)

    assert seen[0][0] is hook
    assert seen[0][1] is model
    assert seen[0][2][0] is x
    assert seen[0][3] is output


def test_what_a_hook_returns_does_not_replace_the_output():
    model, x = nn.Linear(4, 2), _noise(1, 4)
    expected = model(x)

    with Hook(model, lambda hook, module, inputs, output: output * 0):
        result = model(x)

    assert torch.equal(result, expected)


def test_a_hook_remembers_after_it_came_off():
    model = nn.Linear(4, 2)

    with Hook(model, _count) as hook:
        model(_noise(1, 4))
    model(_noise(1, 4))

    assert hook.n == 1
    assert _n_hooks(model) == 0


def test_removing_twice_does_no_harm():
    model = nn.Linear(4, 2)
    hook = Hook(model, _count)

    hook.remove()
    hook.remove()

    assert _n_hooks(model) == 0


def test_an_exception_in_the_with_block_takes_all_hooks_off():
    model = _model()

    with pytest.raises(RuntimeError, match="own"), Hooks(model.children(), _count):
        raise RuntimeError("my own")

    assert _n_hooks(model) == 0


def test_an_exception_inside_a_hook_comes_through_and_takes_all_hooks_off():
    model = _model()

    with pytest.raises(ValueError, match="inside the hook"), Hooks(model.children(), _fail):
        model(_noise(1, 4))

    assert _n_hooks(model) == 0


def test_a_module_that_is_none_is_refused_and_the_hooks_before_it_come_off():
    model = _model()

    with pytest.raises(ConfigError) as caught:
        Hooks([model[0], model[1], "linear"], _count)

    assert str(caught.value) == (
        "a hook was given a str, it needs a torch module\n"
        "  where: Hook: module\n"
        "  fix: pass a part of the model, model[0] say"
    )
    assert _n_hooks(model) == 0


def test_one_module_instead_of_a_list_is_refused():
    with pytest.raises(ConfigError) as caught:
        Hooks(nn.Linear(1, 1), _count)

    assert str(caught.value) == (
        "hooks were given one Linear, they need a list of modules\n"
        "  where: Hooks: modules\n"
        "  fix: pass a list, model.children() or find_modules(model, ...) say"
    )


@pytest.mark.parametrize("kind", [Hook, lambda model, f: Hooks([model], f)])
def test_a_hook_comes_off_with_its_last_reference(kind):
    model = nn.Linear(4, 2)
    hook = kind(model, _count)

    before = _n_hooks(model)
    del hook
    gc.collect()

    assert before == 1
    assert _n_hooks(model) == 0


def test_a_hook_does_not_keep_the_model_alive():
    model = _model()
    hooks = Hooks(model.children(), _count)
    gone = weakref.ref(model)

    del model
    gc.collect()

    assert gone() is None
    hooks.remove()


def test_a_copy_or_a_pickle_of_a_watched_model_is_not_watched():
    model = nn.Linear(4, 2)

    with Hook(model, _count) as hook:
        copy.deepcopy(model)(_noise(1, 4))
        pickle.loads(pickle.dumps(model))(_noise(1, 4))
        model(_noise(1, 4))

    assert hook.n == 1


@pytest.mark.slow
def test_hooks_left_on_are_quiet_at_the_end_of_the_interpreter():
    code = (
        "from torch import nn; from imagekit.models.hooks import Hooks, append_stats\n"
        "model = nn.Linear(1, 1); hooks = Hooks([model], append_stats)"
    )

    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stderr) == (0, "")


def test_hooks_are_a_sequence():
    model = _model()

    with Hooks(model.children(), _count) as hooks:
        assert len(hooks) == 3
        assert list(hooks) == [hooks[0], hooks[1], hooks[-1]]
        assert hooks[1:] == [hooks[1], hooks[2]]
        assert hooks[[True, False, True]] == [hooks[0], hooks[2]]
        assert hooks[np.array([False, True, False])] == [hooks[1]]


@pytest.mark.parametrize(
    ("which", "left"),
    [(1, [0, 2]), (-1, [0, 1]), (slice(0, 2), [2]), ([True, False, True], [1]), (slice(0, 0), [0, 1, 2])],
)
def test_deleting_items_takes_these_hooks_off_alone(which, left):
    model = _model()
    hooks = Hooks(model.children(), _count)
    kept = [hooks[number] for number in left]

    del hooks[which]

    assert list(hooks) == kept
    assert [number for number, module in enumerate(model) if module._forward_hooks] == left


def test_a_mask_of_another_length_says_both():
    hooks = Hooks(_model().children(), _count)

    with pytest.raises(ShapeError) as caught:
        hooks[[True, False]]

    assert str(caught.value) == (
        "the mask has 2 entries, there are 3 hooks\n  where: Hooks\n  fix: give one True or False a hook"
    )


def test_an_index_beyond_the_hooks_is_an_index_error():
    hooks = Hooks(_model().children(), _count)

    with pytest.raises(IndexError):
        hooks[3]
    with pytest.raises(IndexError):
        del hooks[3]

    assert len(hooks) == 3


def test_modules_are_found_depth_first_and_not_inside_a_find():
    inner = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    model = nn.Sequential(nn.Sequential(inner, nn.Linear(1, 1)), nn.Linear(1, 1))

    linears = find_modules(model, lambda module: isinstance(module, nn.Linear))
    pairs = find_modules(model, lambda module: len(list(module.children())) == 2)
    leaves = find_modules(model[0], lambda module: module is inner or isinstance(module, nn.Linear))

    assert linears == [inner[0], model[0][1], model[1]]
    assert pairs == [model]
    assert leaves == [inner, model[0][1]]


def test_a_module_used_twice_is_found_once():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(1, 1), relu, nn.Sequential(nn.Linear(1, 1), relu))

    assert find_modules(model, lambda module: isinstance(module, nn.ReLU)) == [relu]
    assert find_modules(model, lambda module: isinstance(module, nn.Conv2d)) == []


def test_a_path_is_the_name_in_the_state():
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 1)))

    assert [path_of(model, module) for module in (model, model[0][0], nn.ReLU())] == ["(model)", "0.0", ""]


def test_input_takes_the_models_float_type_and_keeps_whole_numbers():
    model = nn.Linear(1, 1).double()

    assert fit_input(model, torch.zeros(1)).dtype == torch.float64
    assert fit_input(model, torch.zeros(1, dtype=torch.int64)).dtype == torch.int64
    assert fit_input(nn.ReLU(), torch.zeros(1)).dtype == torch.float32


@pytest.mark.parametrize("training", [False, True])
def test_a_forward_without_a_trace_changes_nothing(training):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout()).train()
    model[1].eval()
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()

    with undisturbed(model, training=training):
        assert [module.training for module in model.modules()] == [training] * 4
        first = model(_noise(8, 4))
        assert not first.requires_grad
        assert torch.equal(model[1].running_mean, before["1.running_mean"]) is not training

    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_forward_without_a_trace_repeats_its_dropout_and_restores_after_an_exception():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout())
    results = []

    for seed in (1, 2):
        torch.manual_seed(seed)
        with pytest.raises(RuntimeError, match="stop"), undisturbed(model, training=True):
            results.append(model(_noise(8, 4)))
            raise RuntimeError("stop")

    assert torch.equal(*results)
    assert model[0].num_batches_tracked == 0


def test_a_buffer_that_autograd_holds_is_not_written():
    model = nn.BatchNorm1d(4).eval()
    loss = model(_noise(8, 4)).sum()

    with undisturbed(model, training=False):
        model(_noise(8, 4))

    loss.backward()
    assert model.weight.grad is not None


def _telemetry(outputs, stats=append_stats, model=None):
    model = model or nn.Identity()
    with Hooks([model], stats) as hooks:
        for output in outputs:
            model(output)
    return stack_stats(hooks)


@settings(deadline=None, max_examples=25)
@given(
    values=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40),
    n_bins=st.integers(1, 12),
    low=st.integers(-8, 3),
    span=st.integers(1, 9),
)
def test_statistics_are_those_of_the_values(values, n_bins, low, span):
    x = np.array(values, dtype=np.float32)

    telemetry = _telemetry([torch.tensor(x)], LayerStats(n_bins=n_bins, value_range=(low, low + span), near_zero=1))

    assert telemetry.means_LT[0, 0] == pytest.approx(x.mean(), abs=1e-5)
    assert telemetry.stds_LT[0, 0] == pytest.approx(x.std(ddof=1) if len(x) > 1 else 0, abs=1e-4)
    assert telemetry.near_zero_LT[0, 0] == pytest.approx((abs(x) < 1).mean())
    assert telemetry.hists_LTN.shape == (1, 1, n_bins)
    assert telemetry.hists_LTN.sum() == len(x)


def test_the_histogram_is_numpys_with_the_rest_in_the_end_bins():
    x = _noise(1000) * 6

    hist = _telemetry([x]).hists_LTN[0, 0]

    expected, _ = np.histogram(x.numpy().clip(0, 10), bins=40, range=(0, 10))
    assert hist.tolist() == expected.tolist()


def test_the_near_zero_share_of_a_relu_is_that_of_the_first_two_bins():
    telemetry = _telemetry([_noise(16, 500)], model=nn.ReLU())
    hist = telemetry.hists_LTN[0, 0]

    assert telemetry.near_zero_LT[0, 0] == pytest.approx(hist[:2].sum() / hist.sum(), abs=1e-6)


def test_a_layer_with_nine_tenths_of_its_values_dead_is_seen():
    x = torch.ones(10, 100)
    x[1:] = -1

    assert _telemetry([x], model=nn.ReLU()).near_zero_LT[0, 0] == pytest.approx(0.9)


def test_telemetry_has_an_axis_of_layers_and_one_of_steps():
    model = _model()

    with Hooks(model, append_stats) as hooks:
        for step in range(5):
            model(_noise(8, 4) + step)
    telemetry = stack_stats(hooks)

    assert telemetry.names == ("0 Linear", "1 ReLU", "2 Linear")
    assert telemetry.means_LT.shape == telemetry.stds_LT.shape == telemetry.near_zero_LT.shape == (3, 5)
    assert telemetry.hists_LTN.shape == (3, 5, 40)
    assert (telemetry.value_range, telemetry.near_zero) == ((0.0, 10.0), 0.5)
    for step in range(5):
        output = model[0](_noise(8, 4) + step)
        assert telemetry.means_LT[0, step] == pytest.approx(output.mean().item(), abs=1e-6)


def test_telemetry_can_be_saved_and_loaded(tmp_path):
    telemetry = _telemetry([_noise(8)])

    np.savez(tmp_path / "telemetry.npz", **asdict(telemetry))

    with np.load(tmp_path / "telemetry.npz") as loaded:
        assert loaded["names"].tolist() == ["0 Identity"]
        assert np.array_equal(loaded["hists_LTN"], telemetry.hists_LTN)


def test_collecting_leaves_output_and_gradient_alone():
    model, x = _model(), _noise(8, 4)
    expected = model(x)

    with Hooks(model, append_stats) as hooks:
        result = model(x)
    result.sum().backward()

    assert torch.equal(result, expected)
    assert not hooks[0].stats.moments[0].requires_grad
    assert model[0].weight.grad is not None


def test_evaluation_is_left_out_unless_asked_for():
    model = nn.Identity()

    with Hooks([model], append_stats) as hooks, Hooks([model], LayerStats(in_eval=True)) as in_both:
        model(_noise(8))
        model.eval()
        model(_noise(8))

    assert stack_stats(hooks).means_LT.shape == (1, 1)
    assert stack_stats(in_both).means_LT.shape == (1, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_collecting_does_not_wait_for_a_gpu():
    model, x = nn.ReLU(), _noise(64, 100).cuda()

    with Hooks([model], append_stats) as hooks:
        model(x)
        torch.cuda.set_sync_debug_mode("error")
        try:
            model(x)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    telemetry, expected = stack_stats(hooks), _telemetry([x.cpu()] * 2, model=nn.ReLU())
    assert np.array_equal(telemetry.hists_LTN, expected.hists_LTN)
    assert telemetry.stds_LT == pytest.approx(expected.stds_LT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_other_types_are_counted_in_float32(dtype):
    x = torch.arange(600).to(dtype)

    telemetry = _telemetry([x])

    assert telemetry.means_LT[0, 0] == pytest.approx(x.float().mean().item())  # 256 bfloat16 ones sum to no more
    assert telemetry.hists_LTN[0, 0].sum() == 600
    assert telemetry.means_LT.dtype == np.float32


def test_a_channels_last_output_has_the_same_statistics():
    x = _noise(2, 3, 4, 5)

    plain, last = _telemetry([x]), _telemetry([x.to(memory_format=torch.channels_last)])

    assert np.array_equal(plain.hists_LTN, last.hists_LTN)
    assert plain.stds_LT == pytest.approx(last.stds_LT)


def test_values_that_are_no_numbers_are_in_no_bin():
    telemetry = _telemetry([torch.tensor([math.nan, math.inf, -math.inf, 1.0])])

    assert math.isnan(telemetry.means_LT[0, 0])
    assert telemetry.near_zero_LT[0, 0] == 0
    assert telemetry.hists_LTN[0, 0].sum() == 3
    assert telemetry.hists_LTN[0, 0, [0, 39]].tolist() == [1, 1]


def test_an_empty_batch_has_no_statistics():
    telemetry = _telemetry([torch.zeros(0, 4)])

    assert math.isnan(telemetry.means_LT[0, 0])
    assert telemetry.hists_LTN.sum() == 0


def test_a_large_output_is_counted_in_parts(monkeypatch):
    monkeypatch.setattr("imagekit.models.hooks.EXACT_COUNT", 7)

    assert _telemetry([torch.zeros(20)]).hists_LTN[0, 0, 0] == 20
    assert EXACT_COUNT == 2**24


def test_an_output_that_is_a_tuple_is_refused_by_name():
    model = nn.GRU(2, 2)

    with Hooks([model], append_stats), pytest.raises(ConfigError) as caught:
        model(_noise(1, 1, 2))

    assert str(caught.value) == (
        "a GRU gives a tuple, statistics need one tensor\n"
        "  where: LayerStats\n"
        "  fix: hook a module that gives one tensor"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"n_bins": 0},
            "n_bins is 0, must be at least 1\n  where: LayerStats: n_bins\n  fix: leave it out for 40",
        ),
        (
            {"value_range": (1, 1)},
            "value_range is (1, 1), must be two finite numbers, the lower first\n"
            "  where: LayerStats: value_range\n"
            "  fix: leave it out for (0.0, 10.0)",
        ),
        (
            {"near_zero": 0},
            "near_zero is 0, must be above 0 and finite\n  where: LayerStats: near_zero\n  fix: leave it out for 0.5",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(ConfigError) as caught:
        LayerStats(**options)

    assert str(caught.value) == words


def test_hooks_that_saw_nothing_say_so():
    model = nn.Identity().eval()

    with Hooks([model], append_stats) as hooks:
        model(_noise(3))
    with pytest.raises(TrainingError) as caught:
        stack_stats(hooks)

    assert str(caught.value) == (
        "the hooks saw no forward in training mode\n"
        "  where: stack_stats\n"
        "  fix: call model.train() before the forward, or collect with LayerStats(in_eval=True)"
    )


def test_layers_that_ran_unequally_often_are_named():
    model = _model()

    with Hooks(model, append_stats) as hooks:
        model(_noise(1, 4))
        model[1](_noise(1, 4))
    with pytest.raises(TrainingError) as caught:
        stack_stats(hooks)

    assert str(caught.value) == (
        'layer "1 ReLU" ran 2 times, layer "0 Linear" 1 times\n'
        "  where: stack_stats\n"
        "  fix: hook modules that run once a step"
    )


@pytest.mark.parametrize(
    ("modules", "f", "words"),
    [([nn.ReLU()], _count, "the hooks collect no statistics"), ([], append_stats, "there are no hooks")],
)
def test_hooks_without_statistics_are_refused(modules, f, words):
    with pytest.raises(ConfigError) as caught:
        stack_stats(Hooks(modules, f))

    assert str(caught.value) == (
        f"{words}\n  where: stack_stats: hooks\n  fix: make them with Hooks(modules, append_stats), one module at least"
    )


def test_names_are_one_a_hook():
    model = nn.Identity()
    with Hooks([model], append_stats) as hooks:
        model(_noise(3))

    with pytest.raises(ConfigError) as caught:
        stack_stats(hooks, names=["a", "b"])

    assert stack_stats(hooks, names=["only"]).names == ("only",)
    assert str(caught.value) == "there are 2 names and 1 hooks\n  where: stack_stats: names\n  fix: give one a hook"
