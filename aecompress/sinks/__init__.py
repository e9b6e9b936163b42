"""Where arrays go: files that appear whole or not at all, and standard output.

A new format is one module with ``open_writer`` and one line in ``FORMATS``.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from aecompress.errors import DestinationError
from aecompress.sinks.base import Sink, StagedSink, Writer
from aecompress.sinks.npy import StdoutSink
from aecompress.spec import ArraySpec

__all__ = ["FORMATS", "Sink", "open_sink"]

#: Extension to the module here that writes it, imported when needed.
FORMATS = {
    ".npy": "npy", ".npz": "npz", ".parquet": "parquet", ".pq": "parquet", ".arrow": "ipc", ".feather": "ipc",
    ".h5": "hdf5", ".hdf5": "hdf5", ".nc": "netcdf", ".safetensors": "safetensors",
}  # fmt: skip


def open_sink(dest: str | Path, spec: ArraySpec, origin: dict[str, Any], *, force: bool = False) -> Sink:
    """Open a destination for all rows of a set.

    Args:
        dest: a path whose extension names the format, or ``-`` for npy on standard output.
        spec: dtype (byte order included), row shape and number of rows of what will be written.
        origin: what the source said of itself (Source.origin); gives its own format back where the two agree.
        force: replace what is at the destination, at commit.

    Raises:
        DestinationError: the destination exists, cannot be written, or is in no known format.
    """
    if str(dest) == "-":
        return StdoutSink(spec)
    path = Path(dest)
    module = FORMATS.get(path.suffix.lower())
    if module is None:
        raise DestinationError(f"{path} names no known format; end it in one of {', '.join(FORMATS)}.")
    return StagedSink(path, spec, partial(_open_writer, module, spec, origin), force=force)


def _open_writer(module: str, spec: ArraySpec, origin: dict[str, Any], path: Path) -> Writer:
    writer: Writer = import_module(f"aecompress.sinks.{module}").open_writer(path, spec, origin)
    return writer
