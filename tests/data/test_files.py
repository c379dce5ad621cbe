"""Files that no manifest lists, as samples."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from trees import draw_image

from imagekit.data.files import FileNames, ImageFiles
from imagekit.data.order import SampleRef
from imagekit.errors import SourceError
from imagekit.transforms.tensors import MakeRGB


def files_in(*roots) -> FileNames:
    names = pa.array([b"a.JPEG"] * len(roots), pa.large_binary())
    return FileNames(roots=roots, root_N=np.arange(len(roots)), names=names)


def test_each_file_is_found_below_its_own_root(tmp_path):
    draw_image(tmp_path / "one/a.JPEG", "cat", seed=1, size=(8, 8))
    draw_image(tmp_path / "two/a.JPEG", "dog", seed=1, size=(8, 8))
    dataset = ImageFiles(files_in(tmp_path / "one", tmp_path / "two"), transforms=[MakeRGB()])

    first, second = dataset.samples([SampleRef(0, 0), SampleRef(0, 1)])

    assert (tuple(first.x.shape), first.y, second.row) == ((3, 8, 8), -1, 1)
    assert not first.x.equal(second.x)
    assert dataset.files.take(np.array([1])).shown(0) == str(tmp_path / "two/a.JPEG")


def test_a_file_that_went_bad_is_named(tmp_path):
    (tmp_path / "a.JPEG").write_bytes(b"none")

    with pytest.raises(SourceError) as caught:
        ImageFiles(files_in(tmp_path)).samples([SampleRef(0, 0)])

    assert str(caught.value) == (
        "the image cannot be used any more: unidentified: the content is no known image; it begins with b'none'\n"
        f"  where: {tmp_path / 'a.JPEG'}\n  fix: leave it alone while it is looked at, and run the command again"
    )
