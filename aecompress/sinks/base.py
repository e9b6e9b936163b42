"""What a sink is, and the staging that makes its file appear whole or not at all.

    open_sink -> StagedSink   counts rows, stages the file, moves it into place
                 └── Writer   knows one format, and only appends

A new format is one module with a writer.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec


class Sink(Protocol):
    """Takes all rows of a set in order, then makes them appear at the destination at once."""

    def write(self, batch: Array) -> None:
        """Append rows [n, *row_shape], in native byte order.

        Raises:
            DestinationError: the rows cannot be written, or are not of the shape, dtype and number announced.
        """

    def commit(self) -> None:
        """Make the destination appear, whole.

        Raises:
            DestinationError: rows are missing, or the destination cannot be written.
        """

    def abort(self) -> None:
        """Leave nothing behind; does nothing after commit or a second time."""


class Writer(Protocol):
    """Appends rows to a file in one format."""

    def append(self, batch: Array) -> None:
        """Append rows [n, *row_shape], in native byte order."""

    def close(self) -> None:
        """Finish the file; may be called twice."""


class RowCount:
    """Checks rows against a spec as they go by."""

    def __init__(self, spec: ArraySpec, name: str) -> None:
        self.spec, self.name, self.rows = spec, name, 0

    def add(self, batch: Array) -> None:
        """Count the rows of a batch; raises DestinationError if they are not what the spec announced."""
        if batch.shape[1:] != self.spec.row_shape or batch.dtype != self.spec.native:
            raise DestinationError(
                f"{self.name} was opened for {self.spec.describe()}, but was given rows of "
                f"{' x '.join(map(str, batch.shape[1:]))} {batch.dtype}; open it for these rows."
            )
        self.rows += len(batch)
        if self.rows > self.spec.shape[0]:
            raise DestinationError(f"{self.name} was given more than the {self.spec.rows} rows it was opened for.")

    def check_complete(self) -> None:
        """Raise DestinationError if rows are missing."""
        if self.rows != self.spec.shape[0]:
            raise DestinationError(f"{self.name} was given {self.rows} of {self.spec.rows} rows, so it was not made.")


class StagedSink:
    """Writes to a hidden file beside the destination and moves it there at commit."""

    def __init__(self, dest: Path, spec: ArraySpec, open_writer: Callable[[Path], Writer], *, force: bool) -> None:
        self._dest, self._force = dest, force
        self._count = RowCount(spec, str(dest))
        with storage_errors(dest):
            check_free(dest, force=force)
        self._staged = dest.with_name(f".{secrets.token_hex(8)}.partial")
        try:
            with storage_errors(dest):
                self._writer = open_writer(self._staged)
        except BaseException:
            self._staged.unlink(missing_ok=True)
            raise

    def write(self, batch: Array) -> None:
        self._count.add(batch)
        with storage_errors(self._dest):
            self._writer.append(batch)

    def commit(self) -> None:
        self._count.check_complete()
        check_free(self._dest, force=self._force)
        with storage_errors(self._dest):
            self._writer.close()
            with self._staged.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(self._staged, self._dest)

    def abort(self) -> None:
        with suppress(OSError):  # a full disk cannot take the end of the file either
            self._writer.close()
        self._staged.unlink(missing_ok=True)


def check_free(dest: Path, *, force: bool) -> None:
    """Raise DestinationError unless a file can be made at ``dest``."""
    if dest.is_dir():
        raise DestinationError(f"{dest} is a folder; give the name of a file.")
    if dest.exists() and not force:
        raise DestinationError(f"{dest} exists already; choose another name, or replace it with --force.")
    if not dest.parent.is_dir():
        raise DestinationError(f"There is no folder {dest.parent}; make it first.")


@contextmanager
def storage_errors(dest: Path | str) -> Iterator[None]:
    """Turn what the operating system says while writing into one DestinationError."""
    try:
        yield
    except OSError as err:
        raise DestinationError(f"Cannot write {dest}: {err.strerror or err}.") from err
