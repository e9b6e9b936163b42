"""Keep a stream, or an object of a store, in a temporary file, so that it can be read again, and anywhere."""

from __future__ import annotations

import io
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aecompress import ranks
from aecompress.errors import DestinationError, InputError
from aecompress.locations import StorePath
from aecompress.sources.base import Columns, SlicedSource, Source, chunk_rows
from aecompress.sources.rowfile import RowFile
from aecompress.spec import Array


def spool(source: Source, folder: Path) -> Source:
    """Read a one-shot source to its end into files in ``folder``, in constant memory.

    Returns a replayable source of the same name, origin, spec and columns, rows now known; who owns the folder removes
    it.

    Raises:
        InputError: the source cannot be read to its end, or there are several ranks to read it.
        DestinationError: a file cannot be written.
    """
    if ranks.count() > 1:
        raise InputError(f"{source.name} is a stream, which processes cannot share: save it to a file first.")
    path = _create(folder)
    beside = path.with_suffix(".arrows")
    try:
        rows, columns = _copy(source, path, beside)
    except BaseException:
        for file in (path, beside):
            file.unlink(missing_ok=True)
        raise
    spec = source.spec.with_rows(rows)
    return SlicedSource(source.name, spec, source.origin, RowFile(path, spec).read, columns)


def open_copy(path: StorePath, open_file: Callable[[Path], Source]) -> Source:
    """A source over a temporary copy of an object, which goes when the source does. Raises InputError."""
    folder = Path(tempfile.mkdtemp(prefix="aecompress-"))
    copy = folder / path.name
    try:
        path.download(copy)
        opened: Any = open_file(copy)
        source: Source = replace(opened, name=opened.name.replace(str(copy), str(path)))
    except InputError as err:
        shutil.rmtree(folder)
        raise InputError(str(err).replace(str(copy), str(path))) from err
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(source, shutil.rmtree, folder, ignore_errors=True)
    return source


def _create(folder: Path) -> Path:
    try:
        with tempfile.NamedTemporaryFile(prefix="spool-", suffix=".raw", dir=folder, delete=False) as file:
            return Path(file.name)
    except OSError as err:
        raise DestinationError(f"Cannot make a temporary file in {folder}: {err.strerror}.") from err


def _copy(source: Source, path: Path, beside: Path) -> tuple[int, Columns | None]:
    """Rows written to ``path``, and what stands beside them, in ``beside``."""
    rows, columns, kept = 0, source.columns, None
    if columns is not None:
        from aecompress.sources.columnfile import ColumnFile  # loads pyarrow, which other streams do without

        kept = ColumnFile(beside, columns.schema)
    with path.open("wb", buffering=0) as file:
        for batch in source.batches(chunk_rows(source.spec)):
            rows += len(batch)
            with _storing(path):
                _append(file, batch.astype(source.spec.dtype, copy=False))
                if columns is not None and kept is not None:
                    kept.append(columns.batches(0, rows))
    return rows, None if kept is None else kept.close()


def _append(file: io.FileIO, batch: Array) -> None:
    left = batch.reshape(-1).view(np.uint8).data
    while left:
        left = left[file.write(left) :]


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise DestinationError(
            f"Cannot keep the stream in {path}: {err.strerror}; free space there or save the stream to a file first."
        ) from err
