"""The demo: a real sample packed, unpacked, checked, compared with gzip and zstd, and shown."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import zstandard

import aecompress
from aecompress.config import Progress, Target, silent
from aecompress.errors import DestinationError, VerificationError
from aecompress.metrics import distortion
from aecompress.pictures import grid, write_png
from aecompress.spec import Array, ArraySpec

if TYPE_CHECKING:
    from aecompress.figures import Report

#: 2,000 pictures of 28 x 28 uint8; see the README beside them.
SAMPLE = Path(__file__).parent / "samples" / "fashion_mnist_2000.npy"

#: The greatest error of a grey value, of 255.
BOUND = 8

#: Pictures shown.
_SHOWN = 16


@dataclass(frozen=True)
class Demo:
    """What the demo found and left behind.

    Attributes:
        spec: of the sample.
        report: of its pack.
        bound: the error asked for.
        peers: bytes of other ways to keep the sample.
        archive, unpacked, pictures: what was written.
    """

    spec: ArraySpec
    report: Report
    bound: int
    peers: dict[str, int]
    archive: Path
    unpacked: Path
    pictures: Path


def run(folder: Path, *, force: bool = False, progress: Progress = silent) -> Demo:
    """Pack the sample into ``folder``, unpack it, compare every value, draw a picture.

    Raises:
        DestinationError: the folder holds a demo and ``force`` is not given, or cannot be written.
        VerificationError: a value came back outside the bound (a defect).
    """
    archive, unpacked, pictures = (folder / name for name in ("fashion.aec", "fashion.npy", "pictures.png"))
    _make(folder, (archive, unpacked, pictures), force)
    original = np.load(SAMPLE)
    target = Target("max-error", BOUND)
    report = aecompress.pack(SAMPLE, archive, target=target, force=force, progress=progress)
    aecompress.unpack(archive, unpacked, force=force, progress=progress)
    decoded = np.load(unpacked)
    _check(original, decoded)
    write_png(pictures, _comparison(original, decoded))
    spec = ArraySpec(original.dtype, original.shape[1:], len(original))
    return Demo(spec, report, BOUND, peers(original), archive, unpacked, pictures)


def peers(values: Array) -> dict[str, int]:
    """Bytes that gzip -9 and zstd -19 take for the values, and for them quantised to the same bound."""
    step = 2 * BOUND + 1
    quantised = ((values.astype(np.uint16) + BOUND) // step).astype(np.uint8)
    return {
        "quantised to the same bound, zstd -19": len(_zstd(quantised)),
        "quantised to the same bound, gzip -9": len(gzip.compress(quantised.tobytes(), 9)),
        "lossless, zstd -19": len(_zstd(values)),
        "lossless, gzip -9": len(gzip.compress(values.tobytes(), 9)),
    }


def _zstd(values: Array) -> bytes:
    return zstandard.ZstdCompressor(level=19).compress(values.tobytes())


def _make(folder: Path, paths: tuple[Path, ...], force: bool) -> None:
    if any(path.exists() for path in paths) and not force:
        raise DestinationError(f"{folder} holds a demo already; give another folder with -o, or use --force.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DestinationError(f"{folder} cannot be made: {err.strerror}.") from err


def _check(original: Array, decoded: Array) -> None:
    if original.shape != decoded.shape or original.dtype != decoded.dtype:
        raise VerificationError("The sample came back in another shape or dtype; please report this defect.")
    if (found := distortion(original, decoded).max_abs) > BOUND:
        raise VerificationError(f"A value came back wrong by {found:g}, over {BOUND}; please report this defect.")


def _comparison(original: Array, decoded: Array) -> Array:
    """uint8 picture: originals above reconstructions above their error, which fills the range at the bound."""
    shown = np.linspace(0, len(original) - 1, _SHOWN).astype(int)
    before, after = original[shown].astype(np.int16), decoded[shown].astype(np.int16)
    error = 128 + (after - before) * 127 // BOUND
    return grid([before, after, error])
