"""What one writes in five lines: round to the lattice of step 2 x bound, difference, and a lossless coder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import numpy as np
import zstandard

from aecompress.entropy.tokens import fold, unfold
from aecompress.peers.base import Peer
from aecompress.peers.layouts import Shape, orders
from aecompress.peers.lossless import shuffle, unshuffle
from aecompress.spec import Array

#: Differences of lattice integers below this stay inside int64, with a bit to spare for the sign.
MAX_INTEGER = 2**60

#: zstd -19 is slow: a fast level ranks the settings, and this many go on.
FINALISTS = 5


@dataclass(frozen=True)
class Lattice:
    """Rounding to multiples of ``step``; NaN becomes ``hole``, an integer no value takes."""

    step: float
    hole: int

    @classmethod
    def fitted(cls, x: Array, bound: float) -> Lattice | None:
        """The widest lattice that keeps ``bound`` for finite ``x``; None where int64 cannot hold it."""
        finite = x[np.isfinite(x)] if x.dtype.kind == "f" else x.ravel()
        if finite.size == 0 or x.dtype.kind not in "fiu":
            return None
        top = max(abs(float(finite.min())), abs(float(finite.max())))
        step: float = 2 * int(bound) + 1
        if x.dtype.kind == "f":  # its rounding, when it is computed and when it is stored, is paid from the bound
            step = 2 * (bound - float(np.spacing(finite.dtype.type(top))))
        if step <= 0 or top / step > MAX_INTEGER:
            return None
        return cls(step, round(float(finite.min()) / step) - 1)

    def quantize(self, x: Array) -> Array:
        if x.dtype.kind != "f":
            return np.asarray(np.floor_divide(x.astype(np.int64) + int(self.step) // 2, int(self.step)))
        known = np.isfinite(x)
        integers: Array = np.rint(np.where(known, x, 0.0).astype(np.float64) / self.step).astype(np.int64)
        integers[~known] = self.hole
        return integers

    def dequantize(self, integers: Array, dtype: np.dtype) -> Array:
        if dtype.kind == "f":
            floats: Array = np.where(integers == self.hole, np.nan, integers * self.step)
            return floats.astype(dtype)
        limits = np.iinfo(dtype)
        clipped: Array = np.clip(integers * int(self.step), limits.min, limits.max)
        return clipped.astype(dtype)


@dataclass(frozen=True)
class LatticePeer(Peer):
    """Lattice integers, axes in ``order``, differenced along ``axis`` (None: not), mapped to unsigned."""

    lattice: Lattice
    order: Shape
    axis: int | None

    @classmethod
    def variants(cls, x: Array, bound: float) -> list[Self]:
        lattice = Lattice.fitted(x, bound)
        if lattice is None:
            return []
        return [cls(lattice, order, axis) for order, axis in product(orders(x.ndim), (None, *range(x.ndim)))]

    def at(self, x: Array, bound: float) -> Self:
        lattice = Lattice.fitted(x, bound)
        return self if lattice is None else replace(self, lattice=lattice)

    def residuals(self, x: Array) -> Array:
        integers = np.ascontiguousarray(self.lattice.quantize(x).transpose(self.order))
        if self.axis is not None:
            integers = np.diff(integers, axis=self.axis, prepend=0)
        return narrowest(fold(integers))

    def restore(self, residuals: Array, shape: Shape, dtype: np.dtype) -> Array:
        integers = unfold(residuals).reshape([shape[axis] for axis in self.order])
        if self.axis is not None:
            integers = np.cumsum(integers, axis=self.axis)
        return self.lattice.dequantize(integers.transpose(np.argsort(self.order)), dtype)


@dataclass(frozen=True)
class QuantizeDeltaZstd(LatticePeer):
    """Bytes shuffled or not, zstd -19; the first byte of the payload is the width of the integers."""

    name = "quantize+delta+zstd"
    shuffled: bool = True

    @classmethod
    def variants(cls, x: Array, bound: float) -> list[Self]:
        plain = super().variants(x, bound)
        every = [cls(peer.lattice, peer.order, peer.axis, shuffled) for peer in plain for shuffled in (True, False)]
        return sorted(every, key=lambda peer: len(peer.compress(x, level=3)[0]))[:FINALISTS]

    def compress(self, x: Array, level: int = 19) -> list[bytes]:
        residuals = self.residuals(x)
        data = shuffle(residuals) if self.shuffled else residuals.tobytes()
        return [bytes([residuals.itemsize]) + zstandard.ZstdCompressor(level=level).compress(data)]

    def decompress(self, parts: list[bytes], shape: Shape, dtype: np.dtype) -> Array:
        width = np.dtype(f"u{parts[0][0]}")
        data = zstandard.ZstdDecompressor().decompress(parts[0][1:])
        residuals = unshuffle(data, width) if self.shuffled else np.frombuffer(data, width)
        return self.restore(residuals, shape, dtype)


def narrowest(codes: Array) -> Array:
    """The same unsigned integers in the smallest type that holds them."""
    return codes.astype(np.min_scalar_type(codes.max(initial=0)))
