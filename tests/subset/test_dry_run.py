"""A dry run writes nothing at all, and tells what a build would make anew, what goes, and about how long it takes."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from subset.trees import picture, plant, recipe, two_classes

from imagekit.errors import OutputError
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import Changes, SubsetReport

pytestmark = pytest.mark.usefixtures("in_process")
HALF = SubsetOptions(size=4)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def build(source: Path, output: Path, **more: Any) -> SubsetReport:
    return make_subset(recipe(), source, output=output, **{"options": HALF} | more)


@pytest.fixture(autouse=True)
def six_images_tell_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagekit.subset.making.TIMED_IMAGES", 2)


def everything(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every entry below a folder, hidden ones and folders too, with inode, size and times."""
    return {
        os.fsdecode(path.relative_to(folder)): (status.st_ino, status.st_size, status.st_mtime_ns)
        for path in sorted([folder, *folder.rglob("*")])
        for status in [path.lstat()]
    }


def plan(source: Path, output: Path, **more: Any) -> SubsetReport:
    """A dry run, after which nothing is different on disk."""
    before = everything(source.parent)
    report = build(source, output, dry_run=True, **more)
    assert everything(source.parent) == before
    assert report.state == "planned"
    return report


def n_bytes(*files: bytes) -> int:
    return sum(map(len, files))


def test_of_an_output_that_is_absent_everything_is_new(source: Path, output: Path) -> None:
    report = plan(source, output)

    assert report.changes == Changes(
        n_new=6,
        new_bytes=n_bytes(*two_classes().values()),
        new=("train/n01/0.JPEG", "train/n01/1.JPEG", "train/n02/0.JPEG"),
    )
    assert report.estimate_s is not None
    assert report.estimate_s > 0
    assert report.size_bytes == n_bytes(*two_classes().values())
    assert not output.exists()


def test_of_an_output_that_is_up_to_date_nothing_is_made(source: Path, output: Path) -> None:
    build(source, output)

    report = plan(source, output)

    assert report.changes == Changes(n_kept=6)
    assert report.estimate_s == 0
    assert report.summary().splitlines()[2:] == [
        "against what is there:",
        "  unchanged 6",
        f"would write 0 of 6 images to {output}; nothing was written",
    ]


def test_new_changed_and_gone_are_listed_with_the_bytes_of_their_sources(source: Path, output: Path) -> None:
    build(source, output)
    more = {f"train/n01/new{i}.JPEG": picture((40, 30), seed=i) for i in range(5)}
    other = picture((50, 30), seed=8)
    gone = two_classes()["train/n02/1.JPEG"]
    plant(source, more | {"train/n01/1.JPEG": other})
    (source / "train/n02/1.JPEG").unlink()

    report = plan(source, output)

    assert report.changes == Changes(
        n_new=5,
        new_bytes=n_bytes(*more.values()),
        new=("train/n01/new0.JPEG", "train/n01/new1.JPEG", "train/n01/new2.JPEG"),
        n_changed=1,
        changed_bytes=len(other),
        changed=("train/n01/1.JPEG",),
        n_gone=1,
        gone_bytes=len(gone),
        gone=("train/n02/1.JPEG",),
        n_kept=4,
    )
    assert report.estimate_s is not None
    assert replace(report, estimate_s=7200.0).summary().splitlines()[2:] == [
        "against what is there:",
        "  new 5 (0.0 MB): train/n01/new0.JPEG, train/n01/new1.JPEG, train/n01/new2.JPEG, ...",
        "  changed 1 (0.0 MB): train/n01/1.JPEG",
        "  gone 1 (0.0 MB): train/n02/1.JPEG",
        "  unchanged 4",
        "about 2.0 h of work",
        f"would write 6 of 10 images to {output}; nothing was written",
    ]


def test_the_estimate_comes_from_the_pace_of_the_last_build(source: Path, output: Path) -> None:
    built = build(source, output, n_workers=1)
    plant(source, {f"train/n01/new{i}.JPEG": picture((12, 8)) for i in range(12)})

    one, two = plan(source, output, n_workers=1).estimate_s, plan(source, output, n_workers=2).estimate_s

    assert one is not None
    assert two is not None
    assert two == pytest.approx(one / 2)
    assert one <= 2 * built.seconds  # 12 images at the pace of the 6 that were built


def test_an_estimate_of_one_image_without_an_earlier_pace_is_not_given(tmp_path: Path, output: Path) -> None:
    source = plant(tmp_path / "source", {"n01/0.JPEG": picture()})

    report = make_subset(recipe(layout="class", split="none", classes={}), source, output=output, dry_run=True)

    assert report.estimate_s is None
    assert report.to_dict()["estimate_s"] is None
    assert "of work" not in report.summary()


def test_the_next_command_is_the_one_that_builds_it(source: Path, output: Path) -> None:
    assert plan(source, output).next_command == f"imagekit make-subset tiny SRC -o {output} --size 4"
    assert plan(source, output, options=SubsetOptions()).next_command == f"imagekit make-subset tiny SRC -o {output}"
    typed = "imagekit make-subset tiny photos -o out --recipes mine.toml"
    assert replace(plan(source, output), typed=typed).next_command == typed


