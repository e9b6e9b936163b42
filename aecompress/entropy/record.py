"""A record: a sequence of small integer arrays in one compressed string.

Each array is its number of axes, its sizes and its values, all as zigzagged variable-length integers (seven bits a
byte, least significant first); the whole is one zstd frame. It suits the many short arrays of a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import zstandard

from aecompress.entropy.integers import inflate, possible
from aecompress.entropy.loops import loop
from aecompress.entropy.tokens import Scalar, unzigzag
from aecompress.errors import CorruptError
from aecompress.spec import MAX_AXES, Array

#: A record holds less than this, which bounds what a damaged one can ask for.
MOST_BYTES = 1 << 28


def pack(arrays: Sequence[Array | int]) -> bytes:
    """Arrays of integers that fit int64 to bytes."""
    out = bytearray()
    for array in arrays:
        values = np.asarray(array, np.int64)
        _write(out, [values.ndim, *values.shape, *values.reshape(-1).tolist()])
    return bytes(zstandard.ZstdCompressor(level=19, write_checksum=False).compress(bytes(out)))


def unpack(data: bytes) -> list[Array]:
    """The int64 arrays of a record. Raises CorruptError if it is damaged."""
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= MOST_BYTES:
            raise CorruptError("A record of the model has an impossible size; the file is damaged.")
        return list(_arrays(_read(inflate(data, size)), size))
    except zstandard.ZstdError as err:
        raise CorruptError("A record of the model does not decode; the file is damaged.") from err


def within(numbers: Array, low: Array | Scalar, high: Array | Scalar) -> bool:
    """True if none of the numbers is below ``low`` or above ``high``; unlike magnitudes that holds for -2^63 too."""
    return bool(((numbers >= low) & (numbers <= high)).all())


def _arrays(numbers: Array, size: int) -> Iterator[Array]:
    """The arrays of ``numbers``, which took ``size`` bytes: each at least one."""
    at = 0
    while at < len(numbers):
        axes = int(numbers[at])
        shape = numbers[at + 1 : at + 1 + axes].tolist() if 0 <= axes <= MAX_AXES else []
        if len(shape) != axes or not possible(shape, size):
            raise CorruptError("A record of the model has an impossible shape; the file is damaged.")
        start, at = at + 1 + axes, at + 1 + axes + math.prod(shape)
        if at > len(numbers):
            raise CorruptError("A record of the model is cut short; the file is damaged.")
        yield numbers[start:at].reshape(shape)


def _write(out: bytearray, numbers: Iterable[int]) -> None:
    for number in numbers:
        u = (number << 1) ^ (number >> 63)
        while u > 127:
            out.append(u & 127 | 128)
            u >>= 7
        out.append(u)


def _read(data: bytes) -> Array:
    """The int64 numbers that end in ``data``."""
    coded = np.frombuffer(data, np.uint8)
    numbers = np.empty(np.count_nonzero(coded < 128), np.int64)
    if not _fill(numbers, coded):
        raise CorruptError("A record of the model holds a number of more than 64 bits; the file is damaged.")
    return numbers


@loop
def _fill(numbers: Array, coded: Array) -> bool:
    """False if a number has more than 64 bits."""
    u, shift, n = np.uint64(0), np.uint64(0), 0
    for byte in coded:
        if shift > 63 or (shift == 63 and byte > 1):
            return False
        u |= np.uint64(byte & 127) << shift
        shift += np.uint64(7)
        if byte < 128:
            numbers[n] = unzigzag(u)
            u, shift, n = np.uint64(0), np.uint64(0), n + 1
    return True
