"""Which regressions to try for samples: of what priors, learned by blocks or told by the model.

samples but one ──► factors, by prior and detail ──► how they miss that one, and bits to tell them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aecompress.abreast import abreast
from aecompress.context.regression import PRIOR_PARTS, Regression
from aecompress.context.sample import FRACTION, Sample
from aecompress.context.selection import bits_of
from aecompress.entropy import record

#: What it is tried with: rows that count as seen without correlations.
_PRIORS = (1 / 16, 1 / 4, 1, 4, 16, 64, 256, 1024, 4096)

#: The most of these whose errors take at most so many bits more than the fewest is a rival: networks often make more of
#: it.
_ABOUT = 0.03

#: Values that tell a factor, at least: what is tried on fewer would look better than it is.
_TELLING_VALUES = 1 << 19

#: Log2 of the steps that a deviation of what is unexpected has, of a factor that is told.
_DETAILS = (4, 5, 6, 7)

#: And how many times its own bits it must save, for a network will make half as much again of the rest.
_MUST_PAY = 1.6


@dataclass(frozen=True)
class Proposal:
    """A regression for samples.

    Attributes:
        found: with what all of them show.
        without: the same, but for what the sample shows that it is tried on.
        missed: about how many bits an error of it takes there.
        bits: that it must save.
    """

    found: Regression
    without: Regression
    missed: float
    bits: float = 0.0


def regressions(samples: Sequence[Sample], whole: Sample, total: int) -> list[Proposal]:
    """What blocks learn, and the best that the model tells if samples can show it, by how it misses ``whole`` of them.

    Args:
        total: values of the whole set.
    """
    by_blocks = learned(samples, whole)
    told = _told([s for s in samples if s is not whole], whole, by_blocks[0].found, total)
    return by_blocks if told is None else [*by_blocks, told]


def learned(samples: Sequence[Sample], whole: Sample) -> list[Proposal]:
    """The one that misses least, and one of a greater prior if that misses hardly more."""
    tried = _with_priors(Regression.of(samples, -1))
    missed = np.array(list(abreast(lambda one: _missed_bits(whole, one), tried)))
    least, most = int(missed.argmin()), int(np.flatnonzero(missed <= missed.min() + _ABOUT)[-1])
    return [Proposal(tried[k], tried[k], float(missed[k])) for k in dict.fromkeys((least, most))]


def _told(others: Sequence[Sample], whole: Sample, known: Regression, total: int) -> Proposal | None:
    """The best factor that ``others`` tell for ``whole``; None if they are too few."""
    values, columns = sum(int(s.coded.sum()) for s in others), len(known.centres)
    if values < max(_TELLING_VALUES, columns * columns):
        return None
    products = known.products(others)

    def cost(choice: tuple[Regression, int]) -> float:
        told = choice[0].told(products, choice[1])
        return _missed_bits(whole, told) + _told_bits(told) / total

    def cheapest(choices: list[tuple[Regression, int]]) -> tuple[Regression, int]:
        return choices[int(np.argmin(list(abreast(cost, choices))))]

    best, _ = cheapest([(one, _DETAILS[-1]) for one in _with_priors(known)])
    _, detail = cheapest([(best, detail) for detail in _DETAILS])
    found, without = best.told(products + known.products([whole]), detail), best.told(products, detail)
    return Proposal(found, without, _missed_bits(whole, without), _MUST_PAY * _told_bits(found))


def _with_priors(known: Regression) -> list[Regression]:
    return [replace(known, prior=-round(PRIOR_PARTS * rows)) for rows in _PRIORS]


def _told_bits(regression: Regression) -> float:
    """Bits that the model takes to tell a factor."""
    return 8.0 * len(record.pack(regression.arrays()))


def _missed_bits(sample: Sample, regression: Regression) -> float:
    """About how many bits an error of the regression takes."""
    missed = (sample.q << FRACTION) - regression.guesses(sample.q, sample.coded)
    return bits_of(missed[sample.coded] / (1 << FRACTION))
