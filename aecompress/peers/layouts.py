"""Ways to hand one array to a compressor: which axis comes first, which are merged, which are coded apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aecompress.spec import Array

#: Above this number of parts coded one by one, their headers alone cost more than they gain.
MAX_PARTS = 64

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The axes in ``order``, then reshaped to ``shape``, whose axis 0 counts the parts that are coded apart."""

    order: Shape
    shape: Shape

    def fold(self, x: Array) -> Array:
        return np.ascontiguousarray(x.transpose(self.order)).reshape(self.shape)

    def unfold(self, folded: Array, shape: Shape) -> Array:
        """Undo ``fold`` for an array that had ``shape``."""
        permuted = folded.reshape([shape[axis] for axis in self.order])
        return permuted.transpose(np.argsort(self.order))


def orders(ndim: int) -> list[Shape]:
    """The axes as they come, the first one last, and the last one first."""
    axes = tuple(range(ndim))
    return list(dict.fromkeys([axes, axes[1:] + axes[:1], axes[-1:] + axes[:-1]]))


def layouts(shape: Shape, ndims: Shape) -> list[Layout]:
    """Every layout whose parts have one of the numbers of axes ``ndims``."""
    return [
        Layout(order, folded)
        for order in orders(len(shape))
        for folded in dict.fromkeys(_shapes([shape[axis] for axis in order]))
        if len(folded) - 1 in ndims
    ]


def _shapes(extents: list[int]) -> Iterator[Shape]:
    for lead in range(len(extents)):
        parts = math.prod(extents[:lead])
        if lead == 0 or 1 < parts <= MAX_PARTS:
            yield from ((parts, *folded) for folded in _folds(extents[lead:]))


def _folds(extents: list[int]) -> Iterator[Shape]:
    """Merge leading axes until one, two or three are left; and all but the first."""
    for ndim in range(1, min(len(extents), 3) + 1):
        kept = extents[len(extents) - ndim + 1 :]
        yield (math.prod(extents[: len(extents) - ndim + 1]), *kept)
    if len(extents) > 2:
        yield extents[0], math.prod(extents[1:])
