"""The manifest told in Croissant 1.0: OUT.json describes OUT.parquet, which lies beside it.

Only what is known is said: licence and page stand there when the manifest was built with a recipe that ships and has
them; who made the images, and when they were published, no manifest knows. No time stamp: same rows, same bytes.
Source: docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html, mlcroissant 1.1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from imagekit.errors import OutputError
from imagekit.files.atomic import atomic_file, heal_file, write_text
from imagekit.files.hashes import sha256_file
from imagekit.manifest.export_columns import is_list, plain_table
from imagekit.manifest.export_source import ExportSource
from imagekit.manifest.schema import ROW_GROUP_ROWS
from imagekit.recipes.load import load_recipes
from imagekit.recipes.recipe import Recipe

RECORD_SET = "images"
_FILE = "rows"
_REQUIRED = ("license", "url", "creator", "datePublished")
# every term of the specification's context: mlcroissant warns where one is missing
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "equivalentProperty": "cr:equivalentProperty",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = (
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_floating, "sc:Float"),
)


def rows_beside(output: Path) -> Path:
    """Where the rows go: the output's name, ending in .parquet. Raises OutputError where both would be one file."""
    path = output.with_suffix(".parquet")
    if path == output:
        raise OutputError(
            "the rows and their description would be one file",
            where=str(output),
            fix="give -o a name that ends in .json",
        )
    return path


def write_croissant(source: ExportSource, output: Path) -> tuple[str, ...]:
    """Write both files, the description last; tells what Croissant asks for and nobody here knows.

    Raises OutputError where another file already has the name of the rows.
    """
    path = rows_beside(output)
    is_new = not path.exists()
    table = plain_table(source.table).replace_schema_metadata(None)
    try:
        _write_rows(table, path)
        document = _document(source, table, path)
        heal_file(output)
        source.told(table.num_rows)
        write_text(output, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    except BaseException:
        if is_new and not output.exists():  # rows without their description are half an export
            path.unlink(missing_ok=True)
        raise
    missing = [key for key in _REQUIRED if key not in document]
    return (f"the rows are in {path.name}", f"to publish it, add what no manifest knows: {', '.join(missing)}")


def _write_rows(table: pa.Table, path: Path) -> None:
    """An existing file stays only if it is the same: then a killed export left it."""
    heal_file(path)
    with atomic_file(path) as aside:
        pq.write_table(table, aside, compression="zstd", row_group_size=ROW_GROUP_ROWS)
        if path.exists() and sha256_file(path) != sha256_file(aside):
            raise OutputError(
                "the rows of the export would replace another file",
                where=str(path),
                fix="give another -o, or move that file away yourself",
            )


def _document(source: ExportSource, table: pa.Table, path: Path) -> dict[str, Any]:
    metadata, recipe = source.manifest.metadata, _shipped_recipe(source)
    splits = ", ".join(f"{split} {len(source.rows_of(split)):,}" for split in source.splits)
    name = metadata.recipe["name"] if metadata.recipe else path.stem
    known = {
        "license": recipe.licence if recipe else "",
        "url": recipe.homepage if recipe else "",
        "version": metadata.recipe["version"] if metadata.recipe else "",
    }
    file = {
        "@type": "cr:FileObject",
        "@id": _FILE,
        "name": path.name,
        "contentUrl": path.name,
        "encodingFormat": "application/x-parquet",
        "sha256": sha256_file(path).hex(),
    }
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": recipe.title if recipe and recipe.title else name,
        "description": f"{table.num_rows:,} images in {len(metadata.vocab):,} classes, listed by imagekit: {splits}",
        **{key: value for key, value in known.items() if value},
        "distribution": [file],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": RECORD_SET,
                "name": RECORD_SET,
                "description": "a record an image; file_name is relative to the folder of the images",
                "field": [_field(column) for column in table.schema],
            }
        ],
    }


def _field(column: pa.Field) -> dict[str, Any]:
    kind = column.type.value_type if is_list(column.type) else column.type
    return {
        "@type": "cr:Field",
        "@id": f"{RECORD_SET}/{quote(column.name, safe='')}",
        "name": column.name,
        "dataType": next((word for is_kind, word in _TYPES if is_kind(kind)), "sc:Text"),
        **({"repeated": True} if is_list(column.type) else {}),
        "source": {"fileObject": {"@id": _FILE}, "extract": {"column": column.name}},
    }


def _shipped_recipe(source: ExportSource) -> Recipe | None:
    """The recipe that the manifest was built with, if it ships and still says the same."""
    facts = source.manifest.metadata.recipe
    recipe = load_recipes().get(facts["name"]) if facts else None
    return recipe if recipe and facts and recipe.sha256() == facts["sha256"] else None
