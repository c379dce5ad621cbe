"""verify: every byte read again, every fault named, and nothing changed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from subset.trees import picture, plant, recipe, settle, tree, two_classes

from imagekit.errors import OutputError
from imagekit.files.hashes import sha256_file
from imagekit.recipes.recipe import Part, Recipe
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.verify import Fault, VerifyReport, verify_subset

pytestmark = pytest.mark.usefixtures("in_process")
ODD = b"train/n01/odd\n\xff\x1b.JPEG"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    more = {ODD: picture(seed=9), "train/n01/cut.JPEG": picture()[:-200], "train/n03/0.JPEG": b"", "notes.txt": b"x"}
    source = plant(tmp_path / "source", two_classes() | more)
    make_subset(recipe(), source, output=tmp_path / "out", options=SubsetOptions(size=4))
    note_quarantine(tmp_path / "out")
    return tmp_path / "out"


def note_quarantine(output: Path) -> None:
    """Have the receipt hold the digest of quarantine.jsonl as it is."""
    path = output / ".imagekit/receipt.json"
    digest = sha256_file(output / ".imagekit/quarantine.jsonl").hex()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quarantine_sha256": digest}))


def turn_a_bit(path: Path) -> None:
    """As a tired disk does: size and time stay."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def faults_of(output: Path) -> tuple[Fault, ...]:
    before = tree(output)

    report = verify_subset(output)

    assert tree(output) == before
    assert report.exit_code == (3 if report.faults else 0)
    return report.faults


def test_a_subset_as_it_was_built_has_no_fault(output: Path) -> None:
    seen: list[tuple[int, int]] = []

    report = verify_subset(output, progress=lambda *done: seen.append(done))

    size = sum(path.stat().st_size for path in output.rglob("*.JPEG"))
    assert report == VerifyReport(subset=output, n_files=7, n_bytes=size, faults=())
    assert report.summary() == (
        f"{output}: 7 images, {size / 1e6:,.1f} MB read; every byte is as it was written, "
        "and every file found has its outcome"
    )
    assert report.next_command is None
    assert seen[-1] == (7, 7)


def test_one_bit_that_turned_is_found(output: Path) -> None:
    turn_a_bit(output / "val/n01/0.JPEG")

    assert faults_of(output) == (Fault("altered", "val/n01/0.JPEG", "its sha256 is not the one that was written"),)


def test_what_is_missing_extra_or_of_another_length_is_told_with_names(output: Path) -> None:
    (output / "train/n01/0.JPEG").unlink()
    (output / "train/n02/0.JPEG").write_bytes(b"short")
    (output / "train/n02/mine.txt").write_text("mine")
    (output / "val/n02/0.JPEG").unlink()
    (output / "val/n02/0.JPEG").symlink_to("/dev/zero")
    n_bytes = pq.read_table(output / ".imagekit/files.parquet").to_pylist()
    written = next(row["out_size_bytes"] for row in n_bytes if row["out_name"] == "train/n02/0.JPEG")

    faults = faults_of(output)

    assert set(faults) == {
        Fault("missing", "train/n01/0.JPEG", "it is not there"),
        Fault("altered", "train/n02/0.JPEG", f"it has 5 bytes, {written} were written"),
        Fault("unreadable", "val/n02/0.JPEG", "not a regular file but a symbolic link, which is not followed"),
        Fault("extra", "train/n02/mine.txt", "make-subset did not write it"),
        Fault("extra", "val/n02/0.JPEG", "make-subset did not write it"),
    } - ({Fault("extra", "val/n02/0.JPEG", "make-subset did not write it")} - set(faults))


def test_a_name_of_any_bytes_is_found_again(output: Path) -> None:
    (output / "train/n01/odd\n\udcff\x1b.JPEG").unlink()

    assert faults_of(output) == (Fault("missing", "train/n01/odd\\n\\xff\\x1b.JPEG", "it is not there"),)


def change_count(key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "receipt.json").read_text())
        content["counts"][key] += 1
        (folder / "receipt.json").write_text(json.dumps(content))

    return change


def set_count(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "receipt.json").read_text())
        content["counts"][key] = value
        (folder / "receipt.json").write_text(json.dumps(content))

    return change


def empty(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            change_count("selected"),
            [
                Fault("records", "files.parquet", "it has 7 rows selected, the receipt counts 8"),
                Fault("records", "receipt.json", "found 10 is not the sum of the outcomes"),
            ],
        ),
        (change_count("found"), [Fault("records", "receipt.json", "found 11 is not the sum of the outcomes")]),
        (
            empty("quarantine.jsonl"),
            [
                Fault("records", "quarantine.jsonl", "its sha256 is not the one in the receipt"),
                Fault("records", "quarantine.jsonl", "it has no line for train/n01/cut.JPEG"),
            ],
        ),
        (set_count("found", {}), [Fault("records", "receipt.json", "its counts are not those of a build")]),
        (set_count("excluded", 1), [Fault("records", "receipt.json", "its counts are not those of a build")]),
        (
            set_count("written", 7),
            [Fault("records", "receipt.json", "the receipt counts 0 images, the tables list 7")],
        ),
        (
            lambda folder: (folder / "quarantine.jsonl").unlink(),
            [Fault("records", "quarantine.jsonl", "No such file or directory")],
        ),
    ],
)
def test_records_that_contradict_each_other_are_told(
    output: Path, change: Callable[[Path], object], expected: list[Fault]
) -> None:
    change(output / ".imagekit")

    assert list(faults_of(output)) == expected


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", "{}", '"text"'], ids=["cut", "a list", "a number", "without a name", "text"]
)
def test_a_damaged_line_of_the_quarantine_list_is_one_fault(output: Path, line: str) -> None:
    with (output / ".imagekit/quarantine.jsonl").open("a") as lines:
        lines.write(line + "\n")
    note_quarantine(output)  # one of an early version knows no digest: the lines are looked at all the same

    detail = "it does not hold a JSON object with a file_name in each line"
    assert faults_of(output) == (Fault("records", "quarantine.jsonl", detail),)


