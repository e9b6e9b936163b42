"""Exact strided synthesis: an integer network slid over a grid of latents, that gives each cell its patch of values.

    latents of a cell and the eight around it ─ integer network ─ stride x stride values ─► their place (pixel shuffle)

This is the decoder of a convolutional autoencoder: a 3 x 3 convolution over the grid, layers of ReLU, and a transposed
convolution of stride ``stride``. Patches overlap in what they depend on, so they have no visible edges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from aecompress.autoencoder.integer import Int64s, IntegerNetwork
from aecompress.errors import ModelError
from aecompress.spec import Array

#: Cells that a network sees of each, itself included.
AROUND = 9

#: Largest stride, and most values of the last axis that share a place (colours).
MOST_STRIDE, MOST_COLOURS = 16, 4

# cells that go through a network at once
_CHUNK = 1 << 13


@dataclass(frozen=True)
class Grid:
    """How blocks are cut into cells.

    Attributes:
        stride: a cell's height and width.
        colours: length of the last axis, if it holds features of one place; 0 if planes end with their last axis.
    """

    stride: int
    colours: int

    @property
    def patch(self) -> int:
        """Values of a cell, P."""
        return self.stride**2 * max(self.colours, 1)

    def planes(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """``(N, H, W, colours)`` of a block of this shape."""
        inner = shape[:-1] if self.colours else shape
        return math.prod(inner[:-2]), *inner[-2:], max(self.colours, 1)  # type: ignore[return-value]

    def cells(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """``(N, h, w)``: cells of a block of this shape, the last ones of a line or column may be cut off."""
        planes, height, width, _ = self.planes(shape)
        return planes, -(-height // self.stride), -(-width // self.stride)

    def cut(self, values: Array) -> Array:
        """Patches [N, h, w, P] of a block; what hangs over its edge repeats the last value."""
        planes, height, width, colours = self.planes(values.shape)
        s, (_, h, w) = self.stride, self.cells(values.shape)
        ends = ((0, 0), (0, h * s - height), (0, w * s - width), (0, 0))
        whole = np.pad(values.reshape(planes, height, width, colours), ends, mode="edge")
        return whole.reshape(planes, h, s, w, s, colours).transpose(0, 1, 3, 5, 2, 4).reshape(planes, h, w, self.patch)

    def join(self, patches: Array, shape: tuple[int, ...]) -> Array:
        """The block of this shape: undo ``cut``."""
        planes, height, width, colours = self.planes(shape)
        s, (_, h, w) = self.stride, self.cells(shape)
        whole = patches.reshape(planes, h, w, colours, s, s).transpose(0, 1, 4, 2, 5, 3)
        return whole.reshape(planes, h * s, w * s, colours)[:, :height, :width].reshape(shape)


@dataclass(frozen=True)
class Strided:
    """The grid and the network that fills it.

    Attributes:
        network: takes AROUND * K integers, the nine cells of latent 0 line by line first; gives the P values of a
            patch, colour by colour, line by line.
    """

    grid: Grid
    network: IntegerNetwork

    def __post_init__(self) -> None:
        grid = self.grid
        if not (1 <= grid.stride <= MOST_STRIDE and 0 <= grid.colours <= MOST_COLOURS):
            raise ModelError("The strided network has an impossible grid; the model is damaged.")
        if self.network.latent_dim % AROUND or len(self.network.offset) != grid.patch:
            raise ModelError("The strided network does not fit its grid; the model is damaged.")

    @property
    def latents(self) -> int:
        """Latents of a cell, K."""
        return self.network.latent_dim // AROUND

    def synthesis(self, latents: Array, shape: tuple[int, ...]) -> Int64s:
        """Integers int64 of a block of this ``shape``, in the network's units, of latents [N, h, w, K]."""
        found = np.empty((math.prod(latents.shape[:3]), self.grid.patch), np.int64)
        at = 0
        for inputs in around(latents):
            found[at : at + len(inputs)] = self.network.synthesis(inputs)
            at += len(inputs)
        return self.grid.join(found, shape)

    def tensors(self) -> dict[str, Array]:
        """Integer arrays for a model file."""
        return {"grid": np.array([self.grid.stride, self.grid.colours]), **self.network.tensors()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Strided:
        """The reverse; raises ModelError unless they make an exact network of one unit."""
        grid = tensors.get("grid")
        if grid is None or grid.dtype.kind != "i" or grid.shape != (2,):
            raise ModelError("The strided network has no grid; the model is damaged.")
        network = IntegerNetwork.from_tensors(tensors)
        if network.unit_exponent.shape != (1,):
            raise ModelError("The strided network has more than one unit; the model is damaged.")
        return cls(Grid(int(grid[0]), int(grid[1])), network)


def around(cells: Array) -> Iterator[Array]:
    """[<= chunk, AROUND * K] of cells [N, h, w, K], in order: each with the eight around it, 0 beyond the edges."""
    planes, h, w, many = cells.shape
    windows = sliding_window_view(np.pad(cells, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2))
    few = max(1, _CHUNK // max(h * w, 1))
    lines = h if h * w <= _CHUNK else max(1, _CHUNK // w)
    for plane in range(0, planes, few):
        for line in range(0, h, lines):
            yield windows[plane : plane + few, line : line + lines].reshape(-1, AROUND * many)


def gathered(told: Array, shape: tuple[int, ...]) -> Array:
    """[N, h, w, K], this shape: what ``told`` [N * h * w, AROUND * K] tells each cell from where it was around another;
    the adjoint of ``around``."""
    planes, h, w, many = shape
    windows = told.reshape(planes, h, w, many, 3, 3)
    found = np.zeros((planes, h + 2, w + 2, many), told.dtype)
    for i, j in product(range(3), range(3)):
        found[:, i : i + h, j : j + w] += windows[..., i, j]
    return found[:, 1:-1, 1:-1]
