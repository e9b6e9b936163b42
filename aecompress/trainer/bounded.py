"""Targets with a bound: subbands or a context coder, perhaps with an autoencoder beside it, whatever is smallest."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from aecompress.codec.cells import Cells
from aecompress.codec.model import Model
from aecompress.context import fit as context
from aecompress.context.sample import Sample
from aecompress.context.stencil import Layout, axes_of
from aecompress.errors import InputError, ModelError
from aecompress.quantize import split_wide
from aecompress.trainer import autoencoders, smooth
from aecompress.trainer.bounds import bounded_cells, rivals
from aecompress.trainer.clock import Clock
from aecompress.trainer.phases import carried
from aecompress.trainer.search import Search, alike, layout_of

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder

_log = logging.getLogger(__name__)

# subbands whose first try takes more than the first share of a roughly fitted context coder's bytes are out, and they
# must take less than the second when both are ready. Quick trees are one and a half to three times as fast, which is
# worth a quarter where there are so many values that somebody waits.
_PATIENT, _HURRIED, _MANY = (1.3, 1.0), (0.9, 0.75), 1 << 16
# of less than these shares they stay, whatever may come: of the bytes of a coder without classes, which are known
# within seconds (a first try of more than _HOPE does not come so far), of a roughly fitted coder's, and of one's that
# was fitted with care and has yet to try a network. Care saves up to a fifth, and a network as much again
_PLAIN, _HOPE = 0.4, 0.45
_SURE, _AHEAD = 0.6, 0.7
_UNSURE = 0.25  # share of the time left that subbands get beside a turned set
_GAIN = 0.99  # an autoencoder, or other cells, must bring the bytes of a bounded set below this share


class Bounded(Search):
    """A search for the model of the fewest bytes that keeps every value within the target's bound."""

    def adapted(self, model: Model) -> Model:
        cells = self._even
        fresh = replace(self._blank(), cells=cells)
        if not model.latents_alone:  # whose coder knows no lattice
            if (cells.lossless and model.cells.lossless) or _serves(model.cells, cells):
                return replace(model, target=self.target, fills=self.fills, known_as=None)
            if alike(model.cells, cells):
                cells = carried(model.cells, cells, self.samples)
                return replace(model, target=self.target, cells=cells, fills=self.fills, known_as=None)
        if model.encoder is None or model.of_places:
            if model.subbands is None:
                return self._sharpened(self._with_context(fresh))
            return self._sharpened(self._clearly_smooth() or self._fewest(fresh))
        fresh = self._with_context(replace(fresh, kind=model.kind, encoder=model.encoder))
        return self._sharpened(self._with_joint(fresh, model.encoder))

    def largest(self) -> Sample | None:
        """The middle of the largest block of the sample, in even cells; None where there is none."""
        model = replace(self._blank(), cells=self._even)
        parts = [Sample(split_wide(work.q)[0], work.keep) for _, work in self._works(model)]
        return context.largest(parts) if any(part.coded.any() for part in parts) else None

    def read_as_columns(self, layout: Layout) -> None:
        """Look for coders of this layout only, whose columns are in no order."""
        self.layout, self.ordered = layout, (False,) * len(axes_of(self.source.spec.shape))

    def has_subbands(self, below: float) -> bool:
        """True if subbands take fewer bytes than that."""
        if not self._may_be_smooth:
            return False
        rival = self._with_subbands(below, self.clock.part(_UNSURE))
        return rival is not None and self._bytes(rival, self.samples) < below

    @property
    def share_of_cells(self) -> float:
        """The share of the bytes that a context coder takes with other cells than even ones, 1 if that is no less."""
        return self._thriftiest[1]

    @cached_property
    def _even(self) -> Cells:
        """Cells of one width for all, or for each of what has a bound of its own."""
        return bounded_cells(self.source, self.target, self.samples, self.fills, self.progress)

    @cached_property
    def _roughly(self) -> Model:
        """A context coder on even cells, fitted to small parts of the samples."""
        if self._may_be_smooth and (self.fast or self.clock.is_over()):
            return self._plainly  # quick coders have no classes anyway
        layout = layout_of(self._plainly) if self._may_be_smooth else None
        return self._with_context(replace(self._blank(), cells=self._even), self._trial(), layout)

    @cached_property
    def _plainly(self) -> Model:
        """The same without classes."""
        return self._with_context(replace(self._blank(), cells=self._even), self._trial(), rough=True)

    @property
    def _may_be_smooth(self) -> bool:
        """True if there are blocks that subbands can be tried on."""
        known = bool(self.samples) and not self._even.lossless
        return known and smooth.suits(self.samples[0].shape, self.ordered)

    def _found(self, kind: str) -> Model:
        model = self._clearly_smooth() or self._fewest(replace(self._blank(), cells=self._thriftiest[0]))
        return self._sharpened(self._joined(model, kind))

    def _clearly_smooth(self) -> Model | None:
        """Subbands, where contexts will hardly come near them."""
        if not self._may_be_smooth:
            return None
        size = self._size(self._plainly)
        if self.clock.is_over():
            return None
        rival = self._with_subbands(size, self.clock, hope=_HOPE, sure=_PLAIN)
        if rival is None:
            return None
        rival, least = self._rated(rival, size)
        return rival if least < _PLAIN * size else None

    def _with_subbands(self, size: float, clock: Clock, *, hope: float = 1.0, sure: float = 1.0) -> Model | None:
        """Subbands of even cells, where there is hope for them beside a coder that takes ``size``."""
        return smooth.fit_subbands(
            replace(self._blank(), cells=self._even),
            self.samples,
            clock,
            self.ordered,
            other=self.seen * size,
            hope=hope,
            sure=sure,
            known=self._sizes,
        )

    @cached_property
    def _sizes(self) -> smooth.Sizes:
        """What subbands take of the samples, as far as that was found out."""
        return {}

    def _rated(self, rival: Model, size: float) -> tuple[Model, float]:
        """Subbands with the rate they reach, and the bytes they take, where a context coder takes ``size``."""
        least = self._bytes(rival, self.samples)
        _log.info("subbands: the archive takes about %s bytes, by a context coder %s", f"{least:,.0f}", f"{size:,.0f}")
        return replace(rival, rate=8 * least / self.values), least

    def _joined(self, model: Model, kind: str) -> Model:
        """The model, with an autoencoder beside its coder where that takes fewer bytes."""
        cells = model.cells
        if kind == "none" or cells.step is None or cells.axis is not None or not self.samples:
            return model
        if kind == "auto" and (self.clock.is_over() or not autoencoders.suits(self.rows, self.size)):
            return model
        rival = self._rival(replace(model, cells=self._even), kind)
        if rival is None:
            return model
        trial = self._affordable(self.samples)  # small parts of long rows are too few lines for the coder
        before, after = self._bytes(model, trial), self._bytes(rival, trial)
        _log.info("with %s the archive takes about %s bytes, without %s", rival.kind, f"{after:,.0f}", f"{before:,.0f}")
        # a candidate like any other: it stays only if it pays
        return rival if after < _GAIN * before else model

    @cached_property
    def _thriftiest(self) -> tuple[Cells, float]:
        """The even cells, or others that hold all as closely, and what share of the bytes of even ones they take."""
        cells = self._even
        others = rivals(cells, self.samples, self.source.spec.native, self.values)
        if not others:
            return cells, 1.0
        model = self._roughly
        found = [(self._size(model), cells)]
        _log.info("cells %s: the archive takes about %s bytes", cells.kind, f"{found[0][0]:,.0f}")
        for rival in others:
            if self.clock.is_over():
                break
            model = self._with_context(replace(self._blank(), cells=rival), self._trial(), layout_of(model))
            found.append((self._size(model), rival))
            name = rival.kind if rival.phase is None else f"{rival.kind}, moved"
            _log.info("cells %s: the archive takes about %s bytes", name, f"{found[-1][0]:,.0f}")
        least, thriftiest = min(found, key=lambda pair: pair[0])
        share = least / found[0][0]
        return (thriftiest, share) if share < _GAIN else (cells, 1.0)

    def _rival(self, model: Model, kind: str) -> Model | None:
        """The model with an autoencoder beside its context coder; None where numbers are too wild for one."""
        step = float(model.cells.step) if model.cells.step is not None else 1.0
        try:
            with np.errstate(all="ignore"):
                return self._with_joint(model, self._coarse(kind, step))
        except (InputError, ModelError, ArithmeticError, np.linalg.LinAlgError):
            return None

    def _fewest(self, model: Model) -> Model:
        """The model with subbands, in even cells, or a context coder: the one that takes fewer bytes."""
        if not self._may_be_smooth:
            return self._with_context(model, self._affordable(self.lessons))
        hope, most = _HURRIED if self.fast and self.values >= _MANY else _PATIENT
        rough = self._roughly if model.cells is self._even else self._with_context(model, self._trial())
        if self.clock.is_over():
            return rough
        size = self._size(rough)
        rival = self._with_subbands(size, self.clock, hope=hope, sure=_SURE)
        if rival is None:
            return rough if self.clock.is_over() else self._taught(model)
        rival, least = self._rated(rival, size)
        if least < _SURE * size:
            return rival
        if self.clock.is_over():
            return rival if least < self._bytes(rough, self.samples) else rough
        taught = self._taught(model)
        size = self._bytes(taught, self.samples)
        if least < _AHEAD * size:
            return rival
        full = self._sharpened(taught)
        if full is not taught:
            size = self._bytes(full, self.samples)
        return rival if least < most * size else full

    def _taught(self, model: Model) -> Model:
        """The model with a context coder fitted to all lessons, which may read them in another layout than parts."""
        return self._with_coder(model, self.lessons, None, rough=False, spread=self._trial())

    def _coarse(self, kind: str, step: float) -> Autoencoder:
        """An autoencoder whose error is a few cells: finer latents would cost more than the correction they save."""
        linear, rows = self._linear
        spread = float(np.sqrt(np.square(rows - linear.normalizer.centre).mean()))
        choice = None
        for share in (4.0, 8.0, 16.0, 32.0):
            choice = choice or autoencoders.choose_linear(linear, rows, self.rows, min(share * step, 0.9 * spread))
        choice = choice or autoencoders.Choice(min(8, linear.latent_dim), 4.0 * step, 0.0)
        return self._trained(kind, choice)

    def _with_joint(self, model: Model, encoder: Autoencoder) -> Model:
        """The model with the autoencoder's synthesis as a further context of the correction, where it can be one."""
        plain, step = model, 4.0 * float(model.cells.step) if model.cells.step is not None else 4.0
        model = autoencoders.with_network(model, encoder, step, self.rows, self._latents(encoder))
        model = replace(model, lens=autoencoders.lens(model, self.samples))
        if model.lens is None:
            return plain
        if any(split_wide(work.q)[1] is not None for _, work in self._works(model, self.lessons)):
            return plain
        parts = self._joint_parts(model, self._works(model, self.lessons))
        layout = self.layout or layout_of(model)  # which the coder alone was compared in
        return replace(model, joint=context.fit(parts, self.values, layout, quick=self.fast))


def _serves(known: Cells, cells: Cells) -> bool:
    """True if ranks of known values, if these are such, keep the bound of ``cells`` and are not far below it."""
    if known.kind != "known" or known.most is None or cells.most is None or cells.axis is not None:
        return False
    return 0.5 * cells.most <= known.most <= cells.most
