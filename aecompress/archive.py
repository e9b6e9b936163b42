"""Reading an archive: rows by index, batch by batch or by what stands beside them; nothing else is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from aecompress.abreast import WORKERS, abreast
from aecompress.codec.model import Model
from aecompress.errors import ArchiveError, CorruptError, InputError
from aecompress.indexing import select
from aecompress.locations import Location, Where, locate
from aecompress.shards.block import Block
from aecompress.shards.manifest import LATENTS, Manifest
from aecompress.shards.reader import ShardReader
from aecompress.spec import Array, ArraySpec

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as pads

#: Blocks that are read and passed over rather than sought anew.
_PASSED_OVER = 8


#: What stands beside some rows, and the rows [n, *row_shape].
Table: TypeAlias = "tuple[pa.RecordBatch, Array]"


class Archive:
    """An archive opened for reading: indexed as a numpy array is, or batch by batch: ``for batch in archive``.

    ``np.asarray(archive)`` decodes everything. Pickled, an archive is its path and quality: the other end opens it
    again.

    Args:
        path: its folder, on this machine or in a store.
        quality: decode only so many latents of each row, the first and most important ones, for coarser rows; the
            others count as zero. Blocks that hold no latents alone come back as ever.

    Attributes:
        path: where it is.
        manifest: what it says of itself.

    Raises:
        InputError: no block holds latents alone, or they are fewer than ``quality``, or it is below 1.
        ArchiveError: it is not an archive, or an unfinished, damaged or newer one.
    """

    def __init__(self, path: Where, quality: int | None = None) -> None:
        self.path = locate(path)
        self._reader = ShardReader(self.path)
        self._model: Model | None = None
        self._quality = quality
        if quality is not None:
            self._model = self._truncated(quality)

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

    def __reduce__(self) -> tuple[type[Archive], tuple[Location, int | None]]:
        return Archive, (self.path, self._quality)

    def __iter__(self) -> Iterator[Array]:
        """Batches [n, *row_shape] in row order, a block each."""
        return self.batches()

    def batches(self, start: int = 0, stop: int | None = None, *, workers: int = WORKERS) -> Iterator[Array]:
        """Decoded rows ``start`` to ``stop`` in order, a block at a time; ``workers`` blocks are decoded at once.

        Raises:
            InputError: the rows are not in the archive.
            CorruptError: a block is damaged.
        """
        stop = len(self) if stop is None else stop
        for block, rows in self.decoded(start, stop, workers=workers):
            yield rows[max(start - block.start, 0) : stop - block.start]

    def decoded(self, start: int, stop: int, *, workers: int = WORKERS) -> Iterator[tuple[Block, Array]]:
        """Whole blocks that overlap the rows, with their decoded rows."""
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"Rows {start} to {stop} were asked for; the archive has rows 0 to {len(self)}.")
        return self._decode_all(self._reader.blocks(start, stop), workers)

    # --- what stands beside the rows --------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what stood beside the array: ids, labels, file names; empty if nothing did."""
        return tuple(name for name in self.manifest.columns if name != LATENTS)

    def latents(self, start: int = 0, stop: int | None = None) -> Array:
        """float32 [n, K]: the latents of rows ``start`` to ``stop``, in the units of their autoencoder.

        Raises:
            InputError: they were not kept when the archive was packed, or the rows are not in it.
            CorruptError: a file is damaged.
        """
        from aecompress.shards.table import latents_of

        if LATENTS not in self.manifest.columns:
            raise InputError(
                f"{self.path} was packed without --keep-latents; `aecompress embed` makes features of its rows."
            )
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"Rows {start} to {stop} were asked for; the archive has rows 0 to {len(self)}.")
        return latents_of(self._reader.columns([LATENTS], start, stop))

    @property
    def columns_schema(self) -> pa.Schema:
        """Names and types of ``columns``, as Parquet keeps them. Raises as ``rows`` does."""
        return self.rows.schema.empty_table().select(list(self.columns)).schema

    @property
    def rows(self) -> pads.Dataset:
        """The table of rows: ``_row``, ``_block`` (its first row) and the columns, as a pyarrow data set.

        Raises:
            InputError: there are no columns beside the array.
            CorruptError: a file is damaged.
        """
        self._check_columns()
        return self._reader.table()

    def tables(self, start: int = 0, stop: int | None = None, *, workers: int = WORKERS) -> Iterator[Table]:
        """What stands beside rows ``start`` to ``stop``, and the rows, in order, a block at a time.

        Raises as ``batches`` and ``rows`` do.
        """
        from aecompress.shards.table import Cursor

        self._check_columns()
        stop = len(self) if stop is None else stop
        beside = Cursor(self._reader.columns(list(self.columns), start, stop))
        for rows in self.batches(start, stop, workers=workers):
            columns = beside.whole(len(rows))
            if columns is None or len(columns) != len(rows):
                raise CorruptError(f"The table of rows of {self.path} ends before the blocks do; it is damaged.")
            yield columns, rows

    def beside(self, start: int = 0) -> Iterator[pa.RecordBatch]:
        """What stands beside the rows from ``start`` on, in order. Raises as ``rows`` does."""
        self._check_columns()
        return self._reader.columns(list(self.columns), start, len(self))

    def differing_row(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int | None:
        """The first row, about, whose columns are not those of ``batches``; None if all are the same."""
        from aecompress.shards.table import differing_row

        return differing_row(schema, self._reader.columns(list(self.columns), 0, len(self)), batches)

    def where(self, condition: pc.Expression | str, *, workers: int = WORKERS) -> Selection:
        """The rows that a condition is true of; see ``Selection``. Blocks without any are not decoded.

        Args:
            condition: a pyarrow expression of the columns, or one as text: ``label == 3 and split != "test"``.
            workers: blocks decoded at once.

        Raises:
            InputError: the condition does not fit the columns, or there are none.
        """
        from aecompress.shards.conditions import parse_condition
        from aecompress.shards.table import check_expression

        schema = self.rows.schema
        expression = parse_condition(condition, schema) if isinstance(condition, str) else condition
        check_expression(expression, schema)
        return Selection(self, expression, workers)

    def _check_columns(self) -> None:
        if not self.manifest.columns:
            raise InputError(
                f"{self.path} holds an array alone, without columns beside it: nothing can be asked of them."
            )

    def _matching(self, expression: pc.Expression, workers: int) -> Iterator[Table]:
        for found in self._reader.matching(expression, list(self.columns)):
            blocks = (block for lo, hi in self._runs(found) for block in self._reader.blocks(lo, hi))
            wanted = (block for block in blocks if block.start in found)
            for block, rows in self._decode_all(wanted, workers):
                columns = found.pop(block.start)
                places = columns.column(0).to_numpy() - block.start
                if places[0] < 0 or places[-1] >= block.rows or (np.diff(places) < 1).any():
                    raise CorruptError(f"The table of rows of {self.path} numbers them wrongly; it is damaged.")
                yield columns.select(list(self.columns)), rows[places]
            if found:
                raise CorruptError(f"The table of rows of {self.path} names blocks that are not there; it is damaged.")

    def _runs(self, starts: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(first row, row behind the first of the last block) of blocks near each other, of blocks in order."""
        first = last = -1
        for start in starts:
            if not 0 <= start < len(self):
                raise CorruptError(f"The table of rows of {self.path} names blocks that are not there; it is damaged.")
            if first < 0:
                first = start
            elif start - last > _PASSED_OVER * self.manifest.block_rows:
                yield first, last + 1
                first = start
            last = start
        if first >= 0:
            yield first, last + 1

    def _decode_all(self, blocks: Iterable[Block], workers: int) -> Iterator[tuple[Block, Array]]:
        return abreast(lambda block: (block, self._decode(block)), blocks, workers)

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """The blocks that overlap the rows, as they are coded. Raises InputError, CorruptError."""
        return self._reader.blocks(start, stop)

    def check_files(self) -> None:
        """Compare every file with its checksum. Raises CorruptError."""
        self._reader.check_files()

    def _truncated(self, quality: int) -> Model:
        methods = self.manifest.report["methods"]
        if "autoencoder" not in methods:
            coded = f"its blocks are coded as {', '.join(methods)}" if methods else "it has no blocks"
            raise InputError(
                f"{self.path} holds no latents alone ({coded}), so it has one quality only: leave quality out, or pack "
                "it with an autoencoder and without a bound, as with --model pca --psnr 30."
            )
        return self.model.truncated(quality)

    def _decode(self, block: Block) -> Array:
        rows = self.model.decompress(block.payload)
        if len(rows) != block.rows:
            raise CorruptError(f"The block at row {block.start} holds {len(rows)} rows, not {block.rows}.")
        return rows


class Selection:
    """Rows of an archive that a condition is true of: ``for columns, rows in archive.where(...)``.

    Each step gives those of one block, in order: what stands beside them as a pyarrow RecordBatch, and the rows
    [n, *row_shape]. It may be taken as often as is wanted; ``len`` counts rows without decoding any.
    """

    def __init__(self, archive: Archive, expression: pc.Expression, workers: int) -> None:
        self._archive, self._expression, self._workers = archive, expression, workers

    def __len__(self) -> int:
        return int(self._archive.rows.count_rows(filter=self._expression))

    def __iter__(self) -> Iterator[Table]:
        return self._archive._matching(self._expression, self._workers)

    def between(self, start: int, stop: int) -> Selection:
        """Those among rows ``start`` to ``stop``."""
        from aecompress.shards.table import between

        return Selection(self._archive, self._expression & between(start, stop), self._workers)
