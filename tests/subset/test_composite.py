"""Composite recipes: Imagewang by its rule on a made tree, and that nothing in it tells what is hidden."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from subset.trees import plant, tree

from imagekit.files.stamps import number_of
from imagekit.recipes.load import load_recipes
from imagekit.rules.choosing import path_hashes, take_fraction
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport

RECIPES = load_recipes()
WOOF, NETTE = list(RECIPES["imagewoof"].classes), list(RECIPES["imagenette"].classes)
OTHERS = ["n01530575", "n02088238", "n09999999"]
N_TRAIN, N_VALID = 8, 2
SMALL = SubsetOptions(size=4)

pytestmark = pytest.mark.usefixtures("in_process")


def fake_imagenet() -> dict[str | bytes, bytes]:
    """Every class of both recipes and three others; no two files are alike, nor of one size."""
    labels = (*WOOF, *NETTE, *OTHERS)
    names = [f"train/{label}/{label}_{i}.JPEG" for label in labels for i in range(N_TRAIN)]
    names += [f"val/{label}/val_{i}.JPEG" for label in labels for i in range(N_VALID)]
    return {name: noise(seed) + b"\0" * (7 * seed) for seed, name in enumerate(names)}


def noise(seed: int, size: tuple[int, int] = (12, 8)) -> bytes:
    """A JPEG unlike that of any other seed, also when it is made smaller. size: width, height."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


FILES = fake_imagenet()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", FILES)


def wang(source: Path, output: Path, **options: Any) -> SubsetReport:
    return make_subset("imagewang", source, output=output, **options)


def images(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.startswith(".imagekit/")}


def expected_folders() -> dict[str, list[str]]:
    """The rule in other words: split folder -> the source names that lie there."""
    woof_train = sorted(name for name in FILES if name.startswith("train/") and name.split("/")[1] in WOOF)
    hashes = path_hashes(pa.array([name.encode() for name in woof_train], pa.large_binary()), seed=0)
    drawn = take_fraction(hashes, 0.1).tolist()
    return {
        "valid": sorted(name for name in FILES if name.startswith("val/") and name.split("/")[1] in WOOF),
        "train": sorted(
            [name for name in FILES if name.split("/")[1] in NETTE]
            + [name for name, is_in in zip(woof_train, drawn, strict=True) if is_in]
        ),
        "unsup": [name for name, is_in in zip(woof_train, drawn, strict=True) if not is_in],
    }


def test_imagewang_is_imagewoofs_valid_all_of_imagenette_a_tenth_of_imagewoofs_train_and_the_rest_unlabelled(
    source: Path, tmp_path: Path
) -> None:
    report = wang(source, tmp_path / "out")

    found, expected = images(tmp_path / "out"), expected_folders()
    for split in ("train", "valid"):
        assert {name: data for name, data in found.items() if name.startswith(f"{split}/")} == {
            f"{split}/{name.partition('/')[2]}": FILES[name] for name in expected[split]
        }
    hidden = {name: data for name, data in found.items() if name.startswith("unsup/")}
    assert sorted(hidden.values()) == sorted(FILES[name] for name in expected["unsup"])
    assert len(found) == sum(map(len, expected.values()))
    assert 0 < sum(name.split("/")[1] in WOOF for name in expected["train"]) < 20
    assert report.per_split == {split: len(names) for split, names in sorted(expected.items())}
    assert report.outcomes.excluded == {"class-not-in-recipe": len(OTHERS) * (N_TRAIN + N_VALID)}
    assert report.n_classes == 20


def test_the_folder_of_hidden_images_is_flat_and_its_names_hold_no_label(source: Path, tmp_path: Path) -> None:
    wang(source, tmp_path / "out")

    names = [path.name for path in (tmp_path / "out/unsup").iterdir()]
    assert all((tmp_path / "out/unsup" / name).is_file() for name in names)
    assert all(len(name) == 24 + len(".JPEG") and not set(name[:24]) - set("0123456789abcdef") for name in names)


# the attack


def rows_of(output: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, row) of every record of a subset; the receipt is one row."""
    folder = output / ".imagekit"
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            for row in pq.read_table(path).to_pylist():
                yield path.name, row
        elif path.suffix == ".jsonl":
            for line in path.read_text().splitlines():
                yield path.name, json.loads(line)
        else:
            yield path.name, json.loads(path.read_text())


def marks_of(path: Path) -> set[str]:
    """Everything by which a row could mean this file: name, stem, sha256, size, and the stamp of a rerun."""
    data = path.read_bytes()
    name = f"unsup/{path.name}"
    digest = hashlib.sha256(data).hexdigest()
    return {name, path.name, path.stem, digest, str(len(data)), str(number_of(path.lstat()))}


def words_of(value: Any) -> Iterator[str]:
    """Every value in a row as text, bytes as hex and as the name that they may be."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from words_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from words_of(inner)
    elif isinstance(value, bytes):
        yield value.hex()
        yield value.decode("latin-1")
    elif value is not None:
        yield str(value)


