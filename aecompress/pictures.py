"""Small grey pictures, and the PNG file that shows them; needs nothing but NumPy.

PNG: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aecompress.spec import Array


def grid(lines: Sequence[Array], *, zoom: int = 3, gap: int = 1) -> Array:
    """Pictures [n, y, x] of each line side by side, the lines below each other, on white.

    Returns:
        uint8 [height, width], each value ``zoom`` times as wide and high; values outside 0 to 255 are clipped.
    """
    margin = ((0, 0), (gap, gap), (gap, gap))
    rows = [np.hstack(list(np.pad(np.clip(line, 0, 255), margin, constant_values=255))) for line in lines]
    return np.vstack(rows).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)


def write_png(path: Path, picture: Array) -> None:
    """Write a grey picture, uint8 [height, width]. Raises OSError."""
    height, width = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey, not interlaced
    lines = np.pad(picture, ((0, 0), (1, 0)))  # each line begins with its filter: 0, none
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
