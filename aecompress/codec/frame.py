"""The frame around a block's streams: what it is, how long each part is, and a checksum over all of it.

    version u8 | method u8 | rows varint | { stream u8 | length varint } ... 0 u8 | stream bytes ... | checksum 8 bytes

The checksum is BLAKE2b keyed with the model's identity, so a payload never decodes with another model.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from aecompress.errors import CorruptError

VERSION = 1

#: Ways to code a block, and the streams they may hold, by their number in the format.
METHODS = {
    1: "context", 2: "autoencoder", 3: "joint", 4: "plain", 5: "exact", 6: "wavelet", 7: "columns", 8: "conv",
    9: "subbands", 10: "strided",
}  # fmt: skip
STREAMS = {
    1: "latents", 2: "correction", 3: "wide", 4: "steps", 5: "places", 6: "specials", 7: "coefficients", 8: "rest",
    9: "ulps", 10: "mask",
}  # fmt: skip

_METHOD_IDS = {name: number for number, name in METHODS.items()}
_STREAM_IDS = {name: number for number, name in STREAMS.items()}
_CHECKSUM = 8

#: Rows of a block are int32 in the block table.
MOST_ROWS = (1 << 31) - 1


@dataclass(frozen=True)
class Frame:
    """One coded block: the method, the number of rows and the streams by name."""

    method: str
    rows: int
    streams: dict[str, bytes]

    def to_bytes(self, key: bytes) -> bytes:
        """Serialise; ``key`` is the model's identity (up to 64 bytes)."""
        head = bytearray([VERSION, _METHOD_IDS[self.method]])
        head += _varint(self.rows)
        for name, data in self.streams.items():
            head.append(_STREAM_IDS[name])
            head += _varint(len(data))
        head.append(0)
        body = bytes(head) + b"".join(self.streams.values())
        return body + _checksum(body, key)

    @property
    def size(self) -> int:
        """Bytes of the streams."""
        return sum(map(len, self.streams.values()))

    @classmethod
    def from_bytes(cls, payload: bytes, key: bytes) -> Frame:
        """Parse and check. Raises CorruptError if a byte changed, another model wrote it, or no packer did."""
        body, checksum = payload[:-_CHECKSUM], payload[-_CHECKSUM:]
        if len(payload) <= _CHECKSUM or not hmac.compare_digest(_checksum(body, key), checksum):
            raise CorruptError(
                "A block does not match its checksum: the archive is damaged, or the block belongs to another model."
            )
        try:
            method = _read_method(body)
            rows, sizes, at = _read_head(body)
        except (KeyError, IndexError) as err:
            raise CorruptError("A block's head is cut short or names unknown streams; the archive is damaged.") from err
        streams = {}
        for name, length in sizes:
            streams[name] = body[at : at + length]
            at += length
        if at != len(body) or rows > MOST_ROWS:
            raise CorruptError("A block's streams do not fill its payload; the archive is damaged.")
        return cls(method, rows, streams)


def _read_method(body: bytes) -> str:
    if body[0] != VERSION or body[1] not in METHODS:
        raise CorruptError("A block is coded in a way this release does not know; upgrade aecompress.")
    return METHODS[body[1]]


def _read_head(body: bytes) -> tuple[int, list[tuple[str, int]], int]:
    """(rows, name and length of each stream, place behind the head). Raises KeyError or IndexError."""
    rows, at = _read_varint(body, 2)
    sizes = []
    while body[at]:
        length, behind = _read_varint(body, at + 1)
        sizes.append((STREAMS[body[at]], length))
        at = behind
    return rows, sizes, at + 1


def _checksum(body: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM, key=key).digest()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, place behind it). Raises IndexError where ``data`` ends, CorruptError above 63 bits."""
    number = 0
    for shift in range(0, 63, 7):
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return number, at
    raise CorruptError("A block's head holds a number that is too large; the archive is damaged.")
