"""JSON files whose bytes depend on their content alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.files.jsonl import write_json, write_json_lines

# a lone surrogate is no character; names that hold one were escaped long before
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
OBJECTS = st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=4)


def test_an_object_is_written_with_sorted_keys_and_a_final_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, {"z": None, "a": "é"}], "a": 1.5})

    assert (tmp_path / "a.json").read_bytes() == (
        '{\n  "a": 1.5,\n  "b": [\n    1,\n    {\n      "a": "é",\n      "z": null\n    }\n  ]\n}\n'
    ).encode()


def test_rows_are_written_a_line_each_in_their_order(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "a.jsonl", ({"n": n, "a": "x\ny"} for n in (2, 1)))

    assert (tmp_path / "a.jsonl").read_bytes() == b'{"a": "x\\ny", "n": 2}\n{"a": "x\\ny", "n": 1}\n'


def test_no_rows_make_an_empty_file(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "a.jsonl", [])

    assert (tmp_path / "a.jsonl").read_bytes() == b""


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(OBJECTS, max_size=4))
def test_what_was_written_is_read_back_whatever_the_order_of_keys(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("jsonl")

    write_json_lines(folder / "a", rows)
    write_json_lines(folder / "b", [dict(reversed(row.items())) for row in rows])
    write_json(folder / "c", {"rows": rows})

    data = (folder / "a").read_bytes()
    assert data == (folder / "b").read_bytes()
    assert [json.loads(line) for line in data.split(b"\n")[:-1]] == rows
    assert json.loads((folder / "c").read_bytes()) == {"rows": rows}


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})

    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": b"bytes"})

    assert json.loads((tmp_path / "a.json").read_bytes()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
