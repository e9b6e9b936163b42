"""The table of rows: what stands beside the arrays, one Parquet row a row, for whatever reads Parquet.

    record batches of any length ─► pieces ─► row groups ─► rows/part-00000.parquet

A part has the rows of the block part of its name. Pieces and row groups are cut by rows and content alone, so the same
columns give the same bytes however their source cuts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from aecompress.errors import CorruptError, InputError
from aecompress.locations import Location, arrow_file, arrow_names
from aecompress.shards.block import Block
from aecompress.shards.growing import GrowingFile
from aecompress.shards.manifest import LATENTS, Fragment
from aecompress.shards.part import parsing
from aecompress.spec import Array

#: Columns that every table has: the row, and the first row of its block.
ROW, BLOCK = "_row", "_block"

#: Rows that are looked at together; the pieces of a block begin at its first row.
PIECE_ROWS = 4096

#: A row group is closed once it has this many rows or bytes (in memory).
GROUP_ROWS = 1 << 16
GROUP_BYTES = 8 << 20

_NUMBERS = (pa.field(ROW, pa.int64(), nullable=False), pa.field(BLOCK, pa.int64(), nullable=False))


class Cursor:
    """Record batches taken a number of rows at a time, however they are cut."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._left: pa.RecordBatch | None = None

    def take(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The next rows, in one record batch or more; fewer only where there are no more."""
        while rows > 0:
            batch = next(self._batches, None) if self._left is None else self._left
            if batch is None:
                return
            yield batch.slice(0, rows)
            self._left = batch.slice(rows) if batch.num_rows > rows else None
            rows -= batch.num_rows

    def whole(self, rows: int) -> pa.RecordBatch | None:
        """The next rows as one record batch, all columns in one piece; None where there are no more."""
        found = list(self.take(rows))
        return joined(found) if found else None


def joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Record batches of one schema, one or more, as one that refers to nothing but its own values."""
    return pa.concat_batches([*batches, batches[0].slice(0, 0)])  # of a single batch Arrow would make no copy


def with_latents(batches: Iterable[pa.RecordBatch], latents: Array, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Columns ``names`` of n rows and their latents float32 [n, K] behind them; there may be no other columns."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(latents.reshape(-1)), type=latents_field(latents.shape[1]).type)
    if not names:
        yield pa.record_batch([column], [LATENTS])
    row = 0
    for batch in batches:
        yield pa.record_batch([*batch.columns, column.slice(row, len(batch))], [*names, LATENTS])
        row += len(batch)


def latents_of(batches: Iterable[pa.RecordBatch]) -> Array:
    """float32 [n, K] of record batches whose only column is LATENTS."""
    found = [np.asarray(batch.column(0).flatten(), np.float32).reshape(len(batch), -1) for batch in batches]
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def latents_field(count: int) -> pa.Field:
    """The column of ``count`` latents of each row."""
    return pa.field(LATENTS, pa.list_(pa.field("element", pa.float32(), nullable=False), count), nullable=False)


class TableWriter(GrowingFile):
    """Writes one part of the table.

    Attributes:
        path: the file.
        size: bytes of the columns so far, in memory.
    """

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self._columns = columns
        self._schema, leaves = stored_schema(columns)
        super().__init__(
            path,
            self._schema,
            compression="zstd",
            compression_level=6,
            use_dictionary=[leaf for leaf in leaves if leaf != ROW],
            column_encoding={ROW: "DELTA_BINARY_PACKED"},
            write_page_index=True,
            write_page_checksum=True,
        )
        self._pieces: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, block: Block, columns: Iterable[pa.RecordBatch]) -> None:
        """Add the columns of the rows of a block. Raises InputError if they are of another number or type."""
        cursor = Cursor(columns)
        for start in range(block.start, block.stop, PIECE_ROWS):
            rows = min(PIECE_ROWS, block.stop - start)
            piece = cursor.whole(rows)
            if piece is None or piece.num_rows != rows:
                raise InputError(f"The columns end before row {block.stop}; the source may have changed.")
            self._add(self._stored(piece, start, block.start))
        if cursor.whole(1) is not None:
            raise InputError(f"Columns of more rows than a block came before row {block.stop}.")

    def _stored(self, piece: pa.RecordBatch, row: int, block: int) -> pa.RecordBatch:
        """A piece as the file holds it, behind the numbers of its rows."""
        if piece.schema.names != self._columns.names or piece.schema.types != self._columns.types:
            raise InputError(f"The columns change their types before row {row + len(piece)}; mend the source.")
        numbers = [np.arange(row, row + len(piece)), np.full(len(piece), block)]
        with storing():
            arrays = [*map(pa.array, numbers), *_cast(piece, self._schema)]
            return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _add(self, piece: pa.RecordBatch) -> None:
        size = pa.ipc.get_record_batch_size(piece)  # unlike nbytes, the same for the same values
        self._pieces.append(piece)
        self._rows, self._bytes, self.size = self._rows + len(piece), self._bytes + size, self.size + size
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._end_group()

    def _end_group(self) -> None:
        if self._pieces:
            table = pa.Table.from_batches(self._pieces, self._schema).combine_chunks()
            with storing():
                self._writer.write_table(table, row_group_size=len(table))
        self._pieces, self._rows, self._bytes = [], 0, 0


def stored_schema(columns: pa.Schema) -> tuple[pa.Schema, list[str]]:
    """What Parquet makes of these columns behind the numbers of rows, and the paths of its leaves.

    Dictionaries become their values, and times a unit that Parquet has; values stay the same.

    Raises:
        InputError: a name is taken or there twice, or Parquet has no type for a column.
    """
    for name in columns.names:
        if name in (ROW, BLOCK):
            raise InputError(f"A column beside the array is named {name}, which archives use; rename it.")
        if columns.names.count(name) > 1:
            raise InputError(f"Two columns beside the array are named {name!r}; rename one.")
    try:
        return _as_parquet(pa.schema([*_NUMBERS, *(field.with_type(_plain(field.type)) for field in columns)]))
    except (pa.ArrowException, OSError) as err:
        wrong = next((field for field in columns if not _storable(field)), None)
        shown = "The columns" if wrong is None else f"The column {wrong.name!r} of type {wrong.type}"
        raise InputError(f"{shown} cannot be kept in Parquet ({err}); convert it or leave it out.") from err


def fingerprint(columns: pa.Schema, batches: Iterable[pa.RecordBatch], rows: int) -> bytes:
    """Bytes that tell these rows of columns from others; at most the first piece of them counts."""
    piece = Cursor(batches).whole(min(rows, PIECE_ROWS))
    sink, (schema, _) = pa.BufferOutputStream(), stored_schema(columns)
    if piece is not None:
        with storing():
            pq.write_table(
                pa.Table.from_arrays(_cast(piece, schema), schema=pa.schema(list(schema)[len(_NUMBERS) :])), sink
            )
    return bytes(sink.getvalue())


def differing_row(columns: pa.Schema, kept: Iterable[pa.RecordBatch], batches: Iterable[pa.RecordBatch]) -> int | None:
    """The first of the pieces, by its first row, in which columns of a source are not those kept; None if all are."""
    schema, _ = stored_schema(columns)
    ours, theirs = Cursor(kept), Cursor(batches)
    for row in count(0, PIECE_ROWS):
        first, second = ours.whole(PIECE_ROWS), theirs.whole(PIECE_ROWS)
        if first is None or second is None:
            return None if first is second else row
        with storing():
            if len(first) != len(second) or not all(map(_same, first.columns, _cast(second, schema))):
                return row
    return None


def _same(first: pa.Array, second: pa.Array) -> bool:
    """True if all values are equal; NaN is equal to NaN."""
    if first.equals(second):
        return True
    sink = [pa.BufferOutputStream(), pa.BufferOutputStream()]
    for array, out in zip((first, second), sink, strict=True):
        pq.write_table(pa.table({"a": array}), out)
    return bool(sink[0].getvalue().equals(sink[1].getvalue()))


def read_table(path: Location, fragment: Fragment, names: list[str], start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """The columns ``names`` of the rows of a part that are among ``start`` to ``stop``, in order, in small batches.

    Raises CorruptError if the file is not the table of ``fragment``.
    """
    with parsing(path), arrow_file(path) as file:
        part = pq.ParquetFile(file, page_checksum_verification=True)
        if part.metadata.num_rows != fragment.rows or not {ROW, BLOCK, *names} <= set(part.schema_arrow.names):
            raise CorruptError(f"{path} does not hold the rows of the manifest; it is damaged.")
        first = fragment.start
        for group in range(part.num_row_groups):
            last = first + part.metadata.row_group(group).num_rows
            if first < stop and last > start:
                batches = part.iter_batches(PIECE_ROWS, row_groups=[group], columns=names, use_threads=False)
                cursor = Cursor(batch.select(names) for batch in batches)
                for _ in cursor.take(start - first):
                    pass
                yield from cursor.take(min(last, stop) - max(first, start))
            first = last


def open_dataset(paths: list[Location], names: tuple[str, ...] = ()) -> pads.Dataset:
    """The parts of a table, in this order, as one data set; without any, its columns ``names`` have no type."""
    if not paths:
        return pads.dataset(pa.schema([*_NUMBERS, *((name, pa.null()) for name in names)]).empty_table())
    system, files = arrow_names(paths)
    return pads.dataset(files, format="parquet", filesystem=system)


def matching_rows(path: Location, expression: pc.Expression, names: list[str]) -> dict[int, pa.RecordBatch]:
    """The rows of a part that an expression is true of, by the first row of their block: ROW and the columns ``names``.

    Raises:
        InputError: the expression does not fit the columns.
        CorruptError: the file is damaged.
    """
    with parsing(path):
        part = open_dataset([path])
        check_expression(expression, part.schema)
        batches = part.to_batches(
            filter=expression, columns=[BLOCK, ROW, *names], batch_size=PIECE_ROWS, batch_readahead=1
        )
        found: dict[int, list[pa.RecordBatch]] = {}
        for batch in batches:
            starts, places = np.unique(batch.column(0).to_numpy(), return_index=True)
            for start, lo, hi in zip(starts, places, [*places, len(batch)][1:], strict=True):
                found.setdefault(int(start), []).append(batch.slice(lo, hi - lo).select([ROW, *names]))
        return {start: joined(pieces) for start, pieces in sorted(found.items())}


def between(start: int, stop: int) -> pc.Expression:
    """True of rows ``start`` to ``stop``."""
    return (pc.field(ROW) >= start) & (pc.field(ROW) < stop)


def check_expression(expression: pc.Expression, schema: pa.Schema) -> None:
    """Raise InputError unless the expression can be asked of these columns, and is true or false of each row."""
    try:
        schema.empty_table().filter(expression)
    except (pa.ArrowException, KeyError, TypeError) as err:
        names = ", ".join(name for name in schema.names if name not in (ROW, BLOCK))
        raise InputError(f"The condition does not fit the columns beside the array ({names}): {err}") from err


@contextmanager
def storing() -> Iterator[None]:
    """Turn what Parquet cannot hold into an InputError."""
    try:
        yield
    except pa.ArrowException as err:
        raise InputError(f"The columns beside the array cannot be kept in Parquet: {err}") from err


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without views, whose buffers do not tell the values of one piece from those of another."""
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)


def _as_parquet(schema: pa.Schema) -> tuple[pa.Schema, list[str]]:
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    file = pq.ParquetFile(pa.BufferReader(sink.getvalue()))
    leaves = [file.schema.column(index).path for index in range(len(file.schema))]
    return file.schema_arrow.remove_metadata(), leaves


def _cast(piece: pa.RecordBatch, schema: pa.Schema) -> list[pa.Array]:
    """The columns of a piece in the types they are stored in."""
    fields = list(schema)[len(_NUMBERS) :]
    return [a if a.type == field.type else a.cast(field.type) for a, field in zip(piece.columns, fields, strict=True)]


def _storable(field: pa.Field) -> bool:
    try:
        _as_parquet(pa.schema([field]))
    except (pa.ArrowException, OSError):
        return False
    return True
