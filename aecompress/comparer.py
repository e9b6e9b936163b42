"""Compare: an archive of a source beside what its peers make of it, at one target, everything decoded and checked.

source ─► rows in memory ─┬─► pack, unpack ────────────────► bytes, errors, speeds
                          └─► each peer's settings, the best ─► the same
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aecompress import peers
from aecompress.charts import Bar, bars, standalone
from aecompress.config import Effort, Progress, Target, silent
from aecompress.errors import InputError
from aecompress.inputs import open_rows
from aecompress.metrics import distortion
from aecompress.packer import pack
from aecompress.peers.base import UnboundedPeer
from aecompress.peers.trial import Cell, measure_peer, measure_quality, quality, speed, timed
from aecompress.sources.base import Source, chunk_rows
from aecompress.spec import Array, ArraySpec
from aecompress.unpacker import unpack

#: Peers work in memory, some on 64-bit integers and several copies: more values are refused.
MOST_VALUES = 1 << 25


@dataclass(frozen=True)
class Comparison:
    """What each compressor made of the same rows at the same target.

    Attributes:
        source: name of what was compared, and ``spec`` its dtype and shape.
        target: what was asked for; ``bound`` (absolute, on every value) or ``rmse`` is what that allows here.
        ours: bytes of the whole archive, model included, as a cell.
        peers: a cell for each that could be run, in its best setting; the smallest that does as told comes first.
        left_out: why the others could not be run.

    A cell holds ``bytes``, ``ratio``, ``bound_kept`` (whether it does as told), ``special_kept`` (whether NaN and
    infinities came back), ``max_abs_error``, ``rmse``, ``psnr``, ``enc_MBps`` and ``dec_MBps`` (MB, 10^6 raw bytes, a
    second), where known.
    """

    source: str
    spec: ArraySpec
    target: Target
    bound: float | None
    rmse: float | None
    ours: Cell
    peers: dict[str, Cell]
    left_out: dict[str, str]

    @property
    def best(self) -> str | None:
        """The smallest peer that does as told; None if no peer does."""
        return next((name for name, cell in self.peers.items() if cell["bound_kept"]), None)

    @property
    def gain(self) -> float | None:
        """Bytes of the best peer over ours."""
        return self.peers[self.best]["bytes"] / self.ours["bytes"] if self.best else None

    def describe(self) -> str:
        """The target, and what it allows here: ``rel-error 0.001: no value off by more than 0.0123``."""
        if self.rmse is not None:
            return f"{self.target.describe()}: a root mean squared error of at most {self.rmse:.6g}"
        return f"{self.target.describe()}: " + (
            f"no value off by more than {self.bound:.6g}" if self.bound else "every value as it was"
        )

    def chart(self) -> str:
        """The sizes as an SVG file: bars, ours first, then the peers; dashed where one misses the target."""
        rows = [_bar("aecompress", self.ours, "ours")]
        rows += [_bar(name, cell, "other") for name, cell in self.peers.items()]
        return standalone(bars(rows), f"{self.source}, {self.spec.describe()}, {self.describe()}")

    def to_json(self) -> dict[str, Any]:
        """A plain object."""
        return {
            "source": self.source,
            "shape": list(self.spec.shape),
            "dtype": self.spec.dtype.name,
            "raw_bytes": self.spec.raw_bytes,
            "target": self.target.to_json(),
            "bound": self.bound,
            "rmse": self.rmse,
            "aecompress": self.ours,
            "peers": self.peers,
            "best": self.best,
            "gain": self.gain,
            "left_out": self.left_out,
        }


def compare(
    source: Any,
    target: Target | None = None,
    *,
    rows: tuple[int | None, int | None] = (None, None),
    progress: Progress = silent,
) -> Comparison:
    """Pack a source and code it with every peer that is installed, at one target; nothing is left on disk.

    Args:
        source: as for ``pack``.
        target: a bound on every value, ``psnr`` or ``rmse``; by default a relative bound of 1e-3 for floats and no
            loss for integers.
        rows: first row and the one behind the last, as in a slice; None for the ends.
        progress: called as progress(phase, share done, facts).

    Raises:
        InputError: the source cannot be used, holds too many values to compare in memory, or peers cannot be asked
            for the target.
    """
    opened = open_rows(source)
    goal = target or Target.default(opened.spec.dtype)
    _check_target(goal)
    x = _read(opened, *rows)
    ours = measure_ours(x, goal, progress=progress)
    bound, rmse = ours.pop("bound"), allowed_rmse(goal, x)
    found, left_out = _peers(x, bound, rmse, progress)
    for cell in (ours, *found.values()):
        cell["ratio"] = x.nbytes / cell["bytes"] if cell["bytes"] else None
    ranked = dict(sorted(found.items(), key=lambda item: (not item[1]["bound_kept"], item[1]["bytes"])))
    spec = ArraySpec(x.dtype, x.shape[1:], len(x))
    return Comparison(opened.name, spec, goal, bound, rmse, ours, ranked, left_out)


def measure_ours(
    x: Array,
    target: Target,
    bound: float | None = None,
    model: str = "auto",
    effort: Effort = "balanced",
    progress: Progress = silent,
) -> Cell:
    """Pack and unpack through files; encoding leaves out the time the model took to fit, which stands beside it.

    Without a ``bound`` the errors are held against that of the target, which the cell then names.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive, back = Path(folder, "archive"), Path(folder, "back.npy")
        report, pack_seconds = timed(
            lambda: pack(x, archive, target=target, model=model, effort=effort, progress=progress)
        )
        _, unpack_seconds = timed(lambda: unpack(archive, back, progress=progress))
        decoded = np.load(back)
    allowed = report.bound if bound is None else bound
    found = quality(x, decoded, np.inf if allowed is None else allowed, allowed_rmse(target, x) or np.inf)
    found["bound_kept"] &= found["special_kept"] and x.dtype == decoded.dtype and x.shape == decoded.shape
    return found | {
        "bytes": report.packed_bytes,
        "model_bytes": report.model_bytes,
        "enc_MBps": speed(x.nbytes, pack_seconds - report.fit_seconds),
        "dec_MBps": speed(x.nbytes, unpack_seconds),
        "fit_seconds": report.fit_seconds,
        "model": report.model,
        "bound": allowed,
    }


