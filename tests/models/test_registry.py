"""Models by name: what every one of them can do, and functions of one's own."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from imagekit.errors import ConfigError
from imagekit.models.registry import MODELS, check_model_name, create_model

KNOWN = "lesson-cnn, mini, xresnet18, xresnet26, xresnet34, xresnet50, xresnext50, xse-resnet50, xse-resnext50"


def _batch(n_channels: int) -> torch.Tensor:
    """Of an odd, oblong size, so small that the last convolutions of every model see one pixel."""
    return torch.randn(2, n_channels, 27, 18, generator=torch.Generator().manual_seed(0))


# what every model can do; their sizes are those of tests/models/test_xresnet.py and its neighbours


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the channels in the stages of the residual networks: a sixteenth of the time."""
    monkeypatch.setattr("imagekit.models.xresnet._FIRST_HIDDEN", 16)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_on_grey_images_in_full_precision(name):
    model = create_model(name, c_in=1, c_out=4)

    logits = model(_batch(1))
    F.cross_entropy(logits, torch.tensor([0, 3])).backward()

    assert logits.shape == (2, 4)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_in_bfloat16_and_keeps_channels_last(name):
    model, orders = create_model(name, c_in=3, c_out=4).to(memory_format=torch.channels_last), set()
    for module in model.modules():
        module.register_forward_hook(
            lambda _module, _input, y: orders.add(y.dim() < 4 or y.is_contiguous(memory_format=torch.channels_last))
        )

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(_batch(3).to(memory_format=torch.channels_last))
        F.cross_entropy(logits, torch.tensor([0, 3])).backward()

    assert (logits.shape, logits.dtype) == ((2, 4), torch.bfloat16)
    assert orders == {True}
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_a_function_of_its_seed_and_comes_back_from_its_state(name):
    torch.manual_seed(1)
    first = create_model(name, c_in=3, c_out=4, seed=5)
    torch.manual_seed(2)
    second = create_model(name, c_in=3, c_out=4, seed=5)
    other = create_model(name, c_in=3, c_out=4, seed=-6)

    state, same = first.state_dict(), second.state_dict()
    assert all(torch.equal(value, same[key]) for key, value in state.items())
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert list(other.load_state_dict(state)) == [[], []]
    batch = _batch(3)
    assert torch.equal(other.eval()(batch), first.eval()(batch))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", MODELS)
def test_every_model_pickles(name):
    model = create_model(name, c_in=3, c_out=4).eval()

    loaded = pickle.loads(pickle.dumps(model))

    assert torch.equal(loaded(_batch(3)), model(_batch(3)))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", MODELS)
def test_no_model_reads_a_value_in_its_forward(name):
    """On the meta device there are none: whatever makes a real device wait is an error there."""
    options = {} if name == "lesson-cnn" else {"blur": True}
    with torch.device("meta"):
        model = create_model(name, c_in=3, c_out=4, norm="running", **options)

        assert model(torch.empty(2, 3, 64, 64)).shape == (2, 4)


def test_making_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)

    create_model("lesson-cnn", c_in=3, c_out=10)

    assert torch.equal(torch.rand(4), expected)


# names


@pytest.mark.parametrize("check", [check_model_name, lambda name: create_model(name, c_in=3, c_out=10)])
def test_an_unknown_model_is_refused_with_the_nearest_name(check):
    with pytest.raises(ConfigError) as caught:
        check("xresnet-18")

    assert str(caught.value) == (
        'model is "xresnet-18", which is not known\n'
        "  where: model\n"
        f'  fix: did you mean "xresnet18"? known: {KNOWN}; or write "package.module:function" for one of your own'
    )


@pytest.mark.parametrize("name", [":f", "a:", "a:b:c", "a..b:f", ".a:f", "a b:f", "a/b.py:f", "a:f()", "a:b.c"])
@pytest.mark.parametrize("check", [check_model_name, lambda name: create_model(name, c_in=3, c_out=10)])
def test_a_malformed_name_of_a_function_is_refused(check, name):
    with pytest.raises(ConfigError) as caught:
        check(name)

    assert str(caught.value) == (
        f'model is "{name}", which is no name of a function\n'
        "  where: model\n"
        '  fix: write it as "package.module:function", with dots between the parts of the module and one colon'
    )


