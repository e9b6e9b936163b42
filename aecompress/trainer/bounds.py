"""From a target with a bound to cells."""

from __future__ import annotations

import math

import numpy as np

from aecompress.codec import specials
from aecompress.codec.cells import MOST_WHOLE, Cells, step_for
from aecompress.config import Progress, Target
from aecompress.errors import InputError
from aecompress.lossless import MOST_DECIMALS, MOST_FIGURES, FigureLattice, beyond
from aecompress.quantize import DecimalLattice, exact_lattice
from aecompress.sources.base import Source
from aecompress.spec import Array
from aecompress.trainer.phases import moved
from aecompress.trainer.sampling import axis_ranges, value_range

#: Share of the values that a lattice must hold to be tried, and decimals that floats are tried for.
_MOST = 0.999
_MOST_DIGITS = 9

#: Significant figures that floats are tried for, by their bytes: some less than tell any two apart.
_FIGURES = {2: 3, 4: 6, 8: 14}
_FEW = 100_000  # values that are looked at for that

#: Known values are looked for in columns up to this many, and must be few beside the values: one for so many, and of a
#: source that was not seen whole hardly any may be still unseen.
_COLUMNS, _TIMES, _UNSEEN = 512, 3, 0.002
_APART = 2  # lists for each column may take so many times as much as one list for all

#: Where cells of one width are an answer too, bits of a value that ranks must save by the gaps they close, and bits of
#: the model that a known value takes, about.
_WORTH, _LISTED = 0.05, 8.0

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


def rivals(cells: Cells, samples: list[Array], dtype: np.dtype[np.generic], total: int) -> list[Cells]:
    """Further ways than ``cells`` to hold ``total`` values as closely, each for most values of the samples."""
    if cells.lossless:
        return _lossless_rivals(samples, dtype, total)
    one = cells.step is not None and cells.bound is not None and not cells.step.ndim and dtype.kind != "b"
    known = _known_values(samples, total, cells) if samples and one else []
    return [*known, *moved(cells, samples, total)]


def _lossless_rivals(samples: list[Array], dtype: np.dtype[np.generic], total: int) -> list[Cells]:
    values = np.concatenate([block.reshape(-1) for block in samples]) if samples else np.zeros(0, dtype)
    values = values[specials.ordinary(values, values[:0])]
    if not values.any():
        return []
    point = _fixed_point(values[values != 0])
    found = [Cells("fixed", point=point), *_known_values(samples, total, Cells("bits"))]
    decimal = _decimal(values, dtype)
    return [*found, *([decimal] if decimal else []), *_figures(values[values != 0], dtype, with_decimals=not decimal)]


def _decimal(values: Array, dtype: np.dtype[np.generic]) -> Cells | None:
    """As decimal numbers of few decimals."""
    for digits in range(_MOST_DIGITS + 1):
        lattice = DecimalLattice(dtype, digits)
        if np.mean(lattice.dequantize(lattice.quantize(values)) == values) > _MOST:
            return Cells("decimal", point=(digits,))
    return None


