"""Errors survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from imagekit.errors import ImageError, ManifestError, WorkerError


@pytest.mark.parametrize("where", [None, "a.jpg"])
def test_an_image_error_comes_back_from_another_process_as_it_was(where):
    error = ImageError("truncated", "the file ends early", where=where)
    error.fix = "restore the file"

    again = pickle.loads(pickle.dumps(error))

    assert (str(again), again.reason, again.detail) == (str(error), "truncated", "the file ends early")


def test_any_other_error_does_too():
    error = ManifestError("damaged", where="m.parquet", fix="build it again")

    assert str(pickle.loads(pickle.dumps(error))) == "damaged\n  where: m.parquet\n  fix: build it again"


def test_a_worker_that_ended_is_a_failure_like_others_to_a_script():
    error = WorkerError("worker process 1 of 2 ended", where="Loader", fix="try fewer --workers than 2")

    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert error.to_dict() == {
        "error": "WorkerError",
        "what": "worker process 1 of 2 ended",
        "where": "Loader",
        "fix": "try fewer --workers than 2",
        "exit_code": 1,
    }
