"""Rows stored plainly in a file, in C or Fortran order, read piece by piece.

Neither order keeps the file in memory: C order is read into a buffer of its own; Fortran order is mapped a few columns
at a time, and the map is dropped before the next, so that resident memory does not grow with the file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aecompress.errors import InputError
from aecompress.locations import Location, StorePath
from aecompress.spec import Array, ArraySpec

_MAPPED_BYTES = 1 << 24


@dataclass(frozen=True)
class RowFile:
    """The values of ``spec`` (rows known), from byte ``offset`` of the file on."""

    path: Location
    spec: ArraySpec
    offset: int = 0
    fortran: bool = False

    def read(self, lo: int, hi: int) -> Array:
        """Rows lo to hi, [hi - lo, *row_shape], in the byte order of the file."""
        try:
            return self._read_columns(lo, hi) if self.fortran else self._read_rows(lo, hi)
        except (OSError, ValueError) as err:
            raise InputError(
                f"Cannot read rows {lo} to {hi} of {self.path}, which was whole when opened: {err}"
            ) from err

    def _read_rows(self, lo: int, hi: int) -> Array:
        count, start = (hi - lo) * self.spec.row_size, self.offset + lo * self.spec.row_bytes
        if isinstance(self.path, StorePath):
            data = self.path.read_range(start, start + count * self.spec.dtype.itemsize)
            values = np.frombuffer(bytearray(data), self.spec.dtype)
        else:
            values = np.fromfile(self.path, self.spec.dtype, count, offset=start)
        return values.reshape(hi - lo, *self.spec.row_shape)

    def _read_columns(self, lo: int, hi: int) -> Array:
        columns = np.empty((self.spec.row_size, hi - lo), self.spec.dtype)
        column_bytes = self.spec.shape[0] * self.spec.dtype.itemsize
        step = max(1, _MAPPED_BYTES // column_bytes)
        for first in range(0, len(columns), step):
            part = columns[first : first + step]
            shape = (len(part), self.spec.shape[0])
            mapped = np.memmap(str(self.path), self.spec.dtype, "r", self.offset + first * column_bytes, shape)
            part[:] = mapped[:, lo:hi]
        # A file in Fortran order holds the transposed array in C order.
        return columns.reshape(*reversed(self.spec.row_shape), hi - lo).T
