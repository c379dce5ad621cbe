"""`imagekit export`: a manifest in another program's format."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.frame import Choice, Outcome, imagekit_command, output_option, progress, root_option

FORMATS = ("hf", "csv", "croissant", "imagefolder", "webdataset")


@imagekit_command(
    "export",
    examples=[
        "imagekit export nette160/metadata.parquet --to hf -o nette160-hf",
        "imagekit export nette160/metadata.parquet --to csv -o nette160.csv",
        "imagekit export nette160/metadata.parquet --to webdataset -o nette160-shards",
    ],
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", type=Choice(FORMATS), required=True, help="The format to write.")
@output_option("Where to write: a file for csv and croissant, else a folder. It may not exist.")
@root_option
def export(file: Path, to: str, output: Path, root: Path | None) -> Outcome:
    """Write the rows of the manifest FILE in another program's format.

    hf is a folder for Hugging Face datasets, with the images and a metadata.parquet a split; imagefolder is
    split/label/image, as torchvision reads it; webdataset is tar files of images, labels and JSON. csv is one table in
    which a text that a spreadsheet would run as a formula has a single quote in front; croissant is a JSON description
    and a Parquet file beside it. Images are hard links where the disk can do that, else copies. Same manifest, same
    bytes.
    """
    from imagekit.manifest.export import export_manifest

    with progress(None, "images") as bar:
        return export_manifest(file, to=to, output=output, root=root, progress=bar.report)
