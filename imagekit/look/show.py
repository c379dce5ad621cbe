"""Look at the data: one picture of a manifest's images, of one image's augmentation, resampling or way to the model."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import ManifestError, UsageError
from imagekit.look.augment import draw_augment
from imagekit.look.by_class import draw_by_class
from imagekit.look.drawn import Drawn
from imagekit.look.marked_png import check_picture, write_picture
from imagekit.look.resamplers import draw_resamplers
from imagekit.look.source import find_source
from imagekit.look.steps import draw_steps
from imagekit.manifest.read import Manifest, read_manifest

MIN_SIDE_PX, SIDE_PX, MAX_SIDE_PX = 32, 128, 512  # least, usual, most
SHOWN_FAULTS = 10
MAKER = "imagekit show"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowReport:
    """What was drawn. mode: by-class, steps, augment or resamplers; images: names of those on the picture.

    width, height: of the picture in pixels. notes: what is to be seen; faults: name -> why an image cannot be shown.
    """

    manifest: Path
    output: Path
    mode: str
    seed: int
    side_px: int
    width: int
    height: int
    images: tuple[str, ...]
    notes: tuple[str, ...]
    faults: Mapping[str, str]
    next_command: str | None

    @property
    def exit_code(self) -> int:
        """0 when every image is shown, else 3."""
        return 3 if self.faults else 0

    def summary(self) -> str:
        """The report as text."""
        one, many = self.images[0], f"{len(self.images):,} images, drawn with seed {self.seed}"
        lines = [f"{self.mode}: {many if self.mode == 'by-class' else one}", *(f"  {note}" for note in self.notes)]
        if self.faults:
            lines.append(f"cannot be read: {len(self.faults):,} of {len(self.images):,} images")
            lines += [f"  {name}: {why}" for name, why in list(self.faults.items())[:SHOWN_FAULTS]]
        if len(self.faults) > SHOWN_FAULTS:
            lines.append(f"  and {len(self.faults) - SHOWN_FAULTS:,} more; --json tells all")
        return "\n".join([*lines, f"built: {self.output} ({self.width:,} x {self.height:,} pixels)"])

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "manifest": str(self.manifest),
            "output": str(self.output),
            "mode": self.mode,
            "seed": self.seed,
            "size": self.side_px,
            "width": self.width,
            "height": self.height,
            "images": list(self.images),
            "notes": list(self.notes),
            "faults": dict(self.faults),
        }


def show_manifest(
    path: Path | str,
    *,
    output: Path | str,
    augment: bool = False,
    resamplers: bool = False,
    image: Path | None = None,
    root: Path | None = None,
    seed: int = 0,
    side_px: int = SIDE_PX,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> ShowReport:
    """Draw one PNG: images by split and class, or one image under every transform, by every filter, at every step.

    augment, resamplers: what is done with one image, that of the first train row if no `image` is given; `image`
    alone shows it at every step. image: a file_name of the manifest, or the path of any image file. root: the folder
    of the manifest's images, if they moved. seed: of every draw. side_px: 32 to 512, the pictures' side. overwrite:
    replace an earlier picture of this function; any other file is never replaced. Same images and options, same bytes.
    Raises UsageError for options that exclude each other or a size out of bounds, OutputError for an output that
    exists, SourceError for images that are not there, ManifestError for a damaged manifest or one without rows.
    """
    output = Path(output)
    _check_options(side_px, augment=augment, resamplers=resamplers)
    check_picture(output, maker=MAKER, overwrite=overwrite)
    manifest = _read(path)
    root = Path(root) if root else manifest.root
    mode = "augment" if augment else "resamplers" if resamplers else "steps" if image is not None else "by-class"
    if mode == "by-class":
        drawn = draw_by_class(manifest, root=root, side_px=side_px, seed=seed, progress=progress)
    else:
        drawn = _draw_one(mode, manifest, image, root=root, side_px=side_px, seed=seed)
    # a page of photographs hardly shrinks: level 6 takes five times as long for a tenth less
    write_picture(output, drawn.page, maker=MAKER, compress_level=1)
    given = {"--image": image, "--root": None if root == manifest.root else root, "--seed": seed or None}
    given |= {"--size": None if side_px == SIDE_PX else side_px}
    return ShowReport(
        manifest=Path(path),
        output=output,
        mode=mode,
        seed=seed,
        side_px=side_px,
        width=drawn.page.width,
        height=drawn.page.height,
        images=drawn.images,
        notes=drawn.notes,
        faults=drawn.faults,
        next_command=_next_command(mode, Path(path), given),
    )


def _read(path: Path | str) -> Manifest:
    manifest = read_manifest(path)
    if not manifest.table.num_rows:
        raise ManifestError(
            "the manifest has no row", where=str(path), fix="build it again from a folder that holds images"
        )
    return manifest


def _draw_one(mode: str, manifest: Manifest, image: Path | None, *, root: Path, side_px: int, seed: int) -> Drawn:
    source = find_source(manifest, image, root=root)
    if mode == "resamplers":
        return draw_resamplers(source, side_px=side_px)
    draw = draw_augment if mode == "augment" else draw_steps
    return draw(source, side_px=side_px, seed=seed)


def _next_command(mode: str, path: Path, given: Mapping[str, object]) -> str | None:
    """From the many to one image under every transform, from there to the filters, with what else was given."""
    after = {"by-class": "augment", "steps": "augment", "augment": "resamplers"}.get(mode)
    if after is None:
        return None
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return shlex.join(["imagekit", "show", str(path), "-o", f"{after}.png", f"--{after}", *options])


def _check_options(side_px: int, *, augment: bool, resamplers: bool) -> None:
    if augment and resamplers:
        raise UsageError(
            "--augment and --resamplers ask for two different pictures",
            where="--augment --resamplers",
            fix="give one of them, and the other in a second call with an -o of its own",
        )
    if not MIN_SIDE_PX <= side_px <= MAX_SIDE_PX:
        raise UsageError(
            f"the size is {side_px}, must be from {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels",
            where="--size",
            fix="give --size 128, say",
        )
