"""Parquet: one file, or a folder of part files in the order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from aecompress.errors import InputError
from aecompress.locations import Location, arrow_file, files_below
from aecompress.sources.arrow import arrow_source, skip_rows
from aecompress.sources.base import Source

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class _Part:
    path: Location
    schema: pa.Schema
    footer: pq.FileMetaData


def open_path(path: Location, member: str = "") -> Source:
    """A source over a Parquet file or a folder of them; names that begin with ``.`` or ``_`` are passed over.

    Raises:
        InputError: not Parquet, no or differing part files, or no columns that make rows of one dtype and shape.
    """
    parts = [_open_part(file) for file in _part_files(path)]
    for part in parts:
        if not part.schema.equals(parts[0].schema):
            raise InputError(f"{part.path} has other columns than {parts[0].path}; pack them one by one.")
    rows = sum(part.footer.num_rows for part in parts)
    return arrow_source(str(path), parts[0].schema, rows, partial(_batches, parts), member)


def _part_files(path: Location) -> list[Location]:
    if not path.is_dir():
        return [path]
    found = {name: file for name, file in files_below(path).items() if name.endswith(".parquet")}
    files = [file for name, file in found.items() if not any(word[0] in "._" for word in name.split("/"))]
    if not files:
        raise InputError(f"The folder {path} holds no .parquet files; give a file, or the folder of a Parquet set.")
    return files


def _open_part(path: Location) -> _Part:
    try:
        with arrow_file(path) as opened, pq.ParquetFile(opened) as file:
            return _Part(path, file.schema_arrow, file.metadata)
    except (pa.ArrowException, OSError) as err:
        raise InputError(f"{path} is not a whole Parquet file: {err}") from err


def _batches(parts: list[_Part], start: int, rows: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        if start < part.footer.num_rows:
            yield from _part_batches(part, start, rows, names)
        start = max(0, start - part.footer.num_rows)


def _part_batches(part: _Part, start: int, rows: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    first = 0
    while start >= part.footer.row_group(first).num_rows:
        start -= part.footer.row_group(first).num_rows
        first += 1
    groups = list(range(first, part.footer.num_row_groups))
    # Columns are read through small buffers, and nothing ahead: a row group may be far larger than a batch.
    with (
        arrow_file(part.path) as opened,
        pq.ParquetFile(
            opened, metadata=part.footer, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        ) as file,
    ):
        yield from skip_rows(file.iter_batches(batch_size=rows, row_groups=groups, columns=names or None), start)
