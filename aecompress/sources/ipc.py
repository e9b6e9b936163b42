"""Arrow IPC: the file format (also called Feather) and the stream format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from aecompress.errors import InputError
from aecompress.sources.arrow import arrow_source, skip_rows
from aecompress.sources.base import Source

Where = TypeVar("Where")

_FILE_MAGIC = b"ARROW1"


def open_path(path: Path, member: str = "") -> Source:
    """A source over the rows of an IPC file or stream, whose columns are as for Parquet.

    A stream does not say how many rows it has: it is read once, without its values where they can be passed over.

    Raises:
        InputError: not Arrow IPC, or no columns that make rows of one dtype and shape.
    """
    try:
        with path.open("rb") as file:
            is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        read = _of_file if is_file else read_stream
        with _reader(path, is_file) as reader:
            schema = reader.schema
        rows = sum(batch.num_rows for batch in read(path))
    except (pa.ArrowException, OSError) as err:
        raise InputError(f"{path} is not a whole Arrow IPC file or stream: {err}") from err
    return arrow_source(str(path), schema, rows, partial(pieces, read, path), member, format="arrow")


def _reader(path: Path, is_file: bool) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    mapped = pa.memory_map(str(path))
    return pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)


def _of_file(path: Path) -> Iterator[pa.RecordBatch]:
    with _reader(path, True) as reader:
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def read_stream(path: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of a file in the stream format."""
    with _reader(path, False) as reader:
        yield from reader


def pieces(
    read: Callable[[Where], Iterator[pa.RecordBatch]], where: Where, start: int, rows: int, _names: list[str]
) -> Iterator[pa.RecordBatch]:
    """What ``read(where)`` gives from row ``start`` on, ``rows`` at a time: batches may be as large as files."""
    for batch in skip_rows(read(where), start):
        for lo in range(0, batch.num_rows, rows):
            yield batch.slice(lo, rows)
