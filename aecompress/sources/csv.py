"""Tables of numbers as text, with commas, tabs, semicolons, bars or single spaces between them.

A row of the table is a row of the set, [columns], or a number where there is one column. All columns share one dtype:
int64 if every cell of the table is a whole number, otherwise float64, where missing cells are NaN. Columns of words,
those without a number among their first cells, stand beside the array as the text they are.

The table is parsed once to learn that, and where in the file its blocks begin; afterwards it is read from any block on.
"""

from __future__ import annotations

import csv
import io
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from aecompress.errors import InputError
from aecompress.sources.base import ChunkedSource, Columns, Source
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

#: A number after all, but with a comma where there should be a point: not a word that happens to be there.
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")


@dataclass(frozen=True)
class _Layout:
    """How a table is written.

    Attributes:
        delimiter: what is between cells.
        header: the names of its columns, if it has any.
        numbers, words: the places of the columns that make the array, and of those beside it.
        offset: the byte of the first row.
    """

    path: Path
    delimiter: str
    header: list[str] | None
    numbers: list[int]
    words: list[int]
    offset: int

    @property
    def columns(self) -> int:
        return len(self.numbers) + len(self.words)

    @property
    def names(self) -> list[str]:
        return self.header or [f"column{column}" for column in range(self.columns)]


@dataclass(frozen=True)
class _Index:
    """The dtype of a table, and the first row and byte of each of its blocks; the last entries are the ends."""

    dtype: np.dtype[Any]
    rows: list[int]
    offsets: list[int]


def open_path(path: Path) -> Source:
    """A source over a table of numbers; header, delimiter and columns of words are detected.

    Raises:
        InputError: a cell among numbers is none, or lines have different numbers of cells.
    """
    layout = _layout(path)
    index = _index(layout)
    row_shape = (len(layout.numbers),) if len(layout.numbers) > 1 else ()
    spec = ArraySpec(index.dtype, row_shape, index.rows[-1])
    columns = _beside(layout, index) if layout.words else None
    return ChunkedSource(str(path), spec, _origin(layout, spec), partial(_chunks, layout, index, spec), columns)


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
        first, *others = csv.reader(text, delimiter=delimiter) if text else ([],)
    except (ValueError, csv.Error) as err:
        raise InputError(f"{path} is no table of numbers in UTF-8: {err}") from err
    if not first:
        raise InputError(f"{path} begins with an empty line; a table begins with the names of its columns or numbers.")
    words = [column for column in range(len(first)) if _is_of_words([row[column : column + 1] for row in others])]
    numbers = [column for column in range(len(first)) if column not in words]
    if not numbers:
        raise InputError(f"{path} has words in all of its columns, and no numbers to pack.")
    named = not all(_is_number(first[column]) for column in numbers)
    if named and words and len(set(first)) < len(first):
        raise InputError(f"{path} has columns of words, and two columns of one name; rename one first.")
    offset = len(start) - len(start.removeprefix(_UTF8_MARK)) + (len(lines[0]) if named else 0)
    return _Layout(path, delimiter, first if named else None, numbers, words, offset)


def _fit(lines: list[str], delimiter: str) -> tuple[float, float, int]:
    """How well a delimiter explains the lines: by the share of numbers below the first, first of all where every line
    has as many cells; and by the number of those.
    """
    rows = list(filter(None, csv.reader(lines, delimiter=delimiter)))
    cells = [cell for row in rows[1:] or rows for cell in row]
    share = sum(map(_is_number, cells)) / max(len(cells), 1)
    even = len({len(row) for row in rows}) == 1
    return share if even else 0.0, share, len(rows[0]) if rows else 0


def _is_of_words(cells: list[list[str]]) -> bool:
    """True of a column, without its first cell, that has something in it, and nothing meant as a number."""
    there = [cell for (cell,) in filter(None, cells) if cell.strip() not in _MISSING]
    return bool(there) and not any(_is_number(cell) or _DECIMAL_COMMA.fullmatch(cell) for cell in there)


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
    origin: dict[str, Any] = {"format": "csv", "delimiter": layout.delimiter}
    if layout.header is None and not layout.words:
        return origin
    kind = pa.from_numpy_dtype(spec.dtype)
    kinds = [pa.string() if column in layout.words else kind for column in range(layout.columns)]
    origin = {**arrow_origin(pa.schema(list(zip(layout.names, kinds, strict=True)))), **origin}
    if layout.words:
        origin |= {"array": [layout.names[column] for column in layout.numbers], "header": layout.header is not None}
    return origin


