"""Search: the rows of an archive nearest to a row, or to arrays from elsewhere.

latents in the payload ─► synthesis ─┐
a file of features ──────────────────┴─► candidates ─► their blocks decoded ─► exact distances ─► the nearest
an archive with neither ─► every block decoded once ───────────────────────────► exact distances ─► the nearest
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from aecompress.abreast import WORKERS
from aecompress.applications.features import StoredFeatures, model_features, stored_features
from aecompress.archive import Archive
from aecompress.codec import specials
from aecompress.codec.model import Model
from aecompress.config import Progress, silent
from aecompress.errors import InputError
from aecompress.packer import load_model
from aecompress.sinks.table import PARQUET
from aecompress.sources import open_source
from aecompress.sources.base import Source
from aecompress.spec import Array
from aecompress.trainer import block_rows

Metric = Literal["l2", "cosine"]

#: Candidates for each of the k that are wanted, and at least.
_PER_WANTED, _LEAST = 10, 100


@dataclass(frozen=True)
class Neighbours:
    """What was found.

    Attributes:
        rows: int64 [queries, k] row numbers, the nearest first.
        distances: float64 [queries, k]: Euclidean, or 1 - cosine; exact for the rows as the archive gives them back.
        by: how candidates were found: ``latents``, ``features``, or ``decoding`` all rows, which misses none.
        decoded_rows: rows of the archive that were decoded, of ``total``.
        total: rows of the archive.
    """

    rows: Array
    distances: Array
    by: str
    decoded_rows: int
    total: int

    def to_json(self) -> dict[str, Any]:
        """A plain object."""
        return {
            "by": self.by,
            "decoded_rows": self.decoded_rows,
            "total": self.total,
            "rows": self.rows.tolist(),
            "distances": self.distances.tolist(),
        }


def search(
    archive: str | Path | Archive,
    *,
    row: int | Sequence[int] | None = None,
    query: Any = None,
    k: int = 10,
    metric: Metric = "l2",
    candidates: int | None = None,
    features: str | Path | None = None,
    model: str | Path | Model | None = None,
    workers: int = WORKERS,
    progress: Progress = silent,
) -> Neighbours:
    """The ``k`` nearest rows of an archive, found by latents where there are some and ranked by exact distance.

    Args:
        archive: its folder, or an opened one.
        row: a row number, or several, to find others like it: the row itself is left out.
        query: instead, arrays from elsewhere: a source of rows [n, *row_shape], or one array [*row_shape].
        k: rows wanted.
        metric: ``l2``, or ``cosine`` (1 - cosine of the angle). Special values count as the mean, or as 0.
        candidates: rows that are decoded to be ranked; by default ten for each one wanted, and at least 100.
        features: a file that ``embed`` wrote for this archive: candidates are found in it.
        model: with ``features`` and ``query``, the model that the features were made with.
        workers: blocks decoded at once.
        progress: called as progress(phase, share done, facts).

    Raises:
        InputError: not one of ``row`` and ``query`` is given, or they do not fit the archive; or the features do not.
        ModelError: the model has no autoencoder, or is of other rows.
        ArchiveError: the archive cannot be read.
    """
    opened = archive if isinstance(archive, Archive) else Archive(archive)
    if (row is None) == (query is None):
        raise InputError("Give a row to search for, or a query: one of the two.")
    if metric not in get_args(Metric):
        raise InputError(f"There is no metric {metric!r}; use one of {', '.join(get_args(Metric))}.")
    if k < 1:
        raise InputError(f"{k} rows were asked for; ask for 1 or more.")
    if opened.spec.row_size == 0 or len(opened) == 0:
        raise InputError(f"The archive has {opened.spec.describe()}: there is nothing to search.")
    own = None if row is None else _row_numbers(row, len(opened))
    wanted = opened[own] if own is not None else _queries(query, opened)
    others = len(opened) - (own is not None)
    hunt = _Hunt(opened, wanted, own, metric, min(k, others))
    most = min(max(candidates or max(_PER_WANTED * k, _LEAST), k), others)
    if features is not None:
        return hunt.ranked(hunt.by_features(features, model, most, progress), "features", workers, progress)
    stored = stored_features(opened)
    if stored is not None:
        return hunt.ranked(hunt.by_latents(stored, most, progress), "latents", workers, progress)
    return hunt.exhaustive(workers, progress)


class _Hunt:
    """One search: rows [q, *row_shape] that others are compared with, and how."""

    def __init__(self, archive: Archive, wanted: Array, own: Array | None, metric: Metric, k: int) -> None:
        self.archive, self.wanted, self.own = archive, wanted, own
        self.metric: Metric = metric
        self.k = k
        self.distance = _Distance.to(wanted, metric, archive.model.fills)

    def exhaustive(self, workers: int, progress: Progress) -> Neighbours:
        """All rows decoded, once."""
        best, rows = self._best(self.k), len(self.archive)
        for block, values in self.archive.decoded(0, rows, workers=workers):
            best.add(np.arange(block.start, block.stop), self.distance(values))
            progress("search", block.stop / rows, {"bytes": block.stop * self.archive.spec.row_bytes})
        return Neighbours(*best.result(), "decoding", rows, rows)

    def by_latents(self, stored: StoredFeatures, most: int, progress: Progress) -> Array:
        """Candidates [n]: for each query the ``most`` rows whose synthesis is nearest."""
        network = stored.network
        best, rows = self._best(most), len(self.archive)
        for start, latents in stored.latents(0, rows):
            numbers = np.arange(start, start + len(latents))
            best.add(numbers, self.distance.flat(network.synthesis(latents) * network.unit))
            progress("search", (start + len(latents)) / rows, {})
        return np.unique(best.result()[0])

    def by_features(self, path: str | Path, model: str | Path | Model | None, most: int, progress: Progress) -> Array:
        """Candidates [n]: for each query the ``most`` rows whose features are nearest."""
        source = _open_features(path, len(self.archive))
        distance = _Distance.to(self._wanted_features(source, model), self.metric, np.zeros(0))
        best, start = self._best(most), 0
        for batch in source.batches(block_rows(source.spec)):
            best.add(np.arange(start, start + len(batch)), distance(batch))
            start += len(batch)
            progress("search", start / len(self.archive), {})
        return np.unique(best.result()[0])

    def ranked(self, candidates: Array, by: str, workers: int, progress: Progress) -> Neighbours:
        """The nearest of candidates [n] by exact distance; only the blocks that hold one are decoded."""
        best, decoded, done = self._best(self.k), 0, 0
        for numbers in self._stretches(candidates):
            for block, values in self.archive.decoded(int(numbers[0]), int(numbers[-1]) + 1, workers=workers):
                inside = numbers[(numbers >= block.start) & (numbers < block.stop)]
                best.add(inside, self.distance(values[inside - block.start]))
                decoded, done = decoded + len(values), done + len(inside)
                progress("rank", done / len(candidates), {})
        return Neighbours(*best.result(), by, decoded, len(self.archive))

    def _stretches(self, candidates: Array) -> list[Array]:
        """Candidates [n] in pieces, without a block between two of one piece that holds none of them."""
        blocks = candidates // self.archive.manifest.block_rows
        return np.split(candidates, np.flatnonzero(np.diff(blocks) > 1) + 1)

    def _best(self, k: int) -> _Best:
        return _Best(len(self.wanted), k, self.own)

    def _wanted_features(self, source: Source, model: str | Path | Model | None) -> Array:
        """Features [q, K] of what is searched for."""
        if self.own is not None:
            return np.concatenate([next(source.batches(1, int(row), int(row) + 1)) for row in self.own])
        if model is None:
            raise InputError(
                "A query from elsewhere has no features yet: name the model that these were made with (--model), or "
                "search without features."
            )
        made = model_features(open_source(self.wanted), model if isinstance(model, Model) else load_model(model))
        if made.dim != source.spec.row_size:
            raise InputError(f"The file holds {source.spec.row_size} features a row, the model makes {made.dim}.")
        return np.concatenate(list(made.batches()))


@dataclass(frozen=True)
class _Distance:
    """Distances of rows to some: call it with rows [n, *row_shape] for float64 [q, n].

    Attributes:
        wanted: float64 [q, D], centred or of length 1.
        centre: float64 [D], what special values count as.
        cosine: 1 - cosine instead of Euclid.
        fills: values that stand for none.
    """

    wanted: Array
    centre: Array
    cosine: bool
    fills: Array

    @classmethod
    def to(cls, wanted: Array, metric: Metric, fills: Array) -> _Distance:
        cosine = metric == "cosine"
        flat = wanted.reshape(len(wanted), -1)
        known = specials.counted(flat, fills)
        # centred, for products of great numbers would drown their differences
        total = np.where(known, flat, 0).sum(0, dtype=np.float64)
        blank = cls(np.zeros((0, 0)), 0.0 * total if cosine else total / np.maximum(known.sum(0), 1), cosine, fills)
        return replace(blank, wanted=blank._ready(flat))

    def __call__(self, rows: Array) -> Array:
        return self.flat(rows.reshape(len(rows), -1))

    def flat(self, rows: Array) -> Array:
        """The same for rows [n, D]."""
        ready = self._ready(rows)
        product = self.wanted @ ready.T
        if self.cosine:
            return 1.0 - product
        square = np.square(self.wanted).sum(1)[:, None] + np.square(ready).sum(1) - 2.0 * product
        return np.sqrt(np.maximum(square, 0.0))

    def _ready(self, rows: Array) -> Array:
        """Float64 [n, D], centred, or of length 1 where that can be."""
        values = np.where(specials.counted(rows, self.fills), rows.astype(np.float64), self.centre) - self.centre
        if not self.cosine:
            return values
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return values / np.where(length > 0, length, 1.0)


class _Best:
    """The ``k`` nearest rows of each query so far."""

    def __init__(self, queries: int, k: int, own: Array | None) -> None:
        self._k, self._own = k, own
        self._rows = np.zeros((queries, 0), np.int64)
        self._distances = np.zeros((queries, 0))

    def add(self, rows: Array, distances: Array) -> None:
        """Offer rows [n], at ``distances`` [q, n]; a query's own row does not count."""
        if self._own is not None:
            distances = np.where(rows == self._own[:, None], np.inf, distances)
        numbers = np.concatenate([self._rows, np.broadcast_to(rows, distances.shape)], axis=1)
        distances = np.concatenate([self._distances, distances], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, : self._k]
        self._rows, self._distances = (np.take_along_axis(part, order, 1) for part in (numbers, distances))

    def result(self) -> tuple[Array, Array]:
        """(rows int64 [q, k], distances float64 [q, k]), the nearest first."""
        return self._rows, self._distances


