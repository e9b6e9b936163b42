"""Which already decoded values a prediction may look at, and where they lie in memory.

A block is seen on five canonical axes ``[A, B, H, W, C]``: up to four ordered axes and one feature axis C (channels
of one cell). Values are coded in C order, so a neighbour is *causal* when it comes earlier in that order. Near a
border some neighbours do not exist; each then repeats the nearest one that does, which makes its difference 0.
Border positions fall into few classes, and one table of memory offsets per class spares the coder all checks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aecompress.errors import CorruptError
from aecompress.spec import Array

#: A step from a value to a neighbour: differences along a, b, y, x and c, and 1 if it lies in the reference.
Step = tuple[int, int, int, int, int, int]

#: Most neighbours of one value, and most positions that one is away along an axis.
MOST_STEPS, MOST_REACH = 40, 32

#: Most features of an axis for each to have a stencil of its own: of a table's columns, of other arrays' last axis.
MOST_CHANNELS = 512
_MOST_INNER = 64

# Most channels that have aligned steps, and most of these.
_FEW_CHANNELS, _MOST_ALIGNED = 4, 26

# Entries of an offset table: several times what the steps of this module can ask for.
_MOST_OFFSETS = 1 << 23


@dataclass(frozen=True)
class Layout:
    """How a block's shape is read.

    Attributes:
        depth: how many ordered axes, counted from the last, predictions reach along: 1 to 4.
        channels: True if the last axis holds features instead of ordered positions.
        far: True if the stencil reaches further along the axis of lines, planes or moments than to the next ones. It is
            for a fit: None where that is left to it, and coders have the steps themselves.
    """

    depth: int
    channels: bool
    far: bool | None = None

    def canonical(self, shape: tuple[int, ...]) -> tuple[int, int, int, int, int]:
        """Sizes ``(A, B, H, W, C)`` of a block of this shape ``[rows, ...]``."""
        axes = axes_of(shape)
        channels = axes.pop() if self.channels and len(axes) > 1 else 1
        axes = [1] * (4 - len(axes)) + axes
        return math.prod(axes[:-3]), axes[-3], axes[-2], axes[-1], channels


def axes_of(shape: tuple[int, ...]) -> list[int]:
    """Sizes of the row axis and of the inner axes longer than 1."""
    return [shape[0], *(n for n in shape[1:] if n != 1)]


def layouts(shape: tuple[int, ...]) -> list[Layout]:
    """Every layout that says something different about blocks of this shape: before a single row there is none."""
    sizes = [n for n in shape if n != 1] or [1]
    axes = len(sizes)
    found = [Layout(depth, False) for depth in range(1, min(axes, 4) + 1)]
    if axes > 1 and sizes[-1] <= (MOST_CHANNELS if axes == 2 else _MOST_INNER):
        found += [Layout(depth, True) for depth in range(1, min(axes - 1, 4) + 1)]
    return found


def column_layouts(shape: tuple[int, ...]) -> list[Layout]:
    """Layouts whose channels are columns of a regression, what has them side by side on one axis or two."""
    sizes = axes_of(shape)
    if len(sizes) < 2 or sizes[-1] > MOST_CHANNELS:
        return []
    return [Layout(depth, True, False) for depth in range(1, min(len(sizes) - 1, 2) + 1)]


def shared_layouts(shape: tuple[int, ...]) -> list[Layout]:
    """Layouts in which all columns have one stencil, and share its weights: of a row alone, and of those above too."""
    found = [Layout(depth, False) for depth in range(1, min(len(axes_of(shape)), 2) + 1)]
    return [replace(layout, far=has_far(layout, shape)) for layout in found]


_LINE = [(0, -x) for x in range(1, 13)]
_PLANE = [
    (0, -1),
    (-1, 0),
    (-1, -1),
    (-1, 1),
    (0, -2),
    (-2, 0),
    (-1, -2),
    (-1, 2),
    (-2, -1),
    (-2, 1),
    (0, -3),
    (-1, 3),
]
_FAR_LINE = [(0, -x) for x in range(13, MOST_REACH + 1)]
_ABOVE = [(-y, 0) for y in range(3, 19)]
_AROUND = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]


def spatial_steps(depth: int, *, far: bool) -> list[Step]:
    """Causal steps along the last ``depth`` ordered axes, nearest first.

    Those that reach far see nearly three times as much of a line; sixteen more lines above, which make out what is
    usual in a column of a table; of a volume two more planes and more of the second.
    """
    if depth == 1:
        return [(0, 0, y, x, 0, 0) for y, x in (_LINE + _FAR_LINE if far else _LINE)]
    steps: list[Step] = [(0, 0, y, x, 0, 0) for y, x in (_PLANE + _ABOVE if far and depth == 2 else _PLANE)]
    if depth >= 3:
        steps += [(0, -1, y, x, 0, 0) for y, x in _AROUND]
        steps.append((0, -2, 0, 0, 0, 0))
        if far and depth == 3:
            steps += [(0, -2, y, x, 0, 0) for y, x in _AROUND[1:5]]
            steps += [(0, -3, 0, 0, 0, 0), (0, -4, 0, 0, 0, 0)]
    if depth >= 4:
        steps += [(-1, 0, y, x, 0, 0) for y, x in _AROUND[:5]]
        steps += [(-1, 1, 0, 0, 0, 0), (-1, -1, 0, 0, 0, 0), (-2, 0, 0, 0, 0, 0)]
    return steps


def has_far(layout: Layout, shape: tuple[int, ...]) -> bool:
    """True if a stencil that reaches far sees other neighbours in blocks of this shape than one that stays near."""
    axis, steps = 4 - layout.depth, spatial_steps(layout.depth, far=True)
    if layout.channels or steps == spatial_steps(layout.depth, far=False):
        return False
    return layout.canonical(shape)[axis] >= 2 * max(-step[axis] for step in steps)


def reference_steps(depth: int) -> list[Step]:
    """Steps into the reference: the value's own place first, then around it."""
    around = [(0, -1), (0, 1), (-1, 0), (1, 0)] if depth > 1 else [(0, -1), (0, 1), (0, -2), (0, 2)]
    return [(0, 0, y, x, 0, 1) for y, x in [(0, 0), *around]]


