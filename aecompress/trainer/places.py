"""Autoencoders of places: of the last axis of rows, or of what all rows have at each place.

A cube of spectra comes as pixels of many bands, or as bands of many pixels. Either way what a pixel has in all bands
spans few dimensions, and its latents resemble those of the pixels around.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.sources import open_source
from aecompress.sources.base import Source
from aecompress.trainer.autoencoders import suits
from aecompress.trainer.unbounded import Unbounded
from aecompress.trainer.views import Turned, turned_back

_log = logging.getLogger(__name__)

#: Least and most values of a place: fewer have little in common, and more are rather pictures than spectra.
_FEATURES = (4, 1024)

#: Values that are coded at once where rows are turned.
_MOST_VALUES = 1 << 23

#: PCA of places that costs more than so many times the best of what is quickly fitted is out, and that costs so many
#: times less needs no comparison with what must learn.
_SIGHT, _AHEAD = 1.3, 1.3


def may_turn(source: Source) -> bool:
    """True if the row axis may hold the features of places."""
    rows, size = source.spec.shape[0], source.spec.row_size
    known = len(source.spec.row_shape) > 0 and rows * size <= _MOST_VALUES
    return known and _FEATURES[0] <= rows <= _FEATURES[1] and suits(size, rows)


def has_places(source: Source) -> bool:
    """True if the last axis of rows may hold the features of places."""
    shape = source.spec.row_shape
    if len(shape) < 2 or not _FEATURES[0] <= shape[-1] <= _FEATURES[1]:
        return False
    return suits(math.prod(source.spec.shape[:-1]), shape[-1])


def serves(kind: str, target: Target) -> bool:
    """True if latents of places serve the target as those of rows do."""
    return kind in ("auto", "pca") and target.kind in ("psnr", "rmse", "ratio")


def smallest(rows: Unbounded, search: Callable[[Source], Unbounded], kind: str) -> Model:
    """The best model of this kind: of the source's rows as they are, or PCA of places, as ``search`` looks for one."""
    source = rows.source
    looked: list[Source] = []
    if has_places(source):
        looked.append(open_source(np.concatenate(rows.samples)))
    if may_turn(source):
        looked.append(Turned(source))
    quick = rows.quick(kind) if looked else 0.0
    found = [] if rows.clock.is_late() else [search(part) for part in looked]
    costs = {trial: _cost(trial, rows) for trial in found if trial.pca.network is not None}
    trial = min(costs, key=lambda trial: costs[trial], default=None)
    if trial is None or costs[trial] > (1.0 if kind == "pca" else _SIGHT) * quick:
        return rows.run(kind)
    places = trial if trial.values == rows.values else search(source)
    model = places.run("pca")
    cost, size = places.cost(model), places.sizes([model])["pca"]
    _log.info("PCA of places: the archive takes about %s bytes", f"{size:,}")
    if isinstance(places.source, Turned):
        model = turned_back(model, source.spec)
    if kind != "pca" and _AHEAD * cost > quick:
        other = rows.run(kind)
        model = model if cost < rows.cost(other) else other
    return replace(model, about={**model.about, "tried": {**rows.tried, "pca of places": size}})


def _cost(trial: Unbounded, rows: Unbounded) -> float:
    """What PCA in a trial on part of the values costs for all of them: bytes grow with these, errors do not."""
    return trial.cost(trial.pca) * (1.0 if rows.target.kind == "ratio" else rows.values / trial.values)
