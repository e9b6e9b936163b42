"""Exact strided synthesis: an integer network slid over a grid of latents, that gives each cell its patch of values.

    latents of a cell and those around it ─ integer network ─ a patch of values ─► its place (pixel shuffle)

This is the decoder of a convolutional autoencoder of series, planes or volumes: a convolution of width 3 over the grid,
layers of ReLU, and a transposed convolution of stride ``stride``. Patches overlap in what they depend on, so they have
no visible edges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from aecompress.autoencoder.integer import Int64s, IntegerNetwork, Stored
from aecompress.errors import ModelError
from aecompress.spec import Array

#: Largest stride, most axes of a grid, and most values of the last axis that share a place (colours).
MOST_STRIDE, MOST_AXES, MOST_COLOURS = 16, 3, 16

# cells that go through a network at once
_CHUNK = 1 << 13


@dataclass(frozen=True)
class Grid:
    """How blocks are cut into cells.

    Attributes:
        stride: a cell's length along each axis of the grid.
        colours: length of the last axis, if it holds features of one place; 0 if the grid has the last axis.
        axes: 1 for series, 2 for planes, 3 for volumes: the last axes of the block, before the colours.
    """

    stride: int
    colours: int
    axes: int = 2

    @property
    def numbers(self) -> list[int]:
        """What a model file has of it: the axes only where they are not two."""
        return [self.stride, self.colours] if self.axes == 2 else [self.stride, self.colours, self.axes]

    @property
    def patch(self) -> int:
        """Values of a cell, P."""
        return self.stride**self.axes * max(self.colours, 1)

    @property
    def seen(self) -> int:
        """Cells that the network sees of each, itself included."""
        return int(3**self.axes)

    def sides(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(N, H, W)``, say, of a block of this shape: how many grids, and their values along each axis."""
        inner = shape[:-1] if self.colours else shape
        return math.prod(inner[: -self.axes]), *inner[-self.axes :]

    def cells(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(N, h, w)``, say: cells of a block of this shape, the last ones of a line may be cut off."""
        grids, *sides = self.sides(shape)
        return grids, *(-(-side // self.stride) for side in sides)

    def cut(self, values: Array) -> Array:
        """Patches [N, ..., P] of a block; what hangs over its edge repeats the last value."""
        shape, cells, colours = self.sides(values.shape), self.cells(values.shape), max(self.colours, 1)
        ends = [(0, many * self.stride - side) for many, side in zip(cells[1:], shape[1:], strict=True)]
        whole = np.pad(values.reshape(*shape, colours), [(0, 0), *ends, (0, 0)], mode="edge")
        split = whole.reshape(cells[0], *(n for many in cells[1:] for n in (many, self.stride)), colours)
        outer, inner = range(1, 2 * self.axes, 2), range(2, 2 * self.axes + 1, 2)
        return split.transpose(0, *outer, split.ndim - 1, *inner).reshape(*cells, self.patch)

    def join(self, patches: Array, shape: tuple[int, ...]) -> Array:
        """The block of this shape: undo ``cut``."""
        cells, axes, colours = self.cells(shape), self.axes, max(self.colours, 1)
        split = patches.reshape(*cells, colours, *[self.stride] * axes)
        pairs = [axis for k in range(axes) for axis in (1 + k, 2 + axes + k)]
        whole = split.transpose(0, *pairs, 1 + axes).reshape(cells[0], *(n * self.stride for n in cells[1:]), colours)
        return whole[tuple(slice(side) for side in self.sides(shape))].reshape(shape)


@dataclass(frozen=True)
class Strided(Stored):
    """The grid and the network that fills it.

    Attributes:
        network: takes the integers of all cells it sees, those of latent 0 line by line first; gives the P values of a
            patch, colour by colour, line by line.
    """

    grid: Grid
    network: IntegerNetwork

    def __post_init__(self) -> None:
        grid = self.grid
        sound = 1 <= grid.axes <= MOST_AXES and 1 <= grid.stride <= MOST_STRIDE and 0 <= grid.colours <= MOST_COLOURS
        if not sound:
            raise ModelError("The strided network has an impossible grid; the model is damaged.")
        if self.network.latent_dim % grid.seen or len(self.network.offset) != grid.patch:
            raise ModelError("The strided network does not fit its grid; the model is damaged.")

    @property
    def latents(self) -> int:
        """Latents of a cell, K."""
        return self.network.latent_dim // self.grid.seen

    def synthesis(self, latents: Array, shape: tuple[int, ...]) -> Int64s:
        """Integers int64 of a block of this ``shape``, in the network's units, of latents [N, ..., K]."""
        found = np.empty((math.prod(latents.shape[:-1]), self.grid.patch), np.int64)
        at = 0
        for inputs in around(latents):
            found[at : at + len(inputs)] = self.network.synthesis(inputs)
            at += len(inputs)
        return self.grid.join(found, shape)

    def tensors(self) -> dict[str, Array]:
        """Integer arrays."""
        return {"grid": np.array(self.grid.numbers), **self.network.tensors()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Strided:
        """The reverse; raises ModelError unless they make an exact network of one unit."""
        grid = tensors.get("grid")
        if grid is None or grid.dtype.kind != "i" or grid.shape not in ((2,), (3,)):
            raise ModelError("The strided network has no grid; the model is damaged.")
        network = IntegerNetwork.from_tensors(tensors)
        if network.unit_exponent.shape != (1,):
            raise ModelError("The strided network has more than one unit; the model is damaged.")
        return cls(Grid(*grid.tolist()), network)


def around(cells: Array) -> Iterator[Array]:
    """[<= chunk, 3^axes * K] of cells [N, ..., K], in order: each with those around it, 0 beyond the edges."""
    grids, *sides, many = cells.shape
    padded = np.pad(cells, [(0, 0), *[(1, 1)] * len(sides), (0, 0)])
    windows = sliding_window_view(padded, (3,) * len(sides), axis=tuple(range(1, len(sides) + 1)))
    size, line = math.prod(sides), math.prod(sides[1:])
    few = max(1, _CHUNK // max(size, 1))
    lines = sides[0] if size <= _CHUNK else max(1, _CHUNK // line)
    for first in range(0, grids, few):
        for at in range(0, sides[0], lines):
            yield windows[first : first + few, at : at + lines].reshape(-1, many * 3 ** len(sides))


def gathered(told: Array, shape: tuple[int, ...]) -> Array:
    """[N, ..., K], this shape: what ``told`` [cells, 3^axes * K] has for each cell where it was around another, in sum.

    The adjoint of ``around``.
    """
    _, *sides, _ = shape
    windows = np.moveaxis(told.reshape(*shape, -1), -1, 0)
    found = np.zeros((shape[0], *(side + 2 for side in sides), shape[-1]), told.dtype)
    for place, window in zip(product(range(3), repeat=len(sides)), windows, strict=True):
        there = (slice(at, at + side) for at, side in zip(place, sides, strict=True))
        found[(slice(None), *there)] += window
    return found[(slice(None), *[slice(1, -1)] * len(sides))]
