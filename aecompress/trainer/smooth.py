"""Subbands for a set: levels along each axis and the quantisation step, chosen by the bytes that sample blocks take.

Under a bound any step serves, since corrections make good for it. Without one, the step decides the error: rivals are
compared each in the step in which it errs as much as plain cells do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from aecompress.abreast import abreast
from aecompress.codec import methods
from aecompress.codec.frame import Frame
from aecompress.codec.model import Model
from aecompress.metrics import Distortion, distortion
from aecompress.spec import Array
from aecompress.subbands import CELL, MOST_STEP, Subbands, axes_of, lifting
from aecompress.trainer.clock import Clock

#: Bytes of blocks by subbands and by their number.
Sizes = dict[tuple[Subbands, int], float]

#: Steps to choose from, in 1/2^FRACTION of a cell, and the one to begin with. Where fields are rough, few values may be
#: left to correct; where they are smooth, wide steps cost few corrections.
_STEPS = tuple(round(CELL * share) for share in (0.6, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.4))
_FIRST = 3

#: Uses that slots count where what is likely changes from place to place, as from lead to lead of an ECG.
_FEW_USES = 30

#: Secants of a step for the error of plain cells, how near they come to it, and the power of the step that errors grow
#: with.
_SECANTS, _CLOSE_ENOUGH, _ERROR_POWER = 4, 0.005, 0.8

#: Shorter axes than this are no plane to transform, and no lines.
_SHORTEST, _SHORTEST_LINE = 8, 32

#: Lines that take so many times the bytes of the best on one block are not tried on others.
_BEHIND = 1.1

#: Blocks that take this share of the bytes decide.
_SHARE = 0.6

#: Share of the time left that goes to subbands which the other coder, once it has learned more, may well beat.
_UNSURE = 0.25


def suits(shape: tuple[int, ...], ordered: tuple[bool, ...] | None = None) -> bool:
    """True if blocks of this shape have an axis that is long enough for a transform, or two side by side, and ordered
    as far as that is known."""
    axes = axes_of(shape)
    return bool(_firsts(axes, ordered or (True,) * len(axes)))


def fit_subbands(
    model: Model,
    blocks: Sequence[Array],
    clock: Clock,
    ordered: tuple[bool, ...] | None = None,
    *,
    other: float = math.inf,
    hope: float = 1.0,
    sure: float = 1.0,
    known: Sizes | None = None,
) -> Model | None:
    """The model with the subbands that code the blocks in the fewest bytes; None if there is no hope for them.

    Args:
        model: its cells decide the error allowed, without a bound that of the whole.
        blocks: of about the size that blocks of the set have: what adapts learns more from larger ones.
        clock: when it is over, or a part of it while they are not sure to stay, the best so far is taken.
        ordered: which of their axes longer than 1 a transform may run along; None for all.
        other: bytes that another coder takes; infinite if there is none.
        hope: share of these that a first try may take; subbands which their levels do not bring below all of these are
            out.
        sure: share of these below which subbands stay whatever the other coder may still learn.
        known: what is known of these blocks from other calls in the same cells; what is found out is added.
    """
    works = [work for work in (methods.prepare(model, block) for block in blocks) if work is not None]
    if not works:
        return None
    axes = axes_of(blocks[0].shape)
    along = ordered or (True,) * len(axes)
    trial = _Trial(model, works, {} if known is None else known)
    everything = tuple(range(len(works)))
    firsts = _sighted(_firsts(axes, along), trial, (len(works) // 2,))
    sizes = np.array([trial.sizes(first, everything) for first in firsts])
    if sizes.sum(1).min() > hope * other:
        return None
    firsts = [trial.settled(first, everything) for first in firsts]
    largest = _largest(sizes.min(0))
    decisive = tuple(largest.tolist())
    enough = other * float(sizes.min(0)[largest].sum() / sizes.min(0).sum())
    early, fewest = clock.part(_UNSURE), math.inf

    def cost(rival: Subbands) -> float:
        nonlocal fewest
        if clock.is_over() or (fewest > sure * enough and early.is_over()):
            return math.inf
        size = sum(trial.sizes(rival, decisive))
        fewest = min(fewest, size)
        return size

    # levels before steps, and for each order: what is worse without them may be better with them
    found = [_with_levels(first, cost(first), axes, along, cost) for first in firsts]
    best, least = min(found, key=lambda pair: pair[1])
    if least > enough:
        return None
    if model.target.bounded:
        best, least = _with_step(best, least, cost)
    else:
        best = trial.settled(best, everything)
    hasty = replace(best, uses=_FEW_USES)
    return replace(model, context=None, subbands=hasty if cost(hasty) < least else best)


class _Trial:
    """What subbands make of blocks, found out once for each."""

    def __init__(self, model: Model, works: Sequence[methods.Work], known: Sizes) -> None:
        self._model, self._works, self._known = model, works, known
        self._steps: dict[tuple[Subbands, tuple[int, ...]], Subbands] = {}

    def settled(self, subbands: Subbands, which: tuple[int, ...]) -> Subbands:
        """The subbands in the step in which they are compared on the blocks of these numbers."""
        if (subbands, which) not in self._steps:
            self._steps[subbands, which] = _settled(self._model, subbands, [self._works[i] for i in which])
        return self._steps[subbands, which]

    def sizes(self, subbands: Subbands, which: tuple[int, ...]) -> list[float]:
        """Bytes of each of these blocks, by the subbands in that step."""
        step = self.settled(subbands, which)
        new = [i for i in which if (step, i) not in self._known]
        for i, size in zip(new, abreast(lambda i: _bytes(self._model, step, self._works[i]), new), strict=True):
            self._known[step, i] = size
        return [self._known[step, i] for i in which]


def _settled(model: Model, subbands: Subbands, works: Sequence[methods.Work]) -> Subbands:
    """The subbands themselves under a bound; without one, in the step in which they err about as plain cells do."""
    if model.target.bounded:
        return subbands
    wanted = sum((distortion(work.values, work.decoded) for work in works), Distortion()).rmse
    for _ in range(_SECANTS):
        trial = replace(model, subbands=subbands)
        pairs = [(work, methods.outcome(trial, work)) for work in works]
        found = sum((distortion(work.values, decoded) for work, decoded in pairs), Distortion()).rmse
        if not (found and wanted) or abs(math.log(found / wanted)) < _CLOSE_ENOUGH:
            break
        step = round(subbands.step * (wanted / found) ** (1 / _ERROR_POWER))
        subbands = replace(subbands, step=min(max(step, 1), MOST_STEP))
    return subbands


def _orders(axes: tuple[int, ...], along: tuple[bool, ...]) -> list[tuple[int, ...]]:
    """Orders of the axes to try: as they are, and with the last, of channels maybe, before the others."""
    as_they_are = tuple(range(len(axes)))
    orders = [as_they_are, (as_they_are[-1], *as_they_are[:-1])]
    many = 1 if len(axes) < 3 else 2
    return [
        order
        for order in orders[:many]
        if len(axes) > 1 and all(axes[axis] >= _SHORTEST and along[axis] for axis in order[-2:])
    ]


def _firsts(axes: tuple[int, ...], along: tuple[bool, ...]) -> list[Subbands]:
    """Subbands to begin with: no levels but in the plane, or in its lines, and there all."""
    found = []
    for order in _orders(axes, along):
        plane = min(lifting.MOST_LEVELS, max(axes[axis] for axis in order[-2:]).bit_length())
        found.append(Subbands(order, (*[0] * (len(axes) - 2), plane, plane), _STEPS[_FIRST]))
    for axis in sorted({0, len(axes) - 1}, reverse=True):  # along rows, and across them
        if along[axis] and axes[axis] >= _SHORTEST_LINE:
            line = min(lifting.MOST_LEVELS, axes[axis].bit_length())
            others = tuple(other for other in range(len(axes)) if other != axis)
            for order in dict.fromkeys((others, others[::-1])):
                found.append(Subbands((*order, axis), (*[0] * len(others), line), _STEPS[_FIRST]))
    return found


def _sighted(firsts: list[Subbands], trial: _Trial, which: tuple[int, ...]) -> list[Subbands]:
    """Those that a block does not speak against; planes may yet be better with levels along other axes."""
    if len(firsts) == 1:
        return firsts
    sizes = list(abreast(lambda first: sum(trial.sizes(first, which)), firsts))
    paired = zip(firsts, sizes, strict=True)
    return [first for first, size in paired if not first.of_lines or size <= _BEHIND * min(sizes)]


def _largest(sizes: Array) -> Array:
    """Indices of the largest, as many as make up the share that decides."""
    order = np.argsort(-sizes, kind="stable")
    enough = np.searchsorted(np.cumsum(sizes[order]), _SHARE * sizes.sum()) + 1
    return order[:enough]


def _with_levels(
    best: Subbands,
    least: float,
    axes: tuple[int, ...],
    along: tuple[bool, ...],
    cost: Callable[[Subbands], float],
) -> tuple[Subbands, float]:
    """The subbands with as many levels along each axis before the plane as pay, and their cost; lines stay alone."""
    if best.of_lines:
        return best, least
    for axis in reversed(range(len(axes) - 2)):
        for many in range(1, axes[best.order[axis]].bit_length() if along[best.order[axis]] else 1):
            rival = replace(best, levels=(*best.levels[:axis], many, *best.levels[axis + 1 :]))
            size = cost(rival)
            if size >= least:
                break
            best, least = rival, size
    return best, least


def _with_step(best: Subbands, least: float, cost: Callable[[Subbands], float]) -> tuple[Subbands, float]:
    """The subbands with the step that pays, from the first one on in either direction, and their cost."""
    for path in (_STEPS[_FIRST + 1 :], _STEPS[_FIRST - 1 :: -1]):
        for step in path:
            rival = replace(best, step=step)
            size = cost(rival)
            if size >= least:
                break
            best, least = rival, size
        if best.step != _STEPS[_FIRST]:
            break
    return best, least


def _bytes(model: Model, subbands: Subbands, work: methods.Work) -> float:
    """Bytes of one block; those of its raw values where it cannot be transformed."""
    coded = methods.encode_subbands(replace(model, subbands=subbands), work)
    return float(Frame("subbands", len(work.values), coded[0]).size if coded else work.values.nbytes)
