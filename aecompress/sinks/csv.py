"""Tables of numbers as text: a line for each row, under the names of the columns where the source had some.

What stands beside the array is written as text, but for lists, structures and bytes.

Numbers are written so that they are read as what they are: the shortest decimals that give the same value, whole floats
with ``.0``, and NaN as ``nan``.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aecompress.errors import DestinationError
from aecompress.sinks.columns import Layout
from aecompress.spec import Array, ArraySpec

#: A column of the table to write: the name of what stands beside the array, or the place of a value in its rows.
Cell: TypeAlias = str | int


class CsvWriter:
    """Lines of text, a batch at a time."""

    def __init__(self, file: IO[bytes], cells: list[Cell], delimiter: str, header: list[str]) -> None:
        self._file, self._cells, self._delimiter = file, cells, delimiter
        self._quoted = f'["\r\n{re.escape(delimiter)}]'
        file.write(_line(header, delimiter))

    def append(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:
        values = batch.reshape(len(batch), -1).T
        texts = [
            self._beside(columns, cell) if isinstance(cell, str) else _numbers(values[cell]) for cell in self._cells
        ]
        lines = pc.binary_join_element_wise(*texts, self._delimiter)
        if len(lines):
            (text,) = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n").to_pylist()
            self._file.write(f"{text}\n".encode())

    def close(self) -> None:
        self._file.close()

    def _beside(self, columns: pa.RecordBatch | None, name: str) -> pa.Array:
        """A column as text, in quotes where it needs them; what is missing is empty."""
        if columns is None or name not in columns.schema.names:
            raise DestinationError(f"There is no column {name!r} beside the array, as the source had.")
        text = pc.fill_null(_text(columns.column(name)), "")
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring_regex(text, self._quoted), quoted, text)


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object], columns: pa.Schema | None = None) -> CsvWriter:
    """A writer of a table with the delimiter of the source where it was one, otherwise commas.

    Raises:
        DestinationError: rows of this spec are no lines of numbers.
    """
    delimiter = origin.get("delimiter", ",")
    plain = isinstance(delimiter, str) and len(delimiter) == 1
    return open_table(path, spec, origin, columns, str(delimiter) if plain else ",")


def open_table(
    path: Path, spec: ArraySpec, origin: dict[str, object], columns: pa.Schema | None, delimiter: str
) -> CsvWriter:
    """The same, with this character between cells."""
    if len(spec.row_shape) > 1 or not spec.row_size:
        raise DestinationError(
            f"A table of text holds rows of one axis; {spec.describe()} have others: write to .npy or .parquet instead."
        )
    header: list[str] = []
    cells: list[Cell] = list(range(spec.row_size))
    if "schema" in origin or columns is not None:
        header, cells = _columns(Layout.of(spec, origin, columns), spec)
    return CsvWriter(path.open("xb"), cells, delimiter, header if origin.get("header", True) else [])


def _columns(layout: Layout, spec: ArraySpec) -> tuple[list[str], list[Cell]]:
    """Names of the columns and what they hold; no names where the array alone is there, as lists in one column."""
    places = range(spec.row_size)
    if not layout.array:
        plain = len(layout.schema) == spec.row_size and not pa.types.is_nested(layout.schema.types[0])
        return list(layout.schema.names) if plain else [], list(places)
    found: list[tuple[str, Cell]] = []
    for field in layout.schema:
        if field.name not in layout.array:
            found += [(field.name, field.name)] if _is_text(field.type) else []
        elif spec.row_shape and len(layout.array) == 1:
            found += [(f"{field.name}_{place}", place) for place in places]
        else:
            found.append((field.name, layout.array.index(field.name)))
    return [name for name, _ in found], [cell for _, cell in found]


def _is_text(kind: pa.DataType) -> bool:
    """True of texts, numbers and times, of all that goes into one cell of a table."""
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or isinstance(kind, pa.BaseExtensionType))


def _line(names: list[str], delimiter: str) -> bytes:
    text = io.StringIO()
    if names:
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(names)
    return text.getvalue().encode()


def _numbers(values: Array) -> pa.Array:
    """Numbers [n] as text; bool as 0 and 1."""
    return _text(pa.array(values.astype(np.uint8) if values.dtype.kind == "b" else values))


def _text(column: pa.Array) -> pa.Array:
    """A column as text, floats with a point."""
    text = pc.cast(column, pa.string())
    if not pa.types.is_floating(column.type):
        return text
    whole = pc.match_substring_regex(text, r"^-?[0-9]+$")
    return pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)
