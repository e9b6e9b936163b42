"""The wavelet that models up to version 3 held, for reading them: CDF 9/7 by lifting along the last two axes.

    inverse  c ─► dequantize ─► lifting backwards ─► X_hat

Values are fixed-point integers with FRACTION bits below the cell of the bound. What is written today is in
``subbands``.
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

_SHIFT = 14
# alpha, beta, gamma, delta of CDF 9/7, in 1/2^14
_LIFTS = (-25987, -868, 14466, 7266)


@dataclass(frozen=True)
class Wavelet:
    """A transform with its quantiser, backwards.

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


def _sizes(shape: tuple[int, ...], levels: int) -> list[tuple[int, int]]:
    """Extent of the low band before each split."""
    height, width = shape[-2:]
    found = []
    for _ in range(levels):
        found.append((height, width))
        height, width = (height + 1) // 2, (width + 1) // 2
    return found


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


def _merge(bands: Array, axis: int) -> Array:
    """One level along an axis, backwards: the low band comes first, the high band behind."""
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
