"""Centre and scale: rows of any range become numbers of about one.

    forward   (x - centre) / scale        inverse   x * scale + centre

Scales are powers of two, so scaling alone never rounds. An archive holds no normaliser: the network's integer
synthesis has ``centre`` and ``scale`` folded into its offset and unit, and ``inverse`` serves the float side only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aecompress.errors import ModelError
from aecompress.spec import Array

Float64s = npt.NDArray[np.float64]

#: Features get scales of their own when the ranges at the 10th and 90th percentile differ by more than this:
#: under one scale the small ones would drown in the noise of any PSNR below 20 log10(1000) = 60 dB.
_WIDE_SPREAD = 1000.0


@dataclass(frozen=True)
class Moments:
    """Count, mean, variance and range of every feature, gathered batch by batch.

    Values are held in units of ``2**exponent``, a power of two at or above the greatest magnitude seen, so neither
    1e300 nor 1e-300 over- or underflows when squared.

    Attributes:
        exponent: binary exponent of the unit.
        count: rows seen.
        mean, spread, low, high: float64 [D]; ``spread`` is the sum of squared deviations from the mean.
    """

    exponent: int
    count: int
    mean: Float64s
    spread: Float64s
    low: Float64s
    high: Float64s

    @classmethod
    def empty(cls, row_size: int) -> Moments:
        zeros = np.zeros(row_size)
        return cls(-1100, 0, zeros, zeros, np.full(row_size, np.inf), np.full(row_size, -np.inf))

    @classmethod
    def of(cls, rows: Array) -> Moments:
        """Moments of one batch of at least one row, finite float64 [n, D]."""
        exponent = int(np.frexp(np.abs(rows).max(initial=0.0))[1])
        scaled = np.ldexp(rows, -exponent)
        mean = scaled.mean(axis=0)
        return cls(
            exponent,
            len(rows),
            mean,
            np.square(scaled - mean).sum(axis=0),
            scaled.min(axis=0),
            scaled.max(axis=0),
        )

    def __add__(self, other: Moments) -> Moments:
        """Pool two sets of rows (Chan, Golub and LeVeque 1979, eq. 2.1)."""
        exponent, count = max(self.exponent, other.exponent), self.count + other.count
        if not count:
            return self
        a, b = self._in_units_of(exponent), other._in_units_of(exponent)
        delta = b.mean - a.mean
        return Moments(
            exponent,
            count,
            a.mean + delta * (b.count / count),
            a.spread + b.spread + np.square(delta) * (a.count * b.count / count),
            np.minimum(a.low, b.low),
            np.maximum(a.high, b.high),
        )

    def _in_units_of(self, exponent: int) -> Moments:
        shift = self.exponent - exponent
        return Moments(
            exponent,
            self.count,
            np.ldexp(self.mean, shift),
            np.ldexp(self.spread, 2 * shift),
            np.ldexp(self.low, shift),
            np.ldexp(self.high, shift),
        )

    @property
    def deviation(self) -> Float64s:
        """Standard deviation of every feature [D], in units of ``2**exponent``; 0 without rows."""
        return np.sqrt(self.spread / max(self.count, 1))


def measure(batches: Iterable[Array], row_size: int) -> Moments:
    """Moments of all rows of ``batches`` (finite float64 [n, D], any n), in one pass and constant memory."""
    total = Moments.empty(row_size)
    for rows in batches:
        if len(rows):
            total = total + Moments.of(rows)
    return total


@dataclass(frozen=True)
class Normalizer:
    """An affine map of every feature, and back.

    Attributes:
        centre: float64 [D].
        scale: float64 [1] (one for all features) or [D]; powers of two.
    """

    centre: Float64s
    scale: Float64s

    def __post_init__(self) -> None:
        if self.centre.ndim != 1 or self.scale.shape not in ((1,), self.centre.shape):
            raise ModelError("The normaliser's centre and scale do not belong together; fit the model again.")
        if not np.isfinite(self.centre).all() or not _are_powers_of_two(self.scale):
            raise ModelError("The normaliser holds values that no fit can give; fit the model again.")

    def forward(self, rows: Array) -> Float64s:
        """Data units to numbers of about one: float64 [n, D] to float64 [n, D]."""
        scaled: Float64s = (rows - self.centre) / self.scale
        return scaled

    def inverse(self, rows: Array) -> Float64s:
        """Numbers of about one back to data units: float64 [n, D] to float64 [n, D]."""
        restored: Float64s = rows * self.scale + self.centre
        return restored

    @property
    def typical_scale(self) -> float:
        """Root mean square of the scales: a mean squared error e after ``forward`` is e times its square before."""
        peak = float(self.scale.max())
        return peak * math.sqrt(float(np.square(self.scale / peak).mean()))

    def tensors(self) -> dict[str, Array]:
        return {"centre": self.centre, "scale": self.scale}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Normalizer:
        """The reverse of ``tensors``; raises ModelError if they are not a normaliser's."""
        try:
            return cls(tensors["centre"].astype(np.float64), tensors["scale"].astype(np.float64))
        except KeyError as err:
            raise ModelError(f"The model lacks the normaliser's {err}; fit it again.") from err

    @classmethod
    def standard(cls, moments: Moments, weights: Float64s | None = None) -> Normalizer:
        """Mean 0 and deviation of about 1, by one scale, or one per feature where their ranges differ widely.

        One scale keeps squared errors comparable between features, which is what RMSE and PSNR weigh. With ``weights``
        [D] of the squared errors, of mean 1, each feature counts ``emphasis`` times as much. Features that never change
        keep scale 1 (of their own) and go to 0.
        """
        deviation = moments.deviation
        if not _widely_spread(moments.high - moments.low):
            deviation = np.sqrt(np.square(deviation).mean(keepdims=True))
        if weights is not None:
            deviation = deviation / emphasis(weights)
        return cls(np.ldexp(moments.mean, moments.exponent), _powers_of_two(deviation, moments.exponent))

    @classmethod
    def unit_range(cls, moments: Moments) -> Normalizer:
        """Everything into [0, 1] by one offset and one scale, as networks with a sigmoid output want it."""
        low, high = (float(moments.low.min()), float(moments.high.max())) if moments.count else (0.0, 0.0)
        scale = _powers_of_two(np.array([high - low]), moments.exponent)
        return cls(np.full(len(moments.mean), math.ldexp(low, moments.exponent)), scale)


def emphasis(weights: Float64s) -> Float64s:
    """The powers of two [D] nearest to the roots of ``weights`` [D]: scales stay powers of two when divided by them."""
    return np.exp2(np.rint(np.log2(weights) / 2))


def _widely_spread(ranges: Float64s) -> bool:
    """True if the ranges of the features that change at all are of very different size."""
    changing = ranges[np.isfinite(ranges) & (ranges > 0)]
    if not changing.size:
        return False
    small, large = np.quantile(changing, [0.1, 0.9])
    return bool(large > _WIDE_SPREAD * small)


def _powers_of_two(sizes: Float64s, exponent: int) -> Float64s:
    """The least powers of two not below ``sizes * 2**exponent``; 1 where the size is 0."""
    mantissa, power = np.frexp(sizes)
    power = np.where(mantissa == 0.5, power - 1, power) + exponent
    # Far enough from both ends of float64 for the finer units of synthesis to exist, too.
    return np.ldexp(1.0, np.where(sizes > 0, np.clip(power, -970, 1020), 0))


def _are_powers_of_two(values: Float64s) -> bool:
    return bool(np.isfinite(values).all() and (values > 0).all() and (np.frexp(values)[0] == 0.5).all())
