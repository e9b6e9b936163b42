"""The Zarr format, versions 2 and 3: one array of a store in a folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from aecompress.attributes import to_json
from aecompress.errors import InputError
from aecompress.locations import Location, StorePath
from aecompress.sources.base import SlicedSource, Source, spec_of
from aecompress.sources.containers import choose
from aecompress.spec import Array


def open_path(path: Location, member: str = "") -> Source:
    """A source over the array at ``member``, as in ``group/name``; left out where the store is, or has, only one array.

    Raises:
        InputError: not a Zarr store, zarr is missing, no such array, or several and none chosen.
    """
    arrays = _arrays(path)
    names = [name for name, array in arrays.items() if array.dtype.kind in "biuf" and array.ndim]
    chosen = choose(path, names, member.strip("/"))
    name = f"{path}::{chosen}" if chosen else str(path)
    array = arrays[chosen]
    spec = spec_of(array.dtype, array.shape, name)
    origin = {"format": "zarr", "member": chosen, "attributes": to_json(dict(array.attrs))}
    dimensions = getattr(array.metadata, "dimension_names", None)  # of version 3
    if dimensions and None not in dimensions:
        origin["dimensions"] = list(dimensions)
    return SlicedSource(name, spec, origin, partial(_read, path, array, name))


def _arrays(path: Location) -> dict[str, Any]:
    """All arrays of a store by name; one that is the store itself has the name ""."""
    try:
        import zarr
    except ImportError as err:
        raise InputError(f"{path} needs zarr to be read; install it by: pip install 'aecompress[formats]'") from err
    try:
        with _answers(path):
            store = zarr.open(str(path), mode="r")
    except (ValueError, KeyError, OSError) as err:
        raise InputError(f"{path} is not a Zarr store: {err}") from err
    if isinstance(store, zarr.Array):
        return {"": store}
    with _answers(path):
        return {name: item for name, item in store.members(max_depth=None) if isinstance(item, zarr.Array)}


def _answers(path: Location) -> AbstractContextManager[None]:
    """Where zarr speaks to a store by itself."""
    return path.answers() if isinstance(path, StorePath) else nullcontext()


def _read(path: Location, array: Any, name: str, lo: int, hi: int) -> Array:
    try:
        with _answers(path):
            return np.asarray(array[lo:hi])
    except (ValueError, KeyError, OSError, RuntimeError) as err:
        raise InputError(f"Cannot read rows {lo} to {hi} of {name}: {err}") from err
