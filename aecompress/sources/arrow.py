"""Arrow data in memory: tables, record batches, readers and datasets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from aecompress.errors import InputError
from aecompress.sources.base import ChunkedSource, Columns, Source, StreamSource
from aecompress.sources.columns import Layout, decode, row_spec
from aecompress.spec import Array, ArraySpec

#: ``batches(start, rows, names)`` gives these columns (all if there are no names), and maybe more, of all rows from
#: ``start`` on, in record batches of about ``rows``.
Batches = Callable[[int, int, list[str]], Iterator[pa.RecordBatch]]


def open_arrow(data: Any, member: str = "") -> Source:
    """A source over a pyarrow Table, RecordBatch, Dataset or RecordBatchReader; the reader is a stream.

    Raises:
        InputError: the columns of the array do not make rows of one dtype and shape, or hold nulls.
    """
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return arrow_source("table", data.schema, data.num_rows, partial(_of_table, data), member)
    if isinstance(data, pads.Dataset):
        return arrow_source("dataset", data.schema, data.count_rows(), partial(_of_dataset, data), member)
    if isinstance(data, pa.RecordBatchReader):
        return _open_reader(data, member)
    raise InputError(f"A pyarrow {type(data).__name__} cannot be packed; give a Table, Dataset or RecordBatchReader.")


def arrow_source(
    name: str, schema: pa.Schema, rows: int, batches: Batches, member: str = "", *, format: str = "parquet"
) -> Source:
    """A replayable source over record batches of this schema; ``member`` names the columns of the array.

    ``format`` is what it comes back in.
    """
    layout = Layout.of(schema, member, name)

    def read(names: tuple[str, ...], start: int, count: int) -> Iterator[pa.RecordBatch]:
        every = len(names) == len(schema)
        found = _filled(batches(start, count, [] if every else list(names)), name)
        return found if every else (batch.select(names) for batch in found)

    first = next(read(layout.array, 0, 1), None)
    spec = row_spec(layout.part(layout.array), first, name).with_rows(rows)
    columns = Columns(layout.part(layout.beside), partial(read, layout.beside)) if layout.beside else None
    return ChunkedSource(
        name, spec, layout.origin(format), lambda start, n: _decoded(read(layout.array, start, n), spec, name), columns
    )


def skip_rows(batches: Iterable[pa.RecordBatch], count: int) -> Iterator[pa.RecordBatch]:
    """The record batches without their first ``count`` rows."""
    for batch in batches:
        if count < batch.num_rows:
            yield batch.slice(count)
        count = max(0, count - batch.num_rows)


def _open_reader(reader: pa.RecordBatchReader, member: str) -> Source:
    layout = Layout.of(reader.schema, member, "reader")
    waiting: deque[pa.RecordBatch] = deque()  # what stands beside rows that were read and not yet asked for

    def array(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if layout.beside:
                waiting.append(batch.select(layout.beside))
            yield batch.select(layout.array) if layout.beside else batch

    batches = array(_filled(reader, "reader"))
    first = next(batches, None)
    spec = row_spec(layout.part(layout.array), first, "reader")
    whole = chain([] if first is None else [first], batches)
    columns = Columns(layout.part(layout.beside), partial(_drain, waiting)) if layout.beside else None
    return StreamSource("reader", spec, layout.origin(), _decoded(whole, spec, "reader"), columns)


def _drain(waiting: deque[pa.RecordBatch], _start: int, _rows: int) -> Iterator[pa.RecordBatch]:
    while waiting:
        yield waiting.popleft()


def _of_table(table: pa.Table, start: int, rows: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    return iter((table.select(names) if names else table).slice(start).to_batches(max_chunksize=rows))


def _of_dataset(dataset: pads.Dataset, start: int, rows: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    # Little read-ahead, so that memory does not depend on how the dataset was written.
    found = dataset.to_batches(columns=names or None, batch_size=rows, batch_readahead=1, fragment_readahead=1)
    return skip_rows(found, start)


def _filled(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    """The record batches that have rows, with the errors of reading them made ours."""
    try:
        yield from (batch for batch in batches if batch.num_rows)
    except (pa.ArrowException, OSError) as err:
        raise InputError(f"{name} cannot be read, and may be damaged: {err}") from err


def _decoded(batches: Iterable[pa.RecordBatch], spec: ArraySpec, name: str) -> Iterator[Array]:
    for batch in batches:
        rows = decode(batch, name)
        if rows.shape[1:] != spec.row_shape:
            raise InputError(
                f"{name} has rows of shape {rows.shape[1:]} after rows of shape {spec.row_shape}; "
                "pad or cut them to one shape first."
            )
        yield rows
