"""CSV: every row, numbers as numbers, and no text that a spreadsheet would run."""

import csv
import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interop.manifests import PETS, lists, make_manifest

from imagekit.manifest import export_csv
from imagekit.manifest.export import export_manifest

COLUMNS = ["file_name", "split", "fold", "label", "target", "width", "height", "format", "mode", "n_frames"]
COLUMNS += ["exif_orientation", "size_bytes", "sha256", "dhash", "group"]


def unguarded(cell: str) -> str:
    """As the module's page says: one quote off."""
    return cell[1:] if re.match(r"'+[=+\-@\t\r\n]", cell) else cell


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_file_has_every_row_and_column_in_order(tmp_path: Path) -> None:
    report = export_manifest(make_manifest(tmp_path), to="csv", output=tmp_path / "o.csv")

    found = rows(tmp_path / "o.csv")
    assert list(found[0]) == COLUMNS
    assert [(unguarded(row["file_name"]), row["split"], row["label"] or None) for row in found] == list(PETS)
    assert [row["dhash"] for row in found] == [f"{2**64 - 1 - number:016x}" for number in range(7)]
    assert {len(row["sha256"]) for row in found} == {64}
    assert report.notes == ("1 file name would run as a formula in a spreadsheet: a single quote stands in front",)


def test_the_first_lines_are_these(tmp_path: Path) -> None:
    table = {"tags": lists([['a "b"', "ü"]]), "dose": pa.array([-1.5]), "note": pa.array(["=1+1"])}
    path = make_manifest(tmp_path, [("cat/1.png", "train", "cat")], columns=table)

    export_manifest(path, to="csv", output=tmp_path / "o.csv")

    head, first, end = (tmp_path / "o.csv").read_bytes().decode().split("\n")
    assert head == ",".join(f'"{name}"' for name in [*COLUMNS, "tags", "dose", "note"])
    assert first.startswith('"cat/1.png","train",,"cat",0,7,5,"PNG","RGB",1,1,')
    assert first.endswith(',"ffffffffffffffff",,"[""a \\""b\\"""",""ü""]",-1.5,"\'=1+1"')
    assert end == ""


def test_the_name_of_a_column_is_guarded_too(tmp_path: Path) -> None:
    path = make_manifest(tmp_path, [("1.png", "train", "cat")], columns={"=x": pa.array([1])})

    export_manifest(path, to="csv", output=tmp_path / "o.csv")

    assert list(rows(tmp_path / "o.csv")[0])[-1] == "'=x"


@given(st.lists(st.text(st.sampled_from("'=+-@\t\r\nax"), max_size=4)))
def test_no_cell_runs_and_every_text_comes_back(texts: list[str]) -> None:
    cells = export_csv._cells(pa.chunked_array([texts], pa.string())).to_pylist()

    assert not any(re.match(r"[=+\-@\t\r\n]", cell) for cell in cells)
    assert [unguarded(cell) for cell in cells] == texts


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=6), min_size=1))
def test_quoting_is_that_of_rfc_4180(texts: list[str]) -> None:
    buffer = io.BytesIO()

    pa_csv.write_csv(pa.table({"x": pa.array(texts, pa.string())}), buffer)

    read = list(csv.reader(io.StringIO(buffer.getvalue().decode(), newline="")))
    assert read == [["x"], *([text] for text in texts)]


def test_batches_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_manifest(tmp_path)
    export_manifest(path, to="csv", output=tmp_path / "one.csv")

    monkeypatch.setattr(export_csv, "BATCH_ROWS", 2)
    report = export_manifest(path, to="csv", output=tmp_path / "two.csv")

    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert len(report.notes) == 1


def test_several_guarded_names_are_counted(tmp_path: Path) -> None:
    path = make_manifest(tmp_path, [("+1.png", "train", "cat"), ("@2.png", "train", "cat")])

    report = export_manifest(path, to="csv", output=tmp_path / "o.csv")

    assert report.notes == ("2 file names would run as a formula in a spreadsheet: a single quote stands in front",)
