"""Picture coders on integers of 8 or 16 bits whose last two axes (before three colours) are those of a picture."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import imagecodecs
import numpy as np

from aecompress.peers.base import Peer
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
class PicturePeer(Peer):
    """Pictures one by one or as a mosaic, lifted by ``-floor`` so that none is negative."""

    frames: Frames
    mosaic: bool
    floor: int
    bound: int

    itemsize: ClassVar[int] = 2
    near_lossless: ClassVar[bool] = False
    max_edge: ClassVar[int] = 65535

    @classmethod
    def variants(cls, x: Array, bound: float) -> list[Self]:
        wide = x.dtype.kind not in "iu" or x.dtype.itemsize > cls.itemsize
        if wide or x.size == 0 or (bound >= 1 and not cls.near_lossless):
            return []
        floor = min(int(x.min()), 0)
        return [cls(frames, mosaic, floor, int(bound)) for frames, mosaic in cls._arrangements(x.shape)]

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
class JpegXl(PicturePeer):
    """JPEG XL, the better of two efforts: the higher one does not always win."""

    name = "jpegxl lossless"
    effort: int = 7

    @classmethod
    def variants(cls, x: Array, bound: float) -> list[Self]:
        return [replace(peer, effort=effort) for peer in super().variants(x, bound) for effort in (7, 9)]

    def encode(self, picture: Array) -> bytes:
        return bytes(imagecodecs.jpegxl_encode(picture, lossless=True, effort=self.effort, numthreads=1))

    def decode(self, part: bytes) -> Array:
        return imagecodecs.jpegxl_decode(part, numthreads=1)


class JpegLs(PicturePeer):
    """JPEG-LS, which has a near-lossless mode with a bound of its own."""

    name = "jpegls"
    near_lossless = True

    def at(self, x: Array, bound: float) -> Self:  # noqa: ARG002 - the bound is all it needs
        return replace(self, bound=int(bound))

    def encode(self, picture: Array) -> bytes:
        return bytes(imagecodecs.jpegls_encode(picture, self.bound))

    def decode(self, part: bytes) -> Array:
        return imagecodecs.jpegls_decode(part)


class WebP(PicturePeer):
    """WebP knows 8 bits and three colours only: grey goes as three equal ones, which it codes as one."""

    name = "webp lossless"
    itemsize = 1
    max_edge = 16383

    def encode(self, picture: Array) -> bytes:
        colours = picture if self.frames.colours else np.repeat(picture[..., None], 3, axis=-1)
        return bytes(imagecodecs.webp_encode(colours, lossless=True, method=4, numthreads=1))

    def decode(self, part: bytes) -> Array:
        colours = imagecodecs.webp_decode(part, hasalpha=False)
        return colours if self.frames.colours else colours[..., 0]
