"""Any array of integers to bytes and back, by delta, byte planes and zstd: the simple way.

It serves what is small or odd (model arrays, maps of special values) and is the plain candidate that the learned
coders have to beat: quantise + delta + zstd.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import zstandard

from aecompress.errors import CorruptError
from aecompress.spec import MAX_AXES, Array

_TYPES = ["i1", "i2", "i4", "i8"]

# header: delta axis + 1 (0 = none), itemsize index, byte planes?, number of axes; then the axes; then the low value
_HEAD = struct.Struct("<BBBB")
_AXIS = struct.Struct("<Q")
_LOW = struct.Struct("<q")

#: zstd level for what is kept, and for quick trials.
THOROUGH, QUICK = 19, 3

_MOST_ROOM = 1 << 60  # the sides other than 0 of an int64 array multiply to less
_PIECE = 1 << 17  # bytes decompressed at once: a stream that ends early takes no more memory than it holds


def encode(values: Array, *, level: int = THOROUGH, axes: tuple[int, ...] | None = None) -> bytes:
    """The smallest of: no delta or a delta along one of ``axes`` (default all), with and without byte planes.

    ``values`` is an integer array of up to 8 axes that fits int64; differences wrap around.
    """
    values = np.asarray(values, np.int64, order="C")
    tried: list[int | None] = [None, *(range(values.ndim) if axes is None else axes)]
    if values.size and (values == values.flat[0]).all():
        # what differs in nothing gains nothing by differences, and long runs take a thorough zstd ten times as long
        tried, level = [None], QUICK
    return min((candidate for axis in tried for candidate in _layouts(values, axis, level)), key=len)


def to_streams(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Integer arrays of a model as streams uint8 [bytes]; others as they are."""
    return {
        name: np.frombuffer(encode(array, axes=()), np.uint8) if array.dtype.kind in "iu" else array
        for name, array in tensors.items()
    }


def from_streams(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Undo ``to_streams``. Raises CorruptError on damage."""
    return {name: decode(array.tobytes()) if array.dtype == np.uint8 else array for name, array in tensors.items()}


def best_axis(values: Array) -> int | None:
    """The axis along which differences compress best, or None for the values themselves, by a quick trial."""
    tried: list[int | None] = [None, *range(values.ndim)]
    values = np.asarray(values, np.int64, order="C")
    return min(tried, key=lambda axis: min(map(len, _layouts(values, axis, QUICK))))


def decode(data: bytes, *, most: int = 1 << 34) -> Array:
    """Back to int64, shape included. Raises CorruptError on damage or more than ``most`` values."""
    try:
        delta, item, planes, ndim = _HEAD.unpack_from(data)
        at = _HEAD.size
        shape = tuple(_AXIS.unpack_from(data, at + i * _AXIS.size)[0] for i in range(ndim))
        (low,) = _LOW.unpack_from(data, at + ndim * _AXIS.size)
        body = data[at + ndim * _AXIS.size + _LOW.size :]
    except struct.error as err:
        raise CorruptError("A stream of integers is cut short; the file is damaged.") from err
    if item >= len(_TYPES) or delta > ndim or planes > 1 or not possible(shape, most):
        raise CorruptError("A stream of integers has an impossible header; the file is damaged.")
    count = math.prod(shape)
    dtype = np.dtype("<" + _TYPES[item])
    raw = np.frombuffer(inflate(body, count * dtype.itemsize), np.uint8)
    if planes:
        raw = np.ascontiguousarray(raw.reshape(dtype.itemsize, count).T).reshape(-1)
    values = raw.view(dtype).astype(np.int64) + np.int64(low)
    values = values.reshape(shape)
    return np.cumsum(values, axis=delta - 1, dtype=np.int64) if delta else values


def possible(shape: Sequence[int], most: int) -> bool:
    """True if there can be an int64 array of this shape, and it holds no more than ``most`` values."""
    if len(shape) > MAX_AXES or min(shape, default=0) < 0 or math.prod(shape) > most:
        return False
    return math.prod(max(n, 1) for n in shape) < _MOST_ROOM


def _layouts(values: Array, axis: int | None, level: int) -> list[bytes]:
    """``values`` with a delta along ``axis``, as plain numbers and as byte planes."""
    if axis is not None:
        with np.errstate(over="ignore"):
            values = np.diff(values, axis=axis, prepend=np.int64(0))
    narrow, item, low = _narrow(values)
    shape = b"".join(_AXIS.pack(n) for n in values.shape)
    found = []
    for planes in range(2 if item else 1):
        body = narrow.reshape(-1).view(np.uint8)
        if planes:
            body = np.ascontiguousarray(body.reshape(-1, narrow.itemsize).T)
        start = _HEAD.pack(0 if axis is None else axis + 1, item, planes, values.ndim) + shape + _LOW.pack(low)
        found.append(start + deflate(body.tobytes(), level))
    return found


def _narrow(values: Array) -> tuple[Array, int, int]:
    """The narrowest signed type that holds ``values`` less a constant: (array, type index, constant)."""
    if not values.size:
        return values.astype("<i1"), 0, 0
    least, greatest = int(values.min()), int(values.max())
    for item, bits in enumerate((8, 16, 32)):
        half = 1 << (bits - 1)
        if -half <= least and greatest < half:
            return values.astype("<" + _TYPES[item]), item, 0
        if greatest - least < 2 * half:
            low = min(least + half, (1 << 63) - 1)
            return (values - np.int64(low)).astype("<" + _TYPES[item]), item, low
    return values.astype("<i8"), 3, 0


def deflate(data: bytes, level: int) -> bytes:
    """One zstd frame without checksum (payloads carry their own)."""
    return bytes(zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=False).compress(data))


def inflate(body: bytes, size: int) -> bytes:
    """Exactly ``size`` bytes from one zstd frame. Raises CorruptError if it holds fewer or more."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            data = b"".join(_pieces(reader, size))
            more = reader.read(1)
    except zstandard.ZstdError as err:
        raise CorruptError("A zstd stream does not decode; the file is damaged.") from err
    if len(data) != size or more:
        raise CorruptError("A zstd stream holds another number of bytes than announced; the file is damaged.")
    return data


def _pieces(reader: zstandard.ZstdDecompressionReader, size: int) -> Iterator[bytes]:
    """The next ``size`` bytes, or as many as there are."""
    while size and (piece := reader.read(min(size, _PIECE))):
        yield piece
        size -= len(piece)
