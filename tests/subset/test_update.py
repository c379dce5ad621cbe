"""A subset is brought up to date: only what is new or changed is made, and the bytes are those of a fresh build."""

import errno
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subset.trees import InlineWorkers, picture, plant, recipe, settle, tree, two_classes

from imagekit.engine.pool import Done, Failed
from imagekit.errors import DiskFullError, UsageError
from imagekit.files import seam
from imagekit.files.atomic import staging_folder
from imagekit.recipes.recipe import Part, Recipe
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.previous import OldNames
from imagekit.subset.summary import Changes, SubsetReport

HALF = SubsetOptions(size=4)
TOLD = ("outcomes", "per_split", "n_classes", "size_bytes", "bad_files", "exit_code", "links", "n_icc")
NAMES = [f"{split}/{label}/{i}.JPEG" for split, n in (("train", 2), ("val", 1)) for label in ("n01", "n02")
         for i in range(n)]  # fmt: skip


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that the builds of a test gave to a worker, in this process."""
    names: list[str] = []

    class Noting(InlineWorkers):
        def run(self, items: Iterable[Any]) -> Iterator[Done]:
            for index, item in enumerate(items):
                if isinstance(item, tuple):  # a bare name is only looked at
                    names.append(os.fsdecode(item[0]))
                yield Done(index, self.task(item))

    monkeypatch.setattr("imagekit.subset.build.Workers", Noting)
    return names


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def build(source: Path, output: Path, **more: Any) -> SubsetReport:
    return make_subset(more.pop("recipe", recipe()), source, output=output, **{"options": HALF} | more)


def update(source: Path, output: Path, made: list[str], **more: Any) -> tuple[SubsetReport, list[str]]:
    """Build once more, check against a fresh build and against a rerun; the report, and what was made for it."""
    made.clear()
    report = build(source, output, **more)
    names = sorted(made)
    fresh_place = output.with_name("fresh")
    fresh = build(source, fresh_place, **{key: value for key, value in more.items() if key == "recipe"})
    assert tree(output) == tree(fresh_place)
    assert {key: getattr(report, key) for key in TOLD} == {key: getattr(fresh, key) for key in TOLD}
    assert sorted(path.name for path in output.parent.iterdir() if path.name.startswith(".")) == []
    again = build(source, output, **{key: value for key, value in more.items() if key == "recipe"})
    assert {key: getattr(again, key) for key in TOLD} == {key: getattr(fresh, key) for key in TOLD}
    assert again.state == "up to date"
    return report, names


def rename(source: Path, name: str, other: str) -> None:
    (source / other).parent.mkdir(exist_ok=True)
    (source / name).rename(source / other)


@pytest.mark.parametrize(
    ("change", "names", "changes"),
    [
        (lambda source: plant(source, {"train/n01/new.JPEG": picture(seed=9)}), ["train/n01/new.JPEG"],
         {"n_new": 1, "new": ("train/n01/new.JPEG",), "n_kept": 6}),
        (lambda source: plant(source, {NAMES[1]: picture((30, 20), seed=9)}), [NAMES[1]],
         {"n_changed": 1, "changed": (NAMES[1],), "n_kept": 5}),
        (lambda source: (source / NAMES[1]).unlink(), [], {"n_gone": 1, "gone": (NAMES[1],), "n_kept": 5}),
        (lambda source: rename(source, NAMES[1], "train/n01/moved.JPEG"), ["train/n01/moved.JPEG"],
         {"n_new": 1, "new": ("train/n01/moved.JPEG",), "n_gone": 1, "gone": (NAMES[1],), "n_kept": 5}),
        (lambda source: plant(source, {"train/n03/0.JPEG": picture()}), [], {"n_kept": 6}),
        (lambda source: plant(source, {"notes.txt": b"a new file that is no image"}), [], {"n_kept": 6}),
        (lambda source: plant(source, {"train/n01/cut.JPEG": b""}), ["train/n01/cut.JPEG"],
         {"n_new": 1, "new": ("train/n01/cut.JPEG",), "n_kept": 6}),
        (lambda source: plant(source, {NAMES[1]: b""}), [NAMES[1]],
         {"n_changed": 1, "changed": (NAMES[1],), "n_kept": 5}),
        (lambda source: plant(source, {"train/n01/0.jpeg": picture()}), [], {"n_kept": 6}),
    ],
    ids=["added", "changed", "removed", "renamed", "added to a class that is not chosen", "added a text",
         "added one that cannot be used", "cut", "added one whose name clashes"],
)  # fmt: skip
def test_only_what_is_new_or_changed_is_made(
    source: Path,
    output: Path,
    made: list[str],
    change: Callable[[Path], object],
    names: list[str],
    changes: dict[str, Any],
) -> None:
    build(source, output)
    sizes = {name: (source / name).stat().st_size for name in NAMES}
    change(source)

    report, found = update(source, output, made)

    assert found == names
    assert report.state == "built"
    assert report.changes == Changes(
        **changes,
        new_bytes=sum((source / name).stat().st_size for name in changes.get("new", ())),
        changed_bytes=sum((source / name).stat().st_size for name in changes.get("changed", ())),
        gone_bytes=sum(sizes[name] for name in changes.get("gone", ())),
    )
    assert "brought up to date:" in report.summary().splitlines()
    assert f"  unchanged {changes['n_kept']}" in report.summary().splitlines()


def test_an_image_that_gets_another_label_moves_without_being_made_again(
    tmp_path: Path, output: Path, made: list[str]
) -> None:
    source = plant(tmp_path / "source", {f"{i}.jpg": picture(seed=i) for i in range(4)})
    plant(source, {"labels.csv": b"path,label\n0.jpg,ant\n1.jpg,ant\n2.jpg,bee\n3.jpg,bee\n"})
    listed = recipe(layout="list", label="table:labels.csv:path:label", split="none", classes={})
    build(source, output, recipe=listed)
    kept = (output / "ant/1.jpg").stat().st_ino
    plant(source, {"labels.csv": b"path,label\n0.jpg,ant\n1.jpg,bee\n2.jpg,bee\n3.jpg,cat\n"})

    report, names = update(source, output, made, recipe=listed)

    assert names == []
    assert {str(path.relative_to(output)) for path in output.rglob("*.jpg")} == {
        "ant/0.jpg", "bee/1.jpg", "bee/2.jpg", "cat/3.jpg"
    }  # fmt: skip
    assert (output / "bee/1.jpg").stat().st_ino == kept
    assert report.changes == Changes(n_kept=4)


def test_two_images_may_change_places(tmp_path: Path, output: Path, made: list[str]) -> None:
    source = plant(tmp_path / "source", {"a/0.jpg": picture(), "b/0.jpg": picture(seed=1)})
    plant(source, {"labels.csv": b"path,label\na/0.jpg,ant\nb/0.jpg,bee\n"})
    listed = recipe(layout="list", label="table:labels.csv:path:label", split="none", classes={})
    build(source, output, recipe=listed)
    plant(source, {"labels.csv": b"path,label\na/0.jpg,bee\nb/0.jpg,ant\n"})

    _, names = update(source, output, made, recipe=listed)

    assert names == []


def test_what_is_kept_is_the_same_file_as_before(source: Path, output: Path, made: list[str]) -> None:
    build(source, output)
    before = {name: (output / name).stat() for name in NAMES}
    plant(source, {"train/n01/new.JPEG": picture()})

    update(source, output, made)

    for name, status in before.items():
        now = (output / name).stat()
        assert (now.st_ino, now.st_mtime_ns, now.st_nlink) == (status.st_ino, status.st_mtime_ns, 1)


def test_where_files_cannot_be_linked_they_are_copied(
    source: Path, output: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(one: Path, other: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    build(source, output)
    before = (output / NAMES[0]).stat().st_ino
    plant(source, {"train/n01/new.JPEG": picture()})
    monkeypatch.setattr(seam, "link", no_link)

    _, names = update(source, output, made)

    assert names == ["train/n01/new.JPEG"]
    assert (output / NAMES[0]).stat().st_ino != before


def test_progress_begins_with_what_is_kept(source: Path, output: Path) -> None:
    plant(source, {"train/n02/cut.JPEG": b""})
    build(source, output)
    plant(source, {"train/n01/new.JPEG": picture()})
    seen: list[tuple[int, int, int]] = []

    def note(done: int, total: int, *, n_bytes: int, n_bad: int) -> None:
        seen.append((done, total, n_bad))

    build(source, output, progress=note)

    assert seen == [(7, 8, 1), (8, 8, 1)]


# --- what is not believed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
        lambda path: (path.unlink(), path.symlink_to("1.JPEG")),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: path.touch(),
    ],
    ids=["removed", "cut", "written to", "now a link", "now a folder", "touched"],
)
def test_an_image_of_the_subset_that_is_no_longer_what_was_written_is_made_again(
    source: Path, output: Path, made: list[str], damage: Callable[[Path], object]
) -> None:
    build(source, output)
    damage(output / NAMES[0])

    report, names = update(source, output, made)

    assert names == [NAMES[0]]
    assert report.changes is not None
    assert report.changes.changed == (NAMES[0],)


@pytest.mark.parametrize(
    ("record", "damage"),
    [
        ("state.parquet", "other bytes"),
        ("state.parquet", "removed"),
        ("files.parquet", "other bytes"),  # where it is removed, nobody can tell what else lies there: see test_build
        ("quarantine.jsonl", "other bytes"),
        ("quarantine.jsonl", "removed"),
    ],
)
def test_records_that_do_not_fit_each_other_mean_everything_anew(
    source: Path, output: Path, made: list[str], record: str, damage: str
) -> None:
    plant(source, {"train/n01/cut.JPEG": b""})
    build(source, output)
    path = output / ".imagekit" / record
    if damage == "removed":
        path.unlink()
    elif record == "quarantine.jsonl":
        path.write_text(path.read_text().replace("truncated", "corrupt"))
    else:
        table = pq.read_table(path)
        pq.write_table(table, path, compression="none")  # equal content, even: but not what was written
        if record == "state.parquet":
            pq.write_table(table.slice(1), path)

    report, names = update(source, output, made)

    assert names == sorted([*NAMES, "train/n01/cut.JPEG"])
    assert (report.state, report.changes) == ("built", None)


def test_a_state_of_another_build_is_not_believed(source: Path, output: Path, made: list[str]) -> None:
    build(source, output)
    old = (output / ".imagekit/state.parquet").read_bytes()
    plant(source, {NAMES[0]: picture((30, 20), seed=5)})
    build(source, output)
    (output / ".imagekit/state.parquet").write_bytes(old)

    assert len(update(source, output, made)[1]) == 6


def claim_other_versions(output: Path) -> None:
    path = output / ".imagekit/receipt.json"
    receipt = json.loads(path.read_text())
    path.write_text(json.dumps(receipt | {"versions": receipt["versions"] | {"pillow": "1.0"}}))


def test_other_versions_are_no_matter_while_the_source_is_the_same(source: Path, output: Path, made: list[str]) -> None:
    build(source, output)
    claim_other_versions(output)
    made.clear()

    assert build(source, output).state == "up to date"
    assert made == []


def test_images_of_two_versions_never_lie_side_by_side(source: Path, output: Path, made: list[str]) -> None:
    build(source, output)
    claim_other_versions(output)
    plant(source, {"train/n01/new.JPEG": picture()})

    report, names = update(source, output, made)

    assert names == sorted([*NAMES, "train/n01/new.JPEG"])
    assert report.changes is None


def test_a_source_at_another_place_is_read_again(source: Path, output: Path, tmp_path: Path, made: list[str]) -> None:
    build(source, output)

    _, names = update(plant(tmp_path / "copy", two_classes()), output, made)

    assert names == NAMES


# --- what could not be used ------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_used_is_not_read_again_until_it_changes(
    source: Path, output: Path, made: list[str]
) -> None:
    plant(source, {"train/n01/cut.JPEG": picture((60, 40))[:-60]})
    first = build(source, output)
    made.clear()

    again = build(source, output)

    assert (again.state, again.exit_code, again.bad_files) == ("up to date", 3, first.bad_files)
    assert made == []
    plant(source, {"train/n01/new.JPEG": picture()})
    report, names = update(source, output, made)
    assert names == ["train/n01/new.JPEG"]
    assert report.bad_files == first.bad_files
    plant(source, {"train/n01/cut.JPEG": picture((60, 40))})
    report, names = update(source, output, made)
    assert names == ["train/n01/cut.JPEG"]
    assert (report.exit_code, report.bad_files) == (0, ())


def test_retry_looks_again_at_just_those(source: Path, output: Path, made: list[str]) -> None:
    plant(source, {"train/n01/cut.JPEG": b"", "train/n02/text.JPEG": b"this is text"})
    first = build(source, output)
    made.clear()

    report = build(source, output, retry=["truncated", "timeout"])

    assert made == ["train/n01/cut.JPEG"]
    assert (report.state, report.exit_code, report.bad_files) == ("built", 3, first.bad_files)
    assert update(source, output, made, retry=["unidentified"])[1] == ["train/n02/text.JPEG"]


def test_what_was_mended_without_a_trace_is_seen_by_a_retry_only(source: Path, output: Path, made: list[str]) -> None:
    good = picture((60, 40))
    plant(source, {"train/n01/cut.JPEG": good[:-60] + bytes(60)})
    path = source / "train/n01/cut.JPEG"
    first = build(source, output)
    before = path.stat()
    path.write_bytes(good)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))

    again = build(source, output)
    report, names = update(source, output, made, retry=[first.bad_files[0].reason])

    assert (again.state, again.exit_code) == ("up to date", 3)
    assert names == ["train/n01/cut.JPEG"]
    assert (report.state, report.exit_code) == ("built", 0)


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("truncatd", 'did you mean "truncated"? known: '),
        ("everything", "known: "),
    ],
)
def test_a_reason_that_there_is_none_is_refused(source: Path, output: Path, reason: str, fix: str) -> None:
    known = (
        "bomb, changed-during-read, corrupt, decoder-crash, leak, path-collision, path-escape, path-too-long, "
        "special-file, symlink-loop, symlink-outside, timeout, too-small, truncated, unidentified, unreadable, "
        "unsupported-format, unsupported-mode, vanished"
    )

    with pytest.raises(UsageError) as caught:
        build(source, output, retry=[reason])

    assert str(caught.value) == (
        f'"{reason}" is no reason that a file is quarantined for\n  where: --retry\n  fix: {fix}{known}'
    )
    assert not output.exists()


@pytest.mark.parametrize("is_old", [True, False], ids=["old", "changed since the build began"])
def test_what_killed_its_worker_is_tried_again_only_where_it_may_have_changed_since(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch, is_old: bool
) -> None:
    class Dying(InlineWorkers):
        def run(self, items: Iterable[Any]) -> Iterator[Any]:
            for index, item in enumerate(items):
                dies = item[0] == NAMES[0].encode()
                yield Failed(index, "timeout", "took long") if dies else Done(index, self.task(item))

    if not is_old:
        (source / NAMES[0]).touch()
    with monkeypatch.context() as patch:
        patch.setattr("imagekit.subset.build.Workers", Dying)
        first = build(source, output)

    again = build(source, output)

    assert [(bad.file_name, bad.reason) for bad in first.bad_files] == [(NAMES[0], "timeout")]
    assert (again.state, again.exit_code) == (("up to date", 3) if is_old else ("built", 0))
    assert build(source, output, retry=["timeout"]).exit_code == 0


def test_tables_of_many_row_groups_are_read_back_as_well(
    source: Path, output: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagekit.subset.records.BATCH_ROWS", 2)
    plant(source, {"train/n01/a.png": picture(format="PNG"), "train/n02/cut.JPEG": b"", "train/n02/x.JPEG": b"text"})
    build(source, output)
    assert pq.ParquetFile(output / ".imagekit/files.parquet").num_row_groups > 3
    plant(source, {"train/n01/b.webp": picture(format="WEBP")})
    (source / NAMES[2]).unlink()

    report, names = update(source, output, made)

    assert names == ["train/n01/b.webp"]
    assert report.changes is not None
    assert report.changes.n_gone == 1


# --- interrupted -----------------------------------------------------------------------------------------------------


def keep_names(output: Path, place: Path) -> Path:
    """A second name for every image of a subset: what is written through a hard link shows here."""
    for name in tree(output):
        if not name.startswith(".imagekit/"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).hardlink_to(output / name)
    return place


def stop_at(n_done: int, error: BaseException) -> Callable[..., None]:
    def progress(done: int, total: int, *, n_bytes: int, n_bad: int) -> None:
        if done >= n_done:
            raise error

    return progress


@pytest.mark.parametrize("then", ["nothing", "a kept one changes", "a kept one goes", "a made one changes"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), DiskFullError("the disk is full")], ids=["Ctrl-C", "full"])
def test_an_update_that_is_interrupted_leaves_the_old_version_untouched_and_goes_on(
    source: Path, output: Path, tmp_path: Path, made: list[str], then: str, error: BaseException
) -> None:
    build(source, output)
    old = tree(output)
    images = keep_names(output, tmp_path / "names")
    kept = tree(images)
    plant(source, {f"train/n01/new{i}.JPEG": picture((40, 30), seed=i) for i in range(6)})
    plant(source, {NAMES[1]: picture((30, 20), seed=5)})

    with pytest.raises(type(error)):
        build(source, output, progress=stop_at(8, error))

    assert tree(output) == old
    assert (staging_folder(output) / NAMES[0]).samefile(output / NAMES[0])
    if then == "a kept one changes":
        plant(source, {NAMES[0]: picture((20, 30), seed=6)})
    elif then == "a kept one goes":
        (source / NAMES[0]).unlink()
    elif then == "a made one changes":
        plant(source, {NAMES[1]: picture((33, 22), seed=7)})
    report, names = update(source, output, made)
    assert tree(images) == kept
    if then in ("nothing", "a kept one changes"):
        n_noted = 3 if isinstance(error, KeyboardInterrupt) else 0  # nothing more is written to a full disk
        assert report.n_resumed == n_noted
        assert len(names) == 7 - n_noted + (then != "nothing")


def test_a_subset_that_is_built_anew_with_other_options_is_not_written_through_either(
    source: Path, output: Path, tmp_path: Path, made: list[str]
) -> None:
    build(source, output)
    kept = tree(keep_names(output, tmp_path / "names"))
    plant(source, {"train/n01/new.JPEG": picture()})
    with pytest.raises(KeyboardInterrupt):
        build(source, output, progress=stop_at(7, KeyboardInterrupt()))

    build(source, output, options=SubsetOptions(size=3), overwrite=True)

    assert tree(tmp_path / "names") == kept


# --- composite -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\x1c", "\n"])
def test_a_bad_image_whose_name_holds_what_ends_a_line_elsewhere_is_known_again(
    source: Path, output: Path, made: list[str], sign: str
) -> None:
    plant(source, {f"train/n01/a{sign}b.JPEG": b""})
    build(source, output)
    plant(source, {"train/n01/new.JPEG": picture()})

    report, names = update(source, output, made)

    assert names == ["train/n01/new.JPEG"]
    assert [bad.reason for bad in report.bad_files] == ["truncated"]


def test_unlabelled_images_are_kept_as_well(source: Path, output: Path, made: list[str]) -> None:
    mixed = Recipe(
        name="mix",
        classes=recipe().classes,
        parts=(
            Part(recipe=recipe(), from_splits=("valid",), to="valid"),
            Part(recipe=recipe(), from_splits=("train",), to="unsup"),
        ),
    )
    copies = SubsetOptions(link="copy")
    first = make_subset(mixed, source, output=output, options=copies)
    made.clear()
    again = make_subset(mixed, source, output=output, options=copies)
    plant(source, {"train/n01/new.JPEG": picture((30, 20))})
    third = make_subset(mixed, source, output=output, options=copies)

    assert (first.links, again.links, third.links) == ({"copy": 6}, {"copy": 6}, {"copy": 7})
    assert again.state == "up to date"
    assert made == ["train/n01/new.JPEG"]
    make_subset(mixed, source, output=output.with_name("fresh"), options=copies)
    assert tree(output) == tree(output.with_name("fresh"))


def test_old_names_are_found_by_position() -> None:
    names = OldNames(np.array([1, 4, 9]), pa.array([b"a", b"\xff", b"c"], pa.large_binary()))

    assert dict(names) == {1: b"a", 4: b"\xff", 9: b"c"}
    assert [position in names for position in (0, 4, 5, 10)] == [False, True, False, False]
    assert dict(OldNames(np.zeros(0, np.int64), pa.array([], pa.large_binary()))) == {}


# --- any history -----------------------------------------------------------------------------------------------------


def disturb(source: Path, output: Path, draw: random.Random) -> None:
    """One change by chance, in the source or in the subset."""
    name = draw.choice(sorted(str(path.relative_to(source)) for path in source.rglob("*.JPEG")))
    new = f"{draw.choice(['train', 'val'])}/{draw.choice(['n01', 'n02', 'n03'])}/{draw.randrange(9)}.JPEG"
    data = picture((draw.randrange(3, 20), draw.randrange(3, 20)), seed=draw.randrange(99))
    written = sorted(path for path in output.rglob("*.JPEG"))
    actions: list[Callable[[], object]] = [
        lambda: plant(source, {new: data}),
        lambda: plant(source, {name: data}),
        lambda: plant(source, {name: data[: draw.randrange(len(data))]}),
        lambda: rename(source, name, new),
        lambda: (source / name).touch(),
        lambda: settle(source / name),
        lambda: (source / name).unlink() if name not in NAMES else None,
        lambda: draw.choice(written).unlink(),
        lambda: draw.choice(written).write_bytes(b"damaged"),
        lambda: (output / ".imagekit/state.parquet").unlink(missing_ok=True),
    ]
    draw.choice(actions)()


@pytest.mark.parametrize("seed", range(12))
def test_after_any_history_a_subset_is_what_a_fresh_build_would_be(source: Path, output: Path, seed: int) -> None:
    draw = random.Random(seed)
    plant(source, {f"val/{label}/more.JPEG": picture() for label in ("n01", "n02")})
    build(source, output)

    for step in range(4):
        for _ in range(draw.randrange(1, 5)):
            disturb(source, output, draw)
        if draw.random() < 0.3:
            with pytest.raises(KeyboardInterrupt):
                build(source, output, progress=stop_at(1, KeyboardInterrupt()), overwrite=True)
        report = build(source, output)
        fresh = build(source, output.with_name(f"fresh{step}"))

        assert tree(output) == tree(output.with_name(f"fresh{step}")), (seed, step)
        assert {key: getattr(report, key) for key in TOLD} == {key: getattr(fresh, key) for key in TOLD}
