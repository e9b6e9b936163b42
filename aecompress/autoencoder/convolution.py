"""Exact convolutional synthesis: a small integer network slid over a block of lattice integers.

    q ─ neighbours less the value itself ─┐
        the value less a typical one ─────┴─ integer network ─ correction ─► estimate, in parts of a cell

Quantisation is corruption, and this is the decoder of a denoising autoencoder that undoes it: what lies on both sides
of a value, and in the rows around it, tells where in its cell it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from aecompress.autoencoder.integer import Int64s, IntegerNetwork, Stored
from aecompress.errors import ModelError
from aecompress.spec import Array

#: Parts of a cell: the estimate's unit is 2^-FRACTION cells.
FRACTION = 12

#: Most neighbours, and the farthest along an axis.
MOST_TAPS, FARTHEST = 256, 31

#: Differences of neighbours are clamped to this many cells, corrections to this many.
_DIFFERENCE, _CORRECTION = (1 << 12) - 1, 2

# values whose neighbours are gathered at once
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Convolution(Stored):
    """The network and what it sees.

    Attributes:
        taps: int8 [K, axes], offsets of the neighbours, the row axis first; none is all zero.
        typical: the integer that the value itself is told less.
        network: takes K + 1 integers, gives one.
    """

    taps: Array
    typical: int
    network: IntegerNetwork

    def __post_init__(self) -> None:
        if self.taps.ndim != 2 or not 1 <= len(self.taps) <= MOST_TAPS or np.abs(self.taps).max() > FARTHEST:
            raise ModelError("The convolution sees impossible neighbours; the model is damaged.")
        if self.network.latent_dim != len(self.taps) + 1 or self.network.offset.shape != (1,):
            raise ModelError("The convolution's network does not fit its neighbours; the model is damaged.")

    def estimate(self, q: Int64s, keep: Array) -> Int64s:
        """int64 [rows, ...], in 2^-FRACTION cells, of lattice integers [rows, ...].

        Args:
            q: int64; where ``keep`` is false any value.
            keep: bool, same shape.
        """
        found = np.empty(q.size, np.int64)
        at = 0
        for inputs in self.inputs(q, keep):
            found[at : at + len(inputs)] = self.network.synthesis(inputs)[:, 0]
            at += len(inputs)
        drop = -FRACTION - int(self.network.unit_exponent[0])
        correction = (found + ((1 << drop) >> 1)) >> drop if drop > 0 else found << -drop
        most = _CORRECTION << FRACTION
        estimate: Int64s = (q << FRACTION) + np.clip(correction, -most, most).reshape(q.shape)
        return estimate

    def inputs(self, q: Int64s, keep: Array) -> Iterator[Array]:
        """What the network is told of each value, in order: int64 [<= chunk, K + 1]."""
        yield from gather(q, keep, self.taps, self.typical)

    def tensors(self) -> dict[str, Array]:
        """Integer arrays."""
        return {"taps": self.taps, "typical": np.array([self.typical]), **self.network.tensors()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Convolution:
        """The reverse; raises ModelError unless they make an exact network."""
        taps, typical = tensors.get("taps"), tensors.get("typical")
        if taps is None or typical is None or taps.dtype.kind != "i" or typical.shape != (1,):
            raise ModelError("The convolution has no neighbours; the model is damaged.")
        network = IntegerNetwork.from_tensors(tensors)
        if not -40 <= int(network.unit_exponent[0]) <= 0:
            raise ModelError("The convolution's unit is out of range; the model is damaged.")
        return cls(taps.astype(np.int64), int(typical[0]), network)


def gather(q: Int64s, keep: Array, taps: Array, typical: int) -> Iterator[Array]:
    """int64 [<= chunk, K + 1]: differences of the neighbours, 0 for those outside or not kept, and the value itself."""
    reach = np.abs(taps).max(0).tolist()
    pads = [(r, r) for r in reach]
    values, known = np.pad(q, pads), np.pad(keep, pads)
    for piece in _pieces(q.shape, _CHUNK):
        centre = q[piece]
        told = np.empty((len(taps) + 1, *centre.shape), np.int64)
        for row, tap in zip(told, taps, strict=False):
            ways = [r + t for r, t in zip(reach, tap.tolist(), strict=True)]
            place = tuple(slice(p.start + way, p.stop + way) for p, way in zip(piece, ways, strict=True))
            np.subtract(values[place], centre, out=row)
            row *= known[place]
        np.subtract(centre, typical, out=told[-1])
        told *= keep[piece]
        np.clip(told, -_DIFFERENCE, _DIFFERENCE, out=told)
        yield told.reshape(len(told), -1).T


def _pieces(shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Parts of a block in C order, of about ``most`` values or one line each."""
    inner = math.prod(shape[1:])
    step = max(1, most // max(inner, 1))
    for start in range(0, shape[0], step):
        part = slice(start, min(start + step, shape[0]))
        if len(shape) < 3 or inner <= most:
            yield (part, *(slice(0, n) for n in shape[1:]))
        else:
            yield from ((part, *rest) for rest in _pieces(shape[1:], most))
