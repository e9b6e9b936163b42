"""Where the cells of each column should lie, so that the fewest of them hold most of its values.

A cell with 0 in its middle is half empty where nothing is negative, and a column that hardly varies is cut in two where
an edge happens to lie in it. The middles may lie anywhere: a phase for all columns, or one for each, moves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aecompress.codec import specials
from aecompress.codec.cells import MOST_PHASES, Cells
from aecompress.quantize import LIMIT, PHASES
from aecompress.spec import Array

#: Values that are looked at, and steps so narrow that they cannot be cut into parts.
_VALUES, _NARROW = 1_000_000, 1e-290

_TINY = 2.0**-20  # parts of a phase

#: Bits that a phase of a column must save, for it takes some itself, and the share of all that phases must promise.
_LEAST_BITS, _LEAST_SHARE = 8.0, 0.01

#: One phase for all is enough where it saves this share of what one for each column does.
_ENOUGH = 0.9


def moved(cells: Cells, samples: Sequence[Array], total: int) -> list[Cells]:
    """Cells of the same widths in better places for a set of ``total`` values, if columns of samples promise that.

    What counts are the bits of columns whose values were drawn at random, each from its own histogram.
    """
    if cells.step is None or not cells.most or not samples or cells.axis not in (None, samples[0].ndim - 1):
        return []
    if cells.step.min() < _NARROW:
        return []
    columns, keep = _columns(samples)
    if not keep.any():
        return []
    bits = np.empty((PHASES, columns.shape[1]))
    for phase in range(PHASES):
        lattice = replace(cells, phase=np.array([phase])).lattice(columns.dtype, columns.shape, None)
        bits[phase] = _bits(np.where(keep, lattice.quantize(columns), LIMIT))
    bits *= total / columns.size
    best = np.where(bits[0] - bits.min(0) > _LEAST_BITS, bits.argmin(0), 0)
    one = np.array([bits.sum(1).argmin()])
    plain, by_one, by_each = (float(bits[phases, np.arange(len(best))].sum()) for phases in (0, one, best))
    saved = {by_one: one}
    if plain - by_one < _ENOUGH * (plain - by_each):
        saved[by_each] = best
    return [replace(cells, phase=phases) for least, phases in saved.items() if plain - least > _LEAST_SHARE * plain]


def carried(known: Cells, cells: Cells, samples: Sequence[Array]) -> Cells:
    """The cells with the phases of known ones, which a coder was fitted to.

    Where columns have phases of their own and cells now have another width, the cell in the middle of a column stays
    where it was: a column far from 0 would otherwise lie elsewhere in its cells.
    """
    if known.phase is None or len(known.phase) == 1 or known.step is None or cells.step is None or not samples:
        return replace(cells, phase=known.phase)
    if np.array_equal(known.step, cells.step):
        return replace(cells, phase=known.phase)
    columns, keep = _columns(samples)
    found = [np.median(column[kept]) if kept.any() else 0.0 for column, kept in zip(columns.T, keep.T, strict=True)]
    centres = np.asarray(found).astype(columns.dtype)[None]
    lattice = known.lattice(centres.dtype, centres.shape, None)
    middles = lattice.dequantize(lattice.quantize(centres))[0].astype(np.float64)
    parts = middles / np.broadcast_to(cells.step, middles.shape) * PHASES
    # whole cells are moved by phases rounded down
    phase = np.ceil(parts - _TINY) if cells.kind == "whole" else np.rint(parts)
    return replace(cells, phase=np.mod(phase, PHASES).astype(np.int64))


def _columns(samples: Sequence[Array]) -> tuple[Array, Array]:
    """(values [n, columns], bool of the same shape: True where a value is ordinary) of rows spread over the samples."""
    shape = samples[0].shape
    width = shape[-1] if len(shape) > 1 and shape[-1] <= MOST_PHASES else 1
    rows = [block.reshape(-1, width) for block in samples]
    apart = max(1, sum(part.size for part in rows) // _VALUES)
    columns = np.concatenate([part[::apart] for part in rows])
    return columns, specials.ordinary(columns, columns[:0, 0])


def _bits(q: Array) -> Array:
    """float64 [columns]: of the integers [n, columns], each from the histogram of its column, which has its price."""
    many = len(q)
    ranked = np.sort(q.T, axis=1)
    first = np.ones(ranked.shape, bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    starts = np.flatnonzero(first)
    counts = np.diff(starts, append=ranked.size)
    kinds = first.sum(1)
    shared = np.add.reduceat(counts * np.log2(counts), np.cumsum(kinds) - kinds)
    return np.asarray(many * np.log2(many) - shared + (kinds - 1) * 0.5 * np.log2(many))
