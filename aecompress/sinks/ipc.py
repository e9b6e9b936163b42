"""Arrow IPC, as a file: the columns of the source where it was Arrow or Parquet, otherwise one named ``values``."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from aecompress.sinks.columns import encode, row_schema
from aecompress.spec import Array, ArraySpec


class IpcWriter:
    """A record batch for each batch of rows."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pa.ipc.new_file(str(path), schema)

    def append(self, batch: Array) -> None:
        self._writer.write_batch(encode(batch, self._schema))

    def close(self) -> None:
        self._writer.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object]) -> IpcWriter:
    """A writer of one file, also where the source was a stream."""
    return IpcWriter(path, row_schema(spec, origin))
