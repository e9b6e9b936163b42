"""How odd rows are: against the code lengths that are usual at each place, and against other rows.

bits [n, *row_shape] ─► (bits - mean) / deviation at each place ─► the greatest of a row ─► code
latents [n, K] of a small PCA ─► how much farther drawn rows are than from each other ──► distance
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aecompress.codec import specials
from aecompress.codec.lengths import code_lengths, latent_lengths
from aecompress.codec.model import Model
from aecompress.config import Progress
from aecompress.errors import InputError
from aecompress.sources import open_source
from aecompress.spec import Array
from aecompress.trainer import autoencoders
from aecompress.trainer.sampling import fill_values

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder

#: Rows before the first of a batch that its code lengths may depend on.
_BEFORE = 4

#: Code lengths, in bits, deviate by at least this: a place that never costs anything is not odd for one bit.
_LEAST_BITS = 0.25

#: Latents of the small autoencoder; how many rows are drawn at once to measure distances to, how often, and how many
#: of a draw are neighbours.
_LATENTS, _DRAWN, _DRAWS, _NEAR = 128, 512, 4, 10

#: Rows whose distances are measured at once.
_AT_ONCE = 1 << 13

#: How the chance that a usual row looks odd is divided between ``distance`` and ``code`` (Bonferroni, weighted). The
#: code of a value is the more local of the two, so that it is long by chance in more rows of a varied set.
_SHARES = (5 / 6, 1 / 6)

#: An axis longer than the first number is told apart in so many parts, a shorter one index by index.
_SHORT, _PARTS = 16, 8

#: What is said of every row: the surprise of ``code`` and ``distance`` (3: one row in a thousand is as odd); the share
#: of the archive's rows with a lower one; how far the code of the oddest value is longer than usual, in deviations; how
#: much farther its neighbours are than theirs, in latents; bits of the whole row; and where it is odd, as slices of it.
COLUMNS = ("score", "quantile", "code", "distance", "bits", "part")

#: Columns by name, an array [n] each; NaN for what is unknown.
Table = dict[str, Array]

#: Values of rows [n, *row_shape], and their latents [n, K] if they have any.
Rows = tuple[Array, Array | None]


class Costs:
    """Bits of the values of batches that follow one another, as the model of an archive codes them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._before: Rows | None = None

    def __call__(self, values: Array, latents: Array | None) -> Array | None:
        """float32 [n, D] of values [n, *row_shape], or [n, K] of their latents where those are all that is coded.

        NaN for first rows whose bits depend on rows before them. None if the model cannot tell.
        """
        before, before_latents = self._before or _mirrored(values, latents)
        joined = None if latents is None or before_latents is None else np.concatenate([before_latents, latents])
        found = self._lengths(np.concatenate([before, values]), joined)
        if found is None:
            return None
        found = found[len(before) :].reshape(len(values), -1)
        if self._before is None:
            self._forget_dependent(found, values, latents)
        self._before = values[-_BEFORE:], None if latents is None else latents[-_BEFORE:]
        return found

    def _lengths(self, values: Array, latents: Array | None) -> Array | None:
        found = code_lengths(self._model, values, latents)
        return latent_lengths(self._model, latents) if found is None and latents is not None else found

    def _forget_dependent(self, found: Array, values: Array, latents: Array | None) -> None:
        """NaN for those of the first rows that take other bits where nothing comes before them."""
        alone = self._lengths(values[:_BEFORE], None if latents is None else latents[:_BEFORE])
        if alone is not None:
            differ = (alone.reshape(len(alone), -1) != found[: len(alone)]).any(1)
            found[: len(alone)][differ] = np.nan


def _mirrored(values: Array, latents: Array | None) -> Rows:
    """Rows to stand before the first ones: those behind them, in reverse."""
    return values[1 : 1 + _BEFORE][::-1], None if latents is None else latents[1 : 1 + _BEFORE][::-1]


