"""The wavelet transform of smooth fields, in integers: CDF 9/7 by lifting along the last two axes.

    forward  X ─► lifting, level by level ─► coefficients ─► quantize ─► c
    inverse  c ─► dequantize ─► lifting backwards ─► X_hat

Values are fixed-point integers with FRACTION bits below the cell of the bound. Both directions use the same integer
lifting steps (Daubechies and Sweldens 1998; rounded as by Calderbank et al. 1998), so the inverse gives the same
integers on every machine. Each band's step is one common step over the norm of the band's synthesis basis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aecompress.errors import CorruptError
from aecompress.spec import Array

#: Bits below the point of transformed values, in units of a cell.
FRACTION = 8

#: A cell of the bound in transformed values.
CELL = 1 << FRACTION

#: Most levels of the transform.
MOST_LEVELS = 8

#: Shorter axes than this are not split further.
_SHORTEST = 8

_SHIFT = 14
# alpha, beta, gamma, delta of CDF 9/7, in 1/2^14
_LIFTS = (-25987, -868, 14466, 7266)

#: Share of a step at which a coefficient is rounded up, 1 - dead zone.
_ROUNDING = 0.42


@dataclass(frozen=True)
class Wavelet:
    """A transform with its quantiser.

    Attributes:
        levels: how often the low band is split again.
        steps: int64 [levels + 1, 4] quantisation step of each band, in 1/2^FRACTION: [level, 0] is unused but for the
            lowest band [levels, 0]; 1, 2, 3 are the bands high in x, in y and in both.
    """

    levels: int
    steps: Array

    @classmethod
    def checked(cls, levels: int, steps: Array) -> Wavelet:
        """A stored transform. Raises CorruptError if its numbers are impossible."""
        if not (
            0 <= levels <= MOST_LEVELS and steps.shape == (levels + 1, 4) and 1 <= steps.min() <= steps.max() < 2**30
        ):
            raise CorruptError("The model's wavelet has impossible steps; the file is damaged.")
        return cls(levels, steps)

    def forward(self, values: Array) -> Array:
        """Quantised coefficients int64 [..., H, W] of fixed-point values of the same shape."""
        out = values.astype(np.int64)
        for height, width in _sizes(values.shape, self.levels):
            low = out[..., :height, :width]
            low[...] = _split(_split(low, -1), -2)
        return _rounded(out, self._plane(values.shape))

    def inverse(self, coefficients: Array) -> Array:
        """Fixed-point values int64 of quantised coefficients."""
        out = coefficients * self._plane(coefficients.shape)
        for height, width in reversed(_sizes(coefficients.shape, self.levels)):
            low = out[..., :height, :width]
            low[...] = _merge(_merge(low, -2), -1)
        return out

    def _plane(self, shape: tuple[int, ...]) -> Array:
        """Step of every place of a plane [H, W]."""
        plane = np.ones(shape[-2:], np.int64)
        for level, (height, width) in enumerate(_sizes(shape, self.levels), 1):
            h, w = (height + 1) // 2, (width + 1) // 2
            plane[:h, w:width], plane[h:height, :w] = self.steps[level, 1], self.steps[level, 2]
            plane[h:height, w:width] = self.steps[level, 3]
            plane[:h, :w] = self.steps[self.levels, 0]
        return plane


def fit_wavelet(shape: tuple[int, ...], step: float) -> Wavelet:
    """The transform of blocks ``[..., H, W]`` with a common step, in cells."""
    levels = 0
    height, width = shape[-2:]
    while levels < MOST_LEVELS and min(height, width) >= _SHORTEST:
        height, width, levels = (height + 1) // 2, (width + 1) // 2, levels + 1
    steps = np.ones((levels + 1, 4), np.int64)
    for level in range(1, levels + 1):
        for band in range(1 if level < levels else 0, 4):
            steps[level, band] = max(1, round(step * CELL / _norm(level, band)))
    return Wavelet(levels, steps)


def suits(shape: tuple[int, ...]) -> bool:
    """True if blocks of this shape have two axes long enough to split twice."""
    return len(shape) >= 2 and min(shape[-2:]) >= 2 * _SHORTEST


def fill_gaps(values: Array, keep: Array) -> Array:
    """``values`` with each one that is not kept replaced by the last kept one before it in its line, or the mean."""
    if keep.all():
        return values
    mean = int(values[keep].mean()) if keep.any() else 0
    place = np.where(keep, np.arange(values.shape[-1]), -1)
    last = np.maximum.accumulate(place, axis=-1)
    return np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=-1), mean)


def _norm(level: int, band: int) -> float:
    """Euclidean norm of the synthesis basis of a band, by transforming one large coefficient back."""
    size, one = 32 << level, 1 << 30
    plane = np.zeros((size, size), np.int64)
    h = size >> level
    plane[h // 2 + (h if band & 2 else 0), h // 2 + (h if band & 1 else 0)] = one
    wavelet = Wavelet(level, np.ones((level + 1, 4), np.int64))
    return float(np.linalg.norm(wavelet.inverse(plane) / one))


def _sizes(shape: tuple[int, ...], levels: int) -> list[tuple[int, int]]:
    """Extent of the low band before each split."""
    height, width = shape[-2:]
    found = []
    for _ in range(levels):
        found.append((height, width))
        height, width = (height + 1) // 2, (width + 1) // 2
    return found


def _rounded(values: Array, steps: Array) -> Array:
    """To whole steps, towards zero below ``_ROUNDING`` (this side may use floats: only the encoder does)."""
    size = np.floor(np.abs(values) / steps + _ROUNDING).astype(np.int64)
    return np.sign(values) * size


def _lift(target: Array, source: Array, weight: int, behind: bool) -> Array:
    """Rounded ``weight`` times the two neighbours of each target sample, mirrored at the ends; axis 0."""
    n = len(target)
    if behind:  # even samples: neighbours are odd samples i - 1 and i
        index = np.arange(n)
        left, right = np.maximum(index - 1, 0), np.minimum(index, len(source) - 1)
    else:  # odd samples: neighbours are even samples i and i + 1
        left = np.arange(n)
        right = np.minimum(left + 1, len(source) - 1)
    return ((source[left] + source[right]) * weight + (1 << (_SHIFT - 1))) >> _SHIFT


def _split(values: Array, axis: int) -> Array:
    """One level along an axis: low band first, high band behind."""
    line = np.moveaxis(values, axis, 0)
    even, odd = line[0::2].copy(), line[1::2].copy()
    if len(odd):
        odd += _lift(odd, even, _LIFTS[0], False)
        even += _lift(even, odd, _LIFTS[1], True)
        odd += _lift(odd, even, _LIFTS[2], False)
        even += _lift(even, odd, _LIFTS[3], True)
    return np.moveaxis(np.concatenate([even, odd]), 0, axis)


def _merge(bands: Array, axis: int) -> Array:
    """Undo ``_split``."""
    line = np.moveaxis(bands, axis, 0)
    half = (len(line) + 1) // 2
    even, odd = line[:half].copy(), line[half:].copy()
    if len(odd):
        even -= _lift(even, odd, _LIFTS[3], True)
        odd -= _lift(odd, even, _LIFTS[2], False)
        even -= _lift(even, odd, _LIFTS[1], True)
        odd -= _lift(odd, even, _LIFTS[0], False)
    out = np.empty_like(line)
    out[0::2], out[1::2] = even, odd
    return np.moveaxis(out, 0, axis)
