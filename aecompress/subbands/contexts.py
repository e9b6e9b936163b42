"""Numbers as contexts: logarithms in few steps, and signs."""

from __future__ import annotations

import numpy as np

from aecompress.entropy.loops import inlined
from aecompress.entropy.tokens import Scalar, bit_length


@inlined
def level(v: Scalar) -> Scalar:
    """0, 1, 2, 3, then four steps an octave, of a number of at least 0."""
    octave = max(bit_length(np.uint64(v)) - np.int64(3), np.int64(0))
    return (octave << np.int64(2)) + (v >> octave)


@inlined
def coarse(v: Scalar) -> Scalar:
    """0, 1, then two steps an octave."""
    octave = max(bit_length(np.uint64(v)) - np.int64(2), np.int64(0))
    return (octave << np.int64(1)) + (v >> octave)


@inlined
def sign(v: Scalar) -> Scalar:
    """0 below, 1 at and 2 above zero."""
    return np.int64(v > 0) - np.int64(v < 0) + np.int64(1)