def channel_steps(depth: int, channels: int, channel: int) -> list[Step]:
    """Steps for one channel, to choose from unless they are aligned: its own past, the channels before it in the same
    cell and, where channels are few, all channels of the nearest cells."""
    if are_aligned(depth, channels):
        return _aligned_steps(depth, channels, channel)
    own = spatial_steps(depth, far=False)[: 14 if depth > 1 else 6]
    here: list[Step] = [(0, 0, 0, 0, -k, 0) for k in range(1, min(channel, 32) + 1)]
    if channels > 16:
        return here + own
    cells = [(0, -1), (-1, 0), (-1, -1), (-1, 1)][: 4 if depth > 1 else 1]
    others: list[Step] = [(0, 0, y, x, k - channel, 0) for y, x in cells for k in range(channels) if k != channel]
    return here + own + others


def are_aligned(depth: int, channels: int) -> bool:
    """True if steps of the same number look at the same for each channel, of few ones over planes, such as colours.

    A network has one set of weights for all channels, so what it learns of a step of one then holds for the others.
    """
    return depth > 1 and 2 <= channels <= _FEW_CHANNELS


def _aligned_steps(depth: int, channels: int, channel: int) -> list[Step]:
    """A channel's own past, then all others, in turn from it on, of the same cell and of the nearest ones.

    Instead of a channel that comes later in the same cell there is that of the cell before.
    """
    plane = [(0, 0, y, x) for y, x in _PLANE]
    behind = [(0, -1, y, x) for y, x in _AROUND[:3]] if depth > 2 else []
    earlier = [(-1, 0, 0, 0)] if depth > 3 else []
    steps: list[Step] = [(*cell, 0, 0) for cell in plane + behind + earlier]
    for cell in [(0, 0, 0, 0), *plane[:2], *behind[:1], *earlier, *plane[2:8]]:
        for turn in range(1, channels):
            away = (channel + turn) % channels - channel
            steps.append((*(plane[0] if cell == (0, 0, 0, 0) and away > 0 else cell), away, 0))
    return steps[:_MOST_ALIGNED]