def tells_a_label(words: list[str]) -> bool:
    return any(label in word for word in words for label in (*WOOF, *NETTE, *OTHERS)) or any(
        word in (*RECIPES["imagewoof"].classes.values(), *RECIPES["imagenette"].classes.values()) for word in words
    )


def is_labelled(row: dict[str, Any]) -> bool:
    """A row of an image whose label may be known: that it has the size of a hidden one tells nothing of that one."""
    return row.get("out_name") is not None or "recipe_sha256" in row


def leaks(output: Path) -> list[tuple[str, str]]:
    """(record, mark) of every row that holds something of a hidden file beside something of a label or a source."""
    marks = {mark: path.name for path in sorted((output / "unsup").iterdir()) for mark in marks_of(path)}
    sizes = {str(path.stat().st_size) for path in (output / "unsup").iterdir()}
    found = []
    for record, row in rows_of(output):
        words = list(words_of(row))
        if not tells_a_label(words):
            continue
        found += [(record, word) for word in words if word in marks and not (word in sizes and is_labelled(row))]
    return found


@pytest.mark.parametrize(
    "options",
    [SubsetOptions(), SubsetOptions(link="hard"), SubsetOptions(link="copy"), SubsetOptions(check="none"), SMALL],
    ids=["full", "hard", "copy", "unchecked", "small"],
)
def test_no_record_leads_from_a_hidden_image_to_its_label(source: Path, tmp_path: Path, options: SubsetOptions) -> None:
    output = tmp_path / "out"

    wang(source, output, options=options)

    assert (output / "unsup").exists()
    assert leaks(output) == []


def hidden_states(output: Path) -> list[dict[str, Any]]:
    """The rows of state.parquet of hidden images."""
    folder = output / ".imagekit"
    splits = pq.read_table(folder / "files.parquet")["split"].to_pylist()
    rows = pq.read_table(folder / "state.parquet").to_pylist()
    return [row for row, split in zip(rows, splits, strict=True) if split == "unsup"]


@pytest.mark.parametrize("link", [None, "copy", "hard"])
def test_no_record_tells_which_hidden_image_kept_its_bytes(source: Path, tmp_path: Path, link: str | None) -> None:
    """Of a few small images among many that are resized, each could be told by what only a kept one has."""
    output, options = tmp_path / "out", SubsetOptions(size=8, link=link)
    large = expected_folders()["unsup"][2:]
    plant(source, {name: noise(2000 + i, (24, 16)) for i, name in enumerate(large)})
    if link == "hard":
        plant(source, {large[0]: b"no image"})  # one that is bad looks like the others, too

    report = wang(source, output, options=options)

    kept = pq.read_table(output / ".imagekit/unlabelled.parquet")["kept"].to_pylist()
    assert (kept.count(True), kept.count(False)) == (2, len(large) - (link == "hard"))
    rows = hidden_states(output)
    assert {(row["out_name"], row["out_stamp"], row["link"], row["stamp"] is None) for row in rows} == {
        (None, None, None, link == "hard")
    }
    assert leaks(output) == []
    again = wang(source, output, options=options)
    assert again.links == report.links
    assert again.state == ("built" if link == "hard" else "up to date")