def _figures(values: Array, dtype: np.dtype[np.generic], *, with_decimals: bool) -> list[Cells]:
    """As decimal numbers of few significant figures, or of few decimals that were read from text in a hurry."""
    values = values[:: max(1, len(values) // _FEW)]
    exponent = np.floor(np.log10(np.abs(values.astype(np.float64))))
    least = int(np.quantile(exponent, (1 - _MOST) / 2, method="lower"))
    ways = [(n, n - 1 - least) for n in range(1, _FIGURES[dtype.itemsize] + 1) if 0 <= n - 1 - least <= MOST_DECIMALS]
    decimals = [(MOST_FIGURES, places) for places in range(_MOST_DIGITS + 1)] if with_decimals else []
    firsts = (next((way for way in some if _share(values, *way, False, 2) > _MOST), None) for some in (decimals, ways))
    return [
        Cells("figures", point=(*way, int(_share(values, *way, True, 0) > _share(values, *way, False, 0))))
        for way in firsts
        if way is not None
    ]


def _share(values: Array, figures: int, decimals: int, by_powers: bool, ulps: int) -> float:
    """Share of the values that so many figures and decimals give back, or miss by at most so many ulps."""
    lattice = FigureLattice(values.dtype, figures, decimals, by_powers)
    beyond = lattice.ulps(values, lattice.dequantize(lattice.quantize(values)))
    return float(np.mean(np.abs(beyond) <= ulps))


def _known_values(samples: list[Array], total: int, cells: Cells) -> list[Cells]:
    """As ranks among few different values, where hardly any value can be still unknown.

    With a bound a known value may stand for those around it, and ranks must close gaps that ``cells`` leave.
    """
    columns = samples[0].shape[-1] if samples[0].ndim > 1 and samples[0].shape[-1] <= _COLUMNS else 1
    values = np.concatenate([block.reshape(-1, columns) for block in samples])
    keep = specials.ordinary(values, values[:0, 0])
    seen, bound = int(keep.sum()), float(cells.most or 0.0)
    found = [_lists(values, keep, width) for width in sorted({0.0, bound})]
    found = [lists for lists in found if _are_few(lists, seen, whole=values.size == total)]
    if cells.step is not None:
        step = float(cells.step)
        saved = [sum(_gaps(*known, step) for known in lists) / max(seen, 1) for lists in found]
        worth = [max(_WORTH, _LISTED * sum(len(known) for known, _ in lists) / total) for lists in found]
        best = max(range(len(found)), key=saved.__getitem__, default=0)
        found = [found[best]] if found and saved[best] > worth[best] else []
    return [_known_cells(lists, cells.bound) for lists in found]


def _known_cells(lists: list[tuple[Array, Array]], bound: Array | None) -> Cells:
    patterns = [exact_lattice(known.dtype).quantize(known) for known, _ in lists]
    counts = np.array([len(part) for part in patterns])
    return Cells("known", bound=bound, known=np.concatenate(patterns), counts=counts)


def _lists(values: Array, keep: Array, bound: float) -> list[tuple[Array, Array]]:
    """(known values, their counts) of each column of ``values`` [n, columns], or of all where that is far shorter."""
    shared = middles(values[keep], bound)
    lists = [middles(values[keep[:, i], i], bound) for i in range(values.shape[1])]
    sizes = [len(known) for known, _ in lists]
    return [shared] if len(lists) == 1 or sum(sizes) > _APART * len(shared[0]) or not min(sizes) else lists


def _are_few(lists: list[tuple[Array, Array]], seen: int, *, whole: bool) -> bool:
    """True if there are few known values beside those ``seen``, and hardly any that were not, as Good and Turing have
    it."""
    unseen = 0 if whole else sum(int((counts == 1).sum()) for _, counts in lists)
    return sum(len(known) for known, _ in lists) * _TIMES <= seen and unseen <= _UNSEEN * seen


def middles(values: Array, bound: float) -> tuple[Array, Array]:
    """(values in order that stand for all within ``bound`` of them, in their dtype, and int64 for how many)."""
    known, counts = np.unique(values, return_counts=True)
    if not bound or not len(known):
        return known, counts
    floats = known.dtype.kind == "f"
    apart, edges = beyond(known, known[:1]), [0]
    width = 2 * bound * (1 - 2.0**-20) if floats else int(2 * bound)  # narrower by what middles are rounded by
    while edges[-1] < len(known):
        end = apart[edges[-1]].item() + width
        within = end <= apart[-1].item()
        edges.append(int(np.searchsorted(apart, apart.dtype.type(end), side="right")) if within else len(known))
    starts = np.array(edges[:-1])
    first, last = known[starts], known[np.array(edges[1:]) - 1]
    half = beyond(last, first) / 2 if floats else beyond(last, first) // np.uint64(2)
    return first + half.astype(known.dtype), np.add.reduceat(counts, starts)


def _gaps(known: Array, counts: Array, step: float) -> float:
    """Bits that ranks save beside cells of this width, about: each value has the narrower gap on its two sides."""
    if len(known) < 2:
        return 0.0
    gaps = np.log2(beyond(known[1:], known[:-1])) - math.log2(step)
    return float(counts @ np.minimum(np.append(gaps, gaps[-1]), np.append(gaps[0], gaps)))


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
