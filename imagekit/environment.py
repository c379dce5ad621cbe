"""Facts about this machine and installation, for `doctor` and for run records.

Plain types only; no environment variable, host name, user name or absolute path, so a record can be published as it is.
torch and Pillow are imported when they are asked, never with this module.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import tempfile
from pathlib import Path

FORMAT_VERSIONS = {"manifest": 1, "receipt": 1, "checkpoint": 1}
PACKAGES = ("torch", "pillow", "pyarrow", "numpy", "click", "tqdm", "jinja2")
CODECS = ("jpg", "zlib", "webp", "libtiff", "libjpeg_turbo")


def collect(folder: Path | None = None) -> dict[str, object]:
    """Collect every fact: versions, codecs, processor, memory, device, free space.

    folder: whose disk is measured; the current one if None. Imports torch (about a second) and Pillow. Sizes in bytes;
    None where the system does not tell.
    """
    return {
        "versions": versions(),
        "formats": dict(FORMAT_VERSIONS),
        "platform": platform.platform(),
        "codecs": codecs(),
        "cpu": {"model": cpu_model(), "cores": count_cores()},
        "torch": torch_facts(),
        "memory": memory(),
        "shm_free_bytes": free_bytes(Path("/dev/shm")),
        "disk_free_bytes": free_bytes(folder or Path()),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of imagekit, Python and the core packages, without importing them; None if not installed."""
    from importlib import metadata

    from imagekit import __version__

    found: dict[str, str | None] = {"imagekit": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def version_line() -> str:
    """Return what `imagekit --version` prints: the programs that decide about bytes, and the formats."""
    known = versions()
    shown = {"imagekit": "imagekit", "python": "Python", "torch": "torch", "pillow": "Pillow", "pyarrow": "pyarrow"}
    programs = ", ".join(f"{title} {known[name] or 'not installed'}" for name, title in shown.items())
    formats = ", ".join(f"{name} {version}" for name, version in FORMAT_VERSIONS.items())
    return f"{programs}; formats: {formats}"


def codecs() -> dict[str, str | None]:
    """Return the version of each image library that Pillow was built with; None if it lacks it."""
    from PIL import features

    return {name: (features.version(name) or "yes") if features.check(name) else None for name in CODECS}


def torch_facts() -> dict[str, object]:
    """Return device, threads and bf16 support; {"error": why} if torch cannot be imported."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library it needs is missing
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    has_mkldnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    kind, name = "cpu", None
    if torch.cuda.is_available():
        kind, name = "cuda", torch.cuda.get_device_name()
    elif torch.backends.mps.is_available():
        kind = "mps"
    return {
        "device": kind,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_bf16": bool(has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    }


def count_cores() -> int:
    """Count the cores that this process may use: its affinity, and a container's quota rounded up; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read(Path("/sys/fs/cgroup/cpu.max")).split()  # "200000 100000" or "max 100000"
    if len(quota) == 2 and quota[0].isdecimal():
        allowed = min(allowed, math.ceil(int(quota[0]) / int(quota[1])))
    return max(1, allowed)


def cpu_model() -> str:
    """Return the processor's name, or its architecture where the system does not tell."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory() -> dict[str, int | None]:
    """Return total and available memory in bytes."""
    lines = dict(line.split(":", 1) for line in _read(Path("/proc/meminfo")).splitlines() if ":" in line)
    found = {name: int(lines[key].split()[0]) * 1024 if key in lines else None for name, key in _MEMINFO.items()}
    if found["total_bytes"] is None and "SC_PHYS_PAGES" in os.sysconf_names:  # macOS has no /proc
        found["total_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return found


def free_bytes(folder: Path) -> int | None:
    """Return the free space of the disk that holds `folder`; None if it is not there."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def why_not_writable(folder: Path) -> str | None:
    """Try what every output needs in `folder`: write, sync, rename, remove. Returns the refusal; None if all went."""
    try:
        with tempfile.TemporaryDirectory(prefix=".imagekit-doctor-", dir=folder) as name:
            first, second = Path(name, "a"), Path(name, "b")
            with first.open("wb") as file:
                file.write(b"imagekit")
                file.flush()
                os.fsync(file.fileno())
            first.replace(second)
            return None if second.read_bytes() == b"imagekit" else "what was read is not what was written"
    except OSError as error:
        return error.strerror or str(error)


_MEMINFO = {"total_bytes": "MemTotal", "available_bytes": "MemAvailable"}


def _read(path: Path) -> str:
    """Read a file of the kernel; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
