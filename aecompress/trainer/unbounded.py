"""Targets without a bound: the widest cells or steps that reach a quality, a size or a number of latents."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from aecompress.abreast import abreast
from aecompress.codec import specials
from aecompress.codec.model import Model
from aecompress.context import fit as context
from aecompress.context.stencil import Layout
from aecompress.errors import InputError, ModelError
from aecompress.metrics import Distortion
from aecompress.spec import Array
from aecompress.trainer import autoencoders, quality, sampling, smooth
from aecompress.trainer.search import Search, alike, free_cells, layout_of

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder
    from aecompress.autoencoder.convolution import Convolution
    from aecompress.autoencoder.strided import StridedAutoencoder

_log = logging.getLogger(__name__)

_THRIFTS = (0.0, math.log(2) / 6)  # squared error for a bit: none, and what halving a cell costs a bit
_GAIN = 0.99  # context coders must bring the bytes of latents below this share of what their tables take
_FURTHER = 0.99  # and another number of latents those of the number before
_THRIFT = 0.08  # squared error of latents, in steps, for a bit
_THRIFT_OF_CELLS = 0.02  # the same of the latents of cells, in steps of the one of greatest gain
_HOPE_OF_CELLS = 2.0  # cells of more than so many times the bytes of the pca are no start for a convolution
_AHEAD = 1.15  # and of more than so many times they leave it little hope to catch up
_HOPE_OF_BANDS = 1.3  # subbands whose first try takes more than so many times the bytes of plain cells are out
_BEYOND_CONV = 1.5  # and of so many times those of subbands
_SURE = 0.9  # a convolution of less than this share of a rough coder's bytes need not be compared with a careful one
_SIGHT = 1.3  # what takes more than so many times the bytes of the best needs no network
_RESTEERED = 0.15  # by which widths may change before a coder of prices misleads a thrifty encoder
_LOW_RATE = 1.5  # bits a value up to which a strided autoencoder may do better than others
_RESEMBLANCE = 0.25  # square of the steps of a series, relative to its variance, up to which neighbours are alike
_LEARNED = 0.9  # error that it learns for where the goal is a size, relative to its rivals'
_BANDS_SHARE = 1 / 3  # of the time left, for levels of subbands: others wait
_HOPE_OF_PATCHES = 1.6  # a strided autoencoder with a rough coder of more than so many times the best is out
_PATCHES_SHARE = 3 / 5  # of the time left, for its training
_TRIAL_SHARE, _FINAL_SHARE = 1 / 12, 1 / 2  # and for a convolution that is tried, and for the one that stays


class Unbounded(Search):
    """A search for the model that reaches the target at the least cost."""

    def adapted(self, model: Model) -> Model:
        if self.target.kind == "latent-dim":
            return self._with_same_latents(model)
        if model.latents_alone and (near := self._repaced(model)):
            return near
        if model.patches is not None:
            return (self._stepped(model.patches) or [self._plain])[0]
        if model.encoder is not None:
            found = self._quantized(model.encoder, _pace(model))
            return found if found.network is None else self._coded_well(found)
        return self._resteered(model) or self._coded_well(self._retuned(model))

    def _found(self, kind: str) -> Model:
        if self.target.kind == "latent-dim":
            return self._with_latents(kind)
        if kind == "none":
            return self._fewest()
        if kind == "conv":
            return self._coded_well(self._restored_for())
        if kind == "strided":
            rivals = [] if self._goal.bytes is None else [self._roughly, *self._bands]
            return (self._in_patches(rivals) or [self._plain])[0]
        if kind != "auto":
            return self._coded_well(self.pca if kind == "pca" else self._autoencoder(kind))
        return self._smallest()

    @cached_property
    def pca(self) -> Model:
        """PCA with a rough coder of its latents, which takes no time; plain cells where it cannot reach the goal."""
        return self._autoencoder("pca")

    def quick(self, kind: str) -> float:
        """The cost of the best of what takes little time to fit, of this kind; infinite if there is nothing."""
        found = self._suited if kind == "pca" else self._quickly
        self.tried = self.sizes(found)
        return min(map(self.cost, found), default=math.inf)

    @cached_property
    def _quickly(self) -> list[Model]:
        """PCA and plain cells, both with rough coders, and subbands unless time is over by then."""
        return [*self._suited, self._roughly, *([] if self.clock.is_over() else self._bands)]

    @property
    def _suited(self) -> list[Model]:
        """PCA, if there are rows enough for one."""
        return [self.pca] if autoencoders.suits(self.rows, self.size) else []

    def sizes(self, models: Sequence[Model]) -> dict[str, int]:
        """Bytes of the archive that each makes, about, by its name."""
        return {_name(model): round(self._sized(model)) for model in models}

    def _sized(self, model: Model) -> float:
        """Bytes of the archive that the model makes, about."""
        return self.cost(model) if self._goal.bytes is None else self._bytes(model, self.samples)

    def _smallest(self) -> Model:
        """The member of the family that costs least, of those that there is time for."""
        found = list(self._quickly)
        linear, bands = self._suited, [model for model in found if model.subbands is not None]
        cells, least = self.cost(self._roughly), min(map(self.cost, found))
        hope = all(cells <= _HOPE_OF_CELLS * self.cost(m) for m in linear)
        beyond = any(cells > _BEYOND_CONV * self.cost(m) for m in bands)
        ahead = any(_AHEAD * self.cost(m) < min([cells, *map(self.cost, bands)]) for m in linear)
        if ahead:
            linear = [self._coded_well(linear[0])]  # before others take its time
            found = [*linear, self._roughly, *bands]
            least = min(map(self.cost, found))
        rate = 8 * (self._goal.bytes or least) / self.values
        if hope and self._may_stride(bands, least, rate) and not self.clock.is_late():
            found += self._in_patches([self._roughly, *linear, *bands], rate)
        if hope and not beyond and not self.clock.is_late():
            rival = self._restored_for()
            found.append(self._coded_well(rival) if self.cost(rival) < _SIGHT * least else rival)
        best = min(found, key=self.cost)
        if linear and self.cost(linear[0]) < 2 * self.cost(best) and not self.clock.is_late():
            found.append(self._coded_well(self._autoencoder("vanilla")))
        self.tried = self.sizes(found)
        for name, size in self.tried.items():
            _log.info("model %s: the archive takes about %s bytes", name, f"{size:,}")
        best = min(found, key=self.cost)
        if best is self._roughly and not self.clock.is_over():
            best = self._coded_well(self._plain)
        if ahead or not linear or self.cost(linear[0]) > _SIGHT * self.cost(best):
            return best
        return min((self._coded_well(linear[0]), best), key=self.cost)  # as ``pca`` would be, whatever the clock says

    def _fewest(self) -> Model:
        """Plain cells or subbands: what costs less."""
        found = list(self._bands)
        if not found or _SIGHT * self.cost(found[0]) > self.cost(self._roughly):
            found.append(self._coded_well(self._plain))
        return min(found, key=self.cost)

    @cached_property
    def _bands(self) -> list[Model]:
        """Subbands that reach the goal; nothing where blocks have none, or they take more than plain cells."""
        if not self.samples or not smooth.suits(self.samples[0].shape, self.ordered):
            return []
        clock = self.clock.part(_BANDS_SHARE)
        cells, other = self._in_cells(self._step), self.seen * self._sized(self._roughly)
        model = smooth.fit_subbands(cells, self.samples, clock, self.ordered, other=other, hope=_HOPE_OF_BANDS)
        return [] if model is None else self._widest(model)

    @cached_property
    def _pictures(self) -> list[Array]:
        """Blocks that a strided autoencoder learns from: more than the samples, for it has much to learn."""
        return sampling.sample(self.source, self.height, sampling.LESSON_VALUES, sampling.LESSON_BLOCKS, self.progress)

    def _ordinary(self, blocks: Sequence[Array]) -> list[Array]:
        """The blocks as floats, NaN where a value is special."""
        return [np.where(specials.ordinary(block, self.fills), block, np.nan) for block in blocks]

    def _may_stride(self, bands: Sequence[Model], least: float, rate: float) -> bool:
        """True if a strided autoencoder may do better than what costs ``least``, at so many bits a value: on planes
        where that is ``bands``, and on series whose neighbours resemble each other."""
        from aecompress.autoencoder.strided import grid_of

        grid = grid_of(self.source.spec.row_shape)
        if rate > _LOW_RATE:
            return False
        if grid is None or grid.axes == 2:
            return any(self.cost(m) <= least for m in bands)
        along = -2 if grid.colours else -1
        if self.ordered is not None and not self.ordered[max(along, -len(self.ordered))]:
            return False
        known = self._ordinary(self.samples)
        steps, values = (np.concatenate(parts) for parts in ([np.diff(b, axis=along).ravel() for b in known], known))
        steps, values = steps[np.isfinite(steps)], values[np.isfinite(values)]
        return bool(len(steps) and np.square(steps).sum() < _RESEMBLANCE * np.square(values - values.mean()).sum())

    def _in_patches(self, rivals: Sequence[Model], worth: float = math.inf) -> list[Model]:
        """A strided autoencoder that reaches the goal; nothing where there is none, or too little to learn from, or
        where it is far from the rivals, which take ``worth`` bits a value.

        Where the goal is a size it learns to err a little less than the rivals do at that.
        """
        from aecompress.autoencoder.strided import fit_strided, grid_of

        if grid_of(self.source.spec.row_shape) is None:
            return []
        patches = fit_strided(
            self._ordinary(self._pictures),
            self._goal.rmse or _LEARNED * min(map(self.cost, rivals)),
            worth=worth,
            seconds=self.clock.share(_PATCHES_SHARE),
            seed=self.seed,
            device=self.device,
            progress=self.progress,
        )
        most = min(map(self.cost, rivals)) if math.isfinite(worth) else math.inf
        return [] if patches is None else self._stepped(patches, _HOPE_OF_PATCHES * most)

    def _stepped(self, patches: StridedAutoencoder, most: float = math.inf) -> list[Model]:
        """The strided autoencoder in the widest step that reaches the goal, and a coder of its latents; nothing where
        the goal is out of reach, or it costs more than ``most`` with a rough coder.

        It is thrifty where that costs less; what latents cost is told by a rough coder of those without thrift.
        """
        plain = self._paced(replace(self._blank(), kind="strided", patches=patches))
        trial = self._trial()
        spent = self._free(plain, trial)
        if spent > most:
            return []
        thrifty = self._paced(replace(plain, thrift=_THRIFT_OF_CELLS, prices=plain.context))
        near = thrifty if self._free(thrifty, trial) < spent else plain
        step = self._checked(near.pace or 1.0, partial(_at_pace, near))
        if step is None:
            return []
        return [self._coded_well(self._with_latent_coder(_at_pace(near, step), self._pictures))]

    def _resized_to_goal(self, model: Model) -> Model:
        """The model of latents alone in the finest step in which its coder, as it is, takes no more bytes than the
        goal."""
        at, blocks = self._in_steps(model), self.samples if model.strided is None else self._pictures
        size = partial(self._bytes, trial=blocks)
        step = quality.latent_step(self._goal, at, size, blocks, self.source, _pace(model), self.progress)
        return model if step is None else at(step)

    def _paced(self, model: Model) -> Model:
        """The strided model in the widest step that reaches the goal on the samples, with a rough coder."""
        trial, step = self._trial(), model.pace or 1.0

        def rough(model: Model) -> Model:
            return self._with_latent_coder(model, trial, rough=True)

        found = quality.approached(
            self._goal,
            step,
            _at_pace(model, step),
            partial(_at_pace, model),
            partial(_error, self._goal, self.samples),
            lambda rival: self._bytes(rough(rival), trial),
        )
        return rough(found)

    def _with_latent_coder(self, model: Model, blocks: Sequence[Array], *, rough: bool = False) -> Model:
        """The model of latents alone with a context coder fitted to those of these blocks."""
        parts = self._latent_parts(model, blocks)
        layout = layout_of(model)  # if it was compared with others before, only how far it reaches is asked again
        coder = context.fit(
            parts,
            self._coded_values(model),
            layout and replace(layout, far=None),
            with_classes=not rough,
            quick=self.fast,
        )
        rate = context.bits(coder, parts) / sum(block.size for block in blocks)
        return replace(model, context=coder, rate=rate)

    def _widest(self, model: Model) -> list[Model]:
        """The subbands of this model in the widest cells that reach the goal; nothing if there are none."""
        at, size = partial(_resized, model), partial(self._bytes, trial=self.samples)
        step = quality.lattice_step(self._goal, at, size, size, self.samples)
        found = self._reaching(at(step))
        return [replace(m, rate=8 * size(m) / self.values) for m in found]

    def _coded_well(self, model: Model) -> Model:
        """The model with a context coder of its latents, and a network behind that, where they pay, in steps that still
        reach the goal; at a size cells would have to change with it."""
        if model.network is not None:
            model = self._in_context(model)
        if self._goal.rmse is not None:
            return self._sharpened(model)
        return self._resized_to_goal(self._sharpened(model)) if model.latents_alone else model

    def cost(self, model: Model) -> float:
        """What is still free at the goal, on the samples; found out once for each model.

        Whole samples, for subbands adapt as they go on, and contexts may ask where in a block a value lies.
        """
        if id(model) not in self._costs:
            self._costs[id(model)] = model, self._free(model, self.samples)
        return self._costs[id(model)][1]

    def _free(self, model: Model, blocks: Sequence[Array]) -> float:
        """What is still free at the goal: the bytes where an error is asked for, the error where a size is."""
        if self._goal.bytes is None:
            return self._bytes(model, blocks)
        return sum(abreast(model.error, blocks), Distortion()).rmse

    @cached_property
    def _costs(self) -> dict[int, tuple[Model, float]]:
        """By the place of the model in memory, which is its own as long as it is kept."""
        return {}

    @cached_property
    def _goal(self) -> quality.Goal:
        """What to reach; a psnr takes a pass over the source."""
        return quality.goal(self.target, self.source, self.fills, self.progress)

    @cached_property
    def _plain(self) -> Model:
        """The context coder on the widest cells that reach the goal."""
        return self._with_context(self._in_cells(self._step))

    @cached_property
    def _roughly(self) -> Model:
        """The same with a coder of the trial blocks alone, which tells in little time whether it is in sight."""
        return self._with_context(self._in_cells(self._step), self._trial(), rough=True)

    @cached_property
    def _step(self) -> float:
        """The widest cells that reach the goal with a context coder."""
        goal, trial = self._goal, self._trial()
        layout = None

        def rough(model: Model) -> float:
            nonlocal layout
            fitted = self._with_context(model, trial, layout)
            layout = layout_of(fitted)
            return self._bytes(fitted, trial)

        def careful(model: Model) -> float:
            samples = self._affordable(self.samples)
            return self._bytes(self._with_context(model, samples, layout), samples)

        step = quality.lattice_step(goal, self._in_cells, rough, careful, self.samples)
        return self._checked(step, self._in_cells) or quality.sure_step(goal, self.source.spec.native)

    def _in_cells(self, step: float) -> Model:
        return replace(self._blank(), cells=free_cells(step))

    def _checked(self, step: float, at: Callable[[float], Model]) -> float | None:
        return quality.checked_step(self._goal, step, at, self.source, self.progress)

    def _restored_for(self) -> Model:
        """Wider cells with a convolution that makes good for it, and an encoder that may trade error for bits; plain
        cells where it does not pay."""
        rough = self._roughly
        start, layout = float(rough.cells.step or 1.0), layout_of(rough)
        found: list[Model] = []
        for thrift in _THRIFTS:
            if found and self.clock.is_over():
                break
            rival = self._restored(start, thrift, self._trial(), layout, _TRIAL_SHARE)
            found += [] if rival is None else [rival]
        if not found:
            return self._plain
        first = min(found, key=partial(self._free, blocks=self._trial()))
        samples = self._trial() if self.clock.is_late() else self.samples
        step = float(first.cells.step or 1.0)
        best = self._restored(step, first.thrift, samples, layout, _FINAL_SHARE)
        reached = self._reaching(best and self._refined(best, layout))
        if any(self.cost(model) < _SURE * self.cost(rough) for model in reached):
            return reached[0]
        return min((self._plain, *reached), key=self.cost)

    def _restored(
        self,
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
        return None if conv is None else self._approached(replace(model, conv=conv), samples)

    def _approached(self, model: Model, samples: Sequence[Array]) -> Model:
        """The model in the widest cells that reach the goal, a rough context coder fitted to them.

        Where only the error is asked for and no thrift asks what integers cost, it is fitted once, at the end.
        """
        if self._goal.rmse is None or model.thrift:
            return self._nearest(model, partial(self._refitted, model, samples))
        near = self._nearest(model, partial(_resized, model))
        return self._refitted(near, samples, float(near.cells.step or 1.0))

    def _refitted(self, model: Model, samples: Sequence[Array], step: float) -> Model:
        """The model in cells of this width, its context coder fitted to them from scratch: prices of other cells
        mislead."""
        fresh = replace(_resized(model, step), context=None)
        return self._with_context(fresh, samples, layout_of(model), rough=True)

    def _refined(self, model: Model, layout: Layout | None) -> Model:
        """The model with a context coder fitted with care; a thrifty encoder goes on to ask the rough one for prices,
        at which the width of the cells was found: at others it errs more or less."""
        told = replace(model, prices=model.context) if model.thrift else model
        return self._with_context(told, self._affordable(self.samples), layout)

    def _nearest(self, model: Model, at: Callable[[float], Model]) -> Model:
        goal, trial = self._goal, self._trial()
        error = partial(_error, goal, trial)
        return quality.approached(goal, float(model.cells.step or 1.0), model, at, error, self._size)

    def _reaching(self, model: Model | None) -> list[Model]:
        """The model in cells with which the whole source reaches the goal; nothing if there are none.

        Where a thrifty encoder trades error for bits, it does so for less instead: a convolution that was trained for
        other cells may err more in narrower ones, where they are few.
        """
        if model is None:
            return []
        if model.conv is not None and model.thrift:
            thrift = self._checked(math.sqrt(model.thrift), partial(_eased, model))  # squared errors grow with thrift
            if thrift is not None:
                return [_eased(model, thrift)]
        step = self._checked(float(model.cells.step or 1.0), partial(_resized, model))
        return [] if step is None else [_resized(model, step)]

    def _resteered(self, model: Model) -> Model | None:
        """A given model as it is, in cells that reach the goal; None if its coder would not suit them.

        Subbands have no coder that was fitted, but others of their levels may pay in other cells.
        """
        if self._goal.rmse is None or (model.context is None and model.subbands is None):
            return None
        kept = replace(model, target=self.target, fills=self.fills, known_as=None)
        near = [found for found in self._reaching(kept) if alike(model.cells, found.cells, _RESTEERED)]
        return near[0] if near else None

    def _repaced(self, model: Model) -> Model | None:
        """The same of a given model of latents alone and their step; a strided one is fitted anew to a size."""
        kept = replace(model, target=self.target, fills=self.fills, known_as=None)
        if self._goal.bytes is None:
            at = self._in_steps(kept)
            step = self._checked(_pace(kept), at)
            found = None if step is None else at(step)
        else:
            found = self._resized_to_goal(kept) if model.strided is None else None
        return found if found and abs(math.log(_pace(found) / _pace(kept))) < _RESTEERED else None

    def _retuned(self, model: Model) -> Model:
        """A given model for the goal: its subbands, or its convolution and thrift, stay; cells and context coder are
        fitted."""
        if model.subbands is not None:
            kept = replace(self._blank(), cells=model.cells, subbands=model.subbands)
            return (self._widest(kept) or [self._plain])[0]
        if model.conv is None:
            return self._plain
        blank = replace(self._blank(), kind="conv", conv=model.conv, thrift=model.thrift)
        best = self._approached(replace(blank, cells=model.cells, context=model.context), self.samples)
        return (self._reaching(self._refined(best, layout_of(best))) or [self._plain])[0]

    def _convolution(self, model: Model, share: float) -> Convolution | None:
        """A convolution for the model's cells, trained for this share of the time left."""
        from aecompress.autoencoder.conv import Lesson, fit_conv

        step = float(model.cells.step or 1.0)
        lessons = [Lesson(work.q, work.keep, block / step) for block, work in self._works(model)]
        return fit_conv(
            lessons, seconds=self.clock.share(share), seed=self.seed, device=self.device, progress=self.progress
        )

    def _autoencoder(self, kind: str) -> Model:
        choice = self._choice
        if choice is None:
            return self._plain
        return self._in_context(self._quantized(self._trained(kind, choice), choice.step), rough=True)

    @cached_property
    def _choice(self) -> autoencoders.Choice | None:
        """Number of latents and step of a PCA that reaches the goal; None if none does.

        Latents with a table each say where to begin. Contexts make some far cheaper than others, so from there it goes
        on to more of them or fewer while a rough coder takes fewer bytes.
        """
        linear, rows = self._linear
        rmse = self._goal.rmse or quality.linear_rmse(self._goal, linear, rows, self.rows)
        known = autoencoders.choices(linear, rows, self.rows, rmse)
        if not known:
            return None

        def spent(choice: autoencoders.Choice) -> float:
            blank = replace(self._blank(), encoder=linear.truncated(choice.latents))
            coded = self._in_context(self._in_steps(blank)(choice.step), rough=True)
            return self._bytes(coded, self._trial())

        best = min(range(len(known)), key=lambda at: known[at].bytes)
        if self.recipe.latents:
            return known[best]
        least = spent(known[best])
        for way in (1, -1):
            start = best
            while 0 <= best + way < len(known) and not self.clock.is_late():
                if (found := spent(known[best + way])) > _FURTHER * least:
                    break
                best, least = best + way, found
            if best != start:
                break
        return known[best]

    def _in_steps(self, model: Model) -> Callable[[float], Model]:
        """The model of latents alone as a function of their step."""
        if model.patches is not None:
            return partial(_at_pace, model)
        if model.encoder is None:
            raise ModelError("This model can only decode; use the model file that `aecompress fit` wrote.")
        encoder, latents = model.encoder, self._latents(model.encoder)
        return lambda step: autoencoders.with_network(model, encoder, step, self.rows, latents)

    def _in_context(self, model: Model, *, rough: bool = False) -> Model:
        """The model of latents alone with a context coder of them, where that takes fewer bytes than their tables."""
        if model.network is None:
            return model
        few = self.rows * model.latent_dim <= context.TRIAL_VALUES
        blocks, plain = self._trial() if rough and not few else self.samples, replace(model, context=None)
        coded = self._with_latent_coder(plain, blocks, rough=rough)
        return coded if self._bytes(coded, blocks) < _GAIN * self._bytes(plain, blocks) else plain

    def _quantized(self, encoder: Autoencoder, start: float) -> Model:
        """The autoencoder with the widest step that reaches the goal; the lattice where it cannot."""
        goal, blank = self._goal, replace(self._blank(), encoder=encoder, thrift=_THRIFT)
        at, trial = self._in_steps(blank), self._trial()

        def rough(step: float) -> Model:
            return self._with_latent_coder(at(step), trial, rough=True)

        sized = at if goal.bytes is None else rough
        step = quality.latent_step(goal, sized, self._size, self.samples, self.source, start, self.progress)
        if step is None and self.recipe.latents:
            raise InputError(
                f"{encoder.latent_dim} latents cannot reach {self.target.describe()} here, however fine their steps: "
                "set more latents, or leave their number to the target."
            )
        return self._plain if step is None else at(step)

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
        member = "vanilla" if kind == "auto" else kind
        encoder = linear
        if member != "pca":
            encoder = self._trained(member, autoencoders.Choice(linear.latent_dim, step, 0.0))
        return self._in_step(encoder, step)

    def _with_same_latents(self, model: Model) -> Model:
        """A given model with as many latents as ``--latent-dim`` asks for: its steps stay, their coder is fitted."""
        encoder, many = model.encoder, int(self.target.value or 0)
        if encoder is None or model.steps is None or encoder.latent_dim != many:
            has = "no latents" if encoder is None else f"{encoder.latent_dim} latents"
            raise ModelError(f"The model has {has}, not the {many} of the target: fit a model with that many.")
        return self._in_step(encoder, _pace(model))

    def _in_step(self, encoder: Autoencoder, step: float) -> Model:
        """The autoencoder with its latents in this step, and a coder of them."""
        fresh = self._in_steps(replace(self._blank(), encoder=encoder))(step)
        return self._sharpened(self._in_context(fresh))


def _name(model: Model) -> str:
    """What a candidate is called."""
    return model.kind if model.subbands is None else "subbands"


def _error(goal: quality.Goal, blocks: Sequence[Array], model: Model) -> float:
    """What the goal asks for of these blocks."""
    return goal.error(quality.outcomes(model, blocks))


def _pace(model: Model) -> float:
    """The step of a model's latents."""
    if model.encoder is None or model.steps is None:
        return model.pace or 1.0
    return float((model.steps / model.encoder.steps(1.0)).mean())


def _at_pace(model: Model, step: float) -> Model:
    """The strided model with another step of its latents."""
    return replace(model, pace=step, strided=None if model.patches is None else model.patches.freeze(step))


def _eased(model: Model, root: float) -> Model:
    """The model with an encoder that is thrifty at the square of this."""
    return replace(model, thrift=root**2)


def _resized(model: Model, step: float) -> Model:
    """The model with cells of another width."""
    return replace(model, cells=free_cells(step))
