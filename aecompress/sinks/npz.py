"""The npz format: a zip file with one npy member, streamed in C order."""

from __future__ import annotations

import zipfile
from pathlib import Path

from aecompress.sinks.npy import NpyWriter
from aecompress.spec import Array, ArraySpec


class NpzWriter:
    """Rows in C order, in one member, deflated or stored."""

    def __init__(self, path: Path, spec: ArraySpec, member: str, compression: int) -> None:
        self._archive = zipfile.ZipFile(path, "x", compression)
        # The length is not known to zipfile beforehand, so the member gets room for one above 4 GiB.
        self._writer = NpyWriter(self._archive.open(f"{member}.npy", "w", force_zip64=True), spec)

    def append(self, batch: Array) -> None:
        self._writer.append(batch)

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._archive.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object]) -> NpzWriter:
    """A writer of a member named as in the source, or as numpy.savez names the first."""
    compression = zipfile.ZIP_DEFLATED if origin.get("deflated") is True else zipfile.ZIP_STORED
    return NpzWriter(path, spec, str(origin.get("member", "arr_0")), compression)
