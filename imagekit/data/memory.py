"""How much memory a process may still take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imagekit.environment import memory

_UNLIMITED = 1 << 60  # version 1 says so by the largest number of pages
# of a control group's memory, what the system takes back before it ends anybody: files that were read
_RECLAIMABLE = ("active_file", "inactive_file", "total_active_file", "total_inactive_file")


def free_memory(*, own: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: what the system has available, and what every control group allows.

    Where a system does not say what is available (macOS), half of its memory. own, groups: files of the kernel.
    """
    told = memory()
    available = told["available_bytes"]
    if available is None:
        available = (told["total_bytes"] or 0) // 2
    return min([available, *_left_by_groups(own, groups)])


def _left_by_groups(own: Path, groups: Path) -> Iterator[int]:
    """What the groups of this process, and those that they lie in, have left."""
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = groups / "memory" if controllers else groups
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        place = top / path.lstrip("/")
        for folder in (place, *place.parents):
            yield from _left_in(folder, *names)
            if folder == top:
                break


def _left_in(folder: Path, most_name: str, taken_name: str) -> Iterator[int]:
    most, taken = _text(folder / most_name).strip(), _text(folder / taken_name).strip()
    if not (most.isdecimal() and taken.isdecimal()) or int(most) >= _UNLIMITED:
        return
    counts = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    # version 1 counts the groups below apart, as total_
    known = [name for name in _RECLAIMABLE if name in counts]
    reclaimable = sum(int(counts[name]) for name in ([n for n in known if n.startswith("total_")] or known))
    yield max(0, int(most) - max(0, int(taken) - reclaimable))


def _text(path: Path) -> str:
    """What a file of the kernel says; nothing where it is not there, or not ours to read."""
    try:
        return path.read_text()
    except OSError:
        return ""
