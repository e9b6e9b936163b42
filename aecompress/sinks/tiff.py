"""A TIFF of many pages, one or more for each row, uncompressed: rows are appended behind a header that says all."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec

#: Where a TIFF, whose offsets have 32 bits, becomes a BigTIFF.
_CLASSIC_BYTES = (1 << 32) - (1 << 25)


class TiffWriter:
    """Rows in C order, one after another, in a file whose pages are laid out already."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[np.generic]) -> None:
        self._file, self._dtype = file, dtype

    def append(self, batch: Array) -> None:
        self._file.write(np.ascontiguousarray(batch, dtype=self._dtype).data)

    def close(self) -> None:
        self._file.close()


def open_writer(path: Path, spec: ArraySpec, origin: dict[str, object]) -> TiffWriter:  # noqa: ARG001 - as every format
    """A writer of a stack of pages, in the byte order of the spec.

    Raises:
        DestinationError: rows of this spec are no pages, or tifffile is missing.
    """
    try:
        import tifffile
    except ImportError as err:
        raise DestinationError("TIFF needs tifffile to be written: pip install 'aecompress[images]'") from err
    if len(spec.row_shape) < 2 or not spec.raw_bytes or spec.dtype.kind == "b":
        raise DestinationError(
            f"A TIFF holds pages of numbers with two axes or more; {spec.describe()} are none: write to .npy instead."
        )
    colour = spec.row_shape[2:] in ((3,), (4,)) and spec.dtype.kind == "u"
    order = ">" if spec.dtype.str[0] == ">" else "<"
    with tifffile.TiffWriter(path, bigtiff=spec.raw_bytes > _CLASSIC_BYTES, byteorder=order) as tiff:
        start, _ = tiff.write(
            shape=spec.shape, dtype=spec.dtype, photometric="rgb" if colour else "minisblack", returnoffset=True
        )
    file = path.open("r+b")
    file.seek(start)
    return TiffWriter(file, spec.dtype)
