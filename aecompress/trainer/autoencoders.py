"""Autoencoders for a source: fitted, cut to the latents that pay, quantised for a target."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from aecompress.codec import specials
from aecompress.codec.latents import fit_prior
from aecompress.codec.model import Model, Reference
from aecompress.config import Progress
from aecompress.devices import Device
from aecompress.errors import InputError
from aecompress.recipe import Recipe
from aecompress.sources.base import Source
from aecompress.spec import Array
from aecompress.trainer.sampling import block_rows

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder
    from aecompress.autoencoder.checkpoint import Checkpoint

#: Most latents a fit of long rows considers, and rows that steps and numbers of latents are chosen on.
MOST_LATENTS = 256
TRIAL_ROWS = 2048

#: Share of the squared error allowed that latents left out may take: the rest is for rounding latents and weights.
_MOST_CUT = 0.9

#: Least and greatest noise that rounding the weights may add, relative to that of the latents.
_WEIGHT_NOISE = (0.0015, 0.25)

#: Fits of a prior whose prices choose the latents.
_TURNS = 3

#: Bytes that a weight takes in an archive, about.
WEIGHT_BYTES = 0.5


@dataclass(frozen=True)
class Choice:
    """How to quantise: the first ``latents`` of the latents, each with step ``step``, and what that would cost."""

    latents: int
    step: float
    bytes: float


def suits(rows: int, size: int) -> bool:
    """True if there are rows enough, of this size, for an autoencoder to pay for itself."""
    return rows >= 64 and 2 <= size <= 1 << 16


def row_batches(source: Source, fills: Array, size: int) -> Iterator[Array]:
    """Finite float64 rows [n, size] of the whole source; special values are replaced by their feature's mean."""
    height = max(1, min(block_rows(source.spec), 4096))
    for block in source.batches(height):
        flat = block.reshape(-1, size)
        with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is converted
            rows = flat.astype(np.float64)
        keep = specials.ordinary(flat, fills)
        if not keep.all():
            mean = np.where(keep, rows, 0.0).sum(0) / np.maximum(keep.sum(0), 1)
            rows = np.where(keep, rows, mean)
        yield rows


def fit_linear(
    source: Source, fills: Array, latents: int, seed: int, progress: Progress, *, size: int | None = None
) -> Autoencoder:
    """PCA with up to ``latents`` latents: of whole rows, or of each ``size`` values, the last axis of rows."""
    from aecompress.autoencoder import fit_pca

    size = size or source.spec.row_size
    return fit_pca(lambda: row_batches(source, fills, size), size, latents, seed=seed, progress=progress)


