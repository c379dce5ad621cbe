"""What becomes of every file of a source, decided before a picture is made. Pure: names and choices in, a Plan out.

A plan is columns: a million names cost their bytes, and no Python object a row stays. N names, S rows selected.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.files.discover import Discovery
from imagekit.files.names import display_name
from imagekit.recipes.recipe import Recipe
from imagekit.rules.outcomes import BadFile
from imagekit.subset.choose import QUARANTINED, SELECTED, Choice

BATCH_ROWS = 65_536
MAX_NAME_BYTES = 255
JPEG, PNG, WEBP = (".jpg", ".jpeg", ".jpe", ".jfif"), (".png",), (".webp",)
# which extensions may stay; the first is given to every other name. "bytes": nothing is encoded, every name stays
EXTENSIONS = {"jpeg": JPEG, "png": PNG, "webp": WEBP, "keep": (*PNG, *JPEG, *WEBP)}
UNSUP = "unsup"
ANONYMOUS_DIGITS = 24  # 96 bits: no two of a million names meet

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of the subset, as raw bytes, and what lies there. is_anonymous: names must not tell the label."""

    folder: bytes
    label: str | None
    split: str | None
    is_anonymous: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Aliases:
    """The new names of images whose old ones tell their label: made of their content, since a hash of a path can be
    tried out for every path that the records hold. rows: ascending.
    """

    rows: Ints
    stems: npt.NDArray[np.bytes_]

    @classmethod
    def of(cls, rows: Ints, digests: Sequence[bytes]) -> Aliases:
        """From the sha256 of each file; the second of two equal files gets another name than the first."""
        seen: Counter[bytes] = Counter()
        stems = []
        for digest in digests:
            stems.append(hashlib.sha256(b"%s %d" % (digest, seen[digest])).hexdigest()[:ANONYMOUS_DIGITS].encode())
            seen[digest] += 1
        return cls(rows, np.array(stems, f"S{ANONYMOUS_DIGITS}"))

    def stem(self, row: int) -> bytes:
        """The new name of one row, without its extension."""
        return bytes(self.stems[np.searchsorted(self.rows, row)])


