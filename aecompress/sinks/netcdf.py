"""The NetCDF format on HDF5: one variable, with the names of its dimensions where the source had them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec

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


def _variable(file: Any, spec: ArraySpec, origin: dict[str, object]) -> Any:
    names = _dimensions(spec, origin)
    for name, size in dict(zip(names, spec.shape, strict=True)).items():
        # A dimension of size 0 is one that may grow; NetCDF has no other.
        file.createDimension(name, size or None)
    name = str(origin.get("member") or "values")
    return file.createVariable(name, spec.dtype, tuple(names), endian=_ORDERS[spec.dtype.byteorder], fill_value=False)


def _dimensions(spec: ArraySpec, origin: dict[str, object]) -> list[str]:
    """Names of the source's dimensions where there is one for each axis, and one size for each name."""
    names = origin.get("dimensions")
    if isinstance(names, list) and len(names) == len(spec.shape):
        sizes = dict(zip(map(str, names), spec.shape, strict=True))
        if all(sizes[str(name)] == size for name, size in zip(names, spec.shape, strict=True)):
            return [str(name) for name in names]
    return [f"dim_{axis}" for axis in range(len(spec.shape))]
