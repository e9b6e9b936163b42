"""Tables of numbers as text, with commas, tabs, semicolons, bars or single spaces between them.

A row of the table is a row of the set, [columns], or a number where there is one column. All columns share one dtype:
int64 if every cell of the table is a whole number, otherwise float64, where missing cells are NaN.

The table is parsed once to learn that, and where in the file its blocks begin; afterwards it is read from any block on.
"""

from __future__ import annotations

import csv
import io
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from aecompress.errors import InputError
from aecompress.sources.base import ChunkedSource, Source
from aecompress.sources.columns import arrow_origin
from aecompress.spec import Array, ArraySpec

_DELIMITERS = (",", "\t", ";", "|", " ")
_SAMPLE_BYTES = 1 << 16
_SAMPLE_LINES = 50
_BLOCK_BYTES = 1 << 21
_LONGEST_LINE = 1 << 26
_CELLS_SHOWN = 40

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

#: What stands for a missing cell, as pyarrow has it.
_MISSING = frozenset(pyarrow.csv.ConvertOptions().null_values)


@dataclass(frozen=True)
class _Layout:
    """How a table is written: what is between cells, the names of columns if it has any, the byte of the first row."""

    path: Path
    delimiter: str
    names: list[str] | None
    columns: int
    offset: int


@dataclass(frozen=True)
class _Index:
    """The dtype of a table, and the first row and byte of each of its blocks; the last entries are the ends."""

    dtype: np.dtype[Any]
    rows: list[int]
    offsets: list[int]


def open_path(path: Path) -> Source:
    """A source over a table of numbers; header and delimiter are detected.

    Raises:
        InputError: a cell is no number, or lines have different numbers of cells.
    """
    layout = _layout(path)
    index = _index(layout)
    row_shape = (layout.columns,) if layout.columns > 1 else ()
    spec = ArraySpec(index.dtype, row_shape, index.rows[-1])
    return ChunkedSource(str(path), spec, _origin(layout, spec), partial(_chunks, layout, index, spec))


# --- how it is written ----------------------------------------------------------------------------------------------


def _layout(path: Path) -> _Layout:
    with path.open("rb") as file:
        start = file.read(_SAMPLE_BYTES)
    if start.startswith(_UTF16_MARKS):
        raise InputError(f"{path} is in UTF-16; save it in UTF-8 first.")
    whole = start if len(start) < _SAMPLE_BYTES else start[: start.rfind(b"\n") + 1]
    lines = whole.removeprefix(_UTF8_MARK).splitlines(keepends=True)[:_SAMPLE_LINES]
    try:
        text = [line.decode().rstrip("\r\n") for line in lines]
        delimiter = max(_DELIMITERS, key=lambda candidate: _fit(text, candidate))
        first = next(csv.reader(text[:1], delimiter=delimiter), [])
    except (ValueError, csv.Error) as err:
        raise InputError(f"{path} is no table of numbers in UTF-8: {err}") from err
    if not first:
        raise InputError(f"{path} begins with an empty line; a table begins with the names of its columns or numbers.")
    named = not all(map(_is_number, first))
    offset = len(start) - len(start.removeprefix(_UTF8_MARK)) + (len(lines[0]) if named else 0)
    return _Layout(path, delimiter, first if named else None, len(first), offset)


def _fit(lines: list[str], delimiter: str) -> tuple[float, int]:
    """How well a delimiter explains the lines: the share of numbers below the first; the number of cells in that."""
    rows = list(csv.reader(lines, delimiter=delimiter))
    cells = [cell for row in rows[1:] or rows for cell in row]
    return sum(map(_is_number, cells)) / max(len(cells), 1), len(rows[0]) if rows else 0


def _is_number(cell: str) -> bool:
    if cell.strip() in _MISSING:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _origin(layout: _Layout, spec: ArraySpec) -> dict[str, Any]:
    """What a table needs to come back; the names are kept as other tables keep theirs, for any format that has some."""
    origin = {"format": "csv", "delimiter": layout.delimiter}
    if layout.names is None:
        return origin
    kind = pa.from_numpy_dtype(spec.dtype)
    return {**arrow_origin(pa.schema([(name, kind) for name in layout.names])), **origin}


# --- what it holds --------------------------------------------------------------------------------------------------


