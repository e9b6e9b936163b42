"""Values no lattice may touch: NaN, infinities, -0.0, denormals, fill values, and whatever breaks the bound.

They come back bit for bit. A block stores where they are (a bit map, or a list when they are few) and their bits.
"""

from __future__ import annotations

import math

import numpy as np

from aecompress.entropy import integers
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
    """bool: True where |x - x_hat| <= bound, in float64 and in the arithmetic of the dtype itself."""
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
    patterns = values[apart].view(f"i{values.dtype.itemsize}")
    return {"places": min(places, key=len), "specials": integers.encode(patterns)}


def decode(streams: dict[str, bytes], shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """(keep, special values in order): undo ``encode`` for a block of ``shape``."""
    size = math.prod(shape)
    if "places" not in streams:
        return np.ones(shape, bool), np.zeros(0, dtype)
    kind, places = streams["places"][:1], integers.decode(streams["places"][1:], most=size + 8 * len(shape) + 8)
    apart = np.zeros(size, bool)
    if kind == b"\x01":
        if places.size and not 0 <= places.min() <= places.max() < size:
            raise CorruptError("A block's special values lie outside it; the archive is damaged.")
        apart[places] = True
    else:
        bits = np.unpackbits(places.astype(np.int8).view(np.uint8), axis=-1)
        apart = bits.reshape(max(shape[0], 1), -1)[:, : size // max(shape[0], 1)].reshape(-1).astype(bool)
    patterns = integers.decode(streams["specials"], most=size).astype(f"i{dtype.itemsize}")
    if len(apart) != size or patterns.shape != (int(apart.sum()),):
        raise CorruptError("A block's special values do not fit their places; the archive is damaged.")
    return ~apart.reshape(shape), patterns.view(dtype)
