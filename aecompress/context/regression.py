"""Each value of a row expected from all before it in the row, by what other rows have shown.

    rows so far ──► covariance ──► Cholesky factor ──► E[value | values before it in the row]

For sets of many columns that depend on one another, embeddings say. The weights are many: a small set cannot pay for
them, so both sides learn them from what is decoded, in each block anew. Where a set is large the model tells the
factor, for blocks of few rows learn little. The estimate is that of a Gaussian whose correlations are shrunk towards
0, as if ``prior`` rows without any had been seen (Ledoit and Wolf 2004). All is integers. Those that are multiplied
most lie in float64, and no sum of their products reaches 2^53: it is exact in any order.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from aecompress.abreast import abreast
from aecompress.context.sample import FRACTION, Sample
from aecompress.entropy.division import floored, root_of
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.record import within
from aecompress.entropy.tokens import Scalar
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: Fewest and most values of a row. Of longer rows the last axes are taken that have no more.
LEAST_COLUMNS, MOST_COLUMNS = 17, 2048

#: Bits below the point of: values, in units of their column; innovations; the factor.
_VALUE, _INNOVATION, _FACTOR = 12, 16, 20

#: Greatest exponent of a column's unit, greatest distance of a value from its column's centre, in units.
MOST_UNIT, _MOST_VALUE = 40, np.int64(1 << (_VALUE + 5))

#: Most rows that may count as seen, and parts of one that they are counted in since version 17.
MOST_PRIOR, PRIOR_PARTS = 1 << 20, 16

_GRAIN = 2  # centres are whole multiples of their column's unit, shifted by as many bits

_MOST_CENTRE = 1 << 56

_MOST_INNOVATION = np.int64(1 << (_INNOVATION + 5))
# what is added to the diagonal of the correlations, and the least that may be left of it: before version 17, and since
_RIDGE, _LEAST_VARIANCE = np.int64(1 << (_FACTOR - 12)), np.int64(1 << (2 * _FACTOR - 12))
_FINE_RIDGE, _FINE_VARIANCE = np.int64(1 << (_FACTOR - 16)), np.int64(1 << (2 * _FACTOR - 16))
_MOST_FACTOR = np.int64(17 << (_FACTOR - 4))
_FAR = np.int64(1 << 44)
_HALF = np.int64(1 << (FRACTION - 1))

# of a factor that is told: least entry of the diagonal, and bits that sizes lack
_LEAST_ROOT, _SIZE_GRAIN = np.int64(1 << (_FACTOR - 8)), 4
_MOST_SIZE = 1 << (_VALUE + 5)

# what lies further from 0 than so many steps is the next whole number of them: smaller ones take fewer bits
_ROUND = 0.4

# rows whose guesses are made before others', and columns that are made of one product
_SIDE, _PANEL = 256, 32

# numbers that products are taken of at once, whatever the processor's vectors; and rows with rows
_VECTOR = np.int64(32)
_HIGH, _WIDE = np.int64(4), np.int64(2)

# rows between two factors: at least so many, and a share of the rows so far and of the columns
_FEWEST_ROWS, _SHARE_OF_ROWS, _SHARE_OF_COLUMNS, _MOST_ROWS = (np.int64(n) for n in (8, 16, 12, 4096))


#: Traits of a column: where it lies, log2 of its unit in cells, its root mean square, 2^36 over that, and 2^40 over the
#: diagonal of the factor.
TRAITS = np.int64(5)
CENTRE, UNIT, SIZE, OVER_SIZE, OVER_FACTOR = (np.uint64(n) for n in range(5))


class State(NamedTuple):
    """What a pass over a block has learned; M is one more than the columns, for a constant comes before them.

    Attributes:
        traits: int64 [M * TRAITS], of each column; see ``CENTRE``.
        rows: int64 [5]: those in ``gram``, those that wait, how many may until the factor is made anew, how many have
            room, and ``Regression.prior``.
        values: float64 [(M + _HIGH - 1) * room], columns of rows that wait, in their units; the last few are 0.
        innovations: float64 [S], of the row so far, of variance 1; S is M in whole vectors.
        gram: int64 [M * M], an upper triangle; ``factor`` float64 [(M + _HIGH - 1) * S], or [M * S] if it is told: what
            is below the diagonal, all else 0.
    """

    traits: Array
    rows: Array
    values: Array
    innovations: Array
    gram: Array
    factor: Array


@dataclass(frozen=True)
class Factor:
    """A Cholesky factor that the model tells, in steps.

    Attributes:
        shifts: int64 [D], log2 of a column's step, in 1/2^20.
        sizes: int64 [D], root mean squares of the columns, in 1/2^12 of their units, in whole grains.
        weights: int64 [D, M], row by row, the constant's first, up to the diagonal; 0 beyond.
    """

    shifts: Array
    sizes: Array
    weights: Array

    @cached_property
    def entries(self) -> Array:
        """float64 [M, S], what is below the diagonal, all else 0."""
        m = self.weights.shape[1]
        full = np.zeros((m, _stride(m)))
        full[1:, :m] = np.tril(self.weights << self.shifts[:, None])
        return full

    @cached_property
    def roots(self) -> Array:
        """int64 [D], the diagonal."""
        return np.diagonal(self.weights, 1) << self.shifts

    def arrays(self) -> list[Array]:
        """For a record."""
        return [np.stack([self.shifts, self.sizes >> _SIZE_GRAIN]), self.weights[_lower(len(self.sizes))]]

    @classmethod
    def from_arrays(cls, arrays: Sequence[Array], columns: int) -> Factor:
        """Undo ``arrays``. Raises CorruptError for impossible numbers."""
        head, entries = arrays
        lower = _lower(columns)
        _require(head.shape == (2, columns) and entries.shape == lower[0].shape)
        shifts, sizes = head
        _require(within(shifts, 0, _FACTOR) and within(sizes, 1, _MOST_SIZE >> _SIZE_GRAIN))
        _require(within(entries, -_MOST_FACTOR, _MOST_FACTOR))
        weights = np.zeros((columns, columns + 1), np.int64)
        weights[lower] = entries
        found, most = cls(shifts, sizes << _SIZE_GRAIN, weights), (_MOST_FACTOR >> shifts)[:, None]
        _require(within(weights, -most, most) and within(found.roots, _LEAST_ROOT, _MOST_FACTOR))
        return found


@dataclass(frozen=True)
class Regression:
    """What is known of the columns before a row is seen.

    Attributes:
        centres: int64 [D]; ``units`` int64 [D], log2 of what values are measured in, about their deviation.
        prior: how many rows without correlations count as seen; if below 0, how many parts of a row; 0 if the factor is
            told.
        factor: None, or what is told and not learned.
    """

    centres: Array
    units: Array
    prior: int
    factor: Factor | None = None

    def state(self, shape: tuple[int, ...]) -> State:
        """For a pass over a block of this shape: nothing is learned yet. Raises CorruptError for other columns."""
        columns = len(self.centres)
        if columns_of(shape) != columns:
            raise CorruptError("A block does not fit its context model; the archive is damaged.")
        m, stride, told = columns + 1, _stride(columns + 1), self.factor is not None
        room = 1 if told else int(_waiting(math.prod(shape) // columns, columns))
        innovations = np.zeros(stride)
        innovations[0] = 1 << _INNOVATION
        return State(
            self._traits().reshape(-1),
            np.array([0, 0, 1 if told else _waiting(0, columns), room, self.prior]),
            np.zeros((m + int(_HIGH) - 1) * room),
            innovations,
            np.zeros(0 if told else m * m, np.int64),
            self.factor.entries.reshape(-1) if self.factor else np.zeros((m + int(_HIGH) - 1) * stride),
        )

    def _traits(self) -> Array:
        """int64 [M, TRAITS] before anything is learned."""
        traits = np.zeros((len(self.centres) + 1, TRAITS), np.int64)
        traits[1:, CENTRE], traits[1:, UNIT] = self.centres, self.units
        traits[:, SIZE], traits[:, OVER_FACTOR] = 1 << _VALUE, 1 << (40 - _FACTOR)
        if self.factor is not None:
            traits[1:, SIZE], traits[1:, OVER_FACTOR] = self.factor.sizes, (1 << 40) // self.factor.roots
        traits[:, OVER_SIZE] = (1 << 36) // traits[:, SIZE]
        return traits

    @property
    def prior_rows(self) -> float:
        """How many rows without correlations count as seen."""
        return float(self.prior) if self.prior > 0 else -self.prior / PRIOR_PARTS

    def guesses(self, q: Array, coded: Array) -> Array:
        """int64 [rows, ...], what each value of a block is expected to be, in 1/2^FRACTION cells; what is not coded
        counts as expected."""
        found = np.empty(q.shape, np.int64)
        deque(self.guessing(q, coded, found), 0)
        return found

    def guessing(self, q: Array, coded: Array, found: Array) -> Iterator[int]:
        """Write ``guesses`` to ``found``, some rows after the other; yields how many values are done."""
        columns = len(self.centres)
        state, guess = self.state(q.shape), self._learn if self.factor is None else self._guess
        values, flags = np.ascontiguousarray(q, np.int64).reshape(-1, columns), coded.reshape(-1, columns)
        for at in range(0, len(values), _SIDE):
            rows = slice(at, min(at + _SIDE, len(values)))
            guess(values[rows], np.ascontiguousarray(flags[rows]), found.reshape(-1, columns)[rows], state)
            yield rows.stop * columns

    def _learn(self, q: Array, coded: Array, found: Array, state: State) -> None:
        """Rows [n, D] one by one, for each makes the next known better."""
        _pass(q.reshape(-1), coded.reshape(-1), found.reshape(-1), state)

    def _guess(self, q: Array, coded: Array, found: Array, state: State) -> None:
        """Rows [n, D] side by side, for by a factor that is told they know nothing of each other."""
        columns = q.shape[1]
        factor, innovations = state.factor.reshape(columns + 1, -1), np.zeros((columns + 1, len(q)))
        innovations[0] = state.innovations[0]
        for start in range(0, columns, _PANEL):
            stop = min(start + _PANEL, columns)
            before = factor[start + 1 : stop + 1, : start + 1] @ innovations[: start + 1]
            _panel(start, before, q, coded, found, state.traits, innovations, factor)

    def informed(self, sample: Sample) -> Sample:
        """The block with what is made of it."""
        return sample if sample.made is not None else replace(sample, made=self.guesses(sample.q, sample.coded))

    def arrays(self) -> list[Array]:
        """For a record."""
        centres = self.centres >> np.maximum(self.units - _GRAIN, 0)
        told = [] if self.factor is None else self.factor.arrays()
        return [np.concatenate([[self.prior], self.units]), centres, *told]

    @classmethod
    def from_arrays(cls, arrays: Sequence[Array]) -> Regression:
        """Undo ``arrays``. Raises CorruptError for impossible numbers."""
        (prior, *units), centres, *told = arrays
        exponents = np.array(units, np.int64)
        _require(
            LEAST_COLUMNS <= len(units) <= MOST_COLUMNS
            and centres.shape == exponents.shape
            and within(centres, -_MOST_CENTRE, _MOST_CENTRE)
            and (prior == 0 if told else 1 <= abs(prior) <= MOST_PRIOR)
            and within(exponents, 0, MOST_UNIT)
        )
        factor = Factor.from_arrays(told, len(units)) if told else None
        return cls(centres << np.maximum(exponents - _GRAIN, 0), exponents, int(prior), factor)

    @classmethod
    def of(cls, samples: Sequence[Sample], prior: int) -> Regression:
        """For samples of blocks whose rows ``columns_of`` finds."""
        columns = columns_of(samples[0].q.shape)
        assert columns is not None
        q = np.concatenate([s.q.reshape(-1, columns) for s in samples]).astype(np.float64)
        coded = np.concatenate([s.coded.reshape(-1, columns) for s in samples])
        many = np.maximum(coded.sum(0), 1)
        mean = q.sum(0, where=coded) / many
        deviation = np.sqrt(np.square(q - mean).sum(0, where=coded) / many)
        units = np.clip(np.rint(np.log2(np.maximum(deviation, 1.0))), 0, MOST_UNIT).astype(np.int64)
        grain = 2.0 ** np.maximum(units - _GRAIN, 0)
        return cls((np.rint(mean / grain) * grain).astype(np.int64), units, prior)

    def products(self, samples: Sequence[Sample]) -> Array:
        """float64 [M, M], sums of products of the values of rows, in units, and of the constant 1; what is not coded
        counts as 0. The first is the number of rows."""
        columns, most = len(self.centres), float(_MOST_VALUE) / (1 << _VALUE)

        def product(sample: Sample) -> Array:
            values = (sample.q.reshape(-1, columns) - self.centres) / 2.0**self.units
            values = np.where(sample.coded.reshape(-1, columns), np.clip(values, -most, most), 0.0)
            rows = np.column_stack([np.ones(len(values)), values])
            return rows.T @ rows

        return sum(abreast(product, samples), np.zeros((columns + 1, columns + 1)))

    def told(self, products: Array, detail: int) -> Regression:
        """The one that is told what ``products`` of rows show, with this one's prior.

        Args:
            detail: log2 of the steps in a deviation of what is unexpected.
        """
        spread = np.sqrt(np.maximum(np.diagonal(products), 1e-9))
        rows = products[0, 0]
        correlations = products / np.outer(spread, spread) * (rows / (rows + self.prior_rows))
        np.fill_diagonal(correlations, 1.0 + _FINE_RIDGE / 2.0**_FACTOR)
        factor = np.linalg.cholesky(correlations)[1:]
        roots = np.maximum(np.diagonal(factor, 1), float(_LEAST_ROOT) / (1 << _FACTOR))
        shifts = np.maximum(np.floor(np.log2(roots)).astype(np.int64) + _FACTOR - detail, 0)
        steps = factor * 2.0 ** (_FACTOR - shifts)[:, None]
        weights = (np.sign(steps) * np.floor(np.abs(steps) + 1 - _ROUND)).astype(np.int64)
        most = (_MOST_FACTOR >> shifts)[:, None]
        weights = np.clip(weights, -most, most)
        np.fill_diagonal(weights[:, 1:], np.rint(roots * 2.0 ** (_FACTOR - shifts)).astype(np.int64))
        sizes = np.rint(spread[1:] / spread[0] * (1 << (_VALUE - _SIZE_GRAIN))).astype(np.int64)
        sizes = np.clip(sizes, 1, _MOST_SIZE >> _SIZE_GRAIN) << _SIZE_GRAIN
        return replace(self, prior=0, factor=Factor(shifts, sizes, weights))


def _require(held: bool) -> None:
    if not held:
        raise CorruptError("The context model's regression holds impossible numbers; the file is damaged.")


def _stride(m: int) -> int:
    """``m`` in whole vectors."""
    return -(-m // int(_VECTOR)) * int(_VECTOR)


def _lower(columns: int) -> tuple[Array, Array]:
    """Where the entries of a factor lie that are told."""
    return np.tril_indices(columns, 1, columns + 1)


_NONE, _NOTHING = np.empty(0, np.int64), np.empty(0)

#: Of a pass without a regression.
NO_STATE = State(_NONE, _NONE, _NOTHING, _NOTHING, _NONE, _NOTHING)


def columns_of(shape: tuple[int, ...]) -> int | None:
    """Values of a row of a block of this shape; None if there are too few or, along the last axis, too many."""
    columns = 1
    for n in reversed(shape[1:]):
        if columns * n > MOST_COLUMNS:
            break
        columns *= n
    return columns if columns >= LEAST_COLUMNS else None


@loop
def _waiting(rows: Scalar, columns: Scalar) -> Scalar:
    """How many rows wait until the factor is made anew, once there were so many."""
    share = max(rows // _SHARE_OF_ROWS, columns // _SHARE_OF_COLUMNS)
    return min(max(share, _FEWEST_ROWS), _MOST_ROWS)


@inlined(fastmath={"reassoc", "contract"})
def _product(first: Array, at: Scalar, second: Array, start: Scalar, many: Scalar) -> Scalar:
    """Sum of products of whole numbers, below 2^53."""
    total = 0.0
    for k in range(many):
        total += first[np.uint64(at + k)] * second[np.uint64(start + k)]
    return np.int64(total)


@inlined
def _below(row: Scalar, column: Scalar, factor: Array, other: Array, start: Scalar, stride: Scalar) -> Scalar:
    """Sum of products of a row of the factor and ``other``, which lies from ``start`` on, over the columns before
    ``column``; in whole vectors, for one of the two is 0 from there on."""
    many = (column + _VECTOR - np.int64(1)) & -_VECTOR
    return _product(factor, row * stride, other, start, many)


@inlined
def expect(c: Scalar, factor: Array, innovations: Array) -> Scalar:
    """What column ``c`` is expected to be by the innovations before it, in sizes of the column, _INNOVATION bits."""
    k = c + np.int64(1)
    return _below(k, k, factor, innovations, np.int64(0), np.int64(innovations.size)) >> np.int64(_FACTOR)


@inlined
def guessed(c: Scalar, expected: Scalar, traits: Array) -> Scalar:
    """What ``expect`` means, in 1/2^FRACTION cells."""
    of = np.uint64((c + np.int64(1)) * TRAITS)
    value = _limited((expected * traits[of + SIZE]) >> np.int64(_INNOVATION))
    down = np.int64(_VALUE - FRACTION) - traits[of + UNIT]
    return (traits[of + CENTRE] << np.int64(FRACTION)) + (value >> down if down > 0 else value << -down)


@inlined
def tell(
    c: Scalar, q: Array, i: Scalar, fine: Array, traits: Array, innovations: Array, factor: Array
) -> Scalar:  # fmt: skip
    """Write what is made of value ``i``, in column ``c``, behind ``q`` and to ``fine``; returns what is expected."""
    expected = expect(c, factor, innovations)
    made = guessed(c, expected, traits)
    cells = (made + _HALF) >> np.int64(FRACTION)
    q[i + fine.size], fine[i] = cells, np.int8(made - (cells << np.int64(FRACTION)))
    return expected


@inlined
def _limited(value: Scalar) -> Scalar:
    return min(max(value, -_MOST_VALUE), _MOST_VALUE)


@inlined
def _measured(q: Scalar, of: Scalar, traits: Array) -> Scalar:
    """A value from its column's centre, in 1/2^_VALUE of its units."""
    away = min(max(q - traits[of + CENTRE], -_FAR), _FAR)
    down = np.int64(_VALUE) - traits[of + UNIT]
    return _limited((min(max(away, -_MOST_VALUE), _MOST_VALUE) << down) if down > 0 else (away >> -down))


