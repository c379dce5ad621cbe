"""verify of a manifest: every image read again, every fault named, nothing changed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest.albums import album, plant, png
from manifest.handmade import row, table, write

from imagekit.engine.pool import Done, Failed
from imagekit.errors import ManifestError, SourceError
from imagekit.files.checks import Fault
from imagekit.manifest.build import build_manifest
from imagekit.manifest.verify import ManifestCheck, verify_manifest

pytestmark = pytest.mark.usefixtures("in_process")
ODD = b"train/ant/odd\n\xff.png"


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Read in this process: faster by the start of an interpreter each."""

    def inline(task: Any, items: Any, **_: object) -> Iterator[Done]:
        return (Done(index, task(item)) for index, item in enumerate(items))

    if "worker_processes" not in request.node.name:
        monkeypatch.setattr("imagekit.manifest.verify.run_items", inline)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    root = plant(tmp_path / "root", album() | {ODD: png(40), "train/bee/cut.png": png(43)[:50], "notes.txt": b"x"})
    build_manifest(root)
    return root / "metadata.parquet"


def faults_of(path: Path) -> tuple[Fault, ...]:
    report = verify_manifest(path)

    assert report.exit_code == (3 if report.faults else 0)
    return report.faults


def test_a_manifest_as_it_was_built_has_no_fault(path: Path) -> None:
    seen: list[tuple[int, int]] = []
    before = {one: one.read_bytes() for one in path.parent.rglob("*") if one.is_file()}

    report = verify_manifest(path, progress=lambda *done: seen.append(done))

    size = sum(len(data) for one, data in before.items() if one.suffix == ".png" and one.name != "cut.png")
    assert report == ManifestCheck(manifest=path, root=path.parent, n_files=7, n_bytes=size, faults=())
    assert report.exit_code == 0
    assert report.next_command is None
    assert seen[-1] == (7, 7)
    assert report.summary() == (
        f"{path}: 7 images below {path.parent}, {size / 1e6:,.1f} MB read; every image is as the manifest says"
    )
    assert {one: one.read_bytes() for one in path.parent.rglob("*") if one.is_file()} == before


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_one_bit_that_turned_anywhere_is_found_and_the_file_named(path: Path, data: st.DataObject) -> None:
    names = sorted(str(one.relative_to(path.parent)) for one in path.parent.rglob("?.png"))
    name = data.draw(st.sampled_from(names))
    whole = (path.parent / name).read_bytes()
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    (path.parent / name).write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])

    try:
        assert faults_of(path) == (Fault("altered", name, "its sha256 is not the one that was recorded"),)
    finally:
        (path.parent / name).write_bytes(whole)


def test_what_is_missing_extra_or_of_another_length_is_told_with_names(path: Path) -> None:
    (path.parent / "train/ant/0.png").unlink()
    (path.parent / "train/bee/0.png").write_bytes(b"x")
    plant(path.parent, {"val/ant/new.png": png(9), b"val/\x1b.png": png(9)})

    assert faults_of(path) == (
        Fault("altered", "train/bee/0.png", f"it has 1 bytes, {len(png(2, (7, 7)))} were recorded"),
        Fault("extra", "val/\\x1b.png", "no row names it"),
        Fault("extra", "val/ant/new.png", "no row names it"),
        Fault("missing", "train/ant/0.png", "it is not there"),
    )


def test_a_name_of_any_bytes_is_found_again(path: Path) -> None:
    Path(str(path.parent) + "/train/ant/odd\n\udcff.png").write_bytes(png(41))

    assert faults_of(path) == (
        Fault("altered", "train/ant/odd\\n\\xff.png", "its sha256 is not the one that was recorded"),
    )


