"""The NetCDF format, classic or on HDF5: one variable of a file, in any group, as it is stored.

Values are neither unpacked by ``scale_factor`` and ``add_offset`` nor masked: what is stored comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress.attributes import MOST_BYTES, Coordinate, coordinates_to_json, to_json
from aecompress.errors import InputError
from aecompress.sources.base import SlicedSource, Source, spec_of
from aecompress.sources.containers import choose
from aecompress.spec import Array

if TYPE_CHECKING:
    import netCDF4


def open_path(path: Path, member: str = "") -> Source:
    """A source over the variable ``member``, as in ``group/name``.

    It may be left out where only one variable is not a coordinate: one named as its own dimension, or by the attribute
    ``coordinates`` of another. The origin keeps dimensions, attributes, those of the file too, and coordinates of
    numbers along these dimensions alone. Other variables are not read.

    Raises:
        InputError: not a NetCDF file, netCDF4 is missing, no such variable, or several and none chosen.
    """
    with _open(path) as file:
        found = dict(_variables(file))
        beside = {word for variable in found.values() for word in _named_coordinates(variable)}
        data = [name for name, item in found.items() if item.dimensions != (item.name,) and item.name not in beside]
        wanted = member.strip("/")
        chosen = wanted if wanted in found else choose(path, data or list(found), wanted)
        variable, name = found[chosen], f"{path}::{chosen}"
        spec = spec_of(_stored(variable), variable.shape, name)
        origin = {
            "format": "netcdf",
            "member": chosen,
            "dimensions": list(variable.dimensions),
            "unlimited": [dim.name for dim in variable.get_dims() if dim.isunlimited()],
            "attributes": to_json(_attributes(variable)),
            "file_attributes": to_json(_attributes(file)),
            "coordinates": coordinates_to_json(_coordinates(variable)),
        }
    return SlicedSource(name, spec, origin, partial(_read, path, chosen))


def _open(path: Path) -> netCDF4.Dataset:
    try:
        import netCDF4
    except ImportError as err:
        raise InputError(f"{path} needs netCDF4 to be read; install it by: pip install 'aecompress[formats]'") from err
    try:
        file = netCDF4.Dataset(path)
    except OSError as err:
        raise InputError(f"{path} is not a whole NetCDF file: {err.strerror or err}.") from err
    file.set_auto_maskandscale(False)
    return file


def _variables(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name with its groups, variable) of all variables of numbers with one axis or more."""
    for name, variable in group.variables.items():
        if getattr(variable.dtype, "kind", "") in "biuf" and variable.dtype != str and variable.ndim:
            yield prefix + name, variable
    for name, inner in group.groups.items():
        yield from _variables(inner, f"{prefix}{name}/")


def _attributes(holder: Any) -> dict[str, Any]:
    return {name: holder.getncattr(name) for name in holder.ncattrs()}


def _named_coordinates(variable: Any) -> list[str]:
    """The names in the attribute ``coordinates``."""
    return str(getattr(variable, "coordinates", "")).split()


def _coordinates(variable: Any) -> dict[str, Coordinate]:
    """Variables of the same group, or of one around it, that say where values of ``variable`` are."""
    found = {}
    for name in (*variable.dimensions, *_named_coordinates(variable)):
        group = variable.group()
        while group is not None and name not in group.variables:
            group = group.parent
        item = None if group is None else group.variables[name]
        if item is None or item.name == variable.name or getattr(item.dtype, "kind", "") not in "biuf":
            continue
        if set(item.dimensions) <= set(variable.dimensions) and item.dtype.itemsize * item.size <= MOST_BYTES:
            found[name] = Coordinate(item.dimensions, np.asarray(item[...], _stored(item)), _attributes(item))
    return found


def _stored(variable: Any) -> np.dtype[Any]:
    """The dtype in the byte order of the file."""
    order = {"little": "<", "big": ">"}.get(variable.endian(), "=")
    return np.dtype(variable.dtype).newbyteorder(order)


def _read(path: Path, member: str, lo: int, hi: int) -> Array:
    try:
        with _open(path) as file:
            return np.asarray(file[member][lo:hi])
    except (OSError, IndexError, RuntimeError) as err:
        raise InputError(f"Cannot read rows {lo} to {hi} of {path}::{member}: {err}") from err
