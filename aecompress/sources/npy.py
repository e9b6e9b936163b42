"""The npy format: files, and streams such as standard input.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.lib import format as npy

from aecompress.errors import InputError
from aecompress.locations import Location, StorePath
from aecompress.sources.base import SlicedSource, Source, StreamSource, chunk_rows, spec_of
from aecompress.sources.rowfile import RowFile
from aecompress.sources.spool import open_copy
from aecompress.spec import Array, ArraySpec

# Version 3 differs from 2 only in the field names of structured dtypes, which are refused anyway.
_READERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
    (3, 0): npy.read_array_header_2_0,
}


def open_path(path: Location) -> Source:
    """A source over a npy file, in C or Fortran order.

    Raises:
        InputError: not a npy file, a dtype that cannot be packed, or not as many bytes as its header says.
    """
    with path.open("rb") as file:
        spec, fortran = read_header(file, str(path))
        offset = file.tell()
    if fortran and isinstance(path, StorePath):  # a row is everywhere in the file
        return open_copy(path, open_path)
    check_size(str(path), spec, path.stat().st_size - offset)
    rows = RowFile(path, spec, offset, fortran)
    return SlicedSource(str(path), spec, {"format": "npy", "fortran": fortran}, rows.read)


def open_stream(file: IO[bytes], name: str) -> Source:
    """A one-shot source over a npy stream in C order.

    Raises:
        InputError: not a npy stream, a dtype that cannot be packed, or Fortran order.
    """
    spec, fortran = read_header(file, name)
    if fortran:
        raise InputError(
            f"{name} is in Fortran order, whose first row is complete only at its end; save it to a file first."
        )
    return StreamSource(name, spec, {"format": "npy", "fortran": False}, read_rows(file, spec, name))


def read_header(file: IO[bytes], name: str) -> tuple[ArraySpec, bool]:
    """Spec, and whether the values are in Fortran order; the file is left at the first value."""
    try:
        shape, fortran, dtype = _READERS[npy.read_magic(file)](file)
    except (ValueError, TypeError, SyntaxError, KeyError, RecursionError) as err:
        raise InputError(f"{name} is not a whole array in npy format; write it anew with numpy.save.") from err
    if any(length < 0 for length in shape):
        raise InputError(f"{name} has a negative length in its shape {shape}; write it anew with numpy.save.")
    spec = spec_of(dtype, shape, name)
    return spec, bool(fortran) and len(shape) > 1


def read_rows(file: IO[bytes], spec: ArraySpec, name: str) -> Iterator[Array]:
    """The rows that follow a header in C order, in chunks; raises InputError unless they end where they should."""
    rows, step = spec.shape[0], chunk_rows(spec)
    for lo in range(0, rows, step):
        count = min(step, rows - lo)
        data = file.read(count * spec.row_bytes)
        if len(data) < count * spec.row_bytes:
            raise InputError(f"{name} is truncated: it ends after row {lo} or soon after, of {rows} rows.")
        yield np.frombuffer(data, spec.dtype, count * spec.row_size).reshape(count, *spec.row_shape)
    if file.read(1):
        raise InputError(f"{name} goes on after the end of its array; give one array at a time.")


def check_size(name: str, spec: ArraySpec, found: int) -> None:
    """Raise InputError unless ``found`` bytes of values are as many as the header promises."""
    if found < spec.raw_bytes:
        raise InputError(
            f"{name} is truncated: its header promises {spec.raw_bytes} bytes of values, but {found} are there."
        )
    if found > spec.raw_bytes:
        raise InputError(f"{name} goes on after the end of its array; give one array at a time.")
