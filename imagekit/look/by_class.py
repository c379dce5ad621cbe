"""A contact sheet of a manifest: some images of each class of each split, drawn by a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from imagekit.errors import ImageError, SourceError
from imagekit.files.plain import plain
from imagekit.look.drawn import Drawn
from imagekit.look.picking import ClassRows, SplitRows, pick_rows
from imagekit.look.sheet import fit_image
from imagekit.look.source import name_of, open_row
from imagekit.look.strips import Block, Strip, draw_note, draw_page
from imagekit.manifest.read import Manifest

PER_CLASS = 4
MAX_CLASSES = 20
MAX_SPLITS = 8  # a manifest may have a hundred; a page of them would be too long for any viewer
N_ABREAST = 2

Report = Callable[[int, int], object]


def draw_by_class(manifest: Manifest, *, root: Path, side_px: int, seed: int, progress: Report | None = None) -> Drawn:
    """A block a split, in it four images of each class, of at most 20 classes; rows without a class beside each other.

    root: the folder of the images. progress: called with how many images are read, and of how many. An image that
    cannot be read is a fault, its cell says why. Raises SourceError where there is none that can be.
    """
    splits = pick_rows(manifest, seed=seed, per_class=PER_CLASS, max_classes=MAX_CLASSES)
    shown = splits[:MAX_SPLITS]
    cells = _Cells(manifest, root=root, side_px=side_px)
    cells.read([row for split in shown for group in _groups(split) for row in group.picked], progress)
    blocks = [block for split in shown for block in _blocks(split, manifest, cells)]
    n_images, n_classes = _images(manifest.table.num_rows), _classes(len(manifest.vocab))
    title = f"{plain(manifest.path.name)}: {n_images}, {n_classes}"
    intro = f"{PER_CLASS} images a class, drawn with seed {seed}"
    return Drawn(
        page=draw_page(title, intro, blocks, side_px=side_px),
        images=tuple(name_of(manifest, row) for row in cells.pictures),
        notes=(*map(_note, shown), *_left_out(splits[MAX_SPLITS:])),
        faults=cells.faults,
    )


class _Cells:
    """The pictures of rows, as small as they are shown: hundreds of whole photographs would not fit into memory."""

    def __init__(self, manifest: Manifest, *, root: Path, side_px: int) -> None:
        self.manifest, self.root, self.side_px = manifest, root, side_px
        self.pictures: dict[int, Image.Image] = {}
        self.faults: dict[str, str] = {}

    def read(self, rows: Sequence[int], progress: Report | None) -> None:
        """Fill `pictures` and `faults`; there is a row. Raises SourceError where all are faults."""
        for done, row in enumerate(rows, start=1):
            self.pictures[row] = self._read(row)
            if progress is not None:
                progress(done, len(rows))
        if len(self.faults) == len(rows):
            name, why = next(iter(self.faults.items()))
            raise SourceError(
                f"none of the {len(rows):,} images drawn can be read; {name}: {why}",
                where=str(self.root),
                fix="give --root DIR, the folder that the manifest's names are relative to",
            )

    def _read(self, row: int) -> Image.Image:
        try:
            return fit_image(open_row(self.manifest, row, root=self.root).rgb(), self.side_px)
        except ImageError as error:
            self.faults[name_of(self.manifest, row)] = error.what
            return draw_note(("cannot be read:", error.reason), side_px=self.side_px)


def _groups(split: SplitRows) -> list[ClassRows]:
    return [*split.classes, *([] if split.unlabelled is None else [split.unlabelled])]


def _blocks(split: SplitRows, manifest: Manifest, cells: _Cells) -> list[Block]:
    """One of the classes, one of the rows without a class; each only where there are any."""
    blocks = []
    if split.classes:
        strips = [_strip(group, _class_title(group, manifest), cells) for group in split.classes]
        n = split.n_rows - (split.unlabelled.n_rows if split.unlabelled else 0)
        heading = f"{plain(split.split)}: {_images(n)}, {_shown_classes(split)}"
        blocks.append(Block(heading=heading, strips=strips, n_abreast=N_ABREAST))
    if split.unlabelled is not None:
        label_columns = ", ".join(map(plain, manifest.metadata.label_columns))
        without = f"labels in {label_columns}" if label_columns else "no label"
        heading = f"{plain(split.split)}: {_images(split.unlabelled.n_rows)}, {without}"
        strips = [_strip(split.unlabelled, "", cells, n_columns=PER_CLASS * N_ABREAST)]
        blocks.append(Block(heading=heading, strips=strips))
    return blocks


def _strip(group: ClassRows, title: str, cells: _Cells, *, n_columns: int = PER_CLASS) -> Strip:
    return Strip(title=title, pictures=[cells.pictures[row] for row in group.picked], n_columns=n_columns)


def _class_title(group: ClassRows, manifest: Manifest) -> str:
    """The readable name, the label where it is another, and how many images there are."""
    name, label = manifest.metadata.class_names[group.target], manifest.vocab[group.target]
    called = plain(name) if name == label else f"{plain(name)} ({plain(label)})"
    return f"{called}: {_images(group.n_rows)}"


def _note(split: SplitRows) -> str:
    n_shown = sum(len(group.picked) for group in _groups(split))
    left_out = split.n_classes - len(split.classes)
    rest = f"; {_classes(left_out)} not shown" if left_out else ""
    return f"{plain(split.split)}: {n_shown:,} of {_images(split.n_rows)}, {_shown_classes(split)}{rest}"


def _shown_classes(split: SplitRows) -> str:
    n = len(split.classes)
    return f"{n:,} of its {_classes(split.n_classes)}" if n < split.n_classes else _classes(n)


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def _classes(n: int) -> str:
    return {0: "no class", 1: "1 class"}.get(n, f"{n:,} classes")


def _left_out(splits: Sequence[SplitRows]) -> list[str]:
    return [f"{len(splits):,} splits are not shown: {', '.join(plain(s.split) for s in splits)}"] if splits else []
