"""The cache of a training run: chosen, made, and put behind its loaders."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from imagekit.data.bunch import DataBunch
from imagekit.data.caching import (
    SHARE_OF_FREE,
    Facts,
    Plan,
    Share,
    choose_cache,
    decode_rate,
    is_there,
    join,
    most_on_device,
    room_of,
    share_images,
)
from imagekit.data.dataset import ManifestDataset
from imagekit.data.device_cache import DeviceLoader, total_bytes, why_not
from imagekit.data.loaders import Loader
from imagekit.data.memory import free_memory
from imagekit.data.store import PixelStore
from imagekit.errors import ConfigError, ManifestError, OutputError
from imagekit.files.sizes import display_bytes
from imagekit.manifest.read import Manifest
from imagekit.training.config import TrainConfig
from imagekit.training.running import Running


@dataclass(frozen=True, kw_only=True, slots=True)
class Cached:
    """The data with its cache. plan: what it is and why."""

    manifest: Manifest
    data: DataBunch
    plan: Plan
    stores: Sequence[PixelStore] = ()

    @property
    def line(self) -> str | None:
        """What a person should hear of it; nothing where none was asked for."""
        return f"cache: {self.plan.kind}; {self.plan.why}" if self.plan.why else None

    def can_cache(self) -> tuple[int, int] | None:
        """The bytes that a cache in memory would need and that are free; None where there can be none."""
        shares, impossible = _shares(self.manifest, [self.data.train_ds, self.data.valid_ds])
        return None if impossible else (_n_bytes(shares), free_memory())

    def remarks(self) -> list[str]:
        """What went wrong with the stores while they were used."""
        remarks = damage(self.stores)
        if any(store.is_full for store in self.stores):
            remarks.append("the disk of the cache is full: the images that have no room are decoded in every epoch")
        return remarks

    def close(self) -> None:
        """End the workers, give the stores back."""
        self.data.close()
        for store in self.stores:
            store.close()


def damage(stores: Sequence[PixelStore]) -> list[str]:
    """A line on the images that were found damaged; none where none was."""
    n = sum(store.n_damaged for store in stores)
    return [f"{n:,} image{'s' * (n != 1)} in the cache {'was' if n == 1 else 'were'} damaged and decoded anew"] * (
        n > 0
    )


def with_cache(
    manifest: Manifest, data: DataBunch, config: TrainConfig, running: Running, *, n_epochs: int, device: torch.device
) -> Cached:
    """Put the cache that was asked for behind the loaders; `auto` chooses one, and does without where none can be.

    n_epochs: that are still to be trained. On a device the images are decoded here.
    Raises ConfigError, ManifestError or OutputError where the one that was asked for cannot be.
    """
    datasets: list[ManifestDataset] = [data.train_ds, data.valid_ds]
    if running.cache == "none":
        return Cached(manifest=manifest, data=data, plan=Plan(kind="none", why="", n_bytes=0))
    shares, impossible = _shares(manifest, datasets)
    if running.cache == "auto":
        plan, stores = _chosen(shares, _facts(data, shares, impossible, running, n_epochs=n_epochs, device=device))
    else:
        plan = _asked_for(running, shares, impossible, data, device)
        stores = _joined(shares, plan, running.cache_limit)
    if plan.kind == "device":
        return Cached(manifest=manifest, data=_on_device(data, config, running, device), plan=plan)
    return Cached(manifest=manifest, data=data, plan=plan, stores=stores)


def _chosen(shares: Sequence[Share], facts: Facts) -> tuple[Plan, Sequence[PixelStore]]:
    """What `auto` comes to: a store on disk that cannot be used is told, and no reason not to train."""
    plan = choose_cache(facts)
    try:
        return plan, _joined(shares, plan, facts.limit)
    except OutputError as error:
        other = choose_cache(replace(facts, there=False))
        told = replace(other, why=f"{other.why}; of one on the disk: {error.what}")
        return told, _joined(shares, told, facts.limit)


def _joined(shares: Sequence[Share], plan: Plan, limit: int | None) -> Sequence[PixelStore]:
    if plan.kind not in ("ram", "disk"):
        return []
    return join(shares, plan.kind, room_of(limit) if plan.kind == "disk" else None)


def _asked_for(
    running: Running,
    shares: Sequence[Share],
    impossible: ManifestError | None,
    data: DataBunch,
    device: torch.device,
) -> Plan:
    """Raises what stands in the way of the kind that was asked for."""
    limit = running.cache_limit
    if running.cache == "device":
        n_bytes, free = total_bytes([data.train_ds, data.valid_ds]), _free_on(device)
        if free is not None:
            most = most_on_device(free, limit)
            _require_memory(n_bytes, most, is_limit=most == limit, of="on the device", kind="device")
        return Plan(kind="device", why=f"as asked for, {display_bytes(n_bytes)}", n_bytes=n_bytes)
    if impossible is not None:
        raise impossible
    n_bytes = _n_bytes(shares)
    if running.cache == "ram":
        most = int(_free_beside(data) * SHARE_OF_FREE) if limit is None else limit
        _require_memory(n_bytes, most, is_limit=limit is not None, of="of memory", kind="ram")
    return Plan(kind=running.cache, why=f"as asked for, {display_bytes(n_bytes)}", n_bytes=n_bytes)


def _require_memory(n_bytes: int, most: int, *, is_limit: bool, of: str, kind: str) -> None:
    if n_bytes <= most:
        return
    most_in_words = f"the limit is {display_bytes(most)}" if is_limit else f"may take {display_bytes(most)}"
    raise ConfigError(
        f"the cache would take {display_bytes(n_bytes)} {of}, and {most_in_words}",
        where=f"--cache {kind}",
        fix="use --cache disk or none, a smaller presize or subset, or where more is free a greater --cache-limit",
    )


def _free_beside(data: DataBunch) -> int:
    """Free memory, less what the workers of both loaders will put their batches in."""
    slots_bytes: int = data.train_dl.slots_bytes + data.valid_dl.slots_bytes
    return max(0, free_memory() - slots_bytes)


def _shares(manifest: Manifest, datasets: Sequence[ManifestDataset]) -> tuple[Sequence[Share], ManifestError | None]:
    try:
        return share_images(manifest, datasets), None
    except ManifestError as error:
        return [], error


def _n_bytes(shares: Sequence[Share]) -> int:
    return sum(share.n_bytes for share in shares)


def _facts(
    data: DataBunch,
    shares: Sequence[Share],
    impossible: ManifestError | None,
    running: Running,
    *,
    n_epochs: int,
    device: torch.device,
) -> Facts:
    datasets: list[ManifestDataset] = [data.train_ds, data.valid_ds]
    can_gather = all(why_not(dataset) is None for dataset in datasets)
    return Facts(
        n_bytes=_n_bytes(shares),
        n_images=sum(len(dataset) for dataset in datasets),
        n_epochs=n_epochs,
        images_per_s=decode_rate(datasets[0]) * max(1, running.n_workers),
        free_memory=_free_beside(data),
        limit=running.cache_limit,
        there=impossible is None and _is_on_disk(shares, running.cache_limit),
        device_bytes=total_bytes(datasets) if can_gather else 0,
        on_device=_free_on(device) if can_gather else None,
        impossible=None if impossible is None else impossible.what,
    )


def _is_on_disk(shares: Sequence[Share], limit: int | None) -> bool:
    try:
        return is_there(shares, room_of(limit).folder)
    except OutputError:  # nowhere to look for it
        return False


def _free_on(device: torch.device) -> int | None:
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


def _on_device(data: DataBunch, config: TrainConfig, running: Running, device: torch.device) -> DataBunch:
    """The same batches, with the images of both datasets on the device."""
    balance_by = data.train_ds.targets() if config.balance else None
    train = _device_loader(data.train_dl, running, device, shuffle=True, balance_by=balance_by)
    valid = _device_loader(data.valid_dl, running, device, shuffle=False, balance_by=None)
    with ExitStack() as undone:
        for loader in (train, valid):
            undone.callback(loader.close)
            loader.fill()
        undone.pop_all()
    return DataBunch(train, valid, data.c_in, data.c_out)


def _device_loader(
    loader: Loader[Any],
    running: Running,
    device: torch.device,
    *,
    shuffle: bool,
    balance_by: torch.Tensor | None,
) -> DeviceLoader:
    dataset: ManifestDataset = loader.dataset
    decoder = Loader(
        dataset.as_kept(),
        batch_size=loader.batch_size,
        shuffle=False,
        n_workers=running.n_workers,
        on_error=running.on_error,
    )
    return DeviceLoader(
        dataset, batch_size=loader.batch_size, shuffle=shuffle, device=device, decoder=decoder, balance_by=balance_by
    )
