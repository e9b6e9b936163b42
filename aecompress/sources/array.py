"""NumPy arrays, and whatever turns into one: memory maps, tensors on the CPU, data frames of one dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from aecompress.errors import InputError
from aecompress.sources.base import SlicedSource, Source, spec_of
from aecompress.spec import Array


def open_array(data: Any) -> Source:
    """A source over an array [rows, *row_shape], in any byte order and memory layout, without a copy of the whole."""
    array = as_array(data, "The array")
    spec = spec_of(array.dtype, array.shape, "The array")
    origin = {"format": "array", "fortran": bool(array.flags.fnc)}
    return SlicedSource("array", spec, origin, lambda lo, hi: array[lo:hi].copy())


def as_array(data: Any, what: str) -> Array:
    """``data`` as a NumPy array; raises InputError where values would be lost or do not line up."""
    if isinstance(data, np.ma.MaskedArray):
        raise InputError(f"{what} is masked; give its hidden values a number first, as in array.filled(numpy.nan).")
    try:
        return np.asarray(data)
    except (TypeError, ValueError, RuntimeError) as err:
        raise InputError(f"{what} is not an array of numbers with rows of one shape: {err}") from err
