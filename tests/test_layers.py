"""The plan of the house against the house: who imports whom, how long things are, what may be called what."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "imagekit"

# room -> the rooms it may import; the same table as docs/design.md section 3
ALLOWED: dict[str, set[str]] = {
    "files": set(),
    "pixels": set(),
    "engine": set(),
    "recipes": set(),
    "rules": set(),
    "subset": {"files", "pixels", "engine", "recipes", "rules"},
    "manifest": {"files", "pixels", "engine", "recipes", "rules"},
    "transforms": {"pixels"},
    "batch": {"transforms"},
    "data": {"files", "manifest", "pixels", "transforms", "rules"},
    "models": set(),
    "optim": set(),
    "learner": {"models", "optim"},
    "runs": {"files"},
    "callbacks": {"learner", "batch", "models", "optim", "runs"},
    "training": {"files", "data", "models", "optim", "learner", "runs", "callbacks", "manifest", "batch", "transforms"},
    "look": {"files", "manifest", "pixels", "transforms", "batch", "data", "runs"},
}
EVERYTHING = set(ALLOWED)
BUILDERS = ("files", "pixels", "engine", "recipes", "rules", "subset", "manifest")
# modules that stand beside the rooms -> the rooms that may import them
BESIDE = {"errors": EVERYTHING | {"cli"}, "environment": EVERYTHING | {"cli"}}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
# builders' modules that need torch: never imported with another module, only inside a call
TORCH_INSIDE_A_CALL = {"imagekit.pixels.resample"}
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 45

MODULES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in MODULES]


def room_of(path: Path) -> str:
    """Return the first folder below the package, or the module's own name beside the rooms."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    return ".".join(["imagekit", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


BUILDER_MODULES = {name_of(path): path for path in MODULES if room_of(path) in BUILDERS}


