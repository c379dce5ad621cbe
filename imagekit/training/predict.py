"""Say what images show: files and folders in, one Parquet row an image out.

Shapes: N images, K classes, T shown classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.callbacks.predictions import PredictionsCallback
from imagekit.data.files import FileNames, ImageFiles
from imagekit.data.items import READABLE
from imagekit.data.loaders import Loader
from imagekit.errors import OutputError, SourceError
from imagekit.files.atomic import atomic_file
from imagekit.files.discover import discover
from imagekit.files.jsonl import write_json_lines
from imagekit.files.lock import output_lock
from imagekit.files.plain import plain
from imagekit.manifest.beside import quarantine_path
from imagekit.manifest.build import MEMORY_LIMIT_BYTES
from imagekit.manifest.looking import Looking
from imagekit.training.assemble import valid_item_transforms
from imagekit.training.trained import Trained, load_trained, no_loss

TIMEOUT_S = 60.0
N_SHOWN = 20
N_TOP = 5
MAX_CLASS_SIGNS = 40
METADATA_KEY = b"imagekit_predictions"  # a manifest has b"imagekit", and must never be taken for one of these


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictReport:
    """The outcome: where the table lies, what was found, what could not be used.

    counts: images by the class that they were taken for. first: the first rows, for people.
    """

    checkpoint: Path
    output: Path
    n_images: int
    counts: Mapping[str, int]
    first: Sequence[Mapping[str, Any]]
    bad: Sequence[Mapping[str, str]]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """3 where a file could not be used, else 0."""
        return 3 if self.bad else 0

    @property
    def next_command(self) -> None:
        """The end of the way."""
        return None

    def summary(self) -> str:
        """The first rows, how many of each class, and what could not be used."""
        classes = [plain(row["class_name"], max_signs=MAX_CLASS_SIGNS) for row in self.first]
        width = max([len("class"), *map(len, classes)])
        # names last: one that a terminal shows longer than it is moves no column
        rows = [
            f"{row['probability']:>11.4f}  {name:<{width}}  {row['file_name']}"
            for row, name in zip(self.first, classes, strict=True)
        ]
        lines = [f"probability  {'class':<{width}}  file", *rows] if rows else []
        lines += [f"... {self.n_images - len(rows):,} more"] if self.n_images > len(rows) else []
        counted = ", ".join(f"{name} {n:,}" for name, n in self.counts.items())
        lines += [f"{_counted(self.n_images, 'image')}: {counted}" if counted else "no image"]
        lines += [self._bad_in_words()] if self.bad else []
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes), f"predictions: {self.output}"])

    def _bad_in_words(self) -> str:
        first = self.bad[0]
        return (
            f"{_counted(len(self.bad), 'file')} could not be used, {first['file_name']} for one:"
            f" {first['reason']}; all in {quarantine_path(self.output)}"
        )

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "checkpoint": str(self.checkpoint),
            "output": str(self.output),
            "n_images": self.n_images,
            "counts": dict(self.counts),
            "bad": list(self.bad),
            "notes": list(self.notes),
        }


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def predict(
    run: Path | str,
    paths: Sequence[Path | str],
    *,
    output: Path | str,
    checkpoint: str = "best",
    n_workers: int = 1,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> PredictReport:
    """Predict the class of image files, and of every image below folders, and write one Parquet file.

    checkpoint: `best`, `last`, or one that was kept besides, `epoch-0007`. A file that is named again, itself or by a
    folder, comes once.
    Images are first decoded in worker processes, at least one, with limits on time and memory: what cannot be used
    stands in OUTPUT.quarantine.jsonl with its reason and ends no work. The others go through the transforms of
    validation. Columns: file_name, sha256, prediction (of the vocab), class_name, probability, top_classes and
    top_probabilities (of the five largest, or all). Its schema metadata holds the vocab and where the model is from.
    Raises SourceError for a path that does not exist or a folder without images, OutputError for an output that exists,
    and what `load_trained` raises.
    """
    output = Path(output)
    check_table_output(output, overwrite=overwrite)
    trained = load_trained(run, checkpoint=checkpoint, device=device)
    files, notes = _find([Path(path) for path in paths])
    with output_lock(output):
        digests, good, bad = _look(files, n_workers=n_workers, progress=progress)
        table = _predict(trained, files.take(good), digests[good], n_workers=n_workers)
        with atomic_file(output) as aside:
            pq.write_table(table, aside, compression="zstd")
        if bad:
            write_json_lines(quarantine_path(output), bad)
        else:
            quarantine_path(output).unlink(missing_ok=True)  # of an earlier table it would be untrue now
    counts = Counter(table["class_name"].to_pylist())
    return PredictReport(
        checkpoint=trained.path,
        output=output,
        n_images=table.num_rows,
        counts=dict(counts.most_common()),
        first=table.select(["file_name", "probability", "class_name"]).slice(0, N_SHOWN).to_pylist(),
        bad=bad,
        notes=(*notes, *trained.notes),
    )


def check_table_output(output: Path, *, overwrite: bool) -> None:
    """Raise OutputError where a table cannot be written: no folder, or something is there already."""
    if not output.parent.is_dir():
        raise OutputError(
            "the folder of the output does not exist", where=str(output), fix="make the folder, or give another -o"
        )
    if not output.exists():
        return
    if not _is_ours(output):
        raise OutputError(
            "the output exists and is not a table that predict wrote",
            where=str(output),
            fix="give another -o, or move it away yourself",
        )
    if not overwrite:
        raise OutputError(
            "the output exists already", where=str(output), fix="give another -o, or --overwrite to replace it"
        )


def _is_ours(output: Path) -> bool:
    if not output.is_file():  # opening a pipe would wait for somebody to write into it
        return False
    try:
        return METADATA_KEY in (pq.read_schema(output).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def _find(paths: Sequence[Path]) -> tuple[FileNames, list[str]]:
    """Every file that is to be looked at, in the order of the paths, each once."""
    roots, names, root_of, places, notes = list[Path](), list[pa.Array](), list[Any](), list[bytes](), list[str]()
    for path in paths:
        part, root, unreadable = _images_of(path)
        notes += [f"{folder} could not be read: {why}" for folder, why in unreadable]
        root_of.append(np.full(len(part), len(roots), dtype=np.int64))
        roots.append(root)
        names.append(part)
        if len(paths) > 1:
            places += _places(path, part)
    if not roots:
        raise SourceError("no path was given", where="predict", fix="give image files or folders")
    files = FileNames(roots=tuple(roots), root_N=np.concatenate(root_of), names=pa.concat_arrays(names))
    first = dict(zip(reversed(places), reversed(range(len(places))), strict=True))  # the first row of each place stays
    if n_again := len(places) - len(first):
        files = files.take(np.array(sorted(first.values())))
        notes.append(f"{_counted(n_again, 'file')} named again {'comes' if n_again == 1 else 'come'} once")
    return files, list(dict.fromkeys(notes))


def _images_of(path: Path) -> tuple[pa.LargeBinaryArray, Path, Sequence[tuple[str, str]]]:
    """Names of the images of a path, the folder that they are relative to, and folders that could not be read."""
    if path.is_dir():
        found = discover(path, extensions=READABLE)
        if not len(found):
            raise SourceError("no image lies below the folder", where=str(path), fix="give a folder with images")
        return found.names, path, found.unreadable
    if path.exists():
        return pa.array([bytes(Path(path.name))], pa.large_binary()), path.parent, ()
    raise SourceError("the path does not exist", where=str(path), fix="check it for a typing error")


def _places(path: Path, names: pa.LargeBinaryArray) -> list[bytes]:
    """Where the files of a path really are, by whatever way they are named; no folder below it is a link.

    A link to a file is a file of its own: it cannot be used, and must not stand for the one that can.
    """
    folder = bytes((path if path.is_dir() else path.parent).resolve()).rstrip(b"/")
    return [folder + b"/" + name for name in names.to_pylist()]


def _look(
    files: FileNames, *, n_workers: int, progress: Callable[[int, int], object] | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[dict[str, str]]]:
    """sha256 of every file, the rows that can be used, and what is wrong with the others."""
    digests = np.empty(len(files), dtype=object)
    is_good = np.zeros(len(files), dtype=bool)
    bad = []
    for number, root in enumerate(files.roots):
        rows = np.flatnonzero(files.root_N == number)
        if not len(rows):  # all of them were named before
            continue
        looking = Looking(
            root=root,
            check="decode",
            n_workers=max(1, n_workers),
            timeout_s=TIMEOUT_S,
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
            progress=progress,
        )
        facts, _ = looking.look(files.names.take(pa.array(rows)), np.arange(len(rows)), known=None, save=lambda _: None)
        is_good[rows] = facts.is_good
        for place, row in enumerate(rows.tolist()):
            fact = facts.get(place)
            digests[row] = fact.get("sha256")
            if not is_good[row]:
                bad.append({"file_name": files.shown(row), "reason": fact["reason"], "detail": fact["detail"]})
    return digests, np.flatnonzero(is_good), bad


def _predict(trained: Trained, files: FileNames, digests: np.ndarray[Any, Any], *, n_workers: int) -> pa.Table:
    config, kept = trained.config, PredictionsCallback(always=True)
    dataset = ImageFiles(files, transforms=valid_item_transforms(config))
    if len(files):
        loader = Loader(dataset, batch_size=2 * config.batch_size, shuffle=False, n_workers=n_workers)
        with closing(loader):
            trained.learner(loader, loss_func=no_loss, callbacks=[kept]).validate()
    return _table(trained, files, digests, kept)


def _table(trained: Trained, files: FileNames, digests: np.ndarray[Any, Any], kept: PredictionsCallback) -> pa.Table:
    vocab, names, n = trained.vocab, trained.class_names, len(files)
    top_NT = probability_NT = np.zeros((0, 1))
    if kept.logits_NK is not None:
        best = kept.logits_NK.softmax(dim=1).topk(min(N_TOP, len(vocab)), dim=1)
        probability_NT, top_NT = best.values.numpy(), best.indices.numpy()
    first = top_NT[:, 0].astype(int).tolist()
    columns = {
        "file_name": pa.array([files.shown(row) for row in range(n)], pa.string()),
        "sha256": pa.array(digests.tolist(), pa.binary(32)),
        "prediction": pa.array([vocab[k] for k in first], pa.string()),
        "class_name": pa.array([names[k] for k in first], pa.string()),
        "probability": pa.array(probability_NT[:, 0], pa.float32()),
        "top_classes": pa.array([[vocab[k] for k in row] for row in top_NT.astype(int)], pa.list_(pa.string())),
        "top_probabilities": pa.array(list(probability_NT), pa.list_(pa.float32())),
    }
    facts = {"vocab": vocab, "class_names": names, "model": trained.state["model_name"], "epoch": trained.epoch}
    digest = trained.state.get("rows_sha256")
    return pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(facts | {"rows_sha256": digest})})
