"""The HDF5 format: one data set, named as in the source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec


class Hdf5Writer:
    """Rows appended to a data set whose size is known from the start."""

    def __init__(self, file: Any, name: str, spec: ArraySpec) -> None:
        self._file, self._row = file, 0
        self._data = file.create_dataset(name, spec.shape, spec.dtype)

    def append(self, batch: Array) -> None:
        self._data[self._row : self._row + len(batch)] = np.asarray(batch)
        self._row += len(batch)

    def close(self) -> None:
        self._file.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object]) -> Hdf5Writer:
    """A writer of one data set, ``values`` where the source had no name. Raises DestinationError without h5py."""
    try:
        import h5py
    except ImportError as err:
        raise DestinationError("HDF5 needs h5py to be written: pip install 'aecompress[formats]'") from err
    file = h5py.File(path, "x")
    try:
        return Hdf5Writer(file, str(origin.get("member") or "values"), spec)
    except BaseException:
        file.close()
        raise
