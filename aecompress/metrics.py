"""Rate and distortion, gathered block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aecompress.spec import Array


@dataclass(frozen=True)
class Distortion:
    """Error between rows and their reconstructions, over the values that are finite in the original.

    Sums add up (``a + b``), so a whole set is the sum of its blocks.

    Attributes:
        count: finite values compared.
        max_abs: greatest absolute error, in float64.
        sse: sum of squared errors.
        low, high: least and greatest finite original value (+inf, -inf when there is none).
    """

    count: int = 0
    max_abs: float = 0.0
    sse: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def __add__(self, other: Distortion) -> Distortion:
        return Distortion(
            self.count + other.count,
            max(self.max_abs, other.max_abs),
            self.sse + other.sse,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def rmse(self) -> float:
        """Root mean squared error; 0 for an empty set."""
        return math.sqrt(self.sse / self.count) if self.count else 0.0

    @property
    def psnr(self) -> float | None:
        """20 log10((max - min) / rmse) in dB; None when the error or the range is 0 or too large for float64."""
        span = self.high - self.low
        if not (self.count and 0.0 < self.rmse < math.inf and 0.0 < span < math.inf):
            return None
        return 20.0 * (math.log10(span) - math.log10(self.rmse))


def distortion(original: Array, decoded: Array) -> Distortion:
    """Compare two arrays of one shape and dtype, value by value.

    Integers of 64 bits are compared exactly; everything else in float64.
    """
    if original.size == 0:
        return Distortion()
    if original.dtype.kind == "f":
        finite = np.isfinite(original)
        if not finite.all():
            original, decoded = original[finite], decoded[finite]
            if original.size == 0:
                return Distortion()
    if original.dtype.kind in "iu" and original.dtype.itemsize == 8:
        error = np.where(original > decoded, original - decoded, decoded - original).view(np.uint64).astype(np.float64)
    else:
        with np.errstate(over="ignore"):
            error = np.abs(original.astype(np.float64) - decoded.astype(np.float64))
    with np.errstate(over="ignore"):
        sse = float(np.square(error).sum())
    return Distortion(original.size, float(error.max()), sse, float(original.min()), float(original.max()))