def _row_numbers(row: int | Sequence[int], rows: int) -> Array:
    """int64 [q]; negative ones count from the end."""
    found = np.atleast_1d(np.asarray(row, np.int64))
    wrong = found[(found < -rows) | (found >= rows)]
    if len(wrong):
        raise InputError(f"There is no row {wrong[0]}; the archive has rows 0 to {rows - 1}.")
    return found % rows


def _queries(query: Any, archive: Archive) -> Array:
    """[q, *row_shape] in the archive's dtype if it is that, and as they came otherwise."""
    source = open_source(query)
    spec, shape = source.spec, archive.spec.row_shape
    if spec.row_shape != shape and (spec.rows, *spec.row_shape) != shape:
        raise InputError(f"The query is {spec.describe()}; the archive has rows of shape {shape}.")
    found = np.concatenate(list(source.batches(block_rows(spec))))
    return found if spec.row_shape == shape else found[None]


def _open_features(path: str | Path, rows: int) -> Source:
    """Features [rows, K] that ``embed`` wrote."""
    source = open_source(f"{path}::features" if Path(path).suffix.lower() in PARQUET else path)
    if source.spec.rows != rows or len(source.spec.row_shape) != 1:
        raise InputError(f"{path} holds {source.spec.describe()}: these are not features of the archive's {rows} rows.")
    return source
