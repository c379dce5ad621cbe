"""How much memory is free, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.data import memory
from imagekit.data.memory import free_memory

OURS = "/jobs/ours"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """What the system says of its memory."""
    told: dict[str, int | None] = {"total_bytes": 9_000_000, "available_bytes": 5_120_000}
    monkeypatch.setattr(memory, "memory", lambda: told)
    return told


def free(folder: Path, files: dict[str, str]) -> int:
    """Free memory on a machine whose kernel says this."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return free_memory(own=folder / "own", groups=folder / "groups")


@pytest.mark.parametrize(
    ("files", "n_bytes"),
    [
        ({}, 5_120_000),
        # one's own group, and one that it lies in
        ({"groups/jobs/ours/memory.max": "4096000", "groups/jobs/ours/memory.current": "1096000"}, 3_000_000),
        ({"groups/jobs/memory.max": "4096000", "groups/jobs/memory.current": "1096000"}, 3_000_000),
        ({"groups/memory.max": "4096000", "groups/memory.current": "1096000"}, 3_000_000),
        # no limit, or one that is above what the system has
        ({"groups/jobs/ours/memory.max": "max", "groups/jobs/ours/memory.current": "1096000"}, 5_120_000),
        ({"groups/jobs/ours/memory.max": "9000000", "groups/jobs/ours/memory.current": "1000000"}, 5_120_000),
        # files that were read are given back
        (
            {
                "groups/jobs/ours/memory.max": "4096000",
                "groups/jobs/ours/memory.current": "4000000",
                "groups/jobs/ours/memory.stat": "anon 1000000\nactive_file 1000000\ninactive_file 2000000\n",
            },
            3_096_000,
        ),
        ({"groups/jobs/ours/memory.max": "1000", "groups/jobs/ours/memory.current": "5000"}, 0),
    ],
    ids=["alone", "own", "outer", "root", "unlimited", "large", "files", "over"],
)  # fmt: skip
def test_what_the_system_has_and_every_control_group_leaves(tmp_path, files, n_bytes):
    told = free(tmp_path, {"own": f"0::{OURS}\n", **files})

    assert told == n_bytes


@pytest.mark.parametrize(("limit", "n_bytes"), [("4096000", 3_300_000), ("9223372036854771712", 5_120_000)])
def test_groups_of_version_1_are_known_too(tmp_path, limit, n_bytes):
    group = f"groups/memory{OURS}"

    told = free(
        tmp_path,
        {
            "own": f"3:cpu,cpuacct:/other\n2:memory:{OURS}\n0::/\n",
            f"{group}/memory.limit_in_bytes": limit,
            f"{group}/memory.usage_in_bytes": "1096000",
            f"{group}/memory.stat": "active_file 1\ntotal_active_file 100000\ntotal_inactive_file 200000\n",
        },
    )

    assert told == n_bytes


def test_where_nothing_is_told_of_what_is_available_half_of_the_memory_counts(tmp_path, machine):
    machine["available_bytes"] = None

    assert free(tmp_path, {}) == 4_500_000
