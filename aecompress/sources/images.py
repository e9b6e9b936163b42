"""Pictures of one size and kind, in a folder or a tar: each is a row, in natural order of names (``9.png, 10.png``).

    PNG, JPEG   Pillow; palettes become RGB or RGBA, 16 bits a channel stay 16
    TIFF        tifffile; values as they are stored

The names, with folders below the one that was given, are the column ``file``. Hidden files, and what is no picture by
its extension, are passed over.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa

from aecompress.errors import InputError
from aecompress.locations import Location, files_below
from aecompress.sources.base import Columns, SlicedSource, Source
from aecompress.spec import Array, ArraySpec

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

#: Lower-case extensions of pictures.
TIFF = (".tif", ".tiff")
EXTENSIONS = (".png", ".jpg", ".jpeg", *TIFF)

#: Pillow's modes that are arrays as they are: dtype and channels. ``I`` is grey of 16 bits.
_MODES = {
    "1": ("?", ()), "L": ("u1", ()), "LA": ("u1", (2,)), "RGB": ("u1", (3,)), "RGBA": ("u1", (4,)), "I": ("u2", ()),
}  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """What all pictures of a set share."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))} {self.dtype.name}"


@dataclass(frozen=True)
class _Pictures:
    """Names in natural order, and how to open each of them for reading; ``place`` stands before them in messages."""

    place: str
    names: list[str]
    open: Callable[[str], BinaryIO]

    def kind(self, name: str) -> _Kind:
        """Read off the header; raises InputError if the picture cannot be read, or is of a kind that cannot be kept."""
        with self._opened(name) as file:
            return _tiff_kind(file) if _is_tiff(name) else _header(file)

    def read(self, name: str) -> Array:
        """[h, w] or [h, w, channels]; raises InputError."""
        with self._opened(name) as file:
            return _read_tiff(file) if _is_tiff(name) else _decode(file)

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        try:
            with self.open(name) as file:
                yield file
        except (OSError, ValueError, SyntaxError, KeyError, IndexError, RuntimeError) as err:
            raise InputError(f"{self.place}/{name} cannot be packed: {err}") from err


def open_path(path: Location) -> Source:
    """A source over the pictures of a folder or a tar. Headers are all read at once, the rest when it is asked for.

    Raises:
        InputError: there are no pictures, they differ in size or kind, or one cannot be read; Pillow or tifffile is
            missing.
    """
    _check_installed(path)
    pictures = _of_folder(path) if path.is_dir() else _of_tar(path)
    if not pictures.names:
        raise InputError(f"{path} holds no pictures; they end in one of {', '.join(EXTENSIONS)}.")
    kind = _common_kind(pictures)
    spec = ArraySpec(kind.dtype, kind.shape, len(pictures.names))
    origin = {"format": "images" if path.is_dir() else "tar"}
    columns = Columns(pa.schema([("file", pa.string())]), partial(_file_column, pictures.names))
    return SlicedSource(str(path), spec, origin, partial(_read, pictures, spec), columns)


def _check_installed(path: Location) -> None:
    try:
        import imagecodecs  # noqa: F401
        import PIL  # noqa: F401
        import tifffile  # noqa: F401
    except ImportError as err:
        raise InputError(f"{path} needs Pillow and tifffile: pip install 'aecompress[images]'") from err


def _of_folder(path: Location) -> _Pictures:
    files = files_below(path)
    return _Pictures(str(path), _sorted(files), lambda name: files[name].open("rb"))


