"""Pictures in a folder, one for each row: PNG where it can hold the rows, TIFF otherwise.

PNG    bool [h, w]; uint8 and uint16 [h, w] or [h, w, 2 to 4]
TIFF   any other rows of two axes or more
"""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from aecompress.errors import DestinationError
from aecompress.sinks.base import Writer
from aecompress.spec import Array, ArraySpec

if TYPE_CHECKING:
    import pyarrow as pa

TIFF = (".tif", ".tiff")
EXTENSIONS = (".png", *TIFF)

#: The column of names beside the rows.
COLUMN = "file"

_ALPHA, _RGB, _RGBA = 2, 3, 4


class Holder(Protocol):
    """What pictures are put into."""

    def add(self, name: str, data: bytes) -> None:
        """A file of this name, which is new, in folders if it has slashes."""

    def close(self) -> None:
        """Finish; may be called twice."""


class _Folder:
    def __init__(self, path: Path) -> None:
        path.mkdir()
        self._path = path

    def add(self, name: str, data: bytes) -> None:
        file = self._path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def close(self) -> None:
        """Nothing is held open between pictures."""


class PicturesWriter:
    """Each row becomes a file, named as in the source where that was pictures, otherwise by its number."""

    def __init__(self, holder: Holder, spec: ArraySpec, *, named: bool) -> None:
        self._holder, self._named, self._row = holder, named, 0
        self._digits = len(str(max(spec.shape[0] - 1, 0)))
        self._extensions = EXTENSIONS if fits_png(spec) else TIFF
        self._taken: set[str] = set()

    def append(self, batch: Array, columns: pa.RecordBatch | None = None) -> None:
        names = [None] * len(batch)
        if columns is not None and self._named:
            names = columns.column(COLUMN).to_pylist()
        for row, name in zip(batch, names, strict=True):
            free = self._free(f"{self._row:0{self._digits}}" if name is None else str(name))
            self._holder.add(free, encode(row, free))
            self._row += 1

    def close(self) -> None:
        self._holder.close()

    def _free(self, name: str) -> str:
        """The name, with an extension that can hold the rows: another in place of a foreign one, if that is free."""
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise DestinationError(
                f"A picture is named {name!r}, which leads out of its folder; write to .npy instead."
            )
        if not name.lower().endswith(self._extensions):
            bare = str(PurePosixPath(name).with_suffix(self._extensions[0]))
            name = name + self._extensions[0] if bare in self._taken else bare
        self._taken.add(name)
        return name


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object], columns: pa.Schema | None = None) -> Writer:
    """A writer of a folder. Raises DestinationError if rows of this spec are no pictures, or a package is missing."""
    check_pictures(spec)
    return PicturesWriter(_Folder(path), spec, named=are_named(origin, columns))


def are_named(origin: dict[str, object], columns: pa.Schema | None) -> bool:
    """True if the source was pictures, whose names stand beside the rows."""
    return origin.get("format") in ("images", "tar") and columns is not None and COLUMN in columns.names


def replaces(folder: Path) -> bool:
    """True if nothing but pictures would be lost with this folder."""
    return all(path.is_dir() or path.suffix.lower() in EXTENSIONS for path in folder.rglob("*"))


def check_pictures(spec: ArraySpec) -> None:
    """Raise DestinationError unless each row can be a picture, and the packages that write one are there."""
    try:
        import imagecodecs  # noqa: F401
        import PIL  # noqa: F401
        import tifffile  # noqa: F401
    except ImportError as err:
        raise DestinationError("Pictures need Pillow and tifffile: pip install 'aecompress[images]'") from err
    if len(spec.row_shape) < 2 or not spec.row_size:
        raise DestinationError(
            f"A picture has two axes or more, of which none is empty; {spec.describe()} are no pictures: write to .npy "
            "instead."
        )


def fits_png(spec: ArraySpec) -> bool:
    """True if PNG can hold a row as it is."""
    channels = spec.row_shape[2:]
    if spec.dtype.kind == "b":
        return not channels
    return spec.dtype.str[1:] in ("u1", "u2") and (not channels or channels in ((_ALPHA,), (_RGB,), (_RGBA,)))


def encode(row: Array, name: str) -> bytes:
    """A file of the format that the name ends in, PNG or TIFF, without loss."""
    return _png(row) if name.lower().endswith(".png") else _tiff(row)


def _png(row: Array) -> bytes:
    import imagecodecs
    import PIL.Image

    if row.dtype.kind != "b":
        return bytes(imagecodecs.png_encode(row))
    file = io.BytesIO()
    PIL.Image.fromarray(row).save(file, "PNG")
    return file.getvalue()


def _tiff(row: Array) -> bytes:
    import tifffile

    colour = row.ndim == 3 and row.shape[2] in (_RGB, _RGBA) and row.dtype.kind == "u"
    file = io.BytesIO()
    tifffile.imwrite(file, row, photometric="rgb" if colour else "minisblack", compression="zlib")
    return file.getvalue()
