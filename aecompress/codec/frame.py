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
METHODS = {1: "context", 2: "autoencoder", 3: "joint", 4: "plain", 5: "exact"}
STREAMS = {1: "latents", 2: "correction", 3: "wide", 4: "steps", 5: "places", 6: "specials"}

_METHOD_IDS = {name: number for number, name in METHODS.items()}
_STREAM_IDS = {name: number for number, name in STREAMS.items()}
_CHECKSUM = 8


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
        """Parse and check. Raises CorruptError if a byte changed or another model wrote it."""
        body, checksum = payload[:-_CHECKSUM], payload[-_CHECKSUM:]
        if len(payload) <= _CHECKSUM or not hmac.compare_digest(_checksum(body, key), checksum):
            raise CorruptError(
                "A block does not match its checksum: the archive is damaged, or the block belongs to another model."
            )
        if body[0] != VERSION or body[1] not in METHODS:
            raise CorruptError("A block is coded in a way this release does not know; upgrade aecompress.")
        rows, at = _read_varint(body, 2)
        sizes: list[tuple[str, int]] = []
        while body[at]:
            length, behind = _read_varint(body, at + 1)
            sizes.append((STREAMS[body[at]], length))
            at = behind
        at += 1
        streams = {}
        for name, length in sizes:
            streams[name] = body[at : at + length]
            at += length
        if at != len(body):
            raise CorruptError("A block's streams do not fill its payload; the archive is damaged.")
        return cls(METHODS[body[1]], rows, streams)


def _checksum(body: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM, key=key).digest()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, place behind it); frames are checked before they are read, so no bounds are."""
    number, shift = 0, 0
    while data[at] > 127:
        number |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1
