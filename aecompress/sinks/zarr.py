"""The Zarr format, version 3: one array of a store in a folder, with the name and attributes it had in the source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aecompress.attributes import from_json
from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec

_CHUNK_BYTES = 1 << 20

#: Any of these makes a folder a store.
_SIGNS = ("zarr.json", ".zgroup", ".zarray")


class ZarrWriter:
    """Rows appended to an array whose size is known from the start, in chunks of whole rows."""

    def __init__(self, array: Any) -> None:
        self._array, self._row = array, 0

    def append(self, batch: Array) -> None:
        self._array[self._row : self._row + len(batch)] = batch
        self._row += len(batch)

    def close(self) -> None:
        """Nothing is held open between batches."""


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, Any]) -> ZarrWriter:
    """A writer of one array: the store itself where the source had no name. Raises DestinationError without zarr."""
    try:
        import zarr
    except ImportError as err:
        raise DestinationError("Zarr needs zarr to be written: pip install 'aecompress[formats]'") from err
    rows = max(1, min(spec.shape[0], _CHUNK_BYTES // max(spec.row_bytes, 1)))
    array = zarr.create_array(
        path,
        name=str(origin.get("member") or "") or None,
        shape=spec.shape,
        dtype=spec.dtype,
        chunks=(rows, *(max(size, 1) for size in spec.row_shape)),
        dimension_names=_dimensions(spec, origin),
        attributes={name: _plain(value) for name, value in from_json(origin.get("attributes")).items()},
    )
    return ZarrWriter(array)


def replaces(folder: Path) -> bool:
    """True if the folder is a store."""
    return any((folder / sign).exists() for sign in _SIGNS)


def _dimensions(spec: ArraySpec, origin: dict[str, Any]) -> list[str] | None:
    names = origin.get("dimensions")
    return list(map(str, names)) if isinstance(names, list) and len(names) == len(spec.shape) else None


def _plain(value: Any) -> Any:
    """An attribute in what JSON has."""
    return value.tolist() if hasattr(value, "tolist") else value
