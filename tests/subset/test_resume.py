"""An interrupted build goes on where it stopped, and ends in the bytes of an uninterrupted one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from subset.trees import picture, plant, recipe, tree, two_classes

from imagekit.files.atomic import staging_folder
from imagekit.subset.build import make_subset
from imagekit.subset.journal import NAME
from imagekit.subset.options import SubsetOptions

HALF = SubsetOptions(size=4)
pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    more = {f"train/n01/x{i}.JPEG": picture((40, 30), seed=i) for i in range(10)}
    return plant(tmp_path / "source", two_classes() | more)


def stop_after(n_images: int) -> Callable[..., None]:
    def progress(done: int, total: int, *, n_bytes: int, n_bad: int) -> None:
        if done == n_images:
            raise KeyboardInterrupt

    return progress


def interrupted(source: Path, output: Path, *, after: int = 7) -> Path:
    """The staging folder of a build that was stopped after some images."""
    with pytest.raises(KeyboardInterrupt):
        make_subset(recipe(), source, output=output, options=HALF, progress=stop_after(after))
    return staging_folder(output)


def test_finished_images_are_not_made_again_and_the_bytes_are_those_of_one_run(source: Path, tmp_path: Path) -> None:
    interrupted(source, tmp_path / "out")

    resumed = make_subset(recipe(), source, output=tmp_path / "out", options=HALF)
    make_subset(recipe(), source, output=tmp_path / "fresh", options=HALF)

    assert resumed.n_resumed == 7
    assert "resumed: 7 images had been finished by a run that was interrupted" in resumed.summary()
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_progress_counts_what_was_finished_before(source: Path, tmp_path: Path) -> None:
    interrupted(source, tmp_path / "out")
    seen: list[tuple[int, int]] = []

    make_subset(
        recipe(), source, output=tmp_path / "out", options=HALF, progress=lambda *done, **more: seen.append(done)
    )

    assert seen[:2] == [(7, 16), (8, 16)]
    assert seen[-1] == (16, 16)


def test_a_written_image_that_was_damaged_since_is_made_again(source: Path, tmp_path: Path) -> None:
    staging = interrupted(source, tmp_path / "out")
    victim = next(path for path in sorted(staging.rglob("*.JPEG")))
    victim.write_bytes(victim.read_bytes()[:-5] + b"xxxxx")

    resumed = make_subset(recipe(), source, output=tmp_path / "out", options=HALF)
    make_subset(recipe(), source, output=tmp_path / "fresh", options=HALF)

    assert resumed.n_resumed == 6
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_a_source_that_changed_since_is_read_again(source: Path, tmp_path: Path) -> None:
    interrupted(source, tmp_path / "out", after=16)
    (source / "train/n01/x3.JPEG").write_bytes(picture((60, 44), seed=99))

    resumed = make_subset(recipe(), source, output=tmp_path / "out", options=HALF)
    make_subset(recipe(), source, output=tmp_path / "fresh", options=HALF)

    assert resumed.n_resumed == 15
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_a_build_of_another_size_does_not_go_on_from_it(source: Path, tmp_path: Path) -> None:
    interrupted(source, tmp_path / "out")

    report = make_subset(recipe(), source, output=tmp_path / "out", options=SubsetOptions(size=6))

    assert report.n_resumed == 0


@pytest.mark.parametrize("damage", [b"", b"[1, 2", b"{}\n", b"\xff\n", b'{"identity": 3}\n[]\n'])
def test_a_damaged_journal_means_a_fresh_start(source: Path, tmp_path: Path, damage: bytes) -> None:
    staging = interrupted(source, tmp_path / "out")
    (staging / ".imagekit" / NAME).write_bytes(damage)

    assert make_subset(recipe(), source, output=tmp_path / "out", options=HALF).n_resumed == 0


def test_a_torn_last_line_costs_one_image(source: Path, tmp_path: Path) -> None:
    staging = interrupted(source, tmp_path / "out")
    journal = staging / ".imagekit" / NAME
    journal.write_bytes(journal.read_bytes()[:-9])

    assert make_subset(recipe(), source, output=tmp_path / "out", options=HALF).n_resumed == 6
