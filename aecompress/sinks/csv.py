"""Tables of numbers as text: a line for each row, under the names of the columns where the source had some.

Numbers are written so that they are read as what they are: the shortest decimals that give the same value, whole floats
with ``.0``, and NaN as ``nan``.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from aecompress.errors import DestinationError
from aecompress.sinks.columns import Layout
from aecompress.spec import Array, ArraySpec


class CsvWriter:
    """Lines of text, a batch at a time."""

    def __init__(self, file: IO[bytes], columns: int, delimiter: str, header: list[str]) -> None:
        self._file = file
        schema = pa.schema([(str(column), pa.string()) for column in range(columns)])
        options = pyarrow.csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="none")
        file.write(_line(header, delimiter))
        self._writer = pyarrow.csv.CSVWriter(file, schema, write_options=options)
        self._schema = schema

    def append(self, batch: Array) -> None:
        columns = [_text(column) for column in batch.reshape(len(batch), len(self._schema)).T]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def close(self) -> None:
        if not self._file.closed:
            self._writer.close()
            self._file.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object]) -> CsvWriter:
    """A writer of a table with the delimiter of the source where it was one, otherwise commas.

    Raises:
        DestinationError: rows of this spec are no lines of numbers.
    """
    delimiter = origin.get("delimiter", ",")
    return open_table(path, spec, origin, delimiter if isinstance(delimiter, str) and len(delimiter) == 1 else ",")


def open_table(path: Path, spec: ArraySpec, origin: dict[str, object], delimiter: str) -> CsvWriter:
    """The same, with this character between cells."""
    if len(spec.row_shape) > 1 or not spec.row_size:
        raise DestinationError(
            f"A table of text holds rows of one axis; {spec.describe()} have others: write to .npy or .parquet instead."
        )
    return CsvWriter(path.open("xb"), spec.row_size, delimiter, _header(spec, origin))


def _header(spec: ArraySpec, origin: dict[str, object]) -> list[str]:
    """The names of the source's columns, if it had one for each; none otherwise."""
    if "schema" not in origin:
        return []
    layout = Layout.of(spec, origin, None)
    plain = len(layout.schema) == spec.row_size and not pa.types.is_nested(layout.schema.types[0])
    return list(layout.schema.names) if plain else []


def _line(names: list[str], delimiter: str) -> bytes:
    text = io.StringIO()
    if names:
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(names)
    return text.getvalue().encode()


def _text(values: Array) -> pa.Array:
    """Numbers [n] as text; bool as 0 and 1."""
    if values.dtype.kind != "f":
        return pc.cast(pa.array(values.astype(np.uint8) if values.dtype.kind == "b" else values), pa.string())
    text = pc.cast(pa.array(values), pa.string())
    whole = pc.match_substring_regex(text, r"^-?[0-9]+$")
    return pc.if_else(whole, pc.binary_join_element_wise(text, "", ".0"), text)
