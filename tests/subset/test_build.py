"""make-subset as a whole: what comes out, the same every time, and what is refused."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from subset.trees import ANT, BEE, CrashOnOne, InlineWorkers, picture, plant, recipe, settle, tree, two_classes

from imagekit.errors import (
    ImagekitError,
    OutputError,
    RecipeError,
    SourceError,
    SplitError,
    TooManyBadError,
    UsageError,
)
from imagekit.rules.tolerance import Tolerance
from imagekit.subset.build import make_subset
from imagekit.subset.options import SubsetOptions
from imagekit.subset.receipt import FILES_SCHEMA, read_receipt
from imagekit.subset.summary import SubsetReport

HALF = SubsetOptions(size=4)
in_process = pytest.mark.usefixtures("in_process")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", two_classes())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def build(source: Path, output: Path, **options: Any) -> SubsetReport:
    return make_subset(options.pop("recipe", recipe()), source, output=output, **options)


def images(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.startswith(".imagekit/")}


def quarantine(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / ".imagekit/quarantine.jsonl").read_text().splitlines()]


def refused(call: Callable[[], object], kind: type[ImagekitError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.exit_code == kind.exit_code
    return str(caught.value)


@in_process
def test_full_is_a_copy_of_the_chosen_classes(source: Path, output: Path) -> None:
    plant(source, {"train/n03/0.JPEG": picture(), "notes.txt": b"x"})

    report = build(source, output)

    assert images(output) == two_classes()
    assert report.outcomes.to_dict() == {
        "found": 8,
        "selected": 6,
        "excluded": {"class-not-in-recipe": 1},
        "quarantined": {},
        "not_image": 1,
    }
    assert (report.state, report.exit_code, report.n_classes) == ("built", 0, 2)
    assert report.per_split == {"train": 4, "valid": 2}
    assert report.size_bytes == sum(map(len, images(output).values()))


@in_process
def test_a_size_makes_every_shortest_side_that_long(source: Path, output: Path) -> None:
    build(source, output, options=HALF)

    sizes = {Image.open(io.BytesIO(data)).size for data in images(output).values()}
    assert set(images(output)) == {str(name) for name in two_classes()}
    assert sizes == {(6, 4)}


@in_process
def test_a_hash_split_makes_train_and_valid_folders(tmp_path: Path, output: Path) -> None:
    source = plant(tmp_path / "flat", {f"{label}/{i}.jpg": picture() for label in (ANT, BEE) for i in range(10)})

    report = build(source, output, recipe=recipe(layout="class", split="hash:0.3"))

    assert {path.name for path in output.iterdir()} == {"train", "valid", ".imagekit"}
    assert report.per_split == {
        "train": len(list(output.glob("train/*/*"))),
        "valid": len(list(output.glob("valid/*/*"))),
    }


@in_process
def test_options_of_the_command_take_the_place_of_the_recipes(source: Path, output: Path) -> None:
    build(source, output, options=SubsetOptions(size=4, format="png", filter="nearest", quality=50))

    receipt = read_receipt(output)
    assert {Path(name).suffix for name in images(output)} == {".png"}
    assert receipt.recipe["resize"] == {
        "mode": "shortest",
        "filter": "nearest",
        "format": "png",
        "quality": 50,
        "background": "#ffffff",
        "enlarge": False,
        "subsampling": "4:2:0",
    }


@pytest.mark.parametrize("size", ["tiny", 0, -1])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    text = refused(lambda: SubsetOptions(size=size), UsageError)

    assert text == f'size is {size!r}, must be "full" or at least 1\n  where: --size\n  fix: give --size 160, say'
    assert SubsetOptions(size=1).size_px == 1
    assert SubsetOptions(size="full").size_px is None


def test_an_option_that_no_recipe_could_hold_is_refused(source: Path, output: Path) -> None:
    text = refused(lambda: build(source, output, options=SubsetOptions(size=4, quality=0)), RecipeError)

    assert text == (
        "quality is 0, must be from 1 to 100\n  where: quality\n"
        "  fix: set quality = 90, or another whole number in that range"
    )


def test_an_unknown_recipe_lists_the_known(source: Path, output: Path) -> None:
    text = refused(lambda: make_subset("imagenett", source, output=output), RecipeError)

    assert text == (
        'no recipe has the name "imagenett"\n  where: RECIPE\n'
        '  fix: did you mean "imagenette"? known: all, imagenette, imagewang, imagewoof, shapes; '
        "--recipes FILE adds your own"
    )


@in_process
def test_names_of_any_bytes_go_through_unchanged(source: Path, output: Path) -> None:
    odd = [b"train/n01/new\nline.JPEG", b"train/n01/\x1b[31m.JPEG", b"train/n01/\xff.JPEG", b"val/n02/caf\xc3\xa9.JPEG"]
    plant(source, {name: picture(seed=i) for i, name in enumerate(odd)})

    report = build(source, output, options=HALF)

    made = {os.fsencode(path.relative_to(output)) for path in output.rglob("*.JPEG")}
    assert made == set(odd) | {os.fsencode(name) for name in two_classes()}
    rows = {row["file_name"]: row for row in pq.read_table(output / ".imagekit/files.parquet").to_pylist()}
    assert rows["train/n01/new\\nline.JPEG"]["file_name_bytes"] == odd[0]
    assert rows["train/n01/\\x1b[31m.JPEG"]["file_name_bytes"] == odd[1]
    assert rows["train/n01/\\xff.JPEG"]["file_name_bytes"] == odd[2]
    assert rows["val/n02/café.JPEG"]["file_name_bytes"] is None
    assert build(source, output, options=HALF).state == "up to date"
    assert report.exit_code == 0


@in_process
def test_unusable_files_are_quarantined_with_their_reasons_and_cost_nobody_else(source: Path, output: Path) -> None:
    cut = picture((60, 40))[:300]
    plant(source, {
        "train/n01/cut.JPEG": cut,
        "train/n02/text.png": b"this is text",
        "val/n01/0.png": picture(format="PNG"),
        "val/n02/A.JPEG": picture(),
        "val/n02/a.JPEG": picture(),
    })  # fmt: skip
    os.mkfifo(source / "train/n01/pipe.jpg")

    report = build(source, output, options=HALF)

    assert [(row["file_name"], row["reason"]) for row in quarantine(output)] == [
        ("train/n01/cut.JPEG", "truncated"),
        ("train/n01/pipe.jpg", "special-file"),
        ("train/n02/text.png", "unidentified"),
        ("val/n02/a.JPEG", "path-collision"),
    ]
    assert quarantine(output)[0]["size_bytes"] == len(cut)
    assert report.exit_code == 3
    assert report.outcomes.to_dict() == {
        "found": 12,
        "selected": 8,
        "excluded": {},
        "quarantined": {"path-collision": 1, "special-file": 1, "truncated": 1, "unidentified": 1},
        "not_image": 0,
    }
    assert {"val/n01/0.jpg", "val/n02/A.JPEG"} < set(images(output))
    assert read_receipt(output).counts["written"] == {
        "train/n01": 2, "train/n02": 2, "val/n01": 2, "val/n02": 2
    }  # fmt: skip


@in_process
def test_the_table_of_files_has_a_row_a_source_file(source: Path, output: Path) -> None:
    plant(source, {"train/n01/cut.JPEG": picture((60, 40))[:300], "notes.txt": b"", "train/n03/0.JPEG": picture()})
    (source / "val/link.jpg").symlink_to("n01/0.JPEG")

    build(source, output, options=HALF)

    table = pq.read_table(output / ".imagekit/files.parquet")
    rows = {row["file_name"]: row for row in table.to_pylist()}
    assert table.schema.equals(FILES_SCHEMA)
    assert list(rows) == sorted(rows)
    assert {name: (row["outcome"], row["reason"]) for name, row in rows.items()} == {
        **dict.fromkeys(two_classes(), ("selected", None)),
        "notes.txt": ("not-image", "not-image"),
        "train/n01/cut.JPEG": ("quarantined", "truncated"),
        "train/n03/0.JPEG": ("excluded", "class-not-in-recipe"),
        "val/link.jpg": ("excluded", "symlink"),
    }
    chosen = rows["train/n01/0.JPEG"]
    assert chosen["out_name"] == "train/n01/0.JPEG"
    assert (chosen["split"], chosen["label"], chosen["decode_path"]) == ("train", "n01", "full")
    assert (chosen["width_in"], chosen["out_width"], chosen["out_height"], chosen["resized"]) == (12, 6, 4, True)
    assert chosen["out_size_bytes"] == (output / "train/n01/0.JPEG").stat().st_size


@in_process
def test_a_link_to_a_folder_or_out_of_the_source_is_never_followed(source: Path, output: Path, tmp_path: Path) -> None:
    elsewhere = plant(tmp_path / "elsewhere", {"secret.JPEG": picture()})
    (source / "train/n01/out.JPEG").symlink_to(elsewhere / "secret.JPEG")
    (source / "train/n02/dir").symlink_to(elsewhere)

    report = build(source, output)

    assert images(output) == two_classes()
    assert report.outcomes.excluded == {"symlink": 2}


@pytest.mark.slow
def test_the_same_source_gives_the_same_bytes_for_any_number_of_workers_and_any_order(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = two_classes() | {f"train/n01/x{i}.png": picture((9, 9 + i), seed=i, format="PNG") for i in range(40)}
    files |= {"train/n02/cut.JPEG": picture((60, 40))[:300]}
    plant(source, files)
    shuffled = plant(tmp_path / "shuffled", dict(sorted(files.items(), key=lambda pair: hash_of(str(pair[0])))))

    one = build(source, tmp_path / "one", options=HALF, n_workers=1)
    two = build(source, tmp_path / "two", options=HALF, n_workers=2)
    monkeypatch.setattr("imagekit.subset.build.Workers", InlineWorkers)
    other = build(shuffled, tmp_path / "other", options=HALF)

    assert tree(tmp_path / "one") == tree(tmp_path / "two") == tree(tmp_path / "other")
    assert len(images(tmp_path / "one")) == 46
    assert one.exit_code == two.exit_code == other.exit_code == 3


def hash_of(text: str) -> int:
    return sum(ord(sign) * 31**i for i, sign in enumerate(text)) % 1009


def test_a_decoder_that_dies_costs_one_file_and_leaves_no_half_of_it(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagekit.subset.order.BuildImage", CrashOnOne)
    plant(source, {"train/n01/crash.JPEG": picture()})

    report = build(source, output, n_workers=2)

    assert images(output) == two_classes()
    assert report.outcomes.quarantined == {"decoder-crash": 1}
    assert quarantine(output) == [
        {
            "file_name": "train/n01/crash.JPEG",
            "reason": "decoder-crash",
            "detail": "the decoder died (SIGKILL)",
            "size_bytes": None,
            "sha256": None,
            "format": None,
        }
    ]


@in_process
def test_progress_counts_to_the_number_of_images(source: Path, output: Path) -> None:
    """And tells the bytes of sources read so far, and how many images could not be used."""
    plant(source, {"train/n01/cut.JPEG": b""})
    seen: list[tuple[int, int, int, int]] = []

    def note(done: int, total: int, *, n_bytes: int, n_bad: int) -> None:
        seen.append((done, total, n_bytes, n_bad))

    build(source, output, progress=note)

    n_bytes = [0, *accumulate(len(data) for _, data in sorted(two_classes().items()))]
    read = [n_bytes[1], n_bytes[2], *n_bytes[2:]]  # the empty file stands third
    assert seen == [(0, 7, 0, 0), *((i + 1, 7, read[i], int(i >= 2)) for i in range(7))]


def test_a_dry_run_writes_nothing_and_tells_what_it_would(source: Path, output: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)

    report = build(source, output, dry_run=True)

    assert tree(tmp_path) == before
    assert not output.exists()
    assert report.state == "planned"
    assert report.outcomes.selected == 6
    assert report.estimate_s is not None
    assert replace(report, estimate_s=3.0).summary() == (
        "recipe tiny, size full: 2 classes, train 4, valid 2\n"
        "found 6 = selected 6 + excluded by rule 0 + quarantined 0 + not an image 0\n"
        "to make:\n"
        "  new 6 (0.0 MB): train/n01/0.JPEG, train/n01/1.JPEG, train/n02/0.JPEG, ...\n"
        "about 3.0 s of work\n"
        f"would write 6 images to {output}; nothing was written"
    )
    assert report.next_command == f"imagekit make-subset tiny SRC -o {output}"


@in_process
def test_the_summary_tells_counts_faults_and_the_next_command(source: Path, output: Path) -> None:
    plant(source, {"train/n01/cut.JPEG": picture((60, 40))[:300], "train/n03/0.JPEG": picture()})

    report = build(source, output)

    lines = report.summary().splitlines()
    assert lines[:-1] == [
        "recipe tiny, size full: 2 classes, train 4, valid 2",
        "found 8 = selected 6 + excluded by rule 1 + quarantined 1 + not an image 0",
        "  excluded 1: class-not-in-recipe",
        "  1 file truncated: train/n01/cut.JPEG",
        "bytes kept: 6 copied",
    ]
    assert lines[-1].startswith(f"built: {output}, 0.0 MB in ")
    assert report.next_command == f"imagekit manifest {output}"
    assert json.loads(json.dumps(report.to_dict()))["quarantine"] == quarantine(output)


# --- again -----------------------------------------------------------------------------------------------------------


@in_process
def test_the_same_command_again_finds_it_up_to_date_and_touches_nothing(source: Path, output: Path) -> None:
    plant(source, {"notes.txt": b"", "val/n01/0.png": picture(format="PNG")})
    first = build(source, output, options=HALF)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}

    second = build(source, output, options=HALF)

    assert second.state == "up to date"
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    for key in ("outcomes", "per_split", "size_bytes", "n_classes", "exit_code", "bad_files"):
        assert getattr(second, key) == getattr(first, key), key


@in_process
@pytest.mark.parametrize("change", ["content", "time", "added", "removed", "output gone", "output cut", "young"])
def test_whatever_changed_is_built_again_and_ends_as_if_built_afresh(
    source: Path, output: Path, tmp_path: Path, change: str
) -> None:
    build(source, output, options=HALF)
    target, made = source / "train/n01/0.JPEG", output / "train/n01/0.JPEG"
    actions: dict[str, Callable[[], object]] = {
        "content": lambda: plant(source, {"train/n01/0.JPEG": picture((20, 30), seed=9)}),
        "time": lambda: os.utime(target, (1, 1)),
        "added": lambda: plant(source, {"train/n01/new.JPEG": picture()}),
        "removed": target.unlink,
        "output gone": made.unlink,
        "output cut": lambda: made.write_bytes(made.read_bytes()[:-1]),
        "young": lambda: os.utime(target),
    }
    actions[change]()

    again = build(source, output, options=HALF)

    build(source, tmp_path / "fresh", options=HALF)
    assert again.state == "built"
    assert tree(output) == tree(tmp_path / "fresh")


@in_process
def test_a_file_that_was_quarantined_is_looked_at_again(source: Path, output: Path) -> None:
    plant(source, {"train/n01/cut.JPEG": picture((60, 40))[:300]})
    assert build(source, output).exit_code == 3
    plant(source, {"train/n01/cut.JPEG": picture((60, 40))})

    again = build(source, output)

    assert (again.state, again.exit_code, again.outcomes.selected) == ("built", 0, 7)


@in_process
@pytest.mark.parametrize("name", ["state.parquet", "files.parquet"])
@pytest.mark.parametrize("damage", ["cut", "another schema", "gone"])
def test_damaged_records_are_no_reason_to_believe_them(source: Path, output: Path, name: str, damage: str) -> None:
    build(source, output)
    path = output / ".imagekit" / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "gone":
        path.unlink()
    else:
        pq.write_table(pq.read_table(path).drop_columns("out_name"), path)

    if name == "state.parquet":
        assert build(source, output).state == "built"
        return
    text = refused(lambda: build(source, output), OutputError)
    assert text == (
        "the list of the files that make-subset wrote cannot be read, so nobody can tell what else lies there\n"
        f"  where: {path}\n"
        "  fix: give another -o, or move that folder away yourself"
    )


@in_process
def test_without_the_rerun_cache_everything_is_built_again_to_the_same_bytes(source: Path, output: Path) -> None:
    build(source, output)
    before = tree(output)
    (output / ".imagekit/state.parquet").unlink()

    assert build(source, output).state == "built"
    assert tree(output) == before


@in_process
def test_the_same_files_at_another_place_are_read_again(source: Path, output: Path, tmp_path: Path) -> None:
    build(source, output)
    before = tree(output)

    again = build(plant(tmp_path / "copy", two_classes()), output)

    assert again.state == "built"
    assert tree(output) == before


@in_process
@pytest.mark.parametrize(
    ("changes", "different"),
    [
        ({"options": SubsetOptions(size=3)}, "--size full"),
        ({"recipe": recipe(version="2")}, "another recipe, or other settings of it"),
        (
            {"recipe": recipe(version="2"), "options": HALF},
            "--size full and another recipe, or other settings of it",
        ),
    ],
)
def test_another_recipe_or_other_options_need_overwrite(
    source: Path, output: Path, tmp_path: Path, changes: dict[str, Any], different: str
) -> None:
    build(source, output)
    before = tree(output)

    text = refused(lambda: build(source, output, **changes), OutputError)

    assert OutputError.exit_code == 2
    assert text == (
        f"the output was built with {different}\n"
        f"  where: {output}\n"
        "  fix: give another -o, or --overwrite to build it anew"
    )
    assert tree(output) == before
    assert build(source, output, **changes, overwrite=True).state == "built"
    build(source, tmp_path / "fresh", **changes)
    assert tree(output) == tree(tmp_path / "fresh")


@in_process
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_without_our_receipt_is_refused_always(source: Path, output: Path, overwrite: bool) -> None:
    plant(output, {"mine.txt": b"mine"})

    text = refused(lambda: build(source, output, overwrite=overwrite), OutputError)

    assert text == (
        f"this folder was not made by make-subset\n  where: {output}\n"
        "  fix: give another -o, or move that folder away yourself"
    )
    assert tree(output) == {"mine.txt": b"mine"}


@in_process
def test_an_output_that_is_a_file_is_refused(source: Path, output: Path) -> None:
    output.write_bytes(b"mine")

    text = refused(lambda: build(source, output), OutputError)

    assert text == (f"the output exists and is not a folder\n  where: {output}\n  fix: give another -o")
    assert output.read_bytes() == b"mine"


# --- where source and output may lie ---------------------------------------------------------------------------------


def test_source_and_output_inside_each_other_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "up").symlink_to(tmp_path)
    cases = {
        source / "out": "lies inside",
        source: "is",
        source / "train" / ".." / "out": "lies inside",
        tmp_path: "holds",
        tmp_path / "link": "is",
        tmp_path / "link" / "deep" / "out": "lies inside",
        tmp_path / "up": "holds",
    }
    before = tree(tmp_path)

    for output, relation in cases.items():
        text = refused(lambda output=output: build(source, output, overwrite=True), OutputError)  # type: ignore[misc]
        assert text == (
            f"the output {relation} the source\n  where: {output} -> {output.resolve()}\n"
            "  fix: give -o a folder outside the source"
        )
    assert tree(tmp_path) == before


@in_process
def test_a_neighbour_whose_name_begins_like_the_sources_is_no_part_of_it(source: Path, tmp_path: Path) -> None:
    assert build(source, tmp_path / "source-160").state == "built"


@in_process
def test_an_output_behind_a_link_to_a_folder_is_built_there_but_a_link_itself_is_refused(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    for name, real in (("link", "disk"), ("dangling", "nowhere")):
        text = refused(lambda name=name: build(source, tmp_path / name), OutputError)  # type: ignore[misc]
        assert text == (
            f"the output is a symbolic link\n  where: {tmp_path / name} -> {tmp_path / real}\n"
            f"  fix: give -o {tmp_path / real}"
        )
    assert build(source, tmp_path / "link" / "out").state == "built"
    assert (tmp_path / "disk/out/.imagekit/receipt.json").is_file()


def test_a_source_that_cannot_be_one_is_refused_in_plain_words(tmp_path: Path, output: Path) -> None:
    (tmp_path / "empty").mkdir()
    plant(tmp_path / "notes", {"a.txt": b"", "b.md": b""})
    cases = {
        "nowhere": ("the source folder does not exist", "check the path for a typing error"),
        "notes/a.txt": ("the source is not a folder", "give the folder that holds the images"),
        "empty": ("the folder holds no images", None),
        "notes": ("the folder holds no images, only 2 other files", None),
    }

    for name, (what, fix) in cases.items():
        text = refused(lambda name=name: build(tmp_path / name, output), SourceError)  # type: ignore[misc]
        fix = fix or "point at a folder of images; names that begin with a dot are not read"
        assert text == f"{what}\n  where: {tmp_path / name}\n  fix: {fix}"
    assert not output.exists()


def test_a_hash_that_leaves_valid_empty_is_refused_before_anything_is_written(tmp_path: Path, output: Path) -> None:
    source = plant(tmp_path / "half", {"n01/0.JPEG": picture(), "n02/0.JPEG": picture()})

    refused(lambda: build(source, output, recipe=recipe(layout="class", split="hash:0.000001")), SplitError)

    assert {path.name for path in tmp_path.iterdir()} == {"half"}


# --- how much may be bad ---------------------------------------------------------------------------------------------


@in_process
def test_max_bad_turns_exit_3_into_0_or_into_a_failure_that_publishes_nothing(source: Path, output: Path) -> None:
    plant(source, {"train/n01/cut.JPEG": b"", "train/n02/cut.JPEG": b""})

    text = refused(lambda: build(source, output, max_bad=Tolerance.parse("1")), TooManyBadError)

    assert text == (
        "2 of 8 images are unusable, --max-bad allows 1\n"
        f"  2 files truncated: train/n01/cut.JPEG, train/n02/cut.JPEG\n  where: {source}\n"
        "  fix: mend or remove these files, or raise --max-bad; nothing was published"
    )
    assert sorted(path.name for path in output.parent.iterdir()) == [".out.imagekit-staging", "source"]
    assert build(source, output, max_bad=Tolerance.parse("25%")).exit_code == 0
    assert build(source, output, max_bad=Tolerance.parse("2")).exit_code == 0
    assert build(source, output).exit_code == 3


@in_process
def test_a_source_without_one_usable_image_publishes_nothing(source: Path, output: Path) -> None:
    for path in source.rglob("*.JPEG"):
        path.write_bytes(b"")

    text = refused(lambda: build(source, output, max_bad=Tolerance.parse("100%")), TooManyBadError)

    assert text == (
        "not one of the chosen images can be used\n"
        "  6 files truncated: train/n01/0.JPEG, train/n01/1.JPEG, train/n02/0.JPEG; all in the source\n"
        f"  where: {source}\n  fix: check that the source was copied whole; nothing was published"
    )
    assert not output.exists()


@in_process
def test_an_up_to_date_output_is_judged_by_max_bad_as_well(source: Path, output: Path) -> None:
    plant(source, {"train/n01/A.JPEG": picture(), "train/n01/a.JPEG": picture()})
    assert build(source, output).exit_code == 3

    again = build(source, output, max_bad=Tolerance.parse("1"))

    assert (again.state, again.exit_code) == ("up to date", 0)
    text = refused(lambda: build(source, output, max_bad=Tolerance.parse("0")), TooManyBadError)
    assert text.startswith("1 of 8 images are unusable, --max-bad allows 0\n")


@in_process
def test_a_folder_that_cannot_be_listed_is_told_and_is_a_fault(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagekit.files.discover import discover

    # root may list every folder, so the fault is put where discovery would have met it
    monkeypatch.setattr(
        "imagekit.subset.sources.discover",
        lambda root: replace(discover(root), unreadable=(("train/n09", "Permission denied"),)),
    )

    report = build(source, output)

    assert report.exit_code == 3
    assert quarantine(output)[0] | {"file_name": "train/n09", "reason": "unreadable"} == quarantine(output)[0]
    assert report.outcomes.found == 6


@in_process
def test_settled_files_only_make_an_output_up_to_date(source: Path, output: Path) -> None:
    (source / "train/n01/0.JPEG").touch()
    build(source, output)

    assert build(source, output).state == "built"  # it may have changed again within the clock's grain
    settle(source / "train/n01/0.JPEG")
    build(source, output)
    assert build(source, output).state == "up to date"
