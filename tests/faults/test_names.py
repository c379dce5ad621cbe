"""Rows 18, 19 and 20 of the threat table: names that hide, clash, overflow or lead elsewhere."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from faults import commands
from subset.trees import picture, plant, recipe, tree

from imagekit.errors import RecipeError
from imagekit.recipes.load import load_recipes
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

ODD = {
    b"new\nline.JPEG": "new\\nline.JPEG",
    b"\x1b[2J\x1b]0;owned\x07.JPEG": "\\x1b[2J\\x1b]0;owned\\x07.JPEG",
    b"not\xff\xfeutf8.JPEG": "not\\xff\\xfeutf8.JPEG",
    b"<img src=x onerror=alert(1)>.JPEG": None,
    b"=cmd|' -C calc'!A0.JPEG": None,
    b"-rf.JPEG": None,
    b"%00.JPEG": None,
    b"gnp.\xe2\x80\xaegpj.JPEG": "gnp.\\u202egpj.JPEG",
    b"back\\nslash.JPEG": "back\\\\nslash.JPEG",
    b"L" * 250 + b".JPEG": None,
    b" .JPEG": None,
    "日本.JPEG".encode(): None,
}
SHOWN = {raw: shown or raw.decode() for raw, shown in ODD.items()}


def build(source: Path, output: Path, *, size: int | str = "full", **changes: Any) -> SubsetReport:
    table = {"layout": "class", "split": "none", "classes": {}}
    return make_subset(recipe(**(table | changes)), source, output=output, options=SubsetOptions(size=size))


def rows(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(output / ".imagekit/files.parquet").to_pylist()
    return found


def quarantine(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / ".imagekit/quarantine.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("size", ["full", 4])
def test_names_are_kept_to_the_byte_and_records_show_them_escaped(tmp_path: Path, size: int | str) -> None:
    source = plant(tmp_path / "source", {b"n01/" + name: picture(seed=i) for i, name in enumerate(ODD)})

    report = build(source, tmp_path / "out", size=size)

    assert report.exit_code == 0
    made = {os.fsencode(path.name) for path in (tmp_path / "out/n01").iterdir()}
    assert made == set(ODD)
    assert {row["file_name"] for row in rows(tmp_path / "out")} == {f"n01/{shown}" for shown in SHOWN.values()}
    raw = {row["file_name"]: row["file_name_bytes"] for row in rows(tmp_path / "out")}
    assert raw["n01/not\\xff\\xfeutf8.JPEG"] == b"n01/not\xff\xfeutf8.JPEG"
    assert raw["n01/=cmd|' -C calc'!A0.JPEG"] is None
    assert build(source, tmp_path / "out", size=size).state == "up to date"


def test_a_name_cannot_speak_to_the_terminal_nor_break_a_line(tmp_path: Path) -> None:
    files = {b"train/n01/" + name: b"" for name in ODD if b"\x1b" in name or b"\n" in name}
    good = {f"{split}/n01/good.JPEG": picture() for split in ("train", "val")}
    source = plant(tmp_path / "source", {**files, **good})

    code, out, err = commands.run(source, tmp_path / "out")
    as_json = json.loads(commands.run(source, tmp_path / "out", "--json")[1])

    assert code == 3
    assert not {"\x1b", "\x07"} & set(out + err)
    assert (
        "  2 files truncated: train/n01/\\x1b[2J\\x1b]0;owned\\x07.JPEG, train/n01/new\\nline.JPEG" in out.splitlines()
    )
    assert [line["file_name"] for line in as_json["quarantine"]] == [
        line["file_name"] for line in quarantine(tmp_path / "out")
    ]
    raw = (tmp_path / "out/.imagekit/quarantine.jsonl").read_bytes()
    assert len(raw.splitlines()) == 2
    assert b"\x1b" not in raw


NFC, NFD = (unicodedata.normalize(form, "café.JPEG") for form in ("NFC", "NFD"))


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("first", "second"), [("A.jpg", "a.jpg"), (NFD, NFC), ("STRASSE.jpg", "straße.jpg"), ("a.jpg", "a.png")]
)
def test_names_that_another_file_system_takes_for_one_are_not_both_taken(
    tmp_path: Path, first: str, second: str
) -> None:
    size = 4 if second.endswith("png") else "full"
    source = plant(tmp_path / "source", {f"n01/{first}": picture(seed=1), f"n01/{second}": picture(seed=2)})

    report = build(source, tmp_path / "out", size=size)

    assert report.outcomes.quarantined == {"path-collision": 1}
    assert [path.name for path in (tmp_path / "out/n01").iterdir()] == [first]
    assert [(line["file_name"], line["detail"]) for line in quarantine(tmp_path / "out")] == [
        (f"n01/{second}", f"would overwrite n01/{first} on a file system that folds case")
    ]


@pytest.mark.usefixtures("in_process")
def test_classes_that_fold_to_one_folder_clash_file_by_file(tmp_path: Path) -> None:
    files = {"Ant/1.jpg": picture(seed=1), "ant/1.jpg": picture(seed=2), "ant/2.jpg": picture(seed=3)}

    report = build(plant(tmp_path / "source", files), tmp_path / "out")

    assert report.outcomes.quarantined == {"path-collision": 1}
    assert {name for name in tree(tmp_path / "out") if not name.startswith(".")} == {"Ant/1.jpg", "ant/2.jpg"}


@pytest.mark.usefixtures("in_process")
def test_a_name_that_the_new_extension_makes_too_long_is_told(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"n01/" + "L" * 251 + ".png": picture(format="PNG"), "n01/a.jpg": picture()})

    small, full = build(source, tmp_path / "small", size=4, resize={"format": "webp"}), build(source, tmp_path / "full")

    assert small.outcomes.quarantined == {"path-too-long": 1}
    assert quarantine(tmp_path / "small")[0]["detail"] == (
        "the name is longer than 255 bytes once it ends in the output's extension"
    )
    assert full.exit_code == 0


ENTRIES = ["../x", "/abs", "a/../../b"]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(("key", "table"), [
    ("choose.include[0]", 'choose = {{ include = ["{}"] }}'),
    ("choose.deny[0]", 'choose = {{ deny = ["{}"] }}'),
    ("label", 'layout = "list"\nlabel = "table:{}"'),
    ("split", 'split = "table:{}"'),
])  # fmt: skip
def test_a_recipe_cannot_name_a_file_outside_the_source(tmp_path: Path, entry: str, key: str, table: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[mine]\n" + table.format(entry) + "\n")

    with pytest.raises(RecipeError) as caught:
        load_recipes(path)

    assert str(caught.value).splitlines()[1] == f"  where: {path}: [mine] {key}"
    assert entry in str(caught.value).splitlines()[0]
    assert caught.value.exit_code == 2


def test_a_recipe_that_leads_out_of_the_source_ends_the_command_with_2(tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"n01/a.jpg": picture()})
    mine = tmp_path / "mine.toml"
    mine.write_text('[mine]\nchoose = { include = ["a/../../b"] }\n')
    before = sorted(path.name for path in tmp_path.iterdir())

    code, out, err = commands.command("make-subset", "mine", source, "-o", tmp_path / "out", "--recipes", mine)

    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.usefixtures("in_process")
def test_a_list_that_leads_out_of_the_source_takes_nothing_from_there(tmp_path: Path) -> None:
    plant(tmp_path, {"x": picture(), "b.jpg": picture(), "b": picture()})
    listed = {"a.jpg": "ant", **dict.fromkeys([*ENTRIES, str(tmp_path / "b.jpg"), "../b.jpg"], "bee")}
    source = plant(tmp_path / "source", {
        "a.jpg": picture(), "list.csv": "".join(f"{name},{label}\n" for name, label in listed.items()).encode()
    })  # fmt: skip

    report = build(source, tmp_path / "place/out", layout="list", label="table:list.csv")

    assert report.outcomes.selected == 1
    assert {name for name in tree(tmp_path / "place") if ".imagekit/" not in name} == {"out/ant/a.jpg"}
    assert {(line["file_name"], line["reason"]) for line in quarantine(tmp_path / "place/out")} == {
        (name, "path-escape") for name in listed if name != "a.jpg"
    }


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("label", ["../out2", "/abs", "a/../../b", "..", ".", ".hidden", "a/b"])
def test_a_label_cannot_lead_out_of_the_output(tmp_path: Path, label: str) -> None:
    source = plant(tmp_path / "source", {
        "a.jpg": picture(), "b.jpg": picture(seed=1), "list.csv": f"a.jpg,ant\nb.jpg,{label}\n".encode()
    })  # fmt: skip

    report = build(source, tmp_path / "place/out", layout="list", label="table:list.csv")

    assert report.outcomes.quarantined == {"path-escape": 1}
    assert quarantine(tmp_path / "place/out")[0]["detail"] == f'the label "{label}" cannot be the name of a folder'
    assert {name for name in tree(tmp_path / "place") if ".imagekit/" not in name} == {"out/ant/a.jpg"}
