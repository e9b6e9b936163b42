"""Fits of dense autoencoders: ``vanilla``, which starts from PCA, and the ``textbook`` one.

torch is loaded when one of them is called, not before.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aecompress.autoencoder.network import Autoencoder, Batches
from aecompress.autoencoder.pca import fit_pca
from aecompress.autoencoder.progress import Progress, Throttle
from aecompress.errors import InputError
from aecompress.normalize import Normalizer, measure


def fit_dense(
    batches: Batches,
    row_size: int,
    latent_dim: int,
    *,
    hidden: tuple[int, ...] = (128, 128),
    distortion_step: float,
    seconds: float,
    seed: int,
    progress: Progress,
) -> Autoencoder:
    """Fit ``vanilla``: PCA, and ReLU layers beside it that learn what PCA cannot see.

    Trained on rate + lambda * distortion for latents quantised at ``distortion_step``: freeze it with steps near that.
    Where that does not beat PCA on held-out rows, or there are too few rows to tell, it is PCA that comes back.

    Args:
        batches: gives a fresh pass over finite float64 arrays [n, row_size] each time it is called.
        row_size: values in a row, D >= 1.
        latent_dim: latents wanted; fewer come back if the rows span fewer dimensions, but always at least one.
        hidden: widths of the synthesis network's hidden layers.
        distortion_step: step of all latents, in the data's units; lambda = 6 / (ln 2 step^2) follows from it.
        seconds: training time at most.
        seed: of weights, noise and order.
        progress: called as ``progress(phase, done, info)``, a few times a second at most.
    """
    import torch

    from aecompress.autoencoder.modules import Vanilla
    from aecompress.autoencoder.training import Rows, train

    pca = fit_pca(batches, row_size, latent_dim, seed=seed, progress=progress)
    rows = Rows(batches, pca.normalizer)
    if not rows.enough:
        return pca
    unit = pca.normalizer.typical_scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = Vanilla(pca.decoder[0][0].weight, pca.deviation / unit, hidden, distortion_step / unit)
        if not train(learner, rows, seconds=seconds, seed=seed, report=Throttle(progress)):
            return pca
    encoder, decoder = learner.paths()
    fitted = replace(pca, kind="vanilla", encoder=encoder, decoder=decoder)
    return fitted.calibrated(pca.normalizer.inverse(rows.held_out.numpy().astype(np.float64)))


def fit_textbook(
    batches: Batches,
    row_size: int,
    latent_dim: int = 32,
    *,
    hidden: tuple[int, ...] = (128,),
    seconds: float,
    seed: int,
    progress: Progress,
) -> Autoencoder:
    """Fit ``textbook``, D-128-32-128-D with ReLU, a sigmoid output and squared error: for teaching.

    It knows no rate and starts from nothing, and shows what ``vanilla`` gains by both. Freeze it with a small step.
    Arguments are those of ``fit_dense``. Raises InputError for too few rows.
    """
    import torch

    from aecompress.autoencoder.modules import Textbook
    from aecompress.autoencoder.training import Rows, train

    normalizer = Normalizer.unit_range(measure(batches(), row_size))
    rows = Rows(batches, normalizer)
    if not rows.enough:
        raise InputError(f"The textbook autoencoder cannot learn from {rows.count} rows; use the pca model.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = Textbook(row_size, hidden, latent_dim)
        train(learner, rows, seconds=seconds, seed=seed, report=Throttle(progress))
        with torch.no_grad():
            encoder, decoder = learner.paths(rows.held_out[:512])
    fitted = Autoencoder("textbook", normalizer, encoder, decoder, np.ones(latent_dim))
    return fitted.calibrated(normalizer.inverse(rows.held_out.numpy().astype(np.float64)))
