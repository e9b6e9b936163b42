"""Arrow data in memory: tables, record batches, readers and datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from aecompress.errors import InputError
from aecompress.sources.base import ChunkedSource, Source, StreamSource
from aecompress.sources.columns import arrow_origin, check_columns, decode, row_spec
from aecompress.spec import Array, ArraySpec

#: ``batches(start, rows)`` gives all rows from ``start`` on, in record batches of about ``rows``.
Batches = Callable[[int, int], Iterator[pa.RecordBatch]]


def open_arrow(data: Any) -> Source:
    """A source over a pyarrow Table, RecordBatch, Dataset or RecordBatchReader; the reader is a stream.

    Raises:
        InputError: the columns do not make rows of one dtype and shape, or hold nulls.
    """
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return arrow_source("table", data.schema, data.num_rows, partial(_of_table, data))
    if isinstance(data, pads.Dataset):
        return arrow_source("dataset", data.schema, data.count_rows(), partial(_of_dataset, data))
    if isinstance(data, pa.RecordBatchReader):
        return _open_reader(data)
    raise InputError(f"A pyarrow {type(data).__name__} cannot be packed; give a Table, Dataset or RecordBatchReader.")


def arrow_source(name: str, schema: pa.Schema, rows: int, batches: Batches) -> Source:
    """A replayable source over record batches of this schema."""
    check_columns(schema, name)
    spec = row_spec(schema, next(_filled(batches(0, 1), name), None), name).with_rows(rows)
    return ChunkedSource(name, spec, arrow_origin(schema), lambda start, n: _decoded(batches(start, n), spec, name))


def skip_rows(batches: Iterable[pa.RecordBatch], count: int) -> Iterator[pa.RecordBatch]:
    """The record batches without their first ``count`` rows."""
    for batch in batches:
        if count < batch.num_rows:
            yield batch.slice(count)
        count = max(0, count - batch.num_rows)


def _open_reader(reader: pa.RecordBatchReader) -> Source:
    check_columns(reader.schema, "reader")
    batches = _filled(reader, "reader")
    first = next(batches, None)
    spec = row_spec(reader.schema, first, "reader")
    whole = chain([] if first is None else [first], batches)
    return StreamSource("reader", spec, arrow_origin(reader.schema), _decoded(whole, spec, "reader"))


def _of_table(table: pa.Table, start: int, rows: int) -> Iterator[pa.RecordBatch]:
    return iter(table.slice(start).to_batches(max_chunksize=rows))


def _of_dataset(dataset: pads.Dataset, start: int, rows: int) -> Iterator[pa.RecordBatch]:
    # Little read-ahead, so that memory does not depend on how the dataset was written.
    return skip_rows(dataset.to_batches(batch_size=rows, batch_readahead=1, fragment_readahead=1), start)


def _filled(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    """The record batches that have rows, with the errors of reading them made ours."""
    try:
        yield from (batch for batch in batches if batch.num_rows)
    except (pa.ArrowException, OSError) as err:
        raise InputError(f"{name} cannot be read, and may be damaged: {err}") from err


def _decoded(batches: Iterable[pa.RecordBatch], spec: ArraySpec, name: str) -> Iterator[Array]:
    for batch in _filled(batches, name):
        rows = decode(batch, name)
        if rows.shape[1:] != spec.row_shape:
            raise InputError(
                f"{name} has rows of shape {rows.shape[1:]} after rows of shape {spec.row_shape}; "
                "pad or cut them to one shape first."
            )
        yield rows
