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
    from imagekit.batch.pipeline import BatchPipeline
    from imagekit.data.block import LabeledData, SplitData, label_by_func
    from imagekit.data.bunch import DataBunch, get_dls
    from imagekit.data.dataset import ManifestDataset
    from imagekit.data.items import ImageList, ItemList
    from imagekit.errors import ImagekitError
    from imagekit.files.discover import discover
    from imagekit.learner.callback import Callback
    from imagekit.learner.confusion import ConfusionMatrix
    from imagekit.learner.learner import Learner
    from imagekit.learner.lr_find import find_lr
    from imagekit.look.pictures import show_batch, show_image
    from imagekit.look.report import write_report
    from imagekit.look.show import show_manifest
    from imagekit.manifest.build import build_manifest
    from imagekit.manifest.diff import diff_manifests
    from imagekit.manifest.export import export_manifest
    from imagekit.manifest.inspect import inspect_manifest
    from imagekit.manifest.options import ManifestOptions
    from imagekit.manifest.processors import CategoryProcessor
    from imagekit.manifest.read import read_manifest
    from imagekit.manifest.verify import verify_manifest
    from imagekit.models.hooks import Hooks
    from imagekit.models.lsuv import lsuv_init
    from imagekit.models.registry import create_model
    from imagekit.models.summary import model_summary
    from imagekit.optim.optimizer import Optimizer
    from imagekit.optim.presets import create_optimizer
    from imagekit.rules.labelers import parent_labeler
    from imagekit.rules.splitters import grandparent_splitter, split_by_func
    from imagekit.subset.build import make_subset
    from imagekit.subset.options import SubsetOptions
    from imagekit.subset.verify import verify_subset
    from imagekit.training.config import TrainConfig
    from imagekit.training.evaluate import evaluate
    from imagekit.training.fill_cache import fill_cache
    from imagekit.training.predict import predict
    from imagekit.training.resume import resume
    from imagekit.training.running import Running
    from imagekit.training.train import train
    from imagekit.transforms.compose import compose
    from imagekit.transforms.crops import CenterCrop, RandomResizedCrop
    from imagekit.transforms.flips import RandomFlip
    from imagekit.transforms.resize import ResizeFixed
    from imagekit.transforms.tensors import make_rgb, to_byte_tensor, to_float_tensor

__version__ = "0.1.0"

__all__ = [
    "BatchPipeline",
    "Callback",
    "CategoryProcessor",
    "CenterCrop",
    "ConfusionMatrix",
    "DataBunch",
    "Hooks",
    "ImageList",
    "ImagekitError",
    "ItemList",
    "LabeledData",
    "Learner",
    "ManifestDataset",
    "ManifestOptions",
    "Optimizer",
    "RandomFlip",
    "RandomResizedCrop",
    "ResizeFixed",
    "Running",
    "SplitData",
    "SubsetOptions",
    "TrainConfig",
    "__version__",
    "build_manifest",
    "compose",
    "create_model",
    "create_optimizer",
    "diff_manifests",
    "discover",
    "evaluate",
    "export_manifest",
    "fill_cache",
    "find_lr",
    "get_dls",
    "grandparent_splitter",
    "inspect_manifest",
    "label_by_func",
    "lsuv_init",
    "make_rgb",
    "make_subset",
    "model_summary",
    "parent_labeler",
    "predict",
    "read_manifest",
    "resume",
    "show_batch",
    "show_image",
    "show_manifest",
    "split_by_func",
    "to_byte_tensor",
    "to_float_tensor",
    "train",
    "verify_manifest",
    "verify_subset",
    "write_report",
]

_HOME = {
    "BatchPipeline": "imagekit.batch.pipeline",
    "Callback": "imagekit.learner.callback",
    "CategoryProcessor": "imagekit.manifest.processors",
    "CenterCrop": "imagekit.transforms.crops",
    "ConfusionMatrix": "imagekit.learner.confusion",
    "DataBunch": "imagekit.data.bunch",
    "Hooks": "imagekit.models.hooks",
    "ImageList": "imagekit.data.items",
    "ImagekitError": "imagekit.errors",
    "ItemList": "imagekit.data.items",
    "LabeledData": "imagekit.data.block",
    "Learner": "imagekit.learner.learner",
    "ManifestDataset": "imagekit.data.dataset",
    "ManifestOptions": "imagekit.manifest.options",
    "Optimizer": "imagekit.optim.optimizer",
    "RandomFlip": "imagekit.transforms.flips",
    "RandomResizedCrop": "imagekit.transforms.crops",
    "ResizeFixed": "imagekit.transforms.resize",
    "Running": "imagekit.training.running",
    "SplitData": "imagekit.data.block",
    "SubsetOptions": "imagekit.subset.options",
    "TrainConfig": "imagekit.training.config",
    "build_manifest": "imagekit.manifest.build",
    "compose": "imagekit.transforms.compose",
    "create_model": "imagekit.models.registry",
    "create_optimizer": "imagekit.optim.presets",
    "diff_manifests": "imagekit.manifest.diff",
    "discover": "imagekit.files.discover",
    "evaluate": "imagekit.training.evaluate",
    "export_manifest": "imagekit.manifest.export",
    "fill_cache": "imagekit.training.fill_cache",
    "find_lr": "imagekit.learner.lr_find",
    "get_dls": "imagekit.data.bunch",
    "grandparent_splitter": "imagekit.rules.splitters",
    "inspect_manifest": "imagekit.manifest.inspect",
    "label_by_func": "imagekit.data.block",
    "lsuv_init": "imagekit.models.lsuv",
    "make_rgb": "imagekit.transforms.tensors",
    "make_subset": "imagekit.subset.build",
    "model_summary": "imagekit.models.summary",
    "parent_labeler": "imagekit.rules.labelers",
    "predict": "imagekit.training.predict",
    "read_manifest": "imagekit.manifest.read",
    "resume": "imagekit.training.resume",
    "show_batch": "imagekit.look.pictures",
    "show_image": "imagekit.look.pictures",
    "show_manifest": "imagekit.look.show",
    "split_by_func": "imagekit.rules.splitters",
    "to_byte_tensor": "imagekit.transforms.tensors",
    "to_float_tensor": "imagekit.transforms.tensors",
    "train": "imagekit.training.train",
    "verify_manifest": "imagekit.manifest.verify",
    "verify_subset": "imagekit.subset.verify",
    "write_report": "imagekit.look.report",
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