@inlined
def _innovation(value: Scalar, expected: Scalar, of: Scalar, traits: Array) -> Scalar:
    """What was not expected of a value, of variance 1."""
    fresh = ((value * traits[of + OVER_SIZE]) >> np.int64(36 - _INNOVATION)) - expected
    fresh = (fresh * traits[of + OVER_FACTOR]) >> np.int64(40 - _FACTOR)
    return min(max(fresh, -_MOST_INNOVATION), _MOST_INNOVATION)


@inlined
def observe(
    c: Scalar, q: Scalar, known: Scalar, expected: Scalar,
    traits: Array, rows: Array, values: Array, innovations: Array, gram: Array, factor: Array,
) -> Scalar:  # fmt: skip
    """Learn that column ``c`` of the row is ``q``, or as expected where that is not known; returns the next column."""
    k = c + np.int64(1)
    of = np.uint64(k * TRAITS)
    at = np.uint64(k * rows[3] + rows[1])
    if known:
        value = _measured(q, of, traits)
        innovations[np.uint64(k)] = np.float64(_innovation(value, expected, of, traits))
        values[at] = np.float64(value)
    else:
        innovations[np.uint64(k)] = 0.0
        values[at] = np.float64(_limited((expected * traits[of + SIZE]) >> np.int64(_INNOVATION)))
    if (k + 1) * TRAITS < traits.size:
        return k
    values[np.uint64(rows[1])] = np.float64(1 << _VALUE)
    rows[1] += 1
    if rows[1] == rows[2]:
        if rows[4] != 0:
            _learn(traits, rows, values, gram, factor, np.int64(innovations.size))
        else:
            rows[1] = 0
    return np.int64(0)


