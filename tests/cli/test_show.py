"""`imagekit show` as it is typed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imagekit.cli.main import cli


def typed(*words: object) -> Result:
    return CliRunner().invoke(cli, ["show", *map(str, words)])


@pytest.mark.parametrize("option", [(), ("--augment",), ("--resamplers",), ("--image", "train/cat/1.JPEG")])
def test_a_picture_is_written_and_told_of(manifest_path: Path, tmp_path: Path, option: tuple[str, ...]) -> None:
    result = typed(manifest_path, "-o", tmp_path / "page.png", "--size", 32, *option)

    assert (result.exit_code, result.stderr[:5]) == (0, "" if "--resamplers" in option else "next:")
    with Image.open(tmp_path / "page.png") as page:
        built = f"built: {tmp_path / 'page.png'} ({page.width:,} x {page.height:,} pixels)\n"
    assert result.stdout.endswith(built)


def test_json_tells_the_same(manifest_path: Path, tmp_path: Path) -> None:
    result = typed(manifest_path, "-o", tmp_path / "page.png", "--json", "--seed", 7)

    facts = json.loads(result.stdout)
    assert (facts["command"], facts["exit_code"], facts["mode"], facts["seed"]) == ("show", 0, "by-class", 7)
    assert len(facts["images"]) == 2 * 4 + 2 * 3


def test_an_image_that_is_gone_is_exit_3(manifest_path: Path, tmp_path: Path) -> None:
    for image in (manifest_path.parent / "train/cat").iterdir():
        image.unlink()

    result = typed(manifest_path, "-o", tmp_path / "page.png")

    assert result.exit_code == 3
    assert "cannot be read: 4 of 14 images\n  train/cat/" in result.stdout
    assert (tmp_path / "page.png").exists()


def test_an_output_that_exists_is_exit_2_unless_told_to_overwrite(manifest_path: Path, tmp_path: Path) -> None:
    words = (manifest_path, "-o", tmp_path / "page.png", "--size", 32)
    typed(*words)

    again = typed(*words)

    assert again.exit_code == 2
    assert again.stderr == (
        "error: the output exists already\n"
        f"  where: {tmp_path / 'page.png'}\n"
        "  fix: give another -o, or --overwrite to draw it anew\n"
    )
    assert typed(*words, "--overwrite").exit_code == 0


def test_the_help_has_an_example_of_each_picture() -> None:
    result = typed("--help")

    assert "imagekit show nette160/metadata.parquet -o augment.png --augment" in result.stdout
    assert "--resamplers --image" in result.stdout


def test_images_that_moved_are_found_by_the_root_that_is_given(manifest_path: Path, tmp_path: Path) -> None:
    moved = (manifest_path.parent / "train").rename(tmp_path / "train")

    lost = typed(manifest_path, "-o", tmp_path / "a.png", "--augment")
    found = typed(manifest_path, "-o", tmp_path / "b.png", "--augment", "--root", moved.parent)

    assert (lost.exit_code, found.exit_code) == (2, 0)
