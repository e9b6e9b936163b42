"""What a source is, and the three shapes that every source takes.

    SlicedSource    any rows at once        arrays in memory, npy files
    ChunkedSource   from any row onwards    npz members, Parquet files, tables
    StreamSource    once, from the start    standard input, iterators

What stands beside the array, ids and labels and file names, goes with its rows as Columns.

A new format is one module with a function that returns one of the three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from aecompress.errors import InputError
from aecompress.spec import Array, ArraySpec

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns that travel beside the rows of an array without loss: ids, labels, timestamps, file names.

    Attributes:
        schema: their Arrow schema; at least one field.
        batches: ``batches(start, rows)`` gives all rows from ``start`` on, in record batches of about ``rows``. Of a
            stream it gives what stands beside rows that were read from it and not given yet.
    """

    schema: pa.Schema
    batches: Callable[[int, int], Iterator[pa.RecordBatch]]


@runtime_checkable
class Source(Protocol):
    """A set of rows of one dtype and shape, read batch by batch in constant memory."""

    @property
    def name(self) -> str:
        """For people: the path, or ``stdin``, ``array``, ``iterable``."""

    @property
    def spec(self) -> ArraySpec:
        """Dtype, row shape and rows; rows is None while a stream has not ended."""

    @property
    def replayable(self) -> bool:
        """False if batches() can be taken only once."""

    @property
    def origin(self) -> dict[str, Any]:
        """What a sink needs to give the source's own format back; fit for JSON."""

    @property
    def columns(self) -> Columns | None:
        """What stands beside the rows and is kept without loss; None if nothing does."""

    def batches(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        """Rows start to stop (as in a slice), in order, ``rows`` at a time; the last batch may be shorter.

        Each batch is a new array [n, *row_shape], C-contiguous, in native byte order, the caller's to keep.

        Raises:
            InputError: the source cannot be read, or a part of a stream was asked for.
        """


@dataclass(frozen=True, eq=False)
class SlicedSource:
    """Rows that can be read at any place: ``read(lo, hi)`` gives rows lo to hi as a new array."""

    name: str
    spec: ArraySpec
    origin: dict[str, Any]
    read: Callable[[int, int], Array]
    columns: Columns | None = None

    @property
    def replayable(self) -> bool:
        return True

    def batches(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        start, stop, _ = slice(start, stop).indices(self.spec.shape[0])
        for lo in range(start, stop, rows):
            yield np.ascontiguousarray(self.read(lo, min(lo + rows, stop)), dtype=self.spec.native)


@dataclass(frozen=True, eq=False)
class ChunkedSource:
    """Rows that can be read onwards from any place, as chunks of whatever length suits the format.

    ``chunks(start, rows)`` gives all rows from ``start`` on; ``rows`` hints at a good length of a chunk.
    """

    name: str
    spec: ArraySpec
    origin: dict[str, Any]
    chunks: Callable[[int, int], Iterator[Array]]
    columns: Columns | None = None

    @property
    def replayable(self) -> bool:
        return True

    def batches(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        start, stop, _ = slice(start, stop).indices(self.spec.shape[0])
        return rebatch(self._first(stop - start, self.chunks(start, rows)), rows, self.spec)

    def _first(self, count: int, chunks: Iterator[Array]) -> Iterator[Array]:
        while count > 0:
            chunk = next(chunks, None)
            if chunk is None:
                raise InputError(f"{self.name} ended {count} rows early; it may have changed since it was opened.")
            yield chunk[:count]
            count -= len(chunk)


@dataclass(eq=False)
class StreamSource:
    """Rows that come once, as chunks of any length."""

    name: str
    spec: ArraySpec
    origin: dict[str, Any]
    chunks: Iterator[Array] | None
    columns: Columns | None = None

    @property
    def replayable(self) -> bool:
        return False

    def batches(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        if start != 0 or stop is not None:
            raise InputError(f"{self.name} is a stream, read from its first row to its last; save it to a file first.")
        if self.chunks is None:
            raise InputError(f"{self.name} is a stream and was read already; save it to a file to read it again.")
        chunks, self.chunks = self.chunks, None
        return rebatch(chunks, rows, self.spec)


def rebatch(chunks: Iterable[Array], rows: int, spec: ArraySpec) -> Iterator[Array]:
    """Chunks of any length and byte order as native batches of ``rows`` rows; the last may be shorter.

    Every value is copied once, before the next chunk is asked for, so a producer may reuse its buffer.
    """
    if rows < 1:
        raise ValueError("a batch has at least one row")
    batch, filled = np.empty((rows, *spec.row_shape), spec.native), 0
    for chunk in chunks:
        taken = 0
        while taken < len(chunk):
            count = min(rows - filled, len(chunk) - taken)
            batch[filled : filled + count] = chunk[taken : taken + count]
            filled, taken = filled + count, taken + count
            if filled == rows:
                yield batch
                batch, filled = np.empty_like(batch), 0
    if filled:
        yield batch[:filled]


class Taker:
    """The rows of a source in order, as many at a time as asked for: blocks of an archive need not be of one length.

    Args:
        source: read once, from its first row on.
        rows: how many are mostly asked for; these are handed on without a copy.
    """

    def __init__(self, source: Source, rows: int) -> None:
        self._batches = source.batches(rows)
        self._left = np.empty((0, *source.spec.row_shape), source.spec.native)

    def take(self, rows: int) -> Array:
        """The next rows, [n, *row_shape]; fewer only where the source ends."""
        found: list[Array] = []
        while rows and (len(self._left) or self._more()):
            found.append(self._left[:rows])
            self._left = self._left[rows:]
            rows -= len(found[-1])
        return found[0] if len(found) == 1 else np.concatenate([*found, self._left[:0]])

    def _more(self) -> bool:
        """Read on; False at the end."""
        batch = next(self._batches, None)
        if batch is not None:
            self._left = batch
        return batch is not None


def chunk_rows(spec: ArraySpec) -> int:
    """Rows in about 1 MiB: a piece worth reading or writing at once."""
    return max(1, _CHUNK_BYTES // max(1, spec.row_bytes))


def spec_of(dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> ArraySpec:
    """The spec of an array of this dtype and shape; raises InputError if it holds no rows to pack."""
    if not shape:
        raise InputError(f"{name} is a single value (a 0-d array); give it one axis or more, as in array[None].")
    return ArraySpec(dtype, shape[1:], shape[0])
