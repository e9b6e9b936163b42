"""Keep a stream in a temporary file, so that it can be read again."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np

from aecompress.errors import DestinationError
from aecompress.sources.base import SlicedSource, Source, chunk_rows
from aecompress.sources.rowfile import RowFile
from aecompress.spec import Array


def spool(source: Source, folder: Path) -> Source:
    """Read a one-shot source to its end into a file in ``folder``, in constant memory.

    Returns a replayable source of the same name, origin and spec, rows now known; who owns the folder removes it.

    Raises:
        InputError: the source cannot be read to its end.
        DestinationError: the file cannot be written.
    """
    path = _create(folder)
    try:
        spec = source.spec.with_rows(_copy(source, path))
    except BaseException:
        path.unlink()
        raise
    return SlicedSource(source.name, spec, source.origin, RowFile(path, spec).read)


def _create(folder: Path) -> Path:
    try:
        with tempfile.NamedTemporaryFile(prefix="spool-", suffix=".raw", dir=folder, delete=False) as file:
            return Path(file.name)
    except OSError as err:
        raise DestinationError(f"Cannot make a temporary file in {folder}: {err.strerror}.") from err


def _copy(source: Source, path: Path) -> int:
    rows = 0
    with path.open("wb", buffering=0) as file:
        for batch in source.batches(chunk_rows(source.spec)):
            _append(file, batch.astype(source.spec.dtype, copy=False), path)
            rows += len(batch)
    return rows


def _append(file: io.FileIO, batch: Array, path: Path) -> None:
    left = batch.reshape(-1).view(np.uint8).data
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as err:
        raise DestinationError(
            f"Cannot keep the stream in {path}: {err.strerror}; free space there or save the stream to a file first."
        ) from err
