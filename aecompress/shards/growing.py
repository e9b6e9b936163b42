"""A Parquet file that grows by row groups, and is closed whole or deleted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


class GrowingFile(ABC):
    """One file; what is to come gathers in a subclass until it makes a row group.

    Attributes:
        path: the file.
        size: bytes of what was added so far, as the subclass counts them.
    """

    def __init__(self, path: Path, schema: pa.Schema, **layout: Any) -> None:
        self.path = path
        self.size = 0
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(self._sink, schema, **layout)

    @abstractmethod
    def _end_group(self) -> None:
        """Write what has gathered, if anything has."""

    def close(self) -> None:
        """Write the rest; from now on the file is whole."""
        self._end_group()
        self._writer.close()
        self._sink.close()

    def abort(self) -> None:
        """Close and delete the file, whatever its state."""
        for handle in (self._writer, self._sink):
            with suppress(OSError, pa.ArrowException):
                handle.close()
        self.path.unlink(missing_ok=True)
