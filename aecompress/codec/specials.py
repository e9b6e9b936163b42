"""Values no lattice may touch: NaN, infinities, -0.0, denormals, fill values, and whatever breaks the bound.

They come back bit for bit. A block stores where they are (a picture of bits, a bit map, or a list) and their bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aecompress.entropy import integers, mask
from aecompress.errors import CorruptError
from aecompress.spec import Array


def counted(values: Array, fills: Array) -> Array:
    """bool, same shape: True where a value is finite and no fill value: what ranges are taken over."""
    keep = np.isfinite(values)
    for fill in fills:
        keep &= values != fill
    return keep


def ordinary(values: Array, fills: Array) -> Array:
    """bool, same shape: True where a value counts, and is normal or +0.0."""
    keep = counted(values, fills)
    if values.dtype.kind != "f":
        return keep
    return keep & ((np.abs(values) >= np.finfo(values.dtype).tiny) | ((values == 0) & ~np.signbit(values)))


def within(values: Array, decoded: Array, bound: Array) -> Array:
    """bool: True where |x - x_hat| <= bound, of floats in float64 and in the arithmetic of the dtype itself."""
    if values.dtype.kind in "iu":
        apart = np.where(values > decoded, values - decoded, decoded - values)  # wraps to what is right, unsigned
        return np.asarray(apart.view(f"u{values.dtype.itemsize}") <= bound)
    with np.errstate(over="ignore", invalid="ignore"):
        held = np.abs(values.astype(np.float64) - decoded.astype(np.float64)) <= bound
        if values.dtype.kind == "f" and values.dtype.itemsize < 8:
            held &= np.abs(values - decoded).astype(np.float64) <= bound
    return held


def encode(values: Array, keep: Array) -> dict[str, bytes]:
    """Streams for the values where ``keep`` is False; none if there are none."""
    apart = ~keep
    many = int(apart.sum())
    if not many:
        return {}
    rows = max(len(values), 1)
    bits = np.packbits(apart.reshape(rows, -1), axis=1).view(np.int8)
    places = [b"\x00" + integers.encode(bits, axes=(0,))]
    if many < values.size // 64:
        places.append(b"\x01" + integers.encode(np.flatnonzero(apart)))
    where = {"places": min(places, key=len)}
    picture = mask.encode(apart)
    if len(picture) < len(where["places"]):
        where = {"mask": picture}
    patterns = values[apart].view(f"i{values.dtype.itemsize}")
    return {**where, "specials": integers.encode(patterns)}


@dataclass(frozen=True)
class Specials:
    """The special values of a block.

    Attributes:
        keep: bool, in the shape of the block: False at special values.
        values: in the order of their places.
    """

    keep: Array
    values: Array

    @classmethod
    def decode(cls, streams: dict[str, bytes], shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Specials:
        """Undo ``encode`` for a block of ``shape``. Raises CorruptError for streams that are none of such a block."""
        if "mask" in streams and "places" in streams:
            raise CorruptError("A block says twice where its special values are; the archive is damaged.")
        if "mask" in streams:
            apart = mask.decode(streams["mask"], shape)
        elif "places" in streams:
            apart = _places(streams["places"], shape)
        else:
            return cls(np.ones(shape, bool), np.zeros(0, dtype))
        patterns = integers.decode(streams["specials"], most=apart.size).astype(f"i{dtype.itemsize}")
        if patterns.shape != (int(apart.sum()),):
            raise CorruptError("A block's special values do not fit their places; the archive is damaged.")
        return cls(~apart, patterns.view(dtype))

    def put_back(self, decoded: Array) -> Array:
        """Decoded values, in the user's dtype, changed in place to hold the special ones."""
        if len(self.values):
            decoded[~self.keep] = self.values
        return decoded


def _places(stream: bytes, shape: tuple[int, ...]) -> Array:
    """bool in this shape: True at the places of a bit map or a list."""
    size, rows = math.prod(shape), shape[0]
    kind, places = stream[:1], integers.decode(stream[1:], most=size + 8 * len(shape) + 8)
    if kind == b"\x01":
        if places.size and not 0 <= places.min() <= places.max() < size:
            raise CorruptError("A block's special values lie outside it; the archive is damaged.")
        apart = np.zeros(size, bool)
        apart[places] = True
        return apart.reshape(shape)
    if places.shape != (rows, -(-size // (8 * rows))):
        raise CorruptError("A block's special values do not fit their places; the archive is damaged.")
    bits = np.unpackbits(places.astype(np.int8).view(np.uint8), axis=-1)
    return bits[:, : size // rows].reshape(shape).astype(bool)
