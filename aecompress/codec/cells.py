"""From the target to the lattice of a block: which bound holds where, and how wide the cells are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from aecompress.codec import specials
from aecompress.entropy import integers, record
from aecompress.errors import CorruptError
from aecompress.lossless import MOST_DECIMALS, MOST_FIGURES, FigureLattice, KnownLattice
from aecompress.quantize import (
    PHASES,
    BitLattice,
    DecimalLattice,
    FixedLattice,
    FloatLattice,
    IntegerLattice,
    Lattice,
    exact_lattice,
)
from aecompress.spec import Array

#: Greatest bound of integers: cells of twice that are odd and whole in float64 and far below the ends of int64.
MOST_WHOLE = 2.0**52

#: Columns that may have phases.
MOST_PHASES = 1 << 20

# What the point of lossless floats may be, lowest and highest.
_POINTS: dict[str, tuple[tuple[int, int], ...]] = {
    "bits": (),
    "fixed": ((-1074, 1023), (1, 53)),
    "decimal": ((0, MOST_DECIMALS),),
    "figures": ((1, MOST_FIGURES), (0, MOST_DECIMALS), (0, 1)),
    "known": (),
}
_LOSSLESS: dict[str, Callable[..., Lattice]] = {
    "bits": BitLattice,
    "fixed": FixedLattice,
    "decimal": DecimalLattice,
    "figures": FigureLattice,
}


@dataclass(frozen=True)
class Cells:
    """How values of a set are cut into cells.

    Attributes:
        kind: ``real`` (FloatLattice), ``whole`` (IntegerLattice) or, of few different values, ``known`` (KnownLattice);
            floats without loss are ``bits`` (BitLattice), ``fixed`` (FixedLattice), ``decimal`` (DecimalLattice),
            ``figures`` (FigureLattice) or ``known``.
        step: width of ``real`` and ``whole`` cells, float64 [] or [n] along ``axis``; None where rows have widths of
            their own.
        bound: greatest error allowed, float64, shaped as ``step``; infinite where there is none.
        axis: the axis of the source that ``step`` runs along; None for one width.
        relative: for rows with bounds of their own, the bound as a share of each row's range.
        point: where the point lies: (exponent, precision) if ``fixed``, (digits,) if ``decimal``, (figures, decimals,
            1 if by powers) if ``figures``.
        phase: of ``real`` and ``whole`` cells, how far their middles lie above whole steps, in 1/PHASES of one: int64
            [n] for each index of the last axis, or [1] for all; None where 0 is the middle of a cell.
        known, counts: of ``known`` the values that there are: int64 [sum of counts] bit patterns in the order of the
            values, and int64 [n] how many for each index of the last axis, or [1] for all.
    """

    kind: Literal["real", "whole", "bits", "fixed", "decimal", "figures", "known"]
    step: Array | None = None
    bound: Array | None = None
    axis: int | None = None
    relative: float | None = None
    point: tuple[int, ...] = ()
    known: Array | None = None
    counts: Array | None = None
    phase: Array | None = None

    @property
    def lossless(self) -> bool:
        """True if floats come back bit for bit."""
        return self.kind in _POINTS and self.bound is None

    def lattice(self, dtype: np.dtype[Any], shape: tuple[int, ...], steps: Array | None) -> Lattice:
        """The lattice of a block of ``shape``; ``steps`` [rows] as stored with it, if rows have their own."""
        if self.known is not None and self.counts is not None:
            if len(self.counts) not in (1, shape[-1]):
                raise CorruptError("The model knows values of another number of columns; the file is damaged.")
            return KnownLattice(dtype, exact_lattice(dtype).dequantize(self.known), self.counts)
        if self.kind in _LOSSLESS:
            return _LOSSLESS[self.kind](dtype, *self.point)
        if self.phase is not None and len(self.phase) not in (1, shape[-1]):
            raise CorruptError("The model's cells have phases of another number of columns; the file is damaged.")
        step = self._spread(self.step if steps is None else steps, len(shape))
        if self.kind == "whole":
            return IntegerLattice(dtype, np.rint(step).astype(np.int64), self.phase)
        return FloatLattice(dtype, step, self.phase)

    def finer(self, dtype: np.dtype[Any], shape: tuple[int, ...], steps: Array | None, parts: int) -> FloatLattice:
        """The lattice whose cells are a whole ``parts``-th of those of ``lattice``, and none of which is moved.

        Raises CorruptError if the cells have phases, which no pack would have written with a finer lattice.
        """
        if self.phase is not None:
            raise CorruptError("A block needs a finer lattice than the model's cells allow; the archive is damaged.")
        return FloatLattice(dtype, self._spread(self.step if steps is None else steps, len(shape)) / parts)

    def bounds(self, values: Array, fills: Array) -> tuple[Array, Array | None]:
        """(bound that broadcasts over ``values`` [rows, ...], steps float64 [rows] to store with the block or None)."""
        if self.lossless:
            return np.asarray(0.0), None
        if self.relative is None:
            return self._spread(self.bound, values.ndim), None
        rows = values.reshape(len(values), math.prod(values.shape[1:]))
        bounds, steps = resolve(rows, self.relative, fills)
        return self._spread(bounds, values.ndim), steps

    @property
    def most(self) -> float | None:
        """The greatest error allowed anywhere; None if there is no bound or rows have bounds of their own."""
        if self.lossless:
            return 0.0
        return None if self.bound is None or not np.isfinite(self.bound).all() else float(self.bound.max(initial=0.0))

    def _spread(self, numbers: Array | None, ndim: int) -> Array:
        if numbers is None:
            return np.asarray(math.inf)
        if self.axis is None:
            return numbers
        return numbers.reshape(-1, *[1] * (ndim - 1 - self.axis))

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """(JSON, arrays) for the model file."""
        phase = None if self.phase is None else np.frombuffer(integers.encode(self.phase), np.uint8)
        arrays = {"step": self.step, "bound": self.bound, "known": self._packed(), "phase": phase}
        head: dict[str, Any] = {"kind": self.kind, "axis": self.axis, "relative": self.relative}
        if self.point:
            head["point"] = list(self.point)
        return head, {name: array for name, array in arrays.items() if array is not None}

    def _packed(self) -> Array | None:
        """The values that are known, by the steps between them."""
        if self.known is None or self.counts is None:
            return None
        steps = np.diff(self.known, prepend=0)
        return np.frombuffer(record.pack([self.counts, steps]), np.uint8)

    @classmethod
    def from_parts(cls, head: dict[str, Any], arrays: dict[str, Array]) -> Cells:
        """Raises CorruptError for widths that no pack would have written."""
        step, bound = arrays.get("step"), arrays.get("bound")
        point = tuple(int(n) for n in head.get("point", ()))
        known, counts = _unpacked(arrays["known"]) if "known" in arrays else (None, None)
        phase = integers.decode(arrays["phase"].tobytes(), most=MOST_PHASES) if "phase" in arrays else None
        cells = cls(head["kind"], step, bound, head["axis"], head["relative"], point, known, counts, phase)
        if cells.kind not in ("real", "whole", *_POINTS) or (step is None) != (cells.kind in _POINTS or bound is None):
            raise CorruptError("The model's cells are of an impossible kind; the file is damaged.")
        if step is not None and not (step.dtype == np.float64 and bool((np.isfinite(step) & (step > 0)).all())):
            raise CorruptError("The model's cells have an impossible width; the file is damaged.")
        if (known is not None) != (cells.kind == "known"):
            raise CorruptError("The model's cells lack the values that are known, or should have none; it is damaged.")
        if phase is not None and (step is None or phase.ndim != 1 or not ((phase >= 0) & (phase < PHASES)).all()):
            raise CorruptError("The model's cells have impossible phases; the file is damaged.")
        ends = _POINTS.get(cells.kind, ())
        if len(point) != len(ends) or any(not low <= n <= high for n, (low, high) in zip(point, ends, strict=True)):
            raise CorruptError("The model's cells have their point in an impossible place; the file is damaged.")
        return cells


def _unpacked(data: Array) -> tuple[Array, Array]:
    """(known, counts) of the values that a model knows. Raises CorruptError unless they ascend."""
    counts, steps = record.unpack(data.tobytes())
    if counts.ndim != 1 or steps.ndim != 1 or not len(counts) or counts.min() < 1 or counts.sum() != len(steps):
        raise CorruptError("The model's known values do not fit their number; the file is damaged.")
    known = np.cumsum(steps)  # wraps around, as the steps did
    rising = known[1:] > known[:-1]
    rising[np.cumsum(counts)[:-1] - 1] = True
    if not rising.all():
        raise CorruptError("The model's known values are out of order; the file is damaged.")
    return known, counts


def resolve(rows: Array, share: float, fills: Array) -> tuple[Array, Array]:
    """(bounds, steps), float64 [n] each, for ``rows`` [n, m] whose bounds are ``share`` of their ranges.

    Where all values of a row are equal its bound is 0, and a cell as wide as the value itself gives it back exactly.
    """
    low, high = _spans(rows, fills)
    with np.errstate(over="ignore"):
        bounds = share * (high - low)
        if rows.dtype.kind != "f":
            bounds = np.floor(np.minimum(bounds, MOST_WHOLE))
            return bounds, 2.0 * bounds + 1.0
        kept = (bounds > 0) & np.isfinite(2.0 * bounds)
        widest = np.maximum(_widest(bounds, _typical(rows, fills)), np.finfo(np.float64).tiny)
    size = np.maximum(np.abs(low), np.abs(high))
    return np.where(kept, bounds, 0.0), np.where(kept, widest, np.where(size > 0, size, 1.0))


def _spans(rows: Array, fills: Array) -> tuple[Array, Array]:
    """``span`` of each row: float64 [n], float64 [n]."""
    counted = specials.counted(rows, fills)
    ends = np.finfo(rows.dtype) if rows.dtype.kind == "f" else np.iinfo(rows.dtype)
    low = rows.min(1, where=counted, initial=ends.max).astype(np.float64)
    high = rows.max(1, where=counted, initial=ends.min).astype(np.float64)
    some = counted.any(1)
    return np.where(some, low, 0.0), np.where(some, high, 0.0)


def _typical(rows: Array, fills: Array) -> Array:
    """[n], in the dtype of ``rows`` [n, m]: what 99.9 % of the ordinary magnitudes of each row do not exceed."""
    rows = rows[:, :: max(1, rows.shape[1] // 100_000)]
    keep = specials.ordinary(rows, fills)
    if not rows.size:
        return np.zeros(len(rows), rows.dtype)
    place = (np.maximum(keep.sum(1) - 1, 0) * 0.999).astype(np.int64)
    size = np.partition(np.where(keep, np.abs(rows), np.inf), np.unique(place), axis=1)
    chosen = np.take_along_axis(size, place[:, None], 1)[:, 0]
    return np.where(keep.any(1), chosen, rows.dtype.type(0))


def span(values: Array, fills: Array) -> tuple[float, float]:
    """Least and greatest value that is finite and no fill value; (0, 0) if there is none."""
    values = values[specials.counted(values, fills)]
    if not values.size:
        return 0.0, 0.0
    return float(values.min()), float(values.max())


def step_for(bound: float, values: Array) -> float:
    """Widest step that keeps ``bound`` once x_hat is rounded to the dtype of ``values``, as much as most need."""
    return float(_widest(np.asarray(bound), _typical(values.reshape(1, -1), values[:0]))[0])


def _widest(bounds: Array, typical: Array) -> Array:
    """Widest steps that keep ``bounds`` once values of magnitude ``typical`` are rounded to their dtype.

    Rounding moves x_hat by up to half a unit in the last place (ulp), so each side of the cell gives that much up: as
    much as most values need, for the few largest may be kept aside. Below an ulp no step helps.
    """
    below = np.nextafter(np.finfo(typical.dtype).max, typical.dtype.type(0))  # the last value has no next one
    ulp = np.spacing(np.minimum(typical, below)).astype(np.float64)
    return np.where(bounds > ulp, 2.0 * (bounds - 0.5 * ulp), 2.0 * bounds)


def encode_steps(steps: Array | None) -> dict[str, bytes]:
    """Stream of the rows' own cell widths: their float64 patterns."""
    return {} if steps is None else {"steps": integers.encode(steps.view(np.int64))}


def decode_steps(streams: dict[str, bytes], rows: int) -> Array | None:
    """Undo ``encode_steps``."""
    if "steps" not in streams:
        return None
    steps = integers.decode(streams["steps"], most=rows).view(np.float64)
    if steps.shape != (rows,) or not bool((np.isfinite(steps) & (steps > 0)).all()):
        raise CorruptError("A block's cells have an impossible width; the archive is damaged.")
    return steps
