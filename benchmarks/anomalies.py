"""Odd rows beside PCA residual, isolation forest and local outlier factor: area under the ROC curve (0.5 is chance).

python -m benchmarks.anomalies classes FILE LABELS [--rows 2000] [--judged 500]
python -m benchmarks.anomalies glitches FILE... [--length 256] [--rows 4000] [--share 0.05]

``classes`` leaves out one class in turn: an archive of rows of the others says what is usual, and rows that it does not
hold are scored, as many of the class left out as of the others. ``glitches`` cuts windows of series [time],
[time, channel] or [record, time] (time is the longer axis), spoils some of them, packs them all, and scores them by
what is usual among themselves. The others see the values of the same rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import aecompress
from aecompress.errors import AecompressError, InputError
from aecompress.spec import Array
from benchmarks import data

#: Principal components that leave the residual.
COMPONENTS = 32

#: Values that a glitch is long, if it is longer than one.
LONG = 32

#: Scores by name, float64 [n] each.
Scores = dict[str, Array]


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.anomalies", description=__doc__)
    kinds = options.add_subparsers(dest="kind", required=True)
    classes = kinds.add_parser("classes", help="leave one class out in turn")
    classes.add_argument("file", type=Path, metavar="FILE", help="a .npy file")
    classes.add_argument("labels", type=Path, metavar="LABELS", help="a .npy file of a label for each row")
    classes.add_argument("--rows", type=int, default=2000, help="of the other classes in the archive")
    classes.add_argument("--judged", type=int, default=500, help="rows of the class left out, and as many of others")
    classes.add_argument("--target", default="max-error 3", help="of the archive")
    glitches = kinds.add_parser("glitches", help="spoil some windows of series")
    glitches.add_argument("files", type=Path, nargs="+", metavar="FILE", help=".npy files")
    glitches.add_argument("--length", type=int, default=256, help="of a window")
    glitches.add_argument("--rows", type=int, default=4000, help="windows, drawn from all")
    glitches.add_argument("--share", type=float, default=0.05, help="of windows that are spoilt")
    glitches.add_argument("--target", default="rel-error 1e-3", help="of the archive")
    for kind in (classes, glitches):
        kind.add_argument("--model", default="none", help="of the archive; auto takes longer")
        kind.add_argument("--seed", type=int, default=0)
    try:
        run(options.parse_args())
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(options: argparse.Namespace) -> None:
    """Print a line a class left out and their mean, or a line a file."""
    if options.kind == "glitches":
        for file in options.files:
            clean = windows(data.load(file), options.length, options.rows, options.seed)
            rows, odd = spoilt(clean, options.share, options.seed)
            _print(file.stem, areas(rows, None, odd, options), first=file == options.files[0])
        return
    rows, labels = data.load(options.file), data.load(options.labels)
    found = []
    for label in np.unique(labels):
        usual, judged, odd = left_out(rows, labels == label, options.rows, options.judged, options.seed)
        found.append(areas(usual, judged, odd, options))
        _print(f"{options.file.stem} without {label}", found[-1], first=len(found) == 1)
    _print("mean", {name: float(np.mean([line[name] for line in found])) for name in found[0]})


def left_out(rows: Array, odd: Array, usual: int, judged: int, seed: int) -> tuple[Array, Array, Array]:
    """(rows that say what is usual, others that are judged, bool: the odd ones of these)."""
    rng = np.random.default_rng(seed)
    others, own = rng.permutation(np.flatnonzero(~odd)), rng.permutation(np.flatnonzero(odd))
    many = min(judged, len(own), len(others) - 2)
    asked = np.concatenate([others[:many], own[:many]])
    return rows[np.sort(others[many : many + usual])], rows[asked], np.arange(len(asked)) >= many


def windows(series: Array, length: int, most: int, seed: int) -> Array:
    """Up to ``most`` of the windows [n, length] or [n, length, channels] of series, in order."""
    if series.ndim > 2 or max(series.shape) < length:
        raise InputError(f"Windows of {length} are cut from series of one or two axes, not from {series.shape}.")
    long = series[None] if series.ndim == 1 else series if series.shape[1] > series.shape[0] else None
    pieces = [series] if long is None else list(long)
    cut = [piece[: len(piece) // length * length].reshape(-1, length, *piece.shape[1:]) for piece in pieces]
    found = np.concatenate(cut)
    return found[np.sort(np.random.default_rng(seed).permutation(len(found))[:most])]


def spoilt(rows: Array, share: float, seed: int) -> tuple[Array, Array]:
    """(rows [n, length, ...] of which some have a glitch, bool [n]: which).

    One channel of each gets, by equal chance: a spike of two deviations of its own, a step of one to the end of the
    window, noise of half one, or the same value for a while.
    """
    rng = np.random.default_rng(seed)
    odd = rng.random(len(rows)) < share
    found = rows.astype(np.float64).reshape(*rows.shape[:2], -1)
    for i in np.flatnonzero(odd):
        channel = found[i, :, rng.integers(found.shape[2])]
        deviation, sign = channel.std() or 1.0, rng.choice([-1, 1])
        start, kind = rng.integers(8, len(channel) - LONG - 8), rng.integers(4)
        if kind == 0:
            channel[start] += sign * 2 * deviation
        elif kind == 1:
            channel[start:] += sign * deviation
        elif kind == 2:
            channel[start : start + LONG] += deviation / 2 * rng.standard_normal(LONG)
        else:
            channel[start : start + LONG] = channel[start]
    if rows.dtype.kind in "iu":
        ends = np.iinfo(rows.dtype)
        found = np.clip(np.rint(found), ends.min, ends.max)
    return found.reshape(rows.shape).astype(rows.dtype), odd


def areas(usual: Array, judged: Array | None, odd: Array, options: argparse.Namespace) -> dict[str, float]:
    """Area under the ROC curve of each way to score the rows, and ``seconds`` that ours took after packing."""
    from sklearn.metrics import roc_auc_score

    scores, seconds = ours(usual, judged, options)
    flat = usual.reshape(len(usual), -1).astype(np.float64)
    scores |= others(flat, None if judged is None else judged.reshape(len(judged), -1).astype(np.float64), options.seed)
    return {name: float(roc_auc_score(odd, found)) for name, found in scores.items()} | {"seconds": seconds}


def ours(usual: Array, judged: Array | None, options: argparse.Namespace) -> tuple[Scores, float]:
    """The default score and the two that it is made of, and the seconds they took."""
    with tempfile.TemporaryDirectory() as folder:
        archive, dest = Path(folder, "rows.aec"), Path(folder, "scores.parquet")
        aecompress.pack(usual, archive, target=data.parse_target(options.target), model=options.model)
        started = time.perf_counter()
        aecompress.anomalies(archive, 1, of=judged, dest=dest, seed=options.seed)
        took = time.perf_counter() - started
        table = pq.read_table(dest)
    return {f"ours: {name}": np.nan_to_num(table[name].to_numpy()) for name in ("score", "code", "distance")}, took


def others(usual: Array, judged: Array | None, seed: int) -> Scores:
    """PCA residual, and the two of scikit-learn with its settings; rows judge each other if no others are given."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor

    asked = usual if judged is None else judged
    pca = PCA(min(COMPONENTS, usual.shape[1] // 2), random_state=seed).fit(usual)
    left = asked - pca.inverse_transform(pca.transform(asked))
    factor = LocalOutlierFactor(novelty=judged is not None).fit(usual)
    return {
        "PCA residual": np.square(left).sum(1),
        "IsolationForest": -IsolationForest(random_state=seed).fit(usual).score_samples(asked),
        "LOF": -(factor.negative_outlier_factor_ if judged is None else factor.score_samples(asked)),
    }


def _print(name: str, found: dict[str, float], first: bool = False) -> None:
    names = [key for key in found if key != "seconds"]
    if first:
        print(f"| rows | {' | '.join(names)} | seconds |\n|---|{'---|' * len(found)}")
    cells = [f"{found[key]:.3f}" for key in names]
    print(f"| {name} | {' | '.join(cells)} | {found['seconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
