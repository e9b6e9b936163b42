"""A table about rows as a Parquet file: numbers, lists of numbers and words, beside what came with the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aecompress.errors import DestinationError
from aecompress.sinks.base import check_free, hidden, remove, replace_file, storage_errors
from aecompress.spec import Array

#: Extensions of the files a table goes to.
PARQUET = (".parquet", ".pq")

#: Rows of a group.
GROUP_ROWS = 1 << 16

#: The schema of what came with the rows, and all of it in order.
Beside = tuple[pa.Schema, Iterator[pa.RecordBatch]]


class TableSink:
    """Rows in order, numbered in a first column ``row``; the file appears at commit, or never."""

    def __init__(self, dest: Path, fields: Mapping[str, Any], beside: Beside | None, *, force: bool) -> None:
        """Open a table.

        Args:
            dest: a path that ends in .parquet or .pq.
            fields: columns: a name and a dtype, (dtype, size) for a list of fixed size, or ``str``.
            beside: what came with the rows, if anything; goes between ``row`` and the fields.
            force: replace what is at the destination, at commit.

        Raises:
            DestinationError: the destination exists, cannot be written, or is of another format; or a column that
                came with the rows has the name of one of ours.
        """
        if dest.suffix.lower() not in PARQUET:
            raise DestinationError(f"{dest} is no Parquet file; end its name in .parquet.")
        own = pa.schema([("row", pa.int64()), *((name, _type(kind)) for name, kind in fields.items())])
        carried = [] if beside is None else list(beside[0])
        taken = sorted({field.name for field in carried} & set(own.names))
        if taken:
            raise DestinationError(
                f"The rows come with a column {taken[0]!r}, which the table has too: write .npy instead, or rename it."
            )
        self._dest, self._own, self._force = dest, own, force
        self._schema = pa.schema([own.field(0), *carried, *list(own)[1:]])
        self._beside = None if beside is None else beside[1]
        self._rest: pa.Table | None = None
        with storage_errors(dest):
            check_free(dest, force=force)
        self._staged = hidden(dest)
        self._waiting: list[pa.Table] = []
        self._rows = 0
        with storage_errors(dest):
            self._writer = pq.ParquetWriter(self._staged, self._schema, write_page_checksum=True)

    def write(self, columns: Mapping[str, Array | Sequence[str]]) -> None:
        """Append rows: an array [n] or [n, size], or n words, for every field."""
        arrays = [_array(columns[field.name], field.type) for field in list(self._own)[1:]]
        count = len(arrays[0])
        number = pa.array(np.arange(self._rows, self._rows + count))
        own = pa.Table.from_arrays([number, *arrays], schema=self._own)
        table = own if self._beside is None else _joined(own, self._carried(count), self._schema)
        self._rows += count
        self._waiting.append(table)
        if sum(map(len, self._waiting)) >= GROUP_ROWS:
            self._write_group()

    def commit(self) -> None:
        """Make the destination appear, whole. Raises DestinationError."""
        with storage_errors(self._dest):
            self._write_group()
            self._writer.close()
            check_free(self._dest, force=self._force)
            replace_file(self._staged, self._dest)

    def abort(self) -> None:
        """Leave nothing behind; does nothing after commit or a second time."""
        with suppress(OSError):
            self._writer.close()
        remove(self._staged)

    def _write_group(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            with storage_errors(self._dest):
                self._writer.write_table(pa.concat_tables(waiting))

    def _carried(self, count: int) -> pa.Table:
        """The next ``count`` rows of what came beside them."""
        if self._beside is None:
            raise ValueError("nothing came with the rows")
        parts = [] if self._rest is None else [self._rest]
        while sum(map(len, parts)) < count:
            batch = next(self._beside, None)
            if batch is None:
                raise DestinationError("The columns beside the rows end before the rows do; nothing was written.")
            parts.append(pa.Table.from_batches([batch]))
        whole = pa.concat_tables(parts)
        self._rest = whole.slice(count)
        return whole.slice(0, count)


def _joined(own: pa.Table, carried: pa.Table, schema: pa.Schema) -> pa.Table:
    found = {name: table.column(name) for table in (own, carried) for name in table.column_names}
    return pa.Table.from_arrays([found[name] for name in schema.names], schema=schema)


def _type(kind: Any) -> pa.DataType:
    if kind is str:
        return pa.string()
    if isinstance(kind, tuple):
        return pa.list_(pa.from_numpy_dtype(np.dtype(kind[0])), kind[1])
    return pa.from_numpy_dtype(np.dtype(kind))


def _array(values: Array | Sequence[str], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    flat = np.ascontiguousarray(values).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), type=kind)
