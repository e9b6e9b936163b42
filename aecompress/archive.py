"""Reading an archive: rows by index, batch by batch, nothing decoded that is not asked for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from aecompress.codec.model import Model
from aecompress.errors import ArchiveError, CorruptError, InputError
from aecompress.indexing import select
from aecompress.locations import Location, Where, locate
from aecompress.shards.block import Block
from aecompress.shards.manifest import Manifest
from aecompress.shards.reader import ShardReader
from aecompress.spec import Array, ArraySpec


class Archive:
    """An archive opened for reading: indexed as a numpy array is, or batch by batch: ``for batch in archive``.

    ``np.asarray(archive)`` decodes everything. Pickled, an archive is its path: the other end opens it again.

    Attributes:
        path: its folder, on this machine or in a store.
        manifest: what it says of itself.

    Raises:
        ArchiveError: it is not an archive, or an unfinished, damaged or newer one.
    """

    def __init__(self, path: Where) -> None:
        self.path = locate(path)
        self._reader = ShardReader(self.path)
        self._model: Model | None = None

    @property
    def manifest(self) -> Manifest:
        return self._reader.manifest

    @property
    def spec(self) -> ArraySpec:
        """Dtype (byte order as it came), row shape and number of rows."""
        return self.manifest.spec

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array before packing."""
        return self.spec.raw_bytes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of what is read: the source's, in this machine's byte order."""
        return self.spec.native

    @property
    def model(self) -> Model:
        """The decoder; loaded at first use."""
        if self._model is None:
            data = self._reader.model()
            if data is None:
                raise ArchiveError(f"{self.path} holds no model; it cannot be decoded.")
            self._model = Model.from_bytes(data)
        return self._model

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """What numpy gives for the same index of the whole array; only the blocks that hold the rows are decoded.

        Args:
            index: an integer, a slice, a list, a mask, ``...``, or a tuple of these, rows first.

        Raises:
            IndexError: it leads out of the array, or is none of these.
            CorruptError: a block is damaged.
        """
        selection = select(index, self.shape)
        found = [np.zeros((0, *self.spec.row_shape), self.dtype)[selection.cut]]
        for start, stop in selection.stretches(self.manifest.block_rows):
            found += [selection.of_block(block.start, rows) for block, rows in self.decoded(start, stop)]
        return np.asarray(np.concatenate(found)[selection.order])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("an archive is decoded into a new array, so copy=False is impossible")
        return np.asarray(self[:], dtype)

    def __reduce__(self) -> tuple[type[Archive], tuple[Location]]:
        return Archive, (self.path,)

    def __iter__(self) -> Iterator[Array]:
        """Batches [n, *row_shape] in row order, a block each."""
        return self.batches()

    def batches(self, start: int = 0, stop: int | None = None, *, workers: int = 2) -> Iterator[Array]:
        """Decoded rows ``start`` to ``stop`` in order, a block at a time; ``workers`` blocks are decoded at once.

        Raises:
            InputError: the rows are not in the archive.
            CorruptError: a block is damaged.
        """
        stop = len(self) if stop is None else stop
        for block, rows in self.decoded(start, stop, workers=workers):
            yield rows[max(start - block.start, 0) : stop - block.start]

    def decoded(self, start: int, stop: int, *, workers: int = 2) -> Iterator[tuple[Block, Array]]:
        """Whole blocks that overlap the rows, with their decoded rows."""
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"Rows {start} to {stop} were asked for; the archive has rows 0 to {len(self)}.")
        with ThreadPoolExecutor(workers) as pool:
            waiting: list[tuple[Block, Future[Array]]] = []
            for block in self._reader.blocks(start, stop):
                waiting.append((block, pool.submit(self._decode, block)))
                if len(waiting) > workers:
                    ready, rows = waiting.pop(0)
                    yield ready, rows.result()
            for ready, rows in waiting:
                yield ready, rows.result()

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """The blocks that overlap the rows, as they are coded. Raises InputError, CorruptError."""
        return self._reader.blocks(start, stop)

    def check_files(self) -> None:
        """Compare every file with its checksum. Raises CorruptError."""
        self._reader.check_files()

    def _decode(self, block: Block) -> Array:
        rows = self.model.decompress(block.payload)
        if len(rows) != block.rows:
            raise CorruptError(f"The block at row {block.start} holds {len(rows)} rows, not {block.rows}.")
        return rows
