"""Principal component analysis in a stream: the linear transform that keeps the most variance in K latents.

Up to a few thousand features the covariance is gathered in one pass. Beyond, a subspace of K directions and a few
spare ones is refined pass by pass (randomised subspace iteration: Halko, Martinsson and Tropp 2011, algorithm 4.4),
so memory is D x (K + spare) whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from aecompress.autoencoder.freezing import FloatLayer
from aecompress.autoencoder.network import Autoencoder, Batches
from aecompress.autoencoder.progress import Progress, Throttle
from aecompress.normalize import Float64s, Normalizer, measure
from aecompress.spec import Array

#: Up to this many features the covariance matrix is decomposed whole; up to the next, it is only kept whole.
_DECOMPOSE, _KEEP = 1024, 4096

#: Spare directions of the subspace, and how often it is refined: in memory, and by passes over the source.
_SPARE, _ROUNDS, _PASSES = 16, 24, 4

#: Variances below this fraction of the greatest are rounding noise.
_NEGLIGIBLE = 1e-14

Multiply = Callable[[Float64s], Float64s]


def fit_pca(
    batches: Batches,
    row_size: int,
    latent_dim: int,
    *,
    weights: Float64s | None = None,
    seed: int,
    progress: Progress,
) -> Autoencoder:
    """Fit ``pca`` to the rows of ``batches``.

    Args:
        batches: gives a fresh pass over finite float64 arrays [n, row_size] each time it is called.
        row_size: values in a row, D >= 1.
        latent_dim: latents wanted; fewer come back if the rows span fewer dimensions, but always at least one.
        weights: float64 [row_size] of mean 1, what the squared error of each feature counts, to the nearest power of
            four; None: all alike.
        seed: of the random start of the subspace, beyond 1024 features.
        progress: called as ``progress(phase, done, info)``, a few times a second at most.
    """
    report = Throttle(progress)
    report("moments", 0.0)
    moments = measure(batches(), row_size)
    report("moments", 1.0)
    normalizer = Normalizer.standard(moments, weights)
    rows = max(moments.count, 1)
    expected = rows if row_size <= _KEEP else rows * _PASSES
    done = 0

    def passes() -> Iterator[Array]:
        nonlocal done
        for batch in batches():
            report("components", done / expected)
            done += len(batch)
            yield normalizer.forward(batch)

    basis, variance = _components(passes, row_size, min(latent_dim, rows), rows, np.random.default_rng(seed))
    report("components", 1.0)
    return linear_autoencoder(normalizer, basis, variance)


def linear_autoencoder(normalizer: Normalizer, basis: Float64s, variance: Float64s) -> Autoencoder:
    """``pca`` of the orthonormal columns of ``basis`` [D, K], with the latents' variances [K] in normalised units."""
    none = np.zeros(0)
    analysis = FloatLayer(np.ascontiguousarray(basis.T), np.zeros(basis.shape[1]), "linear", none)
    synthesis = FloatLayer(basis, np.zeros(basis.shape[0]), "linear", none)
    deviation = np.sqrt(variance) * normalizer.typical_scale
    return Autoencoder("pca", normalizer, ((analysis,),), ((synthesis,),), deviation)


def _components(
    passes: Callable[[], Iterator[Array]], row_size: int, count: int, rows: int, rng: np.random.Generator
) -> tuple[Float64s, Float64s]:
    """Leading directions [D, K] and variances [K] of centred rows; K is ``count`` or their rank if that is less."""

    def streamed(basis: Float64s) -> Float64s:
        total = np.zeros_like(basis)
        for batch in passes():
            total += batch.T @ (batch @ basis)
        return total / rows

    if row_size <= _KEEP:
        covariance = _covariance(passes(), row_size, rows)
        if row_size <= _DECOMPOSE:
            variance, basis = np.linalg.eigh(covariance)
        else:
            variance, basis = _iterate(covariance.__matmul__, row_size, count, _ROUNDS, rng)
    else:
        variance, basis = _iterate(streamed, row_size, count, _PASSES, rng)
    order = np.argsort(-variance, kind="stable")[:count]
    rank = max(1, int((variance[order] > _NEGLIGIBLE * variance.max()).sum()))
    kept = order[:rank]
    return _with_signs(basis[:, kept]), np.maximum(variance[kept], 0)


def _covariance(batches: Iterator[Array], row_size: int, rows: int) -> Float64s:
    total = np.zeros((row_size, row_size))
    for batch in batches:
        total += batch.T @ batch
    return total / rows


def _iterate(
    multiply: Multiply, size: int, count: int, rounds: int, rng: np.random.Generator
) -> tuple[Float64s, Float64s]:
    """Leading eigenvalues, ascending, and eigenvectors [size, count + spare] of a symmetric matrix."""
    columns = min(count + _SPARE, size)
    basis = np.linalg.qr(rng.standard_normal((size, columns)))[0]
    for _ in range(rounds - 1):
        basis = np.linalg.qr(multiply(basis))[0]
    projected = basis.T @ multiply(basis)
    variance, turn = np.linalg.eigh((projected + projected.T) / 2)
    return variance, basis @ turn


def _with_signs(basis: Float64s) -> Float64s:
    """The same directions, each with its entry of greatest magnitude positive."""
    largest = np.abs(basis).argmax(axis=0)
    signs = np.where(basis[largest, np.arange(basis.shape[1])] < 0, -1.0, 1.0)
    return np.ascontiguousarray(basis * signs)
