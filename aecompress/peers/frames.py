"""Arrays as pictures: rows of 8 or 16 bits whose last two axes (before three colours) are those of a picture."""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from aecompress.metrics import distortion
from aecompress.peers.base import Peer, UnboundedPeer
from aecompress.peers.layouts import Shape
from aecompress.spec import Array

#: Pictures smaller than this along an edge are not pictures.
MIN_EDGE = 8

#: Pictures of fewer pixels may be coded as one mosaic, and are, if there are more than MAX_FRAMES.
SMALL = 2**16
MAX_FRAMES = 256


@dataclass(frozen=True)
class Frames:
    """Rows seen as ``count`` pictures of ``height x width``, of ``colours`` planes if there are any."""

    count: int
    height: int
    width: int
    colours: Shape

    @classmethod
    def of(cls, shape: Shape) -> Frames | None:
        """None where an array of ``shape`` holds no pictures."""
        planes = shape[-1:] if shape[-1] == 3 else ()
        edges = shape[: len(shape) - len(planes)]
        if len(shape) < 3 or len(edges) < 2 or min(edges[-2:]) < MIN_EDGE:
            return None
        return cls(math.prod(edges[:-2]), edges[-2], edges[-1], planes)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of pictures that make a mosaic about square."""
        columns = math.ceil(math.sqrt(self.count * self.height / self.width))
        return math.ceil(self.count / columns), columns

    def split(self, x: Array) -> Array:
        return x.reshape(self.count, self.height, self.width, *self.colours)

    def tile(self, frames: Array) -> Array:
        """One picture of all frames, the last tiles left black."""
        rows, columns = self.grid
        tiles = np.zeros((rows * columns, *frames.shape[1:]), frames.dtype)
        tiles[: self.count] = frames
        grid = tiles.reshape(rows, columns, *frames.shape[1:]).swapaxes(1, 2)
        return grid.reshape(rows * self.height, columns * self.width, *self.colours)

    def untile(self, mosaic: Array) -> Array:
        rows, columns = self.grid
        grid = mosaic.reshape(rows, self.height, columns, self.width, *self.colours).swapaxes(1, 2)
        return grid.reshape(rows * columns, self.height, self.width, *self.colours)[: self.count]


@dataclass(frozen=True)
class FramedPeer(Peer):
    """Pictures one by one or as a mosaic, lifted by ``-floor`` so that none is negative."""

    frames: Frames
    mosaic: bool
    floor: int

    itemsize: ClassVar[int] = 2
    max_edge: ClassVar[int] = 65535

    @classmethod
    def arrangements(cls, x: Array) -> list[Self]:
        """The ways to make pictures of ``x``; none where it holds no pictures that the coder takes."""
        if x.dtype.kind not in "iu" or x.dtype.itemsize > cls.itemsize or x.size == 0:
            return []
        floor = min(int(x.min()), 0)
        return [cls(frames, mosaic, floor) for frames, mosaic in cls._arrangements(x.shape)]

    @classmethod
    def _arrangements(cls, shape: Shape) -> Iterator[tuple[Frames, bool]]:
        frames = Frames.of(shape)
        if frames is None:
            return
        small = frames.height * frames.width < SMALL
        if frames.count <= MAX_FRAMES or not small:
            yield frames, False
        rows, columns = frames.grid
        if frames.count > 1 and small and max(rows * frames.height, columns * frames.width) <= cls.max_edge:
            yield frames, True

    def compress(self, x: Array) -> list[bytes]:
        unsigned = (x.astype(np.int32) - self.floor).astype(f"u{x.itemsize}")
        frames = self.frames.split(unsigned)
        pictures = [self.frames.tile(frames)] if self.mosaic else list(frames)
        return [self.encode(np.ascontiguousarray(picture)) for picture in pictures]

    def decompress(self, parts: list[bytes], shape: Shape, dtype: np.dtype) -> Array:
        pictures = [self.decode(part) for part in parts]
        frames = self.frames.untile(pictures[0]) if self.mosaic else np.stack(pictures)
        limits = np.iinfo(dtype)
        return np.clip(frames.astype(np.int32) + self.floor, limits.min, limits.max).reshape(shape).astype(dtype)

    @abstractmethod
    def encode(self, picture: Array) -> bytes: ...

    @abstractmethod
    def decode(self, part: bytes) -> Array: ...


@dataclass(frozen=True)
class LossyPicturePeer(FramedPeer, UnboundedPeer):
    """A lossy coder of ``qualities`` settings, of which 0 is the coarsest."""

    quality: int = 0

    qualities: ClassVar[int]

    @classmethod
    def settings(cls, x: Array, rmse: float) -> list[Self]:
        return [peer._coarsest(x, rmse) for peer in cls.arrangements(x)]

    def _coarsest(self, x: Array, rmse: float) -> Self:
        """The coarsest quality that reaches ``rmse``, looked for by halving; the finest where none does."""
        finer = range(self.qualities - 1)
        return replace(self, quality=bisect_left(finer, True, key=lambda quality: self._reaches(quality, x, rmse)))

    def _reaches(self, quality: int, x: Array, rmse: float) -> bool:
        peer = replace(self, quality=quality)
        return distortion(x, peer.decompress(peer.compress(x), x.shape, x.dtype)).rmse <= rmse
