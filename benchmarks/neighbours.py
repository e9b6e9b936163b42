"""Search beside brute force over the source: recall, and for one query seconds, bytes read and rows decoded.

python -m benchmarks.neighbours FILE... [--dims 32 64] [--queries 100] [-k 10]

Rows are packed within a bound, and all decoded, or chosen by a file of features that ``embed`` wrote; and packed as
latents alone. Recall is the share of the true k nearest rows of the source, by Euclid, among the k that are found in
what the archive gives back. Bytes are those that the process reads (Linux).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import aecompress
from aecompress.applications.neighbours import Neighbours
from aecompress.errors import AecompressError
from aecompress.spec import Array
from benchmarks import data

#: Queries that are made one by one for the time and the bytes of each.
TIMED = 5

#: Searches for rows of these numbers.
Way = Callable[[list[int]], Neighbours]


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    options.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a .npy file")
    options.add_argument("--dims", type=int, nargs="+", default=[32, 64], help="of the features")
    options.add_argument("--queries", type=int, default=100, help="rows searched for, spread over all")
    options.add_argument("-k", type=int, default=10)
    options.add_argument("--target", help="of the archive within a bound; by default that of pack")
    options.add_argument("--psnr", type=float, default=45.0, help="of the archive of latents")
    options.add_argument("--rows", type=int, help="the first rows only")
    try:
        run(options.parse_args())
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(options: argparse.Namespace) -> None:
    """Print a table: a line for each file and way."""
    print("| rows | candidates by | recall | seconds | bytes read | rows decoded |\n|---|---|---|---|---|---|")
    for file in options.files:
        rows = data.load(file)[: options.rows]
        queries = np.linspace(0, len(rows) - 1, min(options.queries, len(rows))).astype(int).tolist()
        started = time.perf_counter()
        wanted = nearest(rows, queries, options.k)
        took = (time.perf_counter() - started) / len(queries)
        print(f"| {file.stem} | brute force over the source | 1.000 | {took:.2g} | {rows.nbytes:,} | - |", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for name, search in ways(rows, Path(folder), options):
                share = recall(search(queries).rows, wanted)
                costs = [cost(search, query) for query in queries[:: max(1, len(queries) // TIMED)][:TIMED]]
                seconds, read, decoded = np.median(costs, axis=0)
                cells = f"{share:.3f} | {seconds:.2g} | {read:,.0f} | {100 * decoded / len(rows):.0f} %"
                print(f"| {file.stem} | {name} | {cells} |", flush=True)


def ways(rows: Array, folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, Way]]:
    """Name and function of each way to search."""
    bounded, latents = folder / "bounded.aec", folder / "latents.aec"
    target = data.parse_target(options.target) if options.target else aecompress.Target.default(rows.dtype)
    aecompress.pack(rows, bounded, target=target, model="none")
    yield f"decoding all, {target.describe()}", _way(bounded, options.k)
    for dim in options.dims:
        features = folder / f"{dim}.parquet"
        aecompress.embed(bounded, features, dim=dim)
        yield f"{dim} features, {target.describe()}", _way(bounded, options.k, features)
    target = aecompress.Target("psnr", options.psnr)
    aecompress.pack(rows, latents, target=target, model="pca")
    yield f"latents, {target.describe()}", _way(latents, options.k)


def _way(archive: Path, k: int, features: Path | None = None) -> Way:
    return lambda found: aecompress.search(archive, row=found, k=k, features=features)


def nearest(rows: Array, queries: list[int], k: int) -> Array:
    """int64 [queries, k]: the nearest others of rows, each by itself and in exact arithmetic."""
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    found = np.empty((len(queries), k), np.int64)
    for i, query in enumerate(queries):
        distances = np.square(flat - flat[query]).sum(1)
        distances[query] = np.inf
        found[i] = np.argsort(distances, kind="stable")[:k]
    return found


def recall(found: Array, wanted: Array) -> float:
    """Share of wanted [q, k] that is among found [q, k], line by line."""
    return float((wanted[:, :, None] == found[:, None, :]).any(2).mean())


def cost(search: Way, query: int) -> tuple[float, int, int]:
    """(seconds, bytes read, rows decoded) of one query."""
    before, started = bytes_read(), time.perf_counter()
    found = search([query])
    return time.perf_counter() - started, bytes_read() - before, found.decoded_rows


def bytes_read() -> int:
    """Of this process so far; 0 where the system does not tell."""
    path = Path("/proc/self/io")
    return int(path.read_text().split()[1]) if path.exists() else 0


if __name__ == "__main__":
    main()
