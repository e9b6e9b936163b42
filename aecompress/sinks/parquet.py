"""Parquet: the columns of the source where it was Parquet or Arrow, otherwise one column named ``values``."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aecompress.sinks.columns import Layout
from aecompress.spec import Array, ArraySpec

_GROUP_BYTES = 1 << 25


class ParquetWriter:
    """Gathers batches into row groups of about 32 MiB."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._writer = pq.ParquetWriter(path, layout.schema, write_page_checksum=True)
        self._layout = layout
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0

    def append(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:
        self._waiting.append(self._layout.encode(batch, columns))
        self._bytes += self._waiting[-1].nbytes
        if self._bytes >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        try:
            self._write_group()
        finally:
            self._writer.close()

    def _write_group(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            self._writer.write_table(pa.Table.from_batches(waiting), row_group_size=sum(map(len, waiting)))


def open_writer(
    path: Path, spec: ArraySpec, origin: dict[str, object], columns: pa.Schema | None = None
) -> ParquetWriter:
    """A writer of one file, also where the source was a folder of them."""
    return ParquetWriter(path, Layout.of(spec, origin, columns))
