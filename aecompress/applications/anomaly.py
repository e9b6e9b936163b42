"""Anomalies: a score for every row, from what the archive's own model thinks of its values, and from other rows.

stretches of rows ─► Oddity ─► what is usual
all rows ──────────────┴─► scores ─► the oddest, and a table of all

Nothing of this is stored when an archive is packed: what was decoded is described to the model again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.abreast import WORKERS
from aecompress.applications.oddity import COLUMNS, Costs, Oddity, Rows, Table
from aecompress.applications.rows import stretches
from aecompress.archive import Archive
from aecompress.config import Progress, silent
from aecompress.errors import InputError, ModelError
from aecompress.inputs import replayable
from aecompress.sinks.table import GROUP_ROWS, TableSink
from aecompress.sources.base import Source
from aecompress.spec import Array
from aecompress.trainer import block_rows

#: Values that what is usual is learned from.
_USUAL_VALUES = 1 << 23


@dataclass(frozen=True)
class Anomalies:
    """The oddest rows, the oddest first.

    Attributes:
        rows: int64 [n], row numbers.
        columns: arrays [n] of what is said of them; see ``oddity.COLUMNS``.
        total: rows that were scored.
    """

    rows: Array
    columns: Table
    total: int

    def to_json(self) -> dict[str, Any]:
        """A plain object: ``total``, and lists of n, null for what is unknown."""
        lists = {name: [None if v != v else v for v in column.tolist()] for name, column in self.columns.items()}
        return {"total": self.total, "row": self.rows.tolist(), **lists}


def anomalies(
    archive: str | Path | Archive,
    n: int = 100,
    *,
    of: Any = None,
    dest: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    workers: int = WORKERS,
    progress: Progress = silent,
) -> Anomalies:
    """Score rows by how odd they are, in two passes and constant memory.

    Args:
        archive: its folder, or an opened one: its rows say what is usual.
        n: the oddest rows wanted.
        of: a source of other rows to score; by default those of the archive.
        dest: a .parquet file for all rows: ``row``, the columns that came with the rows, ``score`` (3: one row in a
            thousand is as odd), ``quantile`` (share of the archive's rows that are less odd), ``code`` (excess of the
            code length of the oddest value, in deviations), ``distance`` (to other rows), ``bits``, ``part``.
        force: replace a file that is there.
        seed: of the rows drawn.
        workers: blocks decoded at once.
        progress: called as progress(phase, share done, facts).

    Raises:
        InputError: the archive has no rows, or nothing to tell odd ones by; or ``of`` cannot be read.
        ModelError: the rows of ``of`` are of another dtype or shape.
        ArchiveError: the archive cannot be read.
        DestinationError: ``dest`` exists or cannot be written.
    """
    opened = archive if isinstance(archive, Archive) else Archive(archive)
    if n < 1:
        raise InputError(f"The {n} oddest rows were asked for; ask for 1 or more.")
    if 0 in opened.shape:
        raise InputError(f"The archive has {opened.spec.describe()}: there is nothing to score.")
    with ExitStack() as stack:
        rows = stack.enter_context(replayable(opened if of is None else of, workers))
        if not rows.spec.same_type(opened.spec):
            raise ModelError(
                f"The rows to score are {rows.spec.describe()}, those of the archive {opened.spec.describe()}: dtype "
                "and shape of rows must be the same."
            )
        sink = None if dest is None else _open(Path(dest), rows, force)
        try:
            oddity = Oddity.of(opened.model, _usual(opened, of is None, workers, progress), seed, progress)
            batches = _decoded(opened, 0, len(opened), True, workers) if of is None else _read(rows)
            best = _Oddest(n)
            for table in _scored(oddity, batches):
                best.add(table)
                if sink is not None:
                    sink.write(table)
                progress("score", best.total / rows.spec.shape[0], {"bytes": best.total * rows.spec.row_bytes})
            if sink is not None:
                sink.commit()
        finally:
            if sink is not None:
                sink.abort()
    return best.result()


def _open(dest: Path, rows: Source, force: bool) -> TableSink:
    columns = rows.columns
    beside = None if columns is None else (columns.schema, columns.batches(0, GROUP_ROWS))
    kinds = {name: str if name == "part" else np.float64 for name in COLUMNS}
    return TableSink(dest, kinds, beside, force=force)


def _usual(archive: Archive, own: bool, workers: int, progress: Progress) -> Iterator[Iterable[Rows]]:
    """Stretches of rows spread over an archive; latents go with them if its ``own`` rows are to be scored."""
    found = stretches(archive.spec, _USUAL_VALUES)
    for i, (start, stop) in enumerate(found):
        yield _decoded(archive, start, stop, own, workers)
        progress("usual", (i + 1) / len(found), {})


def _decoded(archive: Archive, start: int, stop: int, latents: bool, workers: int) -> Iterator[Rows]:
    """Rows ``start`` to ``stop`` block by block, with the latents of their payload if there are any and they count."""
    for block, values in archive.decoded(start, stop, workers=workers):
        found = archive.model.latents(block.payload) if latents else None
        kept = slice(max(start - block.start, 0), stop - block.start)
        yield values[kept], None if found is None else found[kept]


def _read(source: Source) -> Iterator[Rows]:
    return ((values, None) for values in source.batches(block_rows(source.spec)))


def _scored(oddity: Oddity, batches: Iterable[Rows]) -> Iterator[Table]:
    costs = Costs(oddity.model)
    for values, latents in batches:
        yield oddity.scores(values, costs(values, latents))


class _Oddest:
    """The ``n`` rows of the highest scores so far."""

    def __init__(self, n: int) -> None:
        self._n, self.total = n, 0
        self._rows = np.zeros(0, np.int64)
        self._table: Table = {}

    def add(self, table: Table) -> None:
        """Offer the next rows."""
        many = len(table["score"])
        rows = np.concatenate([self._rows, np.arange(self.total, self.total + many)])
        joined = {name: np.concatenate([self._table.get(name, column[:0]), column]) for name, column in table.items()}
        order = np.argsort(-joined["score"], kind="stable")[: self._n]
        self._rows, self._table = rows[order], {name: column[order] for name, column in joined.items()}
        self.total += many

    def result(self) -> Anomalies:
        return Anomalies(self._rows, self._table, self.total)
