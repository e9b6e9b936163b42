"""The NetCDF format on HDF5: one variable, with dimensions, coordinates and attributes where the source had them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from aecompress.attributes import coordinates_from_json, from_json
from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec

#: What the library keeps for itself.
_RESERVED = ("_NC", "_Netcdf4", "_Storage", "_Format")

_ORDERS = {"<": "little", ">": "big", "=": "native", "|": "native"}


class NetcdfWriter:
    """Rows appended to a variable whose size is known from the start."""

    def __init__(self, file: Any, variable: Any) -> None:
        self._file, self._variable, self._row = file, variable, 0

    def append(self, batch: Array) -> None:
        if batch.size:
            self._variable[self._row : self._row + len(batch)] = batch
        self._row += len(batch)

    def close(self) -> None:
        if self._file.isopen():
            self._file.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object]) -> NetcdfWriter:
    """A writer of one variable, ``values`` where the source had no name.

    Raises:
        DestinationError: netCDF4 is missing, or NetCDF has no such type (bool, float16).
    """
    try:
        import netCDF4
    except ImportError as err:
        raise DestinationError("NetCDF needs netCDF4 to be written: pip install 'aecompress[formats]'") from err
    if spec.dtype.kind == "b" or spec.dtype.str[1:] == "f2":
        raise DestinationError(f"NetCDF has no type for {spec.dtype.name}; write to .npy or .h5 instead.")
    file = netCDF4.Dataset(path, "w", clobber=False, format="NETCDF4")
    file.set_auto_maskandscale(False)
    try:
        return NetcdfWriter(file, _variable(file, spec, origin))
    except BaseException:
        file.close()
        raise


def _variable(file: Any, spec: ArraySpec, origin: dict[str, Any]) -> Any:
    names, unlimited = _dimensions(spec, origin), origin.get("unlimited") or ()
    for name, size in dict(zip(names, spec.shape, strict=True)).items():
        # A dimension of size 0 is one that may grow; NetCDF has no other.
        file.createDimension(name, None if name in unlimited else size or None)
    _describe(file, from_json(origin.get("file_attributes")))
    member = str(origin.get("member") or "values")
    for name, coordinate in coordinates_from_json(origin, names, spec.shape).items():
        place = "/".join([*member.split("/")[:-1], name])
        made = _create(file, place, coordinate.values.dtype, coordinate.dimensions, coordinate.attributes)
        made[...] = coordinate.values
    return _create(file, member, spec.dtype, tuple(names), from_json(origin.get("attributes")))


def _create(file: Any, name: str, dtype: Any, dimensions: tuple[str, ...], attributes: dict[str, Any]) -> Any:
    """A variable with its attributes; the fill value is one that can only be given while it is made."""
    fill = attributes.pop("_FillValue", False)
    order = _ORDERS[np.dtype(dtype).byteorder]
    made = file.createVariable(name, dtype, dimensions, endian=order, fill_value=fill)
    made.set_auto_maskandscale(False)
    _describe(made, attributes)
    return made


def _describe(holder: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        if not name.startswith(_RESERVED):
            holder.setncattr(name, value)


def _dimensions(spec: ArraySpec, origin: dict[str, object]) -> list[str]:
    """Names of the source's dimensions where there is one for each axis, and one size for each name."""
    names = origin.get("dimensions")
    if isinstance(names, list) and len(names) == len(spec.shape):
        sizes = dict(zip(map(str, names), spec.shape, strict=True))
        if all(sizes[str(name)] == size for name, size in zip(names, spec.shape, strict=True)):
            return [str(name) for name in names]
    return [f"dim_{axis}" for axis in range(len(spec.shape))]
