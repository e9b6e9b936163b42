"""Looking at a source before packing it: sample blocks, fill values, ranges."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from aecompress.codec import specials
from aecompress.codec.cells import span
from aecompress.config import Effort, Progress, Target
from aecompress.sources.base import Source
from aecompress.spec import Array, ArraySpec

#: Values of a block: what is decoded at once, and what a worker holds in memory.
BLOCK_VALUES = 1 << 20

#: Rows of a block that are many, and values that are worth a worker.
_MANY_ROWS, _LEAST_VALUES = 64, 1 << 18

#: Where a set is coded fast, values of a block, those of the smallest, as many blocks as there may be of such, and the
#: rows that each must have.
_FAST_VALUES, _FEWEST_VALUES, _FEWEST_BLOCKS, _FEWEST_ROWS = 1 << 19, 1 << 17, 4, 8

#: Values that candidates are compared on, and the most blocks they come from.
SAMPLE_VALUES = 3 << 20
SAMPLE_BLOCKS = 8

#: Values that the coder which stays is fitted to, and the most blocks: rows of one set differ more than one expects.
LESSON_VALUES = 12 << 20
LESSON_BLOCKS = 16

_STRETCH = 256  # fewer rows than these, one after the other, do not show what they have to do with each other
_DISTINCT = 16  # fewer different values than this are categories, not measurements


def block_rows(spec: ArraySpec) -> int:
    """Rows of a block of about BLOCK_VALUES values, at least one."""
    return max(1, BLOCK_VALUES // max(spec.row_size, 1))


def even_rows(spec: ArraySpec, *, fast: bool = False) -> int:
    """Rows of the blocks of a whole set: as many in each of an even number, so that two workers end together.

    Where rows are few blocks stay as they are: the first rows of one know nothing of those before, and transforms along
    the rows depend on how many they are. What fits in one block stays in it too, for contexts may then learn what is
    where in the set. A set that is coded ``fast`` has smaller blocks, some for several workers even if it is small.
    """
    rows, size = spec.shape[0], spec.row_size
    most, values, least = block_rows(spec), BLOCK_VALUES, _MANY_ROWS
    if fast:
        several = min(rows * size // _FEWEST_VALUES, _FEWEST_BLOCKS) // 2 * 2
        smaller = min(_FAST_VALUES // max(size, 1), -(-rows // max(several, 1)))
        if smaller >= _FEWEST_ROWS:
            most, values, least = smaller, _FAST_VALUES, _FEWEST_ROWS
    blocks = -(-rows // most)
    if blocks < 2 or most < least or most * size < _LEAST_VALUES:
        return most
    fewer, more = (-(-rows // many) for many in (blocks - blocks % 2, blocks + blocks % 2))
    return fewer if 4 * fewer * size <= 5 * values else more


def packed_rows(spec: ArraySpec, target: Target, effort: Effort) -> int:
    """Rows of the blocks that a fit looks at and ``pack`` codes: those of a set under a bound may be fast ones."""
    return even_rows(spec, fast=effort == "fast" and target.bounded)


def sample(source: Source, height: int, values: int, blocks: int, progress: Progress) -> list[Array]:
    """At most so many blocks of ``height`` rows, spread evenly over the source, of about so many values in all."""
    rows = source.spec.shape[0]
    starts = np.arange(0, rows, height)
    block_values = height * max(source.spec.row_size, 1)
    many = max(1, min(len(starts), blocks, values // block_values))
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, many).astype(int))] if len(starts) else starts
    found: list[Array] = []
    for i, start in enumerate(chosen):
        found += source.batches(height, int(start), int(min(start + height, rows)))
        progress("sample", (i + 1) / len(chosen), {})
    return [block for block in found if block.size]


def stretches(block: Array, rows: int, most: int) -> list[Array]:
    """About so many rows of a block, in at most so many stretches evenly apart."""
    if len(block) <= rows:
        return [block]
    many = min(max(rows // _STRETCH, 1), most)
    return [block[at : at + rows // many] for at in range(0, len(block) - len(block) % many, len(block) // many)]


def scan(source: Source, phase: str, progress: Progress) -> Iterator[Array]:
    """All blocks of a source that hold values, as they will be packed, with progress."""
    rows, done = max(source.spec.shape[0], 1), 0
    for block in source.batches(even_rows(source.spec)):
        if block.size:
            yield block
        done += len(block)
        progress(phase, done / rows, {"bytes": done * source.spec.row_bytes})


def value_range(source: Source, fills: Array, progress: Progress) -> tuple[float, float]:
    """Least and greatest finite value of the whole source, fill values left out; (0, 0) if there is none."""
    low, high = math.inf, -math.inf
    for block in scan(source, "range", progress):
        if specials.counted(block, fills).any():
            least, greatest = span(block, fills)
            low, high = min(low, least), max(high, greatest)
    return (low, high) if low <= high else (0.0, 0.0)


def axis_ranges(source: Source, axis: int, fills: Array, progress: Progress) -> tuple[Array, Array]:
    """The same for every index along an inner axis: float64 [n], float64 [n]."""
    size = source.spec.row_shape[axis - 1]
    low, high = np.full(size, math.inf), np.full(size, -math.inf)
    for block in scan(source, "range", progress):
        lines = np.moveaxis(block, axis, 0).reshape(size, -1)
        counted = specials.counted(lines, fills)
        with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is converted
            exact = lines.astype(np.float64)
        low = np.minimum(low, np.where(counted, exact, math.inf).min(1))
        high = np.maximum(high, np.where(counted, exact, -math.inf).max(1))
    empty = low > high
    return np.where(empty, 0.0, low), np.where(empty, 0.0, high)


def fill_values(samples: list[Array], dtype: np.dtype[Any]) -> Array:
    """Extreme values that stand for "no value": repeated exactly, and far away from all others.

    They come back exactly whatever the bound, and do not count towards the range.
    """
    found: list[Any] = []
    if samples and dtype.kind != "b":
        values = np.concatenate([block[np.isfinite(block)].reshape(-1) for block in samples])
        while len(found) < 4 and values.size:
            extreme = next((end for end in (values.max(), values.min()) if _stands_apart(values, end)), None)
            if extreme is None:
                break
            found.append(extreme)
            values = values[values != extreme]
    return np.array(found, dtype)


def _stands_apart(values: Array, end: Any) -> bool:
    others = values[values != end]
    if values.size - others.size < _DISTINCT or others.size < _DISTINCT:
        return False
    low, high, far = float(others.min()), float(others.max()), float(end)
    gap = low - far if far < low else far - high
    return high > low and gap > 4.0 * (high - low) and len(np.unique(others[:100_000])) >= _DISTINCT
