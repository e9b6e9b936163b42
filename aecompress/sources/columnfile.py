"""What stands beside the rows of a stream, kept in a temporary Arrow file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from aecompress.sources.arrow import skip_rows
from aecompress.sources.base import Columns


class ColumnFile:
    """Columns appended in order, and read again from any row once it is closed."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path, schema
        self._writer = pa.ipc.new_stream(str(path), schema)

    def append(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Raises OSError if the file cannot be written."""
        for batch in batches:
            self._writer.write_batch(batch)

    def close(self) -> Columns:
        """All columns there are."""
        self._writer.close()
        return Columns(self._schema, self._read)

    def _read(self, start: int, rows: int) -> Iterator[pa.RecordBatch]:
        with pa.ipc.open_stream(pa.memory_map(str(self.path))) as reader:
            for batch in skip_rows(reader, start):
                for lo in range(0, batch.num_rows, rows):
                    yield batch.slice(lo, rows)
