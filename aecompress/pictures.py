"""Small pictures, grey or of numbers as colours, and the PNG file that shows them; needs nothing but NumPy.

PNG: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aecompress.errors import InputError
from aecompress.spec import Array

#: Dark blue to yellow, about equally bright steps; and blue over white to red, for what may be of either sign.
SCALE = np.array([[52, 24, 92], [62, 73, 137], [38, 130, 142], [53, 183, 121], [178, 222, 60], [253, 231, 80]])
SIGNED = np.array([[33, 92, 165], [132, 178, 217], [246, 246, 246], [239, 158, 118], [178, 40, 46]])

# pixels of the longer edge of a sheet, about
_SHEET_EDGE = 640

_NOTHING = (150, 150, 150)


def grid(lines: Sequence[Array], *, zoom: int = 3, gap: int = 1) -> Array:
    """Pictures [n, y, x] of each line side by side, the lines below each other, on white.

    Returns:
        uint8 [height, width], each value ``zoom`` times as wide and high; values outside 0 to 255 are clipped.
    """
    margin = ((0, 0), (gap, gap), (gap, gap))
    rows = [np.hstack(list(np.pad(np.clip(line, 0, 255), margin, constant_values=255))) for line in lines]
    return np.vstack(rows).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)


def sheet(rows: Array) -> Array:
    """Rows that are pictures on one sheet, as near a square as their number allows.

    Args:
        rows: [n, y, x], or [n, y, x, 3] for colours, of any dtype; other than uint8 they are stretched to 0 ... 255.

    Returns:
        uint8 [height, width] or [height, width, 3]. Raises InputError if the rows are no pictures.
    """
    colour = rows.ndim == 4 and rows.shape[-1] == 3
    if not (rows.ndim == 3 or colour) or min(rows.shape[1:3]) < 2:
        raise InputError(
            f"Rows of shape {rows.shape[1:]} are no pictures; write them as numbers, to a .npy file for instance."
        )
    shown = rows if rows.dtype == np.uint8 else _stretched(rows)
    across = math.ceil(math.sqrt(len(shown)))
    missing = -len(shown) % across
    ends = [(0, missing), (1, 1), (1, 1), (0, 0)][: rows.ndim]
    framed = np.pad(shown, ends, constant_values=255)
    height, width = framed.shape[1:3]
    laid = framed.reshape(-1, across, *framed.shape[1:]).swapaxes(1, 2)
    whole: Array = laid.reshape(len(laid) * height, across * width, *framed.shape[3:])
    zoom = max(1, _SHEET_EDGE // max(whole.shape[:2]))
    return whole.repeat(zoom, 0).repeat(zoom, 1)


def _stretched(values: Array) -> Array:
    """Numbers as uint8: the least 0, the greatest 255."""
    exact = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(exact.min()), float(exact.max())
    return np.rint((exact - low) * (255 / ((high - low) or 1.0))).astype(np.uint8)


def write_png(path: Path, picture: Array) -> None:
    """Write a picture as ``png`` takes it. Raises OSError."""
    path.write_bytes(png(picture))


def png(picture: Array) -> bytes:
    """The PNG file of a picture, uint8: grey [height, width], or red, green and blue [height, width, 3]."""
    height, width = picture.shape[:2]
    kind = 2 if picture.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)  # 8 bits, not interlaced
    lines = np.pad(picture.reshape(height, -1), ((0, 0), (1, 0)))  # each line begins with its filter: 0, none
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def coloured(values: Array, low: float, high: float, colours: Array = SCALE) -> Array:
    """Numbers [height, width] as uint8 [height, width, 3]: low to high along ``colours`` [n, 3], NaN grey."""
    at = np.nan_to_num((values.astype(np.float64) - low) / ((high - low) or 1.0), nan=0.0, posinf=1.0, neginf=0.0)
    place = np.clip(at, 0.0, 1.0) * (len(colours) - 1)
    found = np.stack([np.interp(place, np.arange(len(colours)), channel) for channel in colours.T], axis=-1)
    found[np.isnan(values)] = _NOTHING
    return np.rint(found).astype(np.uint8)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