def test_a_changed_word_in_the_quarantine_list_is_told(output: Path) -> None:
    path = output / ".imagekit/quarantine.jsonl"
    path.write_text(path.read_text().replace("truncated", "timeout"))

    assert faults_of(output) == (Fault("records", "quarantine.jsonl", "its sha256 is not the one in the receipt"),)


def test_what_lies_among_the_records_and_is_none_is_told(output: Path) -> None:
    (output / ".imagekit/labels.csv").write_text("x")
    (output / ".imagekit/more").mkdir()

    assert faults_of(output) == (
        Fault("extra", ".imagekit/labels.csv", "make-subset did not write it"),
        Fault("extra", ".imagekit/more", "make-subset did not write it"),
    )


def test_a_table_that_was_changed_is_told_though_it_can_be_read(output: Path) -> None:
    path = output / ".imagekit/files.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)

    faults = faults_of(output)

    assert Fault("records", "files.parquet", "its sha256 is not the one in the receipt") in faults
    assert any(fault.kind == "records" and "rows" in fault.detail for fault in faults)


def test_a_table_that_cannot_be_read_is_one_fault_and_not_the_end(output: Path) -> None:
    (output / ".imagekit/files.parquet").write_bytes(b"no table")

    with pytest.raises(OutputError, match="the list of the files that make-subset wrote cannot be read"):
        verify_subset(output)


def test_a_folder_that_is_no_subset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        verify_subset(tmp_path)

    assert str(caught.value) == (
        f"this folder was not made by make-subset\n  where: {tmp_path}\n"
        "  fix: give another -o, or move that folder away yourself"
    )


def test_images_without_a_label_are_read_as_well(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", two_classes())
    parts = (Part(recipe=recipe(), from_splits=("valid",), to="valid"), Part(recipe=recipe(), to="unsup"))
    make_subset(Recipe(name="both", parts=parts, classes=recipe().classes), source, output=tmp_path / "out")
    (victim,) = sorted((tmp_path / "out/unsup").iterdir())[:1]
    assert verify_subset(tmp_path / "out").faults == ()

    victim.write_bytes(b"x" * victim.stat().st_size)

    assert verify_subset(tmp_path / "out").faults == (
        Fault("altered", f"unsup/{victim.name}", "its sha256 is not the one that was written"),
    )


def test_the_summary_groups_faults_and_says_what_mends_them(output: Path) -> None:
    for path in sorted((output / "train").rglob("*.JPEG"))[:5]:
        path.unlink()

    report = verify_subset(output)

    lines = report.summary().splitlines()
    assert lines[1].startswith("  5 missing: train/n01/0.JPEG: it is not there; ")
    assert lines[1].endswith("; ...")
    assert lines[2:] == ["the same make-subset command makes what is missing"]
    assert len(report.to_dict()["faults"]) == 5  # type: ignore[arg-type]


def test_every_kind_of_fault_has_its_remedy_in_the_summary(output: Path) -> None:
    turn_a_bit(output / "val/n01/0.JPEG")
    (output / "val/n02/0.JPEG").unlink()
    (output / "mine.txt").write_text("mine")
    (output / ".imagekit/quarantine.jsonl").unlink()

    assert verify_subset(output).summary().splitlines()[-3:] == [
        "remove the altered and unreadable files and run the same make-subset command again, "
        "or run it with --overwrite",
        "make-subset with --overwrite makes everything, the records too",
        "move elsewhere what make-subset did not write",
    ]


@pytest.mark.parametrize("mended", ["removed", "overwrite"])
def test_what_the_summary_says_mends_a_bit_that_turned(tmp_path: Path, mended: str) -> None:
    source, output = plant(tmp_path / "source", two_classes()), tmp_path / "out"
    make_subset(recipe(), source, output=output, options=SubsetOptions(size=4))
    for path in output.rglob("*.JPEG"):
        settle(path)
    make_subset(recipe(), source, output=output, options=SubsetOptions(size=4))
    before, victim = tree(output), output / "val/n01/0.JPEG"
    turn_a_bit(victim)
    if mended == "removed":
        victim.unlink()

    again = make_subset(recipe(), source, output=output, options=SubsetOptions(size=4), overwrite=mended == "overwrite")

    assert again.state == "built"
    assert verify_subset(output).faults == ()
    assert tree(output) == before


def test_an_anonymous_image_that_was_altered_is_mended_by_removing_it(tmp_path: Path) -> None:
    source, output = plant(tmp_path / "source", two_classes()), tmp_path / "out"
    parts = (Part(recipe=recipe(), from_splits=("valid",), to="valid"), Part(recipe=recipe(), to="unsup"))
    rule = Recipe(name="both", parts=parts, classes=recipe().classes)
    make_subset(rule, source, output=output)
    before, victim = tree(output), min((output / "unsup").iterdir())
    turn_a_bit(victim)
    victim.unlink()

    make_subset(rule, source, output=output)

    assert verify_subset(output).faults == ()
    assert tree(output) == before
