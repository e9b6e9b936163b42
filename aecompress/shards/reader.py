"""An archive in, blocks out: each file is checked the first time it is touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aecompress.errors import ArchiveError, InputError
from aecompress.locations import Location, StorePath
from aecompress.shards.block import Block
from aecompress.shards.manifest import FileEntry, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as pads


class ShardReader:
    """Reads one complete archive.

    Attributes:
        archive: its folder.
        manifest: what it holds.

    Raises:
        ArchiveError: it is not an archive, or an unfinished, damaged (CorruptError) or newer one (VersionError).
    """

    def __init__(self, archive: Location) -> None:
        self.archive = archive
        self.manifest = read_manifest(archive)
        self._checked: set[FileEntry] = set()

    def model(self) -> bytes | None:
        """The bytes of the model; None if the archive needs none. Raises CorruptError."""
        entry = self.manifest.model
        if entry is None:
            return None
        self._check(entry)
        try:
            return (self.archive / entry.path).read_bytes()
        except OSError as err:
            raise ArchiveError(f"{self.archive / entry.path} cannot be read: {err.strerror}.") from err

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """The blocks that overlap rows ``start`` to ``stop``, in order.

        Memory holds one row group at a time; only the parts and row groups needed are read.

        Raises:
            InputError: not 0 <= start <= stop <= rows.
            CorruptError: a file is missing or damaged.
        """
        from aecompress.shards.part import read_part  # loads pyarrow, which many commands do without

        rows = self.manifest.spec.shape[0]
        if not 0 <= start <= stop <= rows:
            raise InputError(f"Rows {start} to {stop} were asked for; the archive has rows 0 to {rows}.")
        for fragment in self.manifest.fragments:
            if fragment.start < stop and fragment.stop > start:
                self._check_part(fragment)
                yield from read_part(self.archive / fragment.path, fragment, start, stop)

    def columns(self, names: list[str], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """What stands beside rows ``start`` to ``stop``, in order, in small record batches of the columns ``names``.

        Raises CorruptError if a file is missing or damaged.
        """
        from aecompress.shards.table import read_table

        for fragment in self.manifest.fragments:
            if fragment.table is not None and fragment.start < stop and fragment.stop > start:
                self._check_part(fragment.table)
                yield from read_table(self.archive / fragment.table.path, fragment, names, start, stop)

    def table(self) -> pads.Dataset:
        """The whole table of rows. Raises CorruptError if a file is missing or damaged."""
        from aecompress.shards.table import open_dataset

        tables = [fragment.table for fragment in self.manifest.fragments if fragment.table is not None]
        for table in tables:
            self._check_part(table)
        return open_dataset([self.archive / table.path for table in tables], self.manifest.columns)

    def matching(self, expression: pc.Expression, names: list[str]) -> Iterator[dict[int, pa.RecordBatch]]:
        """For each part, the rows that an expression is true of: see ``matching_rows``, which says what is raised."""
        from aecompress.shards.table import matching_rows

        for fragment in self.manifest.fragments:
            if fragment.table is not None:
                self._check_part(fragment.table)
                yield matching_rows(self.archive / fragment.table.path, expression, names)

    def check_files(self) -> None:
        """Raise CorruptError unless every file of the manifest is there, with the size and the bytes it had."""
        for entry in self.manifest.files:
            self._check(entry)

    def _check(self, entry: FileEntry) -> None:
        """Compare a file with its checksum, once."""
        if entry not in self._checked:
            entry.check(self.archive)
            self._checked.add(entry)

    def _check_part(self, entry: FileEntry) -> None:
        """The same; of a part in a store only the size, for its pages and payloads have checksums of their own."""
        if isinstance(self.archive, StorePath):
            entry.check_size(self.archive)
        else:
            self._check(entry)


def archive_bytes(archive: Location) -> int:
    """Bytes of all files below the archive: what it takes on disk."""
    return sum(path.stat().st_size for path in archive.rglob("*") if path.is_file())
