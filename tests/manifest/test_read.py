"""Reading: a damaged, foreign or newer file gets one plain message, a good one comes back as it was written."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest.albums import album, plant, png

from imagekit.errors import ManifestError, SourceError
from imagekit.manifest.build import build_manifest
from imagekit.manifest.digest import rows_sha256
from imagekit.manifest.read import Manifest, read_manifest, read_metadata
from imagekit.manifest.schema import COLUMNS, METADATA_KEY, Metadata

pytestmark = pytest.mark.usefixtures("in_process")
REBUILD = "build it again with imagekit manifest, or restore it from a copy"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", album() | {b"train/ant/\xff.png": png(40)})


@pytest.fixture
def path(root: Path) -> Path:
    build_manifest(root)
    return root / "metadata.parquet"


def rewrite(
    path: Path,
    *,
    table: Callable[[pa.Table], pa.Table] = lambda table: table,
    metadata: Callable[[dict[str, Any]], Any] = lambda content: content,
) -> None:
    """Write the manifest anew with other rows or other metadata, as some other program might."""
    old = pq.read_table(path)
    content = metadata(json.loads(old.schema.metadata[METADATA_KEY]))
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    pq.write_table(table(old).replace_schema_metadata({METADATA_KEY: text}), path)


def refused(path: Path, kind: type[Exception] = ManifestError) -> str:
    with pytest.raises(kind) as caught:
        read_manifest(path)
    return str(caught.value)


def said(what: str, path: Path, fix: str = REBUILD) -> str:
    return f"{what}\n  where: {path}\n  fix: {fix}"


def test_a_good_manifest_comes_back_with_its_root_vocab_and_rows(root: Path, path: Path) -> None:
    manifest = read_manifest(str(path))

    assert manifest.root.resolve() == root
    assert manifest.vocab == ("ant", "bee")
    assert manifest.table.schema.equals(COLUMNS)
    assert manifest.rows("train").num_rows == 5
    assert manifest.rows("valid")["file_name"].to_pylist() == ["val/ant/0.png", "val/bee/0.png"]
    assert read_metadata(path) == manifest.metadata


def test_a_manifest_written_anew_with_the_same_rows_is_still_good(path: Path) -> None:
    before = read_manifest(path).metadata

    rewrite(path)

    assert read_manifest(path).metadata == before


def test_a_split_that_no_row_has_lists_the_splits_there_are(path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path).rows("vald")

    assert str(caught.value) == said("no row has split vald", path, 'did you mean "valid"? known: train, valid')


def test_names_come_back_as_the_bytes_on_disk(root: Path, path: Path) -> None:
    manifest = read_manifest(path)

    raw = manifest.raw_names(manifest.table)

    assert raw.type == pa.large_binary()
    assert set(raw.to_pylist()) == {b"train/ant/\xff.png", *(os.fsencode(str(name)) for name in album())}


def test_missing_files_are_named(root: Path, path: Path, tmp_path: Path) -> None:
    manifest = read_manifest(path)
    assert manifest.missing_files() == []
    (root / "val/bee/0.png").unlink()
    (root / os.fsdecode(b"train/ant/\xff.png")).unlink()

    assert manifest.missing_files() == ["train/ant/\\xff.png", "val/bee/0.png"]
    assert manifest.missing_files(root=tmp_path / "gone", sample=1) == ["train/ant/0.png"]
    assert manifest.missing_files(root=plant(tmp_path / "copy", album())) == ["train/ant/\\xff.png"]


@settings(deadline=None)
@given(n_rows=st.integers(1, 300), sample=st.integers(1, 320))
def test_a_sample_of_files_has_the_size_asked_for_with_first_and_last(n_rows: int, sample: int) -> None:
    names = [f"{i:03}" for i in range(n_rows)]
    table = pa.table({"file_name": names, "file_name_bytes": pa.nulls(n_rows, pa.binary())})
    manifest = Manifest(path=Path("/nowhere/m.parquet"), metadata=None, table=table)  # type: ignore[arg-type]

    looked_at = manifest.missing_files(root=Path("/nowhere"), sample=sample)

    assert len(looked_at) == min(sample, n_rows)
    assert looked_at[0] == names[0]
    assert sample == 1 or looked_at[-1] == names[-1]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "a\0b", ""])
@pytest.mark.parametrize("column", ["file_name", "file_name_bytes"])
def test_a_hostile_name_never_leads_out_of_the_root(path: Path, name: str, column: str) -> None:
    def climb(table: pa.Table) -> pa.Table:
        table = table.slice(0, 1)
        values = pa.array([name]) if column == "file_name" else pa.array([name.encode()])
        return table.set_column(table.schema.get_field_index(column), COLUMNS.field(column), values)

    rewrite(path, table=climb)

    with pytest.raises(ManifestError) as caught:
        read_manifest(path, check_digest=False)

    shown = name.replace("\0", "\\x00")
    assert str(caught.value) == said(
        f'path-escape: "{shown}" does not name a file below the root', path, "do not use it"
    )


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    text = refused(tmp_path / "no.parquet", SourceError)

    assert text == said("the manifest is not there", tmp_path / "no.parquet", "build it with imagekit manifest ROOT")


def test_a_pipe_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.parquet")

    assert refused(tmp_path / "m.parquet") == said(
        "the manifest is no regular file", tmp_path / "m.parquet", "give the Parquet file itself"
    )


@pytest.mark.parametrize("data", [b"", b"x", b"PAR1", b"PAR1PAR1", b"text that is long enough to be looked at"])
def test_a_file_that_is_not_parquet_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.parquet").write_bytes(data)

    text = refused(tmp_path / "m.parquet")

    assert text.startswith("the file is not a readable Parquet file: ")
    assert text.endswith(f"\n  where: {tmp_path}/m.parquet\n  fix: {REBUILD}")
    assert len(text.splitlines()) == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A good manifest that nobody changes."""
    return read_manifest(build_manifest(plant(tmp_path_factory.mktemp("whole"), album()), n_workers=1).output)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_manifest_cut_anywhere_is_refused_and_nothing_else_happens(whole: Manifest, data: st.DataObject) -> None:
    good = whole.path.read_bytes()
    cut = whole.path.with_name("cut.parquet")
    cut.write_bytes(good[: data.draw(st.integers(0, len(good) - 1))])

    text = refused(cut)

    assert text.startswith("the file is not a readable Parquet file: ")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_manifest_with_bytes_changed_is_refused_or_unchanged(whole: Manifest, data: st.DataObject) -> None:
    changed = bytearray(whole.path.read_bytes())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    path = whole.path.with_name("changed.parquet")
    path.write_bytes(changed)

    try:
        found = read_manifest(path)
    except ManifestError:
        return
    assert found.table.equals(whole.table)


