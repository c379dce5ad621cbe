"""Row 34 of the threat table: Ctrl-C and SIGTERM at random times, sent to a real command and its workers."""

from __future__ import annotations

import contextlib
import random
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from faults import commands
from faults.scenarios import Stage, without_disk
from files.faults import FaultAt
from subset.trees import InlineWorkers, picture, plant, tree

from imagekit.recipes.load import find_recipe, load_recipes
from imagekit.subset.build import make_subset

N_IMAGES = 50  # a class and split
LEFT = {".out.imagekit-staging", ".out.imagekit-old", ".out.imagekit-trash", ".out.imagekit-lock", "out"}


@pytest.fixture(scope="module")
def big_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    files: dict[str | bytes, bytes] = {
        f"{split}/n0{c}/{i}.JPEG": picture((60, 40), seed=i)
        for split in ("train", "val")
        for c in (1, 2)
        for i in range(N_IMAGES)
    }
    return plant(folder / "source", files)


@pytest.fixture(scope="module")
def whole(big_source: Path) -> tuple[dict[str, bytes], float]:
    """What an uninterrupted command makes, and how many seconds it takes."""
    begun = time.monotonic()
    code, _, err = commands.run(big_source, big_source.with_name("fresh"), "--workers", "2")
    assert code == 0, err
    return tree(big_source.with_name("fresh")), time.monotonic() - begun


def finish(source: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command to its end; in this process, which is faster and by promise the same."""
    monkeypatch.setattr("imagekit.subset.build.Workers", InlineWorkers)
    recipe = find_recipe("tiny", load_recipes(source.with_name("recipes.toml")))
    assert make_subset(recipe, source, output=output).exit_code == 0


def check(output: Path, fresh: dict[str, bytes], *, had_output: bool) -> None:
    """Nothing half, and nothing unknown beside it."""
    assert {path.name for path in output.parent.iterdir()} <= LEFT
    assert tree(output) == fresh if output.exists() else not had_output


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_ctrl_c_at_a_random_time_exits_130_and_the_same_command_goes_on(
    big_source: Path,
    whole: tuple[dict[str, bytes], float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    output, (fresh, seconds) = tmp_path / "out", whole
    process = commands.start(big_source, output, "--workers", "2")

    if seed % 2:  # any time
        time.sleep(random.Random(seed).uniform(0.2, 1) * seconds)
    else:  # among the images, which are the smaller part of a small build's time
        commands.wait_for(output.with_name(".out.imagekit-staging"), process)
        time.sleep(random.Random(seed).uniform(0, 0.4) * seconds)
    commands.signal_group(process, signal.SIGINT)
    out, err = process.communicate()

    # before the command line runs the interpreter itself is interrupted
    assert process.returncode in (0, 130, -signal.SIGINT), err
    check(output, fresh, had_output=process.returncode == 0)
    if process.returncode == 130:
        assert "Traceback" not in err
        assert out == ""
        resume = err.splitlines()[-1].removeprefix("interrupted: to go on: ")
        assert shlex.split(resume)[:2] == ["imagekit", "make-subset"]
    assert commands.is_group_gone(process)
    finish(big_source, output, monkeypatch)
    assert tree(output) == fresh
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_among_the_images_of_an_update_leaves_the_old_version(
    big_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    output = tmp_path / "place/out"
    source = plant(tmp_path / "source", dict(tree(big_source)))
    with monkeypatch.context() as patch:
        source.with_name("recipes.toml").write_text(commands.RECIPES)
        finish(source, output, patch)
    before = tree(output)
    for i in range(0, N_IMAGES, 2):
        (source / f"train/n01/{i}.JPEG").unlink()
        plant(source, {f"train/n01/{i}.JPEG": picture((60, 40), seed=1000 + i)})

    process = commands.start(source, output, "--workers", "2")
    commands.wait_for(output.with_name(".out.imagekit-staging") / ".imagekit/journal.jsonl")
    commands.signal_group(process, number)
    if number == signal.SIGINT:
        commands.signal_group(process, number)  # who presses twice means it
    _, err = process.communicate()

    # SIGTERM ends a program where it stands, as kill -9 does: nothing needs to be tidied up for the next run
    assert process.returncode in ((130, -signal.SIGINT) if number == signal.SIGINT else (-signal.SIGTERM,)), err
    assert tree(output) == before
    assert commands.is_group_gone(process)
    finish(source, output, monkeypatch)
    changed = tree(source)
    assert {name: data for name, data in tree(output).items() if not name.startswith(".")} == changed
    assert [path.name for path in output.parent.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["update, resized", "update without exchange"])
def test_ctrl_c_at_any_change_on_disk_leaves_the_old_version_or_the_new_one_and_the_next_run_the_new(
    name: str, after: bool, tmp_path: Path
) -> None:
    def interrupt(operation: str, args: tuple[Any, ...]) -> None:
        raise KeyboardInterrupt

    stage, seen, k, fired = Stage(name, tmp_path), [], 0, True
    while fired:
        k += 1
        output = stage.place(k)
        with without_disk(), FaultAt(k, interrupt, after=after) as fault, contextlib.suppress(KeyboardInterrupt):
            stage.build(output)
        fired = fault.fired
        seen.append(stage.found(output))
        with without_disk():
            assert stage.build(output).exit_code == 0
        assert stage.found(output) == "new", k
        assert [path.name for path in output.parent.iterdir()] == ["out"], k
    # interrupted between two renames, where there is no exchange: the old version is aside, and comes back
    assert seen.count("torn") == (1 if after and not stage.scenario.exchanging else 0)
    assert (k > 20, seen[0], seen[-1]) == (True, "old", "new")
    assert stage.is_clean()
