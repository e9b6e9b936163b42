"""Tables of numbers as text with tabs between them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from aecompress.sinks.csv import CsvWriter, open_table
from aecompress.spec import ArraySpec


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object], columns: pa.Schema | None = None) -> CsvWriter:
    """A writer of a table. Raises DestinationError if rows of this spec are no lines of numbers."""
    return open_table(path, spec, origin, columns, "\t")
