"""Export: what every format has in common. Nothing half, nothing replaced, nothing lost, the same bytes again."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from files import faults
from interop.manifests import make_manifest

from imagekit.errors import DiskFullError, ImageError, ManifestError, OutputError, SourceError, SplitError, UsageError
from imagekit.files import seam
from imagekit.files.names import to_path
from imagekit.manifest import export_source
from imagekit.manifest.export import FOLDERS, FORMATS, export_manifest

TESTS = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_manifest(tmp_path / "pets")


def contents(folder: Path) -> dict[str, str]:
    """The sha256 of every file below, by its name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(path: Path, kind: type[Exception], *, to: str, **options: Any) -> str:
    """The text of the error; nothing may be left of the output."""
    output = path.parent.parent / "out" / "o"
    with pytest.raises(kind) as caught:
        export_manifest(path, to=to, output=output, **options)
    assert not output.parent.exists() or not list(output.parent.iterdir())
    return str(caught.value)


@pytest.mark.parametrize("to", FORMATS)
def test_the_report_tells_rows_splits_and_how_to_read_them(tmp_path: Path, path: Path, to: str) -> None:
    seen: list[tuple[int, int]] = []

    report = export_manifest(path, to=to, output=tmp_path / "o", progress=lambda *counts: seen.append(counts))

    assert report.summary().splitlines()[0] == "exported 7 rows: train 3, valid 2, test 1, unsup 1"
    assert f"built: {tmp_path / 'o'} in " in report.summary()
    assert report.summary().splitlines()[-1].startswith("read it with ")
    assert report.to_dict() == {
        "manifest": str(path),
        "to": to,
        "output": str(tmp_path / "o"),
        "n_rows": 7,
        "per_split": {"train": 3, "valid": 2, "test": 1, "unsup": 1},
        "notes": list(report.notes),
        "seconds": round(report.seconds, 3),
    }
    assert (report.exit_code, report.next_command) == (0, None)
    assert seen[-1] == (7, 7)


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_manifest_gives_the_same_bytes(tmp_path: Path, path: Path, to: str) -> None:
    for name in ("one", "two"):
        export_manifest(path, to=to, output=tmp_path / name / "o")

    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one")


