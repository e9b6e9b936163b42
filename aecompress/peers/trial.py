"""One peer on one array: bytes, speeds, and whether what comes back is good enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from aecompress.entropy.loops import compile_seconds
from aecompress.metrics import distortion
from aecompress.peers.base import Peer, UnboundedPeer
from aecompress.spec import Array

#: ``bytes, bound_kept, special_kept, enc_MBps, dec_MBps, max_abs_error, rmse, psnr`` and what else is known of it.
Cell = dict[str, Any]

#: Halvings of the range in which the widest bound of a quality is looked for.
_HALVINGS = 8


@dataclass(frozen=True)
class Trial:
    """One variant's output, not decoded yet."""

    variant: Peer
    parts: list[bytes]
    seconds: float

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    def cell(self, x: Array, bound: float, rmse: float = math.inf) -> Cell:
        """Decode and check; a stream that its own library refuses counts as a broken bound."""
        cell: Cell = {"bytes": self.size, "bound_kept": False, "variant": repr(self.variant)}
        try:
            decoded, seconds = timed(partial(self.variant.decompress, self.parts, x.shape, x.dtype))
        except (RuntimeError, ValueError):
            return cell
        speeds = {"enc_MBps": speed(x.nbytes, self.seconds), "dec_MBps": speed(x.nbytes, seconds)}
        return cell | speeds | quality(x, decoded, bound, rmse)


def measure_peer(peer: type[Peer], x: Array, bound: float) -> Cell | None:
    """The cell of the peer's ``smallest`` variant, or None where the peer does not apply."""
    found = smallest(peer, x, bound)
    return found and found[1]


def smallest(peer: type[Peer], x: Array, bound: float) -> tuple[Peer, Cell] | None:
    """The smallest of the peer's variants that keeps ``bound`` once decoded, or of all where none does."""
    return _smallest(peer.variants(x, bound), x, bound)


def measure_variant(variant: Peer, x: Array, bound: float, rmse: float = math.inf) -> Cell:
    """The cell of one setting of a peer."""
    return Trial(variant, *timed(partial(variant.compress, x))).cell(x, bound, rmse)


def measure_quality(peer: type[Peer], x: Array, rmse: float) -> Cell | None:
    """The cell of the smallest setting whose root mean squared error is at most ``rmse``, or of all where none is.

    A peer that knows bounds only gets the widest that is good enough, in the layout that is best at a bound of
    ``rmse``, where the mean error can be no more.
    """
    if issubclass(peer, UnboundedPeer):
        found = _smallest(peer.settings(x, rmse), x, math.inf, rmse)
        return found and found[1]
    found = smallest(peer, x, rmse)
    return found and _widest(*found, x, rmse)


def _widest(variant: Peer, cell: Cell, x: Array, rmse: float) -> Cell:
    """The cell of the widest bound, up to eight times ``rmse``, whose mean error is allowed."""
    low, high = 0.0, 3.0
    best = {**cell, "bound_kept": cell.get("rmse", math.inf) <= rmse}
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        try:
            trial = measure_variant(variant.at(x, rmse * 2.0**middle), x, math.inf, rmse)
        except (RuntimeError, ValueError):
            trial = {"bound_kept": False}
        low, high = (middle, high) if trial["bound_kept"] else (low, middle)
        if trial["bound_kept"] and trial["bytes"] < best["bytes"]:
            best = trial
    return best


def _smallest(variants: Iterable[Peer], x: Array, bound: float, rmse: float = math.inf) -> tuple[Peer, Cell] | None:
    broken = None
    for trial in sorted(_trials(variants, x), key=lambda trial: trial.size):
        cell = trial.cell(x, bound, rmse)
        if cell["bound_kept"]:
            return trial.variant, cell
        broken = broken or (trial.variant, cell)
    return broken


def _trials(variants: Iterable[Peer], x: Array) -> Iterator[Trial]:
    for variant in variants:
        try:
            yield Trial(variant, *timed(partial(variant.compress, x)))
        except (RuntimeError, ValueError):
            continue  # a layout or a bound that the peer's library refuses


def quality(x: Array, decoded: Array, bound: float, rmse: float = math.inf) -> Cell:
    """Errors of what came back, and whether they are allowed."""
    error = distortion(x, decoded)
    return {
        "bound_kept": error.max_abs <= bound and error.rmse <= rmse,
        "special_kept": same_special_values(x, decoded),
        "max_abs_error": error.max_abs,
        "rmse": error.rmse,
        "psnr": error.psnr,
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What ``work`` returns, and its seconds, those left out in which loops were compiled."""
    start = time.perf_counter() - compile_seconds()
    result = work()
    return result, time.perf_counter() - compile_seconds() - start


def speed(nbytes: int, seconds: float) -> float:
    """MB/s (1 MB = 10^6 bytes of raw data), to a tenth."""
    return round(nbytes / 1e6 / max(seconds, 1e-9), 1)


def same_special_values(x: Array, decoded: Array) -> bool:
    """True if NaN and infinities are where they were, bit for bit."""
    if x.dtype.kind != "f":
        return True
    special = ~np.isfinite(x)
    return x[special].tobytes() == decoded[special].tobytes()
