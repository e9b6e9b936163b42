"""Fit a model to a source: statistics, cells, context model, autoencoder, whatever takes the fewest bytes.

source ─► sample ─► cells ─► context coder ──────────┐
             └────► autoencoder ─► step ─► prior ─────┴─► the candidate of fewest bytes
"""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress.codec import methods
from aecompress.codec.cells import Cells
from aecompress.codec.model import Model
from aecompress.config import EFFORTS, FIT_SECONDS, MODEL_KINDS, Effort, Progress, Role, Target, silent
from aecompress.context import fit as context
from aecompress.context.sample import Sample
from aecompress.context.stencil import Layout
from aecompress.errors import InputError, ModelError
from aecompress.metrics import Distortion
from aecompress.quantize import split_wide
from aecompress.recipe import KNOWN, Recipe
from aecompress.sources import open_source, spool
from aecompress.sources.base import Source
from aecompress.spec import Array, ArraySpec
from aecompress.trainer import autoencoders, quality, roles, sampling, smooth
from aecompress.trainer.bounds import bounded_cells, lossless_rivals
from aecompress.trainer.clock import Clock
from aecompress.trainer.sampling import block_rows, fill_values, sample

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder
    from aecompress.autoencoder.convolution import Convolution

__all__ = ["adapt", "block_rows", "fit"]

_log = logging.getLogger(__name__)

_HOPE = 1.5  # subbands of more than this share of a roughly fitted context coder's bytes are given up
# subbands of less than this share need no context coder to be fitted with care: that saves up to a fifth, a network as
# much again
_SURE = {"fast": 0.8, "balanced": 0.6, "best": 0.6}
_HOPELESS = 0.5  # where the simple ways take less than this share, the context coder stays at home
_RIVAL = 0.9  # where the model takes more than this share of the simple ways, every block tries them
_SIMPLE_BYTES = 1 << 19  # of the samples go through the simple ways, which are slow
_GAIN = 0.99  # an autoencoder must bring the bytes of a bounded set below this share
_THRIFTS = (0.0, math.log(2) / 6)  # squared error for a bit: none, and what halving a cell costs a bit
_NETWORKS = {"balanced": (64, 6000), "best": (96, 20000)}  # most units of a layer and batches, by effort
_NETWORK_SHARE = 2 / 3  # of the time left, for a network behind a context coder
_TRAINING_SHARE = 3 / 4  # and for an autoencoder
_EARLY = 1 / 3  # share of the time after which there are no more lessons than samples
_REFIT_SECONDS = 60.0
_THRIFT = 0.08  # squared error of latents, in steps, for a bit
_HOPE_OF_CONV = 3.0  # plain cells of more than so many times the bytes of the pca are no start for a convolution
_SIGHT = 1.3  # a context coder of more than so many times the bytes of the pca needs no network
_RESTEERED = 0.15  # by which widths may change before a coder of prices misleads a thrifty encoder
_TRIAL_SHARE, _FINAL_SHARE = 1 / 12, 1 / 2  # and for a convolution that is tried, and for the one that stays

