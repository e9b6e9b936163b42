"""The autoencoder family on one set: what each member makes of it at equal distortion, the model counted.

python -m benchmarks.family FILE [--rows N] [--window W] [--features AXIS] --psnr 22 25 28 [--kinds pca,vanilla]

Beside Faiss the table tells the mean cosine and recall@10 too: of the ten rows nearest to a row among the originals,
the share that is found when the others are what came back.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import aecompress
from aecompress.config import MODEL_KINDS, Target
from aecompress.errors import AecompressError, InputError
from aecompress.metrics import distortion, similarity
from aecompress.peers.base import as_rows
from aecompress.spec import Array
from benchmarks import data

#: Members that reach a quality; ``textbook`` has a fixed number of latents and seldom does.
KINDS = "pca,vanilla,sparse,denoising,vae,conv"

#: Rows that ask for their neighbours, and how many these are.
_QUERIES, _NEAREST = 200, 10

_NAMES = ("model", "bytes", "of them model", "ratio", "PSNR dB", "smaller than pca", "fit s", "processor s")
_VECTORS = ("cosine", "recall@10")


def head(names: tuple[str, ...]) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(names)} |\n|---{'|--:' * (len(names) - 1)}|"


def main() -> None:
    options = parser().parse_args()
    try:
        x = arranged(data.load(options.file), options)
        print(f"{options.file.stem}, {' x '.join(map(str, x.shape))} {x.dtype}, fits of {options.fit_seconds:g} s")
        for title, target, peers in targets(x, options):
            print(f"\n{title}\n\n{head(_NAMES + _VECTORS if options.faiss else _NAMES)}", flush=True)
            run(x, target, peers, options)
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(x: Array, target: Target, peers: list[str], options: argparse.Namespace) -> None:
    """Print a line for each member of the family at one target, and those of the peers before."""
    for line in peers:
        print(line)
    linear = 0
    for kind in options.kinds.split(","):
        cell = measure(x, kind, target, options.fit_seconds, vectors=bool(options.faiss))
        linear = linear or (cell["bytes"] if kind == "pca" else 0)
        gain = f"{linear / cell['bytes']:.2f}" if linear else "-"
        name = kind if cell["became"] == kind else f"{kind} (became {cell['became']})"
        figures = f"{cell['bytes']:,} | {cell['model']:,} | {cell['ratio']:.2f} | {cell['psnr']:.2f}"
        print(
            f"| {name} | {figures} | {gain} | {cell['seconds']:.0f} | {cell['processor']:.0f} |{cell['vectors']}",
            flush=True,
        )


def measure(x: Array, kind: str, target: Target, seconds: float, *, vectors: bool) -> dict[str, Any]:
    """Pack to disk, unpack, and compare: every byte of the archive counts."""
    with tempfile.TemporaryDirectory() as folder:
        started, spent = time.perf_counter(), time.process_time()
        model = aecompress.fit(x, target, kind=kind, seconds=seconds)
        took, spent = time.perf_counter() - started, time.process_time() - spent
        report = aecompress.pack(x, Path(folder) / "a", model=model)
        decoded = aecompress.open(Path(folder) / "a")[:]
        found = distortion(x, decoded)
    return {
        "bytes": report.packed_bytes,
        "model": report.model_bytes,
        "ratio": x.nbytes / report.packed_bytes,
        "psnr": found.psnr or 0.0,
        "vectors": as_vectors(x, decoded) if vectors else "",
        "became": report.model,
        "seconds": took,
        "processor": spent,
    }


def targets(x: Array, options: argparse.Namespace) -> Iterator[tuple[str, Target, list[str]]]:
    """(title, target, lines of peers): qualities asked for, shares of the range, and what Faiss reaches."""
    yield from ((f"At {db:g} dB", Target("psnr", db), list[str]()) for db in options.psnr)
    spread = distortion(x, x)
    for share in options.rmse_of_range:
        goal = Target("rmse", share * (spread.high - spread.low))
        yield f"At a root mean squared error of {share:g} of the range", goal, []
    for factory in options.faiss:
        size, decoded = _faiss(x, factory)
        cell = distortion(x, decoded)
        if not cell.rmse:
            raise InputError(f"Faiss {factory} gives this set back exactly; match a coarser one.")
        figures = f"{size:,} | - | {x.nbytes / size:.2f} | {cell.psnr or 0.0:.2f}"
        line = f"| Faiss {factory} | {figures} | - | - | - |{as_vectors(x, decoded)}"
        yield f"At the error of Faiss {factory}", Target("rmse", cell.rmse), [line]


def _faiss(x: Array, factory: str) -> tuple[int, Array]:
    """Bytes of tables and codes, and what they give back."""
    from aecompress.peers.vectors import Faiss

    peer = Faiss(factory)
    parts = peer.compress(x)
    return sum(map(len, parts)), peer.decompress(parts, x.shape, x.dtype)


def as_vectors(x: Array, decoded: Array) -> str:
    """Cells of the mean cosine and of recall@10."""
    return f" {similarity(x, decoded).mean:.5f} | {recall(as_rows(x), as_rows(decoded)):.3f} |"


def recall(rows: Array, decoded: Array) -> float:
    """Share of the ten rows nearest to each of some rows, itself left out, that are nearest among ``decoded`` too."""
    asking = np.linspace(0, len(rows) - 1, min(_QUERIES, len(rows))).astype(int)
    wanted, found = (_nearest(rows[asking], among, asking) for among in (rows, decoded))
    return float(np.mean([len(set(a) & set(b)) / _NEAREST for a, b in zip(wanted, found, strict=True)]))


def _nearest(queries: Array, among: Array, own: Array) -> Array:
    """int64 [n, 10]: the nearest rows by distance."""
    far = np.square(among).sum(1) - 2 * queries @ among.T
    far[np.arange(len(own)), own] = np.inf
    return np.argpartition(far, _NEAREST, axis=1)[:, :_NEAREST]


def arranged(x: Array, options: argparse.Namespace) -> Array:
    """The set as rows: an axis of it as the values of a row, long rows cut to windows, and the first rows of all."""
    if options.features is not None:
        x = np.moveaxis(x, options.features, -1)
        x = x.reshape(-1, x.shape[-1])
    if options.window is not None:
        flat = x.reshape(len(x), -1)
        x = flat[:, : flat.shape[1] // options.window * options.window].reshape(-1, options.window)
    return np.ascontiguousarray(x[: options.rows])


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.family", description="the family on one set")
    options.add_argument("file", type=Path, metavar="FILE", help="a .npy file")
    options.add_argument("--rows", type=int, help="only the first so many")
    options.add_argument("--window", type=int, metavar="W", help="cut rows to windows of so many values")
    options.add_argument("--features", type=int, metavar="AXIS", help="make this axis the values of a row")
    options.add_argument("--psnr", type=float, nargs="+", default=[], metavar="DB")
    options.add_argument("--rmse-of-range", type=float, nargs="+", default=[], metavar="SHARE")
    options.add_argument("--faiss", nargs="+", default=[], metavar="FACTORY", help="match SQ8, PQ16, OPQ16,PQ16 ...")
    options.add_argument("--kinds", default=KINDS, help=f"some of {','.join(MODEL_KINDS)}; pca first")
    options.add_argument("--fit-seconds", type=float, default=60.0, metavar="S")
    return options


if __name__ == "__main__":
    main()
