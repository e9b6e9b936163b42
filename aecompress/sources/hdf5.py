"""The HDF5 format: one data set of a file, in any group; those without numbers or axes are passed over."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aecompress.attributes import to_json
from aecompress.errors import InputError
from aecompress.locations import Location
from aecompress.sources.base import SlicedSource, Source, spec_of
from aecompress.sources.containers import choose
from aecompress.spec import Array

if TYPE_CHECKING:
    import h5py

#: Attributes that lead to other objects of the file.
_LINKS = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")


def open_path(path: Location, member: str = "") -> Source:
    """A source over the data set at ``member``, as in ``group/name``; it may be left out where there is only one.

    Rows are read where they are asked for, through HDF5's own filters and chunks. The origin keeps
    the attributes of the data set; the other data sets are not read.

    Raises:
        InputError: not a HDF5 file, h5py is missing, no such data set, or several and none chosen.
    """
    with _open(path) as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if _is_array(item) else None)
        chosen = choose(path, names, member.strip("/"))
        name = f"{path}::{chosen}"
        spec = spec_of(file[chosen].dtype, file[chosen].shape, name)
        attributes = {key: _attribute(file[chosen], key) for key in file[chosen].attrs if key not in _LINKS}
    origin = {"format": "hdf5", "member": chosen, "attributes": to_json(attributes)}
    return SlicedSource(name, spec, origin, partial(_read, path, chosen))


def _open(path: Location) -> h5py.File:
    try:
        import h5py
    except ImportError as err:
        raise InputError(f"{path} needs h5py to be read; install it by: pip install 'aecompress[formats]'") from err
    try:
        return h5py.File(path if isinstance(path, Path) else path.open(), "r")
    except OSError as err:
        raise InputError(f"{path} is not a whole HDF5 file: {' '.join(str(err).split())}") from err


def _attribute(item: h5py.Dataset, key: str) -> object:
    try:
        return item.attrs[key]
    except (OSError, TypeError, ValueError):  # of a type that h5py does not read
        return None


def _is_array(item: object) -> bool:
    """True for data sets of numbers or bool with one axis or more."""
    dtype, shape = getattr(item, "dtype", None), getattr(item, "shape", None)
    return dtype is not None and dtype.kind in "biuf" and bool(shape)


def _read(path: Location, member: str, lo: int, hi: int) -> Array:
    # The file is opened for each batch: no handle outlives its use, and threads do not meet in one.
    try:
        with _open(path) as file:
            return np.asarray(file[member][lo:hi])
    except (OSError, KeyError) as err:
        raise InputError(f"Cannot read rows {lo} to {hi} of {path}::{member}: {err}") from err
