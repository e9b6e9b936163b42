"""Compressors of floating-point fields, each with an absolute bound on every value: SZ3, SPERR, zfp."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import imagecodecs
import numpy as np

from aecompress.peers.base import Peer
from aecompress.peers.layouts import Layout, Shape, layouts
from aecompress.spec import Array

#: An integer survives rounding when its float is off by less than half: these codecs may use that room.
ROUNDING_ROOM = 0.49


@dataclass(frozen=True)
class FieldPeer(Peer):
    """Fold, code each part as floats, and round back if they were integers."""

    layout: Layout
    bound: float

    ndims: ClassVar[Shape] = (1, 2, 3)
    min_extent: ClassVar[int] = 1

    @classmethod
    def variants(cls, x: Array, bound: float) -> list[Self]:
        if bound == 0 or x.dtype.kind not in "fiu":
            return []
        return [
            cls(layout, room(x.dtype, bound))
            for layout in layouts(x.shape, cls.ndims)
            if min(layout.shape[1:]) >= cls.min_extent
        ]

    def at(self, x: Array, bound: float) -> Self:
        return replace(self, bound=room(x.dtype, bound))

    def compress(self, x: Array) -> list[bytes]:
        return [self.encode(part) for part in self.layout.fold(as_floats(x))]

    def decompress(self, parts: list[bytes], shape: Shape, dtype: np.dtype) -> Array:
        decoded = [self.decode(part, self.layout.shape[1:], float_of(dtype)) for part in parts]
        x = self.layout.unfold(np.stack(decoded), shape)
        if dtype.kind == "f":
            return x.astype(dtype)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(x.astype(np.float64)), limits.min, limits.max).astype(dtype)

    @abstractmethod
    def encode(self, part: Array) -> bytes: ...

    @abstractmethod
    def decode(self, part: bytes, shape: Shape, dtype: np.dtype) -> Array: ...


class Sz3(FieldPeer):
    name = "sz3"

    def encode(self, part: Array) -> bytes:
        return bytes(imagecodecs.sz3_encode(part, "abs", abs=self.bound))

    def decode(self, part: bytes, shape: Shape, dtype: np.dtype) -> Array:
        return imagecodecs.sz3_decode(part, shape, dtype)


class Sperr(FieldPeer):
    name = "sperr"
    ndims = (2, 3)
    min_extent = 4  # its library aborts the whole process on some shorter axes

    def encode(self, part: Array) -> bytes:
        return bytes(imagecodecs.sperr_encode(part, self.bound, "pwe", numthreads=1))

    def decode(self, part: bytes, shape: Shape, dtype: np.dtype) -> Array:
        return imagecodecs.sperr_decode(part, shape=shape, dtype=dtype, numthreads=1)


class Zfp(FieldPeer):
    name = "zfp"

    def encode(self, part: Array) -> bytes:
        return bytes(imagecodecs.zfp_encode(part, self.bound, mode="a", numthreads=1))  # type: ignore[arg-type]

    def decode(self, part: bytes, shape: Shape, dtype: np.dtype) -> Array:
        # The stream has a header; told the shape as well, the decoder reads past it.
        return imagecodecs.zfp_decode(part, numthreads=1).reshape(shape).astype(dtype, copy=False)


def room(dtype: np.dtype, bound: float) -> float:
    """How far the floats may be off for values of ``dtype`` to keep ``bound``."""
    return bound if dtype.kind == "f" else math.floor(bound) + ROUNDING_ROOM


def float_of(dtype: np.dtype) -> np.dtype:
    """float64 where float32 would lose digits of ``dtype``, else float32."""
    wide = dtype.itemsize == 8 or (dtype.kind in "iu" and dtype.itemsize == 4)
    return np.dtype(np.float64 if wide else np.float32)


def as_floats(x: Array) -> Array:
    """``x`` as native floats, NaN and infinities replaced by the mean, which these codecs could not carry."""
    floats = x.astype(float_of(x.dtype))
    finite = np.isfinite(floats)
    if finite.all():
        return floats
    mean = floats[finite].mean(dtype=np.float64) if finite.any() else 0.0
    return np.where(finite, floats, floats.dtype.type(mean))
