"""Choosing by content: sides, aspect, format and checksum, asked of every candidate before a picture is made."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from subset.trees import picture, pixels, plant, tree

from imagekit.engine.pool import Done, Failed
from imagekit.errors import SourceError
from imagekit.files.discover import discover
from imagekit.recipes.recipe import ChooseRule, Recipe
from imagekit.rules.choosing import path_hashes
from imagekit.subset.build import make_subset
from imagekit.subset.choose import choose_by_name
from imagekit.subset.examine import Examine
from imagekit.subset.facts import FactTable
from imagekit.subset.options import SubsetOptions
from imagekit.subset.summary import SubsetReport
from imagekit.subset.survey import Survey, no_survey, survey

pytestmark = pytest.mark.usefixtures("in_process")


def rule(**choose: Any) -> Recipe:
    return Recipe(name="mine", layout="class", choose=ChooseRule(**choose))


def build(source: Path, output: Path, **choose: Any) -> SubsetReport:
    return make_subset(rule(**choose), source, output=output)


def names_in(output: Path) -> list[str]:
    return [name for name in tree(output) if not name.startswith(".imagekit/")]


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


SIZES = {"a": (20, 20), "b": (30, 10), "c": (9, 40), "d": (10, 10)}
PICTURES: dict[str | bytes, bytes] = {
    f"cat/{stem}.png": picture(size, seed=seed, format="PNG") for seed, (stem, size) in enumerate(SIZES.items())
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", PICTURES)


@pytest.mark.parametrize(
    ("choose", "left", "excluded"),
    [
        ({"min_side": 10}, "abd", {"below-min-side": 1}),
        ({"min_side": 11}, "a", {"below-min-side": 3}),
        ({"max_aspect": 3}, "abd", {"above-max-aspect": 1}),
        ({"max_aspect": 2.9}, "ad", {"above-max-aspect": 2}),
        ({"max_aspect": 1}, "ad", {"above-max-aspect": 2}),
        ({"min_side": 10, "max_aspect": 2}, "ad", {"below-min-side": 1, "above-max-aspect": 1}),
        ({"formats": ("jpeg", "png")}, "abcd", {}),
        ({"deny": (sha256_of(PICTURES["cat/b.png"]).upper(), "cat/a.png")}, "cd", {"denied": 2}),
        ({"include": (sha256_of(PICTURES["cat/b.png"]), "cat/[cd].png")}, "bcd", {"not-included": 1}),
        ({"include": (sha256_of(PICTURES["cat/b.png"]),), "min_side": 9}, "b", {"not-included": 3}),
    ],
)
def test_what_content_decides_is_asked_in_a_whole_build(
    source: Path, tmp_path: Path, choose: dict[str, Any], left: str, excluded: dict[str, int]
) -> None:
    report = build(source, tmp_path / "out", **choose)

    assert names_in(tmp_path / "out") == [f"cat/{stem}.png" for stem in left]
    assert report.outcomes.excluded == excluded
    assert report.exit_code == 0


def test_a_format_is_what_a_file_is_and_not_what_it_is_called(tmp_path: Path) -> None:
    mpo = io.BytesIO()
    pixels().save(mpo, "MPO", save_all=True, append_images=[pixels(seed=1)])
    files = {
        "cat/jpeg.png": picture(),
        "cat/png.jpg": picture(format="PNG"),
        "cat/mpo.jpg": mpo.getvalue(),
        "cat/tiff.tif": picture(format="TIFF"),
        "cat/webp.webp": picture(format="WEBP"),
        "cat/gif.gif": picture(format="GIF"),
        "cat/bmp.bmp": picture(format="BMP"),
    }
    source = plant(tmp_path / "source", files)

    build(source, tmp_path / "jpeg", formats=("jpeg",))
    build(source, tmp_path / "rest", formats=("png", "tiff", "webp", "gif", "bmp"))

    assert names_in(tmp_path / "jpeg") == ["cat/jpeg.png", "cat/mpo.jpg"]
    assert names_in(tmp_path / "rest") == [
        "cat/bmp.bmp", "cat/gif.gif", "cat/png.jpg", "cat/tiff.tif", "cat/webp.webp",
    ]  # fmt: skip


def test_what_was_seen_of_an_excluded_image_stands_in_files_parquet(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", min_side=10)

    rows = {row["file_name"]: row for row in pq.read_table(tmp_path / "out/.imagekit/files.parquet").to_pylist()}
    row = rows["cat/c.png"]
    assert (row["outcome"], row["reason"], row["out_name"]) == ("excluded", "below-min-side", None)
    assert (row["width_in"], row["height_in"], row["format_in"]) == (9, 40, "PNG")
    assert row["sha256"].hex() == sha256_of(PICTURES["cat/c.png"])
    assert (row["out_width"], row["out_sha256"], row["kept"]) == (None, None, None)


def test_a_cap_counts_what_content_has_left_and_no_file_that_cannot_be_read(tmp_path: Path) -> None:
    files = {f"{label}/{i}.png": picture((20, 20), seed=i, format="PNG") for label in ("cat", "dog") for i in range(6)}
    files |= {f"cat/small{i}.png": picture((5, 5), seed=i, format="PNG") for i in range(9)}
    files |= {f"cat/bad{i}.png": b"no image" for i in range(9)}
    source = plant(tmp_path / "source", {**files})

    report = build(source, tmp_path / "out", min_side=10, per_class=4)

    folders = [name.partition("/")[0] for name in names_in(tmp_path / "out")]
    assert (folders.count("cat"), folders.count("dog")) == (4, 4)
    assert report.outcomes.excluded == {"below-min-side": 9, "over-cap": 4}
    assert report.outcomes.quarantined == {"unidentified": 9}


def test_an_image_that_cannot_be_read_is_quarantined_with_what_is_known_of_it(source: Path, tmp_path: Path) -> None:
    plant(source, {"cat/e.png": b"no image"})

    report = build(source, tmp_path / "out", min_side=1)

    (bad,) = report.bad_files
    assert (bad.file_name, bad.reason, bad.size_bytes, bad.sha256) == (
        "cat/e.png", "unidentified", 8, sha256_of(b"no image"),
    )  # fmt: skip
    assert report.exit_code == 3
    assert report.outcomes.quarantined == {"unidentified": 1}


def test_when_no_image_passes_nothing_is_published(source: Path, tmp_path: Path) -> None:
    denied: list[dict[str, Any]] = [{"deny": ("**",), "min_side": 1}, {"deny": ("**", "0" * 64), "per_class": 2}]
    for choose, rule_name in (({"min_side": 1000}, "below-min-side"), *((one, "denied") for one in denied)):
        with pytest.raises(SourceError) as caught:
            build(source, tmp_path / "out", **choose)

        assert caught.value.what == f"the recipe's rules leave out every image: {rule_name} 4"
        assert caught.value.fix == "mend the rules of the recipe; nothing was published"
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("include", "gone"),
    [
        ((sha256_of(PICTURES["cat/b.png"]), "0" * 64), ["0" * 64]),
        ((sha256_of(PICTURES["cat/b.png"]).upper(), "cat/a.png", "cat/x.png", "dog/*"), ["cat/x.png", "dog/*"]),
        (("cat/a.png", "0" * 64, "cat/\n.png"), ["0" * 64, r"cat/\n.png"]),
        ((sha256_of(PICTURES["cat/b.png"]), "cat/bad.png", sha256_of(b"no image")), []),
        ((sha256_of(PICTURES["cat/b.png"]), sha256_of(PICTURES["cat/c.png"])), [sha256_of(PICTURES["cat/c.png"])]),
    ],
    ids=["sum", "paths", "escaped", "those that are bad are there", "denied"],
)
def test_entries_of_a_mixed_include_list_that_no_image_has_are_told(
    source: Path, tmp_path: Path, include: tuple[str, ...], gone: list[str]
) -> None:
    plant(source, {"cat/bad.png": b"no image"})

    report = build(source, tmp_path / "out", include=include, deny=(sha256_of(PICTURES["cat/c.png"]),))

    told = [(bad.file_name, bad.detail) for bad in report.bad_files if bad.reason == "vanished"]
    assert told == [(entry, "choose.include lists it, but no image that is left has it") for entry in gone]
    assert report.exit_code == 3
    again = build(source, tmp_path / "out", include=include, deny=(sha256_of(PICTURES["cat/c.png"]),))
    assert (again.state, again.bad_files) == ("up to date", report.bad_files)


# again


def examined(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names that are looked into from now on."""
    names: list[bytes] = []
    look = Examine.__call__

    def noted(self: Examine, name: bytes) -> dict[str, Any]:
        names.append(name)
        return look(self, name)

    monkeypatch.setattr(Examine, "__call__", noted)
    return names


