"""What a command sets up in its own process before it loads torch."""

from __future__ import annotations

import os

from imagekit.learner.allocator import keep_freed_memory


def prepare_for_torch() -> None:
    """Be called before torch is loaded: threads that wait sleep, and freed memory is kept.

    Threads that spin while they wait keep decoding workers off the cores (scripts/LOG.md). Who set OMP_WAIT_POLICY
    keeps it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
