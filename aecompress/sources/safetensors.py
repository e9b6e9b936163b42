"""The safetensors format: one tensor of a file; its first axis counts the rows.

Format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from aecompress.errors import InputError
from aecompress.locations import Location
from aecompress.sources.base import SlicedSource, Source, spec_of
from aecompress.sources.containers import choose
from aecompress.sources.npy import check_size
from aecompress.sources.rowfile import RowFile
from aecompress.spec import ArraySpec

#: Names of the format to dtypes; those that NumPy has no dtype for (BF16, F8_E4M3, ...) are not here.
DTYPES = {
    "BOOL": "|b1", "I8": "|i1", "U8": "|u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8",
    "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip

_LONGEST_HEADER = 100_000_000  # the format's own limit


def open_path(path: Location, member: str = "") -> Source:
    """A source over the tensor ``member``; it may be left out where there is only one.

    Raises:
        InputError: not a safetensors file, no such tensor, several and none chosen, or a dtype that cannot be packed.
    """
    tensors, start = _read_header(path)
    chosen = choose(path, [name for name, (_, shape, _, _) in tensors.items() if shape], member)
    kind, shape, first, last = tensors[chosen]
    if kind not in DTYPES:
        raise InputError(
            f"{path}::{chosen} is of dtype {kind}, which cannot be packed; convert it to F32 or F16 first."
        )
    name = f"{path}::{chosen}"
    spec: ArraySpec = spec_of(np.dtype(DTYPES[kind]), shape, name)
    check_size(name, spec, min(last, path.stat().st_size - start) - first)
    origin = {"format": "safetensors", "member": chosen}
    return SlicedSource(name, spec, origin, RowFile(path, spec, start + first).read)


def _read_header(path: Location) -> tuple[dict[str, tuple[str, tuple[int, ...], int, int]], int]:
    """(name to dtype, shape, first byte and the one behind the last; where bytes are counted from)."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(size) if size <= _LONGEST_HEADER else b""
    try:
        fields: dict[str, Any] = json.loads(header)
        fields.pop("__metadata__", None)
        return {name: _entry(entry) for name, entry in fields.items()}, 8 + size
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        raise InputError(f"{path} is not a whole safetensors file; write it anew.") from err


def _entry(entry: dict[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    shape, (first, last) = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in (*shape, first, last)) or first > last:
        raise ValueError("sizes that are none")
    return str(entry["dtype"]), tuple(shape), first, last
