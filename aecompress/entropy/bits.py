"""Raw bits: what has no structure left, written as it is, least significant bit first."""

from __future__ import annotations

import numpy as np
import zstandard

from aecompress.entropy.integers import inflate
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar
from aecompress.errors import CorruptError
from aecompress.spec import Array

_AS_THEY_ARE, _ZSTD = b"\x00", b"\x01"
_LEVEL = 3


def pack(values: Array, widths: Array) -> bytes:
    """Numbers uint64 [n] of ``widths`` int64 [n] bits each, 0 to 63, side by side; by zstd where that is shorter."""
    raw = join_bits(values, widths).astype("<u4").tobytes()
    packed = zstandard.compress(raw, _LEVEL)
    return _ZSTD + packed if len(packed) < len(raw) else _AS_THEY_ARE + raw


def unpack(data: bytes, widths: Array) -> Array:
    """The uint64 numbers [n] of ``pack``. Raises CorruptError if ``data`` does not hold them."""
    size = 4 * _words(int(widths.sum()))
    raw = inflate(data[1:], size) if data[:1] == _ZSTD else data[1:]
    if data[:1] not in (_ZSTD, _AS_THEY_ARE) or len(raw) != size:
        raise CorruptError("A stream of raw bits has another length than its numbers; the file is damaged.")
    values = np.empty(widths.size, np.uint64)
    _split(np.frombuffer(raw, "<u4").astype(np.uint32), widths, values)
    return values


def _words(bits: int) -> int:
    """32-bit words that hold so many bits."""
    return (bits + 31) // 32


@inlined
def word_at(words: Array, at: Scalar) -> Scalar:
    """A word of the stream, 0 behind its end: damaged streams decode to something and fail their checksum."""
    return np.uint64(words[at]) if at < words.size else np.uint64(0)


@inlined
def put_bits(words: Array, at: Scalar, value: Scalar, width: Scalar) -> Scalar:
    """Write ``width`` bits at bit ``at``; returns the bit behind them."""
    done = np.int64(0)
    while done < width:
        word, used = at >> 5, at & 31
        take = min(np.int64(32) - used, width - done)
        part = (value >> np.uint64(done)) & ((np.uint64(1) << np.uint64(take)) - np.uint64(1))
        words[word] |= np.uint32(part << np.uint64(used))
        at += take
        done += take
    return at


@inlined
def get_bits(words: Array, at: Scalar, width: Scalar) -> Scalar:
    """Read ``width`` bits at bit ``at``."""
    value = np.uint64(0)
    done = np.int64(0)
    while done < width:
        word, used = at >> 5, at & 31
        take = min(np.int64(32) - used, width - done)
        part = (word_at(words, word) >> np.uint64(used)) & ((np.uint64(1) << np.uint64(take)) - np.uint64(1))
        value |= part << np.uint64(done)
        at += take
        done += take
    return value


def join_bits(values: Array, widths: Array) -> Array:
    """uint32 words of ``widths`` bits of each of ``values``, side by side."""
    words = np.zeros(_words(int(widths.sum())), np.uint32)
    _join(values, widths, words)
    return words


@loop
def _join(values: Array, widths: Array, words: Array) -> None:
    at = np.int64(0)
    for i in range(values.size):
        at = put_bits(words, at, values[i], widths[i])


@loop
def _split(words: Array, widths: Array, out: Array) -> None:
    at = np.int64(0)
    for i in range(widths.size):
        out[i] = get_bits(words, at, widths[i])
        at += widths[i]
