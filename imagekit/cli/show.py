"""`imagekit show`: pictures to look at."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import (
    Outcome,
    imagekit_command,
    output_option,
    overwrite_option,
    progress,
    root_option,
    seed_option,
)


@imagekit_command(
    "show",
    examples=[
        "imagekit show nette160/metadata.parquet -o sheet.png",
        "imagekit show nette160/metadata.parquet -o augment.png --augment",
        "imagekit show nette160/metadata.parquet -o filters.png --resamplers --image photos/ant/0.JPEG",
    ],
)
@click.argument("file", type=click.Path(path_type=Path))
@output_option("PNG file to write.")
@click.option("--augment", is_flag=True, help="One image under every transform alone, and 64 draws of all together.")
@click.option("--resamplers", is_flag=True, help="One image by every resampling filter, and what each keeps of it.")
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The image to look at: a file_name of the manifest, or any image file.  [default: the first train row]",
)
@root_option
@click.option(
    "--size", "side_px", type=int, default=128, show_default=True, metavar="N", help="Side of a picture in pixels."
)
@seed_option
@overwrite_option
def show(
    file: Path,
    output: Path,
    augment: bool,
    resamplers: bool,
    image: Path | None,
    root: Path | None,
    side_px: int,
    seed: int,
    overwrite: bool,
) -> Outcome:
    """Draw a picture of the images of the manifest FILE, to look at them closely.

    By default four images of each class of each split, drawn by the seed. --augment and --resamplers take one image:
    no transform and no filter is best for all data, so look at what each does to yours. --image alone shows an image
    as it is stored, upright, and as crops see it. An image that cannot be read leaves a note in its place, exit
    code 3. Same images and options, same bytes.
    """
    from imagekit.look.show import show_manifest

    with progress(None, "images") as bar:
        return show_manifest(
            file,
            output=output,
            augment=augment,
            resamplers=resamplers,
            image=image,
            root=root,
            seed=seed,
            side_px=side_px,
            overwrite=overwrite,
            progress=bar.report,
        )
