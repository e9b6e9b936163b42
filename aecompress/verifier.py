"""Verify: does an archive decode, and to what it promises?"""

from __future__ import annotations

from typing import Any

import numpy as np

from aecompress.abreast import WORKERS, one_thread
from aecompress.archive import Archive
from aecompress.config import Progress, silent
from aecompress.errors import VerificationError
from aecompress.locations import Where
from aecompress.metrics import Distortion, Similarity, distortion, similarity
from aecompress.sources import open_source
from aecompress.sources.base import Source, Taker
from aecompress.spec import Array


@one_thread()
def verify(
    archive: Where,
    *,
    against: Any = None,
    workers: int = WORKERS,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Check every checksum and decode every block; with a source, compare every value with the bound.

    What stands beside the rows must be the same in the source, if it has something there and is no stream.

    Args:
        archive: its folder, or the URL of one.
        against: the source it was packed from, as for ``pack``.

    Returns:
        ``rows``, ``blocks``, and with a source ``max_abs_error``, ``rmse``, ``psnr``, ``bound_kept`` and ``cosine``
        (None unless that is the target).

    Raises:
        ArchiveError: a file is missing or damaged.
        VerificationError: the source has other rows, or a value is further from it than the archive promises.
    """
    opened = Archive(archive)
    opened.check_files()
    source = None if against is None else matching(opened, against)
    taker = None if source is None else Taker(source, opened.manifest.block_rows)
    error, similar, blocks, rows = Distortion(), Similarity(), 0, len(opened)
    for block, decoded in opened.decoded(0, rows, workers=workers):
        if taker is not None:
            original = taker.take(block.rows)
            error += _compare(opened, block.start, original, decoded)
            if opened.manifest.target.kind == "cosine":
                similar += similarity(original, decoded)
        blocks += 1
        progress("verify", block.stop / max(rows, 1), {"bytes": block.stop * opened.spec.row_bytes})
    found: dict[str, Any] = {"rows": rows, "blocks": blocks}
    if source is not None:
        _compare_columns(opened, source)
        bounded = opened.manifest.target.bounded
        found |= {"max_abs_error": error.max_abs, "rmse": error.rmse, "psnr": error.psnr}
        found["bound_kept"] = True if bounded else None
        found["cosine"] = similar.mean if similar.rows else None
    return found


def _compare_columns(archive: Archive, source: Source) -> None:
    """Raise VerificationError unless the same stands beside the rows of both, if something stands beside both."""
    beside = source.columns
    if beside is None or not archive.columns or not source.replayable:
        return
    if tuple(beside.schema.names) != archive.columns:
        names = [", ".join(columns) for columns in (archive.columns, beside.schema.names)]
        raise VerificationError(f"Beside the array the archive holds {names[0]}, the source {names[1]}: they differ.")
    row = archive.differing_row(beside.schema, beside.batches(0, archive.manifest.block_rows))
    if row is not None:
        raise VerificationError(f"The columns beside the array are not those of the source, from about row {row} on.")


def matching(archive: Archive, against: Any) -> Source:
    """The source, opened. Raises VerificationError unless it has the rows of the archive."""
    source = open_source(against)
    rows = source.spec.rows
    if not source.spec.same_type(archive.spec) or (rows is not None and rows != len(archive)):
        raise VerificationError(
            f"The source has {source.spec.describe()}, the archive {archive.spec.describe()}: they differ."
        )
    return source


def _compare(archive: Archive, start: int, original: Array, decoded: Array) -> Distortion:
    """Error of one block. Raises VerificationError where it breaks the bound."""
    if original.shape != decoded.shape:
        raise VerificationError(f"The source ends before row {start + len(decoded)}; the archive goes on.")
    if archive.manifest.target.bounded and not archive.model.holds(original, decoded):
        error = distortion(original, decoded)
        raise VerificationError(
            f"Rows {start} to {start + len(decoded)} break the bound or a special value: the greatest error is "
            f"{error.max_abs:g}. The source is not the one that was packed, or the archive is wrong."
        )
    return distortion(original, np.asarray(decoded))