def test_a_rerun_looks_only_into_files_that_are_new_or_changed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    build(source, output, min_side=10, deny=("0" * 64,))
    looked = examined(monkeypatch)
    assert build(source, output, min_side=10, deny=("0" * 64,)).state == "up to date"
    assert looked == []

    plant(source, {"cat/c.png": picture((12, 12), format="PNG"), "cat/e.png": picture((3, 3), format="PNG")})
    build(source, output, min_side=10, deny=("0" * 64,))

    assert looked == [b"cat/c.png", b"cat/e.png"]
    build(source, tmp_path / "fresh", min_side=10, deny=("0" * 64,))
    assert tree(output) == tree(tmp_path / "fresh")


def test_an_image_that_was_over_the_cap_moves_up_when_another_goes(source: Path, tmp_path: Path) -> None:
    """What an earlier build left out by rule was not bad, and is made like any other."""
    output = tmp_path / "out"
    build(source, output, min_side=1, per_class=1)
    (first,) = names_in(output)
    (source / first).unlink()

    report = build(source, output, min_side=1, per_class=1)

    build(source, tmp_path / "fresh", min_side=1, per_class=1)
    assert report.bad_files == ()
    assert names_in(output) != [first]
    assert tree(output) == tree(tmp_path / "fresh")


def test_an_image_that_was_left_out_and_changed_is_told_as_it_is_now(source: Path, tmp_path: Path) -> None:
    output, fresh = tmp_path / "out", tmp_path / "fresh"
    plant(source, {"cat/c.png": picture((9, 9), format="PNG")})
    build(source, output, min_side=20)
    plant(source, {"cat/c.png": picture((11, 11), format="PNG")})

    report = build(source, output, min_side=20)

    build(source, fresh, min_side=20)
    assert report.state == "built"
    assert tree(output) == tree(fresh)
    assert build(source, output, min_side=20).state == "up to date"