def test_a_parquet_file_of_another_program_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["a"]}), tmp_path / "m.parquet")

    assert refused(tmp_path / "m.parquet") == said(
        "the Parquet file is not a manifest of imagekit", tmp_path / "m.parquet"
    )


@pytest.mark.parametrize("version", [2, 99, 0, "1", None, 1.0])
def test_another_format_version_is_refused_by_name(path: Path, version: Any) -> None:
    rewrite(path, metadata=lambda content: content | {"format_version": version})

    assert refused(path) == said(
        f"the manifest has format_version {version!r}, this imagekit reads up to 1",
        path,
        "update imagekit, or build the manifest again with this version",
    )


@pytest.mark.parametrize(
    ("text", "said_of_it"),
    [
        (b"", "JSONDecodeError('Expecting value: line 1 column 1 (char 0)')"),
        (b"{", "JSONDecodeError('Expecting property name enclosed in double quotes: line 1 column 2 (char 1)')"),
        (b"{}", "KeyError('format_version')"),
        (b"[]", "TypeError('list indices must be integers or slices, not str')"),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
    ids=["nothing", "cut", "empty", "list", "not UTF-8", "deep"],
)
def test_metadata_that_is_not_json_of_ours_is_told(path: Path, text: bytes, said_of_it: str | None) -> None:
    rewrite(path, metadata=lambda content: text)

    found = refused(path)

    assert found.startswith("the manifest's metadata cannot be read: ")
    assert found.endswith(f"\n  where: {path}\n  fix: {REBUILD}")
    assert said_of_it is None or found == said(f"the manifest's metadata cannot be read: {said_of_it}", path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda c: {k: v for k, v in c.items() if k != "vocab"}, "'vocab'"),
        (lambda c: {k: v for k, v in c.items() if k != "rows_sha256"},
         "Metadata.__init__() missing 1 required keyword-only argument: 'rows_sha256'"),
        (lambda c: c | {"extra": 1}, "Metadata.__init__() got an unexpected keyword argument 'extra'"),
        (lambda c: c | {"vocab": "ab"}, "vocab is not a list of strings"),
        (lambda c: c | {"vocab": [1, 2]}, "vocab is not a list of strings"),
        (lambda c: c | {"class_names": ["one"]}, "2 classes in vocab, 1 in class_names"),
        (lambda c: c | {"processors": None}, "'NoneType' object is not iterable"),
        (lambda c: c | {"stats": {}}, "'mean'"),
        (lambda c: c | {"label_columns": "a"}, "label_columns is not a list of strings"),
    ],
    ids=["vocab", "rows_sha256", "extra", "text", "numbers", "class names", "processors", "stats",
         "label columns"],
)  # fmt: skip
def test_incomplete_metadata_is_told(path: Path, change: Any, what: str) -> None:
    rewrite(path, metadata=change)

    assert refused(path) == said(f"the manifest's metadata is incomplete: {what}", path)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [("root", "/etc", "a relative path"), ("root", 3, "a relative path"), ("counts", [], "an object"),
     ("processors", [{"name": "x"}], "a list of objects with name, column and state")],
)  # fmt: skip
def test_metadata_of_another_kind_is_told(path: Path, field: str, value: Any, kind: str) -> None:
    rewrite(path, metadata=lambda content: content | {field: value})

    assert refused(path) == said(f"the metadata's {field} must be {kind}", path)


