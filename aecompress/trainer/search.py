"""What every search for a model shares: the source, looks at it, the time, and coders fitted to what was seen."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress.abreast import abreast
from aecompress.codec import methods
from aecompress.codec.cells import Cells
from aecompress.codec.model import Model
from aecompress.config import Effort, Progress, Role, Target
from aecompress.context import fit as context
from aecompress.context.sample import Sample
from aecompress.context.stencil import Layout
from aecompress.devices import Device
from aecompress.quantize import split_wide
from aecompress.recipe import KNOWN, Recipe
from aecompress.sources.base import Source
from aecompress.spec import Array, ArraySpec
from aecompress.trainer import autoencoders, roles, sampling
from aecompress.trainer.checkpoint import CheckpointFile
from aecompress.trainer.clock import Clock
from aecompress.trainer.sampling import fill_values, packed_rows, sample

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder
    from aecompress.context.coder import ContextModel

#: A sample block, and what it is on a model's lattice.
Work = tuple[Array, methods.Work]

_HOPELESS = 0.5  # where the simple ways take less than this share, the context coder stays at home
# where the model takes more than this share of the simple ways, every block tries them
_RIVALS, _FAST_RIVALS = 0.9, 1.0
_SIMPLE_BYTES = 1 << 19  # of the samples go through the simple ways, which are slow
_NETWORKS = {"balanced": (64, 10_000), "best": (96, 16_000)}  # most units of a layer and batches, by effort
_NETWORK_SHARE = 2 / 3  # of the time left, for a network behind a context coder
_TRAINING_SHARE = 3 / 4  # and for an autoencoder
_MOST_TRIED, _FEWEST_TRIED = 1 << 20, 4  # values that candidates are compared on, and samples that they are part of
_EARLY = 2 / 3  # share of the time after which there are no more lessons than samples, which may be of few rows


class Search(ABC):
    """One fit: the source, what was asked of it, and what was seen of it."""

    def __init__(
        self,
        source: Source,
        target: Target,
        recipe: Recipe,
        clock: Clock,
        effort: Effort,
        axes: Sequence[Role] | None,
        seed: int,
        device: Device,
        progress: Progress,
        checkpoint: Path | None = None,
        *,
        of_places: bool = False,
    ) -> None:
        self.source, self.target, self.recipe = source, target, recipe
        self.clock, self.effort, self.seed, self.progress = clock, effort, seed, progress
        self.device = device
        self.layout = roles.layout_of(axes, source.spec) if axes else None
        self.ordered = roles.ordered(axes, source.spec) if axes else None
        self.height = packed_rows(source.spec, target, effort)
        self.samples = sample(source, self.height, sampling.SAMPLE_VALUES, sampling.SAMPLE_BLOCKS, progress)
        self.fills = fill_values(self.samples, source.spec.native)
        self.values = math.prod(source.spec.shape)
        self.size = source.spec.row_shape[-1] if of_places else source.spec.row_size  # of what an autoencoder takes
        self.rows = self.values // max(self.size, 1)
        self.tried: dict[str, int] = {}
        self._content: list[ContextModel] = []  # coders for which a network was trained and did not pay
        self.checkpoint = None if checkpoint is None else CheckpointFile(checkpoint)

    @cached_property
    def seen(self) -> float:
        """The share of all values that the samples hold."""
        return sum(block.size for block in self.samples) / self.values if self.values else 1.0

    @cached_property
    def lessons(self) -> list[Array]:
        """More blocks than ``samples``, for the coder that stays; the same of a source, or a time, that has no more."""
        if self.seen == 1 or self.clock.spent > _EARLY * self.clock.seconds:
            return self.samples
        return sample(self.source, self.height, sampling.LESSON_VALUES, sampling.LESSON_BLOCKS, self.progress)

    def run(self, kind: str) -> Model:
        """A model of this kind for the source."""
        if kind in KNOWN:
            autoencoders.needs_rows(self.source, kind)
        if self.checkpoint is not None:
            self.checkpoint.expect(
                source=self.source.spec.describe(),
                values=self._fingerprint()[:16],
                model=kind,
                target=self.target.describe(),
                settings=self.recipe.changed,
                seed=self.seed,
            )
        model = self._with_simple(self._found(kind))
        return replace(model, about=self._about(model))

    @abstractmethod
    def adapted(self, model: Model) -> Model:
        """A given model for the source."""

    @abstractmethod
    def _found(self, kind: str) -> Model:
        """The smallest model of this kind that serves the target."""

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

    def _sharpened(self, model: Model) -> Model:
        """The model with networks behind its context coders, where they pay."""
        if self.fast:
            return model
        units, steps = _NETWORKS[self.effort]
        for name, parts in self._lessons(model).items():
            if self.clock.is_over():
                break
            coder = getattr(model, name)
            seconds = self.clock.share(_NETWORK_SHARE)
            many = self._coded_values(model)
            found, saved = context.with_network(coder, parts, many, units, steps, seconds, self.seed, self.progress)
            if found is coder:
                self._content.append(coder)
            changed: dict[str, Any] = {
                name: found,
                "rate": model.rate - (saved * many / max(self.values, 1) if name != "joint" else 0.0),
            }
            if model.thrift and name == "context" and found is not coder and model.prices is None:
                changed["prices"] = coder
            model = replace(model, **changed)
        return model

    @property
    def fast(self) -> bool:
        """True if blocks are to be coded fast, and may take a few percent more."""
        return self.effort == "fast"

    def _lessons(self, model: Model) -> dict[str, list[Sample]]:
        """What each context coder of a model that has yet to try a network is asked to code of the samples."""
        found: dict[str, list[Sample]] = {}
        if model.latents_alone:
            return {"context": self._latent_parts(model, self.lessons)} if self._is_due(model.context) else {}
        if self._is_due(model.context):
            works = self._works(model, self.lessons)
            found["context"] = [Sample(split_wide(work.q)[0], work.keep) for _, work in works]
        if self._is_due(model.joint):
            found["joint"] = self._joint_parts(model, self._works(model, self.lessons))
        return found

    def _is_due(self, coder: ContextModel | None) -> bool:
        """True if there is a coder for which no network was trained."""
        return coder is not None and coder.network is None and not any(coder is known for known in self._content)

    def _latent_parts(self, model: Model, blocks: Sequence[Array]) -> list[Sample]:
        """Latents that a model which codes no others has for the blocks."""
        found = abreast(lambda block: methods.latents_of(model, block)[0], blocks)
        return [Sample(latents.astype(np.int64), np.ones(latents.shape, bool)) for latents in found]

    def _coded_values(self, model: Model) -> int:
        """Integers that the context coder of a model codes in the whole set."""
        if not model.latents_alone:
            return self.values
        if model.strided is None:
            return self.rows * model.latent_dim
        return math.prod(model.strided.grid.cells(self.source.spec.shape)) * model.strided.latents

    @cached_property
    def _linear(self) -> tuple[Autoencoder, Array]:
        """PCA with as many latents as may be wanted, and rows [n, D] to choose their number on."""
        most = min(self.size, self.rows, autoencoders.MOST_LATENTS if self.size > 4096 else self.size)
        linear = autoencoders.fit_linear(self.source, self.fills, most, self.seed, self.progress, size=self.size)
        return linear, autoencoders.trial_rows(linear, self.samples, self.fills)

    def _trained(self, kind: str, choice: autoencoders.Choice) -> Autoencoder:
        """The autoencoder of this kind with the number of latents, and for the step, that were chosen."""
        wanted = replace(choice, latents=self.recipe.latents or choice.latents)
        if kind in ("pca", "auto"):
            return self._linear[0].truncated(wanted.latents)
        if self.checkpoint is not None:
            self.checkpoint.expect(latents=wanted.latents, step=float(f"{wanted.step:.6g}"))
        fitted = autoencoders.fit_nonlinear(
            self.source,
            self.fills,
            kind,
            wanted,
            recipe=self.recipe,
            seconds=self.clock.share(_TRAINING_SHARE),
            seed=self.seed,
            device=self.device,
            progress=self.progress,
            checkpoint=self.checkpoint,
        )
        if self.checkpoint is not None:
            self.clock = self.clock.advanced(self.checkpoint.seconds)
        return fitted

    def _latents(self, encoder: Autoencoder) -> Array:
        """Latents of the samples, before rounding."""
        return autoencoders.latents_of(encoder, self.samples, self.fills)

    def _joint_parts(self, model: Model, works: Iterable[Work]) -> list[Sample]:
        """Lattice integers with what the autoencoder makes of the rows."""
        parts = []
        for block, work in works:
            latents = model.quantize_latents(block, work.keep)
            parts.append(Sample(work.q, work.keep, model.reference(latents, block.shape)))
        return parts

    def _size(self, model: Model) -> float:
        return self._bytes(model, self._trial())

    def _blank(self) -> Model:
        spec = ArraySpec(self.source.spec.native, self.source.spec.row_shape)
        return Model(spec, "none", self.target, free_cells(1.0), self.fills)

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
            layout = layout_of(model)
        return self._with_coder(model, samples, layout, rough=rough)

    def _with_coder(
        self,
        model: Model,
        samples: Sequence[Array] | None,
        layout: Layout | None,
        *,
        rough: bool,
        spread: Sequence[Array] = (),
    ) -> Model:
        """The model with a context coder fitted to the samples, and to parts of them ``spread`` over the set where
        layouts are compared."""
        parts, apart = [], 0
        for _, work in self._works(model, samples):
            parts.append(Sample(split_wide(work.q)[0], work.keep))
            apart += sum(len(data) for data in work.streams.values())
        layout = layout or self.layout
        coder = context.fit(
            parts,
            self.values,
            layout,
            with_classes=not rough,
            quick=self.fast,
            fixed=self.layout is not None,
            spread=[Sample(split_wide(work.q)[0], work.keep) for _, work in self._works(model, spread)],
        )
        seen = sum(part.q.size for part in parts)
        rate = (context.bits(coder, parts) + 8 * apart) / seen if seen else 0.0
        return replace(model, context=coder, rate=rate)

    def _with_simple(self, model: Model) -> Model:
        """The model with the size that the simple ways make of part of the samples.

        What the model makes of that part counts beside its rate, which may be of blocks that are harder to code.
        """
        rows = _SIMPLE_BYTES // max(len(self.samples) * self.source.spec.row_bytes, 1)
        apart = math.ceil(len(self.samples) * self.source.spec.row_bytes / _SIMPLE_BYTES) if not rows else 1
        parts = [block[: max(1, rows)] for block in self.samples[::apart]]
        raw = sum(part.nbytes for part in parts)
        if not raw:
            return model
        bits = 8 * self.source.spec.native.itemsize
        simple, found = (sum(map(size, parts)) / raw for size in (model.simplest, model.estimate))
        if not model.rate:  # latents alone
            model = replace(model, rate=found * bits)
        spent = min(model.rate / bits, found)
        alone = model.context is not None and model.joint is None and not model.latents_alone
        if alone and simple < _HOPELESS * spent:
            model = replace(model, context=None)
        rivals = _FAST_RIVALS if self.fast else _RIVALS
        return replace(model, simple=simple, rate=model.rate if spent < rivals * simple else 0.0)

    def _trial(self) -> list[Array]:
        """Small parts of the samples, to compare candidates on: of few samples several, for rows that lie far apart may
        differ. Of samples whose rows are large fewer are looked at."""
        size = max(self.source.spec.row_size, 1)
        known = len(self.samples)
        samples = self.samples[:: max(1, min(known * size // _MOST_TRIED, known // _FEWEST_TRIED))]
        many = max(len(samples), 1)
        rows = max(1, context.TRIAL_VALUES // (size * many))
        parts = max(sampling.SAMPLE_BLOCKS // many, 1)
        return [part for block in samples for part in sampling.stretches(block, rows, parts)]

    def _affordable(self, blocks: list[Array]) -> list[Array]:
        """The blocks, or small parts of the samples when time is over."""
        return self._trial() if self.clock.is_over() else blocks

    def _bytes(self, model: Model, trial: Sequence[Array]) -> float:
        """Bytes of the whole set, model included, from coding the trial blocks."""
        raw = sum(block.nbytes for block in trial)
        coded = sum(abreast(model.estimate, trial))
        share = self.values * self.source.spec.native.itemsize / max(raw, 1)
        return coded * share + len(model.decoder().to_bytes())


def alike(first: Cells, second: Cells, share: float = 0.5) -> bool:
    """True if a context coder for the one serves the other: widths differ by this share at most."""
    if (first.kind, first.axis, first.relative, first.point) != (
        second.kind, second.axis, second.relative, second.point,
    ):  # fmt: skip
        return False
    if first.step is None or second.step is None:
        return True
    return first.step.shape == second.step.shape and bool(np.allclose(first.step, second.step, rtol=share, atol=0))


def free_cells(step: float) -> Cells:
    """Cells of this width that promise no bound."""
    return Cells("real", np.asarray(step), np.asarray(math.inf))


def layout_of(model: Model) -> Layout | None:
    """The layout of a model's context coder."""
    return model.context.predictor.layout if model.context else None
