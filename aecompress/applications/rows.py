"""Stretches of rows to learn from, spread evenly over all."""

from __future__ import annotations

import numpy as np

from aecompress.config import Progress
from aecompress.sources.base import Source
from aecompress.spec import Array, ArraySpec
from aecompress.trainer import block_rows

#: Values that fits look at, from stretches spread over the rows; in memory at once.
FIT_VALUES = 1 << 24
_STRETCHES = 16


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