def test_the_summary_names_faults_and_what_to_do(path: Path) -> None:
    (path.parent / "train/ant/0.png").unlink()
    plant(path.parent, {"val/ant/new.png": png(9)})

    report = verify_manifest(path)

    assert report.summary().splitlines() == [
        f"{path}: 7 images below {path.parent}, {report.n_bytes / 1e6:,.1f} MB read",
        "  1 extra: val/ant/new.png: no row names it",
        "  1 missing: train/ant/0.png: it is not there",
        "restore the images from a copy, or build the manifest again if they are meant to be so;",
        "if they all moved, give their folder with --root",
        "build the manifest again to take the extra images in, or move them elsewhere",
    ]
    assert json.loads(json.dumps(report.to_dict())) == {
        "manifest": str(path),
        "root": str(path.parent),
        "n_files": 7,
        "n_bytes": report.n_bytes,
        "faults": [
            {"kind": "extra", "name": "val/ant/new.png", "detail": "no row names it"},
            {"kind": "missing", "name": "train/ant/0.png", "detail": "it is not there"},
        ],
        "notes": [],
    }


def test_every_kind_of_fault_has_its_remedy(path: Path) -> None:
    def remedies(*kinds: str) -> list[str]:
        faults = tuple(Fault(kind, "a", "b") for kind in kinds)
        report = ManifestCheck(manifest=path, root=path, n_files=1, n_bytes=1, faults=faults)
        return report.summary().splitlines()[1 + len(kinds) :]

    restore = [
        "restore the images from a copy, or build the manifest again if they are meant to be so;",
        "if they all moved, give their folder with --root",
    ]
    assert remedies("missing") == remedies("altered") == remedies("unreadable") == restore
    assert remedies("leak") == [
        "build the manifest again with --leaks drop or --leaks move: results on valid would flatter"
    ]
    assert remedies("records") == ["build the manifest again, or restore it and its quarantine list from a copy"]


def test_images_that_moved_are_found_below_the_given_root(path: Path, tmp_path: Path) -> None:
    path = path.rename(tmp_path / "moved.parquet")
    (tmp_path / "root/metadata.parquet.quarantine.jsonl").rename(tmp_path / "moved.parquet.quarantine.jsonl")

    assert verify_manifest(path, root=tmp_path / "root").faults == ()
    assert [fault.kind for fault in verify_manifest(path).faults].count("missing") == 7


def test_a_root_that_is_not_there_is_an_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        verify_manifest(path, root=tmp_path / "gone")

    assert str(caught.value) == (
        f"the source folder does not exist\n  where: {tmp_path / 'gone'}\n  fix: check the path for a typing error"
    )


def test_a_damaged_manifest_is_refused_before_any_image_is_read(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ManifestError, match=r"^the file is not a readable Parquet file"):
        verify_manifest(path)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (None, "No such file or directory"),
        ("", "it lists 0 files truncated, 1 were counted"),
        ("nonsense\n", "it does not hold a JSON object with a file_name in each line"),
    ],
)
def test_a_quarantine_list_that_lost_a_line_is_told_and_so_is_its_image(path: Path, line: str, detail: str) -> None:
    listed = path.with_name("metadata.parquet.quarantine.jsonl")
    listed.unlink() if line is None else listed.write_text(line)

    assert faults_of(path) == (
        Fault("extra", "train/bee/cut.png", "no row names it"),
        Fault("records", "metadata.parquet.quarantine.jsonl", detail),
    )


def test_a_worker_that_was_lost_costs_its_image_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(task: Any, items: Any, **_: object) -> Iterator[Done | Failed]:
        results = [Done(index, task(item)) for index, item in enumerate(items)]
        return iter([Failed(0, "timeout", "took longer than 300 s"), *results[1:]])

    monkeypatch.setattr("imagekit.manifest.verify.run_items", lost)

    assert faults_of(path) == (Fault("unreadable", "train/ant/0.png", "timeout: took longer than 300 s"),)


