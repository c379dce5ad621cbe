"""The loaders of a training run: one to learn from, one to validate on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from imagekit.data.batches import Collate, SampleSource, collate
from imagekit.data.dataset import ManifestDataset
from imagekit.data.loaders import Loader, OnError, check_one_label, valid_split
from imagekit.errors import ConfigError
from imagekit.manifest.read import Manifest
from imagekit.transforms.order import Transform


def get_dls(
    train_ds: SampleSource,
    valid_ds: SampleSource,
    bs: int,
    *,
    num_workers: int = 0,
    collate: Collate = collate,
    pin_memory: bool = False,
    balance_by: Tensor | None = None,
    on_error: OnError = "stop",
) -> tuple[Loader[Any], Loader[Any]]:
    """A train loader that shuffles anew in each epoch, and a valid loader of twice the batch that never does.

    The valid batch is twice as large, for no gradients are kept there. num_workers: processes that make batches, 0 for
    none. collate: makes a batch of a list of Samples. balance_by: class ids of the train rows: each class then comes
    equally often. on_error: "stop" or "skip", as Loader says.
    Raises ConfigError for a dataset without `samples` and `seed`.
    Source: fast.ai course v3, lesson 9.
    """
    for dataset in (train_ds, valid_ds):
        if not (hasattr(dataset, "samples") and hasattr(dataset, "seed")):
            raise ConfigError(
                f"a {type(dataset).__name__} cannot be loaded by key: it has no `samples` and `seed`",
                where="get_dls",
                fix="give LabeledData, an ItemList or a ManifestDataset, or use torch's own DataLoader",
            )
    options: dict[str, Any] = {
        "n_workers": num_workers,
        "collate": collate,
        "pin_memory": pin_memory,
        "on_error": on_error,
    }
    train = Loader(train_ds, batch_size=bs, shuffle=True, balance_by=balance_by, **options)
    return train, Loader(valid_ds, batch_size=2 * bs, shuffle=False, **options)


class DataBunch:
    """A train and a valid loader, and how many channels and classes a model for them has (None where nobody said).

    Loaders, or what stands for one: a DeviceLoader, a DeviceFeed.
    """

    def __init__(
        self,
        train_dl: Any,
        valid_dl: Any,
        c_in: int | None = None,
        c_out: int | None = None,
    ) -> None:
        self.train_dl, self.valid_dl, self.c_in, self.c_out = train_dl, valid_dl, c_in, c_out

    @classmethod
    def from_manifest(
        cls,
        manifest: Manifest,
        *,
        train_transforms: Iterable[Transform],
        valid_transforms: Iterable[Transform],
        batch_size: int = 64,
        n_workers: int = 0,
        seed: int = 0,
        root: Path | None = None,
        collate: Collate = collate,
        pin_memory: bool = False,
        balance: bool = False,
        on_error: OnError = "stop",
    ) -> DataBunch:
        """Loaders over the manifest's train rows and those that `valid_split` names.

        balance: every class comes equally often in training. on_error: as Loader says.
        Raises ManifestError when a split is empty, or when the manifest has several label columns.
        """
        check_one_label(manifest)
        train = ManifestDataset(manifest, "train", transforms=train_transforms, root=root, seed=seed)
        valid = ManifestDataset(manifest, valid_split(manifest), transforms=valid_transforms, root=root, seed=seed)
        loaders = get_dls(
            train,
            valid,
            batch_size,
            num_workers=n_workers,
            collate=collate,
            pin_memory=pin_memory,
            on_error=on_error,
            balance_by=train.targets() if balance else None,
        )
        return cls(*loaders, c_in=3, c_out=len(manifest.vocab))

    @property
    def train_ds(self) -> Any:
        """The dataset that is learnt from."""
        return self.train_dl.dataset

    @property
    def valid_ds(self) -> Any:
        """The dataset that is validated on."""
        return self.valid_dl.dataset

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch of the train loader, and its first batch; the valid loader never changes."""
        self.train_dl.set_epoch(epoch, first_batch)

    def close(self) -> None:
        """End the worker processes of both."""
        self.train_dl.close()
        self.valid_dl.close()
