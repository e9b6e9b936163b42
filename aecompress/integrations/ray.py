"""Ray Data: a Dataset packed by all machines of a cluster, and an archive as a Dataset."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress.archive import Archive
from aecompress.codec.model import Model
from aecompress.errors import AecompressError, InputError
from aecompress.figures import Report
from aecompress.integrations.jobs import Batch, PackJob, Share, stretches, task_rows
from aecompress.locations import Where, locate
from aecompress.packer import load_model
from aecompress.sources.array import as_array
from aecompress.spec import Array

try:
    import ray
    from ray.data import Dataset, Datasink, Datasource, ReadTask
    from ray.data.block import Block, BlockAccessor, BlockMetadata
    from ray.exceptions import RayTaskError
except ImportError as err:
    raise ImportError("aecompress.integrations.ray needs Ray; install it by: pip install 'aecompress[ray]'") from err

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data._internal.execution.interfaces import TaskContext
    from ray.data.datasource import WriteResult

#: The column that numbers the rows of an archive.
ROW = "row"

_RETRIES = 3  # of a task whose process or machine died


def pack(
    dataset: Dataset,
    archive: Where,
    *,
    model: str | Path | Model,
    columns: Sequence[str] | None = None,
    force: bool = False,
    concurrency: int | None = None,
    ray_remote_args: dict[str, Any] | None = None,
) -> Report:
    """Pack the rows of a Dataset, in their order, with a fitted model; the Dataset streams through once.

    Blocks are those that ``aecompress.pack`` makes of the same rows with the same model, byte for byte.

    Args:
        dataset: one tensor or list column, or numeric columns of one dtype. Where rows have an order of their own, sort
            it by that first.
        archive: the folder to write, which all machines see under this path.
        model: a fitted model or the path of its file; see ``PackJob.start`` for what its target may be.
        columns: which columns hold the rows; all others stand beside them. By default all.
        force: replace the archive that is there.
        concurrency: tasks running or waiting at most; by default two for each processor.
        ray_remote_args: what each task takes, such as ``{"num_cpus": 2}`` or ``{"num_gpus": 1}``.

    Raises:
        InputError: the rows are not those the model was fitted for.
        DestinationError: the archive exists already, or cannot be written.
    """
    model = model if isinstance(model, Model) else load_model(model)
    names = tuple(dataset.columns() or ("values",))
    array = tuple(columns or names)
    pieces = dataset.repartition(target_num_rows_per_block=task_rows(model.spec), strict=True)
    job = PackJob.start(archive, model, force=force)
    try:
        task = ray.remote(max_retries=_RETRIES, **(ray_remote_args or {}))(_pack_piece)
        started = (task.remote(job, start, array, *refs) for start, refs in _numbered(pieces))
        shares = _results(started, concurrency or 2 * int(ray.cluster_resources().get("CPU", 1)))
        return job.commit(shares, columns=names, array=array)
    except BaseException as err:
        job.abort()
        if isinstance(err, RayTaskError) and isinstance(err.cause, AecompressError):
            raise err.cause from err
        raise


def read_archive(archive: Where, **options: Any) -> Dataset:
    """The rows of an archive as a Dataset of two columns: ``row``, their number, and ``values``, a tensor.

    Args:
        archive: the folder, which all machines see under this path, or the URL of one.
        options: those of ``ray.data.read_datasource``, such as ``override_num_blocks`` and ``num_cpus``.

    Raises:
        ArchiveError: it is not an archive.
    """
    return ray.data.read_datasource(ArchiveDatasource(archive), **options)


class ArchiveDatasink(Datasink[Share]):  # type: ignore[misc]  # Ray is not followed by the type checker
    """Where ``Dataset.write_datasink`` puts rows that carry their numbers, such as those of ``read_archive``.

    Tasks may be in any order; within one, rows follow each other as they do in a sorted Dataset.

    Args:
        archive, model, force: as for ``pack``.
        columns: which columns hold the rows; all others but ``row`` stand beside them. By default all but ``row``.
        row: the column of row numbers.
        rows: how many rows there must be, where that is known.

    Attributes:
        report: of the archive, once it is written.
    """

    report: Report

    def __init__(
        self,
        archive: Where,
        model: str | Path | Model,
        *,
        columns: Sequence[str] | None = None,
        row: str = ROW,
        rows: int | None = None,
        force: bool = False,
    ) -> None:
        self._archive, self._row, self._rows, self._force = locate(archive).absolute(), row, rows, force
        self._model = model if isinstance(model, Model) else load_model(model)
        self._columns, self._names = tuple(columns or ()), tuple(columns or ())
        self._job: PackJob | None = None

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        if schema is not None:  # else what comes is known only once it is made
            self._check(schema.names)
            self._names = tuple(name for name in schema.names if name != self._row)
        self._job = PackJob.start(self._archive, self._model, force=self._force)

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> Share:  # noqa: ARG002
        return self._started().write(self._batches(blocks))

    def on_write_complete(self, write_result: WriteResult[Share]) -> None:
        if self._job is None:  # there was nothing to write
            self.on_write_start()
        columns = self._names or ("values",)
        self.report = self._started().commit(
            write_result.write_returns, rows=self._rows, columns=columns, array=self._columns
        )

    def on_write_failed(self, error: Exception) -> None:  # noqa: ARG002
        if self._job is not None:
            self._job.abort()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}  # workers take it from the folder of the archive

    def _started(self) -> PackJob:
        if self._job is None:
            raise InputError("A datasink packs what Dataset.write_datasink gives it; call that.")
        return self._job

    def _batches(self, blocks: Iterable[Block]) -> Iterator[Batch]:
        """Numbers, rows and what stands beside them, of each block that has rows."""
        for block in blocks:
            accessor = BlockAccessor.for_block(block)
            self._check(accessor.column_names())
            if accessor.num_rows():
                (numbers,) = _numpy(accessor, [self._row])
                columns = self._columns or tuple(name for name in accessor.column_names() if name != self._row)
                yield np.asarray(numbers, np.int64), _rows(accessor, columns), _beside(accessor, (self._row, *columns))

    def _check(self, names: Container[str]) -> None:
        if self._row not in names:
            raise InputError(f"There is no column {self._row!r} of row numbers; name the one that numbers rows.")


class ArchiveDatasource(Datasource):  # type: ignore[misc]
    """Where ``read_archive`` reads: each task decodes a stretch of whole blocks."""

    def __init__(self, archive: Where) -> None:
        super().__init__()
        self._archive = Archive(locate(archive).absolute())

    def estimate_inmemory_data_size(self) -> int:
        return self._archive.nbytes

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: Any = None,  # noqa: ARG002
    ) -> list[ReadTask]:
        tasks = []
        for start, stop in stretches(self._archive, parallelism):
            size = (stop - start) * self._archive.spec.row_bytes
            metadata = BlockMetadata(num_rows=stop - start, size_bytes=size, input_files=None, exec_stats=None)
            read = partial(_read, self._archive, start, stop)
            tasks.append(ReadTask(read, metadata, per_task_row_limit=per_task_row_limit))
        return tasks


def _read(archive: Archive, start: int, stop: int) -> Iterator[Block]:
    for rows in archive.batches(start, stop, workers=1):
        yield BlockAccessor.batch_to_block({ROW: np.arange(start, start + len(rows)), "values": rows})
        start += len(rows)


def _numbered(dataset: Dataset) -> Iterator[tuple[int, list[Any]]]:
    """(number of the first row, blocks) of the pieces of a Dataset, in order, as they are made."""
    options, row = dataset.context.execution_options, 0
    before, options.preserve_order = options.preserve_order, True
    try:
        for bundle in dataset.iter_internal_ref_bundles():
            yield row, bundle.block_refs
            row += bundle.num_rows()
    finally:
        options.preserve_order = before


def _results(tasks: Iterable[Any], most: int) -> list[Share]:
    """What the tasks return, in any order; ``most`` of them are under way at once."""
    found: list[Share] = []
    waiting: list[Any] = []
    for task in tasks:
        waiting.append(task)
        if len(waiting) >= most:
            done, waiting = ray.wait(waiting)
            found += ray.get(done)
    return found + ray.get(waiting)


def _pack_piece(job: PackJob, start: int, columns: tuple[str, ...], *blocks: Block) -> Share:
    """What a task does: pack blocks that follow each other."""

    def batches() -> Iterator[Batch]:
        row = start
        for accessor in map(BlockAccessor.for_block, blocks):
            count = accessor.num_rows()
            if count:
                yield np.arange(row, row + count), _rows(accessor, columns), _beside(accessor, columns)
            row += count

    return job.write(batches())


def _rows(block: BlockAccessor, columns: Sequence[str]) -> Array:
    """Columns of a block side by side, or the only one; lists become rows of an array."""
    found = _numpy(block, columns)
    if len(columns) > 1:
        return np.stack(found, axis=1)
    (column,) = found
    return as_array(column.tolist(), f"The column {columns[0]}") if column.dtype == object else column


def _numpy(block: BlockAccessor, columns: Sequence[str]) -> list[Array]:
    batch = BlockAccessor.for_block(block.select(list(columns))).to_batch_format("numpy")
    return [batch[name] for name in columns]


def _beside(block: BlockAccessor, columns: Sequence[str]) -> pa.RecordBatch | None:
    """What stands beside these columns of a block that has rows; None if nothing does."""
    names = [name for name in block.column_names() if name not in columns]
    if not names:
        return None
    table = BlockAccessor.for_block(block.select(names)).to_arrow().replace_schema_metadata()
    return table.combine_chunks().to_batches()[0]
