"""Find formulas that columns of a table are computed by.

    rows of integers ──► sums of products, chosen greedily ──┐
                   └──► directions of two columns, sorted ───┴─► formulas that miss a column by fewer bits

Of each column sums of products of those before it are tried, for itself and for its square, and curves over the
direction of two of them. What is measured of a formula are the errors of its integers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from aecompress.abreast import abreast
from aecompress.context.relations import (
    CURVE,
    DIRECTION,
    FORM,
    LEAST_COLUMNS,
    MOST_COLUMNS,
    NONE,
    ROOT,
    SIGNED,
    Formula,
    Relations,
    direction,
)
from aecompress.context.sample import FRACTION, Sample
from aecompress.context.selection import bits_of, forward
from aecompress.entropy.loops import loop
from aecompress.spec import Array

#: Rows that formulas are fitted to, fewer that must show one first, and those that pairs of columns are compared on.
_MOST_ROWS, _FEWEST_ROWS, _FEW_ROWS, _PAIR_ROWS = 20_000, 400, 2_500, 2_000

#: Greatest magnitude of a number that formulas take: products have room, and more bits are no measurement.
_MOST_NUMBER = 1 << 26

#: Terms of a sum at most, and bits that one takes in the model, about.
_TERMS, _TERM_BITS = 12, 48.0

#: Knots of a curve that are tried, bits that one takes, and pairs of columns whose curves are fitted.
_KNOTS, _KNOT_BITS, _PAIRS = (16, 64, 256, 1024), 10.0, 2

#: Bits that a formula must save of each of its column's values, and the share of them that few rows must show.
_LEAST_SAVED, _PROMISING = 0.5, 0.8


def discover(samples: Sequence[Sample], total: int) -> Relations | None:
    """Formulas for the last axis of blocks, of a set of ``total`` values; None if there are none.

    Each must miss its column by fewer bits than the best sum of the columns before it and of the row before.
    """
    columns = samples[0].q.shape[-1] if samples[0].q.ndim > 1 else 0
    if not LEAST_COLUMNS <= columns <= MOST_COLUMNS:
        return None
    rows, before = _rows(samples, columns)
    if len(rows) < _FEWEST_ROWS or np.abs(rows).max() > _MOST_NUMBER:
        return None
    few = np.sort(np.random.default_rng(5).choice(len(rows), min(_FEW_ROWS, len(rows)), replace=False))
    many = total / columns

    def found(c: int) -> Formula:
        if len(few) < len(rows) and _best(rows[few], before[few], c, many, _PROMISING * _LEAST_SAVED).kind == NONE:
            return Formula()
        return _best(rows, before, c, many, _LEAST_SAVED)

    formulas = (Formula(), *abreast(found, range(1, columns)))
    return Relations(formulas) if any(f.kind != NONE for f in formulas) else None


def _best(rows: Array, before: Array, c: int, many: float, saved: float) -> Formula:
    """The formula of column ``c`` that takes fewest bits, if it saves so many of each of ``many`` values."""
    least, best = _linear_bits(rows, before, c) * many - saved * many, Formula()
    for formula in (*_sums(rows, c, many), *_curves(rows, c)):
        spent = _bits(formula, rows, c) * many + _stored_bits(formula)
        if spent < least:
            least, best = spent, formula
    return best


def _rows(samples: Sequence[Sample], columns: int) -> tuple[Array, Array]:
    """int64 [n, C] of random rows that are coded whole, and of those before each."""
    rng = np.random.default_rng(7)
    found = []
    for s in samples:
        q, coded = s.q.reshape(-1, columns), np.all(s.coded.reshape(-1, columns), axis=1)
        places = np.flatnonzero(coded[1:] & coded[:-1]) + 1
        share = max(1, _MOST_ROWS * len(q) // sum(len(other.q.reshape(-1, columns)) for other in samples))
        places = np.sort(rng.choice(places, min(share, len(places)), replace=False))
        found.append(np.stack([q[places], q[places - 1]]))
    rows, before = np.concatenate(found, 1)
    return rows, before


def _bits(formula: Formula, rows: Array, c: int) -> float:
    """About how many bits a value of column ``c`` takes where the formula tells it."""
    formulas = [Formula()] * rows.shape[1]
    formulas[c] = formula
    made = Relations(tuple(formulas)).informed(Sample(rows, np.ones(rows.shape, bool))).made
    assert made is not None
    return bits_of(rows[:, c] - made[:, c] / (1 << FRACTION)) + (formula.kind == SIGNED)


def _stored_bits(formula: Formula) -> float:
    return _TERM_BITS * len(formula.terms) + _KNOT_BITS * len(formula.heights)


def _linear_bits(rows: Array, before: Array, c: int) -> float:
    """The same for the best sum of the columns before, and of the column's last value."""
    table = np.column_stack([np.ones(len(rows)), before[:, c], rows[:, :c]]).astype(np.float64)
    target = rows[:, c].astype(np.float64)
    weights = np.linalg.lstsq(table, target, rcond=None)[0]
    return min(bits_of(target - table @ weights), bits_of(target - np.median(target)))


