"""Run Processors over the columns of a manifest: `COLUMN:PROCESSOR` in, output columns and fitted state out.

Column X gives X_target (category), X_tokens (tokenize), X_tokens and X_ids (numericalize), X_filled and X_was_missing
(median), X_normalized (normalize). Numericalize reads the tokens of X where X was tokenized before, and tokenizes X
where it was not; normalize reads X_filled where X went through median before. Each entry of the metadata names the very
column that its Processor read, so that the entries, run in order, encode new rows. Code of one's own is imported only
because it was asked for by name, never because a manifest names it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagekit.errors import ImagekitError, ManifestError, UsageError, did_you_mean
from imagekit.manifest.numbers import MedianFillProcessor, NormalizeProcessor, check_numbers, is_number
from imagekit.manifest.processors import CategoryProcessor, Processor, plain_array, stored_state
from imagekit.manifest.text import NumericalizeProcessor, TokenizeProcessor

WORDS: dict[str, type[Processor]] = {
    "category": CategoryProcessor,
    "tokenize": TokenizeProcessor,
    "numericalize": NumericalizeProcessor,
    "median": MedianFillProcessor,
    "normalize": NormalizeProcessor,
}
BUILT_IN: dict[str, type[Processor]] = {kind.name: kind for kind in WORDS.values()}
METHODS = ("fit", "process", "deprocess", "state", "from_state")
Mask = npt.NDArray[np.bool_]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_name(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _is_words(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type)


ACCEPTS: dict[type[Any], tuple[Callable[[pa.DataType], bool], str]] = {
    CategoryProcessor: (_is_name, "texts, whole numbers or booleans"),
    TokenizeProcessor: (_is_text, "texts"),
    NumericalizeProcessor: (_is_words, "texts or lists of texts"),
    MedianFillProcessor: (is_number, "numbers"),
    NormalizeProcessor: (is_number, "numbers"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessRule:
    """`COLUMN:PROCESSOR`: a column, the word or package.module:Class as typed, and the class that it stands for."""

    column: str
    word: str
    kind: type[Any]

    def __str__(self) -> str:
        return f"{self.column}:{self.word}"


def parse_process(specs: Sequence[str]) -> tuple[ProcessRule, ...]:
    """Read rules; a class of one's own is imported.

    Raises UsageError for what is no rule, an unknown word, a class that cannot be imported or is no Processor, and a
    rule that is given twice.
    """
    rules = tuple(_parse(spec) for spec in specs)
    for i, rule in enumerate(rules):
        if rule in rules[:i]:
            raise UsageError(f"the process rule {rule} is given twice", where="--process", fix="give it once")
    return rules


def _parse(spec: str) -> ProcessRule:
    parts = spec.split(":")
    if not all(parts) or len(parts) < 2:
        raise UsageError(
            f'the process rule "{spec}" is not written as COLUMN:PROCESSOR',
            where="--process",
            fix=f"give a column and one of {', '.join(WORDS)}, or package.module:Class",
        )
    if parts[-1] in WORDS:
        return ProcessRule(column=":".join(parts[:-1]), word=parts[-1], kind=WORDS[parts[-1]])
    if len(parts) == 2:
        raise UsageError(
            f'the processor "{parts[1]}" is not known',
            where=f"--process {spec}",
            fix=f"{did_you_mean(parts[1], WORDS)}; or package.module:Class for one of your own",
        )
    column, module, name = ":".join(parts[:-2]), *parts[-2:]
    kind = _own_class(module, name, where=f"--process {spec}")
    return ProcessRule(column=column, word=f"{module}:{name}", kind=kind)


def _own_class(module: str, name: str, *, where: str) -> type[Any]:
    try:
        there = vars(importlib.import_module(module))
    except Exception as error:
        raise UsageError(
            f"the module {module} cannot be imported: {type(error).__name__}: {error}",
            where=where,
            fix="install it, or name its folder in PYTHONPATH (PYTHONPATH=. for this one)",
        ) from error
    kind = there.get(name)
    if not isinstance(kind, type):
        classes = [key for key, value in there.items() if isinstance(value, type)]
        raise UsageError(f"the module {module} has no class {name}", where=where, fix=did_you_mean(name, classes))
    lacking = [method for method in METHODS if not callable(getattr(kind, method, None))]
    if lacking:
        raise UsageError(
            f"the class {name} is no Processor: it has no {', '.join(lacking)}",
            where=where,
            fix="give it what imagekit.manifest.processors.Processor lists",
        )
    return kind


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One Processor at work: the column that it reads, and what the names of its outputs begin with."""

    kind: type[Any]
    column: str
    base: str


