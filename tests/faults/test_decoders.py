"""Rows 3 and 35 of the threat table: decoders that hang, die, eat memory or talk; each costs one file, which is named.

Built by real workers: what a fault does to the process that meets it is the very thing to see.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from faults import hostile
from faults.tasks import Misbehaving
from subset.trees import picture, plant, recipe, tree

from imagekit.recipes.choose_rule import ChooseRule
from imagekit.subset.build import make_subset
from imagekit.subset.summary import SubsetReport

COLUMNS = ("file_name", "reason", "detail")


def build(source: Path, output: Path, *, choose: ChooseRule | None = None, **options: Any) -> SubsetReport:
    whole = recipe(layout="class", split="none", classes={}, choose=choose or ChooseRule())
    return make_subset(whole, source, output=output, n_workers=2, **options)


def quarantine(output: Path) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, (output / ".imagekit/quarantine.jsonl").read_text().splitlines())
    return {line["file_name"]: line for line in lines}


def good(n_images: int = 12) -> dict[str | bytes, bytes]:
    return {f"n01/{i}.JPEG": picture(seed=i) for i in range(n_images)}


@pytest.mark.slow
def test_decoders_that_hang_or_die_cost_their_file_and_leave_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plant(tmp_path / "source", good() | {f"n01/{how}.JPEG": picture() for how in ("hang", "die", "abort")})
    plant(tmp_path / "healthy", good())

    with monkeypatch.context() as patch:
        patch.setattr("imagekit.subset.order.BuildImage", Misbehaving)
        report = build(source, tmp_path / "out", timeout_s=1.5)

    assert report.exit_code == 3
    assert [tuple(line[key] for key in COLUMNS) for line in quarantine(tmp_path / "out").values()] == [
        ("n01/abort.JPEG", "decoder-crash", "the decoder died (SIGABRT); it said: free(): invalid pointer"),
        ("n01/die.JPEG", "decoder-crash", "the decoder died (SIGKILL)"),
        ("n01/hang.JPEG", "timeout", "took longer than 1.5 s"),
    ]
    assert {name for name in tree(tmp_path / "out") if not name.startswith(".")} == set(good())
    again = build(source, tmp_path / "out", retry=["timeout", "decoder-crash"])  # now by a decoder that is well
    build(source, tmp_path / "fresh")
    assert (again.exit_code, again.outcomes.selected) == (0, 15)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.parametrize("choose", [ChooseRule(), ChooseRule(min_side=2)])  # the second looks into every file first
def test_a_picture_that_needs_more_memory_than_a_worker_may_have_is_a_bomb(tmp_path: Path, choose: ChooseRule) -> None:
    source = plant(tmp_path / "source", good() | {"n01/eater.png": hostile.memory_eater()})

    report = build(source, tmp_path / "out", choose=choose, memory_limit_bytes=2**25)

    assert report.outcomes.to_dict()["quarantined"] == {"bomb": 1}
    told = quarantine(tmp_path / "out")["n01/eater.png"]
    assert (told["reason"], told["detail"]) == ("bomb", "decoding needs more memory than this process may have")
    assert build(source, tmp_path / "roomy", choose=choose).outcomes.selected == 13


def test_what_a_decoder_writes_to_stderr_goes_into_the_record_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = plant(tmp_path / "source", good() | {"n01/chatter.JPEG": picture(), "n01/noisy.tif": hostile.noisy_tiff()})
    monkeypatch.setattr("imagekit.subset.order.BuildImage", Misbehaving)

    build(source, tmp_path / "out")

    assert capfd.readouterr().err == ""
    rows = pq.read_table(tmp_path / "out/.imagekit/files.parquet", columns=["file_name", "decoder_said"]).to_pylist()
    said = {row["file_name"]: row["decoder_said"] for row in rows if row["decoder_said"] is not None}
    assert set(said) == {"n01/chatter.JPEG", "n01/noisy.tif"}
    assert said["n01/chatter.JPEG"] == "decoder: odd tag\x1b[2J"
    assert said["n01/noisy.tif"].startswith("ZIPDecode: Decoding error at scanline 0")
    told = quarantine(tmp_path / "out")["n01/noisy.tif"]
    assert (told["reason"], told["decoder_said"]) == ("corrupt", said["n01/noisy.tif"])


def test_the_screen_shows_nothing_of_what_decoders_say(tmp_path: Path) -> None:
    plant(tmp_path / "source", {f"n01/{i}.tif": hostile.noisy_tiff() for i in range(40)} | {"n01/a.jpg": picture()})
    command = ["make-subset", "all", str(tmp_path / "source"), "-o", str(tmp_path / "out"), "--workers", "1"]

    process = subprocess.run([sys.executable, "-m", "imagekit", *command], capture_output=True, text=True)

    assert process.returncode == 3, process.stderr
    assert "ZIPDecode" not in process.stdout + process.stderr
    assert "  40 files corrupt: n01/0.tif, n01/1.tif, n01/10.tif; all in .imagekit/quarantine.jsonl" in (
        process.stdout.splitlines()
    )
    assert len(process.stdout.splitlines()) < 20


def test_nothing_but_the_allowed_decoders_is_ever_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for program in ("gs", "djpeg", "cjpeg", "pdftoppm"):
        (fakes / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (fakes / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{fakes}:/usr/bin:/bin")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    plant(tmp_path / "source", good(2) | {"n01/a.eps": eps, "n01/b.jpg": eps, "n01/c.png": b"8BPS\0\1" + b"\0" * 99})

    report = build(tmp_path / "source", tmp_path / "out")

    assert not (tmp_path / "started").exists()
    assert report.outcomes.quarantined == {"unsupported-format": 2}
    assert report.outcomes.not_image == 1  # an .eps is no image here
