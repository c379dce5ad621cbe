"""What is known of the images of a plan: each fact has a column of FILES_SCHEMA, and three more serve a rerun."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imagekit.engine import facts

NUMBERS: Mapping[str, type[np.generic]] = {
    "width_in": np.int32,
    "height_in": np.int32,
    "exif_orientation": np.int8,
    "n_frames": np.int32,
    "icc": np.bool_,
    "size_bytes": np.int64,
    "resized": np.bool_,
    "kept": np.bool_,
    "out_width": np.int32,
    "out_height": np.int32,
    "out_size_bytes": np.int64,
}
WORDS = ("reason", "format_in", "mode_in", "decode_path")
DIGESTS = ("sha256", "out_sha256")
RARE = ("detail", "decoder_said")
# for a rerun only; not in files.parquet. A stamp is made of size, time and inode: see files/stamps
STAMPS = ("stamp", "out_stamp")
LINK = "link"
LAYOUT = facts.FactLayout(
    numbers={**NUMBERS, **dict.fromkeys(STAMPS, np.uint64)}, words=(*WORDS, LINK), digests=DIGESTS, rare=RARE
)


class FactTable(facts.FactTable):
    """Facts by row, 0..N-1, of the images of a subset."""

    def __init__(self, n_rows: int) -> None:
        super().__init__(n_rows, LAYOUT)