def test_with_other_versions_a_change_makes_everything_new(source: Path, output: Path) -> None:
    build(source, output)
    path = output / ".imagekit/receipt.json"
    receipt = json.loads(path.read_text())
    path.write_text(json.dumps(receipt | {"versions": receipt["versions"] | {"pillow": "1.0"}}))
    assert plan(source, output).changes == Changes(n_kept=6)
    plant(source, {"train/n01/new.JPEG": picture()})

    changes = plan(source, output).changes

    assert changes is not None
    assert (changes.n_new, changes.n_kept) == (7, 0)


def test_as_json_it_tells_the_same(source: Path, output: Path) -> None:
    build(source, output)
    plant(source, {"train/n01/new.JPEG": picture()})

    told = json.loads(json.dumps(plan(source, output).to_dict()))

    assert told["state"] == "planned"
    assert told["counts"]["selected"] == 7
    assert told["changes"] == {
        "n_new": 1,
        "new_bytes": len(picture()),
        "n_changed": 0,
        "changed_bytes": 0,
        "n_gone": 0,
        "gone_bytes": 0,
        "n_kept": 6,
        "new": ["train/n01/new.JPEG"],
        "changed": [],
        "gone": [],
    }
    assert told["estimate_s"] >= 0


def test_names_are_shown_escaped(source: Path, output: Path) -> None:
    plant(source, {b"train/n01/\x1b[31m\n.JPEG": picture(), b"train/n01/+\xff.JPEG": picture()})

    report = plan(source, output)

    assert report.changes is not None
    assert report.changes.new[0] == "train/n01/\\x1b[31m\\n.JPEG"
    build(source, output)
    (source / os.fsdecode(b"train/n01/+\xff.JPEG")).unlink()
    after = plan(source, output).changes
    assert after is not None
    assert after.gone == ("train/n01/+\\xff.JPEG",)


def test_with_overwrite_everything_is_new(source: Path, output: Path) -> None:
    build(source, output)

    report = plan(source, output, overwrite=True)

    assert report.changes is not None
    assert (report.changes.n_new, report.changes.n_kept) == (6, 0)
    assert f"would write 6 images to {output}; nothing was written" in report.summary()


def test_retry_makes_what_was_quarantined_for_that_reason_part_of_the_work(source: Path, output: Path) -> None:
    plant(source, {"train/n01/cut.JPEG": b""})
    build(source, output)

    report = plan(source, output, retry=["truncated"])

    assert report.changes is not None
    assert report.changes.changed == ("train/n01/cut.JPEG",)
    assert plan(source, output).changes == Changes(n_kept=7)


def test_what_an_interrupted_build_left_stays_as_it_is(source: Path, output: Path) -> None:
    def stop(done: int, total: int, *, n_bytes: int, n_bad: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, output, progress=stop)

    assert plan(source, output).changes is not None
    assert build(source, output).n_resumed == 1


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "this folder was not made by make-subset"),
        ({"overwrite": True}, "this folder was not made by make-subset"),
    ],
    ids=["plain", "overwrite"],
)
def test_a_folder_that_a_build_would_refuse_is_refused(
    source: Path, output: Path, given: dict[str, Any], what: str
) -> None:
    plant(output, {"mine.txt": b"mine"})

    with pytest.raises(OutputError) as caught:
        build(source, output, dry_run=True, **given)

    assert str(caught.value) == (
        f"{what}\n  where: {output}\n  fix: give another -o, or move that folder away yourself"
    )


def test_foreign_files_that_would_stop_a_build_stop_a_dry_run(source: Path, output: Path) -> None:
    build(source, output)
    plant(output, {"mine.txt": b"mine"})
    assert plan(source, output).changes == Changes(n_kept=6)  # nothing would be exchanged, so nothing is lost
    plant(source, {"train/n01/new.JPEG": picture()})

    with pytest.raises(OutputError) as caught:
        build(source, output, dry_run=True)

    assert str(caught.value) == (
        f"the output holds 1 file that make-subset did not write: mine.txt\n  where: {output}\n"
        "  fix: move them elsewhere, or give another -o"
    )


def test_other_options_are_refused_as_a_build_would(source: Path, output: Path) -> None:
    build(source, output)

    with pytest.raises(OutputError, match=r"^the output was built with --size 4\n"):
        build(source, output, dry_run=True, options=SubsetOptions())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.01, "0.1 s"), (9.4, "9.4 s"), (42.4, "42 s"), (600.0, "10 min"), (7200.0, "2.0 h")],
)
def test_the_estimate_is_told_in_words_of_its_size(source: Path, output: Path, seconds: float, words: str) -> None:
    report = replace(plan(source, output), estimate_s=seconds)

    assert f"about {words} of work" in report.summary().splitlines()
