"""Pictures in a tar, one for each row, as in a folder of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from aecompress.sinks.base import Writer
from aecompress.sinks.images import PicturesWriter, are_named, check_pictures
from aecompress.spec import ArraySpec

if TYPE_CHECKING:
    import pyarrow as pa


class Tar:
    """The same pictures make the same bytes: there are no times and owners in it."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "x:")  # noqa: SIM115 - closed by close()

    def add(self, name: str, data: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))

    def close(self) -> None:
        self._tar.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object], columns: pa.Schema | None = None) -> Writer:
    """A writer of a tar. Raises DestinationError if rows of this spec are no pictures, or a package is missing."""
    check_pictures(spec)
    return PicturesWriter(Tar(path), spec, named=are_named(origin, columns))
