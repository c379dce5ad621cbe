"""How many descriptors this process has: a module of its own, for a worker that is started anew loads it too."""

from pathlib import Path


def n_open_files() -> int:
    """Compare with <=: what other tests left may be collected at any time."""
    return len(list(Path("/proc/self/fd").iterdir()))