@inlined(fastmath={"reassoc", "contract"})
def _tile(values: Array, at: Scalar, start: Scalar, stride: Scalar, many: Scalar) -> tuple[Scalar, ...]:
    """Sums of products of whole numbers, below 2^53: of _HIGH rows from ``at`` on with _WIDE rows from ``start`` on, of
    their first ``many`` numbers. Together they are fetched less often."""
    a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(many):
        first, second = values[np.uint64(start + k)], values[np.uint64(start + stride + k)]
        value = values[np.uint64(at + k)]
        a += value * first
        b += value * second
        value = values[np.uint64(at + stride + k)]
        c += value * first
        d += value * second
        value = values[np.uint64(at + 2 * stride + k)]
        e += value * first
        f += value * second
        value = values[np.uint64(at + 3 * stride + k)]
        g += value * first
        h += value * second
    return a, b, c, d, e, f, g, h


@loop
def _learn(traits: Array, rows: Array, values: Array, gram: Array, factor: Array, stride: Scalar) -> None:
    """Make the factor anew, of the rows that wait as well."""
    m, room, waiting = traits.size // TRAITS, rows[3], rows[1]
    for i in range(0, m, _HIGH):
        for j in range(0, min(i + _HIGH, m), _WIDE):
            sums = _tile(values, i * room, j * room, room, waiting)
            for n in range(_HIGH * _WIDE):
                row, column = i + n // _WIDE, j + n % _WIDE
                if column <= row < m:
                    gram[np.uint64(column * m + row)] += np.int64(sums[n])
    rows[0] += waiting
    rows[1] = 0
    rows[2] = _waiting(rows[0], np.int64(m - 1))
    _factorise(gram, m, rows[0], rows[4], traits, factor, stride, values)


