"""Files of entries: what "@FILE" in choose.classes, choose.include or choose.deny stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagekit.errors import RecipeError
from imagekit.recipes.checks import check_inside, shown
from imagekit.recipes.choose_rule import check_entry


def expand_entries(key: str, entries: Sequence[str], *, folder: Path | None) -> tuple[str, ...]:
    """The entries, each "@FILE" replaced by the lines of that file; without a folder they stay as they are.

    key: of the array, for errors; folder: that FILE is relative to, the one of the recipes file. Blank lines, lines
    that begin with # and the white space around an entry do not count. Raises RecipeError for a FILE that leads
    outside, is missing, cannot be read, is not UTF-8 or lists nothing, and for a line that is no entry.
    """
    expanded: list[str] = []
    for i, entry in enumerate(entries):
        if folder is not None and entry.startswith("@"):
            expanded += _read_entries(f"{key}[{i}]", entry[1:], folder=folder)
        else:
            expanded.append(entry)
    return tuple(expanded)


def _read_entries(key: str, file: str, *, folder: Path) -> list[str]:
    check_inside(f"the file of {key}", file, where=key)
    where = f"{key}: {file if file.isprintable() else shown(file)}"
    entries = []
    for n, line in enumerate(_read_text(folder / file, where=where).split("\n"), start=1):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            check_entry("the entry", entry, where=f"{where}, line {n}")
            entries.append(entry)
    if not entries:
        fix = "write one entry a line, or take the file out of the recipe"
        raise RecipeError("the file of entries lists nothing", where=where, fix=fix)
    return entries


def _read_text(path: Path, *, where: str) -> str:
    try:
        if not path.is_file():  # a pipe would be waited for without end
            state = "is not a regular file" if path.exists() else "does not exist"
            fix = "give its path from the folder of the recipes file on"
            raise RecipeError(f"the file of entries {state}", where=where, fix=fix)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        what = f"the file of entries cannot be read: {error.strerror}"
        raise RecipeError(what, where=where, fix="check the path and its permissions") from error
    except UnicodeDecodeError as error:
        what = f"the file of entries is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        fix = "save the file as UTF-8; write ? for a byte of a file name that is not UTF-8"
        raise RecipeError(what, where=where, fix=fix) from error