@dataclass(frozen=True, slots=True)
class Job:
    """One image to make: its row among the names, its raw name and where it goes, both relative to their roots."""

    row: int
    name: bytes
    out_name: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What becomes of every file that discovery found.

    verdicts: an index into choose.RULES by name; place_of: an index into `places`, -1 where a row is not selected.
    bad: rows that their name or a look at them put into quarantine. problems: what tables and lists name that is not
    there; in the quarantine list, in no count. out_format: "bytes", "keep", "jpeg", "png" or "webp".
    """

    names: pa.LargeBinaryArray
    verdicts: npt.NDArray[np.int8]
    places: tuple[Place, ...]
    place_of: npt.NDArray[np.int32]
    out_format: str
    names_from: str = "file"
    aliases: Aliases = field(default_factory=lambda: Aliases.of(np.zeros(0, np.int64), []))
    bad: Mapping[int, BadFile] = field(default_factory=dict)
    problems: tuple[BadFile, ...] = ()
    others: pa.LargeBinaryArray = field(default_factory=lambda: pa.array([], pa.large_binary()))
    other_kinds: pa.DictionaryArray = field(default_factory=lambda: pa.array([], pa.string()).dictionary_encode())

    def rows(self) -> Ints:
        """The selected rows, ascending."""
        return np.flatnonzero(self.verdicts == SELECTED)

    def jobs(self, rows: Ints | None = None) -> Iterator[Job]:
        """The images to make, in the order of their rows; made as they are asked for."""
        rows = self.rows() if rows is None else rows
        for start in range(0, len(rows), BATCH_ROWS // 16):
            batch = rows[start : start + BATCH_ROWS // 16]
            names = self.names.take(pa.array(batch)).to_pylist()
            for row, name, place in zip(batch.tolist(), names, self.place_of[batch].tolist(), strict=True):
                yield Job(row, name, self.out_name(row, name, self.places[place]))

    def out_name(self, row: int, name: bytes, place: Place) -> bytes:
        """Where one image goes."""
        file = name.replace(b"/", b"__") if self.names_from == "path" else name.rsplit(b"/", 1)[-1]
        stem, dot, extension = file.rpartition(b".")
        if place.is_anonymous:
            stem, dot = self.aliases.stem(row), b"."
        folder = place.folder + b"/" if place.folder else b""
        extensions = EXTENSIONS.get(self.out_format)
        if extensions is None or "." + extension.decode(errors="replace").lower() in extensions:
            return folder + stem + dot + extension
        return folder + (stem if dot else file) + extensions[0].encode()

    def is_anonymous(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """Which of the selected rows go where names must not tell the label."""
        hidden = np.array([place.is_anonymous for place in self.places] or [False], np.bool_)
        return hidden[self.place_of[rows]]

    def in_making_order(self, positions: Ints) -> Ints:
        """Positions in rows(), anonymous images last and by their new names: their times must not tell the label."""
        rows = self.rows()[positions]
        hidden = self.is_anonymous(rows)
        names = pa.array([job.out_name for job in self.jobs(rows[hidden])], pa.binary())
        order = np.asarray(pc.sort_indices(names)).astype(np.int64)
        return np.concatenate([positions[~hidden], positions[hidden][order]])

    def digest(self) -> str:
        """Equal for equal names, verdicts and places; tells a rerun whether the source still looks the same."""
        digest = hashlib.sha256(self.verdicts.tobytes() + self.place_of.tobytes())
        for column in (self.names, self.others):
            for buffer in column.buffers()[1:]:
                digest.update(buffer)
        digest.update(np.asarray(self.other_kinds.indices).tobytes() + self.aliases.stems.tobytes())
        kinds = self.other_kinds.dictionary.to_pylist()
        bad = [(row, self.bad[row]) for row in sorted(self.bad)]
        digest.update(repr((kinds, self.places, bad, self.problems, self.out_format, self.names_from)).encode())
        return digest.hexdigest()


def place_choice(
    discovery: Discovery,
    choice: Choice,
    recipe: Recipe,
    *,
    out_format: str,
    aliases: Aliases | None = None,
    bad: Mapping[int, BadFile] = MappingProxyType({}),
) -> Plan:
    """Give every row that is taken its place in the subset; a clash or an impossible name goes to quarantine.

    out_format: "bytes" (nothing is encoded), "keep", "jpeg", "png" or "webp": decides the extension. bad: rows that a
    look at their content put into quarantine already. aliases: of every row that a part of the recipe sends to unsup.
    """
    names, rows = discovery.names, choice.taken()
    rows = rows[~np.isin(rows, list(bad))]
    places, place_of = _places(names, choice, recipe, rows)
    plan = Plan(
        names=names,
        verdicts=choice.verdicts,
        places=places,
        place_of=place_of,
        out_format=out_format,
        names_from=recipe.names,
        aliases=aliases or Aliases.of(rows[:0], []),
        problems=choice.problems,
        others=discovery.others,
        other_kinds=discovery.other_kinds,
    )
    refused = dict(bad) | _refused_names(plan, rows)
    verdicts = choice.verdicts.copy()
    verdicts[list(refused)] = QUARANTINED
    place_of[list(refused)] = -1
    places, place_of = _used(places, place_of)
    return replace(plan, verdicts=verdicts, places=places, place_of=place_of, bad=refused)


def _places(
    names: pa.LargeBinaryArray, choice: Choice, recipe: Recipe, rows: Ints
) -> tuple[tuple[Place, ...], npt.NDArray[np.int32]]:
    """Every folder that something goes to, and the folder of each row."""
    place_of = np.full(len(names), -1, np.int32)
    code_of: dict[object, int] = {}
    places: list[Place] = []
    keeps_folders = not recipe.parts and recipe.split == "folders"
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        labels, splits = choice.label_codes[batch].tolist(), choice.split_codes[batch].tolist()
        raw = names.take(pa.array(batch)).to_pylist()
        codes = np.zeros(len(batch), np.int32)
        for i, (name, label, split) in enumerate(zip(raw, labels, splits, strict=True)):
            # an image without a label stays in the folder that it lies in
            top = b"" if not keeps_folders else name[: name.find(b"/")] if label >= 0 else name.rpartition(b"/")[0]
            key = (top, label, split)
            code = code_of.get(key)
            if code is None:
                code = code_of[key] = len(places)
                texts = choice.labels[label] if label >= 0 else None, choice.splits[split] if split >= 0 else None
                places.append(_place(top, *texts, recipe=recipe))
            codes[i] = code
        place_of[batch] = codes
    return tuple(places), place_of


def _used(
    places: tuple[Place, ...], place_of: npt.NDArray[np.int32]
) -> tuple[tuple[Place, ...], npt.NDArray[np.int32]]:
    """Without the places that nothing goes to: a label that cannot be a folder must not be made one."""
    used = np.unique(place_of[place_of >= 0])
    rank = np.full(len(places) + 1, -1, np.int32)  # the last for -1
    rank[used] = np.arange(len(used))
    return tuple(places[code] for code in used.tolist()), rank[place_of]


def _place(top: bytes, label: str | None, split: str | None, *, recipe: Recipe) -> Place:
    if recipe.parts and split == UNSUP:
        return Place(UNSUP.encode(), None, UNSUP, is_anonymous=True)
    folder = top or (split.encode() if split else b"")
    if label is None:
        return Place(folder, None, split)
    raw = label.encode("utf-8", "surrogateescape")
    return Place((folder + b"/" if folder else b"") + raw, display_name(raw), split)


def _refused_names(plan: Plan, rows: Ints) -> dict[int, BadFile]:
    """The rows whose label cannot be a folder, or whose name is too long, another row's already or that of a folder."""
    refused: dict[int, BadFile] = {}
    faults = {code: fault for code, place in enumerate(plan.places) if (fault := _label_fault(place))}
    hashes = np.zeros(len(rows), np.int64)
    for i, job in enumerate(plan.jobs(rows)):
        hashes[i] = hash(_folded(job.out_name))
        if faults and int(plan.place_of[job.row]) in faults:
            refused[job.row] = _bad(job, *faults[int(plan.place_of[job.row])])
        elif len(job.out_name) > MAX_NAME_BYTES and max(map(len, job.out_name.split(b"/"))) > MAX_NAME_BYTES:
            detail = f"the name is longer than {MAX_NAME_BYTES} bytes once it ends in the output's extension"
            refused[job.row] = _bad(job, "path-too-long", detail)
    refused |= _clashes(plan, rows, hashes, refused)
    folders = _folders([place for code, place in enumerate(plan.places) if code not in faults])
    doubtful = np.isin(hashes, np.array([hash(folder) for folder in folders], np.int64))
    for job in plan.jobs(rows[doubtful]):
        if job.row not in refused and _folded(job.out_name) in folders:
            detail = f"would lie where the subset has the folder {display_name(job.out_name)}"
            refused[job.row] = _bad(job, "path-collision", detail)
    return refused