def stems_in(output: Path) -> set[str]:
    return {Path(name).stem for name in names_in(output)}


def hash_of(name: str) -> int:
    return int(path_hashes(pa.array([name.encode()], pa.large_binary()), seed=0)[0])


@pytest.mark.parametrize("size", [None, 6])
def test_an_image_that_another_one_pushes_over_the_cap_keeps_nothing_of_what_it_became(
    source: Path, tmp_path: Path, size: int | None
) -> None:
    output, fresh, options = tmp_path / "out", tmp_path / "fresh", SubsetOptions(size=size or "full")
    capped = rule(min_side=5, per_class=2)
    make_subset(capped, source, output=output, options=options)
    before = stems_in(output)
    least = min(hash_of(f"cat/{stem}.png") for stem in before)
    lower = next(name for i in range(1000) if hash_of(name := f"cat/new{i}.png") < least)
    plant(source, {lower: picture((20, 20), seed=9, format="PNG")})

    make_subset(capped, source, output=output, options=options)

    make_subset(capped, source, output=fresh, options=options)
    assert Path(lower).stem in stems_in(output)
    assert len(before - stems_in(output)) == 1
    assert tree(output) == tree(fresh)


def test_the_digest_of_a_survey_tells_what_was_found_and_not_in_which_order(source: Path) -> None:
    look, names = Examine(source=str(source)), [b"cat/a.png", b"cat/b.png", b"cat/gone.png"]
    rows = np.arange(3)

    def seen(order: list[int], **other: Any) -> str:
        facts = FactTable(3)
        for i in order:
            facts.put(i, look(names[i]) | (other if i == 1 else {}))
        return Survey(rows=rows, facts=facts, bad={}).digest()

    assert seen([0, 1, 2]) == seen([2, 0, 1])
    others: list[dict[str, Any]] = [
        {"width_in": 31}, {"height_in": 11}, {"size_bytes": 1}, {"sha256": b"s" * 32}, {"format_in": "GIF"},
        {"reason": "vanished"},
    ]  # fmt: skip
    assert len({seen([0, 1, 2], **other) for other in [{}, *others]}) == 7
    assert no_survey().digest() != Survey(rows=rows, facts=FactTable(3), bad={}).digest()


def test_an_image_that_was_kept_at_full_without_a_check_is_looked_into(source: Path, tmp_path: Path) -> None:
    """--check none notes no width, so the survey's own must come from it."""
    output, unchecked = tmp_path / "out", SubsetOptions(check="none")
    make_subset(rule(min_side=10), source, output=output, options=unchecked)

    report = make_subset(rule(min_side=10), source, output=output, options=unchecked)

    assert report.state == "up to date"
    assert names_in(output) == ["cat/a.png", "cat/b.png", "cat/d.png"]


def test_a_worker_that_died_over_a_file_costs_that_file(source: Path) -> None:
    found, recipe = discover(source), Recipe(name="mine", layout="class", label="parent", split="none")
    choice = choose_by_name(found.names, recipe, tables={}, root="source")
    look = Examine(source=str(source))

    def run_items(names: Iterator[bytes]) -> Iterator[Done | Failed]:
        for index, name in enumerate(names):
            yield Failed(index, "timeout", "no answer") if index == 2 else Done(index, look(name))

    seen = survey(found, choice, recipe, facts=FactTable(4), run_items=run_items)

    assert {row: (bad.file_name, bad.reason, bad.detail) for row, bad in seen.bad.items()} == {
        2: ("cat/c.png", "timeout", "no answer")
    }
    assert choice.taken().tolist() == [0, 1, 2, 3]


def test_examining_never_decodes(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", fail)

    facts = Examine(source=str(source))(b"cat/b.png")

    assert (facts["width_in"], facts["height_in"], facts["mode_in"]) == (30, 10, "RGB")
    assert Examine(source=str(source))(b"cat/gone.png") == {"reason": "vanished", "detail": "No such file or directory"}
    assert no_survey().rows.tolist() == []


def test_an_image_whose_name_clashed_is_made_when_the_other_goes(tmp_path: Path) -> None:
    files = {"cat/A.png": picture((20, 20), format="PNG"), "cat/a.png": picture((9, 9), format="PNG")}
    source, output = plant(tmp_path / "source", {**files}), tmp_path / "out"
    assert build(source, output, min_side=1).outcomes.quarantined == {"path-collision": 1}
    (source / "cat/A.png").unlink()

    report = build(source, output, min_side=1)

    assert report.bad_files == ()
    assert names_in(output) == ["cat/a.png"]
