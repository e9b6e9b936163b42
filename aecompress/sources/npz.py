"""The npz format: a zip file of npy members, of which one is read."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from aecompress.errors import InputError
from aecompress.locations import Location
from aecompress.sources.base import ChunkedSource, SlicedSource, Source
from aecompress.sources.containers import choose
from aecompress.sources.npy import check_size, read_header, read_rows
from aecompress.sources.rowfile import RowFile
from aecompress.spec import Array

# zipfile says RuntimeError for encrypted members and NotImplementedError for unknown compression.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError)


def open_path(path: Location, member: str = "") -> Source:
    """A source over one member of a npz file; the name may be left out where there is only one.

    Raises:
        InputError: not a npz file, no such member, several members and none chosen, or a damaged one.
    """
    info = _choose(path, member)
    name = f"{path}::{info.filename.removesuffix('.npy')}"
    with _open_member(path, info) as file:
        spec, fortran = read_header(file, name)
        offset = file.tell()
    check_size(name, spec, info.file_size - offset)
    origin = {
        "format": "npz",
        "member": info.filename.removesuffix(".npy"),
        "deflated": info.compress_type != zipfile.ZIP_STORED,
        "fortran": fortran,
    }
    if not fortran and isinstance(path, Path):
        return ChunkedSource(name, spec, origin, partial(_chunks, path, info, name))
    # The first row of a Fortran-ordered member is complete only at its end, and a zip cannot be mapped; in a store,
    # each look at a row would fetch all rows before it.
    extracted = _extract(path, info)
    source = SlicedSource(name, spec, origin, RowFile(extracted, spec, offset, fortran).read)
    weakref.finalize(source, extracted.unlink, missing_ok=True)
    return source


def _choose(path: Location, member: str) -> zipfile.ZipInfo:
    try:
        with path.open("rb") as opened, zipfile.ZipFile(opened) as archive:
            members = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
    except _ZIP_ERRORS as err:
        raise InputError(f"{path} is not a whole npz file; write it anew with numpy.savez.") from err
    return members[choose(path, list(members), member.removesuffix(".npy"))]


@contextmanager
def _open_member(path: Location, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as opened, zipfile.ZipFile(opened) as archive, archive.open(info) as file:
            yield file
    except _ZIP_ERRORS as err:
        raise InputError(f"{path}::{info.filename} cannot be read ({err}); write the file anew.") from err


def _chunks(path: Location, info: zipfile.ZipInfo, name: str, start: int, _rows: int) -> Iterator[Array]:
    with _open_member(path, info) as file:
        spec, _ = read_header(file, name)
        file.seek(start * spec.row_bytes, io.SEEK_CUR)
        yield from read_rows(file, spec.with_rows(spec.shape[0] - start), name)


def _extract(path: Location, info: zipfile.ZipInfo) -> Path:
    handle, name = tempfile.mkstemp(suffix=".npy")
    try:
        with os.fdopen(handle, "wb") as out, _open_member(path, info) as file:
            shutil.copyfileobj(file, out)
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)
