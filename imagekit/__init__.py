"""imagekit: from a folder of a million images to a trained baseline, reproducibly, in three commands.

    source folder --discover--> files --make_subset--> subset folder --build_manifest--> metadata.parquet
                                                                                              |
        report.html <--report-- run directory <--evaluate, train-- DataBunch <--read_manifest--+

Each arrow is one command of `imagekit` and one function here; each box is one folder or file that the next arrow reads.
Public names are loaded on first use, so `import imagekit` costs nothing and `imagekit.discover` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagekit.data.bunch import DataBunch
    from imagekit.data.dataset import ManifestDataset
    from imagekit.errors import ImagekitError
    from imagekit.files.discover import discover
    from imagekit.learner.learner import Learner
    from imagekit.manifest.build import build_manifest
    from imagekit.manifest.diff import diff_manifests
    from imagekit.manifest.export import export_manifest
    from imagekit.manifest.inspect import inspect_manifest
    from imagekit.manifest.options import ManifestOptions
    from imagekit.manifest.read import read_manifest
    from imagekit.manifest.verify import verify_manifest
    from imagekit.rules.labelers import parent_labeler
    from imagekit.rules.splitters import grandparent_splitter, split_by_func
    from imagekit.subset.build import make_subset
    from imagekit.subset.options import SubsetOptions
    from imagekit.subset.verify import verify_subset
    from imagekit.training.config import TrainConfig
    from imagekit.training.evaluate import evaluate
    from imagekit.training.train import train

__version__ = "0.1.0"

__all__ = [
    "DataBunch",
    "ImagekitError",
    "Learner",
    "ManifestDataset",
    "ManifestOptions",
    "SubsetOptions",
    "TrainConfig",
    "__version__",
    "build_manifest",
    "diff_manifests",
    "discover",
    "evaluate",
    "export_manifest",
    "grandparent_splitter",
    "inspect_manifest",
    "make_subset",
    "parent_labeler",
    "read_manifest",
    "split_by_func",
    "train",
    "verify_manifest",
    "verify_subset",
]

_HOME = {
    "DataBunch": "imagekit.data.bunch",
    "ImagekitError": "imagekit.errors",
    "Learner": "imagekit.learner.learner",
    "ManifestDataset": "imagekit.data.dataset",
    "ManifestOptions": "imagekit.manifest.options",
    "SubsetOptions": "imagekit.subset.options",
    "TrainConfig": "imagekit.training.config",
    "build_manifest": "imagekit.manifest.build",
    "diff_manifests": "imagekit.manifest.diff",
    "discover": "imagekit.files.discover",
    "evaluate": "imagekit.training.evaluate",
    "export_manifest": "imagekit.manifest.export",
    "grandparent_splitter": "imagekit.rules.splitters",
    "inspect_manifest": "imagekit.manifest.inspect",
    "make_subset": "imagekit.subset.build",
    "parent_labeler": "imagekit.rules.labelers",
    "read_manifest": "imagekit.manifest.read",
    "split_by_func": "imagekit.rules.splitters",
    "train": "imagekit.training.train",
    "verify_manifest": "imagekit.manifest.verify",
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
