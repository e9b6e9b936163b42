"""What a network is told about a value: numbers in units of the activity, and how predictions have fared so far.

A trace is TRACE running means over the errors of one kind of place: all of a block, or one column of it. They tell
what near neighbours cannot: how large errors are, in the short run and in the long, to which side they lean, and
whether the activity over- or underrates them, in levels.
"""

from __future__ import annotations

import numpy as np

from aecompress.context.kernel import level_of
from aecompress.context.network import MOST_INPUT
from aecompress.entropy.loops import inlined
from aecompress.entropy.tokens import Scalar
from aecompress.spec import Array

_FAR = np.int64(1 << 46)
_POINT = np.int64(8)  # further bits of a mean below the point
_SIZE = np.int64(4)  # brings errors, in 1/16 cells, to the 1/256 cells of the activity
_LEVELS = np.int64(3)  # bits below the point of levels, as an input


@inlined
def scaled(difference: Scalar, unit: Scalar, shift: Scalar) -> Scalar:
    """A difference in 1/2^FRACTION cells as an input, in units of the activity."""
    product = min(max(difference, -_FAR), _FAR) * unit
    return place(product >> shift)


@inlined
def place(number: Scalar) -> Scalar:
    """A number around 0 as an input."""
    return min(max(number, np.int64(-MOST_INPUT)), np.int64(MOST_INPUT))


@inlined
def recall(traces: Array, at: Scalar, level: Scalar, unit: Scalar, shift: Scalar, x: Array, first: Scalar) -> None:
    """Tell ``x``, from ``first`` on, the trace that lies from ``at`` on, to a value whose activity is of this level."""
    for k in range(2):
        size = level_of(traces[np.uint64(at + k)] >> _POINT)
        x[np.uint64(first + k)] = place((size - level) << _LEVELS)
    x[np.uint64(first + 2)] = scaled(traces[np.uint64(at + 2)] >> (_POINT - _LEVELS), unit, shift)
    x[np.uint64(first + 3)] = place(traces[np.uint64(at + 3)] >> _POINT)


@inlined
def note(
    traces: Array, at: Scalar, error: Scalar, level: Scalar,
    fast: Scalar, slow: Scalar, lean: Scalar, surprise: Scalar,
) -> None:  # fmt: skip
    """Take an error, in 1/2^FRACTION cells, into the trace from ``at`` on; its means move by 2^-fast, 2^-slow ..."""
    size = abs(error) << _SIZE
    above = (level_of(size) - level) << _LEVELS
    traces[np.uint64(at)] += ((size << _POINT) - traces[np.uint64(at)]) >> fast
    traces[np.uint64(at + 1)] += ((size << _POINT) - traces[np.uint64(at + 1)]) >> slow
    traces[np.uint64(at + 2)] += ((error << _POINT) - traces[np.uint64(at + 2)]) >> lean
    traces[np.uint64(at + 3)] += ((above << _POINT) - traces[np.uint64(at + 3)]) >> surprise
