"""Rows to work on, from an archive or from any source, to be read as often as needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.archive import Archive
from aecompress.config import Progress
from aecompress.locations import locate
from aecompress.shards.manifest import is_archive
from aecompress.sources import open_source, spool
from aecompress.sources.base import ChunkedSource, Source
from aecompress.spec import Array
from aecompress.trainer import block_rows

#: Values that fits look at, from stretches spread over the rows; in memory at once.
FIT_VALUES = 1 << 24
_STRETCHES = 16


def opened_archive(data: Any) -> Archive | None:
    """The archive that ``data`` is, or leads to; None if it is some other source. Raises ArchiveError."""
    if isinstance(data, Archive):
        return data
    return Archive(data) if isinstance(data, str | Path) and is_archive(locate(data)) else None


@contextmanager
def replayable(data: Any, workers: int = 2) -> Iterator[Source]:
    """A source over the rows of an archive, or of anything ``open_source`` takes; a stream is kept in a file meanwhile.

    Raises:
        InputError: the source cannot be read.
        ArchiveError: the archive cannot be read.
    """
    archive = opened_archive(data)
    source = archive_source(archive, workers) if archive is not None else open_source(data)
    if source.replayable:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        yield spool(source, Path(folder))


def archive_source(archive: Archive, workers: int = 2) -> Source:
    """The decoded rows of an archive as a source."""

    def chunks(start: int, rows: int) -> Iterator[Array]:  # noqa: ARG001 - an archive comes in its own blocks
        return archive.batches(start, workers=workers)

    return ChunkedSource(str(archive.path), archive.spec, archive.manifest.origin, chunks)


def spread_rows(source: Source, phase: str, progress: Progress, *, most: int = FIT_VALUES) -> Array:
    """Rows [n, *row_shape] in stretches spread evenly over a source, all of them where they hold at most ``most``."""
    rows, wanted = source.spec.shape[0], max(1, most // max(source.spec.row_size, 1))
    height = rows if rows <= wanted else max(1, wanted // _STRETCHES)
    starts = np.unique(np.linspace(0, rows - height, max(1, min(wanted, rows) // max(height, 1))).astype(int))
    found: list[Array] = []
    for i, start in enumerate(starts):
        found += source.batches(block_rows(source.spec), int(start), int(start) + height)
        progress(phase, (i + 1) / len(starts), {})
    return np.concatenate([np.empty((0, *source.spec.row_shape), source.spec.native), *found])
