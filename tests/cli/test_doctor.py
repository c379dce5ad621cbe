"""`imagekit doctor`: what is well, what is a note, what is a fault."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from imagekit import environment
from imagekit.cli.doctor import Check, Diagnosis, judge
from imagekit.cli.main import cli

WELL: dict[str, Any] = {
    "versions": {"imagekit": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
    "codecs": {"jpg": "6.2", "webp": "1.6.0", "libjpeg_turbo": "3.2.0"},
    "cpu": {"model": "A Processor", "cores": 4},
    "torch": {"device": "cpu", "device_name": None, "threads": 4, "cpu_capability": "AVX2", "cpu_bf16": True},
    "memory": {"total_bytes": 16 << 30, "available_bytes": 8 << 30},
    "shm_free_bytes": 8 << 30,
    "disk_free_bytes": 50 << 30,
}


def changed(section: str, value: Any) -> dict[str, Any]:
    facts = copy.deepcopy(WELL)
    facts[section] = {**facts[section], **value} if isinstance(value, dict) and "error" not in value else value
    return facts


def not_ok(facts: dict[str, Any], write_refusal: str | None = None) -> list[Check]:
    return [check for check in judge(facts, write_refusal=write_refusal) if check.level != "ok"]


def test_a_machine_that_is_well_has_nothing_to_say() -> None:
    diagnosis = Diagnosis(facts=WELL, checks=tuple(judge(WELL, write_refusal=None)))

    assert diagnosis.summary() == (
        "ok     versions       imagekit 0.1.0, python 3.11.7, torch 2.13.0\n"
        "ok     codecs         jpg 6.2, webp 1.6.0, libjpeg_turbo 3.2.0\n"
        "ok     processor      A Processor, 4 cores for this process\n"
        "ok     device         cpu\n"
        "ok     arithmetic     4 threads, AVX2, bf16\n"
        "ok     memory         8.0 GiB free of 16.0\n"
        "ok     shared memory  8.0 GiB free\n"
        "ok     disk           50.0 GiB free\n"
        "ok     write test     written, synced, renamed, removed\n"
        "checks: 9, faults: 0"
    )
    assert (diagnosis.exit_code, diagnosis.next_command) == (0, "imagekit demo")


PILLOW = "install the Pillow wheel from PyPI: pip install --force-reinstall pillow"


@pytest.mark.parametrize(
    ("section", "value", "expected"),
    [
        (
            "versions",
            {"torch": None},
            Check(name="packages", level="fault", found="missing: torch", fix="pip install torch"),
        ),
        ("codecs", {"webp": None}, Check(name="codecs", level="fault", found="Pillow lacks webp", fix=PILLOW)),
        (
            "codecs",
            {"libjpeg_turbo": None},
            Check(
                name="codecs",
                level="note",
                found="jpg 6.2, webp 1.6.0; JPEG without libjpeg-turbo is slow",
                fix=PILLOW,
            ),
        ),
        (
            "torch",
            {"error": "ImportError: libcudart"},
            Check(
                name="torch",
                level="fault",
                found="ImportError: libcudart",
                fix="reinstall it: https://pytorch.org/get-started/locally",
            ),
        ),
        (
            "torch",
            {"cpu_bf16": False},
            Check(
                name="arithmetic",
                level="note",
                found="4 threads, AVX2, no bf16: training on the CPU runs in float32",
            ),
        ),
        (
            "shm_free_bytes",
            64 << 20,
            Check(
                name="shared memory",
                level="fault",
                found="0.1 GiB free, 0.12 GiB wanted",
                fix="docker run --shm-size=2g",
            ),
        ),
        ("shm_free_bytes", None, Check(name="shared memory", level="note", found="not told by this system")),
        (
            "disk_free_bytes",
            1 << 29,
            Check(name="disk", level="fault", found="0.5 GiB free, 1 GiB wanted", fix="free some space"),
        ),
    ],
)
def test_what_is_not_well_is_named_with_its_cure(section: str, value: Any, expected: Check) -> None:
    assert not_ok(changed(section, value)) == [expected]


def test_a_gpu_is_named_and_needs_no_bf16_of_the_processor() -> None:
    facts = changed("torch", {"device": "cuda", "device_name": "A Card", "cpu_bf16": False})

    assert not_ok(facts) == []
    assert Check(name="device", level="ok", found="cuda (A Card)") in judge(facts, write_refusal=None)


def test_a_fault_exits_3_and_says_how_to_cure_it() -> None:
    diagnosis = Diagnosis(facts=WELL, checks=tuple(not_ok(WELL, "Read-only file system")))

    assert diagnosis.summary() == (
        "fault  write test  Read-only file system\n"
        "                   fix: run in a folder that you may write to\n"
        "checks: 1, faults: 1"
    )
    assert (diagnosis.exit_code, diagnosis.next_command) == (3, None)


def test_the_command_prints_facts_and_checks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "collect", lambda: WELL)
    monkeypatch.chdir(tmp_path)

    text = CliRunner().invoke(cli, ["doctor"])
    document = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).stdout)

    assert text.stdout.endswith("checks: 9, faults: 0\n")
    assert text.exit_code == 0
    assert document["facts"] == WELL
    assert [check["level"] for check in document["checks"]] == ["ok"] * 9


def test_a_faulty_machine_exits_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "collect", lambda: changed("versions", {"torch": None}))

    result = CliRunner().invoke(cli, ["doctor", "--json"])

    assert (result.exit_code, json.loads(result.stdout)["exit_code"]) == (3, 3)


@pytest.mark.slow
def test_the_facts_of_this_machine_can_be_judged() -> None:
    checks = judge(environment.collect(), write_refusal=None)

    assert {check.name for check in checks} >= {"versions", "codecs", "processor", "memory", "disk", "write test"}
