"""Rows to work on, from an archive or from anything else that holds rows.

Sources know nothing of archives, so that an archive is opened here, by verbs that take either.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecompress.abreast import WORKERS
from aecompress.archive import Archive
from aecompress.locations import locate
from aecompress.shards.manifest import is_archive
from aecompress.sinks import Sink
from aecompress.sources import open_source, spool
from aecompress.sources.base import ChunkedSource, Columns, Source, chunk_rows
from aecompress.spec import Array

if TYPE_CHECKING:
    import pyarrow as pa

    from aecompress.shards.table import Cursor


def opened_archive(data: Any) -> Archive | None:
    """The archive that ``data`` is, or leads to; None if it is some other source. Raises ArchiveError."""
    if isinstance(data, Archive):
        return data
    return Archive(data) if isinstance(data, str | Path) and is_archive(locate(data)) else None


def open_rows(data: Any, workers: int = WORKERS) -> Source:
    """A source over the rows of an archive, or of anything ``open_source`` takes.

    Raises:
        InputError: the source cannot be read.
        ArchiveError: the archive cannot be read.
    """
    archive = opened_archive(data)
    return open_source(data) if archive is None else archive_source(archive, workers)


@contextmanager
def replayable(data: Any, workers: int = WORKERS) -> Iterator[Source]:
    """The same, to be read as often as needed: a stream is kept in a file meanwhile."""
    source = open_rows(data, workers)
    if source.replayable:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        yield spool(source, Path(folder))


class Beside:
    """What stands beside the rows of a source, piece by piece, for a sink that takes it."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self._cursor: Cursor | None = None
        if source.columns is not None and sink.tabular:
            from aecompress.shards.table import Cursor  # loads pyarrow, which other sources do without

            self._cursor = Cursor(source.columns.batches(0, chunk_rows(source.spec)))

    def take(self, rows: int) -> pa.RecordBatch | None:
        """Of the next rows; None if there is nothing or it is not wanted."""
        return None if self._cursor is None else self._cursor.whole(rows)


def archive_source(archive: Archive, workers: int = WORKERS) -> Source:
    """The decoded rows of an archive as a source, and what stands beside them."""

    def chunks(start: int, rows: int) -> Iterator[Array]:  # noqa: ARG001 - an archive comes in its own blocks
        return archive.batches(start, workers=workers)

    beside = Columns(archive.columns_schema, lambda start, _: archive.beside(start)) if archive.columns else None
    return ChunkedSource(str(archive.path), archive.spec, archive.manifest.origin, chunks, beside)
