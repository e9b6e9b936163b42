"""A TIFF of many pages: each is a row, [h, w], [h, w, channels] or a stack of these."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.errors import InputError
from aecompress.sources.base import SlicedSource, Source
from aecompress.sources.rowfile import RowFile
from aecompress.spec import Array, ArraySpec

# tifffile says what is wrong with a file in many ways; imagecodecs' errors are RuntimeErrors.
_ERRORS = (OSError, ValueError, KeyError, IndexError, RuntimeError)


def open_path(path: Path) -> Source:
    """A source over the pages of a TIFF, or over its stacks of pages where the file says that there are such.

    Raises:
        InputError: not a TIFF, or not one of pages of one size; tifffile is missing.
    """
    try:
        import tifffile
    except ImportError as err:
        raise InputError(f"{path} needs tifffile to be read: pip install 'aecompress[images]'") from err
    try:
        with tifffile.TiffFile(path) as tiff:
            return _source(path, tiff)
    except _ERRORS as err:
        raise InputError(f"{path} cannot be read as a TIFF: {err}") from err


def _source(path: Path, tiff: Any) -> Source:
    if not tiff.series:
        raise ValueError("it has no pages")
    if len(tiff.series) > 1:
        raise InputError(f"{path} holds pages of {len(tiff.series)} different kinds; save them in a file each.")
    series = tiff.series[0]
    page = series.keyframe.shape
    shape = series.shape if series.ndim > len(page) else (1, *series.shape)
    spec = ArraySpec(np.dtype(series.dtype).newbyteorder(tiff.byteorder), tuple(shape[1:]), shape[0])
    if series.dataoffset is not None:  # one page behind the other, as they are in memory
        return SlicedSource(str(path), spec, {"format": "tiff"}, RowFile(path, spec, series.dataoffset).read)
    pages = math.prod(shape[1 : len(shape) - len(page)])
    return SlicedSource(str(path), spec, {"format": "tiff"}, partial(_read, path, spec, pages))


def _read(path: Path, spec: ArraySpec, pages: int, lo: int, hi: int) -> Array:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            rows = tiff.asarray(key=range(lo * pages, hi * pages), series=0)
            return np.asarray(rows, spec.native).reshape(hi - lo, *spec.row_shape)
    except _ERRORS as err:
        raise InputError(f"Cannot read rows {lo} to {hi} of {path}: {err}") from err
