"""The autoencoder family on one set: what each member makes of it at equal distortion, the model counted.

python -m benchmarks.family FILE [--rows N] [--window W] [--features AXIS] --psnr 22 25 28 [--kinds pca,vanilla]

Encoding and decoding speeds are raw MB (10^6 bytes) a second of wall time, through files, the fit left out. Beside
Faiss the table tells the mean cosine and recall@10 too: of the ten rows nearest to a row among the originals, the share
that is found when the others are what came back.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import aecompress
from aecompress.comparer import allowed_rmse
from aecompress.config import MODEL_KINDS, Target
from aecompress.errors import AecompressError, InputError
from aecompress.metrics import distortion, similarity
from aecompress.peers import PEERS, load
from aecompress.peers.base import as_rows
from aecompress.peers.trial import Cell, measure_quality, quality, speed, timed
from aecompress.spec import Array
from benchmarks import data

#: Members that reach a quality; ``textbook`` has a fixed number of latents and seldom does.
KINDS = "pca,vanilla,sparse,denoising,vae,conv,auto"

#: Rows that ask for their neighbours, and how many these are.
_QUERIES, _NEAREST = 200, 10

#: Columns of a table: what a cell of it is called, and how its figure is written.
_COLUMNS = {
    "bytes": ("bytes", ","),
    "of them model": ("model_bytes", ","),
    "ratio": ("ratio", ".2f"),
    "PSNR dB": ("psnr", ".2f"),
    "smaller than pca": ("gain", ".2f"),
    "encode MB/s": ("enc_MBps", ".1f"),
    "decode MB/s": ("dec_MBps", ".1f"),
    "fit s": ("fit_seconds", ".0f"),
    "processor s": ("processor_seconds", ".0f"),
}
_VECTORS = {"cosine": ("cosine", ".5f"), "recall@10": ("recall", ".3f")}


def main() -> None:
    try:
        for text in report(parser().parse_args()):
            print(text, flush=True)
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def report(options: argparse.Namespace) -> Iterator[str]:
    """Lines of Markdown: what was measured, and a table for each target, line by line as they are found."""
    x = arranged(data.load(options.file), options)
    columns = _COLUMNS | _VECTORS if options.faiss else _COLUMNS
    yield f"{options.file.stem}, {' x '.join(map(str, x.shape))} {x.dtype}, fits of {options.fit_seconds:g} s"
    for title, target, cells in targets(x, options):
        yield from ("", title, "", f"| model | {' | '.join(columns)} |", f"|---{'|--:' * len(columns)}|")
        for name, cell in (cells | peers(x, target, options)).items():
            yield line(name, cell, x, columns)
        for name, cell in members(x, target, options):
            yield line(name, cell, x, columns)


def line(name: str, cell: Cell, x: Array, columns: dict[str, tuple[str, str]]) -> str:
    """A line of a table, with a dash where a figure is not known."""
    if "bytes" in cell:
        cell = cell | {"ratio": x.nbytes / cell["bytes"]}
    figures = (format(cell[key], style) if cell.get(key) is not None else "-" for key, style in columns.values())
    return f"| {name} | {' | '.join(figures)} |"


def members(x: Array, target: Target, options: argparse.Namespace) -> Iterator[tuple[str, Cell]]:
    """(name, cell) of each kind of model at one target."""
    linear = None
    for kind in options.kinds.split(","):
        cell = measure(x, kind, target, options.fit_seconds, vectors=bool(options.faiss))
        linear = linear or (cell["bytes"] if kind == "pca" else None)
        name = kind if cell["model"] == kind else f"{kind} (became {cell['model']})"
        yield name, cell | {"gain": linear and linear / cell["bytes"]}


def measure(x: Array, kind: str, target: Target, seconds: float, *, vectors: bool) -> Cell:
    """Pack to disk, unpack, and compare: every byte of the archive counts."""
    with tempfile.TemporaryDirectory() as folder:
        archive, back = Path(folder, "archive"), Path(folder, "back.npy")
        spent = time.process_time()
        model, fit_seconds = timed(partial(aecompress.fit, x, target, kind=kind, seconds=seconds))
        spent = time.process_time() - spent
        report, pack_seconds = timed(partial(aecompress.pack, x, archive, model=model))
        _, unpack_seconds = timed(partial(aecompress.unpack, archive, back))
        decoded = np.load(back)
    return {
        "bytes": report.packed_bytes,
        "model_bytes": report.model_bytes,
        "psnr": distortion(x, decoded).psnr,
        "enc_MBps": speed(x.nbytes, pack_seconds),
        "dec_MBps": speed(x.nbytes, unpack_seconds),
        "model": report.model,
        "fit_seconds": fit_seconds,
        "processor_seconds": spent,
    } | (as_vectors(x, decoded) if vectors else {})


def peers(x: Array, target: Target, options: argparse.Namespace) -> dict[str, Cell]:
    """The cell of each peer that was asked for, in its best setting at the mean error of the target."""
    found: dict[str, Cell] = {}
    for name in options.peers:
        cell = measure_quality(load(name), x, allowed_rmse(target, x) or 0.0)
        if cell is None:
            found[f"{name} (does not apply)"] = {}
        else:
            found[name if cell["bound_kept"] else f"{name} (misses)"] = cell
    return found


def targets(x: Array, options: argparse.Namespace) -> Iterator[tuple[str, Target, dict[str, Cell]]]:
    """(title, target, cells): qualities asked for, shares of the range, and what Faiss reaches, with its cell."""
    yield from ((f"At {db:g} dB", Target("psnr", db), dict[str, Cell]()) for db in options.psnr)
    spread = distortion(x, x)
    for share in options.rmse_of_range:
        goal = Target("rmse", share * (spread.high - spread.low))
        yield f"At a root mean squared error of {share:g} of the range", goal, {}
    for factory in options.faiss:
        cell = _faiss(x, factory)
        if not cell["rmse"]:
            raise InputError(f"Faiss {factory} gives this set back exactly; match a coarser one.")
        yield f"At the error of Faiss {factory}", Target("rmse", cell["rmse"]), {f"Faiss {factory}": cell}


def _faiss(x: Array, factory: str) -> Cell:
    """What a quantiser of Faiss makes of the rows, its tables counted."""
    from aecompress.peers.vectors import Faiss

    peer = Faiss(factory)
    parts, encoding = timed(partial(peer.compress, x))
    decoded, decoding = timed(partial(peer.decompress, parts, x.shape, x.dtype))
    speeds = {"enc_MBps": speed(x.nbytes, encoding), "dec_MBps": speed(x.nbytes, decoding)}
    return {"bytes": sum(map(len, parts))} | speeds | quality(x, decoded, np.inf) | as_vectors(x, decoded)


def as_vectors(x: Array, decoded: Array) -> Cell:
    """The mean cosine and recall@10."""
    return {"cosine": similarity(x, decoded).mean, "recall": recall(as_rows(x), as_rows(decoded))}


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
    options.add_argument("--peers", type=data.peer_names, default=[], help=f"some of {','.join(PEERS)}")
    options.add_argument("--kinds", default=KINDS, help=f"some of {','.join(MODEL_KINDS)}; pca first")
    options.add_argument("--fit-seconds", type=float, default=60.0, metavar="S")
    return options


if __name__ == "__main__":
    main()
