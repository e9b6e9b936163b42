"""One Parquet file of blocks: one Parquet row per block, row groups of a few MiB.

Payloads are coded already, so nothing is compressed, and every column is PLAIN: what a reader must allocate is never
more than the bytes of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aecompress.errors import CorruptError
from aecompress.locations import Location, arrow_file
from aecompress.metrics import Distortion
from aecompress.shards.block import Block
from aecompress.shards.growing import GrowingFile
from aecompress.shards.manifest import Fragment

#: A row group is closed once its blocks reach this many bytes: what one random access reads at most, plus a block.
GROUP_BYTES = 8 << 20

#: Bytes of a block outside its payload: eight columns, and the lengths of the two that vary.
ROW_BYTES = 64

SCHEMA = pa.schema(
    [
        pa.field("row_start", pa.int64(), nullable=False),
        pa.field("row_count", pa.int32(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("max_abs", pa.float64(), nullable=False),
        pa.field("sse", pa.float64(), nullable=False),
        pa.field("values", pa.int64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
    ]
)

# The smallest footer: without statistics, page index and the Arrow schema it is a third of the default.
_LAYOUT = {
    "compression": "NONE",
    "use_dictionary": False,
    "write_statistics": False,
    "store_schema": False,
    "write_page_checksum": True,
}


class PartWriter(GrowingFile):
    """Writes one part. A part that was not closed is not whole, even if Parquet can read it.

    Attributes:
        path: the file.
        size: bytes of the blocks so far.
        blocks: their number.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA, **_LAYOUT)
        self.blocks = 0
        self._group: list[Block] = []
        self._group_size = 0

    def write(self, block: Block) -> None:
        size = len(block.payload) + ROW_BYTES
        self._group.append(block)
        self._group_size += size
        self.size += size
        self.blocks += 1
        if self._group_size >= GROUP_BYTES:
            self._end_group()

    def _end_group(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_pylist([_to_row(block) for block in self._group], schema=SCHEMA))
        self._group, self._group_size = [], 0


def read_part(path: Location, fragment: Fragment, start: int, stop: int) -> Iterator[Block]:
    """The blocks of a part that overlap rows ``start`` to ``stop``, reading only their row groups, one at a time.

    Raises CorruptError if the file is not the part that ``fragment`` describes.
    """
    with parsing(path), arrow_file(path) as file:
        part = pq.ParquetFile(file, page_checksum_verification=True)
        _check_layout(part, fragment)
        ranges = _read_ranges(part, fragment)
        first = 0
        for group in range(part.num_row_groups):
            last = first + part.metadata.row_group(group).num_rows
            if ranges[first][0] < stop and ranges[last - 1][1] > start:
                # One block at a time, so that memory holds one payload, whatever the file says.
                batches = part.iter_batches(batch_size=1, row_groups=[group], use_threads=False)
                for (block_start, block_stop), batch in zip(ranges[first:last], batches, strict=True):
                    if block_start < stop and block_stop > start:
                        yield _from_row(batch.to_pylist()[0])
            first = last


def _to_row(block: Block) -> dict[str, Any]:
    return {
        "row_start": block.start,
        "row_count": block.rows,
        "method": block.method,
        "payload": block.payload,
        "max_abs": block.distortion.max_abs,
        "sse": block.distortion.sse,
        "values": block.distortion.count,
        "low": block.distortion.low,
        "high": block.distortion.high,
    }


def _from_row(row: dict[str, Any]) -> Block:
    distortion = Distortion(row["values"], row["max_abs"], row["sse"], row["low"], row["high"])
    return Block(row["row_start"], row["row_count"], row["payload"], row["method"], distortion)


@contextmanager
def parsing(path: Location) -> Iterator[None]:
    """Turn what is no Parquet into a CorruptError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as err:
        raise CorruptError(f"{path} is damaged: it cannot be read as Parquet ({err}).") from err


def _check_layout(part: pq.ParquetFile, fragment: Fragment) -> None:
    """Refuse other columns, and pages that unfold to more than the file.

    The metadata of single columns is not looked at: where it makes no sense, pyarrow ends the process.
    """
    if not part.schema_arrow.equals(SCHEMA) or part.metadata.num_rows != fragment.blocks:
        raise CorruptError(
            f"{fragment.path} does not hold the {fragment.blocks} blocks of the manifest; it is damaged."
        )
    groups = [part.metadata.row_group(group) for group in range(part.num_row_groups)]
    if sum(group.num_rows for group in groups) != fragment.blocks or any(group.num_rows < 1 for group in groups):
        raise CorruptError(f"{fragment.path} has row groups that do not add up; it is damaged.")
    if sum(group.total_byte_size for group in groups) > fragment.bytes:
        raise CorruptError(f"{fragment.path} would unfold to more bytes than it has; it is damaged.")


def _read_ranges(part: pq.ParquetFile, fragment: Fragment) -> list[tuple[int, int]]:
    """(start, stop) of every block, without gaps from the first row of the part to its last."""
    table = part.read(columns=["row_start", "row_count"], use_threads=False)
    ranges, row = [], fragment.start
    for start, count in zip(table["row_start"].to_pylist(), table["row_count"].to_pylist(), strict=True):
        if start != row or count < 1:
            raise CorruptError(f"{fragment.path} has a block of {count} rows at row {start}, not {row}; it is damaged.")
        row += count
        ranges.append((start, row))
    if row != fragment.stop:
        raise CorruptError(f"{fragment.path} ends at row {row}, not {fragment.stop}; it is damaged.")
    return ranges
