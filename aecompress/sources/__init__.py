"""Where arrays come from: files, streams and objects in memory, all read batch by batch.

A new format is one module with ``open_path`` and one line in ``FORMATS``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from aecompress.errors import InputError
from aecompress.locations import Location, StorePath, files_below, locate
from aecompress.sources.array import open_array
from aecompress.sources.base import Source
from aecompress.sources.iterable import open_iterable
from aecompress.sources.npy import open_stream
from aecompress.sources.samples import is_samples, open_samples
from aecompress.sources.spool import open_copy, spool

__all__ = ["FORMATS", "Format", "Source", "open_source", "spool"]


@dataclass(frozen=True)
class Format:
    """A file format: how it is recognised, and the module here that reads it, imported when needed.

    Attributes:
        extensions: in lower case, with the dot.
        magic: the bytes that files of this format begin with, any of these.
        members: True if a file holds several arrays, or columns that make one, chosen as in ``path::member``.
        in_place: True if it is read where it lies in a store, piece by piece; others are copied to this machine first.
    """

    module: str
    extensions: tuple[str, ...]
    magic: tuple[bytes, ...] = ()
    members: bool = False
    in_place: bool = False


FORMATS = {
    "npy": Format("npy", (".npy",), (b"\x93NUMPY",), in_place=True),
    "npz": Format("npz", (".npz",), (b"PK\x03\x04",), members=True, in_place=True),
    "parquet": Format("parquet", (".parquet", ".pq"), (b"PAR1",), members=True, in_place=True),
    "arrow": Format("ipc", (".arrow", ".arrows", ".feather", ".ipc"), (b"ARROW1",), members=True),
    "netcdf": Format("netcdf", (".nc", ".nc4", ".cdf"), (b"CDF",), members=True),
    "hdf5": Format("hdf5", (".h5", ".hdf5", ".hdf"), (b"\x89HDF\r\n\x1a\n",), members=True, in_place=True),
    "zarr": Format("zarr", (".zarr",), members=True, in_place=True),
    "safetensors": Format("safetensors", (".safetensors",), members=True, in_place=True),
    "dataset": Format("huggingface", (), members=True),
    "csv": Format("csv", (".csv",)),
    "tsv": Format("csv", (".tsv",)),
    "images": Format("images", (), in_place=True),
    "tar": Format("images", (".tar",), in_place=True),
    "tiff": Format("tiff", (".tif", ".tiff"), (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
}

#: Files of these names say what the folder around them is.
_MARKS = {
    "zarr.json": "zarr",
    ".zgroup": "zarr",
    ".zarray": "zarr",
    "state.json": "dataset",
    "dataset_dict.json": "dataset",
}

_MAGIC_BYTES = max(len(magic) for known in FORMATS.values() for magic in known.magic)

#: What a file in a folder says of the folder.
_SIGNS = {
    ".parquet": "parquet",
    ".png": "images",
    ".jpg": "images",
    ".jpeg": "images",
    ".tif": "images",
    ".tiff": "images",
}


def open_source(source: Any, *, format: str | None = None, member: str = "") -> Source:
    """Open whatever holds rows of arrays.

    Args:
        source: a path (``path::member`` where a file holds several arrays; ``-`` is standard input as npy), a NumPy
            array or what turns into one, an iterable of arrays (each a batch [n, *row_shape]), a pyarrow Table,
            RecordBatch, Dataset or RecordBatchReader, a torch Dataset, IterableDataset or DataLoader, a
            Dataset or IterableDataset of Hugging Face, or a Source.
        format: name of the file format, where neither the extension nor the first bytes of a path tell it.
        member: the columns of a table or data set that make the array, with commas between; or as in ``path::member``.

    Raises:
        InputError: the source cannot be read, or holds no rows of one dtype and shape.
    """
    if isinstance(source, str | Path):
        return _open_location(f"{source}::{member}" if member else str(source), format)
    if format is not None:
        raise InputError(f"The format {format!r} was given with a {type(source).__name__}; it goes with a path only.")
    package = type(source).__module__.partition(".")[0]
    if package == "pyarrow":
        from aecompress.sources.arrow import open_arrow

        return open_arrow(source, member)
    if package == "datasets":
        from aecompress.sources.huggingface import open_dataset

        return open_dataset(source, member)
    if member:
        raise InputError(f"The columns {member} were given with a {type(source).__name__}, which has none.")
    return source if isinstance(source, Source) else _open_object(source)


def _open_object(data: Any) -> Source:
    if is_samples(data):
        return open_samples(data)
    if hasattr(data, "__array__"):
        return open_array(data)
    if isinstance(data, Iterable) and not isinstance(data, bytes | dict):
        return open_iterable(data)
    raise InputError(f"A {type(data).__name__} is no source; give a path, an array, or an iterable of arrays.")


def _open_location(location: str, format: str | None) -> Source:
    if format not in (None, *FORMATS):
        raise InputError(f"Unknown format {format!r}; use one of {', '.join(FORMATS)}.")
    if location == "-":
        if format not in (None, "npy"):
            raise InputError(f"Standard input is read as npy, not {format}; save it to a file first.")
        return open_stream(sys.stdin.buffer, "stdin")
    try:
        path, member = _split_member(location)
        return _open_file(path, member, format or _recognise(path))
    except OSError as err:
        raise InputError(f"Cannot read {location}: {err.strerror or err}.") from err


def _split_member(location: str) -> tuple[Location, str]:
    """The path, and the array in it that was chosen, empty if none was."""
    path, _, member = location.partition("::")
    if member and locate(location).exists():
        path, member = location, ""
    found = locate(path)
    return (found.looked_up() if isinstance(found, StorePath) else found), member


def _recognise(path: Location) -> str:
    """The format by extension, or else by content."""
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"The file {path} is empty.")
    for name, known in FORMATS.items():
        if path.suffix.lower() in known.extensions:
            return name
    if path.is_dir():
        return _recognise_folder(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file; pipe it to standard input and give - as the source.")
    with path.open("rb") as file:
        start = file.read(_MAGIC_BYTES)
    for name, known in FORMATS.items():
        if start.startswith(known.magic):
            return name
    raise InputError(f"{path} is in no known format; the formats are {', '.join(FORMATS)}.")


def _recognise_folder(path: Location) -> str:
    """The format that a file in it tells by name, or else the first by extension; hidden ones tell none."""
    for mark, format in _MARKS.items():
        if (path / mark).exists():
            return format
    for name in _names(path):
        if sign := _SIGNS.get(Path(name).suffix.lower()):
            return sign
    raise InputError(f"The folder {path} holds neither Parquet files nor pictures; give a file, or another folder.")


def _names(path: Location) -> Iterator[str]:
    """The names of the files in a folder and below, those of hidden ones left out."""
    if isinstance(path, StorePath):
        yield from (name for name in files_below(path) if not any(word.startswith(".") for word in name.split("/")))
        return
    for _, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if name[0] != ".")
        yield from (name for name in sorted(names) if name[0] != ".")


def _open_file(path: Location, member: str, format: str) -> Source:
    if isinstance(path, StorePath) and not FORMATS[format].in_place:
        return open_copy(path, lambda file: _open_file(file, member, format))
    known = FORMATS[format]
    if member and not known.members:
        raise InputError(f"{path} is a {format} file, which has no members such as {member!r}; give the path alone.")
    module = import_module(f"aecompress.sources.{known.module}")
    source: Source = module.open_path(path, member) if known.members else module.open_path(path)
    return source
