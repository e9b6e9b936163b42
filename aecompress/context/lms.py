"""Linear predictors that learn while they code: normalised least mean squares (Nagumo and Noda 1967).

Each takes the inputs of a context model's network, which are the same on both sides, guesses the residual of the fixed
prediction, and then corrects its weights by what the residual was. A slow one and a fast one tell the network what has
changed since it was trained: from one band of a spectral cube to the next, say.

Weights are integers in float64, products and sums stay below 2^53: exact in any order.
"""

from __future__ import annotations

import numba
import numpy as np

from aecompress.entropy.tokens import Scalar
from aecompress.spec import Array

#: Bits below the point of weights and guesses.
POINT = 28

#: Rates as powers of 1/2: a slow predictor and a fast one.
RATES = (8, 5)

_POINT = np.int64(POINT)
_HALF = np.int64(1 << (POINT - 1))
_MOST_WEIGHT = float(1 << 31)
_MOST_ERROR = np.int64(1 << 36)
_CALM = np.int64(200)  # added to the inputs' energy, so that weights stay where inputs are small
_INVERSE = np.int64(32)


# Only whole numbers are added here, so the sums may be taken in vectors and in any order.


@numba.njit(forceinline=True, fastmath={"reassoc", "contract"})
def energy(x: Array, many: Scalar) -> Scalar:
    """Sum of the squares of the first inputs, int64."""
    total = 0.0
    for k in range(many):
        total += np.float64(x[k]) * np.float64(x[k])
    return np.int64(total)


@numba.njit(forceinline=True, fastmath={"reassoc", "contract"})
def guess(weights: Array, at: Scalar, x: Array, many: Scalar) -> Scalar:
    """The residual that the weights from ``at`` on expect, int64 in 1/2^POINT of an input's unit."""
    total = 0.0
    for k in range(many):
        total += weights[np.uint64(at + k)] * np.float64(x[k])
    return np.int64(total)


@numba.njit(forceinline=True)
def rounded(guessed: Scalar) -> Scalar:
    """A guess in units of an input."""
    return (guessed + _HALF) >> _POINT


@numba.njit(forceinline=True, fastmath={"reassoc", "contract"})
def learn(
    weights: Array, at: Scalar, x: Array, many: Scalar, power: Scalar, wanted: Scalar, guessed: Scalar, rate: Scalar
) -> None:
    """Move the weights from ``at`` on to where they would have come closer to ``wanted``.

    Args:
        weights: float64, changed.
        x, many: the inputs of ``guess``; ``power`` their energy.
        wanted: the residual, in units of an input, within +-127.
        guessed: what ``guess`` said.
        rate: of ``RATES``.
    """
    error = min(max((wanted << _POINT) - guessed, -_MOST_ERROR), _MOST_ERROR)
    inverse = np.int64(1 << 32) // (power + _CALM)
    gain = np.float64(((error >> np.int64(8)) * inverse) >> (_INVERSE - np.int64(8) + rate))
    for k in range(many):
        moved = weights[np.uint64(at + k)] + gain * np.float64(x[k])
        weights[np.uint64(at + k)] = min(max(moved, -_MOST_WEIGHT), _MOST_WEIGHT)