def imported(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything imported anywhere in a module: in functions and TYPE_CHECKING blocks,
    relatively, and by a string that names a module of the package.
    """
    here = ["imagekit", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"imagekit(\.\w+)+(:\w+)?", str(node.value)):
            yield node.lineno, str(node.value).replace(":", ".")


def rooms_imported(source: str, path: Path) -> set[tuple[int, str]]:
    """Return (line, room) for each import of imagekit's own; room is "" for the package itself."""
    found = set()
    for line, name in imported(ast.parse(source), path):
        parts = name.split(".")
        if parts[0] == "imagekit":
            found.add((line, "" if parts[1:] in ([], ["__version__"]) else parts[1]))
    return found


def offences(source: str, path: Path) -> list[str]:
    """Return a sentence for each import that the table does not allow."""
    room = room_of(path)
    if room in ("__init__", "__main__"):  # the front door: names loaded on first use
        return []
    sentences = []
    for line, other in sorted(rooms_imported(source, path)):
        fine = (
            other in ("", room)
            or (other in BESIDE and (room in BESIDE[other] or room in BESIDE))
            or (other in ALLOWED and (room == "cli" or other in ALLOWED.get(room, set())))
        )
        if not fine:
            sentences.append(f"{path.relative_to(PACKAGE)}:{line} {room} imports {other}")
    return sentences


def top_level_imports(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of what runs when a module is imported: not in functions, not for type checkers only."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from top_level_imports(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody", "handlers"):
                yield from top_level_imports(getattr(node, field, []))


def function_lengths(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield (name, lines) of each function, from `def` to its end, its docstring not counted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                lines -= (first.end_lineno or first.lineno) - first.lineno + 1
            yield node.name, lines


def design_table() -> dict[str, set[str]]:
    """Read the table of rooms out of docs/design.md; cli ("everything") is left out."""
    text = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
    table = {room: rule for room, rule in re.findall(r"^  (\w+)/ .*\[< (.+)\]$", text, re.MULTILINE) if room != "cli"}
    order = list(table)
    return {room: _rooms_in(rule, order[: order.index(room)]) for room, rule in table.items()}


def _rooms_in(rule: str, above: list[str]) -> set[str]:
    rooms: set[str] = set()
    for word in re.split(r",\s*", rule):
        below = re.fullmatch(r"every room below it", word)
        if below:  # the rooms listed after `data` and before this one that use it: models to callbacks
            rooms |= set(above[above.index("models") :])
        elif word != "-":
            rooms |= set(word.split())
    return rooms


def test_design_page_has_the_same_table_of_rooms() -> None:
    assert design_table() == ALLOWED


def test_every_room_is_in_the_table() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    beside = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}

    assert rooms <= EVERYTHING | {"cli"}
    assert beside <= set(BESIDE)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_a_room_imports_only_what_the_table_allows(path: Path) -> None:
    assert offences(path.read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    "line",
    [
        "import imagekit.subset.build",
        "import imagekit.subset.build as anything",
        "from imagekit.subset import build",
        "from imagekit import subset",
        "from ..subset import build",
        "from .. import subset",
        "from ..subset.build import make_subset",
        "def late():\n    from imagekit.subset import build",
        "if TYPE_CHECKING:\n    from imagekit.subset.build import Plan",
        'import_module("imagekit.subset.build")',
        'TARGET = "imagekit.subset.build:make_subset"',
        "from imagekit import make_subset",
        "from imagekit.training.train import train",
    ],
)
def test_no_way_of_importing_escapes_the_table(line: str) -> None:
    assert len(offences(line, PACKAGE / "files" / "discover.py")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "from imagekit.errors import ImageError",
        "from imagekit import __version__",
        "from imagekit.files.atomic import write_text",
        "from .atomic import write_text",
        "from . import atomic",
        "import os, numpy.random",
        '"""See imagekit.subset.build: it calls this."""',
    ],
)
def test_what_a_room_may_import_is_no_offence(line: str) -> None:
    assert offences(line, PACKAGE / "files" / "discover.py") == []


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_no_relative_imports(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    relative = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]

    assert relative == []


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_a_module_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_a_function_is_short_enough_to_read(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    too_long = [f"{name}: {lines} lines" for name, lines in function_lengths(tree) if lines > MAX_FUNCTION_LINES]

    assert too_long == []


def test_a_docstring_does_not_count_as_length() -> None:
    source = 'def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'

    assert list(function_lengths(ast.parse(source))) == [("f", 2)]


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_no_module_is_a_drawer_for_everything(path: Path) -> None:
    assert not FORBIDDEN_NAMES & set(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", BUILDER_MODULES)
def test_a_builder_never_imports_torch_with_itself(name: str) -> None:
    tree = ast.parse(BUILDER_MODULES[name].read_text(encoding="utf-8"))
    heavy = {"torch"} if name not in TORCH_INSIDE_A_CALL else set()

    found = [
        (line, module)
        for line, module in top_level_imports(tree.body)
        if module.split(".")[0] in heavy or module in TORCH_INSIDE_A_CALL
    ]

    assert found == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import torch", ["torch"]),
        ("try:\n    import torch\nexcept ImportError:\n    import numpy", ["torch", "numpy"]),
        ("class A:\n    from torch import nn", ["torch", "torch.nn"]),
        ("if TYPE_CHECKING:\n    import torch", []),
        ("def resize():\n    import torch", []),
    ],
)
def test_what_counts_as_imported_with_the_module(source: str, names: list[str]) -> None:
    assert [name for _, name in top_level_imports(ast.parse(source).body)] == names


@pytest.mark.slow
def test_importing_all_builders_loads_no_torch() -> None:
    names = sorted(set(BUILDER_MODULES) - TORCH_INSIDE_A_CALL)
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint('torch' in sys.modules)"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)

    assert (run.stdout, run.stderr) == ("False\n", "")


def test_public_names_are_at_home_where_the_front_door_says() -> None:
    import imagekit

    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    for_checkers = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imagekit.")
        for alias in node.names
    }

    assert for_checkers == imagekit._HOME
    assert sorted([*imagekit._HOME, "__version__"]) == sorted(imagekit.__all__)
    assert set(imagekit.__all__) <= set(dir(imagekit))


def test_every_public_name_whose_room_stands_can_be_loaded() -> None:
    import imagekit

    there = [name for name, home in imagekit._HOME.items() if _exists(home)]

    assert "ImagekitError" in there
    for name in there:
        found = getattr(imagekit, name)
        # to_byte_tensor and its like are transforms that are made already, called like functions
        assert getattr(found, "__name__", name) == name
        assert getattr(importlib.import_module(imagekit._HOME[name]), name) is found


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import imagekit

    with pytest.raises(AttributeError) as caught:
        imagekit.nosuch  # noqa: B018 - reading it is the test

    assert str(caught.value) == "module 'imagekit' has no attribute 'nosuch'"


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
