"""Rate and distortion, gathered block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aecompress.spec import Array

_TINY = np.finfo(np.float64).tiny


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


@dataclass(frozen=True)
class Similarity:
    """How nearly rows point where their reconstructions point; sums add up (``a + b``).

    Attributes:
        rows: rows compared.
        cosines: sum of their cosines.
    """

    rows: int = 0
    cosines: float = 0.0

    def __add__(self, other: Similarity) -> Similarity:
        return Similarity(self.rows + other.rows, self.cosines + other.cosines)

    @property
    def mean(self) -> float:
        """Mean cosine; 1 for an empty set."""
        return self.cosines / self.rows if self.rows else 1.0


def similarity(original: Array, decoded: Array) -> Similarity:
    """Compare the rows [n, ...] of two arrays of one shape by the angles between them, in float64.

    Values that are not finite in the original, which come back exactly, count in neither. A row without length has a
    cosine of 1 if it came back so, else of 0.
    """
    size = math.prod(original.shape[1:])
    first, second = (rows.reshape(len(rows), size).astype(np.float64) for rows in (original, decoded))
    finite = np.isfinite(first)
    first, second = np.where(finite, first, 0.0), np.where(finite, second, 0.0)
    # by the greatest magnitude first: squares of very large and very small values leave the range of float64
    first, second = (
        rows / np.maximum(np.abs(rows).max(1, initial=0.0, keepdims=True), _TINY) for rows in (first, second)
    )
    lengths = np.sqrt(np.square(first).sum(1) * np.square(second).sum(1))
    cosines = (first * second).sum(1) / np.where(lengths, lengths, 1.0)
    alike = ~first.any(1) & ~second.any(1)
    return Similarity(len(first), float(np.where(alike, 1.0, cosines).sum()))


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
