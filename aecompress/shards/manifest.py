"""What an archive holds: the source, the target, and every file with its size and checksum."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aecompress.config import Target
from aecompress.errors import ArchiveError, CorruptError, InputError
from aecompress.locations import Location, StorePath, workspace
from aecompress.shards.fields import MAX_COUNT, Fields
from aecompress.shards.sealed import MAGIC, read_sealed
from aecompress.spec import MAX_AXES, VERSION, ArraySpec

MANIFEST = "_manifest.json"
MODEL_FOLDER = "_model"
BLOCK_FOLDER = "blocks"
ROWS_FOLDER = "rows"

#: The column of the latents of the rows, where they are kept.
LATENTS = "_latents"
STAGING_FOLDER = "_staging"

#: Row counts of single blocks are int32 in the block table.
MAX_BLOCK_ROWS = (1 << 31) - 1

# Each part of a path begins with a letter, a digit or "_": no "..", no absolute path, no hidden file.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"


@dataclass(frozen=True)
class FileEntry:
    """A file of the archive.

    Attributes:
        path: relative to the archive, POSIX.
        bytes: its size.
        sha256: of its bytes, 64 hexadecimal digits.
    """

    path: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, root: Location, path: str) -> FileEntry:
        """Measure the file at ``root / path``. Raises OSError."""
        with (root / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(path, file.tell(), digest)

    def check(self, root: Location) -> None:
        """Raise CorruptError unless the file under ``root`` has the size and the bytes it had when written."""
        self.check_size(root)
        try:
            found = FileEntry.of(root, self.path)
        except OSError as err:
            raise ArchiveError(f"{root / self.path} cannot be read: {err.strerror}.") from err
        if found.sha256 != self.sha256:
            raise CorruptError(f"{root / self.path} is damaged: its checksum does not match; restore it from a copy.")

    def check_size(self, root: Location) -> None:
        """Raise CorruptError unless the file under ``root`` has the size it had when written."""
        try:
            size = (root / self.path).stat().st_size
        except FileNotFoundError as err:
            raise CorruptError(f"{root / self.path} is missing; restore it from a copy.") from err
        except OSError as err:
            raise ArchiveError(f"{root / self.path} cannot be read: {err.strerror}.") from err
        if size != self.bytes:
            raise CorruptError(f"{root / self.path} has {size} bytes, not {self.bytes}; restore it from a copy.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: object, folder: str = _NAME) -> FileEntry:
        fields = Fields(data, "file entry")
        path = fields.text("path", rf"{folder}(/{_NAME})+")
        return cls(path, fields.integer("bytes"), fields.text("sha256", "[0-9a-f]{64}"))


@dataclass(frozen=True)
class Fragment(FileEntry):
    """A part: the Parquet file of the ``blocks`` blocks that hold rows ``start`` to ``start + rows``.

    Attributes:
        table: the file with what stands beside the same rows, if the archive keeps columns.
    """

    start: int
    rows: int
    blocks: int
    table: FileEntry | None = None

    @property
    def stop(self) -> int:
        """The row after its last."""
        return self.start + self.rows

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Its files."""
        return (self,) if self.table is None else (self, self.table)

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        if self.table is None:
            del data["table"]
        return data

    @classmethod
    def from_json(cls, data: object, folder: str = BLOCK_FOLDER) -> Fragment:
        entry = FileEntry.from_json(data, folder)
        fields = Fields(data, "fragment")
        rows = fields.integer("rows", low=1)
        table = FileEntry.from_json(fields.mapping("table"), ROWS_FOLDER) if fields.has("table") else None
        return cls(
            **asdict(entry),
            start=fields.integer("start"),
            rows=rows,
            blocks=fields.integer("blocks", 1, rows),
            table=table,
        )


