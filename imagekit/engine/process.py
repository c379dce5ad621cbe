"""One worker process as its parent sees it: started, spoken to, buried."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from mmap import mmap
from typing import IO, Any

from imagekit.engine.channel import NOBODY, PAGE, mark, marked, receive, send
from imagekit.errors import ImagekitError

# The worker finds the same modules as its parent, wherever they were imported from, and -P keeps the current folder
# out: a source folder may hold a struct.py.
_START = "import sys; sys.path[:] = sys.argv[4:]; from imagekit.engine.worker import main; main()"
# There is a worker a core: threads of numpy's or torch's own would only fight over it, and each maps memory.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_NOISE_LIMIT = 2000  # bytes


class Worker:
    """A process that waits for chunks. `pending` are those it was sent and has not answered."""

    def __init__(self) -> None:
        """Start it. Raises ImagekitError if the system does not let us."""
        try:
            self._start()
        except OSError as error:
            raise ImagekitError(
                f"a worker process cannot be started: {error.strerror or error}",
                fix="run imagekit doctor; if memory is short, give fewer --workers",
            ) from error
        self.pending: deque[list[tuple[int, Any]]] = deque()
        self.n_answers = 0

    def _start(self) -> None:
        with contextlib.ExitStack() as opened:  # what is open is closed where a later step fails
            shared = opened.enter_context(tempfile.TemporaryFile())
            shared.truncate(PAGE.size)
            self._noise = opened.enter_context(tempfile.TemporaryFile())
            self._page = opened.enter_context(mmap(shared.fileno(), PAGE.size))
            mark(self._page, NOBODY, time.monotonic_ns())
            self._socket, theirs = socket.socketpair()
            opened.enter_context(self._socket)
            with theirs:
                self.process = _spawn((theirs.fileno(), shared.fileno()), stderr=self._noise)
            self._opened = opened.pop_all()

    @property
    def fd(self) -> int:
        """The descriptor that becomes readable when the worker answers or dies."""
        return self._socket.fileno()

    def now(self) -> tuple[int, int]:
        """The item at work and when it was begun, as `channel` defines them."""
        return marked(self._page)

    def send(self, message: bytes) -> None:
        """Send one message; to a dead worker, nothing: the next receive meets the closed socket and tells."""
        try:
            send(self.fd, message)
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self) -> bytes:
        """Wait for one message. Raises EOFError if the worker is dead."""
        return receive(self.fd)

    def bury(self) -> tuple[int, str]:
        """End it and release what it held: its exit status, and the end of what it wrote to stderr last."""
        self.process.kill()
        code = self.process.wait()
        size = self._noise.seek(0, os.SEEK_END)
        self._noise.seek(max(0, size - _NOISE_LIMIT))
        text = self._noise.read(_NOISE_LIMIT).decode(errors="backslashreplace").strip()
        self._opened.close()
        return code, text


def status_words(code: int) -> str:
    """How a process ended: its exit status, or the name of the signal that killed it."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _spawn(fds: tuple[int, int], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    folders = [folder or os.getcwd() for folder in sys.path]  # noqa: PTH109 - "" stands for the current folder
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START, *map(str, fds), str(os.getpid()), *folders],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # stdout holds results only; what a library says there is none
        stderr=stderr,
        env={**_ONE_THREAD, **os.environ},
    )
