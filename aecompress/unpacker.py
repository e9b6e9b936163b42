"""Unpack: an archive in, rows out.

ShardReader ─► Model.decompress (workers) ─► batches ─► sink
"""

from __future__ import annotations

from pathlib import Path

from aecompress.archive import Archive
from aecompress.config import Progress, silent
from aecompress.locations import Where
from aecompress.sinks import open_sink


def unpack(
    archive: Where | Archive,
    dest: str | Path,
    *,
    rows: tuple[int | None, int | None] = (None, None),
    format: str | None = None,
    force: bool = False,
    workers: int = 2,
    progress: Progress = silent,
) -> int:
    """Write the rows of an archive to ``dest``: dtype, byte order, shape and order as they came.

    Args:
        archive: its folder, the URL of one, or an opened archive.
        dest: a path, or ``-`` for npy on standard output. Its extension names the format; without one it is that of
            the source, or npy where the source was no file.
        rows: first row and the one behind the last, as in a slice; None for the ends.
        format: name of the format, whatever the extension.
        force: replace what is there.
        workers: blocks decoded at once.
        progress: called as progress(phase, share done, facts).

    Returns:
        The number of rows written.

    Raises:
        ArchiveError: the archive cannot be read or is damaged; nothing is left that looks whole.
        DestinationError: ``dest`` exists or cannot be written.
    """
    opened = archive if isinstance(archive, Archive) else Archive(archive)
    start, stop, _ = slice(*rows).indices(len(opened))
    stop = max(start, stop)
    origin = opened.manifest.origin | {"first_row": start}
    sink = open_sink(dest, opened.spec.with_rows(stop - start), origin, format=format, force=force)
    try:
        done = 0
        for batch in opened.batches(start, stop, workers=workers):
            sink.write(batch)
            done += len(batch)
            progress("unpack", done / max(stop - start, 1), {"bytes": done * opened.spec.row_bytes})
        sink.commit()
    finally:
        sink.abort()
    return stop - start
