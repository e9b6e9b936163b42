"""Unpack: an archive in, rows out.

ShardReader ─► Model.decompress (workers) ─► batches, and what stands beside them ─► sink
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aecompress.abreast import WORKERS, one_thread
from aecompress.archive import Archive
from aecompress.config import Progress, silent
from aecompress.locations import Where
from aecompress.sinks import open_sink
from aecompress.sinks.base import Sink
from aecompress.spec import Array

if TYPE_CHECKING:
    import pyarrow.compute as pc


@one_thread()
def unpack(
    archive: Where | Archive,
    dest: Where,
    *,
    rows: tuple[int | None, int | None] = (None, None),
    where: pc.Expression | str | None = None,
    quality: int | None = None,
    format: str | None = None,
    force: bool = False,
    workers: int = WORKERS,
    progress: Progress = silent,
) -> int:
    """Write the rows of an archive to ``dest``: dtype, byte order, shape and order as they came.

    Tables (Parquet, Arrow) get what stands beside the rows too.

    Args:
        archive: its folder, the URL of one, or an opened archive.
        dest: a path, or ``-`` for npy on standard output. Its extension names the format; without one it is that of
            the source, or npy where the source was no file.
        rows: first row and the one behind the last, as in a slice; None for the ends.
        where: only rows of which this is true: a condition of the columns beside the array, as for ``Archive.where``.
        quality: latents of each row to decode, the first and most important ones; fewer give coarser rows. None: all,
            or as many as ``archive`` was opened with.
        format: name of the format, whatever the extension.
        force: replace what is there.
        workers: blocks decoded at once.
        progress: called as progress(phase, share done, facts).

    Returns:
        The number of rows written.

    Raises:
        InputError: the condition does not fit the columns, or the quality not the archive, as for ``Archive``.
        ArchiveError: the archive cannot be read or is damaged; nothing is left that looks whole.
        DestinationError: ``dest`` exists or cannot be written.
    """
    path = archive.path if isinstance(archive, Archive) else archive
    opened = archive if isinstance(archive, Archive) and quality is None else Archive(path, quality)
    start, stop, _ = slice(*rows).indices(len(opened))
    stop = max(start, stop)
    selection = None if where is None else opened.where(where, workers=workers).between(start, stop)
    count = stop - start if selection is None else len(selection)
    spec, columns = opened.spec.with_rows(count), opened.columns_schema if opened.columns else None
    origin = opened.manifest.origin | {"first_row": start}
    sink = open_sink(dest, spec, origin, columns=columns, format=format, force=force)
    try:
        done = 0
        found = _batches(opened, sink, start, stop, workers) if selection is None else selection
        for beside, batch in found:
            sink.write(batch, beside if sink.tabular else None)
            done += len(batch)
            progress("unpack", done / max(count, 1), {"bytes": done * opened.spec.row_bytes})
        sink.commit()
    finally:
        sink.abort()
    return count


def _batches(archive: Archive, sink: Sink, start: int, stop: int, workers: int) -> Iterator[tuple[Any, Array]]:
    """What stands beside rows ``start`` to ``stop``, where the sink takes it, and the rows."""
    if archive.columns and sink.tabular:
        yield from archive.tables(start, stop, workers=workers)
    else:
        for batch in archive.batches(start, stop, workers=workers):
            yield None, batch
