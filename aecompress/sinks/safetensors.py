"""The safetensors format: one tensor, streamed behind its header.

Format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import numpy as np

from aecompress.spec import Array, ArraySpec

_NAMES = {"b": "BOOL", "i": "I", "u": "U", "f": "F"}
_ALIGNMENT = 8


class SafetensorsWriter:
    """Rows in C order and in the format's byte order, little-endian."""

    def __init__(self, file: IO[bytes], spec: ArraySpec, name: str) -> None:
        self._file, self._dtype = file, spec.dtype.newbyteorder("<")
        kind = _NAMES[spec.dtype.kind] + ("" if spec.dtype.kind == "b" else str(8 * spec.dtype.itemsize))
        entry = {"dtype": kind, "shape": list(spec.shape), "data_offsets": [0, spec.raw_bytes]}
        header = json.dumps({name: entry}, separators=(",", ":")).encode()
        header += b" " * (-len(header) % _ALIGNMENT)
        file.write(len(header).to_bytes(8, "little") + header)

    def append(self, batch: Array) -> None:
        self._file.write(np.ascontiguousarray(batch, dtype=self._dtype).data)

    def close(self) -> None:
        self._file.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object]) -> SafetensorsWriter:
    """A writer of one tensor, ``values`` where the source had no name."""
    return SafetensorsWriter(path.open("xb"), spec, str(origin.get("member") or "values"))
