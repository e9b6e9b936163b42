"""Spark: a DataFrame packed by all executors, and the data source ``aecompress``, which reads and writes archives.

spark.dataSource.register(ArchiveDataSource)
spark.read.format("aecompress").load(archive)
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aecompress.archive import Archive
from aecompress.codec.model import Model
from aecompress.errors import InputError
from aecompress.figures import Report
from aecompress.integrations.jobs import Batch, PackJob, Share, stretches, task_rows
from aecompress.locations import Where, locate
from aecompress.packer import load_model
from aecompress.sinks.columns import encode
from aecompress.sources.columns import decode
from aecompress.spec import ArraySpec

try:
    from pyspark import StorageLevel
    from pyspark.errors import PythonException
    from pyspark.sql import DataFrame
    from pyspark.sql import functions as sql
    from pyspark.sql.datasource import (
        DataSource,
        DataSourceArrowWriter,
        DataSourceReader,
        InputPartition,
        WriterCommitMessage,
    )
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.types import StructType
except ImportError as err:
    raise ImportError(
        "aecompress.integrations.spark needs Spark 4; install it by: pip install 'aecompress[spark]'"
    ) from err

#: The columns of an archive: the number of a row, and its values.
ROW, VALUES = "row", "values"

_NUMBER = "_aecompress_row"
_OTHER_PYTHON = ("ModuleNotFoundError", "PYTHON_VERSION_MISMATCH")
_PARTITION_BITS = 33  # of monotonically_increasing_id, for the place of a row in its partition
_WIDER = {"u1": "i2", "u2": "i4", "u4": "i8", "f2": "f4"}  # for the dtypes that Spark lacks


def pack(
    rows: DataFrame,
    archive: Where,
    *,
    model: str | Path | Model,
    columns: Sequence[str] | None = None,
    row: str | None = None,
    force: bool = False,
) -> Report:
    """Pack a DataFrame with a fitted model.

    Blocks are those that ``aecompress.pack`` makes of the same rows with the same model, byte for byte. For that, rows
    are shuffled once into pieces of whole blocks.

    Args:
        rows: one array column, or numeric columns of one type.
        archive: the folder to write, which all executors see under this path.
        model: a fitted model or the path of its file; see ``PackJob.start`` for what its target may be.
        columns: which columns hold the rows; all others but ``row`` stand beside them. By default all but ``row``.
        row: a column that numbers the rows, from 0 and without gaps; without it they are taken in the order of the
            partitions, for which the DataFrame is kept on the disks of the executors meanwhile.
        force: replace the archive that is there.

    Raises:
        InputError: the numbers leave a row out, or name one twice; or workers run a Python without aecompress.
        DestinationError: the archive exists already, or cannot be written.
        PythonException: what stopped a task; Spark's.
    """
    model = model if isinstance(model, Model) else load_model(model)
    names = tuple(name for name in rows.columns if name != row)
    array = tuple(columns or names)
    height = task_rows(model.spec)
    job = PackJob.start(archive, model, force=force)
    try:
        with _numbered(rows, names, row) as (numbered, count):
            piece = sql.floor(sql.col(_NUMBER) / height)
            pieces = numbered.repartitionByRange(max(1, -(-count // height)), piece).sortWithinPartitions(_NUMBER)
            found = pieces.mapInArrow(_task(job, array), "share binary").collect()
        return job.commit((pickle.loads(share) for (share,) in found), rows=count, columns=names, array=array)
    except BaseException as err:
        job.abort()
        if isinstance(err, PythonException) and any(sign in str(err) for sign in _OTHER_PYTHON):
            raise InputError(
                "The workers of Spark run another Python, which cannot import aecompress; before the session is made, "
                "set PYSPARK_PYTHON to the path of one that can, such as sys.executable."
            ) from err
        raise


@contextmanager
def _numbered(rows: DataFrame, names: Sequence[str], row: str | None) -> Iterator[tuple[DataFrame, int]]:
    """The columns behind the number of each row, and how many rows there are."""
    if row is not None:
        yield rows.select(sql.col(row).cast("long").alias(_NUMBER), *names), rows.count()
        return
    # Numbers hold only as long as partitions stay what they are, so they are written down.
    kept = rows.select(sql.monotonically_increasing_id().alias(_NUMBER), *names).persist(StorageLevel.DISK_ONLY)
    try:
        partition = sql.shiftright(_NUMBER, _PARTITION_BITS).alias("partition")
        counts = dict(kept.groupBy(partition).count().collect())
        starts, total = [], 0
        for number in sorted(counts):
            starts.append((number, total))
            total += counts[number]
        offsets = rows.sparkSession.createDataFrame(starts, "partition long, start long")
        place = sql.col(_NUMBER).bitwiseAND((1 << _PARTITION_BITS) - 1)
        placed = kept.join(sql.broadcast(offsets), sql.shiftright(_NUMBER, _PARTITION_BITS) == offsets.partition)
        yield placed.select((sql.col("start") + place).alias(_NUMBER), *names), total
    finally:
        kept.unpersist()


def _task(job: PackJob, array: Sequence[str]) -> Any:
    """What Spark calls with the record batches of a partition."""

    def packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        share = job.write(_rows(batches, _NUMBER, array))
        yield pa.record_batch([pa.array([pickle.dumps(share)], pa.binary())], names=["share"])

    return packed


def _rows(batches: Iterable[pa.RecordBatch], row: str, array: Sequence[str]) -> Iterator[Batch]:
    """Numbers, rows and what stands beside them, of each record batch that has rows."""
    for batch in batches:
        if batch.num_rows:
            others = [name for name in batch.schema.names if name not in (row, *array)]
            rows = decode(batch.select(list(array)), "The DataFrame")
            yield np.asarray(batch[row].cast(pa.int64())), rows, batch.select(others) if others else None


class ArchiveDataSource(DataSource):  # type: ignore[misc]  # Spark is not followed by the type checker
    """The format ``aecompress`` of ``spark.read`` and ``DataFrame.write``.

    Read, an archive has the columns ``row`` (long) and ``values`` (arrays as deep as rows have axes); its option
    ``partitions`` says how many there shall be, by default one for 32 MiB. Written, a DataFrame has a column of row
    numbers (option ``row``) and those of the rows; its other options are ``path`` and ``model``, the path of a model
    file. The rows of a partition follow each other; the mode is ``append`` for a new archive, ``overwrite`` to replace
    one.
    """

    @classmethod
    def name(cls) -> str:
        return "aecompress"

    def schema(self) -> StructType:
        return from_arrow_schema(_schema(self._archive().spec))

    def reader(self, schema: StructType) -> ArchiveReader:  # noqa: ARG002
        partitions = self.options.get("partitions")
        return ArchiveReader(self._archive(), None if partitions is None else int(partitions))

    def writer(self, schema: StructType, overwrite: bool) -> ArchiveWriter:
        row = self.options.get("row", ROW)
        columns = tuple(name for name in schema.names if name != row)
        if len(columns) == len(schema.names):
            raise InputError(f"There is no column {row!r} of row numbers; name it by the option 'row'.")
        job = PackJob.start(self._option("path"), self._option("model"), force=overwrite)
        return ArchiveWriter(job, row, columns)

    def _archive(self) -> Archive:
        return Archive(locate(self._option("path")).absolute())

    def _option(self, name: str) -> str:
        if name not in self.options:
            raise InputError(f"The format aecompress needs the option {name!r}.")
        return str(self.options[name])


class ArchiveReader(DataSourceReader):  # type: ignore[misc]
    """Decodes a stretch of whole blocks for each partition."""

    def __init__(self, archive: Archive, tasks: int | None) -> None:
        self.archive, self.tasks = archive, tasks

    def partitions(self) -> list[InputPartition]:
        tasks = self.tasks or -(-len(self.archive) // task_rows(self.archive.spec))
        return [InputPartition(stretch) for stretch in stretches(self.archive, tasks)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        row, stop = partition.value
        schema = _schema(self.archive.spec)
        for rows in self.archive.batches(row, stop, workers=1):
            (values,) = encode(rows.astype(_element(self.archive.spec), copy=False), pa.schema([schema.field(VALUES)]))
            yield pa.record_batch([pa.array(np.arange(row, row + len(rows))), values], schema=schema)
            row += len(rows)


@dataclass
class Written(WriterCommitMessage):  # type: ignore[misc]
    """What a task tells the driver."""

    share: Share


class ArchiveWriter(DataSourceArrowWriter):  # type: ignore[misc]
    """Packs partitions, and makes an archive of the attempts that Spark counts."""

    def __init__(self, job: PackJob, row: str, columns: tuple[str, ...]) -> None:
        self.job, self.row, self.columns = job, row, columns

    def write(self, iterator: Iterator[pa.RecordBatch]) -> Written:
        return Written(self.job.write(_rows(iterator, self.row, self.columns)))

    def commit(self, messages: list[WriterCommitMessage | None]) -> None:
        self.job.commit((message.share for message in messages if isinstance(message, Written)), columns=self.columns)

    def abort(self, messages: list[WriterCommitMessage | None]) -> None:  # noqa: ARG002
        self.job.abort()


def _schema(spec: ArraySpec) -> pa.Schema:
    """``row`` and ``values`` in types that Spark has: lists in lists."""
    kind = pa.from_numpy_dtype(_element(spec))
    for _ in spec.row_shape:
        kind = pa.list_(kind)
    return pa.schema([(ROW, pa.int64()), (VALUES, kind)])


def _element(spec: ArraySpec) -> np.dtype[Any]:
    """The dtype that holds the values in Spark. Raises InputError if there is none."""
    name = spec.native.str[1:]
    if name == "u8":
        raise InputError("Spark has no type for uint64; unpack the archive to Parquet instead.")
    return np.dtype(_WIDER.get(name, name))
