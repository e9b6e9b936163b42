"""A pack shared out between machines, for whatever engine runs it.

driver    PackJob.start ─► job ····················· commit ─► archive
workers              job.write(rows with numbers) ─► Share ↗

Every worker sees the folder of the archive. Tasks may run in any order and more than once: each attempt writes parts
of its own, and only those whose shares the driver commits become part of the archive. Rows are put in order by their
numbers, and an archive in which a row is missing or there twice is refused. The same shares make the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from aecompress.archive import Archive
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.errors import DestinationError, InputError
from aecompress.figures import Report
from aecompress.locations import StorePath, Where, locate
from aecompress.packer import Times, Totals, facts, load_model, summary
from aecompress.shards.block import Block
from aecompress.shards.fragments import FragmentWriter
from aecompress.shards.manifest import Fragment
from aecompress.shards.writer import ShardWriter
from aecompress.sinks.columns import row_schema
from aecompress.sources.columns import arrow_origin
from aecompress.spec import VERSION, Array, ArraySpec
from aecompress.trainer import block_rows

_TASK_BYTES = 32 << 20

#: Numbers of rows, the rows, and what stands beside them.
Batch: TypeAlias = tuple[Array, Array, pa.RecordBatch | None]


@dataclass(frozen=True)
class Share:
    """What one attempt of a task packed: small, to be sent to the driver."""

    fragments: tuple[Fragment, ...]
    totals: Totals
    beside: pa.Schema | None = None


@dataclass(frozen=True)
class PackJob:
    """An archive being packed; pickled, a few hundred bytes.

    Attributes:
        archive: its folder, absolute.
        scratch: the folder where workers write, inside it.
        spec: dtype and shape of the rows to come.
        target: what the archive promises.
        block_rows: rows of a block.
        key: tells this job from any other that writes to the same folder.
        started: seconds since the epoch.
    """

    archive: Path
    scratch: Path
    spec: ArraySpec
    target: Target
    block_rows: int
    key: str
    started: float = field(default_factory=time.time)

    @classmethod
    def start(cls, archive: Where, model: str | Path | Model, *, force: bool = False) -> PackJob:
        """Begin an archive, on the driver.

        Args:
            archive: the folder to write, which all workers see under this path.
            model: a fitted model, or the path of its file; its target must be one that each block keeps by itself:
                ``max-error``, ``rel-error`` or ``lossless``.
            force: replace the archive that is there.

        Raises:
            InputError: the target needs all rows before the first is packed.
            DestinationError: the archive exists already, or cannot be written, or is to be in a store.
        """
        model = model if isinstance(model, Model) else load_model(model)
        folder, key = _shared(archive), secrets.token_hex(8)
        target = _promise(model)
        writer = ShardWriter.create(folder, key=key, force=force, resume=False)
        writer.save_model(model.to_bytes())
        scratch = writer.scratch()
        job = cls(folder, scratch, model.spec, target, block_rows(model.spec), key)
        job._model.write_bytes(model.to_bytes(encoder=True))
        return job

    def write(self, batches: Iterable[Batch]) -> Share:
        """Pack the rows of a task, on a worker; in constant memory.

        Args:
            batches: (numbers [n] of the rows in the whole set, from 0; rows [n, *row_shape] of the job's dtype or one
                that holds the same values; what stands beside them, or None). Within a task, numbers may jump where a
                block begins or ends, no more.

        Raises:
            InputError: the rows are scattered, or of another dtype or shape, or columns beside them change.
            DestinationError: the folder of the archive is not there, or cannot be written.
        """
        model = self._fitted()
        writer, totals, schema = FragmentWriter(self.scratch), Totals(), None
        try:
            for start, rows, beside in _blocks(_runs(batches), self.block_rows):
                coded = model.code(as_rows(rows, self.spec))
                block = Block(start, len(rows), coded.payload, coded.method, coded.distortion, coded.similarity)
                writer.write(block, beside)
                totals.add(block)
                schema = None if beside is None else beside.schema
            return Share(writer.close(), totals, schema)
        except BaseException:
            writer.abort()
            raise

    def commit(
        self,
        shares: Iterable[Share],
        *,
        rows: int | None = None,
        columns: tuple[str, ...] = ("values",),
        array: tuple[str, ...] = (),
    ) -> Report:
        """Make an archive of one share of each task, on the driver; what other attempts left is swept.

        Args:
            shares: in any order.
            rows: how many there must be, where that is known.
            columns: names of the columns that the rows came in, and of those beside them; ``unpack`` gives them back.
            array: which of them hold the rows; by default all that no share has beside them.

        Raises:
            InputError: a row is missing, or there twice, or columns beside them differ; nothing is changed.
            DestinationError: the archive cannot be put in place, or another job took its place.
        """
        writer = ShardWriter.rejoin(self.archive, self.key)
        ordered = sorted((share for share in shares if share.fragments), key=lambda share: share.fragments[0].start)
        totals = sum_of(share.totals for share in ordered)
        beside = _same(share.beside for share in ordered)
        if beside is not None:
            writer.keep_columns(beside)
        writer.adopt(fragment for share in ordered for fragment in share.fragments)
        model = self._fitted()
        spec = self.spec.with_rows(writer.next_row if rows is None else rows)
        origin = _origin(spec, columns, array, beside)
        found = facts(model, totals, _key(spec, origin, self.target, model, writer.fragments))
        manifest = writer.commit(spec, origin, self.target, self.block_rows, found)
        return summary(self.archive, manifest, model, totals, False, Times(time.time() - self.started))

    def abort(self) -> None:
        """Leave nothing behind, on the driver; after a commit there is nothing to do."""
        if self.scratch.exists():
            ShardWriter.rejoin(self.archive, self.key).discard()

    @property
    def _model(self) -> Path:
        """The model with its encoder, which that of the archive leaves out."""
        return self.scratch / f"{self.key}.safetensors"

    def _fitted(self) -> Model:
        """The model. Raises DestinationError if this machine does not see it."""
        if not self._model.exists():
            raise DestinationError(
                f"{self.archive} is not being packed as this machine sees it: the job is over, or the folder is not "
                "shared by all machines."
            )
        return _loaded(self._model)


def task_rows(spec: ArraySpec) -> int:
    """Rows of a task: whole blocks, of about 32 MiB before packing: seconds of work, if one is lost."""
    height = block_rows(spec)
    return max(1, _TASK_BYTES // max(spec.row_bytes, 1) // height) * height


def stretches(archive: Archive, tasks: int) -> list[tuple[int, int]]:
    """(start, stop) of the rows that each of about ``tasks`` tasks decodes: whole blocks, as even as may be."""
    height = archive.manifest.block_rows
    blocks = -(-len(archive) // height)
    step = max(1, -(-blocks // max(tasks, 1))) * height
    return [(start, min(start + step, len(archive))) for start in range(0, len(archive), step)]


def sum_of(parts: Iterable[Totals]) -> Totals:
    """Totals of all of them together."""
    whole = Totals()
    for part in parts:
        whole.error += part.error
        whole.similarity += part.similarity
        whole.payload += part.payload
        for method, blocks in part.methods.items():
            whole.methods[method] = whole.methods.get(method, 0) + blocks
    return whole


def as_rows(rows: Array, spec: ArraySpec) -> Array:
    """Rows [n, ...] in the dtype and row shape of the spec: engines lack some dtypes, and flatten.

    Raises InputError if a value or the shape would not be the same.
    """
    if rows.size != len(rows) * spec.row_size:
        raise InputError(f"Rows of shape {rows.shape[1:]} came where the model was fitted for {spec.row_shape}.")
    shaped = rows.reshape(len(rows), *spec.row_shape)
    with np.errstate(all="ignore"):
        cast = shaped.astype(spec.native, copy=False)
        back = cast.astype(shaped.dtype, copy=False)
    if back is not shaped and not np.array_equal(back, shaped, equal_nan=True):
        raise InputError(f"Values of {rows.dtype} came that {spec.native} cannot hold: fit a model for them.")
    return cast


def _promise(model: Model) -> Target:
    """What an archive may promise whose rows nobody has seen together.

    A relative bound is that of the set the model was fitted for, so what is kept is the absolute one it came to.
    """
    target, cells = model.target, model.cells
    if not target.bounded:
        raise InputError(
            f"The target {target.kind} needs all rows before the first is packed; for an engine, fit a model with "
            "--max-error, --rel-error or --lossless."
        )
    if target.kind != "rel-error" or cells.relative is not None:
        return target
    if cells.axis is not None or cells.most is None:
        raise InputError("A bound for each column (--per) belongs to one set; fit a model with --max-error instead.")
    return Target("max-error", cells.most)


def _same(schemas: Iterable[pa.Schema | None]) -> pa.Schema | None:
    """The schema of what stands beside the rows, which all tasks must agree on. Raises InputError."""
    first, *others = list(schemas) or [None]
    if any((other is None) != (first is None) or (first is not None and not first.equals(other)) for other in others):
        raise InputError("What stands beside the rows differs in names or types between tasks; cast it to one type.")
    return first


def _runs(batches: Iterable[Batch]) -> Iterator[tuple[int, Array, pa.RecordBatch | None]]:
    """(number of the first, rows, beside) of stretches of consecutive rows; in a batch they may come in any order."""
    for numbers, rows, beside in batches:
        if len(numbers) != len(rows):
            raise InputError(f"{len(rows)} rows came with {len(numbers)} numbers.")
        order = np.argsort(numbers, kind="stable")
        ends = np.flatnonzero(np.diff(numbers[order]) != 1) + 1
        for picked in np.split(order, ends) if len(order) else ():
            yield int(numbers[picked[0]]), rows[picked], None if beside is None else beside.take(pa.array(picked))


def _shared(archive: Where) -> Path:
    """The folder that all workers see. Raises DestinationError for a place in a store."""
    folder = locate(archive).absolute()
    if isinstance(folder, StorePath):
        raise DestinationError(f"{folder} is in a store; let workers write to a folder that all see, and copy that.")
    return folder


def _blocks(
    runs: Iterable[tuple[int, Array, pa.RecordBatch | None]], height: int
) -> Iterator[tuple[int, Array, pa.RecordBatch | None]]:
    """(first row, rows, beside) of blocks, cut at the multiples of ``height`` and where the numbers jump."""
    waiting: list[tuple[Array, pa.RecordBatch | None]] = []
    start = stop = 0
    for first, rows, beside in runs:
        if waiting and first != stop:
            _check_jump(stop, first, height)
            yield start, *_joined(waiting)
            waiting = []
        if not waiting:
            start = stop = first
        done = 0
        while done < len(rows):
            count = min(height - stop % height, len(rows) - done)
            columns = None if beside is None else beside.slice(done, count)
            waiting.append((rows[done : done + count], columns))
            stop, done = stop + count, done + count
            if stop % height == 0:
                yield start, *_joined(waiting)
                waiting, start = [], stop
    if waiting:
        yield start, *_joined(waiting)


def _joined(pieces: list[tuple[Array, pa.RecordBatch | None]]) -> tuple[Array, pa.RecordBatch | None]:
    """Pieces of a block as one. Raises InputError if what stands beside them changes its names or types."""
    beside = [columns for _, columns in pieces if columns is not None]
    _same(None if columns is None else columns.schema for _, columns in pieces)
    return np.concatenate([rows for rows, _ in pieces]), pa.concat_batches(beside) if beside else None


def _check_jump(stop: int, first: int, height: int) -> None:
    if first % height:
        raise InputError(
            f"Row {first} comes after row {stop - 1} in one task: its rows are scattered. Number them in the order "
            "they come in, or sort the whole set by their number first."
        )


@lru_cache(maxsize=2)
def _loaded(path: Path) -> Model:
    """The model of a job, loaded once in a process."""
    return Model.from_bytes(path.read_bytes())


def _origin(
    spec: ArraySpec, columns: tuple[str, ...], array: tuple[str, ...], beside: pa.Schema | None
) -> dict[str, Any]:
    """Where rows came from, as for tables in Parquet: one column of whole rows, or several of one value each."""
    others = {} if beside is None else {field.name: field for field in beside}
    array = array or tuple(name for name in columns if name not in others)
    (column,) = row_schema(spec if len(array) == 1 else ArraySpec(spec.dtype, ()), {})
    fields = others | {name: column.with_name(name) for name in array}
    order = dict.fromkeys([*columns, *fields])
    found = arrow_origin(pa.schema([fields[name] for name in order if name in fields]))
    return found | ({"array": list(array)} if others else {})


def _key(spec: ArraySpec, origin: dict[str, Any], target: Target, model: Model, parts: tuple[Fragment, ...]) -> str:
    """16 hexadecimal digits of all that the archive holds."""
    known = [VERSION, spec.to_json(), origin, target.to_json(), model.identity.hex(), [part.sha256 for part in parts]]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