# --- what it holds --------------------------------------------------------------------------------------------------


def _index(layout: _Layout) -> _Index:
    """Parse everything once: as whole numbers, and from the first block on that holds others, as float64."""
    kind, rows, offsets = pa.int64(), [0], [layout.offset]
    for text in _blocks(layout, layout.offset):
        table = _whole_numbers(layout, text) if kind == pa.int64() else None
        if table is None:
            kind, table = pa.float64(), _parse(layout, text, pa.float64(), rows[-1], range(layout.columns))
        rows.append(rows[-1] + table.num_rows)
        offsets.append(offsets[-1] + len(text))
    return _Index(np.dtype("i8" if kind == pa.int64() else "f8"), rows, offsets)


def _whole_numbers(layout: _Layout, text: bytes) -> pa.Table | None:
    """The block, if every cell of it is a whole number, but for those of words."""
    try:
        table = _read(layout, text, pa.int64(), range(layout.columns))
    except pa.ArrowInvalid:
        return None
    return None if any(column.null_count for column in table.columns) else table


def _chunks(layout: _Layout, index: _Index, spec: ArraySpec, start: int, _rows: int) -> Iterator[Array]:
    for table in _tables(layout, index, layout.numbers, start):
        yield _array(table, spec)


def _beside(layout: _Layout, index: _Index) -> Columns:
    schema = pa.schema([(layout.names[column], pa.string()) for column in layout.words])

    def batches(start: int, rows: int) -> Iterator[pa.RecordBatch]:
        for table in _tables(layout, index, layout.words, start):
            yield from table.rename_columns(schema.names).to_batches(max_chunksize=rows)

    return Columns(schema, batches)


def _tables(layout: _Layout, index: _Index, columns: Sequence[int], start: int) -> Iterator[pa.Table]:
    """The columns of all rows from ``start`` on, a block at a time."""
    block = max(bisect_right(index.rows, start) - 1, 0)
    row = index.rows[block]
    for text in _blocks(layout, index.offsets[block]):
        table = _parse(layout, text, pa.from_numpy_dtype(index.dtype), row, columns)
        if start < row + table.num_rows:
            yield table.slice(max(start - row, 0))
        row += table.num_rows


def _blocks(layout: _Layout, offset: int) -> Iterator[bytes]:
    """Whole lines from ``offset`` on, in pieces of about _BLOCK_BYTES; a line may go on within quotes."""
    with layout.path.open("rb") as file:
        file.seek(offset)
        rest = b""
        while data := file.read(_BLOCK_BYTES):
            end = data.rfind(b"\n") + 1
            if end and (rest.count(b'"') + data.count(b'"', 0, end)) % 2 == 0:
                yield rest + data[:end]
                rest, data = b"", data[end:]
            rest += data
            if len(rest) > _LONGEST_LINE:
                raise InputError(f"{layout.path} has a line of more than {_LONGEST_LINE >> 20} MiB; it is no table.")
        if rest:
            yield rest


def _parse(layout: _Layout, text: bytes, kind: pa.DataType, row: int, columns: Sequence[int]) -> pa.Table:
    """Columns of whole lines; ``row`` is the number of the first. Raises InputError."""
    try:
        return _read(layout, text, kind, columns)
    except pa.ArrowInvalid as err:
        raise InputError(_complaint(layout, str(err), row)) from err


def _read(layout: _Layout, text: bytes, kind: pa.DataType, columns: Sequence[int]) -> pa.Table:
    several = layout.columns > 1
    every = [str(column) for column in range(layout.columns)]  # names need not differ
    kinds = {name: pa.string() if int(name) in layout.words else kind for name in every}
    return pyarrow.csv.read_csv(
        io.BytesIO(text),
        pyarrow.csv.ReadOptions(column_names=every, block_size=max(len(text), 1), use_threads=False),
        pyarrow.csv.ParseOptions(delimiter=layout.delimiter, ignore_empty_lines=several, newlines_in_values=True),
        pyarrow.csv.ConvertOptions(column_types=kinds, include_columns=[every[column] for column in columns]),
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
    named = repr(layout.header[column]) if layout.header else str(column)
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