def allowed_rmse(target: Target, x: Array) -> float | None:
    """The root mean squared error that ``psnr`` and ``rmse`` allow on ``x``, in its units; None for other targets."""
    if target.value is None or target.kind not in ("psnr", "rmse"):
        return None
    if target.kind == "rmse":
        return target.value
    finite = distortion(x, x)
    return (finite.high - finite.low) / 10 ** (target.value / 20) if finite.count else 0.0


def _bar(name: str, cell: Cell, style: str) -> Bar:
    kept = bool(cell["bound_kept"])
    text = f"{cell['bytes']:,} bytes, ratio {cell['ratio'] or 0:.2f}" + ("" if kept else ", misses the target")
    return Bar(name, cell["bytes"], text, style if kept else "unfit")


def _check_target(target: Target) -> None:
    if target.per is not None:
        raise InputError("Peers know one bound for all values; leave --per out to compare.")
    if target.kind in ("ratio", "cosine", "latent-dim"):
        raise InputError(f"Peers cannot be asked for {target.describe()}; compare at a bound, --psnr or --rmse.")


def _read(source: Source, start: int | None, stop: int | None) -> Array:
    """Rows start to stop; reading ends as soon as they are too many."""
    limit = MOST_VALUES // max(source.spec.row_size, 1)
    if source.replayable:
        first, last, _ = slice(start, stop).indices(source.spec.shape[0])
        _check_size(source, last - first, limit)
    found, many = [np.zeros((0, *source.spec.row_shape), source.spec.native)], 0
    for batch in source.batches(chunk_rows(source.spec), start or 0, stop):
        many += len(batch)
        _check_size(source, many, limit)
        found.append(batch)
    if not many:
        raise InputError(f"{source.name} has no such rows; there is nothing to compare.")
    return np.concatenate(found)


def _check_size(source: Source, rows: int, limit: int) -> None:
    if rows > limit:
        raise InputError(
            f"{source.name} has more than {limit} rows to compare, and peers work in memory; name a stretch of that "
            f"many at most, as in --rows 0:{limit}."
            if limit
            else f"One row of {source.name} is more than peers can take in memory, {MOST_VALUES} values; give a part."
        )


def _peers(
    x: Array, bound: float | None, rmse: float | None, progress: Progress
) -> tuple[dict[str, Cell], dict[str, str]]:
    """A cell for each peer that can do it, and why the others cannot."""
    left_out = {name: _install(package) for name, package in peers.missing().items()}
    measure = _measure(x, bound, rmse)
    found: dict[str, Cell] = {}
    for name, peer, done in _each(peers.installed()):
        progress("peers", done, {"now": name})
        cell = measure(peer)
        if cell is not None:
            found[name] = cell
        elif rmse is None and issubclass(peer, UnboundedPeer):
            left_out[name] = "keeps no bound on single values; compare it by --psnr or --rmse"
        else:
            left_out[name] = "does not apply to this dtype, shape and target"
    progress("peers", 1.0, {})
    return found, left_out


def _measure(x: Array, bound: float | None, rmse: float | None) -> Callable[[type[peers.Peer]], Cell | None]:
    if rmse is not None:
        return lambda peer: measure_quality(peer, x, rmse)
    return lambda peer: measure_peer(peer, x, bound or 0.0)


def _each(known: dict[str, type[peers.Peer]]) -> Iterator[tuple[str, type[peers.Peer], float]]:
    """Name, peer, and the share of them that is done."""
    return ((name, peer, i / len(known)) for i, (name, peer) in enumerate(known.items()))


def _install(package: str) -> str:
    return f"needs {package}; install it by: pip install 'aecompress[peers]'"