#: A sample block, and what it is on a model's lattice.
Work = tuple[Array, methods.Work]


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
    progress: Progress = silent,
) -> Model:
    """Learn a model of a source for a target.

    Args:
        source: as for ``pack``; a stream is kept in a temporary file meanwhile.
        target: what the model shall reach; by default a relative bound of 1e-3 for floats, no loss for integers.
        kind: ``none`` (context model alone), ``conv`` (with a convolution behind it), ``pca``, ``vanilla``,
            ``sparse``, ``denoising``, ``vae``, ``textbook``, or ``auto``: what takes least bytes.
        recipe: how to build and teach an autoencoder of that kind.
        seconds: time that the fit may take. What there must be (looking at the source, one context coder) is made all
            the same; networks get what is left, and what only might be smaller is not tried when time is over.
        effort: ``fast`` (contexts in closed form alone), ``balanced`` (and a network behind them, where that pays) or
            ``best`` (a larger one, trained longer).
        axes: the role of each axis, rows first: ``independent`` ones, ``ordered`` ones, and the last may be
            ``feature``; by default they are measured on the sample.
        seed: of everything random.
        progress: called as progress(phase, share done, facts).

    Raises:
        InputError: the source cannot be read, or the target, the recipe or the axes do not suit it.
    """
    if kind not in MODEL_KINDS:
        raise InputError(f"There is no model kind {kind!r}; use one of {', '.join(MODEL_KINDS)}.")
    if effort not in EFFORTS:
        raise InputError(f"There is no effort {effort!r}; use one of {', '.join(EFFORTS)}.")
    recipe = (recipe or Recipe()).checked(kind)
    opened = open_source(source)
    target = target or Target.default(opened.spec.dtype)
    if opened.replayable:
        return _Fit(opened, target, recipe, seconds, effort, axes, seed, progress).run(kind)
    with tempfile.TemporaryDirectory() as folder:
        return _Fit(spool(opened, Path(folder)), target, recipe, seconds, effort, axes, seed, progress).run(kind)


def adapt(
    model: Model, source: Source, target: Target, *, effort: Effort = "fast", progress: Progress = silent
) -> Model:
    """A given model for another source of the same dtype and row shape, or another target.

    Bounds and steps are worked out anew; the context coder is fitted anew, with this effort, if the cells change by
    more than half.

    Raises:
        ModelError: the model was fitted for another dtype or row shape.
    """
    if not model.spec.same_type(source.spec):
        raise ModelError(
            f"The model was fitted for rows of shape {model.spec.row_shape} and dtype {model.spec.native}, the source "
            f"has {source.spec.row_shape} and {source.spec.native}: fit a model for this source."
        )
    return _Fit(source, target, Recipe(), _REFIT_SECONDS, effort, None, 0, progress).adapted(model)


