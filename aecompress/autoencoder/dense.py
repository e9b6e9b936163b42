"""Fits of dense autoencoders: those that start from PCA, and the ``textbook`` one.

torch is loaded when one of them is called, not before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from aecompress.autoencoder.checkpoint import Checkpoint
from aecompress.autoencoder.network import Autoencoder, Batches
from aecompress.autoencoder.pca import fit_pca
from aecompress.autoencoder.progress import Progress, Throttle
from aecompress.devices import Device, find_device, seeded
from aecompress.errors import InputError
from aecompress.normalize import Float64s, Normalizer, measure
from aecompress.recipe import Recipe

if TYPE_CHECKING:
    from aecompress.autoencoder.learners.residual import Residual
    from aecompress.autoencoder.training import Rows

#: Widths of the synthesis network's hidden layers unless the recipe names some.
_HIDDEN, _TEXTBOOK_HIDDEN = (128, 128), (128,)


def fit_dense(
    batches: Batches,
    row_size: int,
    latent_dim: int,
    *,
    kind: str = "vanilla",
    recipe: Recipe | None = None,
    distortion_step: float,
    seconds: float,
    seed: int,
    device: Device = "auto",
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Autoencoder:
    """Fit PCA and ReLU layers beside it that learn what PCA cannot see.

    Trained on rate + lambda * distortion for latents quantised at ``distortion_step``: freeze it with steps near that.
    Where ``vanilla`` does not beat PCA on held-out rows, or has too few rows to tell, it is PCA that comes back.

    Args:
        batches: gives a fresh pass over finite float64 arrays [n, row_size] each time it is called.
        row_size: values in a row, D >= 1.
        latent_dim: latents wanted; fewer come back if the rows span fewer dimensions, but always at least one.
        kind: ``vanilla``, ``sparse``, ``denoising`` or ``vae``.
        recipe: how to build and teach it.
        distortion_step: step of all latents, in the data's units; what a bit is worth follows from it.
        seconds: training time at most.
        seed: of weights, noise and order.
        device: to train on: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: called as ``progress(phase, done, info)``, a few times a second at most.
        checkpoint: keeps the training's state, which the next fit with the same arguments goes on from.

    Raises:
        InputError: there are too few rows, and the kind is not ``vanilla``; or there is no such device.
    """
    import torch

    from aecompress.autoencoder.training import Rows, train_on_rows

    recipe = recipe or Recipe()
    weights = _weights(recipe, row_size)
    pca = fit_pca(batches, row_size, latent_dim, weights=weights, seed=seed, progress=progress)
    rows = Rows(batches, pca.normalizer)
    if not rows.enough:
        if kind == "vanilla":
            return pca
        raise _too_few(kind, rows.count)
    place = find_device(device)
    with seeded(seed, place):
        learner = _learner(kind, recipe, weights, pca, rows, distortion_step / pca.normalizer.typical_scale)
        course = train_on_rows(
            learner,
            rows,
            recipe=recipe,
            seconds=seconds,
            seed=seed,
            device=place,
            report=Throttle(progress),
            checkpoint=checkpoint,
        )
        if kind == "vanilla" and not course.improved:
            return pca
        with torch.no_grad():
            encoder, decoder = learner.paths()
            steps = torch.as_tensor(learner.steps(rows.held_out)).numpy() / learner.step
    fitted = replace(
        pca,
        kind=kind,
        encoder=encoder,
        decoder=decoder,
        coarseness=np.broadcast_to(steps.astype(np.float64), pca.deviation.shape).copy(),
        active=min(recipe.k or 0, pca.latent_dim),
        course=course.points,
    )
    return fitted.calibrated(pca.normalizer.inverse(rows.held_out.numpy().astype(np.float64)))


def _learner(
    kind: str, recipe: Recipe, weights: Float64s | None, pca: Autoencoder, rows: Rows, step: float
) -> Residual:
    """The member of the family before it learns, for latents of ``step`` in normalised units."""
    from aecompress.autoencoder.learners.criteria import criterion
    from aecompress.autoencoder.learners.denoising import Denoising, corruption
    from aecompress.autoencoder.learners.sparse import Sparse
    from aecompress.autoencoder.learners.vae import Variational
    from aecompress.autoencoder.learners.vanilla import Vanilla

    basis, deviation = pca.decoder[0][0].weight, pca.deviation / pca.normalizer.typical_scale
    wanted = criterion(recipe.loss, step, pca.normalizer, weights)
    parts = (basis, deviation, recipe.hidden or _HIDDEN, step, wanted)
    if kind == "sparse":
        return Sparse(*parts, sparsity=recipe.sparsity, k=recipe.k)
    if kind == "denoising":
        return Denoising(*parts, corruption=corruption(recipe.corruption, recipe.corruption_level, rows.held_out))
    return Variational(*parts, beta=recipe.beta) if kind == "vae" else Vanilla(*parts)


def fit_textbook(
    batches: Batches,
    row_size: int,
    latent_dim: int = 32,
    *,
    recipe: Recipe | None = None,
    seconds: float,
    seed: int,
    device: Device = "auto",
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Autoencoder:
    """Fit ``textbook``, D-128-32-128-D with ReLU and a sigmoid output: for teaching.

    It knows no rate and starts from nothing, and shows what ``vanilla`` gains by both. Freeze it with a small step.
    Arguments are those of ``fit_dense``. Raises InputError for too few rows, or a device that is not there.
    """
    import torch

    from aecompress.autoencoder.learners.criteria import sigmoid_error
    from aecompress.autoencoder.learners.textbook import Textbook
    from aecompress.autoencoder.training import Rows, train_on_rows

    recipe = recipe or Recipe()
    normalizer = Normalizer.unit_range(measure(batches(), row_size))
    rows = Rows(batches, normalizer)
    if not rows.enough:
        raise _too_few("textbook", rows.count)
    place = find_device(device)
    with seeded(seed, place):
        error = sigmoid_error(recipe.loss, _weights(recipe, row_size))
        learner = Textbook(row_size, (recipe.hidden or _TEXTBOOK_HIDDEN)[::-1], latent_dim, error)
        course = train_on_rows(
            learner,
            rows,
            recipe=recipe,
            seconds=seconds,
            seed=seed,
            device=place,
            report=Throttle(progress),
            checkpoint=checkpoint,
        )
        with torch.no_grad():
            encoder, decoder = learner.paths(rows.held_out[:512])
    fitted = Autoencoder("textbook", normalizer, encoder, decoder, np.ones(latent_dim), course=course.points)
    return fitted.calibrated(normalizer.inverse(rows.held_out.numpy().astype(np.float64)))


def _weights(recipe: Recipe, row_size: int) -> Float64s | None:
    """Float64 [row_size] of mean 1: the recipe's weights, one after the other as often as a row has a last axis."""
    if recipe.weights is None:
        return None
    weights = np.tile(np.array(recipe.weights), row_size // len(recipe.weights))
    return weights / weights.mean()


def _too_few(kind: str, rows: int) -> InputError:
    return InputError(f"The {kind} autoencoder cannot learn from {rows} rows; use the pca model.")
