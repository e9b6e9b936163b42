"""Parts written away from their archive's writer: by any process that sees its folder, in any order, more than once.

Each part has a name that nobody else uses, and counts once the writer has adopted it; the others are swept.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aecompress.shards import writer
from aecompress.shards.block import Block
from aecompress.shards.durable import writing
from aecompress.shards.manifest import Fragment

if TYPE_CHECKING:
    import pyarrow as pa

    from aecompress.shards.part import PartWriter
    from aecompress.shards.table import TableWriter


class FragmentWriter:
    """Writes blocks from any row on, in parts of consecutive rows.

    Args:
        folder: where the parts go: the scratch folder of a ShardWriter.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._part: PartWriter | None = None
        self._table: TableWriter | None = None
        self._start = self._row = 0
        self._fragments: list[Fragment] = []

    def write(self, block: Block, columns: pa.RecordBatch | None = None) -> None:
        """Add a block, and what stands beside its rows; one that does not follow the last begins another part.

        Raises:
            InputError: the block is too large, or its columns are not those of the blocks before.
            DestinationError: it cannot be written.
        """
        writer.check_payload(block)
        with writing(self._folder):
            if self._part is not None and block.start != self._row:
                self._finish(self._part)
            if self._part is None:
                self._part, self._start = self._open(), block.start
                self._table = None if columns is None else self._open_table(columns.schema)
            self._part.write(block)
            size = self._part.size
            if self._table is not None:
                self._table.write(block, () if columns is None else [columns])
                size += self._table.size
            self._row = block.stop
            if size >= writer.PART_BYTES:
                self._finish(self._part)

    def close(self) -> tuple[Fragment, ...]:
        """The parts in the order written, all of them on the disk; their paths are relative to the folder."""
        with writing(self._folder):
            if self._part is not None:
                self._finish(self._part)
        return tuple(self._fragments)

    def abort(self) -> None:
        """Delete what was written, as far as it can be: what stays is swept with the folder."""
        for part in (self._part, self._table):
            if part is not None:
                part.abort()
        self._part = self._table = None
        for file in (file for fragment in self._fragments for file in fragment.files):
            with suppress(OSError):
                (self._folder / file.path).unlink()

    def _open(self) -> PartWriter:
        from aecompress.shards.part import PartWriter  # loads pyarrow, which many commands do without

        return PartWriter(self._folder / f"{secrets.token_hex(16)}.parquet")

    def _open_table(self, columns: pa.Schema) -> TableWriter:
        from aecompress.shards.table import TableWriter

        return TableWriter(self._folder / f"{secrets.token_hex(16)}.parquet", columns)

    def _finish(self, part: PartWriter) -> None:
        self._fragments.append(writer.finish(part, self._folder, self._start, self._row, self._table))
        self._part = self._table = None
