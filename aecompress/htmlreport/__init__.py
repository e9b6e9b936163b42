"""A report on an archive: one HTML page that needs no other file, no script and no network.

survey   one pass over the archive, and over its source if that is there: sizes, rates, errors, rows to show
views    which rows are shown, and as what
bounds   what a sample takes at other bounds
page     all that as HTML
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aecompress.config import Progress, silent
from aecompress.htmlreport import bounds, page
from aecompress.htmlreport.survey import survey
from aecompress.locations import Where
from aecompress.shards.durable import write_durably
from aecompress.sinks.base import check_free, storage_errors

__all__ = ["report"]


def report(
    archive: Where,
    dest: str | Path,
    *,
    source: Any = None,
    force: bool = False,
    progress: Progress = silent,
) -> None:
    """Write a page about an archive: sizes, rates, errors, rows, other bounds, settings.

    Args:
        archive: its folder, or the URL of one.
        dest: the HTML file to write.
        source: what it was packed from, as for ``pack``; then the page shows errors, and originals beside their
            reconstructions.
        force: replace a file that is there.
        progress: called as progress(phase, share done, facts).

    Raises:
        ArchiveError: the archive cannot be read or is damaged.
        DestinationError: ``dest`` exists or cannot be written.
        InputError: the source cannot be read.
        VerificationError: the source is not the one that was packed.
    """
    path = Path(dest)
    check_free(path, force=force)
    found = survey(archive, source, progress)
    html = page.render(found, bounds.points(found, progress))
    check_free(path, force=force)
    with storage_errors(path):
        write_durably(path, html.encode())
