"""Where arrays go: files and folders that appear whole or not at all, and standard output.

A new format is one module with ``open_writer`` and one line in ``FORMATS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecompress.errors import DestinationError
from aecompress.locations import Location, StorePath, Where, locate
from aecompress.sinks.base import Sink, StagedSink, Writer
from aecompress.sinks.npy import StdoutSink
from aecompress.sinks.store import StoreSink
from aecompress.spec import ArraySpec

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMATS", "Format", "Sink", "open_sink"]


@dataclass(frozen=True)
class Format:
    """A format that can be written, and the module here that writes it, imported when needed.

    Attributes:
        extensions: in lower case, with the dot.
        folder: True if it is a folder of files; its module says in ``replaces`` which folders may be replaced.
        tabular: True if it takes what stands beside the rows; its ``open_writer`` is told the schema of that.
    """

    module: str
    extensions: tuple[str, ...]
    folder: bool = False
    tabular: bool = False


#: By the names that sources give them.
FORMATS = {
    "npy": Format("npy", (".npy",)),
    "npz": Format("npz", (".npz",)),
    "parquet": Format("parquet", (".parquet", ".pq"), tabular=True),
    "arrow": Format("ipc", (".arrow", ".feather"), tabular=True),
    "hdf5": Format("hdf5", (".h5", ".hdf5")),
    "netcdf": Format("netcdf", (".nc",)),
    "zarr": Format("zarr", (".zarr",), folder=True),
    "safetensors": Format("safetensors", (".safetensors",)),
    "csv": Format("csv", (".csv",), tabular=True),
    "tsv": Format("tsv", (".tsv",), tabular=True),
    "images": Format("images", (), folder=True, tabular=True),
    "tar": Format("tar", (".tar",), tabular=True),
    "tiff": Format("tiff", (".tif", ".tiff")),
}

#: What becomes of rows that came from no file, or from a format that is not written.
_DEFAULT = "npy"


def open_sink(
    dest: Where,
    spec: ArraySpec,
    origin: dict[str, Any],
    *,
    columns: pa.Schema | None = None,
    format: str | None = None,
    force: bool = False,
) -> Sink:
    """Open a destination for all rows of a set.

    Args:
        dest: a path, a URL, or ``-`` for npy on standard output. Its extension names the format; without one it is
            that of the source, or npy where the source was no file.
        spec: dtype (byte order included), row shape and number of rows of what will be written.
        origin: what the source said of itself (Source.origin); gives its own format back where the two agree.
        columns: what will stand beside the rows; only tabular formats take it.
        format: name of the format, whatever the extension.
        force: replace what is at the destination, at commit.

    Raises:
        DestinationError: the destination exists, cannot be written, or is in no known format.
    """
    if format not in (None, *FORMATS):
        raise DestinationError(f"The format {format!r} cannot be written; use one of {', '.join(FORMATS)}.")
    if str(dest) == "-":
        if format not in (None, "npy"):
            raise DestinationError(f"Standard output gets npy, not {format}; write to a file.")
        return StdoutSink(spec)
    path = locate(dest)
    name = format or _named(path) or _own(path, origin)
    known = FORMATS[name]
    if isinstance(path, StorePath):
        if known.folder:
            raise DestinationError(f"{path} would be a folder, which is not written to a store; copy one there.")
        return StoreSink(path, lambda file: open_sink(file, spec, origin, columns=columns, format=name), force=force)
    module = import_module(f"aecompress.sinks.{known.module}")
    replaces = module.replaces if known.folder else None
    more = {"columns": columns} if known.tabular else {}

    def open_writer(staged: Path) -> Writer:
        writer: Writer = module.open_writer(staged, spec, origin, **more)
        return writer

    return StagedSink(path, spec, open_writer, replaces=replaces, tabular=known.tabular, force=force)


def _named(path: Location) -> str | None:
    """The format that an extension names, None if there is no extension."""
    if not path.suffix:
        return None
    for name, known in FORMATS.items():
        if path.suffix.lower() in known.extensions:
            return name
    listed = ", ".join(extension for known in FORMATS.values() for extension in known.extensions)
    raise DestinationError(f"{path} names no known format; end it in one of {listed}, or choose one with --format.")


def _own(path: Location, origin: dict[str, Any]) -> str:
    """The format of the source."""
    own = str(origin.get("format", _DEFAULT))
    if own in ("array", "iterable"):
        return _DEFAULT
    if own not in FORMATS:
        raise DestinationError(f"The source was {own}, which is not written; end {path} in .npy, or another extension.")
    return own
