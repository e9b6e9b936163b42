"""Columns that are functions of others: each value expected by a formula from those before it in the row.

    q of the row so far ──► sum of products ──► itself, its root, or its root with a sign that is told
                       └──► direction of two columns ──► curve through knots

In tables of measurements some columns are computed from others: lengths of vectors and energies are roots of sums of
squares, masses roots of sums of products, angles and rapidities functions of a ratio. What they are computed from is
known to within half a cell, so they are, too. All is integers: int64 with wrap-around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from aecompress.context.sample import FRACTION, Sample
from aecompress.entropy import mask
from aecompress.entropy.division import floored, root_of
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: Fewest and most columns of a row, along the last axis.
LEAST_COLUMNS, MOST_COLUMNS = 3, 32

#: Kinds of formulas: none, a sum of products, its root, its root with the sign that was told, a curve.
NONE, FORM, ROOT, SIGNED, CURVE = range(5)

#: Bits below the point of a direction; a direction goes from -2 to 2.
DIRECTION = 20

#: Most terms of a sum, most knots of a curve.
MOST_TERMS, MOST_KNOTS = 32, 1 << 12

#: Greatest magnitude of a factor, of a knot, of a column's number in a formula, and of what a formula makes.
MOST_FACTOR, MOST_KNOT = 1 << 40, 1 << 40
_MOST_NUMBER, _MOST_MADE = np.int64(1 << 40), np.int64(1 << 48)
_MOST_SQUARE = np.int64((1 << 62) - 1)

_ONE = np.int64(1 << DIRECTION)
_HALF = np.int64(1 << (FRACTION - 1))


class Links(NamedTuple):
    """Formulas as the loops want them, and the signs of a block.

    Attributes:
        kinds: int64 [C]; ``downs`` int64 [C], bits that a sum is shifted by, log2 of the distance between knots.
        terms: int64 [C + 1], where those of each column begin; ``knots`` likewise.
        ones, others: int64 [T], columns of a product, C for the number 1; ``factors`` int64 [T].
        heights: int64, of the knots of each curve, with the direction of the first in front.
        signs: uint8 [values], 1 where a value is told to be negative.
    """

    kinds: Array
    downs: Array
    terms: Array
    knots: Array
    ones: Array
    others: Array
    factors: Array
    heights: Array
    signs: Array


@dataclass(frozen=True)
class Formula:
    """What one column is computed by.

    Attributes:
        kind: NONE to CURVE.
        down: how many bits the sum is shifted by; of a curve, log2 of the distance between knots.
        terms: (column, column, factor) of each product, where the number of columns stands for 1. A curve has one: the
            direction of the first column and of the second times 2^factor.
        heights: of a curve: the direction of the first knot, and the heights of all, in 1/2^FRACTION cells.
    """

    kind: int = NONE
    down: int = 0
    terms: tuple[tuple[int, int, int], ...] = ()
    heights: tuple[int, ...] = ()


@dataclass(frozen=True)
class Relations:
    """The formula of each column of a row, the last axis of a block; what is not coded has no sign."""

    formulas: tuple[Formula, ...]

    @property
    def told(self) -> tuple[bool, ...]:
        """Which columns have a formula."""
        return tuple(formula.kind != NONE for formula in self.formulas)

    @property
    def sign_bits(self) -> Array:
        """float32 [C], bits of the signs of each column, about."""
        return np.array([formula.kind == SIGNED for formula in self.formulas], np.float32)

    @property
    def _signed(self) -> list[int]:
        return [c for c, formula in enumerate(self.formulas) if formula.kind == SIGNED]

    def encode_signs(self, q: Array, coded: Array) -> bytes:
        """The stream of signs of a block, int64 [rows, ..., C]."""
        return mask.encode(self._signs(q, coded)[:, self._signed].astype(bool)) if self._signed else b""

    def decode_signs(self, stream: bytes, shape: tuple[int, ...]) -> Array:
        """uint8 [values], 1 where a value of a block of this shape is negative, as far as it is told."""
        rows = self._rows(np.zeros(shape, np.uint8))
        if self._signed:
            rows[:, self._signed] = mask.decode(stream, (len(rows), len(self._signed)))
        return rows.reshape(-1)

    def links(self, signs: Array) -> Links:
        """For a pass over a block with these ``signs``, uint8 [values]."""
        return self._links._replace(signs=signs)

    def informed(self, sample: Sample) -> Sample:
        """The block with what is made of it."""
        if sample.made is not None:
            return sample
        signs = self._signs(sample.q, sample.coded)
        found = np.zeros(sample.q.size, np.int64)
        q, coded = np.ascontiguousarray(sample.q, np.int64), np.ascontiguousarray(sample.coded)
        _pass(q.reshape(-1), coded.reshape(-1), found, self.links(signs.reshape(-1)))
        return replace(sample, made=found.reshape(sample.q.shape), told=self.told)

    def _signs(self, q: Array, coded: Array) -> Array:
        """uint8 [rows, C]."""
        signs = self._rows(np.zeros(q.shape, np.uint8))
        signs[:, self._signed] = self._rows((q < 0) & coded)[:, self._signed]
        return signs

    def _rows(self, values: Array) -> Array:
        """[rows, C]. Raises CorruptError for other columns."""
        if values.shape[-1] != len(self.formulas):
            raise CorruptError("A block does not fit its context model; the archive is damaged.")
        return values.reshape(-1, len(self.formulas))

    @cached_property
    def _links(self) -> Links:
        formulas = self.formulas
        terms = np.array([term for f in formulas for term in f.terms], np.int64).reshape(-1, 3).T
        return Links(
            np.array([f.kind for f in formulas], np.int64),
            np.array([f.down for f in formulas], np.int64),
            np.cumsum([0, *(len(f.terms) for f in formulas)]),
            np.cumsum([0, *(len(f.heights) for f in formulas)]),
            np.ascontiguousarray(terms[0]),
            np.ascontiguousarray(terms[1]),
            np.ascontiguousarray(terms[2]),
            np.array([height for f in formulas for height in f.heights], np.int64),
            np.empty(0, np.uint8),
        )

    def arrays(self) -> list[Array]:
        """For a record."""
        columns = [[f.kind, f.down, len(f.terms), len(f.heights)] for f in self.formulas]
        bends = [np.diff(f.heights[1:], prepend=0) for f in self.formulas]
        curves = [np.concatenate([f.heights[:1], bend]) for f, bend in zip(self.formulas, bends, strict=True)]
        links = self._links
        return [np.array(columns).T, np.stack([links.ones, links.others, links.factors]), np.concatenate(curves)]

    @classmethod
    def from_arrays(cls, arrays: Sequence[Array], channels: int) -> Relations:
        """Undo ``arrays``. Raises CorruptError for impossible numbers."""
        columns, terms, curves = arrays
        if columns.shape != (4, channels) or not LEAST_COLUMNS <= channels <= MOST_COLUMNS:
            raise CorruptError(_IMPOSSIBLE)
        if terms.shape != (3, columns[2].sum()) or curves.shape != (columns[3].sum(),) or columns.min() < 0:
            raise CorruptError(_IMPOSSIBLE)
        found: list[Formula] = []
        term, knot = 0, 0
        for kind, down, many, knots in columns.T.tolist():
            mine, curve = terms[:, term : term + many].T.tolist(), curves[knot : knot + knots]
            heights = tuple(np.concatenate([curve[:1], np.cumsum(curve[1:])]).tolist())
            formula = Formula(kind, down, tuple((i, j, f) for i, j, f in mine), heights)
            if not _possible(formula, len(found), channels):
                raise CorruptError(_IMPOSSIBLE)
            found.append(formula)
            term, knot = term + many, knot + knots
        return cls(tuple(found))


_IMPOSSIBLE = "The context model's relations hold impossible numbers; the file is damaged."


def _possible(formula: Formula, column: int, columns: int) -> bool:
    """True if a formula asks only for columns before its own, and its numbers are within their limits."""
    causal = all((0 <= k < column) or k == columns for i, j, _ in formula.terms for k in (i, j))
    small = all(abs(factor) <= MOST_FACTOR for _, _, factor in formula.terms)
    if formula.kind == NONE:
        return not formula.terms and not formula.heights
    if formula.kind == CURVE:
        heights, terms = formula.heights, formula.terms
        return (
            causal
            and len(terms) == 1
            and abs(terms[0][2]) <= DIRECTION
            and 3 <= len(heights) <= MOST_KNOTS + 1
            and formula.down <= DIRECTION + 2
            and max(map(abs, heights)) <= MOST_KNOT
        )
    known = formula.kind in (FORM, ROOT, SIGNED) and not formula.heights
    return known and causal and small and 1 <= len(formula.terms) <= MOST_TERMS and formula.down < 62


#: Of a pass without relations.
NO_LINKS = Relations(())._links


@inlined
def _number(k: Scalar, row: Scalar, q: Array, coded: Array, columns: Scalar) -> Scalar:
    """Column ``k`` of the row that begins at ``row``, 0 where it is not coded; 1 if there is no such column."""
    if k == columns:
        return np.int64(1)
    at = np.uint64(row + k)
    return min(max(q[at], -_MOST_NUMBER), _MOST_NUMBER) if coded[at] else np.int64(0)


@inlined
def _direction(a: Scalar, b: Scalar) -> Scalar:
    """Of the vector (b, a), 0 along b, 1 along a and growing all the way round from -2 to 2, in 2^-DIRECTION."""
    size = abs(a) + abs(b)
    steep = floored(a << np.int64(DIRECTION), max(size, np.int64(1)))
    if b >= 0:
        return steep
    return (_ONE << np.int64(1)) - steep if a >= 0 else -(_ONE << np.int64(1)) - steep


@inlined
def _on_curve(direction: Scalar, heights: Array, start: Scalar, end: Scalar, down: Scalar) -> Scalar:
    """The height between two knots; beyond the last, that of the last."""
    last = end - start - np.int64(2)
    away = min(max(direction - heights[start], np.int64(0)), (last << down) - np.int64(1))
    at = np.uint64(start + np.int64(1) + (away >> down))
    low = heights[at]
    part = away & ((np.int64(1) << down) - np.int64(1))
    return low + (((heights[at + np.uint64(1)] - low) * part) >> down)


@loop
def _related(c: Scalar, i: Scalar, q: Array, coded: Array, links: Links) -> Scalar:
    """What the formula of column ``c`` makes of value ``i``, in 1/2^FRACTION cells."""
    columns = np.int64(links.kinds.size)
    row, first = i - c, links.terms[c]
    if links.kinds[c] == CURVE:
        lift = links.factors[first]
        a = _number(links.ones[first], row, q, coded, columns) << max(-lift, np.int64(0))
        b = _number(links.others[first], row, q, coded, columns) << max(lift, np.int64(0))
        a, b = min(max(a, -_MOST_NUMBER), _MOST_NUMBER), min(max(b, -_MOST_NUMBER), _MOST_NUMBER)
        return _on_curve(_direction(a, b), links.heights, links.knots[c], links.knots[c + 1], links.downs[c])
    total = np.int64(0)
    for term in range(first, links.terms[c + 1]):
        one = _number(links.ones[term], row, q, coded, columns)
        total += links.factors[term] * one * _number(links.others[term], row, q, coded, columns)
    made = total >> links.downs[c]
    if links.kinds[c] == FORM:
        return min(max(made, -_MOST_MADE), _MOST_MADE)
    root = min(root_of(min(max(made, np.int64(0)), _MOST_SQUARE)), _MOST_MADE)
    return -root if links.signs[i] else root


@inlined
def relate(c: Scalar, i: Scalar, q: Array, coded: Array, fine: Array, links: Links) -> None:
    """Write what is made of value ``i``, in column ``c``, behind ``q`` and to ``fine``."""
    if links.kinds[c] != NONE:
        made = _related(c, i, q, coded, links)
        cells = (made + _HALF) >> np.int64(FRACTION)
        q[i + fine.size], fine[i] = cells, np.int8(made - (cells << np.int64(FRACTION)))


def direction(a: Array, b: Array, lift: int) -> Array:
    """int64 [n], of columns int64 [n], the second times 2^``lift``: what a curve is over, in 2^-DIRECTION."""
    found: Array = np.empty(len(a), np.int64)
    _directions(np.ascontiguousarray(a) << max(-lift, 0), np.ascontiguousarray(b) << max(lift, 0), found)
    return found


@loop
def _directions(a: Array, b: Array, found: Array) -> None:
    for i in range(a.size):
        found[i] = _direction(a[i], b[i])


@loop
def _pass(q: Array, coded: Array, found: Array, links: Links) -> None:
    """The encoder's pass: what a decoder will make of each value."""
    columns = np.int64(links.kinds.size)
    for i in range(q.size):
        c = np.int64(i) % columns
        if links.kinds[c] != NONE:
            found[i] = _related(c, np.int64(i), q, coded, links)
