"""What a sink is, and the staging that makes its file appear whole or not at all.

    open_sink -> StagedSink   counts rows, stages the file, moves it into place
                 └── Writer   knows one format, and only appends

A new format is one module with a writer.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec

if TYPE_CHECKING:
    import pyarrow as pa


class Sink(Protocol):
    """Takes all rows of a set in order, then makes them appear at the destination at once."""

    @property
    def tabular(self) -> bool:
        """True if it takes what stands beside the rows too."""

    def write(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:
        """Append rows [n, *row_shape], in native byte order, and where it is tabular what stands beside them.

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


class TableWriter(Writer, Protocol):
    """Appends rows with what stands beside them."""

    def append(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:
        """Append rows [n, *row_shape], in native byte order, and n rows of columns if it was opened for some."""


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
    """Writes to a hidden file or folder beside the destination and moves it there at commit.

    ``replaces`` says of a folder at the destination whether ``force`` may replace it; None where a file is written.
    """

    def __init__(
        self,
        dest: Path,
        spec: ArraySpec,
        open_writer: Callable[[Path], Writer],
        *,
        replaces: Callable[[Path], bool] | None = None,
        tabular: bool = False,
        force: bool,
    ) -> None:
        self.tabular = tabular
        self._dest, self._force, self._replaces = dest, force, replaces
        self._count = RowCount(spec, str(dest))
        with storage_errors(dest):
            self._check_free()
        self._staged = hidden(dest)
        try:
            with storage_errors(dest):
                self._writer = open_writer(self._staged)
        except BaseException:
            remove(self._staged)
            raise

    def write(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:
        self._count.add(batch)
        with storage_errors(self._dest):
            if columns is None:
                self._writer.append(batch)
            else:
                cast("TableWriter", self._writer).append(batch, columns)

    def commit(self) -> None:
        self._count.check_complete()
        self._check_free()
        with storage_errors(self._dest):
            self._writer.close()
            if self._replaces is None:
                replace_file(self._staged, self._dest)
            else:
                replace_folder(self._staged, self._dest)

    def abort(self) -> None:
        with suppress(OSError):  # a full disk cannot take the end of the file either
            self._writer.close()
        remove(self._staged)

    def _check_free(self) -> None:
        if self._replaces is None:
            check_free(self._dest, force=self._force)
        else:
            check_free_folder(self._dest, self._replaces, force=self._force)


def check_free(dest: Path, *, force: bool) -> None:
    """Raise DestinationError unless a file can be made at ``dest``."""
    if dest.is_dir():
        raise DestinationError(f"{dest} is a folder; give the name of a file.")
    if dest.exists() and not force:
        raise DestinationError(f"{dest} exists already; choose another name, or replace it with --force.")
    if not dest.parent.is_dir():
        raise DestinationError(f"There is no folder {dest.parent}; make it first.")


def check_free_folder(dest: Path, replaces: Callable[[Path], bool], *, force: bool) -> None:
    """Raise DestinationError unless a folder can be made at ``dest``, or ``force`` may replace what is there."""
    if not dest.is_dir():
        if dest.exists():
            raise DestinationError(f"{dest} is a file; give the name of a folder.")
        check_free(dest, force=force)
    elif any(dest.iterdir()):
        if not replaces(dest):
            raise DestinationError(f"{dest} holds other things, which would be lost; choose another name.")
        if not force:
            raise DestinationError(f"{dest} exists already; choose another name, or replace it with --force.")


def replace_file(staged: Path, dest: Path) -> None:
    """Move a file to its place when it is on the disk."""
    with staged.open("r+b") as file:
        os.fsync(file.fileno())
    os.replace(staged, dest)


def replace_folder(staged: Path, dest: Path) -> None:
    """Move a folder to its place when it is on the disk; what was there is removed."""
    os.sync()  # one wait for all its files
    former = hidden(dest)
    if dest.exists():
        dest.rename(former)
    staged.rename(dest)
    remove(former)


def hidden(dest: Path) -> Path:
    """A new name beside ``dest``, for what is not yet or no longer there."""
    return dest.with_name(f".{secrets.token_hex(8)}.partial")


def remove(path: Path) -> None:
    """Remove a file or a folder that may be there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def storage_errors(dest: Path | str) -> Iterator[None]:
    """Turn what the operating system says while writing into one DestinationError."""
    try:
        yield
    except OSError as err:
        raise DestinationError(f"Cannot write {dest}: {err.strerror or err}.") from err