class _Fit:
    """One fit: the source, what was asked of it, and what was seen of it."""

    def __init__(
        self,
        source: Source,
        target: Target,
        recipe: Recipe,
        seconds: float,
        effort: Effort,
        axes: Sequence[Role] | None,
        seed: int,
        progress: Progress,
    ) -> None:
        self.source, self.target, self.recipe = source, target, recipe
        self.clock, self.effort, self.seed, self.progress = Clock(seconds), effort, seed, progress
        self.layout = roles.layout_of(axes, source.spec) if axes else None
        self.ordered = roles.ordered(axes, source.spec) if axes else None
        self.samples = sample(source, sampling.SAMPLE_VALUES, sampling.SAMPLE_BLOCKS, progress)
        self.fills = fill_values(self.samples, source.spec.native)
        self.values = math.prod(source.spec.shape)
        self.tried: dict[str, int] = {}

    @cached_property
    def lessons(self) -> list[Array]:
        """More blocks than ``samples``, for the coder that stays; the same of a source, or a time, that has no more."""
        if sum(block.size for block in self.samples) == self.values or self.clock.spent > _EARLY * self.clock.seconds:
            return self.samples
        return sample(self.source, sampling.LESSON_VALUES, sampling.LESSON_BLOCKS, self.progress)

    def run(self, kind: str) -> Model:
        if kind in KNOWN:
            autoencoders.needs_rows(self.source, kind)
        if kind == "conv" and (self.target.bounded or self.target.kind == "latent-dim"):
            raise InputError(
                "The model conv moves values within their cells, so it goes with --psnr, --rmse and --ratio, not with "
                f"{self.target.kind}; use --model auto."
            )
        model = self._with_simple(self._bounded(kind) if self.target.bounded else self._unbounded(kind))
        return replace(model, about=self._about(model))

    def _about(self, model: Model) -> dict[str, Any]:
        """What a model file says of its fit, for people."""
        about: dict[str, Any] = {
            "source": self.source.spec.describe(),
            "sample": {"rows": sum(map(len, self.samples)), "sha256": self._fingerprint()},
            "fit_seconds": round(self.clock.spent, 1),
            "seed": self.seed,
        }
        if self.recipe.changed:
            about["settings"] = self.recipe.changed
        if self.tried:
            about["tried"] = self.tried
        if model.encoder is not None and len(model.encoder.course):
            names = ("seconds", "loss", "held_out")
            about["training"] = {
                n: [float(f"{v:.6g}") for v in c] for n, c in zip(names, model.encoder.course.T, strict=True)
            }
        return about

    def _fingerprint(self) -> str:
        """Digest of the rows of the sample, as they lie in memory: two fits that name the same saw the same rows."""
        digest = hashlib.sha256()
        for block in self.samples:
            digest.update(block.tobytes())
        return digest.hexdigest()

    def adapted(self, model: Model) -> Model:
        blank = replace(self._blank(), kind=model.kind, encoder=model.encoder)
        if self.target.bounded:
            cells = bounded_cells(self.source, self.target, self.samples, self.fills, self.progress)
            fresh = replace(blank, cells=cells)
            if cells.lossless and model.cells.lossless:
                return replace(model, target=self.target, fills=self.fills, known_as=None)
            if _alike(model.cells, cells):
                return replace(model, target=self.target, cells=cells, fills=self.fills, known_as=None)
            if model.encoder is None:
                return self._sharpened(self._with_context(fresh) if model.subbands is None else self._fewest(fresh))
            return self._sharpened(self._with_joint(self._with_context(fresh), model.encoder))
        if self.target.kind == "latent-dim":
            return self._with_same_latents(blank, model)
        if model.encoder is None:
            return self._resteered(model) or self._coded_well(self._retuned(model))
        return self._quantized(blank, model.encoder)

    # --- targets with a bound -----------------------------------------------------------------------------------

    def _bounded(self, kind: str) -> Model:
        cells = self._thriftiest(bounded_cells(self.source, self.target, self.samples, self.fills, self.progress))
        return self._sharpened(self._joined(self._fewest(replace(self._blank(), cells=cells)), kind))

    def _joined(self, model: Model, kind: str) -> Model:
        """The model, with an autoencoder beside its coder where that takes fewer bytes."""
        cells = model.cells
        if kind == "none" or cells.lossless or cells.axis is not None or not self.samples:
            return model
        if kind == "auto" and (self.clock.is_over() or not autoencoders.suits(self.source)):
            return model
        rival = self._rival(model, kind)
        if rival is None:
            return model
        trial = self._trial() if model.subbands is None else self.samples
        before, after = self._bytes(model, trial), self._bytes(rival, trial)
        _log.info("with %s the archive takes about %s bytes, without %s", rival.kind, f"{after:,.0f}", f"{before:,.0f}")
        # a candidate like any other: it stays only if it pays
        return rival if after < _GAIN * before else model

    def _sharpened(self, model: Model) -> Model:
        """The model with networks behind its context coders, where they pay."""
        if self.effort == "fast":
            return model
        units, steps = _NETWORKS[self.effort]
        for name, parts in self._lessons(model).items():
            if self.clock.is_over():
                break
            coder = getattr(model, name)
            seconds = self.clock.share(_NETWORK_SHARE)
            found, saved = context.with_network(
                coder, parts, self.values, units, steps, seconds, self.seed, self.progress
            )
            changed: dict[str, Any] = {name: found, "rate": model.rate - (saved if name != "joint" else 0.0)}
            if model.thrift and name == "context" and found is not coder:
                changed["prices"] = coder
            model = replace(model, **changed)
        return model

    def _lessons(self, model: Model) -> dict[str, list[Sample]]:
        """What each context coder of a model is asked to code of the samples."""
        found: dict[str, list[Sample]] = {}
        if model.context is not None:
            works = self._works(model, self.lessons)
            found["context"] = [Sample(split_wide(work.q)[0], work.keep) for _, work in works]
        if model.joint is not None:
            found["joint"] = self._joint_parts(model, self._works(model, self.lessons))
        return found

    def _thriftiest(self, cells: Cells) -> Cells:
        """The cells themselves, or of floats without loss those of the fewest bytes."""
        if not cells.lossless:
            return cells
        trial = self._trial()
        found: list[tuple[float, Cells]] = []
        layout = None
        for rival in (cells, *lossless_rivals(self.samples, self.source.spec.native, self.values)):
            if found and self.clock.is_over():
                break
            model = self._with_context(replace(self._blank(), cells=rival), trial, layout)
            layout = _layout(model)
            found.append((self._bytes(model, trial), rival))
            _log.info("cells %s: the archive takes about %s bytes", rival.kind, f"{found[-1][0]:,.0f}")
        return min(found, key=lambda pair: pair[0])[1]

    def _rival(self, model: Model, kind: str) -> Model | None:
        """The model with an autoencoder beside its context coder; None where numbers are too wild for one."""
        step = float(model.cells.step) if model.cells.step is not None else 1.0
        try:
            with np.errstate(all="ignore"):
                return self._with_joint(model, self._coarse(kind, step))
        except (InputError, ModelError, ArithmeticError, np.linalg.LinAlgError):
            return None

    def _fewest(self, model: Model) -> Model:
        """The model with subbands or a context coder: the one that takes fewer bytes."""
        if not self.samples or model.cells.lossless or not smooth.suits(self.samples[0].shape, self.ordered):
            return self._with_context(model, self._affordable(self.lessons))
        rough = self._with_context(model, self._trial())
        if self.clock.is_over():
            return rough
        size = self._bytes(rough, self._trial())
        share = sum(block.size for block in self.samples) / self.values
        rival = smooth.fit_subbands(model, self.samples, _HOPE * share * size, self.clock, self.ordered)
        if rival is None:
            return rough if self.clock.is_over() else self._with_context(model, self.lessons, _layout(rough))
        least = self._bytes(rival, self.samples)
        _log.info("subbands: the archive takes about %s bytes, by a context coder %s", f"{least:,.0f}", f"{size:,.0f}")
        rival = replace(rival, rate=8 * least / self.values)
        if least < _SURE[self.effort] * size:
            return rival
        if self.clock.is_over():
            return rival if least < size else rough
        full = self._sharpened(self._with_context(model, self.lessons, _layout(rough)))
        return rival if least < self._bytes(full, self.samples) else full

    def _coarse(self, kind: str, step: float) -> Autoencoder:
        """An autoencoder whose error is a few cells: finer latents would cost more than the correction they save."""
        linear, rows = self._linear
        spread = float(np.sqrt(np.square(rows - linear.normalizer.centre).mean()))
        choice = None
        for share in (4.0, 8.0, 16.0, 32.0):
            choice = choice or autoencoders.choose_linear(
                linear, rows, self.source.spec.shape[0], min(share * step, 0.9 * spread)
            )
        choice = choice or autoencoders.Choice(min(8, linear.latent_dim), 4.0 * step, 0.0)
        return self._trained(kind, choice)

    @cached_property
    def _linear(self) -> tuple[Autoencoder, Array]:
        """PCA with as many latents as may be wanted, and rows [n, D] to choose their number on."""
        size = self.source.spec.row_size
        most = min(size, self.source.spec.shape[0], autoencoders.MOST_LATENTS if size > 4096 else size)
        linear = autoencoders.fit_linear(self.source, self.fills, most, self.seed, self.progress)
        return linear, autoencoders.trial_rows(linear, self.samples, self.fills)

    def _trained(self, kind: str, choice: autoencoders.Choice) -> Autoencoder:
        """The autoencoder of this kind with the number of latents, and for the step, that were chosen."""
        wanted = replace(choice, latents=self.recipe.latents or choice.latents)
        if kind in ("pca", "auto"):
            return self._linear[0].truncated(wanted.latents)
        return autoencoders.fit_nonlinear(
            self.source,
            self.fills,
            kind,
            wanted,
            recipe=self.recipe,
            seconds=self.clock.share(_TRAINING_SHARE),
            seed=self.seed,
            progress=self.progress,
        )

    def _latents(self, encoder: Autoencoder) -> Array:
        """Latents of the samples, before rounding."""
        return autoencoders.latents_of(encoder, self.samples, self.fills)

    def _with_joint(self, model: Model, encoder: Autoencoder) -> Model:
        """The model with the autoencoder's synthesis as a further context of the correction."""
        step = 4.0 * float(model.cells.step) if model.cells.step is not None else 4.0
        model = autoencoders.with_network(model, encoder, step, self.source, self._latents(encoder))
        model = replace(model, lens=autoencoders.lens(model, self.samples))
        if model.lens is None:
            return model
        if any(split_wide(work.q)[1] is not None for _, work in self._works(model, self.lessons)):
            return model
        parts = self._joint_parts(model, self._works(model, self.lessons))
        return replace(model, joint=context.fit(parts, self.values, self.layout))

    def _joint_parts(self, model: Model, works: Iterable[Work]) -> list[Sample]:
        """Lattice integers with what the autoencoder makes of the rows."""
        parts = []
        for block, work in works:
            latents = model.quantize_latents(block, work.keep)
            parts.append(Sample(work.q, work.keep, model.reference(latents, block.shape)))
        return parts

    # --- targets without a bound --------------------------------------------------------------------------------

    def _unbounded(self, kind: str) -> Model:
        if self.target.kind == "latent-dim":
            return self._with_latents(kind)
        if kind == "none":
            return self._coded_well(self._lattice_for(self._goal))
        if kind == "conv":
            return self._coded_well(self._restored_for(self._goal))
        if kind != "auto":
            return self._autoencoder(kind)
        found = [self._autoencoder("pca")] if autoencoders.suits(self.source) else []  # first: it takes no time
        if not (found and self.clock.is_over()):
            rival = self._restored_for(self._goal, _HOPE_OF_CONV * self._cost(found[0]) if found else math.inf)
            hope = not found or self._cost(rival) < _SIGHT * self._cost(found[0])
            found.append(self._coded_well(rival) if hope else rival)
        if len(found) > 1 and self._cost(found[0]) < 2 * self._cost(found[1]) and not self.clock.is_over():
            found.append(self._autoencoder("vanilla"))
        self.tried = {model.kind: round(self._size(model)) for model in found}
        for name, size in self.tried.items():
            _log.info("model %s: the archive takes about %s bytes", name, f"{size:,}")
        return min(found, key=self._cost)

    def _coded_well(self, model: Model) -> Model:
        """The model with a network behind its context coder, where that pays; at a size its cells would have to change
        with it."""
        return model if self._goal.rmse is None else self._sharpened(model)

    def _cost(self, model: Model) -> float:
        """What is still free at the goal: the bytes where an error is asked for, the error where a size is."""
        if self._goal.bytes is None:
            return self._size(model)
        return sum((model.error(block) for block in self._trial()), Distortion()).rmse

    @cached_property
    def _goal(self) -> quality.Goal:
        """What to reach; a psnr takes a pass over the source."""
        return quality.goal(self.target, self.source, self.fills, self.progress)

    def _lattice_for(self, goal: quality.Goal) -> Model:
        """The context coder on the widest cells that reach the goal."""
        trial = self._trial()
        layout = None

        def rough(model: Model) -> float:
            nonlocal layout
            fitted = self._with_context(model, trial, layout)
            layout = _layout(fitted)
            return self._bytes(fitted, trial)

        def careful(model: Model) -> float:
            samples = self._affordable(self.samples)
            return self._bytes(self._with_context(model, samples, layout), samples)

        step = quality.lattice_step(goal, self._in_cells, rough, careful, self.samples)
        checked = self._checked(goal, step, self._in_cells) or quality.sure_step(goal, self.source.spec.native)
        return self._with_context(self._in_cells(checked))

    def _in_cells(self, step: float) -> Model:
        return replace(self._blank(), cells=_cells(step))

    def _checked(self, goal: quality.Goal, step: float, at: Callable[[float], Model]) -> float | None:
        return quality.checked_step(goal, step, at, self.source, self.progress)

    def _restored_for(self, goal: quality.Goal, most: float = math.inf) -> Model:
        """Wider cells with a convolution that makes good for it, and an encoder that may trade error for bits.

        Where plain cells cost more than ``most``, they are the answer.
        """
        plain = self._lattice_for(goal)
        if most < math.inf and self._cost(plain) > most:
            return plain
        start, layout = float(plain.cells.step or 1.0), _layout(plain)
        found: list[Model] = []
        for thrift in _THRIFTS:
            if found and self.clock.is_over():
                break
            rival = self._restored(goal, start, thrift, self._trial(), layout, _TRIAL_SHARE)
            found += [] if rival is None else [rival]
        if not found:
            return plain
        first = min(found, key=self._cost)
        samples, step = self._affordable(self.samples), float(first.cells.step or 1.0)
        best = self._restored(goal, step, first.thrift, samples, layout, _FINAL_SHARE)
        best = best and self._with_context(best, self._affordable(self.samples), layout)
        return min((plain, *self._reaching(goal, best)), key=self._cost)

    def _restored(
        self,
        goal: quality.Goal,
        step: float,
        thrift: float,
        samples: Sequence[Array],
        layout: Layout | None,
        share: float,
    ) -> Model | None:
        """A rough context coder of ``samples`` and a convolution, in the widest cells that reach the goal with both.

        ``share`` of the time left goes to the convolution. None where there is too little to learn from.
        """
        blank = replace(self._in_cells(step), kind="conv", thrift=thrift)
        model = self._with_context(blank, samples, layout, rough=True)
        conv = self._convolution(model, share)
        return None if conv is None else self._approached(goal, replace(model, conv=conv), samples)

    def _approached(self, goal: quality.Goal, model: Model, samples: Sequence[Array]) -> Model:
        """The model in the widest cells that reach the goal, a rough context coder fitted to them.

        Where only the error is asked for and no thrift asks what integers cost, it is fitted once, at the end.
        """
        if goal.rmse is None or model.thrift:
            return self._nearest(goal, model, partial(self._refitted, model, samples))
        near = self._nearest(goal, model, partial(_resized, model))
        return self._refitted(near, samples, float(near.cells.step or 1.0))

    def _refitted(self, model: Model, samples: Sequence[Array], step: float) -> Model:
        """The model in cells of this width, its context coder fitted to them from scratch: prices of other cells
        mislead."""
        fresh = replace(_resized(model, step), context=None)
        return self._with_context(fresh, samples, _layout(model), rough=True)

    def _nearest(self, goal: quality.Goal, model: Model, at: Callable[[float], Model]) -> Model:
        trial = self._trial()
        return quality.approached(goal, model, at, lambda rival: goal.error(quality.outcomes(rival, trial)), self._size)

    def _reaching(self, goal: quality.Goal, model: Model | None) -> list[Model]:
        """The model in cells with which the whole source reaches the goal; nothing if there are none."""
        if model is None:
            return []
        step = self._checked(goal, float(model.cells.step or 1.0), partial(_resized, model))
        return [] if step is None else [_resized(model, step)]

    def _resteered(self, model: Model) -> Model | None:
        """A given model as it is, in cells that reach the goal; None if its coder would not suit them."""
        if self._goal.rmse is None or model.context is None:
            return None
        kept = replace(model, target=self.target, fills=self.fills, known_as=None)
        near = [found for found in self._reaching(self._goal, kept) if _alike(model.cells, found.cells, _RESTEERED)]
        return near[0] if near else None

    def _retuned(self, model: Model) -> Model:
        """A given model for the goal: its convolution and thrift stay, the cells and the context coder are fitted."""
        if model.conv is None:
            return self._lattice_for(self._goal)
        blank = replace(self._blank(), kind="conv", conv=model.conv, thrift=model.thrift)
        best = self._approached(self._goal, replace(blank, cells=model.cells, context=model.context), self.samples)
        best = self._with_context(best, layout=_layout(best))
        return next(iter(self._reaching(self._goal, best)), None) or self._lattice_for(self._goal)

    def _convolution(self, model: Model, share: float) -> Convolution | None:
        """A convolution for the model's cells, trained for this share of the time left."""
        from aecompress.autoencoder.conv import Lesson, fit_conv

        step = float(model.cells.step or 1.0)
        lessons = [Lesson(work.q, work.keep, block / step) for block, work in self._works(model)]
        return fit_conv(lessons, seconds=self.clock.share(share), seed=self.seed, progress=self.progress)

    def _autoencoder(self, kind: str) -> Model:
        goal = self._goal
        linear, rows = self._linear
        rmse = goal.rmse or quality.linear_rmse(goal, linear, rows, self.source)
        choice = autoencoders.choose_linear(linear, rows, self.source.spec.shape[0], rmse)
        if choice is None:
            return self._lattice_for(goal)
        return self._quantized(self._blank(), self._trained(kind, choice), choice.step)

    def _quantized(self, blank: Model, encoder: Autoencoder, start: float = 0.0) -> Model:
        """The autoencoder with the widest step that reaches the goal; the lattice where it cannot."""
        goal, latents = self._goal, self._latents(encoder)
        blank = replace(blank, thrift=_THRIFT)

        def at(step: float) -> Model:
            return autoencoders.with_network(blank, encoder, step, self.source, latents)

        start = start or float(encoder.deviation.max()) / 16
        step = quality.latent_step(goal, at, self._size, self.samples, self.source, start, self.progress)
        if step is None and self.recipe.latents:
            raise InputError(
                f"{encoder.latent_dim} latents cannot reach {self.target.describe()} here, however fine their steps: "
                "set more latents, or leave their number to the target."
            )
        return self._lattice_for(goal) if step is None else at(step)

    def _size(self, model: Model) -> float:
        return self._bytes(model, self._trial())

    def _with_latents(self, kind: str) -> Model:
        """``--latent-dim``: that many latents, with a step that adds little to the error of having no more."""
        autoencoders.needs_rows(self.source, kind)
        if kind == "none":
            raise InputError("A number of latents (--latent-dim) needs an autoencoder; leave --model none out.")
        many = int(self.target.value or 0)
        if self.recipe.latents not in (None, many):
            raise InputError(f"The target asks for {many} latents, the settings for {self.recipe.latents}: name one.")
        linear = autoencoders.fit_linear(self.source, self.fills, many, self.seed, self.progress)
        rows = autoencoders.trial_rows(linear, self.samples, self.fills)
        lost = float(np.square(rows - linear.synthesis(linear.analysis(rows))).mean())
        least = (1e-3 * float(linear.deviation.max())) ** 2 / 12
        step = math.sqrt(12 * max(0.05 * lost * rows.shape[1] / linear.latent_dim, least)) or 1.0
        if kind == "pca":
            return autoencoders.with_network(self._blank(), linear, step, self.source, self._latents(linear))
        member = "vanilla" if kind == "auto" else kind
        encoder = self._trained(member, autoencoders.Choice(linear.latent_dim, step, 0.0))
        return autoencoders.with_network(self._blank(), encoder, step, self.source, self._latents(encoder))

    def _with_same_latents(self, blank: Model, model: Model) -> Model:
        """A given model with as many latents as ``--latent-dim`` asks for: its steps stay, the prior is fitted."""
        encoder, many = model.encoder, int(self.target.value or 0)
        if encoder is None or model.steps is None or encoder.latent_dim != many:
            has = "no latents" if encoder is None else f"{encoder.latent_dim} latents"
            raise ModelError(f"The model has {has}, not the {many} of the target: fit a model with that many.")
        step = float((model.steps / encoder.steps(1.0)).mean())
        return autoencoders.with_network(blank, encoder, step, self.source, self._latents(encoder))

    # --- shared -------------------------------------------------------------------------------------------------

    def _blank(self) -> Model:
        spec = ArraySpec(self.source.spec.native, self.source.spec.row_shape)
        cells = Cells("real", np.asarray(1.0), np.asarray(math.inf))
        return Model(spec, "none", self.target, cells, self.fills)

    def _works(self, model: Model, samples: Sequence[Array] | None = None) -> Iterator[Work]:
        """Sample blocks that fit the model's lattice, prepared for its coders."""
        for block in self.samples if samples is None else samples:
            work = methods.prepare(model, block)
            if work is not None:
                yield block, work

    def _with_context(
        self, model: Model, samples: Sequence[Array] | None = None, layout: Layout | None = None, *, rough: bool = False
    ) -> Model:
        """The model with a context coder fitted to the samples, and the rate it reaches there.

        An encoder that trades error for bits asks the coder what they cost, so a rough one is fitted first.
        """
        if model.thrift and model.context is None:
            model = self._with_coder(model, samples, layout, rough=True)
            layout = _layout(model)
        return self._with_coder(model, samples, layout, rough=rough)

    def _with_coder(
        self, model: Model, samples: Sequence[Array] | None, layout: Layout | None, *, rough: bool
    ) -> Model:
        parts, apart = [], 0
        for _, work in self._works(model, samples):
            parts.append(Sample(split_wide(work.q)[0], work.keep))
            apart += sum(len(data) for data in work.streams.values())
        coder = context.fit(parts, self.values, layout or self.layout, with_classes=not rough)
        seen = sum(part.q.size for part in parts)
        rate = (context.bits(coder, parts) + 8 * apart) / seen if seen else 0.0
        return replace(model, context=coder, rate=rate)

    def _with_simple(self, model: Model) -> Model:
        """The model with the size that the simple ways make of part of the samples."""
        rows = _SIMPLE_BYTES // max(len(self.samples) * self.source.spec.row_bytes, 1)
        apart = math.ceil(len(self.samples) * self.source.spec.row_bytes / _SIMPLE_BYTES) if not rows else 1
        parts = [block[: max(1, rows)] for block in self.samples[::apart]]
        raw = sum(part.nbytes for part in parts)
        simple = sum(model.simplest(part) for part in parts) / raw if raw else 1.0
        if raw and not model.rate:  # latents alone
            model = replace(model, rate=8 * sum(map(model.estimate, parts)) / sum(part.size for part in parts))
        spent = model.rate / (8 * self.source.spec.native.itemsize)
        if model.context is not None and model.joint is None and simple < _HOPELESS * spent:
            model = replace(model, context=None)
        return replace(model, simple=simple, rate=model.rate if spent < _RIVAL * simple else 0.0)

    def _trial(self) -> list[Array]:
        """Small parts of the samples, to compare candidates on."""
        rows = max(1, context.TRIAL_VALUES // max(self.source.spec.row_size * max(len(self.samples), 1), 1))
        return [block[:rows] for block in self.samples]

    def _affordable(self, blocks: list[Array]) -> list[Array]:
        """The blocks, or small parts of the samples when time is over."""
        return self._trial() if self.clock.is_over() else blocks

    def _bytes(self, model: Model, trial: Sequence[Array]) -> float:
        """Bytes of the whole set, model included, from coding the trial blocks."""
        raw = sum(block.nbytes for block in trial)
        coded = sum(model.estimate(block) for block in trial)
        share = self.values * self.source.spec.native.itemsize / max(raw, 1)
        return coded * share + len(model.decoder().to_bytes())


def _cells(step: float) -> Cells:
    return Cells("real", np.asarray(step), np.asarray(math.inf))


def _resized(model: Model, step: float) -> Model:
    """The model with cells of another width."""
    return replace(model, cells=_cells(step))


def _layout(model: Model) -> Layout | None:
    """The layout of a model's context coder."""
    return model.context.predictor.layout if model.context else None


def _alike(first: Cells, second: Cells, share: float = 0.5) -> bool:
    """True if a context coder for the one serves the other: widths differ by this share at most."""
    if (first.kind, first.axis, first.relative, first.point) != (
        second.kind, second.axis, second.relative, second.point,
    ):  # fmt: skip
        return False
    if first.step is None or second.step is None:
        return True
    return first.step.shape == second.step.shape and bool(np.allclose(first.step, second.step, rtol=share, atol=0))
