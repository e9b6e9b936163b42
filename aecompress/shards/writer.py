"""Blocks in, an archive out: parts are staged, checked and put in place; the manifest comes last."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecompress.config import Target
from aecompress.errors import ArchiveError, DestinationError, InputError
from aecompress.locations import Location, StorePath
from aecompress.shards.block import Block
from aecompress.shards.durable import sync, write_durably, writing
from aecompress.shards.manifest import (
    BLOCK_FOLDER,
    MANIFEST,
    MAX_BLOCK_ROWS,
    MODEL_FOLDER,
    ROWS_FOLDER,
    FileEntry,
    Fragment,
    Manifest,
)
from aecompress.shards.sealed import read_sealed, seal, unseal
from aecompress.shards.staging import SCRATCH, Staging
from aecompress.shards.upload import StoreStaging
from aecompress.spec import ArraySpec

if TYPE_CHECKING:
    import pyarrow as pa

    from aecompress.shards.part import PartWriter
    from aecompress.shards.table import TableWriter

#: A part is closed once its blocks, and what stands beside them, reach this many bytes: what an interrupted run packs
#: again at most.
PART_BYTES = 32 << 20

#: The model with what only packing needs, in the staging folder.
FITTED = "fitted.safetensors"

#: The longest payload: well below the 2 GiB of a Parquet page.
MAX_PAYLOAD = 1 << 30


class ShardWriter:
    """Writes one archive; made by :meth:`create`.

    The same blocks give the same files, whether in one run or in several.

    Attributes:
        model: the bytes given to :meth:`save_model`, by this run or by the one it resumes; None if there are none.
        fitted: what goes with them while packing, likewise.
        fragments: the finished parts; after a resume, those found whole.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._part: PartWriter | None = None
        self._columns: pa.Schema | None = None
        self._table: TableWriter | None = None
        self._row = 0
        self.model: bytes | None = None
        self.fitted: bytes | None = None
        self.fragments: tuple[Fragment, ...] = ()

    @classmethod
    def create(cls, archive: Location, *, key: str, force: bool, resume: bool) -> ShardWriter:
        """Begin an archive, or go on with an unfinished one.

        Args:
            archive: the folder to write, made if it does not exist, or the place in a store.
            key: a digest of everything that decides the bytes: source, target and settings.
            force: replace the archive that is there; it stays readable until :meth:`commit`.
            resume: go on with an unfinished archive of the same key, if there is one.

        Raises:
            DestinationError: the folder holds an archive, or an unfinished one, and neither ``force`` nor ``resume``
                allows for it; it was begun with another key; it is no archive at all; or it cannot be written.
        """
        with writing(archive):
            writer = cls(StoreStaging(archive) if isinstance(archive, StorePath) else Staging(archive))
            writer._staging.begin(key=key, force=force, resume=resume)
            writer._load_model()
            writer._load_fragments()
        return writer

    @classmethod
    def rejoin(cls, archive: Path, key: str) -> ShardWriter:
        """Go on, in whatever process, with an archive that another one began and still holds open.

        Raises DestinationError if ``key`` is not what is being packed there.
        """
        writer = cls(Staging(archive))
        writer._staging.expect(key)
        writer._load_model()
        return writer

    @property
    def next_row(self) -> int:
        """The first row that is not yet safe in a finished part."""
        return self.fragments[-1].stop if self.fragments else 0

    def finished(self) -> Iterator[Block]:
        """The blocks of the finished parts, in row order."""
        from aecompress.shards.part import read_part

        for fragment in self.fragments:
            yield from read_part(self._staging.folder / fragment.path, fragment, fragment.start, fragment.stop)

    def save_model(self, data: bytes, fitted: bytes | None = None) -> None:
        """Stage the model, before the first block; ``fitted`` is what only packing needs, there for a resume."""
        name = _model_name(data)
        with writing(self._staging.archive):
            if fitted is not None:
                write_durably(self._staging.folder / FITTED, fitted)
            write_durably(self._staging.folder / MODEL_FOLDER / name, data)
            self._staging.keep(MODEL_FOLDER, {name})
        self.model = data

    def keep_columns(self, columns: pa.Schema) -> None:
        """From now on every block comes with these columns of its rows; said before the first block, in each run.

        Raises InputError if a table of rows cannot hold them.
        """
        from aecompress.shards.table import stored_schema

        stored_schema(columns)
        self._columns = columns

    def scratch(self) -> Path:
        """A folder for temporary files; gone when the archive is complete, when it is resumed, and after abort."""
        folder = self._staging.folder / SCRATCH
        with writing(self._staging.archive):
            folder.mkdir(exist_ok=True)
        return folder

    def write(self, block: Block, columns: Iterable[pa.RecordBatch] = ()) -> None:
        """Add the block that follows the last one; the first starts at ``next_row``.

        Args:
            block: a block.
            columns: what stands beside its rows, in record batches of any length; see :meth:`keep_columns`.

        Raises:
            InputError: the block is out of order or too large, or its columns are not those of its rows.
            DestinationError: it cannot be written.
        """
        self._check_block(block)
        with writing(self._staging.archive):
            self._part = part = self._part or self._open_part()
            part.write(block)
            size = part.size
            if self._columns is not None:
                self._table = table = self._table or self._open_table(self._columns)
                table.write(block, columns)
                size += table.size
            self._row = block.stop
            if size >= PART_BYTES:
                self._finish_part(part)

    def adopt(self, fragments: Iterable[Fragment]) -> None:
        """Make parts that a FragmentWriter left in the scratch folder those of the archive; no others are.

        Raises:
            InputError: a row is missing, or there twice; nothing is changed.
            DestinationError: one is not there, or cannot be moved.
        """
        parts = sorted(fragments, key=lambda fragment: fragment.start)
        _check_follows(parts)
        with writing(self._staging.archive):
            for part in parts:
                name = _part_name(len(self.fragments))
                table = None if part.table is None else self._move(part.table, f"{ROWS_FOLDER}/{name}")
                entry = self._move(part, f"{BLOCK_FOLDER}/{name}")
                self.fragments += (replace(part, path=entry.path, table=table),)
            for folder in (ROWS_FOLDER, BLOCK_FOLDER):
                sync(self._staging.folder / folder)

    def commit(
        self, spec: ArraySpec, origin: dict[str, Any], target: Target, block_rows: int, report: dict[str, Any]
    ) -> Manifest:
        """Close the last part and put the archive in place, the manifest last.

        Args:
            spec: the source, with its number of rows.
            origin, report: JSON objects, kept as they are; finite numbers only.
            target: what was asked for.
            block_rows: rows of a block.

        Raises:
            InputError: the blocks do not hold the rows of ``spec``.
            DestinationError: the archive cannot be put in place; what is staged can be resumed.
        """
        with writing(self._staging.archive):
            if self._part is not None:
                self._finish_part(self._part)
            if self.next_row != spec.rows:
                raise InputError(f"The source gave {self.next_row} rows, not the {spec.rows} it announced.")
            columns = tuple(self._columns.names) if self._columns is not None else ()
            manifest = Manifest(spec, origin, target, block_rows, self._model_entry(), self.fragments, report, columns)
            data = seal(manifest.to_json())
            self._check_staged(manifest, data)
            self._staging.install(data)
        return manifest

    def discard(self) -> None:
        """Stop, and keep nothing of what is staged."""
        with writing(self._staging.archive):
            self._staging.abandon(keep=False)

    def abort(self) -> None:
        """Stop: what is finished stays for a resume; if nothing is, the staging folder goes."""
        with writing(self._staging.archive):
            for part in (self._part, self._table):
                if part is not None:
                    part.abort()
            self._part = self._table = None
            self._staging.abandon(keep=self.model is not None or bool(self.fragments))

    def _load_model(self) -> None:
        folder = self._staging.folder / MODEL_FOLDER
        for path in folder.glob("*.safetensors"):
            self.model = path.read_bytes()
            if path.name != _model_name(self.model):
                raise DestinationError(f"{path} is damaged; use --force without --resume to start again.")
        if (self._staging.folder / FITTED).exists():
            self.fitted = (self._staging.folder / FITTED).read_bytes()

    def _load_fragments(self) -> None:
        while (fragment := self._read_note(len(self.fragments))) is not None:
            self.fragments += (fragment,)
        self._row = self.next_row
        for folder in (BLOCK_FOLDER, ROWS_FOLDER):
            self._staging.keep(folder, {_part_name(i) for i in range(len(self.fragments))})

    def _read_note(self, index: int) -> Fragment | None:
        """The finished part of this number; None if it is not there or not whole."""
        try:
            fragment = Fragment.from_json(read_sealed(self._note(index)))
            for file in fragment.files:
                file.check(self._staging.folder)
        except ArchiveError:
            return None
        return fragment

    def _check_block(self, block: Block) -> None:
        if block.start != self._row or not 1 <= block.rows <= MAX_BLOCK_ROWS:
            raise InputError(f"A block of {block.rows} rows at row {block.start} came where row {self._row} is next.")
        check_payload(block)

    def _move(self, entry: FileEntry, path: str) -> FileEntry:
        """Put a file of the scratch folder where ``path`` says."""
        os.replace(self._staging.folder / SCRATCH / entry.path, self._staging.folder / path)
        return FileEntry(path, entry.bytes, entry.sha256)

    def _open_part(self) -> PartWriter:
        from aecompress.shards.part import PartWriter  # loads pyarrow, which many commands do without

        return PartWriter(self._staging.folder / BLOCK_FOLDER / _part_name(len(self.fragments)))

    def _open_table(self, columns: pa.Schema) -> TableWriter:
        from aecompress.shards.table import TableWriter

        return TableWriter(self._staging.folder / ROWS_FOLDER / _part_name(len(self.fragments)), columns)

    def _finish_part(self, part: PartWriter) -> None:
        """Close the part; it is finished once a note of it, with the checksum of what was written, is on the disk."""
        fragment = finish(part, self._staging.folder, self.next_row, self._row, self._table)
        self._part = self._table = None
        write_durably(self._note(len(self.fragments)), seal(fragment.to_json()))
        self.fragments += (fragment,)

    def _note(self, index: int) -> Path:
        return self._staging.folder / f"part-{index:05d}.json"

    def _model_entry(self) -> FileEntry | None:
        if self.model is None:
            return None
        return FileEntry(
            f"{MODEL_FOLDER}/{_model_name(self.model)}", len(self.model), hashlib.sha256(self.model).hexdigest()
        )

    def _check_staged(self, manifest: Manifest, data: bytes) -> None:
        """Refuse a manifest that no reader would take, or whose files are not there."""
        Manifest.from_json(unseal(data, self._staging.archive / MANIFEST))
        for entry in manifest.files:
            path = self._staging.folder / entry.path
            if path.stat().st_size != entry.bytes:
                raise DestinationError(f"{path} was changed while packing; use --force to start again.")


