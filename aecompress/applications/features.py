"""Features of rows: the latents that an archive holds already, or those of an autoencoder for its rows.

archive with an autoencoder   payload ─► latents ─► x the length of a step       nothing else is decoded
any other rows                rows ─► analysis of a fitted or given autoencoder
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from aecompress.applications.rows import spread_rows
from aecompress.archive import Archive
from aecompress.autoencoder.integer import IntegerNetwork
from aecompress.codec import specials
from aecompress.codec.model import Model
from aecompress.config import Progress
from aecompress.devices import Device
from aecompress.errors import CorruptError, InputError, ModelError
from aecompress.packer import load_model
from aecompress.recipe import Recipe
from aecompress.sources import open_source
from aecompress.sources.base import Source
from aecompress.spec import Array
from aecompress.trainer import autoencoders, block_rows
from aecompress.trainer.sampling import fill_values

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder

#: Autoencoders that can be fitted for features.
KINDS = ("pca", "vanilla")

#: Latents where nobody names a number.
DEFAULT_DIM = 32

_STRETCHES = 16

#: Rows that the length of a step is measured on.
_STEP_ROWS = 64

# steps of the latents while ``vanilla`` is trained, in those whose noise equals what PCA leaves out: fine ones, so that
# little but the error counts
_FINENESS = 0.25


class Features(Protocol):
    """Latents of rows, in the units of the data: a step of one moves the reconstruction by about one."""

    @property
    def kind(self) -> str:
        """Of the autoencoder: ``pca``, ``vanilla``, ..."""

    @property
    def dim(self) -> int:
        """Features of a row, K."""

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        """Features float64 [n, K] of rows ``start`` to ``stop`` in order, some rows at a time."""


@dataclass(frozen=True)
class StoredFeatures:
    """Latents as they lie in the payloads of an archive.

    Attributes:
        archive: what holds them.
        network: its synthesis.
        units: float64 [K]: how far one step of each latent moves a row, by Euclid.
    """

    archive: Archive
    network: IntegerNetwork
    units: Array

    @property
    def kind(self) -> str:
        return self.archive.model.kind

    @property
    def dim(self) -> int:
        return len(self.units)

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        for _, latents in self.latents(start, len(self.archive) if stop is None else stop):
            yield latents[:, : self.dim] * self.units

    def latents(self, start: int, stop: int) -> Iterator[tuple[int, Array]]:
        """(first row, int32 [n, K]) block by block. Raises CorruptError."""
        for block in self.archive.blocks(start, stop):
            found = self.archive.model.latents(block.payload)
            if found is None:
                raise CorruptError(f"The block at row {block.start} holds no latents, though the manifest says so.")
            first = max(start, block.start)
            yield first, found[first - block.start : stop - block.start]


@dataclass(frozen=True)
class FittedFeatures:
    """Latents that the analysis of an autoencoder makes of rows.

    Attributes:
        source: the rows.
        encoder: its latents are in the units of the data.
        fills: values that stand for none.
    """

    source: Source
    encoder: Autoencoder
    fills: Array

    @property
    def kind(self) -> str:
        return self.encoder.kind

    @property
    def dim(self) -> int:
        return self.encoder.latent_dim

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        for rows in self.rows(start, stop):
            yield self.encoder.analysis(rows)

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        """Float64 [n, D]: what the analysis sees of rows."""
        for values in self.source.batches(block_rows(self.source.spec), start, stop):
            yield self.flat(values)

    def flat(self, values: Array) -> Array:
        """Float64 [n, D] of values [n, *row_shape]; special values count as the mean of their feature."""
        return self.encoder.rows(values, specials.ordinary(values, self.fills))


def stored_features(archive: Archive, dim: int | None = None) -> StoredFeatures | None:
    """The latents in the blocks of an archive, the first ``dim`` of them; None if a block has none."""
    methods = archive.manifest.report["methods"]
    if not methods or not set(methods) <= {"joint", "autoencoder"}:
        return None
    network = archive.model.network
    if network is None or archive.model.of_places:
        return None
    features = StoredFeatures(archive, network, np.ones(network.latent_dim))
    _, some = next(features.latents(0, min(len(archive), archive.manifest.block_rows)))
    units = step_lengths(network, some[:: max(1, len(some) // _STEP_ROWS)][:_STEP_ROWS])
    return StoredFeatures(archive, network, units[:dim])


def spread_features(features: Features, rows: int, most: int = 1 << 16) -> Array:
    """Features float64 [n, K] of up to ``most`` rows, in stretches spread evenly over ``rows``."""
    height = rows if rows <= most else most // _STRETCHES
    starts = np.unique(np.linspace(0, rows - height, 1 if rows <= most else _STRETCHES).astype(int))
    return np.concatenate([batch for start in starts for batch in features.batches(int(start), int(start) + height)])


def step_lengths(network: IntegerNetwork, latents: Array) -> Array:
    """float64 [K]: how far one step of each latent moves the rows of ``latents`` int32 [n, K], on the whole.

    An archive does not hold the steps that latents were quantised with: its network has them in its weights.
    """
    found = np.empty(latents.shape[1])
    for k in range(len(found)):
        step = (np.arange(len(found)) == k).astype(np.int32)
        moved = (network.synthesis(latents + step) - network.synthesis(latents - step)) * network.unit
        found[k] = np.sqrt(np.square(moved / 2).sum(1).mean())
    return found


def model_features(source: Source, model: Model, dim: int | None = None) -> FittedFeatures:
    """Features by the analysis of a model that ``fit`` made. Raises ModelError if it has none, or of other rows."""
    if model.encoder is None:
        raise ModelError(
            "The model has no autoencoder to make features with; fit one, as in `aecompress fit --model pca`."
        )
    model.needs_rows()
    if not model.spec.same_type(source.spec):
        raise ModelError(
            f"The model was fitted for rows of shape {model.spec.row_shape} and dtype {model.spec.native}, these have "
            f"{source.spec.row_shape} and {source.spec.native}: fit a model for them."
        )
    encoder = model.encoder if dim is None else model.encoder.truncated(min(dim, model.encoder.latent_dim))
    return FittedFeatures(source, encoder, model.fills)


def fitted_features(
    source: Source, kind: str, dim: int, *, seconds: float, seed: int, device: Device, progress: Progress
) -> FittedFeatures:
    """Features by an autoencoder fitted to rows spread over the source.

    Raises InputError if the rows are too few or too small, or of no kind here.
    """
    if source.spec.row_size < 2 or source.spec.shape[0] < 2:
        raise InputError(f"Features need two rows of two values or more, not {source.spec.describe()}.")
    rows = spread_rows(source, "sample", progress)
    fills = fill_values([rows], source.spec.native)
    sample = open_source(rows)
    pca = autoencoders.fit_linear(sample, fills, dim, seed, progress)
    if kind == "pca":
        return FittedFeatures(source, pca, fills)
    step = _training_step(pca, FittedFeatures(source, pca, fills).flat(rows[: 4 * autoencoders.TRIAL_ROWS]))
    choice = autoencoders.Choice(pca.latent_dim, step, 0.0)
    fitted = autoencoders.fit_nonlinear(
        sample,
        fills,
        kind,
        choice,
        recipe=Recipe(),
        seconds=seconds,
        seed=seed,
        device=device,
        progress=progress,
    )
    return FittedFeatures(source, fitted, fills)


def _training_step(pca: Autoencoder, rows: Array) -> float:
    """Quantisation step to train latents with, so that their noise is a small part of the error PCA makes."""
    left = float(np.square(rows - pca.synthesis(pca.analysis(rows))).mean())
    smallest = float(pca.deviation.max()) * 2.0**-16
    return max(_FINENESS * float(np.sqrt(12 * left * rows.shape[1] / pca.latent_dim)), smallest) or 1.0


def features_of(
    source: Source,
    archive: Archive | None,
    *,
    model: str | Path | Model,
    dim: int | None,
    seconds: float,
    seed: int,
    device: Device,
    progress: Progress,
) -> Features:
    """Features of the rows: as stored if ``model`` is ``auto`` and there are some, else by a given or fitted model.

    Args:
        source: the rows.
        archive: where they come from, if that is an archive.
        model: ``auto``, a kind to fit, the path of a model file, or a Model.
        dim: features wanted; None for all that are stored or in the model, and 32 of a fit.
    """
    if dim is not None and dim < 1:
        raise InputError(f"{dim} features were asked for; ask for 1 or more.")
    if model == "auto":
        stored = None if archive is None else stored_features(archive, dim)
        if stored is not None:
            return stored
        model = "pca"
    if isinstance(model, Model) or model not in KINDS:
        return model_features(source, model if isinstance(model, Model) else load_model(model), dim)
    return fitted_features(
        source, str(model), dim or DEFAULT_DIM, seconds=seconds, seed=seed, device=device, progress=progress
    )
