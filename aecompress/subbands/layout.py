"""Where the coefficients of a block lie: frames, bands in the order they are coded, and which of them see which.

block [..., H, W] ─► frames [F, H, W] ─► bands of a frame, coarse to fine, each with a margin of zeros around it
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aecompress.spec import Array
from aecompress.subbands.lifting import of_lines, planes, sizes

#: Zeros around a band, so that contexts need not ask whether a neighbour exists.
MARGIN = 3


@dataclass(frozen=True)
class Band:
    """One band of a plane.

    Attributes:
        level: how many splits it went through.
        kind: 0 low, 1 high along x, 2 high along y, 3 high along both.
        top, left, height, width: where it lies in the plane.
        first: place of its first coefficient in a frame's padded memory.
        stride: places from one of its lines to the next.
    """

    level: int
    kind: int
    top: int
    left: int
    height: int
    width: int
    first: int
    stride: int


@dataclass(frozen=True)
class Layout:
    """How blocks of one shape are laid out.

    Attributes:
        shape: sizes of the block's axes, [..., H, W].
        levels: of each axis; the last two are equal.
        bands: those that are not empty, in coding order.
        size: places of a frame's padded memory.
        relatives: int64 [bands, 3]: the band of the same kind one level up, and the bands of the same level that are
            coded before; -1 where there is none.
        before: int64 [F]: the frame that resembles each frame of coefficients, coded before it; -1 for none.
        earlier: int64 [F]: the same of frames of values.
    """

    shape: tuple[int, ...]
    levels: tuple[int, ...]
    bands: tuple[Band, ...]
    size: int
    relatives: Array
    before: Array
    earlier: Array

    @property
    def tall(self) -> bool:
        """True if the plane is split along both axes; else its lines are split, each on its own."""
        return not of_lines(self.levels)

    @property
    def frames(self) -> int:
        return math.prod(self.shape[:-2])

    def spread(self, coefficients: Array) -> Array:
        """int32 [F, size]: coefficients, of the block's shape, in the padded memory."""
        planes_of = coefficients.reshape(-1, *self.shape[-2:])
        out = np.zeros((self.frames, self.size), np.int32)
        for band in self.bands:
            self.view(out, band)[...] = planes_of[
                :, band.top : band.top + band.height, band.left : band.left + band.width
            ]
        return out

    def gather(self, memory: Array) -> Array:
        """Undo ``spread``: int64, of the block's shape."""
        out = np.empty((self.frames, *self.shape[-2:]), np.int64)
        for band in self.bands:
            out[:, band.top : band.top + band.height, band.left : band.left + band.width] = self.view(memory, band)
        return out.reshape(self.shape)

    @staticmethod
    def view(memory: Array, band: Band) -> Array:
        """The coefficients [F, height, width] of a band."""
        lines = memory[:, band.first : band.first + band.height * band.stride]
        return lines.reshape(len(memory), band.height, band.stride)[:, :, : band.width]

    def table(self) -> Array:
        """int64 [bands, 12] for the compiled loops: first, stride, height, width, level, kind, then first and stride of
        each relative, -1 where there is none."""
        own = [(band.first, band.stride, band.height, band.width, band.level, band.kind) for band in self.bands]
        places = np.array([(band.first, band.stride) for band in self.bands] + [(-1, -1)], np.int64)
        return np.concatenate([np.array(own, np.int64).reshape(-1, 6), places[self.relatives].reshape(-1, 6)], 1)


@lru_cache(maxsize=8)
def layout_of(shape: tuple[int, ...], levels: tuple[int, ...]) -> Layout:
    """The layout of blocks of this shape [..., H, W]."""
    bands = _bands(shape, levels)
    last = bands[-1] if bands else None
    size = last.first + (last.height + MARGIN) * last.stride if last else 0
    before = _before(shape[:-2], levels[:-2])
    earlier = _before(shape[:-2], (0,) * (len(shape) - 2))
    return Layout(shape, levels, tuple(bands), size, _relatives(bands), before, earlier)


def _bands(shape: tuple[int, ...], levels: tuple[int, ...]) -> list[Band]:
    height, width = planes(shape, levels)[-1]
    boxes = [(levels[-1], 0, 0, 0, height, width)]
    for level in range(levels[-1], 0, -1):
        (height, width), (h, w) = planes(shape, levels)[level - 1 : level + 1]
        boxes += [
            (level, 1, 0, w, h, width - w),
            (level, 2, h, 0, height - h, w),
            (level, 3, h, w, height - h, width - w),
        ]
    found, end = [], 0
    for level, kind, top, left, height, width in boxes:
        if height * width:
            stride = width + MARGIN
            first = end + MARGIN * stride + MARGIN
            found.append(Band(level, kind, top, left, height, width, first, stride))
            end = first + height * stride
    return found


def _relatives(bands: list[Band]) -> Array:
    place = {(band.level, band.kind): i for i, band in enumerate(bands)}
    out = np.full((len(bands), 3), -1, np.int64)
    for i, band in enumerate(bands):
        if band.kind:
            out[i, 0] = place.get((band.level + 1, band.kind), -1)
            beside = [place[band.level, kind] for kind in range(1, band.kind) if (band.level, kind) in place]
            out[i, 1 : 1 + len(beside)] = beside
    return out


def _before(shape: tuple[int, ...], levels: tuple[int, ...]) -> Array:
    """For each frame the one a step back along the last axis whose band it does not begin; -1 for none."""
    count = math.prod(shape)
    index = np.arange(count).reshape(shape)
    found = np.full(shape, -1, np.int64)
    for axis, many in enumerate(levels):
        begins = {(size + 1) // 2 for size in sizes(shape[axis], many)} | {0}
        here, there = np.moveaxis(found, axis, 0), np.moveaxis(index, axis, 0)
        for i in range(1, shape[axis]):
            if i not in begins:
                here[i] = there[i - 1]
    return found.reshape(-1)
