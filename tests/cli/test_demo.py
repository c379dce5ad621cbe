"""The demo, as a user types it, and what became of every planted file."""

import json
import subprocess
import sys

import pytest

from imagekit.cli.demo import run_demo
from imagekit.errors import ImagekitError
from imagekit.look.shapes import ShapesSource

EXPECTED_OUTCOMES = {
    "quarantined: truncated": "quarantined: truncated",
    "not an image": "not-image",
    "hidden, passed over": "not seen: its name begins with a dot",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "imagekit", "demo", "--json"]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def facts(demo):
    return json.loads(demo[1].stdout)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_exits_0_and_learns_the_shapes(demo, facts):
    assert demo[1].returncode == 0
    assert facts["accuracy"] >= 0.80


@pytest.mark.slow
def test_every_step_is_echoed_and_exit_3_explained(demo):
    said = demo[1].stderr

    assert [line.split()[2] for line in said.splitlines() if line.startswith("$ imagekit")] == [
        "make-subset", "manifest", "inspect", "train", "evaluate",
    ]  # fmt: skip
    assert said.count("exit code 3 is expected here") == 2


@pytest.mark.slow
def test_every_output_that_the_demo_names_is_there(demo, facts):
    folder, _ = demo

    assert len(facts["outputs"]) == 8
    assert all((folder / path).exists() for path in facts["outputs"].values())


@pytest.mark.slow
def test_every_planted_file_had_the_outcome_it_was_planted_for(facts):
    assert len(facts["planted"]) >= 12
    for item in facts["planted"]:
        expected = EXPECTED_OUTCOMES.get(item["expected"])
        if expected is None:
            assert item["expected"].startswith("kept")
            assert item["outcome"].startswith("selected, as "), item
        else:
            assert item["outcome"] == expected, item


@pytest.mark.slow
def test_the_planted_duplicate_is_told_as_a_leak(demo, facts):
    twin = next(item["path"] for item in facts["planted"] if item["expected"].startswith("kept, the same bytes"))

    assert f"= {twin} (valid)" in demo[1].stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    command = [sys.executable, "-m", "imagekit", "demo", "-o", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        f"error: the folder exists and is not an earlier demo's\n  where: {tmp_path}\n"
        "  fix: give another -o, or move it away yourself\n"
    )


def run(monkeypatch, folder, *, accuracy=1.0, code=0):
    """The demo with its steps replaced: what it does when one fails or the model learns too little."""

    def fake(command, **options):
        return subprocess.CompletedProcess(command, code, stdout=json.dumps({"accuracy": accuracy}))

    monkeypatch.setattr("imagekit.cli.demo.subprocess.run", fake)
    monkeypatch.setattr("imagekit.look.shapes.draw_shapes", lambda root, **options: ShapesSource(root=root, planted=()))
    run_demo(folder, seed=0, n_workers=1, say=lambda line: None)


def test_a_model_that_learns_too_little_is_an_error(monkeypatch, tmp_path):
    with pytest.raises(ImagekitError) as caught:
        run(monkeypatch, tmp_path / "demo", accuracy=0.5)

    assert str(caught.value) == (
        "top-1 accuracy is 0.5000, a sound installation reaches at least 0.80\n"
        f"  where: {tmp_path / 'demo/run'}\n  fix: run imagekit doctor, and try another --seed"
    )


def test_a_step_that_fails_is_named(monkeypatch, tmp_path):
    with pytest.raises(ImagekitError) as caught:
        run(monkeypatch, tmp_path / "demo", code=1)

    folder = tmp_path / "demo"
    assert str(caught.value) == (
        "a step of the demo ended with exit code 1\n"
        f"  where: imagekit make-subset shapes {folder}/source -o {folder}/subset --size 64 --workers 1\n"
        "  fix: see its own message above; imagekit doctor looks at the installation"
    )
