"""The receipt: its golden text, and what is said of one that cannot be read."""

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from subset.trees import picture, plant, recipe, two_classes

from imagekit.errors import OutputError
from imagekit.files.hashes import sha256_file
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions, options_of
from imagekit.subset.receipt import STATE_SCHEMA, Receipt, read_receipt, write_receipt

GOLDEN = Path(__file__).parent.parent / "golden" / "subset-receipt-v1.json"
EARLY = GOLDEN.with_name("subset-receipt-v1-early.json")  # before links, checks and tables: fewer keys, same version
RECEIPT = Path(".imagekit") / "receipt.json"


@pytest.fixture
def output(tmp_path: Path, in_process: None) -> Path:
    source = plant(tmp_path / "source", two_classes() | {"train/n03/0.JPEG": picture(), "train/n01/cut.JPEG": b""})
    make_subset(recipe(), source, output=tmp_path / "out", options=SubsetOptions(size=4))
    return tmp_path / "out"


def masked(content: dict[str, Any]) -> dict[str, Any]:
    """Without what depends on the versions installed: their names, and digests of what libraries wrote and said."""
    assert content["versions"] == {name: version(name) for name in ("imagekit", "pillow", "pyarrow", "torch")}
    assert len(content["files_sha256"]) == 64
    return content | {"versions": "masked", "files_sha256": "masked", "quarantine_sha256": "masked"}


def test_the_receipt_says_what_it_said_in_version_1(output: Path) -> None:
    """Golden: subsets that people have built are told apart by these keys. IMAGEKIT_GOLDEN=write makes it anew."""
    found = masked(json.loads((output / RECEIPT).read_text()))
    if os.environ.get("IMAGEKIT_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")

    assert found == json.loads(GOLDEN.read_text())


def test_the_golden_receipt_is_read_by_todays_reader(tmp_path: Path) -> None:
    (tmp_path / ".imagekit").mkdir()
    (tmp_path / RECEIPT).write_text(GOLDEN.read_text())

    receipt = read_receipt(tmp_path)

    assert receipt.recipe_sha256 == recipe().sha256()
    assert receipt.options == {"size": 4, "link": None, "check": "decode"}
    assert receipt.counts["found"] == 8


def test_a_receipt_of_an_early_version_is_read_and_its_options_have_their_defaults(tmp_path: Path) -> None:
    (tmp_path / ".imagekit").mkdir()
    (tmp_path / RECEIPT).write_text(EARLY.read_text())

    receipt = read_receipt(tmp_path)

    assert receipt.options == {"size": 4}
    assert options_of(receipt.options) == {"size": 4, "link": None, "check": "decode"}
    assert receipt.counts["found"] == 8
    assert (receipt.unlabelled_sha256, receipt.quarantine_sha256, receipt.read_as) == (None, None, {})


def test_the_receipt_carries_the_digest_of_the_file_table(output: Path) -> None:
    assert read_receipt(output).files_sha256 == sha256_file(output / ".imagekit/files.parquet").hex()


def test_no_record_holds_an_absolute_path(output: Path) -> None:
    for path in (output / ".imagekit").iterdir():
        assert os.fsencode(output.parent) not in path.read_bytes(), path.name


def test_the_rerun_cache_has_its_columns_and_the_plans_digest(output: Path) -> None:
    table = pq.read_table(output / ".imagekit/state.parquet")

    assert table.schema.equals(STATE_SCHEMA)
    assert list(table.schema.metadata) == [b"plan", b"files", b"quarantine", b"seconds_per_image"]
    assert table.num_rows == 8
    assert table["name"].to_pylist() == [
        name.encode() for name in pq.read_table(output / ".imagekit/files.parquet")["file_name"].to_pylist()
    ]


def test_a_receipt_comes_back_as_it_was_written(tmp_path: Path) -> None:
    receipt = Receipt(recipe={}, recipe_sha256="a", options={"size": 4}, versions={}, counts={}, files_sha256="b")
    (tmp_path / ".imagekit").mkdir()

    write_receipt(tmp_path, receipt)

    assert read_receipt(tmp_path) == receipt


FIX = "give another -o, or move that folder away yourself"


def holding(**changes: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | changes)


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        (lambda text: "{", "the receipt cannot be read: Expecting property name enclosed in double quotes: "
         "line 1 column 2 (char 1)", FIX),
        (lambda text: "[]", "the receipt is not one of make-subset", FIX),
        (lambda text: text.replace("imagekit-subset", "other"), "the receipt is not one of make-subset", FIX),
        (lambda text: text.replace('"format_version": 1', '"format_version": 2'),
         "the receipt has format_version 2, this imagekit reads 1", "update imagekit, or give another -o"),
        (lambda text: text.replace('"format_version": 1', '"format_version": "1"'),
         "the receipt has format_version '1', this imagekit reads 1", "update imagekit, or give another -o"),
        (lambda text: text.replace('"options"', '"option"'), "the receipt lacks 'options'", FIX),
        (holding(counts=[]), "the receipt's 'counts' must be an object", FIX),
        (holding(recipe="tiny"), "the receipt's 'recipe' must be an object", FIX),
        (holding(read_as=None), "the receipt's 'read_as' must be an object", FIX),
        (holding(files_sha256=7), "the receipt's 'files_sha256' must be text", FIX),
        (holding(unlabelled_sha256=7), "the receipt's 'unlabelled_sha256' must be text or null", FIX),
        (holding(quarantine_sha256=[]), "the receipt's 'quarantine_sha256' must be text or null", FIX),
        (holding(counts={"found": "8"}), "the receipt's 'counts.found' must be a whole number, or an object of them",
         FIX),
        (holding(counts={"written": {"train": None}}),
         "the receipt's 'counts.written' must be a whole number, or an object of them", FIX),
    ],
    ids=["cut", "a list", "another kind", "newer", "a version that is text", "a key missing", "counts a list",
         "recipe a text", "nothing read", "a number for a digest", "a number for a digest that may be null",
         "a list for a digest", "a count that is text", "a count that is null"],
)  # fmt: skip
def test_a_damaged_receipt_is_refused_in_words(tmp_path: Path, change: Any, what: str, fix: str) -> None:
    (tmp_path / ".imagekit").mkdir()
    (tmp_path / RECEIPT).write_text(change(GOLDEN.read_text()))

    with pytest.raises(OutputError) as caught:
        read_receipt(tmp_path)

    assert str(caught.value) == f"{what}\n  where: {tmp_path / RECEIPT}\n  fix: {fix}"


def test_a_folder_without_a_receipt_was_not_made_by_us(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        read_receipt(tmp_path)

    assert str(caught.value) == f"this folder was not made by make-subset\n  where: {tmp_path}\n  fix: {FIX}"