@pytest.mark.parametrize("to", FORMATS)
def test_an_output_that_exists_is_refused_whatever_it_is(tmp_path: Path, path: Path, to: str) -> None:
    output = tmp_path / "o"
    output.symlink_to("nowhere")

    with pytest.raises(OutputError) as caught:
        export_manifest(path, to=to, output=output)

    assert str(caught.value) == (
        f"the output exists, an export replaces nothing\n  where: {output}\n  fix: give another -o, or remove it"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o", "pets"]


def test_an_unknown_format_names_the_nearest(path: Path) -> None:
    assert refused(path, UsageError, to="webdatset") == (
        "no such format: webdatset\n  where: --to\n"
        '  fix: did you mean "webdataset"? known: croissant, csv, hf, imagefolder, webdataset'
    )


@pytest.mark.parametrize("to", FOLDERS)
def test_missing_images_are_counted_before_anything_is_written(path: Path, to: str) -> None:
    for name in ("train/cat/1.png", "val/dog/1.png"):
        (path.parent / "images" / name).unlink()

    assert refused(path, SourceError, to=to) == (
        "2 images are not there, the first is train/cat/1.png\n"
        f"  where: {path.parent / 'images'}\n"
        "  fix: give the folder of the images with --root, or build the manifest again"
    )


def test_one_missing_image_is_one(path: Path) -> None:
    (path.parent / "images" / "val/dog/1.png").unlink()

    assert refused(path, SourceError, to="hf").startswith("1 image is not there, the first is val/dog/1.png\n")


@pytest.mark.parametrize("to", sorted(set(FORMATS) - set(FOLDERS)))
def test_a_list_alone_needs_no_images(tmp_path: Path, path: Path, to: str) -> None:
    (path.parent / "images" / "val/dog/1.png").unlink()

    assert export_manifest(path, to=to, output=tmp_path / "o").n_rows == 7


def test_images_that_moved_are_found_with_root(tmp_path: Path, path: Path) -> None:
    (path.parent / "images").rename(tmp_path / "moved")

    report = export_manifest(path, to="imagefolder", output=tmp_path / "o", root=tmp_path / "moved")

    assert (tmp_path / "o/train/dog/1.png").read_bytes() == (tmp_path / "moved/train/dog/1.png").read_bytes()
    assert report.n_rows == 7


@pytest.mark.parametrize("to", FOLDERS)
def test_an_image_of_another_size_is_told(path: Path, to: str) -> None:
    image = path.parent / "images" / "val/dog/1.png"
    size = image.stat().st_size
    image.write_bytes(b"other")

    assert refused(path, ManifestError, to=to) == (
        f"the image val/dog/1.png is 5 bytes, the manifest says {size} bytes\n"
        f"  where: {path.parent / 'images'}\n"
        f"  fix: imagekit verify {path} tells what else changed; build the manifest again"
    )


def test_an_image_that_became_a_folder_is_told(path: Path) -> None:
    image = path.parent / "images" / "val/dog/1.png"
    size = image.stat().st_size
    image.unlink()
    image.mkdir()

    assert refused(path, ManifestError, to="hf").startswith(
        f"the image val/dog/1.png is no regular file, the manifest says {size} bytes\n"
    )


@pytest.mark.parametrize("to", FOLDERS)
def test_an_image_that_changes_after_the_first_look_is_told(
    path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagekit.manifest.export.check_images", lambda source: None)
    (path.parent / "images" / "val/dog/1.png").write_bytes(b"other")

    assert refused(path, ManifestError, to=to).startswith("the image val/dog/1.png is 5 bytes, the manifest says ")


def test_an_image_that_vanishes_after_the_first_look_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagekit.manifest.export.check_images", lambda source: None)
    (path.parent / "images" / "val/dog/1.png").unlink()

    assert refused(path, ImageError, to="webdataset").startswith("vanished: ")


@pytest.mark.parametrize("to", FOLDERS)
def test_a_name_that_leaves_the_root_is_refused(tmp_path: Path, to: str) -> None:
    path = make_manifest(tmp_path / "pets", [("1.png", "train", "cat")], names=["../../secret.png"])

    assert refused(path, ManifestError, to=to).startswith(
        'path-escape: "../../secret.png" does not name a file below the root\n'
    )


@pytest.mark.parametrize("to", FOLDERS)
def test_two_splits_that_would_have_one_name_are_refused(tmp_path: Path, to: str) -> None:
    rows = [("1.png", "valid:a.b", "cat"), ("2.png", "train", "cat"), ("3.png", "valid:a-b", "cat")]
    path = make_manifest(tmp_path / "pets", rows)

    assert refused(path, SplitError, to=to) == (
        "the splits valid:a-b and valid:a.b would have one name: valid_a_b\n"
        f"  where: {path}\n"
        "  fix: build the manifest again with split names that differ in letters or digits"
    )


@pytest.mark.parametrize("to", ["hf", "imagefolder"])
def test_images_are_second_names_of_the_same_files(tmp_path: Path, path: Path, to: str) -> None:
    report = export_manifest(path, to=to, output=tmp_path / "o")

    inodes = {file.stat().st_ino for file in (tmp_path / "o").rglob("*.png")}
    assert inodes == {file.stat().st_ino for file in (path.parent / "images").rglob("*.png")}
    assert report.notes[0] == "7 images are hard links: to change one there changes the original too"


@pytest.mark.parametrize(("code", "tries"), [(errno.EXDEV, 1), (errno.EMLINK, 7)])
@pytest.mark.parametrize("to", ["hf", "imagefolder"])
def test_images_are_copied_where_links_cannot_be(
    tmp_path: Path, path: Path, to: str, code: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def cannot(source: Path, target: Path) -> None:
        tried.append(source)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(seam, "link", cannot)
    report = export_manifest(path, to=to, output=tmp_path / "o")
    monkeypatch.undo()
    export_manifest(path, to=to, output=tmp_path / "linked")

    assert contents(tmp_path / "o") == contents(tmp_path / "linked")
    assert report.notes[0] == "7 images are copies, 0 are hard links"
    assert len(tried) == tries


@pytest.mark.parametrize("to", FOLDERS)
def test_the_names_of_files_are_bytes(tmp_path: Path, to: str) -> None:
    rows = [(b"train/a\xff.png", "train", "cat"), ("train/b\n.png", "train", "dog"), ("train/ü c.png", "train", "dog")]
    path = make_manifest(tmp_path / "pets", rows)

    assert export_manifest(path, to=to, output=tmp_path / "o").n_rows == 3

    if to == "imagefolder":
        raw = {os.fsencode(file.relative_to(tmp_path / "o")) for file in (tmp_path / "o").rglob("*.png")}
        assert raw == {b"train/cat/a\xff.png", b"train/dog/b\n.png", "train/dog/ü c.png".encode()}
        assert to_path(tmp_path / "o", b"train/cat/a\xff.png").is_file()


def test_a_name_that_no_disk_takes_is_refused(tmp_path: Path) -> None:
    source = export_source.ExportSource(manifest=None, root=tmp_path)  # type: ignore[arg-type]

    with pytest.raises(OutputError) as caught:
        export_source.Placer(source=source, folder=tmp_path / "o").place_all(
            pa.array([b"a/b.png", b"a/" + b"x" * 256 + b"/c.png"], pa.large_binary())
        )

    assert str(caught.value) == (
        f"path-too-long: a/{'x' * 78}... has a part of more than 255 bytes\n"
        "  where: o\n"
        "  fix: give that image a shorter name and build the manifest again"
    )


@pytest.mark.parametrize("to", FORMATS)
def test_a_fault_at_any_change_on_disk_leaves_nothing_or_all(tmp_path: Path, path: Path, to: str) -> None:
    export_manifest(path, to=to, output=tmp_path / "good" / "o")
    good, parent = contents(tmp_path / "good"), tmp_path / "out"
    parent.mkdir()

    def fail(operation: str, args: tuple[Any, ...]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    n_failed, k, fired = 0, 0, True
    while fired and not (parent / "o").exists():
        k += 1
        with faults.FaultAt(k, fail) as fault:
            try:
                export_manifest(path, to=to, output=parent / "o")
            except (DiskFullError, OSError):
                n_failed += 1
        fired = fault.fired
        assert not (parent / "o").exists() or contents(parent) == good, k
    assert n_failed >= 2
    if not (parent / "o").exists():
        export_manifest(path, to=to, output=parent / "o")
    assert contents(parent) == good


@pytest.mark.parametrize("to", FORMATS)
def test_ctrl_c_leaves_nothing(path: Path, to: str) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = contents(path.parent)
    with pytest.raises(KeyboardInterrupt):
        export_manifest(path, to=to, output=path.parent / "o", progress=interrupt)

    assert contents(path.parent) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from imagekit.files import seam
from imagekit.manifest.export import export_manifest

def die(source, target, call=seam.replace):
    if target.name == "o":
        os.kill(os.getpid(), signal.SIGKILL)
    call(source, target)

seam.replace = seam.rename = die
export_manifest(Path(sys.argv[1]), to=sys.argv[2], output=Path(sys.argv[3]))
"""


@pytest.mark.parametrize("to", ["croissant", "hf"])
def test_after_a_kill_nothing_is_there_and_the_same_command_ends_in_the_same_bytes(
    tmp_path: Path, path: Path, to: str
) -> None:
    export_manifest(path, to=to, output=tmp_path / "good" / "o")
    words = [sys.executable, "-c", KILLED, str(path), to, str(tmp_path / "out" / "o")]

    killed = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "out" / "o").exists()
    export_manifest(path, to=to, output=tmp_path / "out" / "o")
    assert contents(tmp_path / "out") == contents(tmp_path / "good")
