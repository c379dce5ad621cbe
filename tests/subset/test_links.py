"""How bytes that are kept get into a subset: reflink, hard link or copy, as asked for or as the file system can."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from subset.trees import picture, plant, recipe, settle, tree, two_classes

from imagekit.errors import DiskFullError, OutputError
from imagekit.files import link, seam
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def clones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that can share blocks; what it makes is a file of its own."""

    def clone(source_fd: int, target: Path) -> None:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, os.pread(source_fd, 1_000_000, 0))
        os.close(fd)

    monkeypatch.setattr(seam, "clone", clone)
    monkeypatch.setattr(link, "_cannot_clone", set())


@pytest.fixture
def no_clones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot."""

    def clone(source_fd: int, target: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(seam, "clone", clone)
    monkeypatch.setattr(link, "_cannot_clone", set())


def build(source: Path, output: Path, **options: Any) -> SubsetReport:
    return make_subset(recipe(), source, output=output, options=SubsetOptions(**options))


def images(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.startswith(".imagekit/")}


def n_links(folder: Path) -> set[int]:
    return {path.stat().st_nlink for path in folder.rglob("*.JPEG")}


@pytest.mark.usefixtures("clones")
@pytest.mark.parametrize(
    ("asked", "way", "word", "names"),
    [("hard", "hard", "hard-linked", 2), ("copy", "copy", "copied", 1), ("reflink", "reflink", "reflinked", 1),
     (None, "reflink", "reflinked", 1)],
)  # fmt: skip
def test_full_takes_the_way_that_was_asked_for_and_says_which(
    source: Path, tmp_path: Path, asked: str | None, way: str, word: str, names: int
) -> None:
    report = build(source, tmp_path / "out", link=asked)
    again = build(source, tmp_path / "out", link=asked)

    assert images(tmp_path / "out") == two_classes()
    assert n_links(tmp_path / "out") == {names}
    assert report.links == again.links == {way: 6}
    assert report.to_dict()["links"] == {way: 6}
    for told in (report, again):
        assert f"bytes kept: 6 {word}" in told.summary().splitlines()
    assert (report.state, again.state) == ("built", "up to date")
    assert set(pq.read_table(tmp_path / "out/.imagekit/state.parquet")["link"].to_pylist()) == {way}


@pytest.mark.usefixtures("no_clones")
def test_without_a_wish_a_file_system_that_cannot_share_blocks_gets_copies(source: Path, tmp_path: Path) -> None:
    report = build(source, tmp_path / "out")

    assert report.links == {"copy": 6}
    assert images(tmp_path / "out") == two_classes()
    assert n_links(tmp_path / "out") == {1}


@pytest.mark.usefixtures("no_clones")
def test_a_reflink_that_was_asked_for_and_cannot_be_is_refused_and_publishes_nothing(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError) as caught:
        build(source, tmp_path / "out", link="reflink")

    assert str(caught.value) == (
        "cannot reflink a source file: the file system cannot share blocks between files\n"
        f"  where: {source}/train/n01/0.JPEG\n"
        "  fix: put both on one file system that can (btrfs, XFS, APFS), or leave --link out to copy instead"
    )
    assert not (tmp_path / "out").exists()
    assert build(source, tmp_path / "out").state == "built"


def test_a_hard_link_across_file_systems_is_refused_and_publishes_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(one: Path, other: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(seam, "link", no_link)

    with pytest.raises(OutputError) as caught:
        build(source, tmp_path / "out", link="hard")

    assert str(caught.value) == (
        "cannot hard-link a source file: source and output lie on different file systems\n"
        f"  where: {source}/train/n01/0.JPEG\n"
        "  fix: put the output on the source's file system, or give --link copy"
    )
    assert not (tmp_path / "out").exists()
    assert tree(source) == two_classes()


def test_the_way_is_no_part_of_the_bytes(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "hard", link="hard")
    build(source, tmp_path / "copy", link="copy")

    one, other = tree(tmp_path / "hard"), tree(tmp_path / "copy")
    assert [name for name in one if one[name] != other[name]] == [".imagekit/receipt.json"]  # it tells the options


def test_small_images_that_a_resize_keeps_are_linked_and_counted_too(source: Path, tmp_path: Path) -> None:
    plant(source, {"train/n01/small.JPEG": picture((4, 3)), "train/n02/small.JPEG": picture((3, 4), seed=1)})

    report = build(source, tmp_path / "out", size=4, link="hard")

    assert report.links == {"hard": 2}
    assert "bytes kept: 2 hard-linked, their metadata (EXIF, GPS) with them" in report.summary().splitlines()
    assert (tmp_path / "out/train/n01/small.JPEG").samefile(source / "train/n01/small.JPEG")
    table = {row["file_name"]: row for row in pq.read_table(tmp_path / "out/.imagekit/files.parquet").to_pylist()}
    assert (table["train/n01/small.JPEG"]["kept"], table["train/n01/small.JPEG"]["resized"]) == (True, False)
    assert (table["train/n01/0.JPEG"]["kept"], table["train/n01/0.JPEG"]["resized"]) == (False, True)


@pytest.mark.parametrize("how", ["rewritten", "replaced"])
@pytest.mark.parametrize("way", ["hard", "copy"])
def test_a_source_that_changes_after_it_was_linked_is_linked_anew(
    source: Path, tmp_path: Path, how: str, way: str
) -> None:
    build(source, tmp_path / "out", link=way)
    victim, data = source / "train/n01/0.JPEG", picture((30, 20), seed=7)
    if how == "replaced":
        victim.unlink()
    victim.write_bytes(data)  # in place, this writes to the subset as well where both are one file
    settle(victim)

    report = build(source, tmp_path / "out", link=way)
    again = build(source, tmp_path / "out", link=way)

    build(source, tmp_path / "fresh", link=way)
    assert (report.state, again.state) == ("built", "up to date")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert victim.read_bytes() == data
    assert (tmp_path / "out/train/n01/0.JPEG").samefile(victim) == (way == "hard")
    assert n_links(tmp_path / "out") == {3 if way == "hard" else 1}  # the source's, and one in each of two subsets


def test_a_rebuild_never_writes_through_a_hard_link_to_the_source(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", link="hard")
    before = tree(source)

    make_subset(recipe(), source, output=tmp_path / "out", options=SubsetOptions(size=4), overwrite=True)

    assert tree(source) == before
    assert n_links(source) == {1}


def free_bytes(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    usage = SimpleNamespace(total=10**9, used=10**9 - n_bytes, free=n_bytes)
    monkeypatch.setattr("imagekit.subset.making.shutil.disk_usage", lambda path: usage)


def test_a_disk_without_room_for_the_copies_is_told_before_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plant(tmp_path / "source", two_classes())
    needed = sum(map(len, two_classes().values()))
    free_bytes(monkeypatch, needed - 1)
    seen: list[int] = []

    with pytest.raises(DiskFullError) as caught:
        make_subset(recipe(), source, output=tmp_path / "out", progress=lambda done, *_, **__: seen.append(done))

    assert str(caught.value) == (
        f"the images have {needed:,} bytes and the disk has {needed - 1:,} free\n  where: {tmp_path / 'out'}\n"
        "  fix: free 1 bytes there, or give --link hard or a --size N"
    )
    assert seen == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"link": "hard"}, {"size": 4}])
def test_links_and_smaller_pictures_are_not_held_up_by_a_full_disk_that_may_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    source = plant(tmp_path / "source", two_classes())
    free_bytes(monkeypatch, 1)

    report = make_subset(recipe(), source, output=tmp_path / "out", options=SubsetOptions(**options))

    assert report.outcomes.selected == 6


@pytest.mark.usefixtures("clones")
def test_a_full_disk_that_can_share_blocks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = plant(tmp_path / "source", two_classes())
    free_bytes(monkeypatch, 1)

    report = make_subset(recipe(), source, output=tmp_path / "out")

    assert report.links == {"reflink": 6}
    assert not list((tmp_path / "out").rglob(".imagekit-tmp*"))
