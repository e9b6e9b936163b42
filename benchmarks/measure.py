"""One compressor on one array at one bound: bytes, speeds, and whether the bound holds on what comes back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import aecompress
from aecompress.config import Target
from aecompress.metrics import distortion
from aecompress.spec import Array
from benchmarks.peers import Peer

Cell = dict[str, Any]


def measure_peer(peer: type[Peer], x: Array, bound: float) -> Cell | None:
    """The cell of the peer's ``smallest`` variant, or None where the peer does not apply."""
    found = smallest(peer, x, bound)
    return found and found[1]


def smallest(peer: type[Peer], x: Array, bound: float) -> tuple[Peer, Cell] | None:
    """The smallest of the peer's variants that keeps ``bound`` once decoded, or of all where none does."""
    broken = None
    for trial in sorted(_trials(peer, x, bound), key=lambda trial: trial.size):
        cell = trial.cell(x, bound)
        if cell["bound_kept"]:
            return trial.variant, cell
        broken = broken or (trial.variant, cell)
    return broken


def measure_variant(variant: Peer, x: Array, bound: float) -> Cell:
    """``bytes, bound_kept, enc_MBps, dec_MBps, psnr, variant`` of one setting of a peer."""
    parts, seconds = timed(partial(variant.compress, x))
    return Trial(variant, parts, seconds).cell(x, bound)


@dataclass(frozen=True)
class Trial:
    """One variant's output, not decoded yet."""

    variant: Peer
    parts: list[bytes]
    seconds: float

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    def cell(self, x: Array, bound: float) -> Cell:
        """Decode and check; a stream that its own library refuses counts as a broken bound."""
        cell: Cell = {"bytes": self.size, "bound_kept": False, "variant": repr(self.variant)}
        try:
            decoded, seconds = timed(partial(self.variant.decompress, self.parts, x.shape, x.dtype))
        except (RuntimeError, ValueError):
            return cell
        error = distortion(x, decoded)
        return cell | {
            "bound_kept": error.max_abs <= bound,
            "enc_MBps": speed(x.nbytes, self.seconds),
            "dec_MBps": speed(x.nbytes, seconds),
            "psnr": error.psnr,
        }


def _trials(peer: type[Peer], x: Array, bound: float) -> Iterator[Trial]:
    for variant in peer.variants(x, bound):
        try:
            yield Trial(variant, *timed(partial(variant.compress, x)))
        except (RuntimeError, ValueError):
            continue  # a layout or a bound that the peer's library refuses


def measure_ours(x: Array, target: Target, bound: float, model: str) -> Cell:
    """Pack and unpack through files; encoding leaves out the time the model took to fit, which stands beside it."""
    with tempfile.TemporaryDirectory() as folder:
        archive, back = Path(folder, "archive"), Path(folder, "back.npy")
        report, pack_seconds = timed(
            lambda: aecompress.pack(x, archive, target=target, model=model, force=True).to_json()
        )
        _, unpack_seconds = timed(lambda: aecompress.unpack(archive, back, force=True))
        size, decoded = bytes_on_disk(archive), np.load(back)
    error = distortion(x, decoded)
    return {
        "bytes": size,
        "model_bytes": report["model_bytes"],
        "bound_kept": error.max_abs <= bound and same_type(x, decoded) and same_special_values(x, decoded),
        "enc_MBps": speed(x.nbytes, pack_seconds - report["fit_seconds"]),
        "dec_MBps": speed(x.nbytes, unpack_seconds),
        "fit_seconds": report["fit_seconds"],
        "psnr": error.psnr,
        "model": report["model"],
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What ``work`` returns, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def speed(nbytes: int, seconds: float) -> float:
    """MB/s (1 MB = 10^6 bytes of raw data), to a tenth."""
    return round(nbytes / 1e6 / max(seconds, 1e-9), 1)


def bytes_on_disk(archive: Path) -> int:
    """The sum of all files of an archive."""
    return sum(file.stat().st_size for file in archive.rglob("*") if file.is_file())


def same_type(x: Array, decoded: Array) -> bool:
    return x.dtype == decoded.dtype and x.shape == decoded.shape


def same_special_values(x: Array, decoded: Array) -> bool:
    """True if NaN and infinities are where they were, bit for bit."""
    if x.dtype.kind != "f":
        return True
    special = ~np.isfinite(x)
    return x[special].tobytes() == decoded[special].tobytes()
