"""What became of every file that was found, and the law that none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from imagekit.errors import ImagekitError

SHOWN_PER_REASON = 3
# every reason that a file can be quarantined for
REASONS = (
    "bomb",
    "truncated",
    "corrupt",
    "unidentified",
    "unsupported-format",
    "unsupported-mode",
    "too-small",
    "timeout",
    "decoder-crash",
    "unreadable",
    "vanished",
    "changed-during-read",
    "special-file",
    "symlink-loop",
    "symlink-outside",
    "path-escape",
    "path-collision",
    "path-too-long",
    "leak",
)
# kinds of other entries that are no fault: a link is left out by rule, unless following was asked for and led astray
UNQUARANTINED = ("not-image", "symlink")


@dataclass(frozen=True, kw_only=True, slots=True)
class BadFile:
    """One file that could not be used: its name as shown, a reason code, and what was said about it."""

    file_name: str
    reason: str
    detail: str
    size_bytes: int | None = None
    sha256: str | None = None
    format: str | None = None
    decoder_said: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The row of quarantine.jsonl. decoder_said, what a library wrote to stderr, only where it did."""
        names = ("file_name", "reason", "detail", "size_bytes", "sha256", "format")
        row = {name: getattr(self, name) for name in names}
        return row if self.decoder_said is None else row | {"decoder_said": self.decoder_said}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """Counts of all files of a source. found = selected + excluded + quarantined + not_image, or it cannot be made."""

    found: int
    selected: int
    excluded: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    not_image: int = 0

    def __post_init__(self) -> None:
        total = self.selected + self.n_excluded + self.n_quarantined + self.not_image
        if total != self.found:
            raise ImagekitError(
                f"{self.found} files were found but {total} are accounted for: {self.line()}",
                fix="the source may be changing while it is read: run the same command again",
            )

    @property
    def n_excluded(self) -> int:
        """Files left out by a rule of the recipe or the command."""
        return sum(self.excluded.values())

    @property
    def n_quarantined(self) -> int:
        """Files that could not be used."""
        return sum(self.quarantined.values())

    def line(self) -> str:
        """The law as one line of text."""
        return (
            f"found {self.found:,} = selected {self.selected:,} + excluded by rule {self.n_excluded:,}"
            f" + quarantined {self.n_quarantined:,} + not an image {self.not_image:,}"
        )

    def to_dict(self) -> dict[str, object]:
        """The counts as plain types."""
        return {
            "found": self.found,
            "selected": self.selected,
            "excluded": dict(sorted(self.excluded.items())),
            "quarantined": dict(sorted(self.quarantined.items())),
            "not_image": self.not_image,
        }


def bad_others(others: Iterable[tuple[str, str]]) -> list[BadFile]:
    """Entries that are neither images, other plain files nor links left alone: special files, links that lead astray.

    others: (name as shown, kind) as discovery tells them.
    """
    detail = "not a plain file inside the source"
    return [BadFile(file_name=name, reason=kind, detail=detail) for name, kind in others if kind not in UNQUARANTINED]


def unreadable_folders(folders: Iterable[tuple[str, str]]) -> list[BadFile]:
    """Folders that could not be listed: in the quarantine list, but in no count, for nobody knows what they hold."""
    return [BadFile(file_name=name, reason="unreadable", detail=detail) for name, detail in folders]


def count_outcomes(
    *,
    n_images: int,
    n_selected: int,
    excluded: Mapping[str, int],
    bad_images: Iterable[BadFile],
    other_kinds: Iterable[str],
) -> Outcomes:
    """Count every file found: the images by what became of them, the others by kind.

    Raises ImagekitError where they do not add up.
    """
    kinds = Counter(other_kinds)
    quarantined = Counter(bad.reason for bad in bad_images)
    quarantined.update({kind: count for kind, count in kinds.items() if kind not in UNQUARANTINED})
    left_out = {"symlink": kinds["symlink"]} if kinds["symlink"] else {}
    return Outcomes(
        found=n_images + kinds.total(),
        selected=n_selected,
        excluded={**left_out, **{rule: count for rule, count in excluded.items() if count}},
        quarantined=dict(quarantined),
        not_image=kinds["not-image"],
    )


def group_by_reason(bad_files: Sequence[BadFile], *, listed_in: str) -> list[str]:
    """One line per reason, most frequent first, with the first three names; the rest stand in `listed_in`."""
    lines = []
    for reason, count in Counter(bad.reason for bad in bad_files).most_common():
        names = [bad.file_name for bad in bad_files if bad.reason == reason][:SHOWN_PER_REASON]
        more = f"; all in {listed_in}" if count > len(names) else ""
        noun = "file" if count == 1 else "files"
        lines.append(f"{count:,} {noun} {reason}: {', '.join(names)}{more}")
    return lines


def counted(items: Iterable[str]) -> dict[str, int]:
    """How often each item occurs, keys sorted."""
    return dict(sorted(Counter(items).items()))
