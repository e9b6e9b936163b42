"""Picture coders of imagecodecs on integers of 8 or 16 bits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import imagecodecs
import numpy as np

from aecompress.peers.frames import FramedPeer, LossyPicturePeer
from aecompress.spec import Array


@dataclass(frozen=True)
class PicturePeer(FramedPeer):
    """A coder without loss, or with a bound on every value."""

    bound: int = 0

    near_lossless: ClassVar[bool] = False

    @classmethod
    def variants(cls, x: Array, bound: float) -> list[Self]:
        if bound >= 1 and not cls.near_lossless:
            return []
        return [replace(peer, bound=int(bound)) for peer in cls.arrangements(x)]


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


class LossyJpegXl(LossyPicturePeer):
    """JPEG XL, effort 7, at distances of 0.01 to 25, the widest there is."""

    name = "jpegxl"
    qualities = 256

    def encode(self, picture: Array) -> bytes:
        distance = 25.0 * 0.0004 ** (self.quality / (self.qualities - 1))
        return bytes(imagecodecs.jpegxl_encode(picture, distance=distance, effort=7, numthreads=1))

    def decode(self, part: bytes) -> Array:
        return imagecodecs.jpegxl_decode(part, numthreads=1)
