"""zstd on the values as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import zstandard

from aecompress.peers.base import Peer
from aecompress.peers.layouts import Layout, Shape, layouts
from aecompress.spec import Array


@dataclass(frozen=True)
class Zstd(Peer):
    """zstd -19, the values' bytes shuffled or not."""

    name = "zstd-19"
    layout: Layout
    shuffled: bool

    @classmethod
    def variants(cls, x: Array, bound: float) -> list[Self]:
        filters = (False, True) if x.dtype.itemsize > 1 else (False,)
        return [cls(layout, shuffled) for layout in flat(x, bound) for shuffled in filters]

    def compress(self, x: Array) -> list[bytes]:
        folded = self.layout.fold(x)
        data = shuffle(folded) if self.shuffled else folded.tobytes()
        return [zstandard.ZstdCompressor(level=19).compress(data)]

    def decompress(self, parts: list[bytes], shape: Shape, dtype: np.dtype) -> Array:
        data = zstandard.ZstdDecompressor().decompress(parts[0])
        values = unshuffle(data, dtype) if self.shuffled else np.frombuffer(data, dtype)
        return self.layout.unfold(values, shape)


def flat(x: Array, bound: float) -> list[Layout]:
    """The orders in which the values can be written one after another; none unless every bit is wanted."""
    return [layout for layout in layouts(x.shape, (1,)) if layout.shape[0] == 1] if bound == 0 else []


def shuffle(x: Array) -> bytes:
    """First bytes of all values, then all second bytes, and so on."""
    return np.ascontiguousarray(x.ravel().view(np.uint8).reshape(-1, x.itemsize).T).tobytes()


def unshuffle(data: bytes, dtype: np.dtype) -> Array:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).ravel()