@loop
def _factorise(
    gram: Array, m: Scalar, many: Scalar, prior: Scalar, traits: Array, factor: Array, stride: Scalar, scratch: Array
) -> None:
    """Cholesky factor of the correlations that ``gram`` holds, shrunk; in parts of rows they have six bits more.

    Columns are made in panels: first what rows have to do with those of the panel by the columns before it, then column
    by column. Of ``scratch`` the first 2 m are used.
    """
    ridge, least, share, total = _RIDGE, _LEAST_VARIANCE, many, many + prior
    first, second, third = np.int64(0), np.int64(_FACTOR), np.int64(_FACTOR)
    if prior < 0:
        ridge, least = _FINE_RIDGE, _FINE_VARIANCE
        share = many * np.int64(PRIOR_PARTS)
        total = share - prior
        first, second, third = np.int64(8), np.int64(_FACTOR - 2), np.int64(_FACTOR - 6)
    for i in range(m):
        scratch[i] = max(root_of(gram[i * m + i]), np.int64(1))
        size = max(root_of(gram[i * m + i] // many), np.int64(1))
        traits[i * TRAITS + SIZE], traits[i * TRAITS + OVER_SIZE] = size, np.int64(1 << 36) // size
    for start in range(0, m, _VECTOR):
        stop = min(start + _VECTOR, m)
        for i in range(start, m, _HIGH):
            for j in range(start, min(i + _HIGH, stop), _WIDE):
                sums = _tile(factor, i * stride, j * stride, stride, start)
                for n in range(_HIGH * _WIDE):
                    row, column = i + n // _WIDE, j + n % _WIDE
                    if column <= row < m and column < stop:
                        factor[np.uint64(row * stride + column)] = sums[n]
        for j in range(start, stop):
            mine = j * stride
            left = ((np.int64(1 << _FACTOR) + ridge) << np.int64(_FACTOR)) - np.int64(factor[mine + j])
            factor[mine + j] = 0.0
            root = root_of(max(left, least))
            traits[j * TRAITS + OVER_FACTOR] = np.int64(1 << 40) // root
            norm = np.int64(scratch[j])
            for i in range(j + 1, m):
                product = gram[np.uint64(j * m + i)] << first
                correlation = floored(floored(product, np.int64(scratch[np.uint64(i)])) << second, norm)
                scratch[np.uint64(m + i)] = np.float64(floored(correlation * share, total) << third)
            for i in range(j + 1, m):
                scratch[np.uint64(m + i)] -= factor[np.uint64(i * stride + j)]
            for i in range(j + 1, m):
                found = floored(np.int64(scratch[np.uint64(m + i)]), root)
                scratch[np.uint64(m + i)] = np.float64(min(max(found, -_MOST_FACTOR), _MOST_FACTOR))
            for i in range(j + 1, stop):  # a column of the panel, as a row for now
                factor[np.uint64(mine + i)] = scratch[np.uint64(m + i)]
            for i in range(j + 1, m):
                value = scratch[np.uint64(m + i)]
                factor[np.uint64(i * stride + j)] = value
                for k in range(j + 1, min(i + 1, stop)):
                    factor[np.uint64(i * stride + k)] += value * factor[np.uint64(mine + k)]
            for i in range(j + 1, stop):
                factor[np.uint64(mine + i)] = 0.0


@loop
def _pass(q: Array, coded: Array, found: Array, state: State) -> None:
    """The encoder's pass: what a decoder will expect each value to be."""
    traits, rows, values, innovations, gram, factor = state
    c = np.int64(0)
    for i in range(q.size):
        expected = expect(c, factor, innovations)
        found[i] = guessed(c, expected, traits)
        c = observe(c, q[i], coded[i], expected, traits, rows, values, innovations, gram, factor)


@loop
def _panel(
    start: Scalar, before: Array, q: Array, coded: Array, found: Array, traits: Array, innovations: Array, factor: Array
) -> None:
    """What is made of columns from ``start`` on of some rows, and their innovations.

    Args:
        before: float64 [columns, rows], what the columns before ``start`` add to what is expected.
        q, coded, found: of all columns, [rows, D].
        innovations: float64 [M, rows]; factor: float64 [M, S].
    """
    for j in range(before.shape[0]):
        c = np.int64(start + j)
        k = c + 1
        of = np.uint64(k * TRAITS)
        for i in range(start + 1, k):
            weight = factor[k, i]
            for row in range(len(q)):
                before[j, row] += weight * innovations[i, row]
        for row in range(len(q)):
            expected = np.int64(before[j, row]) >> np.int64(_FACTOR)
            found[row, c] = guessed(c, expected, traits)
            if coded[row, c]:
                value = _measured(q[row, c], of, traits)
                innovations[k, row] = np.float64(_innovation(value, expected, of, traits))
