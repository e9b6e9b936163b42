"""The npy format: files in C or Fortran order, and standard output.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from aecompress.sinks.base import RowCount, storage_errors
from aecompress.spec import Array, ArraySpec

if TYPE_CHECKING:
    import pyarrow as pa

_MAPPED_BYTES = 1 << 24


class NpyWriter:
    """Rows in C order, one after another."""

    def __init__(self, file: IO[bytes], spec: ArraySpec) -> None:
        self._file, self._dtype = file, spec.dtype
        write_header(file, spec, fortran=False)

    def append(self, batch: Array) -> None:
        self._file.write(np.ascontiguousarray(batch, dtype=self._dtype).data)

    def close(self) -> None:
        self._file.close()


class FortranWriter:
    """Rows in Fortran order: each batch goes to its place in every column.

    The file is mapped a few columns at a time, so that resident memory does not grow with it. Its whole length is
    written first: where the disk is full this fails like any write, while a store to a map would kill the process.
    """

    def __init__(self, path: Path, spec: ArraySpec) -> None:
        self._path, self._spec, self._row = path, spec, 0
        with path.open("xb") as file:
            write_header(file, spec, fortran=True)
            self._offset = file.tell()
            for lo in range(0, spec.raw_bytes, _MAPPED_BYTES):
                file.write(bytes(min(_MAPPED_BYTES, spec.raw_bytes - lo)))

    def append(self, batch: Array) -> None:
        # A file in Fortran order holds the transposed array in C order.
        columns = batch.T.reshape(self._spec.row_size, len(batch))
        lo, self._row = self._row, self._row + len(batch)
        column_bytes = max(1, self._spec.shape[0] * self._spec.dtype.itemsize)
        step = max(1, _MAPPED_BYTES // column_bytes)
        for first in range(0, len(columns) if len(batch) else 0, step):
            part = columns[first : first + step]
            shape = (len(part), self._spec.shape[0])
            mapped = np.memmap(self._path, self._spec.dtype, "r+", self._offset + first * column_bytes, shape)
            mapped[:, lo : self._row] = part

    def close(self) -> None:
        """Nothing is held open between batches."""


class StdoutSink:
    """A npy stream on standard output; a reader sees by the header whether it got all rows."""

    tabular = False

    def __init__(self, spec: ArraySpec) -> None:
        self._count = RowCount(spec, "Standard output")
        with storage_errors("standard output"):
            self._writer = NpyWriter(sys.stdout.buffer, spec)

    def write(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:  # noqa: ARG002 - it is not tabular
        self._count.add(batch)
        with storage_errors("standard output"):
            self._writer.append(batch)

    def commit(self) -> None:
        self._count.check_complete()
        with storage_errors("standard output"):
            sys.stdout.buffer.flush()

    def abort(self) -> None:
        """What was written is with the reader already."""


def write_header(file: IO[bytes], spec: ArraySpec, *, fortran: bool) -> None:
    """The header of an array of this spec, rows known; the values follow it."""
    npy.write_array_header_1_0(file, {"descr": spec.dtype.str, "fortran_order": fortran, "shape": spec.shape})


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object]) -> NpyWriter | FortranWriter:
    """A writer for a file in the order the source was in."""
    if origin.get("fortran") is True and spec.row_shape:
        return FortranWriter(path, spec)
    return NpyWriter(path.open("xb"), spec)
