"""From a target with a bound to cells."""

from __future__ import annotations

import math

import numpy as np

from aecompress.codec import specials
from aecompress.codec.cells import MOST_WHOLE, Cells, step_for
from aecompress.config import Progress, Target
from aecompress.errors import InputError
from aecompress.quantize import DecimalLattice
from aecompress.sources.base import Source
from aecompress.spec import Array
from aecompress.trainer.sampling import axis_ranges, value_range

#: Share of the values that a lattice must hold to be tried, and decimals that floats are tried for.
_MOST = 0.999
_MOST_DIGITS = 9

_TINY = float(np.finfo(np.float64).tiny)


def bounded_cells(source: Source, target: Target, samples: list[Array], fills: Array, progress: Progress) -> Cells:
    """The cells of ``max-error``, ``rel-error`` and ``lossless``; one pass over the source where a range is needed.

    Raises InputError if ``target.per`` names no axis of the source.
    """
    dtype = source.spec.native
    value = target.value or 0.0
    if dtype.kind == "b" or value == 0:
        return lossless_cells(dtype)
    if target.kind == "max-error":
        return _cells(value, samples, dtype)
    if target.per is None:
        low, high = value_range(source, fills, progress)
        return _cells(value * (high - low), samples, dtype, max(abs(low), abs(high)))
    return _cells_per(source, value, target.per, samples, fills, progress)


def lossless_cells(dtype: np.dtype[np.generic]) -> Cells:
    """Cells that keep every value."""
    return Cells("bits") if dtype.kind == "f" else Cells("whole", np.asarray(1.0), np.asarray(0.0))


def lossless_rivals(samples: list[Array], dtype: np.dtype[np.generic]) -> list[Cells]:
    """Further ways to hold floats without loss, each for most values of the samples."""
    values = np.concatenate([block.reshape(-1) for block in samples]) if samples else np.zeros(0, dtype)
    values = values[specials.ordinary(values, values[:0])]
    if not values.any():
        return []
    point = _fixed_point(values[values != 0])
    found = [Cells("fixed", point=point)]
    for digits in range(_MOST_DIGITS + 1):
        lattice = DecimalLattice(dtype, digits)
        if np.mean(lattice.dequantize(lattice.quantize(values)) == values) > _MOST:
            return [*found, Cells("decimal", point=(digits,))]
    return found


def _fixed_point(values: Array) -> tuple[int, int]:
    """(exponent, precision) that give most of the values, none of them 0, as many bits as they have."""
    share, exponent = np.frexp(np.abs(values.astype(np.float64)))
    digits = np.finfo(values.dtype).nmant + 1
    mantissa = np.ldexp(share, digits).astype(np.int64)
    _, unused = np.frexp((mantissa & -mantissa).astype(np.float64))
    precision = digits - int(np.quantile(unused - 1, 1 - _MOST, method="lower"))
    top = int(np.quantile(exponent, _MOST, method="lower"))
    return max(top - precision, -1074), precision


def _cells(bound: float, samples: list[Array], dtype: np.dtype[np.generic], size: float = 0.0) -> Cells:
    """One bound for all values; ``size`` is the one value of a set whose range, and so its bound, is 0."""
    if dtype.kind != "f":
        bound = float(math.floor(min(bound, MOST_WHOLE)))
        return Cells("whole", np.asarray(2 * bound + 1), np.asarray(bound))
    if bound == 0 or not math.isfinite(2 * bound):
        return Cells("real", np.asarray(size if bound == 0 and size > 0 else 1.0), np.asarray(0.0))
    step = min((step_for(bound, block) for block in samples), default=2 * bound)
    return Cells("real", np.asarray(max(step, _TINY)), np.asarray(bound))


def _cells_per(
    source: Source, share: float, axis: int, samples: list[Array], fills: Array, progress: Progress
) -> Cells:
    """A bound for every index along an axis, of its own range; rows' bounds are worked out block by block."""
    axes = len(source.spec.row_shape) + 1
    if not -axes <= axis < axes:
        raise InputError(f"There is no axis {axis} in {source.spec.describe()}; its axes are 0 to {axes - 1}.")
    axis %= axes
    dtype = source.spec.native
    if axis == 0:
        return Cells("real" if dtype.kind == "f" else "whole", axis=0, relative=share)
    low, high = axis_ranges(source, axis, fills, progress)
    parts = []
    for i, (least, greatest) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        lines = [np.take(block, i, axis) for block in samples]
        size = max(abs(least), abs(greatest))
        parts.append(_cells(share * (greatest - least), lines, dtype, size))
    step = np.array([part.step for part in parts], np.float64)
    bound = np.array([part.bound for part in parts], np.float64)
    return Cells(parts[0].kind if parts else "whole", step, bound, axis=axis)
