"""What lies around a position: single values nearby, means of boxes of 3 and of 9 farther away.

    level 0    the nearest values          level 1    means of boxes 3 wide        level 2    of boxes 9 wide

A box that stands a multiple of its width away never covers the position itself, so a network that is given these taps
is blind to the very value it is to guess (Noise2Self, Batson and Royer 2019), however far it sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from aecompress.errors import ModelError
from aecompress.spec import Array

#: Taps of each level.
TAPS = (80, 48, 24)

#: Distances to the ends of an axis count up to here.
_EDGE = 16

#: Most taps that a file may hold, and the farthest step.
_MOST_TAPS, _FARTHEST = 1024, 1024


@dataclass(frozen=True)
class Neighbourhood:
    """Where a network looks, on canonical axes [A, B, H, W] (see ``context.stencil``).

    Attributes:
        depth: ordered axes, counted from the last: 1 to 4.
        taps: int16 [K, 5]: level, and steps along a, b, y and x, multiples of the level's box width.
    """

    depth: int
    taps: Array

    def __post_init__(self) -> None:
        taps = self.taps
        whole = taps.ndim == 2 and taps.shape[1] == 5 and taps.dtype.kind == "i" and 1 <= len(taps) <= _MOST_TAPS
        if not (whole and 1 <= self.depth <= 4) or taps[:, 0].min() < 0 or taps[:, 0].max() >= len(TAPS):
            raise ModelError("The network looks at impossible places; the model is damaged.")
        if np.abs(taps[:, 1:]).max() > _FARTHEST or taps[:, 1 : 5 - self.depth].any():
            raise ModelError("The network looks too far; the model is damaged.")

    @property
    def ordered(self) -> range:
        """The ordered axes among [A, B, H, W]."""
        return range(4 - self.depth, 4)

    @property
    def reach(self) -> tuple[int, ...]:
        """How far it sees along a, b, y and x, distances to the ends included."""
        boxes = 3 ** self.taps[:, :1].astype(np.int64) // 2
        seen = (np.abs(self.taps[:, 1:]) + boxes).max(0)
        return tuple(max(int(n), _EDGE) if axis in self.ordered else 0 for axis, n in enumerate(seen))

    def inputs(self, channels: int) -> int:
        """Numbers that a network gets of each position."""
        return len(self.taps) * channels + 2 * self.depth


def around(depth: int, lengths: tuple[int, ...], *, blind: bool) -> Neighbourhood:
    """The nearest taps of each level that fit into arrays of these lengths along a, b, y and x.

    Args:
        depth: ordered axes.
        lengths: of a, b, y and x.
        blind: leave the position itself out.
    """
    taps = [] if blind else [(0, 0, 0, 0, 0)]
    for level, many in enumerate(TAPS):
        width = 3**level
        most = [(lengths[axis] - 1) // width if axis >= 4 - depth else 0 for axis in range(4)]
        taps += [(level, *(width * step for step in steps)) for steps in _nearest(most, many)]
    return Neighbourhood(depth, np.array(taps or [(0, 0, 0, 0, 1)], np.int16))


def _nearest(most: list[int], many: int) -> list[tuple[int, ...]]:
    """Of the steps up to ``most`` along each axis, but for the origin, about ``many`` of the shortest.

    Steps of one length come together or not at all, unless they are the shortest.
    """
    free = sum(n > 0 for n in most)
    reach = int(many ** (1 / max(free, 1))) + 1
    steps = list(product(*(range(-min(n, reach), min(n, reach) + 1) for n in most)))
    steps.sort(key=_length)
    steps = steps[1:]
    if len(steps) > many:
        steps = [step for step in steps if _length(step) < _length(steps[many])] or steps[:many]
    return steps


def _length(step: tuple[int, ...]) -> int:
    return sum(n * n for n in step)


class View:
    """A block whose neighbourhoods can be read.

    Args:
        values: float32 [A, B, H, W, C].
        known: bool, same shape: False where there is no value; the network sees 0 there.
        hood: where to look.
    """

    def __init__(self, values: Array, known: Array, hood: Neighbourhood) -> None:
        self._size, self._channels = values.shape[:4], values.shape[4]
        self._pads = [int(n) for n in np.abs(hood.taps[:, 1:]).max(0)]
        self._hood = hood
        padded = tuple(n + 2 * pad for n, pad in zip(self._size, self._pads, strict=True))
        self._strides = np.array([math.prod(padded[axis + 1 :]) for axis in range(4)])
        self._levels = self._means(values, known)
        taps = hood.taps.astype(np.int64)
        self._offsets = [taps[taps[:, 0] == level, 1:] @ self._strides for level in range(len(self._levels))]

    @property
    def positions(self) -> int:
        return math.prod(self._size)

    def inputs(self, positions: Array) -> Array:
        """What the network is given: float32 [n, inputs] at positions int64 [n], counted in C order."""
        at = np.unravel_index(positions, self._size)
        base = sum((i + pad) * stride for i, pad, stride in zip(at, self._pads, self._strides, strict=True))
        seen = [
            level[base[:, None] + offsets].reshape(len(positions), -1)
            for level, offsets in zip(self._levels, self._offsets, strict=True)
        ]
        return np.concatenate([*seen, self._edges(at)], axis=1)

    def _edges(self, at: tuple[Array, ...]) -> Array:
        """How near the ends of the ordered axes are, 0 to 1: float32 [n, 2 depth]."""
        found = [(at[axis], self._size[axis] - 1 - at[axis]) for axis in self._hood.ordered]
        distances = np.stack([end for ends in found for end in ends], axis=1)
        return (np.minimum(distances, _EDGE) / _EDGE).astype(np.float32)

    def _means(self, values: Array, known: Array) -> list[Array]:
        """Of each level float32 [padded positions, C]: means of what is known in the box, 0 if nothing is."""
        pads = [(pad, pad) for pad in self._pads] + [(0, 0)]
        sums = np.pad(np.where(known, values, np.float32(0)), pads)
        counts = np.pad(known.astype(np.float32), pads)
        found = []
        for level in range(int(self._hood.taps[:, 0].max()) + 1):
            if level:
                for axis in self._hood.ordered:
                    sums, counts = (_joined(part, axis, 3 ** (level - 1)) for part in (sums, counts))
            found.append((sums / np.maximum(counts, 1)).reshape(-1, self._channels))
        return found


def _joined(boxes: Array, axis: int, step: int) -> Array:
    """Sums over boxes three times as wide along an axis, from those of boxes ``step`` wide."""
    found = boxes.copy()
    into, of = np.moveaxis(found, axis, 0), np.moveaxis(boxes, axis, 0)
    into[step:] += of[:-step]
    into[:-step] += of[step:]
    return found
