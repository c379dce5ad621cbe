"""imagekit: from a folder of a million images to a trained baseline, reproducibly, in three commands.

    source folder --discover--> files --make_subset--> subset folder --build_manifest--> metadata.parquet
                                                                                              |
        report.html <--report-- run directory <--evaluate, train-- DataLoaders <--read_manifest--+

Each arrow is one command of `imagekit` and one function here; each box is one folder or file that the next arrow reads.
Public names are loaded on first use, so `import imagekit` costs nothing and `imagekit.discover` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagekit.data.dataset import ManifestDataset
    from imagekit.data.loaders import DataLoaders
    from imagekit.errors import ImagekitError
    from imagekit.files.discover import discover
    from imagekit.learner.learner import Learner
    from imagekit.manifest.build import build_manifest
    from imagekit.manifest.read import read_manifest
    from imagekit.subset.build import make_subset
    from imagekit.subset.options import SubsetOptions
    from imagekit.subset.verify import verify_subset
    from imagekit.training.config import TrainConfig
    from imagekit.training.evaluate import evaluate
    from imagekit.training.train import train

__version__ = "0.1.0"

__all__ = [
    "DataLoaders",
    "ImagekitError",
    "Learner",
    "ManifestDataset",
    "SubsetOptions",
    "TrainConfig",
    "__version__",
    "build_manifest",
    "discover",
    "evaluate",
    "make_subset",
    "read_manifest",
    "train",
    "verify_subset",
]

_HOME = {
    "DataLoaders": "imagekit.data.loaders",
    "ImagekitError": "imagekit.errors",
    "Learner": "imagekit.learner.learner",
    "ManifestDataset": "imagekit.data.dataset",
    "SubsetOptions": "imagekit.subset.options",
    "TrainConfig": "imagekit.training.config",
    "build_manifest": "imagekit.manifest.build",
    "discover": "imagekit.files.discover",
    "evaluate": "imagekit.training.evaluate",
    "make_subset": "imagekit.subset.build",
    "read_manifest": "imagekit.manifest.read",
    "train": "imagekit.training.train",
    "verify_subset": "imagekit.subset.verify",
}


def __getattr__(name: str) -> object:
    """Load a public name from its home and keep it."""
    if name not in _HOME:
        raise AttributeError(f"module 'imagekit' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