@dataclass(frozen=True)
class Usual:
    """What is usual at each place: float64 [D] each."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, batches: Sequence[Array], least: float) -> Usual:
        """Of batches [n, D], in two passes, for sums of squares would lose what little deviates; NaN does not count."""
        known = [batch[~np.isnan(batch).any(1)] for batch in batches]
        count = max(sum(map(len, known)), 1)
        mean = sum(batch.sum(0, dtype=np.float64) for batch in known) / count
        square = sum(np.square(batch - mean).sum(0) for batch in known) / count
        return cls(mean, np.sqrt(square) + least)

    def excess(self, batch: Array) -> tuple[Array, Array]:
        """(greatest excess of each row [n, D] in deviations, the place that has it), float64 [n] and int64 [n]."""
        over = (batch - self.mean) / self.deviation
        place = over.argmax(1)
        return np.take_along_axis(over, place[:, None], 1)[:, 0], place


@dataclass(frozen=True)
class Crowd:
    """Random rows among which a row that is like others has some nearby, as near as these are to each other.

    Many small draws, rather than all rows: where a few odd rows are alike, each would be another's neighbour
    (Sugiyama and Borgwardt 2013). Less what is usual around, for kinds of rows differ in how alike they are (as the
    local outlier factor of Breunig et al. 2000, with a difference for its ratio).

    Attributes:
        encoder: a small PCA.
        fills: values that stand for none.
        draws: float64 [draws, rows, K], latents.
        around: float64 [draws, rows], mean distance of each to its neighbours in its draw.
        residual: of what PCA leaves, squared.
    """

    encoder: Autoencoder
    fills: Array
    draws: Array
    around: Array
    residual: Usual

    @classmethod
    def of(cls, rows: Array, fills: Array, seed: int, progress: Progress) -> Crowd | None:
        """Of rows [n, *row_shape]; None where they are too few or too small for PCA."""
        size = rows[0].size
        if len(rows) < 2 or size < 2:
            return None
        encoder = autoencoders.fit_linear(open_source(rows), fills, min(_LATENTS, size // 2), seed, progress)
        rng = np.random.default_rng(seed)
        drawn = np.stack([rng.permutation(len(rows))[:_DRAWN] for _ in range(_DRAWS)])
        flat = encoder.rows(rows[drawn.reshape(-1)], specials.ordinary(rows[drawn.reshape(-1)], fills))
        latents = encoder.analysis(flat)
        left = np.square(flat - encoder.synthesis(latents))
        floor = float(left.mean()) * 1e-3 + np.finfo(np.float64).tiny
        draws = latents.reshape(*drawn.shape, -1)
        around = np.stack([_neighbours(draw, draw)[1].mean(1) for draw in draws])
        return cls(encoder, fills, draws, around, Usual.of([left], floor))

    def distance(self, values: Array) -> tuple[Array, Array]:
        """(distance beyond what is usual around, place of the greatest residual): float64 [n], int64 [n]."""
        found = [self._measured(values[i : i + _AT_ONCE]) for i in range(0, len(values), _AT_ONCE)]
        distances, places = zip(*found, strict=True)
        return np.concatenate(distances), np.concatenate(places)

    def _measured(self, values: Array) -> tuple[Array, Array]:
        flat = self.encoder.rows(values, specials.ordinary(values, self.fills))
        latents = self.encoder.analysis(flat)
        _, place = self.residual.excess(np.square(flat - self.encoder.synthesis(latents)))
        return np.mean([self._beyond(latents, i) for i in range(len(self.draws))], axis=0), place

    def _beyond(self, points: Array, i: int) -> Array:
        """float64 [n]: mean distance of points [n, K] to their neighbours in a draw, less that of these to theirs."""
        which, distances = _neighbours(points, self.draws[i])
        return distances.mean(1) - self.around[i][which].mean(1)


def _neighbours(points: Array, others: Array) -> tuple[Array, Array]:
    """Indices and distances [n, k] of those of others [m, K], m >= 2, nearest to each of points [n, K] but itself."""
    square = np.square(points).sum(1)[:, None] + np.square(others).sum(1) - 2 * points @ others.T
    near = min(_NEAR, len(others) - 1)
    which = np.argpartition(square, near, axis=1)[:, : near + 1]
    found = np.take_along_axis(square, which, 1)
    order = np.argsort(found, axis=1)
    which, found = np.take_along_axis(which, order, 1), np.take_along_axis(found, order, 1)
    own = found[:, :1] <= 1e-9 * np.square(points).sum(1)[:, None]
    which, found = (np.where(own, part[:, 1:], part[:, :-1]) for part in (which, found))
    return which, np.sqrt(np.maximum(found, 0.0))


@dataclass(frozen=True)
class Calibration:
    """Scores of the rows that say what is usual, in order: turns a score into how rare it is; NaN stays NaN."""

    known: Array

    @classmethod
    def of(cls, scores: Array) -> Calibration:
        known = np.sort(scores[~np.isnan(scores)])
        return cls(known if len(known) else np.zeros(1))

    def quantile(self, scores: Array) -> Array:
        """Share of the known scores below each."""
        return np.searchsorted(self.known, scores, side="left") / len(self.known)

    def surprise(self, scores: Array) -> Array:
        """-log10 of the share of the known scores that are no less; beyond the greatest by how far it is beyond."""
        above = len(self.known) - np.searchsorted(self.known, scores, side="left")
        middle, most = np.quantile(self.known, 0.5), self.known[-1]
        beyond = np.maximum(scores - most, 0) / (max(most - middle, abs(most) * 1e-9) or 1.0)
        return np.log10((len(self.known) + 1) / (above + 1)) + np.log10(1 + beyond)


@dataclass(frozen=True)
class Oddity:
    """What is usual in an archive.

    Attributes:
        model: of the archive.
        row_shape: of its rows.
        usual: code lengths at each place; None if the model cannot tell them.
        crowd: rows to be like; None where PCA makes no sense.
        code, distance, score: what the archive's own rows have; ``score`` of the two as one.
    """

    model: Model
    row_shape: tuple[int, ...]
    usual: Usual | None
    crowd: Crowd | None
    code: Calibration
    distance: Calibration
    score: Calibration

    @classmethod
    def of(cls, model: Model, stretches: Iterable[Iterable[Rows]], seed: int, progress: Progress) -> Oddity:
        """Of stretches of rows, each in batches that follow one another.

        Raises InputError if neither the model nor the rows give anything to tell odd ones by.
        """
        values: list[Array] = []
        lengths: list[Array | None] = []
        for stretch in stretches:
            costs = Costs(model)
            for batch, latents in stretch:
                values.append(batch)
                lengths.append(costs(batch, latents))
        known = [found for found in lengths if found is not None]
        usual = Usual.of(known, _LEAST_BITS) if len(known) == len(lengths) else None
        rows = np.concatenate(values)
        crowd = Crowd.of(rows, fill_values([rows], rows.dtype), seed, progress)
        if usual is None and crowd is None:
            raise InputError("The archive's rows are single values, coded without a model: none is odder than another.")
        found = [_Measured.of(batch, bits, usual, crowd) for batch, bits in zip(values, lengths, strict=True)]
        code = Calibration.of(np.concatenate([measured.code for measured in found]))
        distance = Calibration.of(np.concatenate([measured.distance for measured in found]))
        scores = [np.fmax(*_surprises(m, code, distance)) for m in found]
        return cls(model, rows.shape[1:], usual, crowd, code, distance, Calibration.of(np.concatenate(scores)))

    def scores(self, values: Array, lengths: Array | None) -> Table:
        """A table of ``COLUMNS`` for values [n, *row_shape] whose code has these ``lengths`` [n, ...], if known."""
        measured = _Measured.of(values, lengths, self.usual, self.crowd)
        by_code, by_distance = _surprises(measured, self.code, self.distance)
        joint = np.fmax(by_code, by_distance)
        coded = (by_code == joint) & (lengths is not None and lengths.shape[1] == values[0].size)
        places, which = np.unique(np.where(coded, measured.place, measured.residual_place), return_inverse=True)
        parts = np.array([part(int(place), self.row_shape) for place in places])[which]
        score, quantile = self.score.surprise(joint), self.score.quantile(joint)
        found = (score, quantile, measured.code, measured.distance, measured.bits, parts)
        return dict(zip(COLUMNS, found, strict=True))


@dataclass(frozen=True)
class _Measured:
    """What is measured of rows: float64 [n], NaN where unknown, and the places that are oddest, int64 [n]."""

    code: Array
    distance: Array
    bits: Array
    place: Array
    residual_place: Array

    @classmethod
    def of(cls, values: Array, lengths: Array | None, usual: Usual | None, crowd: Crowd | None) -> _Measured:
        unknown, nowhere = np.full(len(values), np.nan), np.zeros(len(values), np.int64)
        found = cls(unknown, unknown, unknown, nowhere, nowhere)
        if crowd is not None:
            distance, place = crowd.distance(values)
            found = replace(found, distance=distance, residual_place=place)
        if usual is not None and lengths is not None:
            code, place = usual.excess(lengths)
            found = replace(found, code=code, place=place, bits=lengths.sum(1, dtype=np.float64))
        return found


def _surprises(measured: _Measured, code: Calibration, distance: Calibration) -> tuple[Array, Array]:
    """Surprise of code and of distance, float64 [n] each, less where the share of its kind is small."""
    by_distance, by_code = np.log10(_SHARES)
    return code.surprise(measured.code) + by_code, distance.surprise(measured.distance) + by_distance


def part(place: int, row_shape: tuple[int, ...]) -> str:
    """Slices that hold a place of a row, as Python writes them: ``120:165, 3``."""
    at = np.unravel_index(place, row_shape) if row_shape else ()
    return ", ".join(_around(int(i), n) for i, n in zip(at, row_shape, strict=True))


def _around(index: int, length: int) -> str:
    if length <= _SHORT:
        return str(index)
    edges = np.linspace(0, length, _PARTS + 1).astype(int)
    which = int(np.searchsorted(edges, index, side="right")) - 1
    return f"{edges[which]}:{edges[which + 1]}"
