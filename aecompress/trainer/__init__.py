"""Fit a model to a source: statistics, cells, context model, autoencoder, whatever takes the fewest bytes.

source ─► sample ─► cells ─► context coder ──────────┐
             └────► autoencoder ─► step ─► prior ─────┴─► the candidate of fewest bytes
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aecompress.abreast import one_thread
from aecompress.codec.model import Model
from aecompress.config import EFFORTS, FIT_SECONDS, MODEL_KINDS, Effort, Progress, Role, Target, silent
from aecompress.devices import Device, check_device
from aecompress.errors import InputError, ModelError
from aecompress.recipe import Recipe
from aecompress.sources import open_source, spool
from aecompress.sources.base import Source
from aecompress.trainer import places, turning, views
from aecompress.trainer.autoencoders import needs_channels
from aecompress.trainer.bounded import Bounded
from aecompress.trainer.clock import Clock
from aecompress.trainer.sampling import block_rows, packed_rows
from aecompress.trainer.unbounded import Unbounded

__all__ = ["adapt", "block_rows", "fit", "packed_rows"]

_REFIT_SECONDS = 60.0


def fit(
    source: Any,
    target: Target | None = None,
    *,
    kind: str = "auto",
    recipe: Recipe | None = None,
    seconds: float = FIT_SECONDS,
    effort: Effort = "balanced",
    axes: Sequence[Role] | None = None,
    seed: int = 0,
    device: Device = "auto",
    progress: Progress = silent,
    checkpoint: str | Path | None = None,
    once: bool = False,
) -> Model:
    """Learn a model of a source for a target.

    Args:
        source: as for ``pack``; a stream is kept in a temporary file meanwhile.
        target: what the model shall reach; by default a relative bound of 1e-3 for floats, no loss for integers.
        kind: ``none`` (context model or subbands alone), ``conv`` (with a convolution behind it), ``strided``,
            ``pca``, ``vanilla``, ``sparse``, ``denoising``, ``vae``, ``textbook``, or ``auto``: what takes least bytes.
        recipe: how to build and teach an autoencoder of that kind.
        seconds: time that the fit may take, compiling of coders left out. What there must be (looking at the source, a
            context coder) is made all the same; networks get what is left, and what only might be smaller is not tried
            when time is over.
        effort: ``fast`` (few contexts in closed form, which code fast), ``balanced`` (more of them, and a network
            behind them where that pays) or ``best`` (a larger one, trained longer).
        axes: the role of each axis, rows first: ``independent`` ones, ``ordered`` ones, and the last may be
            ``feature``; by default they are measured on the sample.
        seed: of everything random.
        device: that networks are trained on: ``cpu``, ``cuda``, ``mps``, or ``auto``: CUDA if there is one, else MPS,
            else the CPU.
        progress: called as progress(phase, share done, facts).
        checkpoint: file to keep the state of a training in while the fit lasts. If it is there, left of a fit of the
            same source, target, kind, recipe and seed that was interrupted, the training goes on from it, and
            ``seconds`` count what it took before. A model whose training ends with its epochs comes out the same.
        once: the model is for this set alone, so under a bound it may code all rows at once, with their axis last.

    Raises:
        InputError: the source cannot be read, or the target, the recipe or the axes do not suit it, or there is no such
            device.
        DestinationError: the checkpoint is damaged, or of another fit.
    """
    if kind not in MODEL_KINDS:
        raise InputError(f"There is no model kind {kind!r}; use one of {', '.join(MODEL_KINDS)}.")
    if effort not in EFFORTS:
        raise InputError(f"There is no effort {effort!r}; use one of {', '.join(EFFORTS)}.")
    check_device(device)
    recipe = (recipe or Recipe()).checked(kind)
    opened = open_source(source)
    needs_channels(opened, recipe)
    target = target or Target.default(opened.spec.dtype)
    if kind in ("conv", "strided") and (target.bounded or target.kind == "latent-dim"):
        raise InputError(
            f"The model {kind} keeps no value within a bound, so it goes with --psnr, --rmse, --cosine and --ratio, "
            f"not with {target.kind}; use --model auto."
        )
    with ExitStack() as kept:
        if not opened.replayable:
            opened = spool(opened, Path(kept.enter_context(tempfile.TemporaryDirectory())))
        kept_at = None if checkpoint is None else Path(checkpoint)
        view = () if axes or target.per is not None or recipe.weights else views.view_of(opened, progress)
        shaped = views.Reshaped(opened, view) if view else opened
        asked = (target, recipe, Clock(seconds), effort, axes, seed, device, progress)
        if not (axes or recipe.changed) and places.serves(kind, target):
            as_rows = Unbounded(shaped, *asked, kept_at)
            model = places.smallest(as_rows, lambda source: Unbounded(source, *asked, of_places=True), kind)
        elif target.bounded and once and target.per is None and not axes and effort != "fast":
            model = turning.smallest(lambda source: Bounded(source, *asked, kept_at), shaped, kind)
        else:
            search = Bounded if target.bounded else Unbounded
            model = search(shaped, *asked, kept_at).run(kind)
        model = views.flat(model, opened.spec) if view else model
    if kept_at is not None:
        kept_at.unlink(missing_ok=True)
    return model


@one_thread()
def adapt(
    model: Model,
    source: Source,
    target: Target,
    *,
    effort: Effort = "fast",
    device: Device = "auto",
    progress: Progress = silent,
) -> Model:
    """A given model for another source of the same dtype and row shape, or another target.

    Bounds and steps are worked out anew; the context coder is fitted anew, with this effort, if the cells change by
    more than half, on this device.

    Raises:
        ModelError: the model was fitted for another dtype or row shape, or for sets of so many rows.
        InputError: there is no such device.
    """
    if not model.spec.same_type(source.spec):
        raise ModelError(
            f"The model was fitted for rows of shape {model.spec.row_shape} and dtype {model.spec.native}, the source "
            f"has {source.spec.row_shape} and {source.spec.native}: fit a model for this source."
        )
    of_places = model.of_places and not target.bounded
    turned = model.turned and (of_places or model.network is None)
    shaped: Source = source
    fitted = model
    if model.view:
        shaped, fitted = views.Reshaped(source, model.view), views.shaped(model)
    viewed = shaped.spec
    if turned:
        if source.spec.shape[0] != model.turned:
            raise ModelError(
                f"The model was fitted for sets of {model.turned} rows, the source has {source.spec.shape[0]}: fit a "
                "model for this source."
            )
        shaped, fitted = views.Turned(shaped), views.turned(fitted)
    search = Bounded if target.bounded else Unbounded
    adapted = search(
        shaped, target, Recipe(), Clock(_REFIT_SECONDS), effort, None, 0, device, progress, of_places=of_places
    ).adapted(fitted)
    if isinstance(shaped, views.Turned):
        adapted = views.turned_back(adapted, viewed)
    return views.flat(adapted, source.spec) if model.view else adapted
