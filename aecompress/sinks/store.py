"""Destinations in an object store: a temporary file of this machine, sent when it is whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aecompress.errors import DestinationError
from aecompress.locations import StorePath
from aecompress.sinks.base import Sink, storage_errors
from aecompress.spec import Array

if TYPE_CHECKING:
    import pyarrow as pa


class StoreSink:
    """Writes a file of this machine by ``open_file`` and sends it to the store at commit.

    Raises DestinationError unless there is nothing at ``dest``, or ``force`` says to replace it.
    """

    def __init__(self, dest: StorePath, open_file: Callable[[Path], Sink], *, force: bool) -> None:
        self._dest, self._force = dest, force
        self._check_free()
        with storage_errors(str(dest)):
            self._folder = Path(tempfile.mkdtemp(prefix="aecompress-"))
        self._file = self._folder / dest.name
        try:
            self._sink = open_file(self._file)
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    @property
    def tabular(self) -> bool:
        return self._sink.tabular

    def write(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:
        self._sink.write(batch, columns)

    def commit(self) -> None:
        self._sink.commit()
        self._check_free()
        self._dest.upload(self._file)

    def abort(self) -> None:
        self._sink.abort()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check_free(self) -> None:
        if self._dest.exists() and not self._force:
            raise DestinationError(f"{self._dest} exists already; choose another name, or replace it with --force.")
