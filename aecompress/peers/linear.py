"""Principal components as one writes them down: mean, components, and the latents on a lattice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import zstandard

from aecompress.entropy.tokens import fold, unfold
from aecompress.peers.base import UnboundedPeer, are_vectors, as_rows, as_values
from aecompress.peers.lattice import narrowest
from aecompress.spec import Array

#: Rows longer than this make covariances that do not fit a quick comparison.
MOST_VALUES = 4096

#: Shares of the squared error that leaving components out may take; the latents' rounding takes the rest.
_SHARES = (0.5, 0.8, 0.95)


@dataclass(frozen=True)
class Pca(UnboundedPeer):
    """``latents`` components and the mean in float32, latents rounded to multiples of ``step``, zstd -19."""

    name = "pca"
    latents: int
    step: float

    @classmethod
    def settings(cls, x: Array, rmse: float) -> Iterator[Self]:
        if not are_vectors(x, MOST_VALUES) or rmse <= 0:
            return
        rows = as_rows(x)
        power, _ = _components(rows)
        left = np.append(power[::-1].cumsum()[::-1], 0.0)  # squared error without the components from each on
        for share in _SHARES:
            latents = int(np.argmax(left <= share * rmse**2 * rows.size))
            if 0 < latents < min(rows.shape):
                allowed = rmse**2 - left[latents] / rows.size
                yield cls(latents, math.sqrt(12 * allowed * rows.shape[1] / latents))

    def compress(self, x: Array) -> list[bytes]:
        rows = as_rows(x)
        mean, components = rows.mean(0, dtype=np.float64), _components(rows)[1][: self.latents]
        latents = np.rint((rows - mean) @ components.T / self.step).astype(np.int64)
        codes = narrowest(fold(latents))
        basis = np.vstack([mean, components]).astype(np.float32)
        return [bytes([codes.itemsize]), _squeezed(basis.tobytes()), _squeezed(codes.T.tobytes())]

    def decompress(self, parts: list[bytes], shape: tuple[int, ...], dtype: np.dtype) -> Array:
        basis = np.frombuffer(_restored(parts[1]), np.float32).reshape(self.latents + 1, -1).astype(np.float64)
        codes = np.frombuffer(_restored(parts[2]), np.dtype(f"u{parts[0][0]}")).reshape(self.latents, -1)
        return as_values(basis[0] + (unfold(codes).T * self.step) @ basis[1:], shape, dtype)


def _components(rows: Array) -> tuple[Array, Array]:
    """(squared length of the latents of each [D], components [D, D]), the strongest first."""
    centred = rows - rows.mean(0, dtype=np.float64)
    power, vectors = np.linalg.eigh(centred.T @ centred)
    return np.maximum(power[::-1], 0.0), vectors.T[::-1]


def _squeezed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=19).compress(data)


def _restored(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)
