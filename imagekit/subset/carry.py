"""Take images over from the version of a subset that is being replaced: a second name for the same file, no copy.

The old version is removed once the new one is published, so a file has two names for a moment only. Nobody may write
to a file here: a worker that makes an image anew makes a new file.
"""

from __future__ import annotations

from pathlib import Path

from imagekit.files import seam
from imagekit.files.atomic import explain_disk_full
from imagekit.files.link import write_new
from imagekit.files.read import read_file


def carry_over(old: Path, new: Path) -> bool:
    """Give the file `old` the name `new`, too; whatever stood there goes. True where it had to be copied instead.

    Raises ImageError when `old` cannot be read, DiskFullError.
    """
    with explain_disk_full(new):
        for _ in range(2):
            try:
                seam.link(old, new)
            except FileExistsError:  # a build that was killed had come this far, or further
                seam.unlink(new)
            except OSError:
                break
            else:
                return False
    write_new(new, read_file(old))
    return True
