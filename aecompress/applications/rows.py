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
from aecompress.sources.base import ChunkedSource, Columns, Source
from aecompress.spec import Array, ArraySpec
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
    """The decoded rows of an archive as a source, and what stands beside them."""

    def chunks(start: int, rows: int) -> Iterator[Array]:  # noqa: ARG001 - an archive comes in its own blocks
        return archive.batches(start, workers=workers)

    beside = Columns(archive.columns_schema, lambda start, _: archive.beside(start)) if archive.columns else None
    return ChunkedSource(str(archive.path), archive.spec, archive.manifest.origin, chunks, beside)


def stretches(spec: ArraySpec, most: int) -> list[tuple[int, int]]:
    """(start, stop) of stretches spread evenly over the rows, all rows where they hold at most ``most`` values."""
    rows, wanted = spec.shape[0], max(1, most // max(spec.row_size, 1))
    if rows <= wanted:
        return [(0, rows)]
    many = min(_STRETCHES, wanted)
    height = wanted // many
    return [(int(start), int(start) + height) for start in np.linspace(0, rows - height, many)]


def spread_rows(source: Source, phase: str, progress: Progress, *, most: int = FIT_VALUES) -> Array:
    """Rows [n, *row_shape] of ``stretches`` of a source."""
    places, found = stretches(source.spec, most), [np.empty((0, *source.spec.row_shape), source.spec.native)]
    for i, (start, stop) in enumerate(places):
        found += source.batches(block_rows(source.spec), start, stop)
        progress(phase, (i + 1) / len(places), {})
    return np.concatenate(found)
