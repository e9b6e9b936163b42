"""Each value of a row expected from all before it in the row, by what the rows before have shown.

    rows so far ──► covariance ──► Cholesky factor ──► E[value | values before it in the row]

For sets of many columns that depend on one another, embeddings say: the weights would be too many to store, so both
sides learn them from what is decoded. The estimate is that of a Gaussian whose correlations are shrunk towards 0, as
if ``prior`` rows without any had been seen (Ledoit and Wolf 2004). All is integers. Those that are multiplied most lie
in float64, and no sum of their products reaches 2^53: it is exact in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from aecompress.context.sample import FRACTION, Sample
from aecompress.entropy.division import floored, root_of
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: Fewest and most values of a row. Of longer rows the last axes are taken that have no more.
LEAST_COLUMNS, MOST_COLUMNS = 17, 2048

#: Bits below the point of: values, in units of their column; innovations; the factor.
_VALUE, _INNOVATION, _FACTOR = 12, 16, 20

#: Greatest exponent of a column's unit, greatest distance of a value from its column's centre, in units.
MOST_UNIT, _MOST_VALUE = 40, np.int64(1 << (_VALUE + 5))

#: Most rows that may count as seen.
MOST_PRIOR = 1 << 20

_GRAIN = 2  # centres are whole multiples of their column's unit, shifted by as many bits

_MOST_CENTRE = 1 << 56

_MOST_INNOVATION = np.int64(1 << (_INNOVATION + 5))
_RIDGE = np.int64(1 << (_FACTOR - 12))
_LEAST_VARIANCE = np.int64(1 << (2 * _FACTOR - 12))
_MOST_FACTOR = np.int64(17 << (_FACTOR - 4))
_FAR = np.int64(1 << 44)
_HALF = np.int64(1 << (FRACTION - 1))

# numbers that products are taken of at once, whatever the processor's vectors
_VECTOR = np.int64(32)

# rows between two factors: at least so many, and a share of the rows so far and of the columns
_FEWEST_ROWS, _SHARE_OF_ROWS, _SHARE_OF_COLUMNS, _MOST_ROWS = (np.int64(n) for n in (8, 16, 12, 4096))


#: Traits of a column: where it lies, log2 of its unit in cells, its root mean square, 2^36 over that, 2^40 over the
#: diagonal of the factor, and the root of the sum of its squares.
TRAITS = np.int64(6)
CENTRE, UNIT, SIZE, OVER_SIZE, OVER_FACTOR, NORM = (np.uint64(n) for n in range(6))


class State(NamedTuple):
    """What a pass over a block has learned; M is one more than the columns, for a constant comes before them.

    Attributes:
        traits: int64 [M * TRAITS], of each column; see ``CENTRE``.
        rows: int64 [5]: those in ``gram``, those that wait, how many may until the factor is made anew, how many have
            room, and how many count as seen without any correlation.
        values: float64 [M * room], columns of rows that wait, in their units.
        innovations: float64 [S], of the row so far, of variance 1; S is M in whole vectors.
        gram: int64 [M * M], an upper triangle; ``factor`` float64 [M * S], what is below the diagonal, all else 0.
    """

    traits: Array
    rows: Array
    values: Array
    innovations: Array
    gram: Array
    factor: Array


@dataclass(frozen=True)
class Regression:
    """What is known of the columns before a row is seen.

    Attributes:
        centres: int64 [D]; ``units`` int64 [D], log2 of what values are measured in, about their deviation.
        prior: how many rows without correlations count as seen.
    """

    centres: Array
    units: Array
    prior: int

    def state(self, shape: tuple[int, ...]) -> State:
        """For a pass over a block of this shape: nothing is learned yet. Raises CorruptError for other columns."""
        columns = len(self.centres)
        if columns_of(shape) != columns:
            raise CorruptError("A block does not fit its context model; the archive is damaged.")
        m = columns + 1
        room = int(_waiting(math.prod(shape) // columns, columns))
        traits = np.zeros((m, TRAITS), np.int64)
        traits[1:, CENTRE], traits[1:, UNIT] = self.centres, self.units
        traits[:, SIZE], traits[:, OVER_SIZE], traits[:, OVER_FACTOR] = (
            1 << _VALUE,
            1 << (36 - _VALUE),
            1 << (40 - _FACTOR),
        )
        stride = -(-m // int(_VECTOR)) * int(_VECTOR)
        innovations = np.zeros(stride)
        innovations[0] = 1 << _INNOVATION
        return State(
            traits.reshape(-1),
            np.array([0, 0, _waiting(0, columns), room, self.prior]),
            np.zeros(m * room),
            innovations,
            np.zeros(m * m, np.int64),
            np.zeros(m * stride),
        )

    def guesses(self, q: Array, coded: Array) -> Array:
        """int64 [rows, ...], what each value of a block is expected to be, in 1/2^FRACTION cells; what is not coded
        counts as expected."""
        found = np.empty(q.size, np.int64)
        flags = np.ascontiguousarray(coded).reshape(-1)
        _pass(np.ascontiguousarray(q, np.int64).reshape(-1), flags, found, self.state(q.shape))
        return found.reshape(q.shape)

    def informed(self, sample: Sample) -> Sample:
        """The block with what is made of it."""
        return sample if sample.made is not None else replace(sample, made=self.guesses(sample.q, sample.coded))

    def arrays(self) -> list[Array]:
        """For a record."""
        return [np.concatenate([[self.prior], self.units]), self.centres >> np.maximum(self.units - _GRAIN, 0)]

    @classmethod
    def from_arrays(cls, arrays: Sequence[Array]) -> Regression:
        """Undo ``arrays``. Raises CorruptError for impossible numbers."""
        (prior, *units), centres = arrays
        exponents = np.array(units, np.int64)
        if not (
            LEAST_COLUMNS <= len(units) <= MOST_COLUMNS
            and centres.shape == exponents.shape
            and bool((np.abs(centres) <= _MOST_CENTRE).all())
            and 1 <= prior <= MOST_PRIOR
            and bool(((exponents >= 0) & (exponents <= MOST_UNIT)).all())
        ):
            raise CorruptError("The context model's regression holds impossible numbers; the file is damaged.")
        return cls(centres << np.maximum(exponents - _GRAIN, 0), exponents, int(prior))

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
def observe(
    c: Scalar, q: Scalar, known: Scalar, expected: Scalar,
    traits: Array, rows: Array, values: Array, innovations: Array, gram: Array, factor: Array,
) -> Scalar:  # fmt: skip
    """Learn that column ``c`` of the row is ``q``, or as expected where that is not known; returns the next column."""
    k = c + np.int64(1)
    of = np.uint64(k * TRAITS)
    at = np.uint64(k * rows[3] + rows[1])
    if known:
        away = min(max(q - traits[of + CENTRE], -_FAR), _FAR)
        down = np.int64(_VALUE) - traits[of + UNIT]
        value = _limited((min(max(away, -_MOST_VALUE), _MOST_VALUE) << down) if down > 0 else (away >> -down))
        fresh = ((value * traits[of + OVER_SIZE]) >> np.int64(36 - _INNOVATION)) - expected
        fresh = (fresh * traits[of + OVER_FACTOR]) >> np.int64(40 - _FACTOR)
        innovations[np.uint64(k)] = np.float64(min(max(fresh, -_MOST_INNOVATION), _MOST_INNOVATION))
        values[at] = np.float64(value)
    else:
        innovations[np.uint64(k)] = 0.0
        values[at] = np.float64(_limited((expected * traits[of + SIZE]) >> np.int64(_INNOVATION)))
    if (k + 1) * TRAITS < traits.size:
        return k
    values[np.uint64(rows[1])] = np.float64(1 << _VALUE)
    rows[1] += 1
    if rows[1] == rows[2]:
        _learn(traits, rows, values, gram, factor)
    return np.int64(0)


@loop
def _learn(traits: Array, rows: Array, values: Array, gram: Array, factor: Array) -> None:
    """Make the factor anew, of the rows that wait as well."""
    m, room, waiting = traits.size // TRAITS, rows[3], rows[1]
    for j in range(m):
        for i in range(j, m):
            gram[np.uint64(j * m + i)] += _product(values, i * room, values, j * room, waiting)
    rows[0] += waiting
    rows[1] = 0
    rows[2] = _waiting(rows[0], np.int64(m - 1))
    _factorise(gram, m, rows[0], rows[4], traits, factor)


@loop
def _factorise(gram: Array, m: Scalar, many: Scalar, prior: Scalar, traits: Array, factor: Array) -> None:
    """Cholesky factor of the correlations that ``gram`` holds, shrunk."""
    for i in range(m):
        traits[i * TRAITS + NORM] = max(root_of(gram[i * m + i]), np.int64(1))
        size = max(root_of(gram[i * m + i] // many), np.int64(1))
        traits[i * TRAITS + SIZE], traits[i * TRAITS + OVER_SIZE] = size, np.int64(1 << 36) // size
    point = np.int64(_FACTOR)
    stride = np.int64(factor.size) // m
    for j in range(m):  # column by column, for what is in one does not wait for anything else in it
        left = ((np.int64(1 << _FACTOR) + _RIDGE) << point) - _below(j, j, factor, factor, j * stride, stride)
        root = root_of(max(left, _LEAST_VARIANCE))
        traits[j * TRAITS + OVER_FACTOR] = np.int64(1 << 40) // root
        norm = traits[j * TRAITS + NORM]
        for i in range(j + 1, m):
            correlation = floored(gram[np.uint64(j * m + i)], traits[np.uint64(i * TRAITS) + NORM]) << point
            wanted = floored(floored(correlation, norm) * many, many + prior) << point
            found = floored(wanted - _below(i, j, factor, factor, j * stride, stride), root)
            factor[np.uint64(i * stride + j)] = np.float64(min(max(found, -_MOST_FACTOR), _MOST_FACTOR))


@loop
def _pass(q: Array, coded: Array, found: Array, state: State) -> None:
    """The encoder's pass: what a decoder will expect each value to be."""
    traits, rows, values, innovations, gram, factor = state
    c = np.int64(0)
    for i in range(q.size):
        expected = expect(c, factor, innovations)
        found[i] = guessed(c, expected, traits)
        c = observe(c, q[i], coded[i], expected, traits, rows, values, innovations, gram, factor)
