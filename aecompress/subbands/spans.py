"""Places that lie side by side in a line, decided together where nothing is around them."""

from __future__ import annotations

import numpy as np

from aecompress.entropy.loops import inlined
from aecompress.entropy.tokens import Scalar
from aecompress.spec import Array

#: Places of a span; the first of each is a multiple of this.
SPAN = 8


@inlined
def some(c: Array, i: Scalar, many: int) -> Scalar:
    """True if any of so many integers of flat memory, from place ``i`` on, is not 0."""
    found = np.int64(0)
    for k in range(many):
        found |= np.int64(c[np.uint64(i + k)])
    return found != 0


@inlined
def magnitudes(c: Array, i: Scalar, many: int) -> Scalar:
    """The sum of their magnitudes."""
    total = np.int64(0)
    for k in range(many):
        total += abs(np.int64(c[np.uint64(i + k)]))
    return total


@inlined
def around(c: Array, i: Scalar, stride: Scalar, many: int) -> Scalar:
    """The magnitudes next to so many places: in the lines above and below, a line being ``stride`` places, and at both
    ends."""
    ends = abs(np.int64(c[np.uint64(i - 1)])) + abs(np.int64(c[np.uint64(i + many)]))
    return magnitudes(c, i - stride, many) + magnitudes(c, i + stride, many) + ends


@inlined
def calm(c: Array, past: Array, looks_back: Scalar, i: Scalar, stride: Scalar) -> Scalar:
    """True if nothing is there before the span at ``i``, above it and, if one looks back, where it was in the past."""
    if c[np.uint64(i - 1)] != 0 or some(c, i - stride - 1, SPAN + 2):
        return False
    return not (looks_back and some(past, i, SPAN))
