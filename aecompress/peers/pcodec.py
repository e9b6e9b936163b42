"""pcodec on the values as they are, and on lattice integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import imagecodecs
import numpy as np

from aecompress.peers.base import Peer
from aecompress.peers.lattice import LatticePeer
from aecompress.peers.layouts import Layout, Shape
from aecompress.peers.lossless import flat
from aecompress.spec import Array


@dataclass(frozen=True)
class Pcodec(Peer):
    name = "pcodec"
    layout: Layout

    @classmethod
    def variants(cls, x: Array, bound: float) -> list[Self]:
        return [cls(layout) for layout in flat(x, bound) if x.dtype.kind != "b"]

    def compress(self, x: Array) -> list[bytes]:
        return [bytes(imagecodecs.pcodec_encode(self.layout.fold(x.astype(x.dtype.newbyteorder("="))), 12))]

    def decompress(self, parts: list[bytes], shape: Shape, dtype: np.dtype) -> Array:
        values = imagecodecs.pcodec_decode(parts[0], self.layout.shape, dtype.newbyteorder("="))
        return self.layout.unfold(values, shape).astype(dtype)


class QuantizePcodec(LatticePeer):
    """pcodec, which looks for a further difference by itself, at its highest level."""

    name = "quantize+pcodec"

    def compress(self, x: Array) -> list[bytes]:
        residuals = self.residuals(x)
        return [bytes([residuals.itemsize]) + bytes(imagecodecs.pcodec_encode(residuals.ravel(), 12))]

    def decompress(self, parts: list[bytes], shape: Shape, dtype: np.dtype) -> Array:
        width = np.dtype(f"u{parts[0][0]}")
        return self.restore(imagecodecs.pcodec_decode(parts[0][1:], shape, width), shape, dtype)
