"""Facts about the machine: plain, complete, and nothing that would give its owner away."""

from __future__ import annotations

import getpass
import json
import os
import platform
from importlib import metadata
from pathlib import Path

import pytest

from imagekit import __version__, environment


@pytest.mark.slow
def test_facts_are_plain_and_name_neither_people_nor_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEKIT_SECRET", "value-of-a-variable")

    facts = environment.collect(tmp_path)

    text = json.dumps(facts)
    assert json.loads(text) == facts
    assert "value-of-a-variable" not in text
    assert str(tmp_path) not in text
    assert str(Path.cwd()) not in text
    assert platform.node() not in text or platform.node() in platform.platform()
    assert f'"{getpass.getuser()}"' not in text


def test_versions_are_those_installed() -> None:
    versions = environment.versions()

    assert versions["imagekit"] == __version__
    assert versions["python"] == platform.python_version()
    assert versions["pillow"] == metadata.version("pillow")


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("pillow", "no-such-package"))

    versions = environment.versions()

    assert versions["no-such-package"] is None
    assert versions["pillow"] is not None


def test_codecs_name_what_pillow_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import features

    found = environment.codecs()
    monkeypatch.setattr(features, "check", lambda name: name != "webp")
    without = environment.codecs()

    assert found["jpg"] is not None
    assert found["zlib"] is not None
    assert without == {**found, "webp": None}


@pytest.mark.slow
def test_torch_facts_say_device_threads_and_bf16() -> None:
    import torch

    facts = environment.torch_facts()

    assert facts["threads"] == torch.get_num_threads()
    assert facts["device"] in ("cpu", "cuda", "mps")
    assert isinstance(facts["cpu_bf16"], bool)


def test_a_torch_that_cannot_be_imported_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)

    assert environment.torch_facts() == {
        "error": "ModuleNotFoundError: import of torch halted; None in sys.modules",
    }


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000\n", 8), ("200000 100000\n", 2), ("150000 100000\n", 2), ("1000 100000\n", 1), ("", 8), ("odd", 8)],
)
def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch, quota: str, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(environment, "_read", lambda path: quota)

    assert environment.count_cores() == cores


def test_cores_without_affinity_are_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)

    assert environment.count_cores() == 1


def test_memory_reads_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable:   1024 kB\n"
    monkeypatch.setattr(environment, "_read", lambda path: lines)

    assert environment.memory() == {"total_bytes": 2048 * 1024, "available_bytes": 1024 * 1024}


def test_memory_without_proc_has_a_total_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_read", lambda path: "")

    found = environment.memory()

    assert found["available_bytes"] is None
    assert found["total_bytes"] is not None
    assert found["total_bytes"] > 0


def test_the_processor_has_a_name() -> None:
    assert environment.cpu_model()


def test_free_space_of_a_folder_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    assert environment.free_bytes(tmp_path / "nosuch") is None
    assert environment.free_bytes(tmp_path) is not None


def test_the_write_test_leaves_nothing(tmp_path: Path) -> None:
    assert environment.why_not_writable(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_write_test_says_what_the_system_refused(tmp_path: Path) -> None:
    assert environment.why_not_writable(tmp_path / "nosuch") == "No such file or directory"