# --- sums of products -----------------------------------------------------------------------------------------------


def _sums(rows: Array, c: int, many: float) -> Iterator[Formula]:
    """A sum for the column, and one for its square."""
    y = rows[:, c].astype(np.float64)
    pairs = list(itertools.combinations_with_replacement(range(c + 1), 2))  # the column after those before is 1
    wide = np.column_stack([rows[:, :c], np.ones(len(rows))]).astype(np.float64)
    table = np.stack([wide[:, i] * wide[:, j] for i, j in pairs], 1)
    size = np.sqrt(np.square(table).mean(0)) + 1e-300
    negative = float((y < 0).mean())
    for kind in (FORM, ROOT if negative < 0.005 else SIGNED):
        target = y if kind == FORM else y * y
        noise = np.ones(len(y)) if kind == FORM else np.abs(y) + np.median(np.abs(y)) + 1.0
        chosen: list[int] = []
        weights = np.zeros(0)
        for _ in range(3):
            scaled = table / size / noise[:, None]
            chosen = forward(scaled, target / noise, many, _TERM_BITS, _TERMS)
            if not chosen:
                break
            slopes = _slopes(wide, [pairs[k] for k in chosen])
            weights = _unbiased(table[:, chosen], slopes, target, noise)
            noise = _noise(slopes, weights, y if kind != FORM else None)
        if chosen:
            places = [*range(c), rows.shape[1]]
            terms = [(places[i], places[j]) for i, j in (pairs[k] for k in chosen)]
            yield _quantized(kind, terms, weights, table[:, chosen])


