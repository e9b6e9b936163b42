"""Linear predictors that learn while they code: normalised least mean squares (Nagumo and Noda 1967).

Each takes the inputs of a context model's network, which are the same on both sides, guesses the residual of the fixed
prediction, and then corrects its weights by what the residual was. A slow one and a fast one tell the network what has
changed since it was trained: from one band of a spectral cube to the next, say.

Weights are integers in float64, products and sums stay below 2^53: exact in any order.
"""

from __future__ import annotations

import numpy as np

from aecompress.entropy.division import quotient
from aecompress.entropy.loops import inlined
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
_SLOW, _FAST = (np.int64(rate) for rate in RATES)


#: Inputs come in multiples of so many, the last of them 0: a rest would be taken one by one.
VECTOR = 8


# Only whole numbers are added here, so the sums may be taken in vectors and in any order. Both predictors are served in
# one loop, for what takes time is to fetch the inputs.


@inlined(fastmath={"reassoc", "contract"})
def guess(slow: Array, fast: Array, at: Scalar, x: Array) -> tuple[Scalar, Scalar, Scalar]:
    """The residuals that both predictors' weights from ``at`` on expect of inputs ``x`` float64, int64 in 1/2^POINT of
    an input's unit, and the sum of the squares of the inputs, int64."""
    patient, hasty, energy = 0.0, 0.0, 0.0
    for k in range(x.size):
        value = x[np.uint64(k)]
        patient += slow[np.uint64(at + k)] * value
        hasty += fast[np.uint64(at + k)] * value
        energy += value * value
    return np.int64(patient), np.int64(hasty), np.int64(energy)


@inlined
def rounded(guessed: Scalar) -> Scalar:
    """A guess in units of an input."""
    return (guessed + _HALF) >> _POINT


@inlined
def _gain(wanted: Scalar, guessed: Scalar, inverse: Scalar, rate: Scalar) -> Scalar:
    error = min(max((wanted << _POINT) - guessed, -_MOST_ERROR), _MOST_ERROR)
    return np.float64(((error >> np.int64(8)) * inverse) >> (_INVERSE - np.int64(8) + rate))


@inlined(fastmath={"reassoc", "contract"})
def learn(
    slow: Array,
    fast: Array,
    at: Scalar,
    x: Array,
    energy: Scalar,
    wanted: Scalar,
    patient: Scalar,
    hasty: Scalar,
) -> None:
    """Move the weights from ``at`` on to where they would have come closer to ``wanted``.

    Args:
        slow, fast: float64 weights, changed.
        x: the inputs of ``guess``; ``energy``, ``patient`` and ``hasty`` what it said.
        wanted: the residual, in units of an input, within +-127.
    """
    inverse = quotient(np.int64(1 << 32), energy + _CALM)
    calm, keen = _gain(wanted, patient, inverse, _SLOW), _gain(wanted, hasty, inverse, _FAST)
    for k in range(x.size):
        value = x[np.uint64(k)]
        moved = slow[np.uint64(at + k)] + calm * value
        slow[np.uint64(at + k)] = min(max(moved, -_MOST_WEIGHT), _MOST_WEIGHT)
        moved = fast[np.uint64(at + k)] + keen * value
        fast[np.uint64(at + k)] = min(max(moved, -_MOST_WEIGHT), _MOST_WEIGHT)
