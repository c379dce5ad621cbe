"""The names of what a subset says of itself, in its folder `.imagekit/`.

receipt.json         written last: recipe, how it was read, options, versions, counts, digests of the tables
files.parquet        a row a source file: its outcome and what was written
unlabelled.parquet   a row an image whose label must not be known; files.parquet then says nothing of what became of it
quarantine.jsonl     a line a file that could not be used
state.parquet        stamps of sources and outputs; a cache, outside every same-bytes promise
"""

from __future__ import annotations

FOLDER = ".imagekit"
RECEIPT = "receipt.json"
FILES = "files.parquet"
UNLABELLED = "unlabelled.parquet"
QUARANTINE = "quarantine.jsonl"
STATE = "state.parquet"
