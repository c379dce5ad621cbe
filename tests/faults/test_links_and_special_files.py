"""Rows 15, 16, 17 and 27 of the threat table: links, pipes, sockets, devices, what may not be read, and overlaps."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from subset.trees import picture, plant, recipe, tree

from imagekit.errors import OutputError
from imagekit.subset.build import make_subset
from imagekit.subset.summary import SubsetReport

TESTS = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


def build(source: Path, output: Path, **options: Any) -> SubsetReport:
    return make_subset(recipe(layout="class", split="none", classes={}), source, output=output, **options)


def quarantine(output: Path) -> list[tuple[str, str, str]]:
    lines = map(json.loads, (output / ".imagekit/quarantine.jsonl").read_text().splitlines())
    return [(line["file_name"], line["reason"], line["detail"]) for line in lines]


def images(output: Path) -> set[str]:
    return {name for name in tree(output) if not name.startswith(".")}


@pytest.mark.usefixtures("in_process")
def test_links_are_counted_and_never_followed_not_even_in_a_circle(tmp_path: Path) -> None:
    plant(tmp_path / "elsewhere", {"secret.jpg": picture()})
    source = plant(tmp_path / "source", {"n01/a.jpg": picture()})
    (source / "n01/self").symlink_to(".")
    (source / "n01/up").symlink_to("..")
    (source / "n02").symlink_to("n01")
    (source / "n01/out").symlink_to(tmp_path / "elsewhere")
    (source / "n01/secret.jpg").symlink_to(tmp_path / "elsewhere/secret.jpg")
    (source / "n01/inside.jpg").symlink_to("a.jpg")
    (source / "n01/nowhere.jpg").symlink_to("gone.jpg")
    (source / "n01/loop.jpg").symlink_to("loop.jpg")

    report = build(source, tmp_path / "out")

    assert images(tmp_path / "out") == {"n01/a.jpg"}
    assert report.outcomes.to_dict() == {
        "found": 9, "selected": 1, "excluded": {"symlink": 8}, "quarantined": {}, "not_image": 0
    }  # fmt: skip
    assert "  excluded 8: symlink" in report.summary().splitlines()
    assert report.exit_code == 0
    assert build(source, tmp_path / "out").state == "up to date"


@pytest.fixture
def special(tmp_path: Path) -> Iterator[Path]:
    """A source with a pipe and a socket that are named as images, in a short path: a socket's may have 100 bytes."""
    source = plant(tmp_path / "s", {"n01/a.jpg": picture()})
    os.mkfifo(source / "n01/pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(source / "n01")
        server.bind("socket.jpg")
        os.chdir(here)
        yield source


@pytest.mark.timeout(20)
def test_pipes_and_sockets_named_as_images_are_quarantined_and_never_opened(special: Path, tmp_path: Path) -> None:
    report = build(special, tmp_path / "out", n_workers=2)

    words = "not a plain file inside the source"
    assert quarantine(tmp_path / "out") == [
        ("n01/pipe.jpg", "special-file", words),
        ("n01/socket.jpg", "special-file", words),
    ]
    assert (report.exit_code, images(tmp_path / "out")) == (3, {"n01/a.jpg"})


@pytest.mark.usefixtures("in_process")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_named_as_an_image_is_quarantined_and_never_opened(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"n01/a.jpg": picture()})
    try:
        os.mknod(source / "n01/zero.jpg", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this system lets not even root make a device")

    build(source, tmp_path / "out")

    assert [line[:2] for line in quarantine(tmp_path / "out")] == [("n01/zero.jpg", "special-file")]


@pytest.mark.usefixtures("in_process")
@pytest.mark.timeout(20)
@pytest.mark.parametrize(("kind", "word"), [
    ("pipe", "a FIFO"), ("link", "a symbolic link, which is not followed"), ("folder", "a folder")
])  # fmt: skip
def test_a_file_that_is_swapped_for_something_else_after_it_was_listed_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, word: str
) -> None:
    from imagekit.files.discover import Discovery, discover

    plant(tmp_path / "elsewhere", {"secret.jpg": picture(seed=1)})
    source = plant(tmp_path / "source", {"n01/a.jpg": picture(), "n01/b.jpg": picture()})

    def list_then_swap(root: Path) -> Discovery:
        found = discover(root)
        victim = root / "n01/b.jpg"
        victim.unlink()
        if kind == "pipe":
            os.mkfifo(victim)
        elif kind == "folder":
            victim.mkdir()
        else:
            victim.symlink_to(tmp_path / "elsewhere/secret.jpg")
        return found

    monkeypatch.setattr("imagekit.subset.sources.discover", list_then_swap)
    build(source, tmp_path / "out")

    assert quarantine(tmp_path / "out") == [("n01/b.jpg", "special-file", f"not a regular file but {word}")]
    assert images(tmp_path / "out") == {"n01/a.jpg"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches and writes to; not pytest's, whose parent each run of pytest closes again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def build_as_nobody(source: Path, output: Path) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("as_nobody.py")), str(source), str(output)]
    process = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    report: dict[str, Any] = json.loads(process.stdout)
    return report


@pytest.mark.usefixtures("in_process")
def test_what_may_not_be_read_is_told_and_comes_in_once_it_may(open_folder: Path) -> None:
    source = plant(open_folder / "source", {f"n0{c}/{i}.jpg": picture(seed=i) for c in (1, 2, 3) for i in range(2)})
    (source / "n02").chmod(0o000)
    (source / "n03/1.jpg").chmod(0o000)
    (source / "n01").chmod(0o444)  # may be listed, and nothing in it may be opened

    report = build_as_nobody(source, open_folder / "out")
    told, made = quarantine(open_folder / "out"), images(open_folder / "out")
    for path in (source / "n02", source / "n01", source / "n03/1.jpg"):
        path.chmod(0o755)
    again = build_as_nobody(source, open_folder / "out")

    words = os.strerror(13)
    assert told == [
        ("n01/0.jpg", "unreadable", words),
        ("n01/1.jpg", "unreadable", words),
        ("n02", "unreadable", words),
        ("n03/1.jpg", "unreadable", words),
    ]
    assert (report["exit_code"], made) == (3, {"n03/0.jpg"})
    assert (again["exit_code"], again["counts"]["selected"]) == (0, 6)
    build(source, open_folder / "fresh")
    assert tree(open_folder / "out") == tree(open_folder / "fresh")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("how", ["same", "inside", "holds", "inside by a link", "holds by a link", "same by a link"])
def test_an_output_in_its_source_or_round_it_is_refused_by_real_path(tmp_path: Path, how: str) -> None:
    real = plant(tmp_path / "real/source", {"n01/a.jpg": picture()})
    (tmp_path / "door").symlink_to(real)
    (tmp_path / "hall").symlink_to(tmp_path / "real")
    source, output, relation = {
        "same": (real, real, "is"),
        "inside": (real, real / "n02/out", "lies inside"),
        "holds": (real, tmp_path / "real", "holds"),
        "inside by a link": (real, tmp_path / "door/out", "lies inside"),
        "holds by a link": (tmp_path / "door", tmp_path / "real", "holds"),
        "same by a link": (tmp_path / "door", tmp_path / "hall/source", "is"),
    }[how]
    before = tree(tmp_path)

    with pytest.raises(OutputError) as caught:
        build(source, output, overwrite=True)

    assert str(caught.value) == (
        f"the output {relation} the source\n  where: {output} -> {output.resolve()}\n"
        "  fix: give -o a folder outside the source"
    )
    assert caught.value.exit_code == 2
    assert tree(tmp_path) == before
