"""What stands beside the rows: kept without loss in ``rows/``, which is ordinary Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aecompress.config import Target
from aecompress.errors import CorruptError, InputError
from aecompress.metrics import Distortion
from aecompress.shards import table, writer
from aecompress.shards.block import Block
from aecompress.shards.manifest import Manifest
from aecompress.shards.reader import ShardReader
from aecompress.shards.table import Cursor, joined
from aecompress.shards.writer import ShardWriter
from aecompress.spec import ArraySpec

BLOCK_ROWS = 7


def beside(rows: int) -> pa.RecordBatch:
    names = [None if row % 5 == 0 else f"row {row}" for row in range(rows)]
    return pa.record_batch(
        {"id": np.arange(rows) * 3, "name": names, "tags": [["a"] * (row % 3) for row in range(rows)]}
    )


def blocks(rows: int) -> Iterator[Block]:
    for start in range(0, rows, BLOCK_ROWS):
        yield Block(start, min(BLOCK_ROWS, rows - start), b"payload", "plain", Distortion())


def put(archive: Path, columns: pa.RecordBatch, *, cut: int = 1 << 20, stop: int | None = None) -> Manifest | None:
    """Write (or go on with) an archive of blocks of 7 rows, its columns cut after every ``cut`` rows."""
    shard = ShardWriter.create(archive, key="0123456789abcdef", force=False, resume=True)
    shard.keep_columns(columns.schema)
    pieces = Cursor(columns.slice(lo, cut) for lo in range(shard.next_row, len(columns), cut))
    for block in blocks(len(columns)):
        if stop is not None and block.start >= stop:
            shard.abort()
            return None
        if block.start >= shard.next_row:
            shard.write(block, pieces.take(block.rows))
    spec = ArraySpec(np.dtype("f4"), (2,), len(columns))
    return shard.commit(spec, {"name": "x"}, Target("lossless"), BLOCK_ROWS, {})


def kept(archive: Path, names: list[str], start: int, stop: int) -> pa.RecordBatch:
    return joined(list(ShardReader(archive).columns(names, start, stop)))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of three rows, row groups of two pieces, a few blocks a part, no waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(writer, "PART_BYTES", 4000)
    monkeypatch.setattr(table, "PIECE_ROWS", 3)
    monkeypatch.setattr(table, "GROUP_ROWS", 6)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("rows", [(0, 50), (0, 1), (49, 50), (6, 8), (13, 37)])
def test_columns_come_back_by_range(tmp_path: Path, rows: tuple[int, int]) -> None:
    columns = beside(50)
    manifest = put(tmp_path / "a", columns)
    assert manifest is not None
    assert manifest.columns == ("id", "name", "tags")
    assert len(manifest.fragments) > 2
    assert kept(tmp_path / "a", ["id", "name", "tags"], *rows).equals(columns.slice(rows[0], rows[1] - rows[0]))
    assert kept(tmp_path / "a", ["tags", "id"], *rows).schema.names == ["tags", "id"]
    ShardReader(tmp_path / "a").check_files()


@pytest.mark.usefixtures("small_parts")
def test_rows_and_blocks_are_numbered(tmp_path: Path) -> None:
    put(tmp_path / "a", beside(50))
    found = pq.read_table(tmp_path / "a" / "rows")
    assert found["_row"].to_pylist() == list(range(50))
    assert found["_block"].to_pylist() == [row // 7 * 7 for row in range(50)]
    joint = found.drop(["tags"]).join(pq.read_table(tmp_path / "a" / "blocks"), "_block", "row_start", "inner")
    assert len(joint) == 50


@pytest.mark.usefixtures("small_parts")
def test_the_bytes_do_not_depend_on_how_the_source_is_cut(tmp_path: Path) -> None:
    for cut in (1, 2, 5, 50):
        put(tmp_path / str(cut), beside(50), cut=cut)
        assert tree(tmp_path / str(cut)) == tree(tmp_path / "1")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("stop", [7, 28, 49])
def test_a_resumed_table_ends_in_the_same_bytes(tmp_path: Path, stop: int) -> None:
    put(tmp_path / "whole", beside(50))
    put(tmp_path / "a", beside(50), stop=stop)
    put(tmp_path / "a", beside(50), cut=4)
    assert tree(tmp_path / "a") == tree(tmp_path / "whole")


@pytest.mark.usefixtures("small_parts")
def test_a_damaged_table_is_found_and_packed_again(tmp_path: Path) -> None:
    put(tmp_path / "whole", beside(50))
    put(tmp_path / "a", beside(50), stop=49)
    part = tmp_path / "a" / "_staging" / "rows" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    put(tmp_path / "a", beside(50))
    assert tree(tmp_path / "a") == tree(tmp_path / "whole")
    part = tmp_path / "a" / "rows" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptError, match=r"rows/part-00001.*checksum"):
        ShardReader(tmp_path / "a").check_files()
    with pytest.raises(CorruptError, match="rows/part-00001"):
        kept(tmp_path / "a", ["id"], 0, 50)
    assert len(kept(tmp_path / "a", ["id"], 0, 3)) == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"_row": pa.int8()}, "named _row, which archives use; rename it"),
        ({"_block": pa.string()}, "named _block, which archives use"),
        ({"id": pa.int64(), "gap": pa.month_day_nano_interval()}, "'gap' of type month_day_nano.*leave it out"),
        ({"id": pa.struct([])}, "'id' of type struct.*leave it out"),
    ],
)
def test_columns_that_a_table_cannot_hold_are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    shard = ShardWriter.create(tmp_path / "a", key="k", force=False, resume=False)
    with pytest.raises(InputError, match=message):
        shard.keep_columns(pa.schema(columns))
    with pytest.raises(InputError, match="Two columns beside the array are named 'a'"):
        shard.keep_columns(pa.schema([("a", pa.int8()), ("a", pa.int8())]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "end before row 7"),
        ([beside(6)], "end before row 7"),
        ([beside(8)], "more rows than a block"),
        ([beside(7).select(["id"])], "change their types"),
    ],
)
def test_columns_of_other_rows_are_refused(tmp_path: Path, columns: list[Any], message: str) -> None:
    shard = ShardWriter.create(tmp_path / "a", key="k", force=False, resume=False)
    shard.keep_columns(beside(7).schema)
    with pytest.raises(InputError, match=message):
        shard.write(next(blocks(7)), columns)
    shard.abort()
    assert not (tmp_path / "a").exists()


def test_a_table_without_its_rows_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a", beside(20))
    reader = ShardReader(tmp_path / "a")
    (fragment,) = reader.manifest.fragments
    path = tmp_path / "a" / "rows" / "part-00000.parquet"
    for wrong in (pq.read_table(path).slice(1), pq.read_table(path).drop(["_row"]), pq.read_table(path).drop(["id"])):
        pq.write_table(wrong, path)
        with pytest.raises(CorruptError, match="does not hold the rows"):
            list(table.read_table(path, fragment, ["id"], 0, 20))
