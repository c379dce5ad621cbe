"""Decoders that misbehave on some names; importable by worker processes."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from imagekit.files.names import to_path
from imagekit.subset.image import BuildImage


class Misbehaving(BuildImage):
    """By the image's name: `hang` never ends, `die` is killed amid writing, `abort` aborts, `chatter` is noisy."""

    def __call__(self, item: tuple[bytes, bytes]) -> dict[str, Any]:
        name, out_name = item
        file = name.rsplit(b"/", 1)[-1]
        if file.startswith((b"hang", b"die")):
            assert self.staging is not None
            to_path(Path(self.staging), out_name).write_bytes(b"half")
        if file.startswith(b"hang"):
            time.sleep(60)
        if file.startswith(b"die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if file.startswith(b"abort"):
            os.write(2, b"free(): invalid pointer\n")
            os.abort()
        if file.startswith(b"chatter"):
            os.write(2, b"decoder: odd tag\x1b[2J\n")
        return BuildImage.__call__(self, item)
