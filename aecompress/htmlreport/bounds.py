"""What a sample takes at other bounds: a model is fitted to it at each, and the sample coded with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aecompress.codec.model import Model
from aecompress.config import Progress, Target
from aecompress.htmlreport.survey import Survey
from aecompress.metrics import distortion
from aecompress.sources import open_source
from aecompress.spec import Array
from aecompress.trainer import adapt, block_rows, fit

#: Bounds that are tried, in that of the archive; of reconstructions only the looser ones.
#: Apart by more than half, so that each has a context coder of its own.
_FACTORS = (0.2, 0.5, 1.0, 2.0, 5.0)
_FROM_LOSSLESS = (1e-5, 1e-4, 1e-3, 1e-2)
_WHOLE_FROM_LOSSLESS = (0.0, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Point:
    """One bound, and what the sample takes at it: bits a value without the model, and the quality that comes of it.

    ``psnr`` is in dB; None where nothing differs.
    """

    bound: float
    bits: float
    psnr: float | None


def points(found: Survey, progress: Progress) -> list[Point]:
    """Points by rising bound; none where there is no sample, or no bound to begin with."""
    sample = found.sample
    if sample is None:
        return []
    bounds = sorted(set(_bounds(found, sample)))
    done: list[Point] = []
    model = None
    for i, bound in enumerate(bounds):
        progress("other bounds", i / len(bounds), {})
        target = Target("max-error", bound)
        # the tightest bound is fitted from scratch; at the others context coders are, which is a fraction of the work
        fitted = (
            fit(sample, target, kind="none", effort="fast")
            if model is None
            else adapt(model, open_source(sample), target)
        )
        model = model or fitted
        done.append(_point(fitted, sample, bound))
    return done


def _bounds(found: Survey, sample: Array) -> Iterator[float]:
    whole = sample.dtype.kind != "f"
    allowed = allowed_error(found)
    if allowed > 0:
        factors = _FACTORS if found.shown.original else [factor for factor in _FACTORS if factor > 1]
        yield from (math.floor(factor * allowed) if whole else factor * allowed for factor in factors)
    elif whole:
        yield from _WHOLE_FROM_LOSSLESS
    else:
        finite = distortion(sample, sample)
        span = finite.high - finite.low if finite.count else 0.0
        yield from (factor * span for factor in _FROM_LOSSLESS if 0 < factor * span < math.inf)


def allowed_error(found: Survey) -> float:
    """The bound of the archive, if it is one number; without a bound, that of errors spread evenly within it."""
    archive = found.archive
    if archive.manifest.target.bounded:
        most = archive.model.cells.most
        return most if most is not None and math.isfinite(most) else 0.0
    return math.sqrt(3) * float(found.facts["rmse"])


def _point(model: Model, sample: Array, bound: float) -> Point:
    height = block_rows(model.spec)
    coded = [model.code(sample[at : at + height]) for at in range(0, len(sample), height)]
    error = sum((block.distortion for block in coded[1:]), coded[0].distortion)
    bits = 8 * sum(len(block.payload) for block in coded) / np.prod(sample.shape)
    return Point(bound, float(bits), error.psnr)
