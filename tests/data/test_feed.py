"""Batches sent ahead: the same ones, in order, and the computing stream waits for each."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from imagekit.data.bunch import DataBunch
from imagekit.data.feed import DeviceFeed
from imagekit.data.loaders import Loader
from imagekit.manifest.read import read_manifest
from imagekit.transforms.crops import CenterCrop, RandomResizedCrop


class FakeCuda:
    """What a feed asks of torch.cuda, on the CPU; `told` is all of it, in order."""

    def __init__(self, monkeypatch):
        self.told = []
        self.computing = SimpleNamespace(wait_event=lambda event: self.told.append(("wait", event)))
        self.n_streams = self.n_sent = 0
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: self.told.append("record"))

    def Stream(self, device):
        self.n_streams += 1
        return SimpleNamespace(device=device, record_event=lambda: f"copy {self.n_sent}")

    @contextmanager
    def stream(self, stream):
        self.n_sent += 1
        self.told.append(("send", self.n_sent, str(stream.device)))
        yield

    def current_stream(self, device):
        return self.computing


def make_loader(path, **options):
    return DataBunch.from_manifest(
        read_manifest(path), train_transforms=[RandomResizedCrop(16)], valid_transforms=[CenterCrop(16)],
        batch_size=5, seed=5, **options,
    ).train_dl  # fmt: skip


def test_each_batch_is_sent_while_the_one_before_is_used_and_only_its_own_copy_is_waited_for(
    manifest_path, monkeypatch
):
    cuda, plain = FakeCuda(monkeypatch), make_loader(manifest_path)
    feed = DeviceFeed(make_loader(manifest_path), torch.device("cpu"), cuda=cuda)

    for epoch, first_batch in ((0, 0), (3, 1)):
        cuda.told.clear()
        for loader in (plain, feed):
            loader.set_epoch(epoch, first_batch)
        pairs = list(zip(plain, feed, strict=True))

        assert len(pairs) == 3 - first_batch
        assert all(a.x.equal(b.x) and a.y.equal(b.y) and a.keys.equal(b.keys) for a, b in pairs)
        assert [a.number for a, _ in pairs] == [b.number for _, b in pairs]
        n, sent = len(pairs), cuda.n_sent
        told = [("send", sent - n + 1, "cpu")]
        for number in range(sent - n + 2, sent + 1):
            told += [("send", number, "cpu"), ("wait", f"copy {number - 1}"), "record", "record"]
        assert cuda.told == [*told, ("wait", f"copy {sent}"), "record", "record"]
    assert cuda.n_streams == 1


def test_what_it_says_of_itself_is_the_loaders(manifest_path, monkeypatch):
    loader = make_loader(manifest_path)
    feed = DeviceFeed(loader, torch.device("cpu"), cuda=FakeCuda(monkeypatch))

    assert (len(feed), feed.batch_size, feed.n_samples, feed.dataset) == (3, 5, 12, loader.dataset)
    feed.close()


def test_skipped_are_those_of_the_batches_that_were_handed_out(manifest_path, monkeypatch):
    root = read_manifest(manifest_path).root
    loader = make_loader(manifest_path, on_error="skip")
    last = loader.dataset.file_names()[list(make_loader(manifest_path))[-1].rows[0]]
    (root / last).write_bytes(b"no picture")
    feed = DeviceFeed(loader, torch.device("cpu"), cuda=FakeCuda(monkeypatch))

    seen = [(len(batch.rows), len(feed.skipped)) for batch in feed]

    assert seen == [(5, 0), (5, 0), (1, 1)]
    assert len(feed.skipped) == 1


def test_what_a_collate_of_ones_own_makes_comes_as_it_is(manifest_path, monkeypatch):
    dataset = make_loader(manifest_path).dataset
    loader = Loader(dataset, batch_size=5, shuffle=False, n_workers=0, collate=len)

    assert list(DeviceFeed(loader, torch.device("cpu"), cuda=FakeCuda(monkeypatch))) == [5, 5, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_batches_are_the_same_and_lie_there(manifest_path):
    plain = make_loader(manifest_path)
    feed = DeviceFeed(make_loader(manifest_path, pin_memory=True), torch.device("cuda"))

    for one, other in zip(plain, feed, strict=True):
        assert other.x.is_cuda
        assert one.x.equal(other.x.cpu())
