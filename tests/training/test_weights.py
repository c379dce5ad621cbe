"""Weights to start from: what fits goes in, what does not is said; a body that is held still stays still."""

from __future__ import annotations

import pytest
import torch
from learner.toy import conv_net, images, make_learner
from torch import nn

from imagekit.errors import CheckpointError
from imagekit.runs.checkpoint import save_checkpoint
from imagekit.training.weights import freeze_body, load_weights


def net(n_classes: int = 2, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, n_classes))


def test_a_state_dict_of_the_same_net_goes_in_whole(tmp_path):
    source, model = net(seed=1), net()
    torch.save(source.state_dict(), tmp_path / "w.pt")

    loaded = load_weights(model, tmp_path / "w.pt")

    assert all(a.equal(b) for a, b in zip(model.parameters(), source.parameters(), strict=True))
    assert str(loaded) == f"4 of the model's 4 tensors loaded from {tmp_path / 'w.pt'}"
    assert len(loaded.sha256) == 64


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_a_checkpoint_that_holds_the_weights_under_a_key_will_do(tmp_path, key):
    source, model = net(seed=1), net()
    torch.save({key: {f"module.{name}": value for name, value in source.state_dict().items()}}, tmp_path / "w.pt")

    assert len(load_weights(model, tmp_path / "w.pt").loaded) == 4


def test_a_checkpoint_of_our_own_will_do(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"model": net(seed=1).state_dict(), "vocab": ["a", "b"]})

    assert len(load_weights(net(), tmp_path / "c.pt").loaded) == 4


def test_a_head_for_other_classes_stays_as_it_is_and_is_named(tmp_path):
    model = net(5)
    head = model[1].weight.clone()
    state = net(2, seed=1).state_dict()
    del state["0.bias"]
    torch.save(state | {"2.weight": torch.zeros(1), "scale": torch.tensor(1.0)}, tmp_path / "w.pt")

    loaded = load_weights(model, tmp_path / "w.pt")

    assert model[0].weight.equal(state["0.weight"])
    assert model[1].weight.equal(head)
    assert str(loaded) == (
        f"1 of the model's 4 tensors loaded from {tmp_path / 'w.pt'};"
        " of another shape, left as they are: 1.weight (2x3 in the file, 5x3 in the model),"
        " 1.bias (2 in the file, 5 in the model); not in the file, left as they are: 0.bias;"
        " in the file alone: 2.weight, scale"
    )


def test_a_long_list_is_cut(tmp_path):
    more = {f"x{number}": torch.zeros(1) for number in range(8)}
    torch.save(net(seed=1).state_dict() | more, tmp_path / "w.pt")

    assert str(load_weights(net(), tmp_path / "w.pt")).endswith("in the file alone: x0, x1, x2, x3, x4, and 3 more")


def test_weights_of_another_net_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(2, 2)}, tmp_path / "w.pt")

    with pytest.raises(CheckpointError) as caught:
        load_weights(net(), tmp_path / "w.pt")

    assert str(caught.value) == (
        "none of its 1 tensors fits the model, conv.weight for one; the model has 0.weight for one\n"
        f"  where: {tmp_path / 'w.pt'}\n  fix: give --model and its options as these weights were trained with"
    )


def test_running_statistics_alone_are_no_weights(tmp_path):
    state = {name: value for name, value in conv_net().state_dict().items() if "running" in name}
    torch.save(state, tmp_path / "w.pt")

    with pytest.raises(CheckpointError, match="none of its 4 tensors fits the model"):
        load_weights(conv_net(seed=1), tmp_path / "w.pt")


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        load_weights(net(), tmp_path / "none.pt")

    assert str(caught.value) == (
        f"the weights cannot be read: No such file or directory\n  where: {tmp_path / 'none.pt'}\n  fix: check the path"
    )


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut"])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)

    with pytest.raises(CheckpointError) as caught:
        load_weights(net(), tmp_path / "w.pt")

    assert str(caught.value) == (
        f"the file holds no weights that can be read safely\n  where: {tmp_path / 'w.pt'}\n"
        "  fix: give a checkpoint of imagekit, or what torch.save(model.state_dict(), FILE) wrote"
    )


def test_no_code_in_a_file_is_run(tmp_path, capsys):
    torch.save({"model": Evil()}, tmp_path / "w.pt")

    with pytest.raises(CheckpointError, match="no weights that can be read safely"):
        load_weights(net(), tmp_path / "w.pt")

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {}}, {"epoch": 3}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")

    with pytest.raises(CheckpointError) as caught:
        load_weights(net(), tmp_path / "w.pt")

    assert str(caught.value) == (
        f"the file holds no state_dict\n  where: {tmp_path / 'w.pt'}\n"
        "  fix: give a checkpoint of imagekit, or what torch.save(model.state_dict(), FILE) wrote"
    )


def test_a_frozen_body_learns_nothing_and_measures_nothing():
    class Data:
        train_dl, valid_dl = images([8, 8], seed=0), images([8], seed=1)

    model = conv_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learner = make_learner(Data(), freeze_body(model), model=model)

    learner.fit(1)

    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"7.weight", "7.bias"}