def run_processors(
    specs: Sequence[str],
    table: pa.Table,
    is_train: Mask,
    *,
    old: Sequence[Mapping[str, Any]] = (),
    where: str,
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Encode columns of a table, each Processor fitted on the rows where `is_train`.

    table: n rows; its `file_name`, if there, names rows in errors. is_train: bool[n]. old: what an older manifest
    stores of its Processors; unless it is empty, all state comes from there and nothing is fitted. Of a class of one's
    own only the state is taken, never the code.
    Returns the table with the output columns behind its own, and for each Processor {"name", "column", "outputs",
    "state"}, in the order in which they ran.
    Raises UsageError for a column that is not there, of a type that the Processor does not take or with values that it
    refuses, for an output that is there already, for a Processor that `old` does not have, and where a class of one's
    own fails or gives what a manifest cannot hold; LabelError as CategoryProcessor; ManifestError for damaged state.
    """
    entries: list[dict[str, Any]] = []
    for rule in parse_process(specs):
        place = f"{where}: {rule}"
        for step in _steps(rule, table, entries, place):
            table, entry = _run(step, table, is_train, old, place)
            entries.append(entry)
    return table, entries


def check_process(specs: Sequence[str], names: Sequence[str], *, where: str) -> None:
    """Raise UsageError for a rule of a column that is neither in `names` nor made by an earlier rule.

    For use before images are read: `run_processors` asks again, when all columns are there.
    """
    made: list[str] = []
    for rule in parse_process(specs):
        if rule.column not in names and not any(rule.column.startswith(f"{column}_") for column in made):
            raise _no_column(rule.column, names, f"{where}: {rule}")
        made.append(rule.column)


def _no_column(column: str, names: Sequence[str], where: str) -> UsageError:
    return UsageError(
        f'there is no column "{column}" to process',
        where=where,
        fix=f"{did_you_mean(column, names)}; --columns FILE joins further ones",
    )


def _steps(rule: ProcessRule, table: pa.Table, entries: Sequence[Mapping[str, Any]], where: str) -> list[_Step]:
    """The Processors that a rule asks for, with the columns that they read."""
    column = rule.column
    if column not in table.column_names:
        raise _no_column(column, table.column_names, where)
    if column == "label" and rule.kind is CategoryProcessor:
        raise UsageError(
            "the label is encoded without being asked for: it gives the column target",
            where=where,
            fix="leave this --process out",
        )
    last = _Step(kind=rule.kind, column=column, base=column)
    done = {(entry["name"], entry["column"]) for entry in entries}
    if rule.kind is NormalizeProcessor and (MedianFillProcessor.name, column) in done:
        return [_Step(kind=rule.kind, column=f"{column}_filled", base=column)]
    if rule.kind is not NumericalizeProcessor or not _is_text(_plain_type(table, column)):
        return [last]
    last = _Step(kind=rule.kind, column=f"{column}_tokens", base=column)
    if (TokenizeProcessor.name, column) in done:
        return [last]
    return [_Step(kind=TokenizeProcessor, column=column, base=column), last]


def _plain_type(table: pa.Table, column: str) -> pa.DataType:
    kind = table.schema.field(column).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _run(
    step: _Step, table: pa.Table, is_train: Mask, old: Sequence[Mapping[str, Any]], where: str
) -> tuple[pa.Table, dict[str, Any]]:
    with _told(where, step.kind):
        processor = _make(step.kind)
        stored = _stored(processor.name, step.column, old) if old else None
        values = _values(step, table)
        if stored is None:
            processor.fit(values.filter(pa.array(is_train)))
        else:
            processor = step.kind.from_state(stored)
        outputs = processor.process(values)
        state = processor.state()
        if step.kind not in ACCEPTS:
            _check_outputs(outputs, len(values))
            _check_state(state)
    names = []
    for suffix, array in outputs.items():
        name = f"{step.base}_{suffix}"
        if name in table.column_names:
            raise UsageError(
                f'the output column "{name}" is there already',
                where=where,
                fix="give each --process once, and rename a joined column that has this name",
            )
        table = table.append_column(name, _storable(array))
        names.append(name)
    return table, {"name": processor.name, "column": step.column, "outputs": names, "state": state}


@contextmanager
def _told(where: str, kind: type[Any]) -> Iterator[None]:
    """Add the place to errors that have none; what a class of one's own raises becomes a UsageError."""
    try:
        yield
    except ImagekitError as error:
        error.where = error.where or where
        raise
    except Exception as error:
        if kind in ACCEPTS:
            raise
        raise UsageError(
            f"the Processor {kind.__name__} failed: {type(error).__name__}: {error}",
            where=where,
            fix="mend the class; --debug shows where it failed",
        ) from error


def _values(step: _Step, table: pa.Table) -> pa.Array:
    """The column as plain values, of a type and with numbers that the Processor takes."""
    values = plain_array(table.column(step.column))
    if step.kind not in ACCEPTS:
        return values
    takes, words = ACCEPTS[step.kind]
    if not takes(values.type):
        raise UsageError(
            f'the column "{step.column}" holds {values.type}, the {step.kind.name} takes {words}',
            fix="choose another processor or column, or change the type of the column in its table",
        )
    if step.kind in (MedianFillProcessor, NormalizeProcessor):
        names = plain_array(table.column("file_name")) if "file_name" in table.column_names else None
        check_numbers(values, names=names, may_miss=step.kind is MedianFillProcessor)
    return values


def _make(kind: type[Any]) -> Any:
    processor = kind()
    if kind not in ACCEPTS and (not isinstance(processor, Processor) or processor.name in BUILT_IN):
        raise UsageError(
            f"the class {kind.__name__} needs a name that is none of {', '.join(BUILT_IN)}",
            fix="set name to a word of your own in the class",
        )
    return processor


def _stored(name: str, column: str, old: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The state that an older manifest has for the Processor of this name and column."""
    for entry in old:
        if (entry.get("name"), entry.get("column")) == (name, column):
            return stored_state(name, entry)
    known = ", ".join(f"{entry.get('name')} of {entry.get('column')}" for entry in old)
    raise UsageError(
        f"the older manifest has no {name} of the column {column}",
        fix=f"it has {known}: ask for these, or build without --like",
    )


def _check_outputs(outputs: Any, n_rows: int) -> None:
    """What a class of one's own returns: named columns of a type that a manifest holds."""
    if not isinstance(outputs, dict) or not outputs:
        raise UsageError(
            f"process must return a dict of suffix and array, not {type(outputs).__name__} with"
            f" {len(outputs) if isinstance(outputs, dict) else 'no'} columns",
            fix='return {"suffix": array}',
        )
    for suffix, array in outputs.items():
        if not isinstance(suffix, str) or not suffix.strip() or not suffix.isprintable():
            raise UsageError(f"process returned the suffix {suffix!r}, which names no column", fix="use a word")
        if not isinstance(array, pa.Array) or len(array) != n_rows or not _is_stored(array.type):
            found = f"{len(array):,} of {array.type}" if isinstance(array, pa.Array) else type(array).__name__
            raise UsageError(
                f"process must return {n_rows:,} numbers, booleans, texts or lists of them as {suffix}, not {found}",
                fix="return a pyarrow.Array with a value for each row",
            )


def _is_stored(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_text(kind) or is_number(kind) or bool(pa.types.is_boolean(kind))


def _storable(array: pa.Array) -> pa.Array:
    """Plain values; a list type with the inner name that a Parquet file gives it back with."""
    array = plain_array(array)
    is_list = pa.types.is_list(array.type)
    return array.cast(pa.list_(pa.field("element", array.type.value_type))) if is_list else array


def _check_state(state: Any) -> None:
    try:
        is_same = isinstance(state, dict) and json.loads(json.dumps(state, allow_nan=False)) == state
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the state is no plain JSON: {error}", fix="use dicts, lists, texts and numbers") from error
    if not is_same:
        raise UsageError(
            "the state is no dict that JSON gives back as it was", fix="use dicts with text keys, and lists for tuples"
        )


def load_processor(entry: Mapping[str, Any]) -> Processor:
    """The fitted Processor of one entry of a manifest's metadata, for new rows.

    It reads the column `entry["column"]` and gives those that `entry["outputs"]` names, in that order. Raises
    ManifestError for damaged state, and for a class that is not imagekit's: a manifest names no code that is run.
    """
    name = entry.get("name")
    if name not in BUILT_IN:
        raise ManifestError(
            f"the Processor {name} is not one of imagekit's, which are {', '.join(BUILT_IN)}",
            fix='import its class yourself and call its from_state(entry["state"])',
        )
    return BUILT_IN[name].from_state(stored_state(name, entry))