@pytest.mark.parametrize("name", [*MODELS, "no_such_module:function", "no.such.module:Function"])
def test_checking_a_good_name_says_nothing_and_imports_nothing(name):
    before = set(sys.modules)

    check_model_name(name)

    assert set(sys.modules) == before


def test_an_unknown_option_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        create_model("lesson-cnn", c_in=3, c_out=10, nf=[32])

    assert str(caught.value) == (
        'model "lesson-cnn" has no option "nf"\n'
        "  where: model.nf\n"
        '  fix: did you mean "nfs"? known: act, leak, max_value, nfs, norm, sub'
    )


# functions of one's own


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package own_models on the search path: good.py has every function below, others are written by a test."""
    package = tmp_path / "own_models"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "good.py").write_text(
        dedent("""
            import torch
            from torch import nn

            torch.manual_seed(0)
            constant = 3

            def net(c_in, c_out, *, width=4):
                return nn.Sequential(nn.Conv2d(c_in, width, 3), nn.Flatten(), nn.LazyLinear(c_out))

            def anything(**options):
                return nn.Conv2d(options["c_in"], options["c_out"], options["size"])

            def no_c_out(c_in, n_classes=10):
                return nn.Identity()

            def needs_depth(c_in, c_out, depth):
                return nn.Identity()

            def nothing(c_in, c_out):
                return None

            def boom(c_in, c_out, width=4):
                raise KeyError("width")

            class Net(nn.Conv2d):
                def __init__(self, c_in, c_out):
                    super().__init__(c_in, c_out, 3)
        """),
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "own_models"]:
        del sys.modules[name]


def test_a_function_of_ones_own_makes_the_model(own_models):
    model = create_model("own_models.good:net", c_in=3, c_out=5, width=7)

    assert model[0].weight.shape == (7, 3, 3, 3)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_a_class_or_a_function_of_any_options_makes_the_model_too(own_models):
    assert create_model("own_models.good:Net", c_in=3, c_out=5).weight.shape == (5, 3, 3, 3)
    assert create_model("own_models.good:anything", c_in=3, c_out=5, size=1).weight.shape == (5, 3, 1, 1)


def test_a_model_of_ones_own_is_a_function_of_the_seed_and_leaves_the_global_generator_alone(own_models):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)

    first, second, other = (create_model("own_models.good:Net", c_in=3, c_out=5, seed=seed) for seed in (7, 7, 8))

    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("no_such_package.module:net", "no_such_package"),
        ("own_models.missing:net", "own_models.missing"),
        ("own_models.good.deeper:net", "own_models.good.deeper"),
    ],
)
def test_a_module_that_is_not_there_is_named(own_models, name, missing):
    with pytest.raises(ConfigError) as caught:
        create_model(name, c_in=3, c_out=10)

    assert str(caught.value) == (
        f'model is "{name}", but there is no module {missing}\n'
        "  where: model\n"
        "  fix: check the name; if it is right, install its package or put its folder on PYTHONPATH"
    )


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import own_models.gone", "ModuleNotFoundError: No module named 'own_models.gone'"),
        (
            "from own_models.good import gone",
            "ImportError: cannot import name 'gone' from 'own_models.good' ({package}/good.py)",
        ),
        ("def net(:", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(2)", "SystemExit: 2"),
    ],
)
def test_a_module_that_fails_is_not_called_missing(own_models, code, failure):
    (own_models / "broken.py").write_text(code, encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        create_model("own_models.broken:net", c_in=3, c_out=10)

    assert str(caught.value) == (
        'model is "own_models.broken:net", but importing own_models.broken failed: '
        f"{failure.format(package=own_models)}\n"
        "  where: model\n"
        "  fix: repair it until python -c 'import own_models.broken' works"
    )
    assert caught.value.__cause__ is not None


def test_a_function_that_is_not_there_is_refused_with_the_nearest_name(own_models):
    with pytest.raises(ConfigError) as caught:
        create_model("own_models.good:nothin", c_in=3, c_out=10)

    assert str(caught.value) == (
        'model is "own_models.good:nothin", but module own_models.good has no nothin\n'
        "  where: model\n"
        '  fix: did you mean "nothing"? known: Net, anything, boom, needs_depth, net, no_c_out, nothing'
    )


def test_what_cannot_be_called_is_refused(own_models):
    with pytest.raises(ConfigError) as caught:
        create_model("own_models.good:constant", c_in=3, c_out=10)

    assert str(caught.value) == (
        'model is "own_models.good:constant", but constant is int, which cannot be called\n'
        "  where: model\n"
        "  fix: name a function or a class that takes c_in and c_out and makes the model"
    )


def test_a_function_that_does_not_take_the_counts_is_refused(own_models):
    with pytest.raises(ConfigError) as caught:
        create_model("own_models.good:no_c_out", c_in=3, c_out=10)

    assert str(caught.value) == (
        'model "own_models.good:no_c_out" takes no c_out\n'
        "  where: model\n"
        "  fix: let it begin with def no_c_out(c_in, c_out, ...)"
    )


def test_a_function_with_hidden_arguments_is_refused():
    with pytest.raises(ConfigError) as caught:
        create_model("builtins:dict", c_in=3, c_out=10)

    assert str(caught.value) == (
        'model "builtins:dict" does not say which arguments it takes\n'
        "  where: model\n"
        "  fix: put a Python function around it that takes c_in and c_out"
    )


def test_an_option_that_a_function_of_ones_own_does_not_take_is_refused(own_models):
    with pytest.raises(ConfigError) as caught:
        create_model("own_models.good:net", c_in=3, c_out=10, widht=3)

    assert str(caught.value) == (
        'model "own_models.good:net" has no option "widht"\n'
        "  where: model.widht\n"
        '  fix: did you mean "width"? known: width'
    )


def test_an_option_that_a_function_of_ones_own_needs_is_asked_for(own_models):
    with pytest.raises(ConfigError) as caught:
        create_model("own_models.good:needs_depth", c_in=3, c_out=10)

    assert str(caught.value) == (
        'model "own_models.good:needs_depth" needs a value for "depth"\n'
        "  where: model.depth\n"
        "  fix: give depth, or let it have a default"
    )
    assert isinstance(create_model("own_models.good:needs_depth", c_in=3, c_out=10, depth=2), nn.Identity)


def test_a_function_that_returns_no_module_is_refused(own_models):
    with pytest.raises(ConfigError) as caught:
        create_model("own_models.good:nothing", c_in=3, c_out=10)

    assert str(caught.value) == (
        'model "own_models.good:nothing" returned NoneType, must return a torch.nn.Module\n'
        "  where: model\n"
        "  fix: let the function return the model"
    )


@pytest.mark.parametrize(
    ("name", "options", "failure", "call"),
    [
        ("own_models.good:boom", {"width": 3}, "KeyError: 'width'", "c_in=3, c_out=10, width=3"),
        ("own_models.good:net", {"width": -1}, "RuntimeError: ", "c_in=3, c_out=10, width=-1"),
    ],
)
def test_a_model_that_fails_when_it_is_made_is_told_with_its_options(own_models, name, options, failure, call):
    with pytest.raises(ConfigError) as caught:
        create_model(name, c_in=3, c_out=10, **options)

    assert str(caught.value).startswith(f'model "{name}" cannot be made: {failure}')
    assert str(caught.value).endswith(
        f"\n  where: model\n  fix: correct its options, or repair it until it can be called with {call}"
    )


@pytest.mark.parametrize("nfs", [8, "64", None])
def test_widths_that_are_no_list_are_refused(nfs):
    with pytest.raises(ConfigError) as caught:
        create_model("lesson-cnn", c_in=3, c_out=10, nfs=nfs)

    assert str(caught.value) == (
        f"nfs is {nfs!r}, must be a list of whole numbers\n  where: lesson-cnn: nfs\n"
        "  fix: set nfs = [64, 64, 128, 256], or leave it out"
    )