def _index(layout: _Layout) -> _Index:
    """Parse everything once: as whole numbers, and from the first block on that holds others, as float64."""
    kind, rows, offsets = pa.int64(), [0], [layout.offset]
    for text in _blocks(layout, layout.offset):
        table = _whole_numbers(layout, text) if kind == pa.int64() else None
        if table is None:
            kind, table = pa.float64(), _parse(layout, text, pa.float64(), rows[-1])
        rows.append(rows[-1] + table.num_rows)
        offsets.append(offsets[-1] + len(text))
    return _Index(np.dtype("i8" if kind == pa.int64() else "f8"), rows, offsets)


def _whole_numbers(layout: _Layout, text: bytes) -> pa.Table | None:
    """The block, if every cell of it is a whole number."""
    try:
        table = _read(layout, text, pa.int64())
    except pa.ArrowInvalid:
        return None
    return None if any(column.null_count for column in table.columns) else table


def _chunks(layout: _Layout, index: _Index, spec: ArraySpec, start: int, _rows: int) -> Iterator[Array]:
    block = max(bisect_right(index.rows, start) - 1, 0)
    row = index.rows[block]
    for text in _blocks(layout, index.offsets[block]):
        table = _parse(layout, text, pa.from_numpy_dtype(spec.dtype), row)
        if start < row + table.num_rows:
            yield _array(table, spec)[max(start - row, 0) :]
        row += table.num_rows


def _blocks(layout: _Layout, offset: int) -> Iterator[bytes]:
    """Whole lines from ``offset`` on, in pieces of about _BLOCK_BYTES."""
    with layout.path.open("rb") as file:
        file.seek(offset)
        rest = b""
        while data := file.read(_BLOCK_BYTES):
            end = data.rfind(b"\n") + 1
            if end:
                yield rest + data[:end]
                rest = b""
            rest += data[end:]
            if len(rest) > _LONGEST_LINE:
                raise InputError(f"{layout.path} has a line of more than {_LONGEST_LINE >> 20} MiB; it is no table.")
        if rest:
            yield rest


def _parse(layout: _Layout, text: bytes, kind: pa.DataType, row: int) -> pa.Table:
    """Whole lines as a table; ``row`` is the number of the first. Raises InputError."""
    try:
        return _read(layout, text, kind)
    except pa.ArrowInvalid as err:
        raise InputError(_complaint(layout, str(err), row)) from err


def _read(layout: _Layout, text: bytes, kind: pa.DataType) -> pa.Table:
    several = layout.columns > 1
    numbers = [str(column) for column in range(layout.columns)]  # names need not differ
    return pyarrow.csv.read_csv(
        io.BytesIO(text),
        pyarrow.csv.ReadOptions(column_names=numbers, block_size=max(len(text), 1), use_threads=False),
        pyarrow.csv.ParseOptions(delimiter=layout.delimiter, ignore_empty_lines=several),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(numbers, kind)),
    )


def _complaint(layout: _Layout, problem: str, row: int) -> str:
    """What pyarrow says of a block, as a sentence about the file."""
    found = re.search(
        r"column #(\d+): (?:Row #(\d+): )?CSV conversion error to \w+: invalid value '(.*)'", problem, re.S
    )
    if found is None:
        lines = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", problem)
        if lines is None:
            return f"{layout.path} cannot be parsed from row {row} on: {problem}"
        place = row + int(lines[1]) - 1
        return f"{layout.path} has {lines[3]} cells in row {place}, and {lines[2]} in the first; mend that line first."
    column, value = int(found[1]), found[3]
    named = repr(layout.names[column]) if layout.names else str(column)
    shown = value if len(value) <= _CELLS_SHOWN else f"{value[:_CELLS_SHOWN]}..."
    at = f" in row {row + int(found[2]) - 1}" if found[2] else ""
    return (
        f"{layout.path}: column {named} holds {shown!r}{at}, which is no number; leave that column out, or code it as "
        "numbers first."
    )


def _array(table: pa.Table, spec: ArraySpec) -> Array:
    """[n, columns] or [n], with NaN where a cell is missing."""
    rows = np.empty((table.num_rows, table.num_columns), spec.dtype)
    for number, column in enumerate(table.columns):
        rows[:, number] = column.to_numpy()
    return rows.reshape(table.num_rows, *spec.row_shape)
