"""A rebuild exchanges the whole folder: files of somebody else are found before, not lost."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subset.trees import picture, plant, recipe, tree, two_classes

from imagekit.errors import OutputError
from imagekit.subset.build import make_subset
from imagekit.subset.foreign import refuse_foreign_files
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def output(tmp_path: Path, source: Path) -> Path:
    make_subset(recipe(), source, output=tmp_path / "out")
    return tmp_path / "out"


def rebuild(source: Path, output: Path) -> SubsetReport:
    return make_subset(recipe(), source, output=output, options=SubsetOptions(size=4), overwrite=True)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["notes.txt"], "1 file that make-subset did not write: notes.txt"),
        (["train/n01/a\n.jpg"], "1 file that make-subset did not write: train/n01/a\\n.jpg"),
        ([".hidden", "train/mine.JPEG"], "2 files that make-subset did not write: .hidden, train/mine.JPEG"),
        ([f"{i}.txt" for i in range(1200)], "1,200 files that make-subset did not write: 0.txt, 1.txt, 10.txt, ..."),
    ],
)
@pytest.mark.parametrize("how", ["overwrite", "brought up to date"])
def test_files_that_make_subset_did_not_write_are_never_taken_away(
    source: Path, output: Path, names: list[str], said: str, how: str
) -> None:
    plant(output, dict.fromkeys(names, b"mine"))
    before = tree(output)
    if how == "brought up to date":
        plant(source, {"train/n01/new.JPEG": picture()})

    with pytest.raises(OutputError) as caught:
        if how == "overwrite":
            rebuild(source, output)
        else:
            make_subset(recipe(), source, output=output)

    assert str(caught.value) == (
        f"the output holds {said}\n  where: {output}\n  fix: move them elsewhere, or give another -o"
    )
    assert tree(output) == before


def test_a_foreign_file_is_no_matter_while_the_output_is_up_to_date(source: Path, output: Path) -> None:
    plant(output, {"notes.txt": b"mine"})

    assert make_subset(recipe(), source, output=output).state == "up to date"
    assert (output / "notes.txt").read_bytes() == b"mine"


def test_a_link_among_the_images_is_a_foreign_file_and_is_not_followed(
    source: Path, output: Path, tmp_path: Path
) -> None:
    plant(tmp_path / "elsewhere", {"a.txt": b""})
    (output / "train" / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OutputError, match=r"the output holds 1 file that make-subset did not write: train/link\n"):
        refuse_foreign_files(output)


def test_an_image_that_was_removed_by_hand_is_no_foreign_file(source: Path, output: Path) -> None:
    (output / "train/n01/0.JPEG").unlink()

    assert make_subset(recipe(), source, output=output).state == "built"
    assert (output / "train/n01/0.JPEG").is_file()


def test_names_of_any_bytes_are_known_as_ours(source: Path, tmp_path: Path) -> None:
    plant(source, {b"train/n01/\xff\n.JPEG": picture(), "train/n01/a\\n.JPEG": picture()})
    make_subset(recipe(), source, output=tmp_path / "odd")

    assert rebuild(source, tmp_path / "odd").state == "built"


def test_what_a_killed_manifest_command_left_does_not_stand_in_the_way(source: Path, output: Path) -> None:
    plant(output, {".metadata.parquet.imagekit-lock": b"1", ".imagekit-tmp-0123456789ab-metadata.parquet": b"half"})

    assert rebuild(source, output).state == "built"


def test_the_manifest_goes_with_the_version_it_describes_and_the_summary_says_so(source: Path, output: Path) -> None:
    manifest = pa.table({"file_name": ["x"]}).replace_schema_metadata({"imagekit": "{}"})
    pq.write_table(manifest, output / "metadata.parquet")
    plant(output, {"metadata.parquet.quarantine.jsonl": b"{}"})

    report = rebuild(source, output)
    again = rebuild(source, output)

    assert report.manifest_is_gone
    assert report.summary().splitlines()[-1] == (
        "the manifest in it was of the old version and is gone: run imagekit manifest again"
    )
    assert report.to_dict()["manifest_is_gone"] is True
    assert not (output / "metadata.parquet").exists()
    assert not again.manifest_is_gone
    assert "manifest in it" not in again.summary()


def test_the_manifest_stays_while_the_output_is_up_to_date(source: Path, output: Path) -> None:
    plant(output, {"metadata.parquet": b"manifest"})

    report = make_subset(recipe(), source, output=output)

    assert (report.state, report.manifest_is_gone) == ("up to date", False)
    assert (output / "metadata.parquet").is_file()
