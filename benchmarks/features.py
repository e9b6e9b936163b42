"""Features beside PCA and UMAP: the variance they keep, and how well their neighbours tell labels.

python -m benchmarks.features FILE --labels LABELS [--dims 8 32] [--rows N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import aecompress
from aecompress.errors import AecompressError
from aecompress.spec import Array
from benchmarks import data

#: Features, and the share of the variance that their reconstruction keeps, where there is one.
Made = tuple[Array, float | None]

#: Neighbours that vote, and the share of rows that are asked rather than known.
NEIGHBOURS, ASKED = 10, 0.2


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    options.add_argument("file", type=Path, metavar="FILE", help="a .npy file")
    options.add_argument("--labels", type=Path, required=True, help="a .npy file of a label for each row")
    options.add_argument("--dims", type=int, nargs="+", default=[8, 32])
    options.add_argument("--rows", type=int, help="the first rows only")
    options.add_argument("--target", default="max-error 3", help="of the archive that features are made from")
    options.add_argument("--seconds", type=float, default=60.0, help="for the training of vanilla")
    try:
        run(options.parse_args())
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(options: argparse.Namespace) -> None:
    """Print a table: a line for each way and number of features."""
    rows, labels = data.load(options.file)[: options.rows], data.load(options.labels)[: options.rows]
    flat = rows.reshape(len(rows), -1)
    print("| features | K | variance kept | kNN accuracy | seconds |\n|---|---|---|---|---|", flush=True)
    _print("the values themselves", flat.shape[1], (flat, 1.0), labels, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "rows.aec")
        aecompress.pack(rows, archive, target=data.parse_target(options.target), model="none")
        for dim in options.dims:
            for name, make in ways(archive, flat, dim, options.seconds):
                start = time.perf_counter()
                made = make()
                _print(name, dim, made, labels, time.perf_counter() - start)


def ways(archive: Path, flat: Array, dim: int, seconds: float) -> Iterator[tuple[str, Callable[[], Made]]]:
    """Name and function of each way to make ``dim`` features of the rows."""
    yield "embed, pca", lambda: ours(archive, dim, "pca", seconds, False)
    yield "embed, pca, whitened", lambda: ours(archive, dim, "pca", seconds, True)
    yield "embed, vanilla", lambda: ours(archive, dim, "vanilla", seconds, False)
    yield "embed, vanilla, whitened", lambda: ours(archive, dim, "vanilla", seconds, True)
    yield "scikit-learn PCA", lambda: pca(flat, dim)
    if find_spec("umap"):
        yield "UMAP", lambda: umap(flat, dim)


def ours(archive: Path, dim: int, model: str, seconds: float, whiten: bool) -> Made:
    """From an archive alone."""
    with tempfile.TemporaryDirectory() as folder:
        dest = Path(folder, "features.npy")
        found = aecompress.embed(archive, dest, dim=dim, model=model, seconds=seconds, whiten=whiten)
        return np.load(dest), found.explained


def pca(flat: Array, dim: int) -> Made:
    from sklearn.decomposition import PCA

    fitted = PCA(dim, random_state=0).fit(flat)
    return fitted.transform(flat), float(fitted.explained_variance_ratio_.sum())


def umap(flat: Array, dim: int) -> Made:
    """Keeps neighbourhoods, not values: there is no reconstruction to speak of."""
    from umap import UMAP

    return UMAP(n_components=dim, random_state=0, n_jobs=1).fit_transform(flat), None


def accuracy(features: Array, labels: Array) -> float:
    """Share of the rows asked whose nearest known rows vote for their label."""
    from sklearn.neighbors import KNeighborsClassifier

    asked = np.random.default_rng(0).random(len(features)) < ASKED
    known = KNeighborsClassifier(NEIGHBOURS, algorithm="brute").fit(features[~asked], labels[~asked])
    return float(known.score(features[asked], labels[asked]))


def _print(name: str, dim: int, made: Made, labels: Array, seconds: float) -> None:
    features, kept = made
    share = "-" if kept is None else f"{100 * kept:.1f} %"
    print(f"| {name} | {dim} | {share} | {100 * accuracy(features, labels):.1f} % | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