def check_payload(block: Block) -> None:
    """Raise InputError for a payload that no part can hold."""
    if len(block.payload) > MAX_PAYLOAD:
        raise InputError(f"A block of {block.rows} rows takes {len(block.payload)} bytes; make blocks of fewer rows.")


def finish(part: PartWriter, root: Path, start: int, stop: int, table: TableWriter | None = None) -> Fragment:
    """Close a part of rows ``start`` to ``stop``, and its table, wait until they are on the disk, and measure them."""
    beside = None if table is None else _finish_file(table, root)
    entry = _finish_file(part, root)
    return Fragment(**asdict(entry), start=start, rows=stop - start, blocks=part.blocks, table=beside)


def _finish_file(part: PartWriter | TableWriter, root: Path) -> FileEntry:
    part.close()
    sync(part.path)
    sync(part.path.parent)
    return FileEntry.of(root, part.path.relative_to(root).as_posix())


def _check_follows(parts: list[Fragment]) -> None:
    """Raise InputError unless the parts, in order, hold every row from 0 on once."""
    row = 0
    for part in parts:
        if part.start > row:
            raise InputError(f"Rows {row} to {part.start} are missing.")
        if part.start < row:
            raise InputError(f"Rows {part.start} to {min(row, part.stop)} came twice.")
        row = part.stop


def _model_name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16] + ".safetensors"


def _part_name(index: int) -> str:
    return f"part-{index:05d}.parquet"
