"""Run the code of docs/why.md, then write its outputs and figures anew. A test compares them.

python scripts/draw_figures.py
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "why.md"
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<shown>.*?)```\n)?", re.DOTALL)
N_COLOURS = 64  # of a figure: lines, letters and their smooth edges


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums in the same order on any number of cores; torch's global generator is put back."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(n_threads)


def run_page(page: str, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """What each block prints, and the names that all leave behind; figures come into folder/figures."""
    names: dict[str, Any] = {"__name__": "why_page"}
    outputs: list[str] = []
    with contextlib.chdir(folder), one_thread():
        for number, block in enumerate(BLOCK.finditer(page)):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block["code"], f"docs/why.md, block {number}", "exec", dont_inherit=True), names)
            outputs.append(printed.getvalue())
    return outputs, names


def with_outputs(page: str, outputs: list[str]) -> str:
    """The page with these outputs below its blocks."""
    rest = iter(outputs)

    def block(found: re.Match[str]) -> str:
        output = next(rest)
        return f"```python\n{found['code']}```\n" + (f"\n```text\n{output}```\n" if output else "")

    return BLOCK.sub(block, page)


def with_few_colours(image: Image.Image) -> Image.Image:
    """The image in its most frequent colours, the others as the nearest: Pillow would drop a faint grid on white."""
    colours, numbers, counts = np.unique(
        np.asarray(image).reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    palette = colours[np.argsort(-counts, kind="stable")[:N_COLOURS]].astype(np.int64)
    nearest = np.square(colours[:, None] - palette).sum(axis=2).argmin(axis=1)
    small = Image.fromarray(nearest[numbers].reshape(image.height, image.width).astype(np.uint8), "P")
    small.putpalette(palette.astype(np.uint8).tobytes())
    return small


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = PAGE.read_text(encoding="utf-8")
        outputs, _ = run_page(page, Path(folder))
        PAGE.write_text(with_outputs(page, outputs), encoding="utf-8")
        for path in sorted(Path(folder, "figures").glob("*.png")):
            with Image.open(path) as image:
                small = with_few_colours(image)
            target = DOCS / "figures" / path.name
            small.save(target, optimize=True)
            print(f"{target.name}: {small.width} x {small.height}, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