def fit_nonlinear(
    source: Source,
    fills: Array,
    kind: str,
    choice: Choice,
    *,
    recipe: Recipe,
    seconds: float,
    seed: int,
    device: Device,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Autoencoder:
    """A member of the family that is trained, for the latents and the step that were chosen for PCA."""
    from aecompress.autoencoder import fit_dense, fit_textbook

    size = source.spec.row_size

    def batches() -> Iterator[Array]:
        return row_batches(source, fills, size)

    if kind == "textbook":
        return fit_textbook(
            batches,
            size,
            choice.latents,
            recipe=recipe,
            seconds=seconds,
            seed=seed,
            device=device,
            progress=progress,
            checkpoint=checkpoint,
        )
    if recipe.hidden is None:
        recipe = replace(recipe, hidden=(_hidden(source.spec.shape[0], size),) * 2)
    return fit_dense(
        batches,
        size,
        choice.latents,
        kind=kind,
        recipe=recipe,
        distortion_step=choice.step,
        seconds=seconds,
        seed=seed,
        device=device,
        progress=progress,
        checkpoint=checkpoint,
    )


def _hidden(rows: int, size: int) -> int:
    """Width of hidden layers: few rows cannot pay for many weights."""
    affordable = rows * size / 64 / (2 * size + 128)
    return int(np.clip(2 ** round(math.log2(max(affordable, 1.0))), 16, 128))


def trial_rows(encoder: Autoencoder, samples: list[Array], fills: Array) -> Array:
    """Finite float64 rows [n, D] to choose on, as ``Model.quantize_latents`` will see them."""
    share = max(1, sum(map(len, samples)) // TRIAL_ROWS)
    picked = [block[::share] for block in samples]
    return np.concatenate([encoder.rows(block, specials.ordinary(block, fills)) for block in picked])


def choices(encoder: Autoencoder, rows: Array, total: int, rmse: float) -> list[Choice]:
    """Numbers of latents, from few to many, with which a PCA can reach ``rmse``, each in the widest step that does.

    In an orthonormal basis the squared error is that of the latents: what is cut off and what is rounded. Bytes are
    those of latents with a table each.
    """
    latents = encoder.analysis(rows)
    energy = np.square(latents).sum(0)
    whole = float(np.square(encoder.normalizer.forward(rows) * encoder.normalizer.typical_scale).sum())
    allowed = rmse**2 * rows.size
    return [
        choice
        for k in _counts(latents.shape[1])
        if (choice := _reach(latents[:, :k], whole - float(energy[:k].sum()), allowed, rows, total)) is not None
    ]


def choose_linear(encoder: Autoencoder, rows: Array, total: int, rmse: float) -> Choice | None:
    """Of ``choices`` the one of the fewest bytes; None if there is none."""
    return min(choices(encoder, rows, total, rmse), key=attrgetter("bytes"), default=None)


def _counts(most: int) -> list[int]:
    """Numbers of latents to try: 1, 2, 3, 4, 6, 8, 12 ..."""
    tried = {most} | {int(base * 2**octave) for octave in range(9) for base in (1, 1.5)}
    return sorted(k for k in tried if 1 <= k <= most)


def _reach(latents: Array, cut: float, allowed: float, rows: Array, total: int) -> Choice | None:
    """The widest step for which cut + rounding stays within ``allowed``, by bisection of its logarithm."""
    if cut >= allowed * _MOST_CUT:
        return None
    count, size = rows.shape
    low = math.log2(math.sqrt(12 * (allowed - cut) / latents.size)) - 1
    high = low + 24
    for _ in range(24):
        middle = (low + high) / 2
        step = 2.0**middle
        error = float(np.square(latents - np.rint(latents / step) * step).sum())
        low, high = (middle, high) if cut + error < allowed else (low, middle)
    q = np.rint(latents / 2.0**low).astype(np.int64)
    used = int(np.flatnonzero(q.any(0))[-1]) + 1 if q.any() else 1
    bits = sum(_entropy(q[:, k]) for k in range(used)) * total / count
    return Choice(used, 2.0**low, bits / 8 + WEIGHT_BYTES * used * size)


def _entropy(q: Array) -> float:
    """Bits of a channel under its own frequencies."""
    _, counts = np.unique(q, return_counts=True)
    return float(-(counts * np.log2(counts / len(q))).sum())


def latents_of(encoder: Autoencoder, samples: list[Array], fills: Array) -> Array:
    """Float64 [n, K]: latents of the sample blocks, before rounding."""
    return np.concatenate([encoder.analysis(encoder.rows(block, specials.ordinary(block, fills))) for block in samples])


def with_network(model: Model, encoder: Autoencoder, step: float, rows: int, latents: Array) -> Model:
    """The model with this autoencoder of so many rows, latents quantised with ``step`` on the whole, and their prior.

    ``latents`` are those of the samples. Where the model is thrifty, it asks the prior what they cost, so the two are
    fitted in turn.
    """
    steps = encoder.steps(step)
    levels = latents / steps
    model = replace(model, kind=encoder.kind, encoder=encoder, steps=steps, prior=None)
    for _ in range(_TURNS if model.thrift else 1):
        model = replace(model, prior=fit_prior(model.round_latents(levels)))
    size = len(encoder.normalizer.centre)
    # the weights may add about size / rows of the noise that the latents have, which is more than rounding's if thrifty
    share = float(np.clip(size / max(rows, 1), *_WEIGHT_NOISE)) * _excess(model, levels)
    return replace(model, network=encoder.freeze(steps, weight_noise=share))


def _excess(model: Model, levels: Array) -> float:
    """Squared error of the latents over what rounding to the nearest makes."""
    least = float(np.square(levels - np.rint(levels)).sum())
    return float(np.square(levels - model.round_latents(levels)).sum()) / least if least and model.thrift else 1.0


def lens(model: Model, samples: list[Array]) -> Reference | None:
    """Integers that bring the synthesis to lattice units; None where they do not fit."""
    if model.network is None or model.cells.step is None or model.cells.axis is not None:
        return None
    latents = model.quantize_latents(samples[0], specials.ordinary(samples[0], model.fills))
    size = int(np.abs(model.network.synthesis(latents)).max(initial=1))
    drop = max(0, (4 * size).bit_length() - 31)
    ratio = np.atleast_1d(model.network.unit / float(model.cells.step)) * 2.0**drop
    shift = 29 - math.ceil(math.log2(float(ratio.max())))
    if not 0 <= shift < 60:
        return None
    return Reference(np.rint(ratio * 2.0**shift).astype(np.int64), drop, shift)


def needs_channels(source: Source, recipe: Recipe) -> None:
    """Raise InputError unless the recipe has a weight for each entry of the last axis of a row, or none at all."""
    channels = (source.spec.row_shape or (1,))[-1]
    if recipe.weights is not None and len(recipe.weights) != channels:
        raise InputError(
            f"The settings name {len(recipe.weights)} weights for {source.spec.describe()}: name {channels}, one for "
            "each entry of the last axis."
        )


def needs_rows(source: Source, kind: str) -> None:
    """Raise InputError unless an autoencoder of rows makes sense."""
    if source.spec.row_size < 2 or source.spec.shape[0] < 2:
        raise InputError(
            f"The model {kind} needs at least two rows of at least two values, not {source.spec.describe()}; "
            "use --model none."
        )