def test_a_folder_that_cannot_be_listed_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagekit.files import discover

    whole = discover.discover(path.parent)
    blind = discover.Discovery(
        root=whole.root, names=whole.names, others=whole.others, other_kinds=whole.other_kinds,
        unreadable=(("train/shut", "Permission denied"),), n_hidden=0,
    )  # fmt: skip
    monkeypatch.setattr("imagekit.manifest.verify.discover", lambda _: blind)

    assert faults_of(path) == (Fault("unreadable", "train/shut", "the folder cannot be listed: Permission denied"),)


def test_worker_processes_find_the_same(path: Path) -> None:
    (path.parent / "train/ant/0.png").write_bytes(png(99))

    assert [(fault.kind, fault.name) for fault in verify_manifest(path, n_workers=1).faults] == [
        ("altered", "train/ant/0.png")
    ]


# -- hand-made: what small albums do not give ----------------------------------------------------------------------


def small(path: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """A manifest of rows without sha256, whose files of nine bytes are there."""
    plant(path.parent, {one["file_name"]: b"nine byte" for one in rows if not one["file_name"].startswith(("/", "."))})
    return write(path, table([one | {"sha256": None} for one in rows]), check="none", **changes)


def unread(n_rows: int) -> str:
    return f"{n_rows} rows have no sha256 (built with --check none): only the size was compared, not the bytes"


def test_rows_without_a_digest_are_compared_by_size_and_that_is_said(tmp_path: Path) -> None:
    path = small(tmp_path / "m.parquet", [row("a.png"), row("b.png")])

    whole = verify_manifest(path)
    (tmp_path / "a.png").write_bytes(b"longer than nine")
    (tmp_path / "b.png").write_bytes(b"other 9 b")
    changed = verify_manifest(path)

    assert (whole.faults, whole.notes, whole.n_bytes) == ((), (unread(2),), 0)
    assert changed.faults == (Fault("altered", "a.png", "it has 16 bytes, 9 were recorded"),)
    assert unread(2) in changed.summary()


def test_images_that_a_rule_left_out_are_no_fault_up_to_their_number(tmp_path: Path) -> None:
    counts = {"found": 3, "selected": 1, "excluded": {"unlisted": 1, "symlink": 1}, "quarantined": {}, "not_image": 0}
    path = small(tmp_path / "m.parquet", [row("a.png")], counts=counts)
    plant(tmp_path, {"left-out.png": b"x"})

    within = verify_manifest(path)
    plant(tmp_path, {"new.png": b"x"})
    beyond = verify_manifest(path)

    assert within.faults == ()
    assert within.notes == ("1 image has no row; 1 left out by rule when it was built", unread(1))
    detail = "no row names it: 2 images have none, and only 1 were left out by rule"
    assert beyond.faults == (Fault("extra", "left-out.png", detail), Fault("extra", "new.png", detail))


def test_names_that_leave_the_root_are_refused_and_nothing_there_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"nine byte")
    path = small(tmp_path / "in/m.parquet", [row("../secret.png"), row("a.png")])

    with pytest.raises(ManifestError) as caught:
        verify_manifest(path)

    assert str(caught.value) == (
        f'path-escape: "../secret.png" does not name a file below the root\n  where: {path}\n  fix: do not use it'
    )


GROUPED = [row("a.png", group="g1"), row("b.png", split="valid", group="g1"), row("c.png", group="g2")]
TORN = "1 in more than one split: g1 (train, valid)"
KEPT = "1 group stands in more than one split, kept when it was built: g1 (train, valid)"


