"""Embed: rows in, features out.

rows or latents ─► features [n, K] ─► (whitened) ─► .npy or .parquet
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.abreast import WORKERS
from aecompress.applications.features import Features, FittedFeatures, features_of, spread_features
from aecompress.codec.model import Model
from aecompress.config import Progress, silent
from aecompress.devices import Device, check_device
from aecompress.inputs import opened_archive, replayable
from aecompress.sinks import Sink, open_sink
from aecompress.sinks.table import GROUP_ROWS, PARQUET, TableSink
from aecompress.sources.base import Source
from aecompress.spec import Array, ArraySpec

# directions of less variance than this share of the greatest are rounding noise: whitened, they would be all there is
_NEGLIGIBLE = 1e-10


@dataclass(frozen=True)
class Embedding:
    """What an embedding was made of.

    Attributes:
        rows, dim: features are float32 [rows, dim].
        model: kind of the autoencoder.
        stored: True if the latents were in the archive already and nothing was fitted.
        whitened: True if features have mean 0, variance 1 and no correlation.
        explained: share of the rows' variance that the features' reconstruction keeps; None where rows were not
            decoded, or do not vary.
    """

    rows: int
    dim: int
    model: str
    stored: bool
    whitened: bool
    explained: float | None

    def to_json(self) -> dict[str, Any]:
        """A plain object."""
        return asdict(self)


def embed(
    source: Any,
    dest: str | Path,
    *,
    dim: int | None = None,
    whiten: bool = False,
    model: str | Path | Model = "auto",
    force: bool = False,
    seconds: float = 60.0,
    seed: int = 0,
    device: Device = "auto",
    workers: int = WORKERS,
    progress: Progress = silent,
) -> Embedding:
    """Write features of rows: latents of an autoencoder, float32 [rows, dim], in the units of the data.

    Args:
        source: the folder of an archive, an opened one, or any source as for ``pack``.
        dest: a .npy file, or a .parquet file with the columns ``row``, those that came with the rows, and ``features``.
        dim: features of a row; by default all that an archive or a given model has, and 32 of a fit.
        whiten: turn and scale them to mean 0, variance 1 and no correlation.
        model: ``auto`` takes the latents of the archive's own autoencoder and fits ``pca`` where it has none; ``pca``
            and ``vanilla`` fit that; otherwise the path of a model file with an autoencoder, or a Model.
        force: replace a file that is there.
        seconds: time that training a network may take.
        seed: of everything random.
        device: that a network is trained on; see ``fit``.
        workers: blocks of an archive decoded at once.
        progress: called as progress(phase, share done, facts).

    Raises:
        InputError: the source cannot be read, or has too few rows to fit an autoencoder, or there is no such device.
        ModelError: the model is of other rows or has no autoencoder.
        ArchiveError: the archive cannot be read.
        DestinationError: ``dest`` exists or cannot be written.
    """
    check_device(device)
    with replayable(source, workers) as rows:
        archive = opened_archive(source)
        features = features_of(
            rows, archive, model=model, dim=dim, seconds=seconds, seed=seed, device=device, progress=progress
        )
        turn = Whitening.of(features, rows.spec.shape[0]) if whiten else None
        quality = _Quality(features) if isinstance(features, FittedFeatures) else None
        write, sink = _open(Path(dest), rows, features.dim, force)
        done = 0
        try:
            for batch in features.batches() if quality is None else quality.batches():
                write((batch if turn is None else turn.apply(batch)).astype(np.float32))
                done += len(batch)
                progress("embed", done / rows.spec.shape[0], {"bytes": done * rows.spec.row_bytes})
            sink.commit()
        finally:
            sink.abort()
    explained = None if quality is None else quality.explained
    return Embedding(done, features.dim, features.kind, quality is None, whiten, explained)


def _open(dest: Path, rows: Source, dim: int, force: bool) -> tuple[Callable[[Array], None], Sink | TableSink]:
    """What takes float32 batches [n, dim], and the sink behind it."""
    if dest.suffix.lower() not in PARQUET:
        sink = open_sink(dest, ArraySpec(np.dtype(np.float32), (dim,), rows.spec.rows), {}, force=force)
        return sink.write, sink
    columns = rows.columns
    beside = None if columns is None else (columns.schema, columns.batches(0, GROUP_ROWS))
    table = TableSink(dest, {"features": (np.float32, dim)}, beside, force=force)
    return (lambda batch: table.write({"features": batch})), table


@dataclass(frozen=True)
class Whitening:
    """Turns features to their principal axes and scales these to variance 1.

    Attributes:
        mean: float64 [K].
        turn: float64 [K, K].
    """

    mean: Array
    turn: Array

    @classmethod
    def of(cls, features: Features, rows: int) -> Whitening:
        """Measured on features of stretches spread over the rows."""
        some = spread_features(features, rows)
        mean = some.mean(0)
        variance, axes = np.linalg.eigh(np.cov(some - mean, rowvar=False, bias=True).reshape(features.dim, -1))
        order = np.argsort(-variance)
        variance, axes = variance[order], axes[:, order]
        kept = variance > _NEGLIGIBLE * max(float(variance[0]), np.finfo(np.float64).tiny)
        return cls(mean, axes * np.where(kept, 1 / np.sqrt(np.where(kept, variance, 1.0)), 0.0))

    def apply(self, features: Array) -> Array:
        """Float64 [n, K] to float64 [n, K]."""
        return (features - self.mean) @ self.turn


class _Quality:
    """Features of a fitted autoencoder, and how much of the rows they keep, in normalised units."""

    def __init__(self, features: FittedFeatures) -> None:
        self._features = features
        self._lost = self._whole = 0.0

    def batches(self) -> Iterator[Array]:
        encoder = self._features.encoder
        for rows in self._features.rows():
            latents = encoder.analysis(rows)
            normalised = encoder.normalizer.forward(rows)
            self._lost += float(np.square(normalised - encoder.normalizer.forward(encoder.synthesis(latents))).sum())
            self._whole += float(np.square(normalised).sum())
            yield latents

    @property
    def explained(self) -> float | None:
        """Share of the variance about the centre that is kept; None if there is none."""
        return 1 - self._lost / self._whole if self._whole else None
