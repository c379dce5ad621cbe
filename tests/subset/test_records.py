"""Records: plan and facts as tables, in which every file found has its row and its outcome."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subset.planning import named, plan_of
from subset.trees import picture, plant, recipe, tree, two_classes

from imagekit.recipes.recipe import Recipe
from imagekit.rules.outcomes import BadFile
from imagekit.subset import records as records_room
from imagekit.subset.build import make_subset
from imagekit.subset.facts import FactTable
from imagekit.subset.plan import Plan
from imagekit.subset.receipt import FILES_SCHEMA, STATE_SCHEMA
from imagekit.subset.records import Records
from imagekit.subset.survey import no_survey


def done(plan: Plan, **bad: str) -> Records:
    """Records of a plan whose images are all made, but for those that are named with a reason."""
    facts = FactTable(len(plan.rows()))
    for i, job in enumerate(plan.jobs()):
        known: dict[str, Any] = {"size_bytes": 9, "sha256": b"s" * 32, "stamp": i + 1}
        reason = next((reason for name, reason in bad.items() if name in str(job.name)), None)
        made = {"out_size_bytes": 5, "out_sha256": b"o" * 32, "out_stamp": i + 100, "kept": False, "link": "copy"}
        facts.put(i, known | ({"reason": reason, "detail": "said"} if reason else made))
    return Records(plan=plan, facts=facts, survey=no_survey())


def rows_of(records: Records, folder: Path) -> list[dict[str, Any]]:
    records.write_tables(folder, ("files.parquet", "unlabelled.parquet"))
    rows: list[dict[str, Any]] = pq.read_table(folder / "files.parquet").to_pylist()
    return rows


@pytest.fixture
def source(tmp_path: Path) -> Path:
    extra = named("train/n03/0.jpg", "train/n01/A.jpg", "train/n01/a.jpg", "notes.txt", b"train/n01/\xff\n.jpg")
    root = plant(tmp_path / "source", two_classes() | extra)
    (root / "train/n01/link.jpg").symlink_to("0.JPEG")
    return root


def test_every_file_found_has_one_row_in_the_order_of_its_name(source: Path, tmp_path: Path) -> None:
    rows = rows_of(done(plan_of(source, recipe()), n02="corrupt"), tmp_path)

    assert [(row["file_name"], row["outcome"], row["reason"], row["out_name"]) for row in rows] == [
        ("notes.txt", "not-image", "not-image", None),
        ("train/n01/0.JPEG", "selected", None, "train/n01/0.JPEG"),
        ("train/n01/1.JPEG", "selected", None, "train/n01/1.JPEG"),
        ("train/n01/A.jpg", "selected", None, "train/n01/A.jpg"),
        ("train/n01/a.jpg", "quarantined", "path-collision", None),
        ("train/n01/link.jpg", "excluded", "symlink", None),
        (r"train/n01/\xff\n.jpg", "selected", None, r"train/n01/\xff\n.jpg"),
        ("train/n02/0.JPEG", "quarantined", "corrupt", None),
        ("train/n02/1.JPEG", "quarantined", "corrupt", None),
        ("train/n03/0.jpg", "excluded", "class-not-in-recipe", None),
        ("val/n01/0.JPEG", "selected", None, "val/n01/0.JPEG"),
        ("val/n02/0.JPEG", "quarantined", "corrupt", None),
    ]
    assert [row["file_name_bytes"] for row in rows if row["file_name_bytes"]] == [b"train/n01/\xff\n.jpg"]
    assert [(row["split"], row["label"]) for row in rows if row["outcome"] == "selected"][-1] == ("valid", "n01")
    assert pq.read_schema(tmp_path / "files.parquet").equals(FILES_SCHEMA)


def test_facts_stand_in_the_rows_of_their_images_only(source: Path, tmp_path: Path) -> None:
    rows = rows_of(done(plan_of(source, recipe()), n02="corrupt"), tmp_path)

    for row in rows:
        is_read = row["outcome"] == "selected" or row["reason"] == "corrupt"
        assert (row["sha256"], row["size_bytes"]) == ((b"s" * 32, 9) if is_read else (None, None))
        assert row["out_sha256"] == (b"o" * 32 if row["outcome"] == "selected" else None)


def test_the_counts_add_up_and_the_folders_hold_what_was_made(source: Path) -> None:
    records = done(plan_of(source, recipe()), n02="corrupt")

    assert records.outcomes().to_dict() == {
        "found": 12,
        "selected": 5,
        "excluded": {"class-not-in-recipe": 1, "symlink": 1},
        "quarantined": {"corrupt": 3, "path-collision": 1},
        "not_image": 1,
    }
    assert records.written() == {"train/n01": 4, "val/n01": 1}
    assert records.per_split() == {"train": 4, "valid": 1}


def test_the_quarantine_list_is_sorted_and_holds_what_is_in_no_count(source: Path) -> None:
    plan = plan_of(source, recipe())
    gone = BadFile(file_name="m.jpg", reason="vanished", detail="listed in l, line 3, but not in the source")
    folder = BadFile(file_name="secret", reason="unreadable", detail="Permission denied")
    records = done(Plan(**{**{name: getattr(plan, name) for name in plan.__slots__}, "problems": (gone,)}), n02="bomb")
    records = Records(plan=records.plan, facts=records.facts, survey=no_survey(), unreadable=(folder,))

    assert [(bad.file_name, bad.reason, bad.sha256) for bad in records.bad_files()] == [
        ("m.jpg", "vanished", None),
        ("secret", "unreadable", None),
        ("train/n01/a.jpg", "path-collision", None),
        ("train/n02/0.JPEG", "bomb", (b"s" * 32).hex()),
        ("train/n02/1.JPEG", "bomb", (b"s" * 32).hex()),
        ("val/n02/0.JPEG", "bomb", (b"s" * 32).hex()),
    ]
    assert sum(records.outcomes().quarantined.values()) == 4


def test_the_state_has_a_row_a_row_of_the_files(source: Path, tmp_path: Path) -> None:
    records = done(plan_of(source, recipe()), n02="corrupt")

    records.write_state(tmp_path / "state.parquet", plan="p")

    table = pq.read_table(tmp_path / "state.parquet")
    assert table.schema.equals(STATE_SCHEMA)
    assert table.schema.metadata == {b"plan": b"p"}
    rows = {row["name"]: row for row in table.to_pylist()}
    assert list(rows) == sorted(rows)
    assert rows[b"train/n01/\xff\n.jpg"]["out_name"] == b"train/n01/\xff\n.jpg"
    assert (rows[b"train/n01/0.JPEG"]["stamp"], rows[b"train/n01/0.JPEG"]["out_stamp"]) == (1, 100)
    assert (rows[b"train/n02/0.JPEG"]["out_name"], rows[b"train/n02/0.JPEG"]["out_stamp"]) == (None, None)
    assert rows[b"notes.txt"]["stamp"] is None


def test_rows_in_many_batches_are_those_of_one(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = done(plan_of(source, recipe()), n02="corrupt")
    whole = rows_of(records, tmp_path)

    monkeypatch.setattr(records_room, "BATCH_ROWS", 2)

    assert rows_of(records, tmp_path) == whole
    assert pq.read_metadata(tmp_path / "files.parquet").num_row_groups == 6


def test_without_a_selected_image_the_tables_can_still_be_written(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", named("a/0.jpg", "a/note.txt"))
    plan = plan_of(source, Recipe(name="mine", layout="class"))
    empty = Plan(
        **{
            **{name: getattr(plan, name) for name in plan.__slots__},
            "verdicts": np.full(1, 5, np.int8),
            "place_of": np.full(1, -1, np.int32),
            "places": (),
        }
    )

    rows = rows_of(Records(plan=empty, facts=FactTable(0), survey=no_survey()), tmp_path)

    assert [(row["outcome"], row["reason"]) for row in rows] == [("excluded", "denied"), ("not-image", "not-image")]


@pytest.mark.usefixtures("in_process")
def test_a_table_with_bad_lines_is_told_in_quarantine_and_nothing_is_written_outside(tmp_path: Path) -> None:
    plant(tmp_path, {"secret.jpg": picture()})
    lines = b"path,label\n0.jpg,cat\n1.jpg,../../evil\n../secret.jpg,cat\n/etc/passwd.jpg,cat\na/../../b.jpg,cat\n"
    source = plant(tmp_path / "source", {"0.jpg": picture(), "1.jpg": picture(), "l.csv": lines})
    before = tree(tmp_path)
    rule = Recipe(name="mine", layout="list", label="table:l.csv", split="none")

    report = make_subset(rule, source, output=tmp_path / "deep/down/out")

    assert report.exit_code == 3
    assert [(bad.file_name, bad.reason) for bad in report.bad_files] == [
        ("../secret.jpg", "path-escape"),
        ("/etc/passwd.jpg", "path-escape"),
        ("1.jpg", "path-escape"),
        ("a/../../b.jpg", "path-escape"),
    ]
    after = tree(tmp_path)
    assert {name: data for name, data in after.items() if not name.startswith("deep/down/out/")} == before
    assert [name for name in tree(tmp_path / "deep/down/out") if not name.startswith(".imagekit/")] == ["cat/0.jpg"]


@pytest.mark.usefixtures("in_process")
def test_a_label_that_no_folder_can_have_does_not_stop_the_build(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {f"{i}.jpg": picture() for i in range(5)})
    labels = ["cat", "a\0b", "/abs", "x" * 300, ".."]
    pq.write_table(pa.table({"path": [f"{i}.jpg" for i in range(5)], "label": labels}), source / "l.parquet")
    rule = Recipe(name="mine", layout="list", label="table:l.parquet", split="none")

    report = make_subset(rule, source, output=tmp_path / "out")

    assert report.outcomes.quarantined == {"path-escape": 3, "path-too-long": 1}
    assert report.n_classes == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".imagekit", "cat"]