def _of_tar(path: Location) -> _Pictures:
    """Its index is read once; each picture is then read at its place."""
    try:
        with path.open("rb") as opened, tarfile.open(fileobj=opened, mode="r:") as tar:
            members = {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
    except tarfile.TarError as err:
        raise InputError(f"{path} is not a whole tar, or a compressed one: {err}; gunzip it first.") from err

    def read(name: str) -> BinaryIO:
        offset, size = members[name]
        with path.open("rb") as file:
            file.seek(offset)
            return io.BytesIO(file.read(size))

    return _Pictures(str(path), _sorted(members), read)


def _sorted(names: Iterable[str]) -> list[str]:
    """The pictures among them, in natural order."""
    return sorted((name for name in names if _is_picture(name)), key=natural)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not any(part.startswith(".") for part in name.split("/"))


def natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts numbers in names by their values; the name itself decides where values are equal."""
    words: list[str | int] = [*re.split(r"([0-9]+)", name)]
    words[1::2] = [int(word) for word in words[1::2]]
    return words, name


def _common_kind(pictures: _Pictures) -> _Kind:
    first = pictures.kind(pictures.names[0])
    for name in pictures.names[1:]:
        if (kind := pictures.kind(name)) != first:
            raise InputError(
                f"{pictures.place}/{name} is {kind}, but {pictures.names[0]} is {first}: pictures of one set have one "
                "size and kind; resize or convert them, or pack them apart."
            )
    return first


def _file_column(names: list[str], start: int, rows: int) -> Iterator[pa.RecordBatch]:
    for lo in range(start, len(names), rows):
        yield pa.record_batch({"file": names[lo : lo + rows]})


def _read(pictures: _Pictures, spec: ArraySpec, lo: int, hi: int) -> Array:
    rows = np.empty((hi - lo, *spec.row_shape), spec.dtype)
    for row, name in zip(rows, pictures.names[lo:hi], strict=True):
        picture = pictures.read(name)
        if picture.shape != row.shape or picture.dtype != row.dtype:
            raise InputError(f"{pictures.place}/{name} is another picture than when it was opened; start again.")
        row[...] = picture
    return rows


# --- PNG and JPEG ---------------------------------------------------------------------------------------------------


def _header(file: BinaryIO) -> _Kind:
    with _pillow(file) as image:
        dtype, channels = _MODES[_mode(image)]
        return _Kind(np.dtype("u2" if _is_deep(image) else dtype), (image.height, image.width, *channels))


def _decode(file: BinaryIO) -> Array:
    with _pillow(file) as image:
        mode = _mode(image)
        if _is_deep(image):
            import imagecodecs

            file.seek(0)
            return np.asarray(imagecodecs.png_decode(file.read()))
        if mode == "1":  # Pillow's True has all bits set, NumPy's only one
            return np.asarray(image.convert("L")) > 0
        return np.asarray(image if image.mode == mode else image.convert(mode))


def _pillow(file: BinaryIO) -> ImageFile:
    import PIL.Image

    return PIL.Image.open(file, formats=("PNG", "JPEG"))


def _stored(image: ImageFile) -> str:
    """Pillow's name of what the file holds, as in ``RGB;16B``."""
    return str(image.tile[0][3])


def _is_deep(image: ImageFile) -> bool:
    """True for 16 bits a channel, of which Pillow keeps 8 if there are several channels."""
    return ";16" in _stored(image)


def _mode(image: ImageFile) -> str:
    """The mode to decode to, with a channel for transparency where there is any. Raises ValueError."""
    clear = "transparency" in image.info
    if _is_deep(image):
        if clear:
            raise ValueError("it has 16 bits and a transparent colour; give it an alpha channel")
        return _stored(image).partition(";")[0]
    mode = "RGB" if image.mode == "P" else image.mode
    mode = {"L": "LA", "1": "LA", "RGB": "RGBA"}.get(mode, mode) if clear else mode
    if mode not in _MODES:
        raise ValueError(f"its colours are {mode}; convert it to grey or RGB")
    return mode


# --- TIFF -----------------------------------------------------------------------------------------------------------


def _is_tiff(name: str) -> bool:
    return name.lower().endswith(TIFF)


def _tiff_kind(file: BinaryIO) -> _Kind:
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        series = _only_series(tiff)
        return _Kind(np.dtype(series.dtype), tuple(series.shape))


def _read_tiff(file: BinaryIO) -> Array:
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        return np.asarray(_only_series(tiff).asarray())


def _only_series(tiff: Any) -> Any:
    """The picture of a file, [h, w], [h, w, channels] or a stack of these. Raises ValueError."""
    if len(tiff.series) != 1:
        raise ValueError(f"it holds {len(tiff.series)} different pictures; save each in a file of its own")
    if tiff.series[0].keyframe.colormap is not None:
        raise ValueError("its colours come from a palette; convert it to RGB")
    return tiff.series[0]
