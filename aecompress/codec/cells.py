"""From the target to the lattice of a block: which bound holds where, and how wide the cells are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from aecompress.codec import specials
from aecompress.entropy import integers
from aecompress.errors import CorruptError
from aecompress.quantize import BitLattice, FloatLattice, IntegerLattice, Lattice
from aecompress.spec import Array


@dataclass(frozen=True)
class Cells:
    """How values of a set are cut into cells.

    Attributes:
        kind: ``real`` (FloatLattice), ``whole`` (IntegerLattice) or ``bits`` (BitLattice).
        step: cell width, float64 [] or [n] along ``axis``; None where rows have widths of their own.
        bound: greatest error allowed, float64, shaped as ``step``; infinite where there is none.
        axis: the axis of the source that ``step`` runs along; None for one width.
        relative: for rows with bounds of their own, the bound as a share of each row's range.
    """

    kind: Literal["real", "whole", "bits"]
    step: Array | None = None
    bound: Array | None = None
    axis: int | None = None
    relative: float | None = None

    def lattice(self, dtype: np.dtype[Any], shape: tuple[int, ...], steps: Array | None) -> Lattice:
        """The lattice of a block of ``shape``; ``steps`` [rows] as stored with it, if rows have their own."""
        if self.kind == "bits":
            return BitLattice(dtype)
        step = self._spread(self.step if steps is None else steps, len(shape))
        if self.kind == "whole":
            return IntegerLattice(dtype, np.rint(step).astype(np.int64))
        return FloatLattice(dtype, step)

    def bounds(self, values: Array, fills: Array) -> tuple[Array, Array | None]:
        """(bound that broadcasts over ``values`` [rows, ...], steps float64 [rows] to store with the block or None)."""
        if self.kind == "bits":
            return np.asarray(0.0), None
        if self.relative is None:
            return self._spread(self.bound, values.ndim), None
        bounds, steps = np.zeros(len(values)), np.ones(len(values))
        for i, row in enumerate(values):
            bounds[i], steps[i] = resolve(row, self.relative, fills)
        return self._spread(bounds, values.ndim), steps

    @property
    def most(self) -> float | None:
        """The greatest error allowed anywhere; None if there is no bound or rows have bounds of their own."""
        if self.kind == "bits":
            return 0.0
        return None if self.bound is None or not np.isfinite(self.bound).all() else float(self.bound.max())

    def _spread(self, numbers: Array | None, ndim: int) -> Array:
        if numbers is None:
            return np.asarray(math.inf)
        if self.axis is None:
            return numbers
        return numbers.reshape(-1, *[1] * (ndim - 1 - self.axis))

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """(JSON, arrays) for the model file."""
        arrays = {"step": self.step, "bound": self.bound}
        head = {"kind": self.kind, "axis": self.axis, "relative": self.relative}
        return head, {name: array for name, array in arrays.items() if array is not None}

    @classmethod
    def from_parts(cls, head: dict[str, Any], arrays: dict[str, Array]) -> Cells:
        """Raises CorruptError for widths that no pack would have written."""
        step, bound = arrays.get("step"), arrays.get("bound")
        cells = cls(head["kind"], step, bound, head["axis"], head["relative"])
        if cells.kind not in ("real", "whole", "bits") or (step is None) != (cells.kind == "bits" or bound is None):
            raise CorruptError("The model's cells are of an impossible kind; the file is damaged.")
        if step is not None and not (step.dtype == np.float64 and bool((np.isfinite(step) & (step > 0)).all())):
            raise CorruptError("The model's cells have an impossible width; the file is damaged.")
        return cells


def resolve(values: Array, share: float, fills: Array) -> tuple[float, float]:
    """(bound, step) for values whose bound is ``share`` of their range.

    Where all values are equal the bound is 0, and a cell as wide as the value itself gives it back exactly.
    """
    low, high = span(values, fills)
    bound = share * (high - low)
    if values.dtype.kind != "f":
        bound = float(math.floor(bound))
        return bound, 2.0 * bound + 1.0
    if bound > 0 and math.isfinite(bound):
        return bound, max(float(step_for(bound, values)), np.finfo(np.float64).tiny)
    size = max(abs(low), abs(high))
    return 0.0, size if math.isfinite(size) and size > 0 else 1.0


def span(values: Array, fills: Array) -> tuple[float, float]:
    """Least and greatest value that is finite and no fill value; (0, 0) if there is none."""
    values = values[specials.counted(values, fills)]
    if not values.size:
        return 0.0, 0.0
    return float(values.min()), float(values.max())


def step_for(bound: float, values: Array) -> float:
    """Widest step that keeps ``bound`` once x_hat is rounded to the dtype of ``values``.

    Rounding moves x_hat by up to half a unit in the last place (ulp), so each side of the cell gives that much up: as
    much as most values need, for the few largest may be kept aside. Below an ulp no step helps.
    """
    size = np.abs(values[specials.ordinary(values, values[:0])])
    if not size.size:
        return 2.0 * bound
    typical = np.quantile(size.reshape(-1)[:: max(1, size.size // 100_000)], 0.999, method="lower")
    ulp = float(np.spacing(typical.astype(values.dtype)))
    return 2.0 * (bound - 0.5 * ulp) if bound > ulp else 2.0 * bound


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