def test_metadata_goes_through_json_unchanged(path: Path) -> None:
    metadata = read_metadata(path)

    assert Metadata.from_json(metadata.to_json(), where="m") == metadata
    assert metadata.to_json() == read_metadata(path).to_json()


@pytest.mark.parametrize("name", COLUMNS.names)
def test_a_missing_column_is_named(path: Path, name: str) -> None:
    rewrite(path, table=lambda table: table.drop_columns(name))

    assert refused(path) == said(f"column {name} is missing", path)


@pytest.mark.parametrize("name", COLUMNS.names)
def test_a_column_of_another_type_is_named_with_both_types(path: Path, name: str) -> None:
    index = COLUMNS.get_field_index(name)

    rewrite(path, table=lambda table: table.set_column(index, name, pa.nulls(table.num_rows, pa.float64())))

    assert refused(path) == said(f"column {name} has type double, must be {COLUMNS.field(name).type}", path)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(1),
        lambda table: table.set_column(6, COLUMNS.field(6), pa.array([1] * table.num_rows, pa.int32())),
        lambda table: table.append_column("extra", pa.array(["x"] * table.num_rows)),
    ],
    ids=["a row less", "another width", "a column more"],
)
def test_rows_that_were_changed_are_noticed_by_their_digest(path: Path, change: Any) -> None:
    rewrite(path, table=change)

    assert refused(path) == said(
        "the rows are not those that were written: their digest differs from the metadata's", path
    )
    assert read_manifest(path, check_digest=False).table.num_rows > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.take(list(reversed(range(table.num_rows)))),
        lambda table: pa.concat_tables([table, table.slice(table.num_rows - 1, 1)]),
    ],
    ids=["another order", "a row twice"],
)
def test_rows_out_of_order_or_twice_are_told_whatever_the_digest_says(path: Path, change: Any) -> None:
    rewrite(path, table=change)
    text = json.dumps(json.loads(pq.read_schema(path).metadata[METADATA_KEY]) | {"rows_sha256": digest_at(path)})

    rewrite(path, metadata=lambda content: text.encode())

    assert refused(path) == said("the rows are not sorted by file_name, each once", path)


def digest_at(path: Path) -> str:
    return rows_sha256(pq.read_table(path))


def test_a_target_outside_the_vocab_is_told_even_where_the_digest_fits(path: Path) -> None:
    rewrite(path, metadata=lambda content: content | {"vocab": ["ant"], "class_names": ["ant"]})

    assert refused(path) == said("target 1 is outside the vocab of 1 classes", path)


@pytest.mark.parametrize("vocab", [["bee", "ant"], ["ant", "wasp"]])
def test_a_vocab_that_the_rows_were_not_encoded_with_is_told(path: Path, vocab: list[str]) -> None:
    rewrite(path, metadata=lambda content: content | {"vocab": vocab})

    assert refused(path) == said("the labels are not those that the vocab gives to the targets", path)


@pytest.mark.parametrize("at", [432, 433, 435])
def test_an_index_beyond_a_dictionary_is_damage(tmp_path: Path, at: int) -> None:
    """Bytes of the golden file that hold indices of `split`; found by changing every byte of it in turn."""
    changed = bytearray((Path(__file__).parent.parent / "golden" / "manifest-v1.parquet").read_bytes())
    changed[at] ^= 255
    (tmp_path / "m.parquet").write_bytes(changed)

    assert refused(tmp_path / "m.parquet").endswith(f"\n  where: {tmp_path}/m.parquet\n  fix: {REBUILD}")


def test_further_columns_are_read_along_when_the_digest_covers_them(path: Path) -> None:
    table = pq.read_table(path).append_column("colour", pa.array(["red"] * 7))

    rewrite(path, table=lambda _: table, metadata=lambda content: content | {"rows_sha256": rows_sha256(table)})

    assert read_manifest(path).table["colour"].to_pylist() == ["red"] * 7
