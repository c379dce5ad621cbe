"""Every error that the package raises on purpose has a test that holds its words.

For each `raise SomeError(what, ...)` and each error built by a function, the longest literal piece of `what` must stand
in a test or on docs/bad_inputs.md, which a test types and compares. Messages that nobody asserts rot.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit import errors

REPOSITORY = Path(__file__).resolve().parent.parent
KINDS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.ImagekitError)
}
LEAST_LETTERS = 8


def literal_pieces(node: ast.expr) -> list[str]:
    """The literal texts of a string expression; [] for a name or a call."""
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def messages() -> Iterator[tuple[str, str]]:
    """(place, longest literal piece of `what`) of every error made anywhere in the package."""
    for path in sorted((REPOSITORY / "imagekit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in KINDS:
                continue
            index = 1 if node.func.id == "ImageError" else 0  # ImageError(reason, detail)
            pieces = literal_pieces(node.args[index]) if len(node.args) > index else []
            longest = max(pieces, key=len, default="")
            if len(re.sub(r"[^A-Za-z]", "", longest)) >= LEAST_LETTERS:
                yield f"{path.relative_to(REPOSITORY)}:{node.lineno}", longest


def folded(text: str) -> str:
    """Without quotes, escapes and line breaks, so that a text split over lines of a test is found."""
    return re.sub(r"""["'\\\s`]+(f["'])?""", "", text)


@pytest.fixture(scope="module")
def asserted() -> str:
    paths = [*sorted((REPOSITORY / "tests").rglob("*.py")), REPOSITORY / "docs" / "bad_inputs.md"]
    return folded("\n".join(path.read_text(encoding="utf-8") for path in paths))


MESSAGES = list(messages())


@pytest.mark.parametrize(("place", "words"), MESSAGES, ids=[place for place, _ in MESSAGES])
def test_the_words_of_an_error_stand_in_a_test(asserted: str, place: str, words: str) -> None:
    assert folded(words) in asserted, f'{place}: no test holds "{words}"'


def test_there_are_messages_to_look_for() -> None:
    assert len(MESSAGES) > 100
