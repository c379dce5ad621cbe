"""A file read again and compared with its record."""

import hashlib
import os
from pathlib import Path

import pytest

from imagekit.files.checks import (
    Checked,
    CheckFile,
    Fault,
    count_reasons,
    fault_lines,
    outcome_counts,
    read_quarantine,
)

DATA = b"nine bytes"
DIGEST = hashlib.sha256(DATA).digest()
COUNTS = {"found": 6, "selected": 3, "excluded": {"rule": 1}, "quarantined": {"bomb": 1}, "not_image": 1}


@pytest.fixture
def check(tmp_path: Path) -> CheckFile:
    (tmp_path / "a.png").write_bytes(DATA)
    return CheckFile(root=os.fspath(tmp_path), verb="recorded")


def test_a_file_as_it_was_has_no_fault(check: CheckFile) -> None:
    assert check((b"a.png", 10, DIGEST)) == Checked(10)
    assert check((b"a.png", None, DIGEST)) == Checked(10)


def test_without_a_digest_the_size_alone_is_compared_and_no_byte_is_read(check: CheckFile) -> None:
    assert check((b"a.png", 10, None)) == Checked(0)
    assert check((b"a.png", None, None)) == Checked(0)
    assert check((b"a.png", 9, None)) == Checked(0, "altered", "it has 10 bytes, 9 were recorded")


@pytest.mark.parametrize(
    ("item", "checked"),
    [
        ((b"a.png", 10, bytes(32)), Checked(10, "altered", "its sha256 is not the one that was recorded")),
        ((b"a.png", 1_000, DIGEST), Checked(10, "altered", "it has 10 bytes, 1,000 were recorded")),
        ((b"b.png", 10, DIGEST), Checked(0, "missing", "it is not there")),
        ((b"a.png/b.png", 10, DIGEST), Checked(0, "missing", "it is not there")),
        ((b"folder", 10, DIGEST), Checked(0, "unreadable", "not a regular file but a folder")),
        (
            (b"link", 10, DIGEST),
            Checked(0, "unreadable", "not a regular file but a symbolic link, which is not followed"),
        ),
        ((b"../a.png", 10, DIGEST), Checked(0, "records", "it does not name a file below the root")),
        ((b"/etc/passwd", None, None), Checked(0, "records", "it does not name a file below the root")),
    ],
)
def test_each_fault_has_its_kind(check: CheckFile, tmp_path: Path, item: tuple, checked: Checked) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a.png")

    assert check(item) == checked


def test_a_read_that_fails_is_a_fault(check: CheckFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("imagekit.files.checks.hashlib.file_digest", broken)

    assert check((b"a.png", 10, DIGEST)) == Checked(0, "unreadable", "Input/output error")


def test_faults_are_told_by_kind_the_first_three_by_name() -> None:
    faults = [Fault("missing", f"{i}.png", "it is not there") for i in range(4)] + [Fault("extra", "a\nb", "why\x1b")]

    assert fault_lines(faults) == [
        "  1 extra: a\\nb: why\\x1b",
        "  4 missing: 0.png: it is not there; 1.png: it is not there; 2.png: it is not there; ...",
    ]


def test_counts_of_a_build_are_read() -> None:
    assert outcome_counts(COUNTS) == (6, {"selected": 3, "excluded": 1, "quarantined": 1, "not-image": 1})


@pytest.mark.parametrize("change", [{"found": "x"}, {"excluded": 1}, {"quarantined": {"bomb": "x"}}, {"selected": []}])
def test_counts_of_another_shape_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^its counts are not those of a build$"):
        outcome_counts(COUNTS | change)


def test_a_quarantine_list_is_read_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text('{"file_name": "b.png", "reason": "bomb", "detail": "x"}\n{"file_name": "a.png"}\n')

    rows = read_quarantine(path)

    assert rows == [{"file_name": "b.png", "reason": "bomb"}, {"file_name": "a.png", "reason": ""}]
    assert count_reasons(rows) == {"": 1, "bomb": 1}


@pytest.mark.parametrize("line", ["nonsense", "[1]", "{}", "1", '{"file_name": 1}', '{"file_name": "a", "reason": []}'])
def test_a_line_of_another_shape_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.jsonl").write_text(line + "\n")

    with pytest.raises(ValueError, match=r"^it does not hold a JSON object with a file_name in each line$"):
        read_quarantine(tmp_path / "list.jsonl")