@dataclass(frozen=True)
class Geometry:
    """Offset tables of a stencil for blocks of one canonical size.

    Attributes:
        size: ``(A, B, H, W, C)``.
        rows: for each index along a, b, y and x, int64: its share of the border class (the class is their sum).
        offsets: int64 [classes, C, K] from a value to its neighbours in the block flattened in C order; all 0 where
            there is no neighbour at all.
        sets: int64 [classes] which weight set a class uses: bit 0 y > 0, bit 1 b > 0, bit 2 a > 0.
    """

    size: tuple[int, int, int, int, int]
    rows: tuple[Array, Array, Array, Array]
    offsets: Array
    sets: Array


def geometry(size: tuple[int, int, int, int, int], steps: Sequence[Sequence[Step]]) -> Geometry:
    """Tables for ``steps[channel]``, each list nearest first; shorter lists are padded with their first step.

    Raises CorruptError for steps that reach so far that their tables would fill the memory.
    """
    width = max(len(channel) for channel in steps)
    moves = np.array(
        [[*channel, *[channel[0]] * (width - len(channel))] for channel in steps],
        np.int64,
    )  # [C, K, 6]
    inside = np.array([max(n - 1, 0) for n in size[:4]])
    behind = np.maximum(-moves[..., :4].min((0, 1)), 0)
    ahead = np.minimum(np.maximum(moves[..., :4].max((0, 1)), 0), inside)
    reach = np.stack([behind, ahead], 1).reshape(-1)
    if math.prod(int(n) + 1 for n in reach) * len(steps) * width > _MOST_OFFSETS:
        raise CorruptError("The context model looks too far around; the file is damaged.")
    # border classes: cells behind and ahead along each axis, up to the reach
    rooms = np.array(list(itertools.product(*(range(int(n) + 1) for n in reach))), np.int64)
    known = (moves[:, :, 5] >= 0)[None].repeat(len(rooms), 0)
    for axis in range(4):
        room, move = rooms[:, 2 * axis : 2 * axis + 2], moves[None, :, :, axis]
        known &= (move >= -room[:, :1, None]) & (move <= room[:, 1:, None])
    strides = np.array([math.prod(size[axis + 1 :]) for axis in range(5)] + [math.prod(size)])
    offsets = np.where(known, moves @ strides, 0)
    first = np.take_along_axis(offsets, known.argmax(2)[..., None], 2)  # 0 where nothing is known
    sets = (rooms[:, 4] > 0) + 2 * (rooms[:, 2] > 0) + 4 * (rooms[:, 0] > 0)
    return Geometry(size, _rows(size, reach), np.where(known, offsets, first), sets.astype(np.int64))


def _rows(size: tuple[int, ...], reach: Array) -> tuple[Array, Array, Array, Array]:
    """Mixed-radix digits of the border class, one array for each of a, b, y and x."""
    weight, found = 1, []
    for axis in (3, 2, 1, 0):
        back, forth = int(reach[2 * axis]), int(reach[2 * axis + 1])
        index = np.arange(size[axis], dtype=np.int64)
        digit = np.minimum(index, back) * (forth + 1) + np.minimum(size[axis] - 1 - index, forth)
        found.append(digit * weight)
        weight *= (back + 1) * (forth + 1)
    x, y, b, a = found
    return a, b, y, x