def _folders(places: Iterable[Place]) -> set[str]:
    """Every folder that something goes to and those above it, folded."""
    folders = {place.folder for place in places}
    tops = {folder[:end] for folder in folders for end, byte in enumerate(folder) if byte == ord("/")}
    return {_folded(folder) for folder in folders | tops}


def _clashes(plan: Plan, rows: Ints, hashes: Ints, refused: Mapping[int, BadFile]) -> dict[int, BadFile]:
    """All but the first of the rows whose names a file system that folds case would take for one."""
    order = np.argsort(hashes, kind="stable")
    equal = hashes[order][1:] == hashes[order][:-1]
    doubtful = np.zeros(len(rows), np.bool_)
    doubtful[order[1:][equal]] = True
    doubtful[order[:-1][equal]] = True
    found: dict[int, BadFile] = {}
    first_of: dict[str, bytes] = {}
    for job in plan.jobs(rows[doubtful]):
        first = job.name if job.row in refused else first_of.setdefault(_folded(job.out_name), job.name)
        if first != job.name:
            detail = f"would overwrite {display_name(first)} on a file system that folds case"
            found[job.row] = _bad(job, "path-collision", detail)
    return found


def _label_fault(place: Place) -> tuple[str, str] | None:
    """Why a label cannot be a folder; one from a table may be any text, and a leading dot would hide the folder."""
    label = place.label
    if label is None:
        return None
    if not label or "/" in label or b"\0" in place.folder or label.startswith("."):
        return "path-escape", f'the label "{label}" cannot be the name of a folder'
    if len(place.folder.rpartition(b"/")[2]) > MAX_NAME_BYTES:
        return "path-too-long", f"its label is longer than {MAX_NAME_BYTES} bytes"
    return None


def _folded(out_name: bytes) -> str:
    text = display_name(out_name)
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


def _bad(job: Job, reason: str, detail: str) -> BadFile:
    return BadFile(file_name=display_name(job.name), reason=reason, detail=detail)
