"""The NetCDF format, classic or on HDF5: one variable of a file, in any group, as it is stored.

Values are neither unpacked by ``scale_factor`` and ``add_offset`` nor masked: what is stored comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress.errors import InputError
from aecompress.sources.base import SlicedSource, Source, spec_of
from aecompress.sources.containers import choose
from aecompress.spec import Array

if TYPE_CHECKING:
    import netCDF4


def open_path(path: Path, member: str = "") -> Source:
    """A source over the variable ``member``, as in ``group/name``.

    It may be left out where only one variable is not a coordinate, which is a variable named as its own dimension. The
    origin keeps the names of the variable's dimensions. Attributes, and the other variables, are not read.

    Raises:
        InputError: not a NetCDF file, netCDF4 is missing, no such variable, or several and none chosen.
    """
    with _open(path) as file:
        found = dict(_variables(file))
        data = [name for name, variable in found.items() if variable.dimensions != (variable.name,)]
        wanted = member.strip("/")
        chosen = wanted if wanted in found else choose(path, data or list(found), wanted)
        variable, name = found[chosen], f"{path}::{chosen}"
        spec = spec_of(_stored(variable), variable.shape, name)
        origin = {"format": "netcdf", "member": chosen, "dimensions": list(variable.dimensions)}
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