@pytest.mark.parametrize(
    ("changes", "faults", "notes"),
    [
        ({"split_rule": "folders"}, (), (KEPT,)),
        ({"split_rule": "table:splits.csv"}, (), (KEPT,)),
        ({"split_rule": "function mine.split"}, (), (KEPT,)),
        ({"split_rule": "hash:0.2", "options": {"leaks": "keep"}}, (), (KEPT,)),
        ({"split_rule": "hash:0.2"}, (Fault("leak", "group", TORN),), ()),
        ({"split_rule": "folders", "options": {"leaks": "drop"}}, (Fault("leak", "group", TORN),), ()),
        ({"split_rule": "stratified:0.2"}, (Fault("leak", "group", TORN),), ()),
    ],
)
def test_a_group_in_two_splits_is_a_fault_unless_that_was_told(
    tmp_path: Path, changes: dict[str, Any], faults: tuple[Fault, ...], notes: tuple[str, ...]
) -> None:
    report = verify_manifest(small(tmp_path / "m.parquet", GROUPED, **changes))

    assert (report.faults, report.notes) == (faults, (*notes, unread(3)))


def test_the_first_three_torn_groups_are_named(tmp_path: Path) -> None:
    rows = [row(f"{i}{split}.png", split=split, group=f"g{i}") for i in range(4) for split in ("train", "valid")]

    report = verify_manifest(small(tmp_path / "m.parquet", rows))

    listed = "g0 (train, valid); g1 (train, valid); g2 (train, valid); ..."
    assert report.notes[0] == f"4 groups stand in more than one split, kept when it was built: {listed}"


def folds(*values: int | None) -> list[dict[str, Any]]:
    return [row(f"{index}.png", fold=value) for index, value in enumerate(values)]


@pytest.mark.parametrize(
    ("rows", "rule", "faults"),
    [
        (folds(0, 1, None), "kfold:2", []),
        (folds(0, 2), "kfold:2", [("the rows", "folds run from 0 to 2, must be from 0 to 1")]),
        (folds(-1, 1), "kfold:2", [("the rows", "folds run from -1 to 1, must be from 0 to 1")]),
        (folds(None), "kfold:2", [("the rows", "folds run from None to None, must be from 0 to 1")]),
        (folds(1), "hash:0.2", [("the rows", "some have a fold, and the split rule hash:0.2 makes none")]),
        (folds(None), "hsh:0.2", [("the metadata", 'the split rule "hsh:0.2" is not known')]),
        ([row("a.png", split="valid:night")], "folders", []),
    ],
)
def test_rows_that_cannot_be_are_told(
    tmp_path: Path, rows: list[dict[str, Any]], rule: str, faults: list[tuple[str, str]]
) -> None:
    report = verify_manifest(small(tmp_path / "m.parquet", rows, split_rule=rule))

    told = [(fault.name, fault.detail) for fault in report.faults if fault.kind == "records"]
    assert told == faults


def test_a_group_in_two_folds_is_a_fault(tmp_path: Path) -> None:
    rows = [row("a.png", fold=0, group="g"), row("b.png", fold=1, group="g")]

    report = verify_manifest(small(tmp_path / "m.parquet", rows, split_rule="kfold:2"))

    assert report.faults == (Fault("leak", "group", "1 in more than one fold: g (0, 1)"),)


@pytest.mark.parametrize(
    ("counts", "detail"),
    [
        ({"found": 2}, "found 2 is not the sum of the outcomes"),
        ({"found": 3, "selected": 3}, "it counts 3 selected, there are 1 rows"),
        ({"per_split": {"train": 2}}, "its counts of each split are not those of the rows"),
        ({"excluded": 0}, "its counts are not those of a build"),
        ({"quarantined": "none"}, "its counts are not those of a build"),
    ],
)
def test_counts_that_do_not_add_up_are_told(tmp_path: Path, counts: dict[str, Any], detail: str) -> None:
    right = {"found": 1, "selected": 1, "excluded": {}, "quarantined": {}, "not_image": 0, "per_split": {"train": 1}}

    report = verify_manifest(small(tmp_path / "m.parquet", [row("a.png")], counts=right | counts))

    assert report.faults == (Fault("records", "the metadata", detail),)


def test_a_manifest_without_rows_can_be_checked(tmp_path: Path) -> None:
    assert verify_manifest(small(tmp_path / "m.parquet", [])).faults == ()
