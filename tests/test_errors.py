"""Errors survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from imagekit.errors import ImageError, ManifestError


@pytest.mark.parametrize("where", [None, "a.jpg"])
def test_an_image_error_comes_back_from_another_process_as_it_was(where):
    error = ImageError("truncated", "the file ends early", where=where)
    error.fix = "restore the file"

    again = pickle.loads(pickle.dumps(error))

    assert (str(again), again.reason, again.detail) == (str(error), "truncated", "the file ends early")


def test_any_other_error_does_too():
    error = ManifestError("damaged", where="m.parquet", fix="build it again")

    assert str(pickle.loads(pickle.dumps(error))) == "damaged\n  where: m.parquet\n  fix: build it again"
