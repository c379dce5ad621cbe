"""The build itself: room on the disk, its pace, what a bound on bad files leaves, what lies in the folder meanwhile."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subset.trees import ANT, picture, plant, recipe, settle, tree, two_classes

from imagekit.errors import OutputError, SourceError, TooManyBadError
from imagekit.files.atomic import staging_folder
from imagekit.recipes.recipe import ChooseRule, Recipe
from imagekit.rules.tolerance import Tolerance
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def build(source: Path, output: Path, **options: Any) -> SubsetReport:
    return make_subset(options.pop("recipe", recipe()), source, output=output, **options)


def stop_after(n_images: int) -> Callable[..., None]:
    def progress(done: int, total: int, **more: int) -> None:
        if done == n_images:
            raise KeyboardInterrupt

    return progress


def test_a_resumed_build_needs_room_for_the_rest_only(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(source, output, progress=stop_after(4))
    free = sum(map(len, two_classes().values())) // 2
    monkeypatch.setattr("imagekit.subset.making.shutil.disk_usage", lambda path: SimpleNamespace(free=free))

    report = build(source, output)

    assert report.n_resumed == 4


def test_what_was_made_stays_aside_when_too_many_are_bad(source: Path, output: Path) -> None:
    plant(source, {f"train/{ANT}/cut.JPEG": b""})

    with pytest.raises(TooManyBadError):
        build(source, output, max_bad=Tolerance.parse("0"))
    report = build(source, output, max_bad=Tolerance.parse("1"))

    assert (report.n_resumed, report.exit_code) == (6, 0)


def test_a_build_too_small_to_tell_a_pace_leaves_the_old_one(source: Path, output: Path) -> None:
    plant(source, {f"train/{ANT}/more{i}.JPEG": picture(seed=i) for i in range(60)})
    build(source, output)
    pace = pq.read_schema(output / ".imagekit/state.parquet").metadata[b"seconds_per_image"]
    plant(source, {f"train/{ANT}/new.JPEG": picture(seed=99)})

    build(source, output)

    assert float(pace) > 0
    assert pq.read_schema(output / ".imagekit/state.parquet").metadata[b"seconds_per_image"] == pace


def test_a_file_put_into_the_output_while_images_are_made_is_not_taken_away(source: Path, output: Path) -> None:
    build(source, output)
    plant(source, {f"train/{ANT}/new.JPEG": picture()})

    def put(done: int, total: int, **more: int) -> None:
        (output / "mine.txt").write_text("mine")

    with pytest.raises(OutputError) as caught:
        build(source, output, progress=put)

    assert str(caught.value).splitlines()[0] == "the output holds 1 file that make-subset did not write: mine.txt"
    assert (output / "mine.txt").read_text() == "mine"
    (output / "mine.txt").unlink()
    assert build(source, output).n_resumed == 1


def test_a_metadata_file_of_another_program_is_no_manifest_of_ours(source: Path, output: Path) -> None:
    build(source, output)
    pq.write_table(pa.table({"file_name": ["x"]}), output / "metadata.parquet")
    plant(source, {f"train/{ANT}/new.JPEG": picture()})

    with pytest.raises(OutputError) as caught:
        build(source, output)

    what = "the output holds 1 file that make-subset did not write: metadata.parquet"
    assert str(caught.value).splitlines()[0] == what


def test_a_recipe_whose_rules_leave_out_everything_says_which(source: Path, output: Path) -> None:
    strict = recipe(choose=ChooseRule(min_side=1000))

    with pytest.raises(SourceError) as caught:
        build(source, output, recipe=strict)

    assert str(caught.value) == (
        f"the recipe's rules leave out every image: below-min-side 6\n  where: {source}\n"
        "  fix: mend the rules of the recipe; nothing was published"
    )
    assert not output.exists()


def test_a_class_without_a_usable_image_has_no_folder(source: Path, output: Path) -> None:
    every = Recipe(name="every", layout="split/class", split="folders", label="parent")
    plant(source, {"train/n09/a.JPEG": b"", "train/n09/b.JPEG": b"x"})

    build(source, output, recipe=every)

    assert not (output / "train/n09").exists()
    assert {path.name for path in (output / "train").iterdir()} == {"n01", "n02"}


def test_a_table_whose_lines_changed_places_makes_the_receipt_new(tmp_path: Path, output: Path) -> None:
    source = plant(tmp_path / "listed", {f"{i}.jpg": picture(seed=i) for i in range(4)})
    lines = [f"{i}.jpg,{'ant' if i % 2 else 'bee'}\n" for i in range(4)]
    listed = Recipe(name="listed", layout="list", label="table:cases.csv", split="none")

    def write(order: list[str]) -> None:
        (source / "cases.csv").write_text("".join(order))
        settle(source / "cases.csv")

    write(lines)
    build(source, output, recipe=listed)
    write(lines[::-1])
    report = build(source, output, recipe=listed)
    make_subset(listed, source, output=output.with_name("fresh"))

    assert (report.state, report.n_made) == ("built", 0)
    assert tree(output) == tree(output.with_name("fresh"))
    assert json.loads((output / ".imagekit/receipt.json").read_text())["read_as"]["tables"]


def test_staging_left_by_an_update_that_was_given_up_is_removed(source: Path, output: Path) -> None:
    build(source, output)
    new = plant(source, {f"train/{ANT}/new.JPEG": picture()}) / f"train/{ANT}/new.JPEG"
    with pytest.raises(KeyboardInterrupt):
        build(source, output, progress=stop_after(7))
    new.unlink()

    report = build(source, output)

    assert report.state == "up to date"
    assert not staging_folder(output).exists()
    assert {path.name for path in output.parent.iterdir()} == {"source", "out"}


def test_a_dry_run_after_a_small_update_has_a_sober_estimate(source: Path, output: Path) -> None:
    plant(source, {f"train/{ANT}/more{i}.JPEG": picture(seed=i) for i in range(60)})
    build(source, output, options=SubsetOptions(size=4))
    shutil.copy(source / f"train/{ANT}/more1.JPEG", source / f"train/{ANT}/twin.JPEG")
    build(source, output, options=SubsetOptions(size=4))
    plant(source, {f"train/{ANT}/again{i}.JPEG": picture(seed=i) for i in range(60)})

    report = build(source, output, options=SubsetOptions(size=4), dry_run=True)

    assert report.estimate_s is not None
    assert 0 < report.estimate_s < 30