def test_the_attack_finds_the_labels_of_images_that_are_not_hidden(source: Path, tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    output = tmp_path / "out"
    wang(source, output)
    (output / "unsup").rename(tmp_path / "away")
    some = output / "train" / NETTE[0]
    some.rename(output / "unsup")

    records = {record for record, _ in leaks(output)}

    assert records == {"files.parquet", "state.parquet"}


def test_what_files_parquet_says_of_hidden_images_is_the_same_for_all_of_them(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    wang(source, output)

    table = pq.read_table(output / ".imagekit/files.parquet").to_pylist()
    hidden = [row for row in table if row["split"] == "unsup"]
    assert len(hidden) == len(expected_folders()["unsup"])
    assert {tuple(value for key, value in row.items() if key != "file_name") for row in hidden} == {
        (None, "selected", None, None, "unsup", None, *[None] * 17)
    }


def test_a_hidden_image_that_is_bad_is_named_as_such_and_leaves_nothing_in_the_folder(
    source: Path, tmp_path: Path
) -> None:
    output, bad = tmp_path / "out", expected_folders()["unsup"][3]
    plant(source, {bad: noise(1)[:400]})

    report = wang(source, output)

    assert [(one.file_name, one.reason) for one in report.bad_files] == [(bad, "truncated")]
    assert len(list((output / "unsup").iterdir())) == len(expected_folders()["unsup"]) - 1
    assert leaks(output) == []


def test_rows_of_hidden_images_stand_in_the_order_of_their_new_names(source: Path, tmp_path: Path) -> None:
    wang(source, tmp_path / "out", options=SMALL)

    table = pq.read_table(tmp_path / "out/.imagekit/unlabelled.parquet").to_pylist()
    names = [row["out_name"] for row in table]
    assert names == sorted(f"unsup/{path.name}" for path in (tmp_path / "out/unsup").iterdir())
    assert {row["sha256"] for row in table} == {None}
    assert {(row["out_width"], row["out_height"], row["resized"]) for row in table} == {(6, 4, True)}


def test_the_times_of_hidden_images_are_in_the_order_of_their_new_names(source: Path, tmp_path: Path) -> None:
    """Or the oldest would be the first class."""
    wang(source, tmp_path / "out")

    hidden = sorted((tmp_path / "out/unsup").iterdir())
    assert sorted(hidden, key=lambda path: path.stat().st_mtime_ns) == hidden


# again


def test_an_unchanged_source_is_up_to_date(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    wang(source, output)
    before = tree(output)

    report = wang(source, output)

    assert report.state == "up to date"
    assert tree(output) == before


@pytest.mark.parametrize("options", [SubsetOptions(), SMALL], ids=["full", "small"])
def test_after_a_change_the_rest_is_kept_and_the_result_is_that_of_a_fresh_build(
    source: Path, tmp_path: Path, options: SubsetOptions
) -> None:
    output, folders = tmp_path / "out", expected_folders()
    n_before = wang(source, output, options=options).outcomes.selected
    gone, changed, labelled = folders["unsup"][0], folders["unsup"][1], folders["train"][0]
    (source / gone).unlink()
    plant(source, {changed: noise(1003), labelled: noise(1004), f"train/{WOOF[0]}/new.JPEG": noise(1005)})

    report = wang(source, output, options=options)

    wang(source, tmp_path / "fresh", options=options)
    assert tree(output) == tree(tmp_path / "fresh")
    assert report.changes is not None
    assert (report.changes.n_new, report.changes.n_changed, report.changes.n_gone) == (1, 2, 1)
    assert report.changes.n_kept == n_before - 3
    assert leaks(output) == []


def test_a_hidden_image_that_was_damaged_by_hand_is_made_again(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    wang(source, output)
    fresh = tree(output)
    victim = next((output / "unsup").iterdir())
    data = victim.read_bytes()
    for damage in (None, data[:-1], bytes([*data[:-1], data[-1] ^ 1])):
        if damage is None:
            victim.unlink()
        else:
            victim.write_bytes(damage)

        report = wang(source, output)

        assert report.state == "built"
        assert tree(output) == fresh


def test_hard_linked_hidden_images_are_made_again_each_time_for_nothing_may_tell_what_they_are(
    source: Path, tmp_path: Path
) -> None:
    output, hard = tmp_path / "out", SubsetOptions(link="hard")
    wang(source, output, options=hard)
    fresh = tree(output)

    report = wang(source, output, options=hard)

    assert tree(output) == fresh
    assert report.changes is not None
    assert report.changes.n_changed == len(expected_folders()["unsup"])
    assert leaks(output) == []


def test_no_hash_of_a_source_path_gives_the_name_of_a_hidden_image(source: Path, tmp_path: Path) -> None:
    """What a reader would try first: every path that the records hold, plain and with every word of the receipt."""
    wang(source, tmp_path / "out")
    receipt = json.loads((tmp_path / "out/.imagekit/receipt.json").read_text())
    salts = {"", *words_of(receipt)}
    paths = {word for path in FILES for word in (str(path), str(path).rpartition("/")[2])}

    tried = {
        hashlib.sha256(text.encode()).hexdigest()[:24]
        for path in paths
        for salt in salts
        for text in (path, f"{salt}\0{path}", f"{salt} {path}", f"{salt}/{path}")
    }

    stems = {path.stem for path in (tmp_path / "out/unsup").iterdir()}
    labelled = [path for label in WOOF for path in (tmp_path / "out/train").glob(f"{label}/*")]
    assert len(stems) == N_TRAIN * len(WOOF) - len(labelled)
    assert not stems & tried


def test_equal_hidden_images_are_both_there(tmp_path: Path) -> None:
    files = dict(FILES)
    twins = [f"train/{label}/{label}_{i}.JPEG" for label in WOOF for i in (0, 1, 2, 3)]
    source = plant(tmp_path / "source", files | dict.fromkeys(twins, FILES[twins[0]]))

    report = wang(source, tmp_path / "out")

    hidden = [path.read_bytes() for path in (tmp_path / "out/unsup").iterdir()]
    assert report.outcomes.n_quarantined == 0
    assert len(hidden) == report.per_split["unsup"]
    assert hidden.count(FILES[twins[0]]) > 20


def test_a_hidden_image_that_cannot_be_read_is_quarantined(source: Path, tmp_path: Path) -> None:
    rows = wang(source, tmp_path / "first")
    taken = {path.read_bytes() for path in (tmp_path / "first/unsup").iterdir()}
    name = next(str(name) for name, data in FILES.items() if data in taken)
    (source / name).write_bytes(b"")

    report = wang(source, tmp_path / "out")

    assert [(bad.file_name, bad.reason) for bad in report.bad_files] == [(name, "truncated")]
    assert report.per_split["unsup"] == rows.per_split["unsup"] - 1
