"""The images as a folder that Hugging Face `datasets` loads: OUT/<split>/<file_name>, a metadata.parquet a split.

`datasets` takes the rows of a split from the metadata.parquet in its folder. Which split that is, it tells by itself
for folders called train, validation and test (or a synonym of them), and from the README.md for any other:
`load_dataset(OUT)` gives every split, `load_dataset("imagefolder", data_dir=OUT)` those three.

Any folder on the way to an image counts as such a name too, so that `train/dev/1.jpg` calls for a split validation,
which then has no rows and makes the loading fail: where that split is not exported, the word gets an x (`devx`).
File names that `datasets` refuses or reads differently (a backslash, `://`, what is not plain text) are
percent-encoded. Source: datasets 5.2, data_files.py and packaged_modules/folder_based_builder.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote_from_bytes

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagekit.files.link import write_new
from imagekit.manifest.export_columns import plain_table
from imagekit.manifest.export_source import ExportSource, Placer, refuse_clashes
from imagekit.manifest.schema import ROW_GROUP_ROWS

METADATA_NAME = "metadata.parquet"
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_BETWEEN = "[-._ 0-9]"  # what may stand between such a word and the rest of a folder's name
_SPECIAL = r"\\|://"
_SLASH = pa.scalar(b"/", pa.large_binary())
_README = """---
configs:
- config_name: default
  data_files:
{files}---

# {name}

{rows} images, listed by imagekit. Every split: `datasets.load_dataset("path/of/this/folder")`.

{table}
Each folder of a split holds `metadata.parquet`, a row an image. `sha256` and `dhash` are hex digits.
"""


def write_hf(source: ExportSource, folder: Path) -> tuple[str, ...]:
    """Fill the folder; tells how the images got there and what had to get another name.

    Raises OutputError where two images would get one name, SplitError where two splits would.
    """
    splits = source.folder_names(valid="validation")
    folders = {split: name if name in KEYWORDS else _undercover(name) for split, name in splits.items()}
    names = _file_names(source, present=set(folders.values()))
    targets = pc.binary_join_element_wise(source.by_split(folders), names, _SLASH)
    refuse_clashes(targets, source)
    placer = Placer(source=source, folder=folder)
    placer.place_all(targets)
    renamed = _write_metadata(source, names, folder, folders)
    write_new(folder / "README.md", _readme(source, splits, folders).encode())
    return (*placer.notes(), *_spelling_notes(source, names), *renamed)


def _spelling_notes(source: ExportSource, names: pa.LargeBinaryArray) -> list[str]:
    n = pc.sum(pc.not_equal(names, source.raw_names())).as_py() or 0
    subject = "1 file name is" if n == 1 else f"{n:,} file names are"
    return (
        [f"{subject} written in another way, because datasets would misread {'it' if n == 1 else 'them'}"] if n else []
    )


def _undercover(folder: str) -> str:
    """The name of a folder so that `datasets` takes it for no split."""
    words = tuple(word for some in KEYWORDS.values() for word in some)
    names = _undercover_all(pa.array([f"{folder}/".encode()], pa.large_binary()), words)
    return str(names[0].as_py().decode()).removesuffix("/")


def _undercover_all(names: pa.LargeBinaryArray, words: tuple[str, ...]) -> pa.LargeBinaryArray:
    """Relative names with an x behind each of the words that stands alone in the name of a folder."""
    if not words:
        return names
    pattern = rf"((?:^|/)(?:[^/]*{_BETWEEN})?(?:{'|'.join(words)}))((?:{_BETWEEN}[^/]*)?/)"
    while pc.any(pc.match_substring_regex(names, pattern)).as_py():  # two folders side by side share a slash
        names = pc.replace_substring_regex(names, pattern, r"\1x\2")
    return names


def _file_names(source: ExportSource, *, present: set[str]) -> pa.LargeBinaryArray:
    """The name of each image below the folder of its split, as raw bytes that are plain text."""
    absent = tuple(word for split, words in KEYWORDS.items() if split not in present for word in words)
    names = _undercover_all(source.raw_names(), absent)
    odd = pc.or_(pc.is_valid(source.table["file_name_bytes"]), pc.match_substring_regex(names, _SPECIAL))
    odd = odd.combine_chunks() if isinstance(odd, pa.ChunkedArray) else odd
    if not pc.any(odd).as_py():
        return names
    safe = [quote_from_bytes(name, safe="/ ").encode() for name in names.filter(odd).to_pylist()]
    return pc.replace_with_mask(names, odd, pa.array(safe, pa.large_binary()))


def _write_metadata(
    source: ExportSource, names: pa.LargeBinaryArray, folder: Path, folders: dict[str, str]
) -> list[str]:
    """One file a split; tells which columns got another name."""
    table = source.table.drop_columns(["file_name"]).add_column(0, "file_name", names.cast(pa.large_string()))
    table = table.set_column(0, "file_name", table["file_name"].cast(pa.string()))
    titles = [_column_name(name) for name in table.column_names]
    renamed = [
        f"column {old} is called {new}" for old, new in zip(table.column_names, titles, strict=True) if old != new
    ]
    table = table.rename_columns(titles)
    for split, name in folders.items():
        rows = plain_table(table.take(pa.array(source.rows_of(split))))
        pq.write_table(rows, folder / name / METADATA_NAME, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return renamed


def _column_name(name: str) -> str:
    """`image` is what datasets calls the picture itself; what ends in file_name it opens as one."""
    is_taken = name == "image" or (name != "file_name" and name.endswith(("file_name", "file_names")))
    return f"{name}_column" if is_taken else name


def _readme(source: ExportSource, splits: dict[str, str], folders: dict[str, str]) -> str:
    recipe = source.manifest.metadata.recipe
    counts = {split: len(source.rows_of(split)) for split in splits}
    return _README.format(
        name=f"{recipe['name']} {recipe['version']}" if recipe else "images",
        files="".join(f'  - split: {splits[split]}\n    path: "{folders[split]}/**"\n' for split in splits),
        rows=f"{source.table.num_rows:,}",
        table="".join(f"- {splits[split]}: {n:,}\n" for split, n in counts.items()),
    )
