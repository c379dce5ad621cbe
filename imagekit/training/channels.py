"""Mean and standard deviation for a run: the manifest's, or measured on a sample of its train images.

Shapes: N train rows, S sampled rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from imagekit.errors import ManifestError
from imagekit.files.names import display_name
from imagekit.manifest.build import MEMORY_LIMIT_BYTES
from imagekit.manifest.fit import channel_stats
from imagekit.manifest.image import SUMS
from imagekit.manifest.looking import Looking
from imagekit.manifest.read import Manifest
from imagekit.manifest.schema import ChannelStats
from imagekit.transforms.draws import make_keys, uniform

# where the means of images differ by a standard deviation of 0.15, their mean is then known to 0.15 / 2048**0.5 = 0.003
N_SAMPLED = 2_048
TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStats:
    """The channel statistics that a run normalizes with, and in words where they came from."""

    channels: ChannelStats
    source: str

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint says of them, beside mean and std."""
        return {"n_images": self.channels.n_images, "n_pixels": self.channels.n_pixels, "source": self.source}


def find_stats(
    manifest: Manifest, *, root: Path | None, seed: int, n_workers: int, say: Callable[[str], object]
) -> RunStats:
    """The manifest's statistics; where it was built without decoding, those of a sample of its train images.

    The sample is a pure function of the seed and the number of train rows, and is decoded as imagekit manifest does,
    in worker processes (at least one), for nothing vouched for these files. say: told before the work starts.
    Raises ManifestError, naming one, where images of the sample cannot be used.
    """
    if manifest.metadata.stats is not None:
        return RunStats(channels=manifest.metadata.stats, source="manifest")
    names = manifest.raw_names(manifest.rows("train", columns=("file_name", "file_name_bytes")))
    sample_S = sample_rows(len(names), seed=seed)
    is_all = len(sample_S) == len(names)
    source = f"all {len(names):,} train images" if is_all else f"a sample of {N_SAMPLED:,} train images, seed {seed}"
    say(f"the manifest has no mean and std: measuring {source}")
    looking = Looking(
        root=Path(root or manifest.root),
        check="decode",
        n_workers=max(1, n_workers),
        timeout_s=TIMEOUT_S,
        memory_limit_bytes=MEMORY_LIMIT_BYTES,
    )
    return RunStats(channels=_measure(looking, names.take(pa.array(sample_S)), manifest), source=source)


def sample_rows(n_rows: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Rows to measure, int64 [S] in rising order: every row, or N_SAMPLED of them by a keyed draw."""
    if n_rows <= N_SAMPLED:
        return np.arange(n_rows)
    keys_N = make_keys(seed=seed, epoch=0, ids_B=torch.arange(n_rows))
    order_N = uniform(keys_N, stream="channel statistics")[:, 0].argsort(stable=True)
    return np.asarray(order_N[:N_SAMPLED].sort().values)


def _measure(looking: Looking, names: pa.LargeBinaryArray, manifest: Manifest) -> ChannelStats:
    facts, _ = looking.look(names, np.arange(len(names)), known=None, save=lambda _: None)
    bad = np.flatnonzero(facts.is_bad)
    if len(bad):
        first, name = facts.get(int(bad[0])), display_name(names[int(bad[0])].as_py())
        raise ManifestError(
            f"{len(bad):,} of {len(names):,} train images that were measured cannot be used, {name} for one:"
            f" {first['reason']}: {first['detail']}",
            where=f"{looking.root}, listed in {manifest.path} with --check {manifest.metadata.check}",
            fix="build the manifest again with --check decode, so that images that cannot be used are left out",
        )
    n_pixels = facts.numbers("width").astype(np.int64) * facts.numbers("height")
    stats = channel_stats({name: facts.numbers(name) for name in SUMS}, n_pixels, facts.is_good)
    return cast(ChannelStats, stats)  # None without rows alone, and train has some
