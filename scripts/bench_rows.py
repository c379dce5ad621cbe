"""What a million rows cost a loader: the memory of its process and workers over an epoch, and the order's seconds.

    python scripts/bench_rows.py MANIFEST [--rows 1281000] [--workers 4]

The rows of MANIFEST, again and again, make a manifest of --rows rows in memory. Its loader is gone through for an
epoch: order, jobs, keys, draws, and of each row its name, place and target are made or looked up as in training; but
images come from a store of 64, so nothing is decoded. Twenty times the proportional set size (PSS, in which a page that
several processes share counts once) of the process and its workers is added up. Linux only.

The bar: less than 1 GB together, and no growth. Prints the figures and adds a row to scripts/results/rows.jsonl.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imagekit.data.dataset import ManifestDataset
from imagekit.data.loaders import Loader
from imagekit.data.order import EpochBatches
from imagekit.data.store import Layout, PixelStore, memory_store
from imagekit.environment import collect
from imagekit.manifest.read import Manifest, read_manifest
from imagekit.transforms.crops import CenterCrop
from imagekit.transforms.flips import RandomFlip
from imagekit.transforms.tensors import MakeRGB

RESULTS = Path(__file__).with_name("results") / "rows.jsonl"
BAR_BYTES, MOST_GROWTH = 1e9, 0.05
N_SAMPLES, N_KEPT, SIDE = 20, 64, 32
MOST_VALID = 5_000


class NamedRows(ManifestDataset):
    """Rows whose name is looked up even where the image is in the store."""

    def fixed(self, row: int) -> Any:
        self.row_name(row)
        return super().fixed(row)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--rows", type=int, default=1_281_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=64)
    told = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        raise SystemExit("this system does not tell the proportional set size of a process")
    manifest = tile(read_manifest(told.manifest), told.rows)
    row = measure(manifest, n_workers=told.workers, batch_size=told.batch_size)
    report(row)


def tile(manifest: Manifest, n_rows: int) -> Manifest:
    """A manifest of `n_rows`: those that there are, again and again; all train but for the last, at most 5,000."""
    n_copies = -(-n_rows // manifest.table.num_rows)
    # copied together: parts that are repeated would be one piece of memory
    table = pa.concat_tables([manifest.table] * n_copies).slice(0, n_rows).combine_chunks()
    n_valid = max(1, min(MOST_VALID, n_rows // 10))
    codes = (np.arange(n_rows) >= n_rows - n_valid).astype(np.int8)
    split = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(["train", "valid"]))
    table = table.set_column(table.schema.get_field_index("split"), table.schema.field("split"), split)
    pa.default_memory_pool().release_unused()
    return replace(manifest, table=table)


def measure(manifest: Manifest, *, n_workers: int, batch_size: int) -> dict[str, Any]:
    """Go through an epoch; bytes of each sample, of this process first, then of each worker."""
    begun = time.perf_counter()
    dataset = kept(NamedRows(manifest, "train", transforms=[MakeRGB(), CenterCrop(SIDE, scale=1), RandomFlip()]))
    open_s = time.perf_counter() - begun
    begun = time.perf_counter()
    EpochBatches(len(dataset), batch_size=batch_size, seed=0, shuffle=True).order(0)
    order_s = time.perf_counter() - begun
    loader = Loader(dataset, batch_size=batch_size, shuffle=True, n_workers=n_workers)
    every = max(1, len(loader) // N_SAMPLES)
    samples, n_images = [], 0
    begun = time.perf_counter()
    with closing(loader):
        for number, batch in enumerate(loader, start=1):
            n_images += len(batch.y)
            if number % every == 0 and len(samples) < N_SAMPLES:
                workers = multiprocessing.active_children()
                samples.append([pss_bytes(pid) for pid in (os.getpid(), *(each.pid for each in workers))])
    epoch_s = time.perf_counter() - begun
    facts = {"rows": manifest.table.num_rows, "train_rows": len(dataset), "images": n_images, "workers": n_workers}
    facts |= {"batch_size": batch_size, "open_s": open_s, "order_s": order_s, "epoch_s": epoch_s}
    return {**facts, "samples": samples, **summary(samples)}


def kept(dataset: ManifestDataset) -> ManifestDataset:
    """The dataset with a store in memory, of which each row takes one of 64 images."""
    sides = np.full(N_KEPT, SIDE, np.int64)
    store: PixelStore = memory_store(Layout(heights_N=sides, widths_N=sides))
    for place in range(N_KEPT):
        store.put(place, np.full((SIDE, SIDE, 3), place, np.uint8), b"")
    dataset.keep_in(store, np.arange(len(dataset)) % N_KEPT)
    return dataset


def pss_bytes(pid: int | None) -> int:
    """The proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"the system does not tell the proportional set size of process {pid}")


def summary(samples: Sequence[Sequence[int]]) -> dict[str, Any]:
    """First, greatest and last of the sums, and what each worker has grown from the first sample to the last."""
    totals = [sum(each) for each in samples]
    growth = [last - first for first, last in zip(samples[0][1:], samples[-1][1:], strict=True)]
    return {
        "first_bytes": totals[0],
        "greatest_bytes": max(totals),
        "last_bytes": totals[-1],
        "growth_of_workers_bytes": growth,
        "is_under_bar": max(totals) < BAR_BYTES,
        "is_flat": max(totals) <= totals[0] * (1 + MOST_GROWTH),
    }


def report(row: dict[str, Any]) -> None:
    """Print and keep."""
    print(f"{row['rows']:,} rows, {row['workers']} workers, batches of {row['batch_size']}")
    print(
        f"opened in {row['open_s']:.2f} s, an order made in {row['order_s']:.2f} s, an epoch in {row['epoch_s']:.1f} s"
    )
    print("together, MB: " + " ".join(f"{sum(each) / 1e6:,.0f}" for each in row["samples"]))
    first, greatest, last = (row[f"{name}_bytes"] / 1e6 for name in ("first", "greatest", "last"))
    print(f"first {first:,.0f} MB, greatest {greatest:,.0f} MB, last {last:,.0f} MB")
    print("growth of each worker, MB: " + " ".join(f"{each / 1e6:+.1f}" for each in row["growth_of_workers_bytes"]))
    print(f"under {BAR_BYTES / 1e9:.0f} GB: {'kept' if row['is_under_bar'] else 'MISSED'}")
    print(f"no growth beyond {MOST_GROWTH:.0%}: {'kept' if row['is_flat'] else 'MISSED'}")
    facts = collect()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"cpu": facts["cpu"], "versions": facts["versions"]}, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