def _slopes(wide: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """float64 [T, n, c]: how products change with each column."""
    slopes = np.zeros((len(pairs), *wide.shape))
    for mine, (i, j) in zip(slopes, pairs, strict=True):
        mine[:, i] += wide[:, j]
        mine[:, j] += wide[:, i]
    return slopes[..., :-1]


def _unbiased(products: Array, slopes: Array, target: Array, noise: Array) -> Array:
    """Factors [T] by least squares, of products [n, T] of columns that are known to within half a cell.

    What such errors add to the products' own variance is taken off it, or it would draw factors towards 0.
    """
    scaled, wanted = products / noise[:, None], target / noise
    shifted = slopes / noise[:, None]
    gram, added = scaled.T @ scaled, np.einsum("inc,jnc->ij", shifted, shifted) / 12
    size = np.sqrt(np.diag(gram)) + 1e-300
    for share in (1.0, 0.0):
        values, vectors = np.linalg.eigh((gram - share * added) / np.outer(size, size))
        if values[0] > 1e-12:
            break
    kept = values > 1e-12 * values[-1]
    moment = (scaled.T @ wanted) / size
    return vectors[:, kept] @ ((vectors[:, kept].T @ moment) / values[kept]) / size


def _noise(slopes: Array, weights: Array, root: Array | None) -> Array:
    """Deviation [n] of a sum whose columns are known to within half a cell, and of the square that it is to be."""
    slope = np.einsum("t,tnc->nc", weights, slopes)
    variance = np.square(slope).sum(1) + (1.0 if root is None else 4 * np.square(root))
    return np.sqrt(variance / 12 + 0.01)


def _quantized(kind: int, terms: Sequence[tuple[int, int]], weights: Array, table: Array) -> Formula:
    """The formula of such factors, with as many bits below the point as there is room for."""
    point = FRACTION if kind == FORM else 2 * FRACTION  # of what it makes
    most = float((np.abs(table) * np.abs(weights)).sum(1).max()) + 1.0
    room = 60 - math.ceil(math.log2(most)) - 2
    largest = 38 - math.ceil(math.log2(np.abs(weights).max() + 1e-300))
    bits = min(room, largest, 30 + point)
    if bits < point:
        return Formula()
    factors = np.rint(weights * 2.0**bits).astype(np.int64)
    return Formula(kind, bits - point, tuple((i, j, int(f)) for (i, j), f in zip(terms, factors, strict=True)))


# --- curves ---------------------------------------------------------------------------------------------------------


def _curves(rows: Array, c: int) -> Iterator[Formula]:
    """Curves over the directions that leave least of the column open, with more and more knots."""
    wide = np.column_stack([rows[:, :c], np.ones(len(rows), np.int64)])
    rng = np.random.default_rng(11)
    few = rng.choice(len(rows), min(_PAIR_ROWS, len(rows)), replace=False)
    y = rows[:, c].astype(np.float64)
    sizes = np.log2(np.median(np.abs(wide), axis=0) + 0.5)
    found = []
    for i, j in itertools.permutations(range(c + 1), 2):
        if i == c or (j < c and i > j and not (wide[:, i].min() < 0 or wide[:, j].min() < 0)):
            continue  # one of the two orders does where nothing goes all the way round
        # the power of two that makes the second about as large as the first
        lift = int(np.clip(np.rint(sizes[i] - sizes[j]), -DIRECTION, DIRECTION))
        d = direction(wide[few, i], wide[few, j], lift)
        mine = y[few][np.argsort(d, kind="stable")]
        found.append((bits_of(mine[1:-1] - (mine[:-2] + mine[2:]) / 2), i, j, lift))
    for _, i, j, lift in sorted(found)[:_PAIRS]:
        d = direction(wide[:, i], wide[:, j], lift)
        term = (i, j if j < c else rows.shape[1], lift)
        for knots in _KNOTS:
            yield _curve(d, y, term, knots)


def _curve(d: Array, y: Array, term: tuple[int, int, int], knots: int) -> Formula:
    """The curve of about so many knots that is nearest to ``y`` [n] over directions ``d`` [n]."""
    low, span = int(d.min()), max(int(d.max() - d.min()), 1)
    down = max(math.ceil(math.log2(span / knots)), 0)
    at, part = (d - low) >> down, ((d - low) & ((1 << down) - 1)) / (1 << down)
    many = int(at.max()) + 2
    main = np.bincount(at, (1 - part) ** 2, many) + np.bincount(at + 1, part**2, many) + 1e-9
    first = np.bincount(at, (1 - part) * part, many)
    moment = np.bincount(at, (1 - part) * y, many) + np.bincount(at + 1, part * y, many)
    heights = _bent(main, first, moment, 1e-3)
    heights = np.clip(np.rint(heights * (1 << FRACTION)), -(2.0**39), 2.0**39)
    return Formula(CURVE, down, (term,), (low, *heights.astype(np.int64).tolist()))


def _bent(main: Array, first: Array, moment: Array, stiffness: float) -> Array:
    """Minimise x'Ax/2 - m'x + ``stiffness`` times half the squares of x's second differences.

    Args:
        main, first: float64 [n], diagonals of the symmetric A; the last of ``first`` is not used.
        moment: float64 [n], m.
    """
    main, first, second, x = main.copy(), first.copy(), np.full(len(main), stiffness), moment.copy()
    for k, times in enumerate((1.0, 4.0, 1.0)):
        main[k : len(main) - 2 + k] += times * stiffness
    for k in range(2):
        first[k : len(main) - 2 + k] -= 2 * stiffness
    _solve(main, first, second, x)
    return x


@loop
def _solve(main: Array, first: Array, second: Array, x: Array) -> None:
    """``x`` becomes the solution of symmetric equations whose right side it is, all float64 [n].

    They have a diagonal ``main`` and two more on each side, and so has their Cholesky factor (Golub and Van Loan,
    section 4.3): ``main`` becomes D of L D L', the others what stands below the diagonal of L.
    """
    n = main.size
    for i in range(n):
        if i > 1:
            ratio = second[i - 2] / main[i - 2]
            first[i - 1] -= second[i - 2] * first[i - 2]
            main[i] -= second[i - 2] * ratio
            x[i] -= ratio * x[i - 2]
            second[i - 2] = ratio
        if i > 0:
            ratio = first[i - 1] / main[i - 1]
            main[i] -= first[i - 1] * ratio
            x[i] -= ratio * x[i - 1]
            first[i - 1] = ratio
    for i in range(n - 1, -1, -1):
        x[i] /= main[i]
        if i + 1 < n:
            x[i] -= first[i] * x[i + 1]
        if i + 2 < n:
            x[i] -= second[i] * x[i + 2]
