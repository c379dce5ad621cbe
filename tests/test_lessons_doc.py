"""docs/lessons.md: every system and fault of the lessons has a row; every place and test that it names is there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "lessons.md").read_text(encoding="utf-8")
SYSTEMS, FAULTS = (
    [
        [cell.strip() for cell in line.strip("|").split(" |")]
        for line in part.splitlines()
        if line.startswith("| ") and not line.startswith(("| lesson |", "| no. |"))
    ]
    for part in PAGE.split("## What the lessons got wrong")
)
# what lessons 8 to 11, their notebooks and notes speak of, a heading of the page a line
NAMES = (
    ("Path.ls", "image_extensions", "setify", "listify", "uniqueify", "_get_files", "get_files", "discovery in 70 ms"),
    ("Imagenette, Imagewoof, Imagewang", "full, 320, 160 px", "subset made by a little script", "224 x 224"),
    ("order of the steps", "`compose`", "ListContainer", "`ItemList`", "ImageList.from_files", "grandparent_splitter"),
    ("split_by_func", "other splitters", "SplitData", "parent_labeler", "`Processor`", "CategoryProcessor", "`other`"),
    ("tokens", "medians", "LabeledData", "label_by_func", "one file that says it all", "DataBunch", "to_databunch"),
    ("get_dls", "Sampler", "collate", "test set", "show_image", "show_batch", "look at the data"),
    ("Transform._order", "make_rgb", "ResizeFixed", "PilTransform", "to_byte_tensor", "to_float_tensor", "np_to_float"),
    ("work on bytes", "PilRandomFlip", "PilRandomDihedral", "GeneralCrop", "CenterCrop", "RandomResizedCrop"),
    ("resampling", "random filter", "crop and resize in one", "find_coeffs", "`warp`", "PilTiltRandomCrop"),
    ("warp or squeeze", "labels that are wrong", "10 ms", "text, sound, tables"),
    ("one random number an image", "affine_grid", "rotation_matrix", "bmm", "paddings", "rotate_batch", "zoom, shift"),
    ("strength is a hyper", "timing on the device", "MixUp", "label smoothing"),
    ("normalize_chan", "BatchTransformXCallback", "conv_layer", "prev_pow_2", "get_cnn_layers", "get_cnn_model"),
    ("any number of channels", "Lambda", "flatten", "view_tfm", "stats", "GeneralRelu", "XResNet", "kaiming"),
    ("init_cnn", "why init", "3 x 3 everywhere", "LSUV", "again where precision", "find_modules", "Hook", "Hooks"),
    ("append_stats", "model_summary", "get_batch", "BatchNorm from scratch", "RunningBatchNorm", "LayerNorm"),
    ("InstanceNorm", "GroupNorm"),
    ("cross entropy", "log_softmax", "nll", "accuracy", "`Optimizer`", "StatefulOptimizer", "sgd_step"),
    ("momentum_step", "weight_decay", "l2_reg", "decoupled decay", "weight decay and batch norm", "AverageGrad"),
    ("AverageSqrGrad", "StepCount", "debias", "EWMA", "Adam", "LAMB", "LARS", "Adafactor", "AdaBound", "annealer"),
    ("combine_scheds", "cos_1cycle_anneal", "ParamScheduler", "finder of learning rates", "Recorder", "`Learner`"),
    ("the events", "cancel", "`Callback`", "_order", "TrainEvalCallback", "CudaCallback", "AvgStats", "validation"),
    ("accumulated gradients", "progress", "other sinks", "parameter groups", "mixed precision", "tests with random"),
    ("debugging",),
)
WITHOUT_A_TEST = {"16", "17", "19"}  # figures and words, nothing that is computed


def missing_tests(rows: list[list[str]]) -> list[str]:
    """The tests that rows name and nobody wrote."""
    named: dict[str, set[str]] = {}
    for row in rows:
        for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", row[-1]):
            named.setdefault(file, set()).add(name)
    missing = []
    for file, names in named.items():
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8")) if (TESTS / file).exists() else ast.Module([], [])
        written = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        missing += [f"{file}::{name}" for name in sorted(names - written)]
    assert sum(map(len, named.values())) > 60
    return missing


def test_every_place_on_the_page_can_be_imported():
    places = {place for row in SYSTEMS for place in re.findall(r"`([\w.]+)`", row[1])}
    missing = []
    for place in places:
        module, _, name = f"imagekit.{place}".rpartition(".")
        try:
            found = hasattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            found = False
        if not found:
            try:
                importlib.import_module(f"imagekit.{place}")
            except ModuleNotFoundError:
                missing.append(place)

    assert len(places) > 60
    assert missing == []


def test_every_test_on_the_page_exists():
    assert missing_tests(SYSTEMS) == []
    assert missing_tests(FAULTS) == []


def test_every_row_that_is_somewhere_has_a_test():
    assert [row[0] for row in SYSTEMS if row[1] and not row[-1]] == []
    assert {len(row) for row in SYSTEMS + FAULTS} == {4}


def test_a_row_that_is_nowhere_says_why():
    assert [row[0] for row in SYSTEMS if not row[1] and not row[2]] == []


def test_every_system_of_the_lessons_has_a_row():
    first_cells = "\n".join(row[0] for row in SYSTEMS)

    assert [name for names in NAMES for name in names if name not in first_cells] == []


def test_every_fault_of_the_lessons_has_a_row_and_a_test_that_would_fail_with_it():
    numbers = [str(number) for number in range(1, 47)]
    numbers.insert(numbers.index("43"), "42b")

    assert [row[0] for row in FAULTS] == numbers
    assert {row[0] for row in FAULTS if not row[-1]} == WITHOUT_A_TEST
    assert all(row[1] and row[2] for row in FAULTS)
