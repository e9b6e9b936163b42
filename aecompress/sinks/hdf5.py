"""The HDF5 format: one data set, with the name and the attributes it had in the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.attributes import from_json
from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec


class Hdf5Writer:
    """Rows appended to a data set whose size is known from the start."""

    def __init__(self, file: Any, name: str, spec: ArraySpec) -> None:
        self._file, self._row = file, 0
        self._data = file.create_dataset(name, spec.shape, spec.dtype)

    def describe(self, attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._data.attrs[name] = json.dumps(value) if isinstance(value, dict) else value

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
        writer = Hdf5Writer(file, str(origin.get("member") or "values"), spec)
        writer.describe(from_json(origin.get("attributes")))
        return writer
    except BaseException:
        file.close()
        raise
