"""Arrow IPC, as a file: the columns of the source where it was Arrow or Parquet, otherwise one named ``values``."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from aecompress.sinks.columns import Layout
from aecompress.spec import Array, ArraySpec


class IpcWriter:
    """A record batch for each batch of rows."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        options = pa.ipc.IpcWriteOptions(unify_dictionaries=True)  # files have one dictionary a column
        self._writer = pa.ipc.new_file(str(path), layout.schema, options=options)

    def append(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:
        self._writer.write_batch(self._layout.encode(batch, columns))

    def close(self) -> None:
        self._writer.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object], columns: pa.Schema | None = None) -> IpcWriter:
    """A writer of one file, also where the source was a stream."""
    return IpcWriter(path, Layout.of(spec, origin, columns))
