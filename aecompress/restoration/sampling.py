"""Blocks of a source to learn from, and blocks with what lies before and behind them to work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from aecompress.config import Progress
from aecompress.sources.base import Source
from aecompress.spec import Array, ArraySpec

#: Values of a block, and the most where many rows have to be in one.
_VALUES, _MOST_VALUES = 1 << 18, 1 << 22

#: Blocks that teach, all their values together, and rows that are wanted in one.
_BLOCKS, _SAMPLE_VALUES, _ROWS = 12, 1 << 23, 64


def block_rows(spec: ArraySpec, least: int = 1) -> int:
    """Rows of a block of about 2^18 values, at least ``least``."""
    return max(least, 1, _VALUES // max(spec.row_size, 1))


def teaching_rows(source: Source, rows: int) -> list[tuple[int, int]]:
    """(start, stop) of blocks spread evenly over the first rows of a source."""
    size = max(source.spec.row_size, 1)
    height = max(block_rows(source.spec), min(_ROWS, _MOST_VALUES // size))
    starts = np.arange(0, rows, height)
    many = max(1, min(len(starts), _BLOCKS, _SAMPLE_VALUES // (height * size)))
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, many).astype(int))] if len(starts) else starts
    return [(int(start), int(min(start + height, rows))) for start in chosen]


def read(source: Source, stretches: Iterable[tuple[int, int]], progress: Progress) -> list[Array]:
    """The rows of each stretch (start, stop)."""
    wanted = list(stretches)
    found: list[Array] = []
    for i, (start, stop) in enumerate(wanted):
        found += source.batches(stop - start, start, stop)
        progress("sample", (i + 1) / len(wanted), {})
    return [block for block in found if block.size]


def windows(batches: Iterable[Array], reach: int) -> Iterator[tuple[Array, slice]]:
    """Each batch with up to ``reach`` rows before and behind it, and where in that it is.

    Batches have at least ``reach`` rows, but for the last.
    """
    before: Array | None = None
    current: Array | None = None
    for batch in batches:
        if current is not None:
            yield _window(before, current, batch[:reach])
            joined = current if before is None else np.concatenate([before, current])
            before = joined[len(joined) - min(reach, len(joined)) :]
        current = batch
    if current is not None:
        yield _window(before, current, current[:0])


def _window(before: Array | None, rows: Array, behind: Array) -> tuple[Array, slice]:
    ahead = rows[:0] if before is None else before
    return np.concatenate([ahead, rows, behind]), slice(len(ahead), len(ahead) + len(rows))