@dataclass(frozen=True)
class Manifest:
    """The description of a complete archive.

    Attributes:
        spec: the source, number of rows included.
        origin: how the source was held (container, names, ...), as JSON; opaque here.
        target: what was asked for.
        block_rows: rows of a block, as the packer chose; the last block has what is left.
        model: the file of the model, if there is one.
        fragments: the parts, in row order, without gaps.
        report: what packing measured, as JSON; opaque here.
        columns: names of what stands beside the array, in ``rows/``; empty if nothing does.
        extra: further files, checked with the others and otherwise left alone.
        created_by: name and version of the writer.
    """

    spec: ArraySpec
    origin: dict[str, Any]
    target: Target
    block_rows: int
    model: FileEntry | None
    fragments: tuple[Fragment, ...]
    report: dict[str, Any]
    columns: tuple[str, ...] = ()
    extra: tuple[FileEntry, ...] = ()
    created_by: str = f"aecompress {VERSION}"

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file the archive needs, the manifest aside."""
        model = () if self.model is None else (self.model,)
        return (*model, *(file for fragment in self.fragments for file in fragment.files), *self.extra)

    @property
    def columns_bytes(self) -> int:
        """Bytes of the table of rows."""
        return sum(fragment.table.bytes for fragment in self.fragments if fragment.table is not None)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "created_by": self.created_by,
            "source": self.spec.to_json(),
            "origin": self.origin,
            "target": self.target.to_json(),
            "block_rows": self.block_rows,
            "model": None if self.model is None else self.model.to_json(),
            "fragments": [fragment.to_json() for fragment in self.fragments],
            "report": self.report,
        }
        if self.columns:
            data["columns"] = list(self.columns)
        if self.extra:
            data["extra"] = [entry.to_json() for entry in self.extra]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Manifest:
        """Check every type and limit. Raises CorruptError."""
        fields = Fields(data, "archive")
        spec = _read_spec(fields)
        fragments = tuple(Fragment.from_json(entry) for entry in fields.sequence("fragments"))
        _check_rows(spec, fragments)
        columns = _read_columns(fields, fragments)
        return cls(
            spec=spec,
            origin=fields.mapping("origin"),
            target=_read_target(fields),
            block_rows=fields.integer("block_rows", 1, MAX_BLOCK_ROWS),
            model=FileEntry.from_json(data["model"], MODEL_FOLDER) if fields.has("model") else None,
            fragments=fragments,
            report=fields.mapping("report"),
            columns=columns,
            extra=tuple(FileEntry.from_json(entry) for entry in fields.sequence("extra"))
            if fields.has("extra")
            else (),
            created_by=fields.text("created_by", ".+"),
        )


def staging_folder(archive: Location) -> Path:
    """Where a new archive grows: inside its folder, or on this machine for one in a store."""
    return (workspace(str(archive)) if isinstance(archive, StorePath) else archive) / STAGING_FOLDER


def is_archive(folder: Location) -> bool:
    """True if ``folder`` holds a manifest of ours, in whatever state."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_manifest(archive: Location) -> Manifest:
    """Read and check the manifest of ``archive``; no other file is touched.

    Raises:
        ArchiveError: it is not an archive, or an unfinished one.
        CorruptError: the manifest is damaged.
        VersionError: a newer release wrote it.
    """
    if (archive / MANIFEST).exists():
        return Manifest.from_json(read_sealed(archive / MANIFEST))
    if staging_folder(archive).exists():
        raise ArchiveError(
            f"{archive} is unfinished: packing it was interrupted. Finish it with the same `aecompress pack` command "
            "and --resume."
        )
    if isinstance(archive, StorePath) and (archive / MODEL_FOLDER).exists():
        raise ArchiveError(
            f"{archive} is unfinished: its upload was interrupted. Finish it with the same `aecompress pack` command "
            "and --resume."
        )
    if not archive.exists():
        raise ArchiveError(f"{archive} does not exist; give the folder that `aecompress pack` wrote.")
    raise ArchiveError(
        f"{archive} is not an archive: it has no {MANIFEST}; give the folder that `aecompress pack` wrote."
    )


def _read_spec(fields: Fields) -> ArraySpec:
    source = Fields(fields.mapping("source"), "source")
    rows = source.integer("rows")
    row_shape = source.integers("row_shape")
    dtype = source.text("dtype", "[<>|][biuf][1248]")
    try:
        spec = ArraySpec.from_json({"dtype": dtype, "row_shape": row_shape[:MAX_AXES], "rows": rows})
    except (InputError, TypeError) as err:
        raise CorruptError(
            f"The source in the manifest has dtype {dtype} and {len(row_shape) + 1} axes; it is damaged."
        ) from err
    # The product of the sides other than 0: even an empty array must have a shape that can be made.
    if math.prod(n for n in (rows, *row_shape, spec.dtype.itemsize) if n) > MAX_COUNT:
        raise CorruptError(f"The source in the manifest has more than {MAX_COUNT} bytes; it is damaged.")
    return spec


def _read_target(fields: Fields) -> Target:
    target = Fields(fields.mapping("target"), "target")
    per = target.integer("per", high=MAX_AXES - 1) if target.has("per") else None
    data = {"kind": target.text("kind", "[a-z-]+"), "value": target.number_or_none("value"), "per": per}
    try:
        return Target.from_json(data)
    except (InputError, OverflowError) as err:
        raise CorruptError(f"The target in the manifest is damaged: {err}") from err


def _read_columns(fields: Fields, fragments: tuple[Fragment, ...]) -> tuple[str, ...]:
    names = fields.sequence("columns") if fields.has("columns") else []
    if not all(isinstance(name, str) for name in names):
        raise CorruptError("The columns in the manifest are no list of names; it is damaged.")
    if any((fragment.table is None) == bool(names) for fragment in fragments):
        raise CorruptError("The manifest names columns without their files, or files without columns; it is damaged.")
    return tuple(names)


def _check_rows(spec: ArraySpec, fragments: tuple[Fragment, ...]) -> None:
    row = 0
    for fragment in fragments:
        if fragment.start != row:
            raise CorruptError(f"{fragment.path} starts at row {fragment.start}, not {row}; the manifest is damaged.")
        row = fragment.stop
    if row != spec.rows:
        raise CorruptError(f"The parts hold {row} rows, not {spec.rows}; the manifest is damaged.")
