"""The compiled loops: predict a value from its neighbours, choose its table, code it.

    neighbours ──► prediction (fixed point) ──► residual ──► token ┐
        │                                                          ├─► rANS
        └──► activity, phase, position ... ──► tree ──► table ─────┘

Everything is int64 with wrap-around, so both directions and every machine agree to the bit. Predictions carry
FRACTION bits below the point: at loose bounds most residuals are 0 and the fraction says which way the rest go.
Residuals are mirrored where the fraction is negative, which halves the contexts.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from aecompress.entropy.bits import get_bits, word_at
from aecompress.entropy.rans import advance, first_state, symbol_at, symbol_of
from aecompress.entropy.tokens import (
    Scalar,
    bit_length,
    raw_width,
    token_floor,
    token_of,
    unzigzag,
    zigzag,
)
from aecompress.spec import Array

#: Bits below the point of predictions and errors.
FRACTION = 4

#: Bits below the point of prediction weights and of activity weights.
WEIGHT = 16
ACTIVITY = 7

#: What a context tree may ask about a value, in this order. Slopes are differences between near neighbours, mirrored
#: with the residual; errors are those of the nearest neighbours.
FEATURES = (
    "activity", "phase", "channel", "value", "slope 1", "slope 2", "slope 3",
    "error 1", "error 2", "error 3", "error 4", "b", "y", "x",
)  # fmt: skip

#: What a class tree may ask, in this order.
LOOKS = ("slope 1", "slope 2", "slope 3", "errors", "level", "y", "x")

#: Raw bits that follow each token.
RAW_WIDTHS = np.array([0] * 16 + [(token - 16) // 4 + 2 for token in range(16, 256)], np.int64)

_HALF = np.int64(1 << (FRACTION - 1))
_ERROR_LIMIT = np.int64(1 << 30)
_LOW = np.uint64(1 << 31)
_WORD = np.uint64(32)
_ESCAPE_BITS = np.int64(8)
_MIDDLE = np.int64(256)


class Stencil(NamedTuple):
    """Where the neighbours of each position lie; see ``stencil.Geometry``."""

    size: Array  # [5]
    rows: tuple[Array, Array, Array, Array]  # for each index along a, b, y, x its share of the border class
    places: tuple[Array, Array, Array]  # for each index along b, y, x where it lies, 0 to 63
    width: Scalar  # K
    offsets: Array  # [classes * C * K]
    sets: Array  # [classes]


class Plan(NamedTuple):
    """What was learned, as the loops want it; see ``coder.plan``.

    Flat arrays: views of rows inside the loops would cost more than the arithmetic.
    """

    means: Array  # [C]
    roots: Array  # [8 * C]: node of ``classes`` for each weight set and channel
    classes: Array  # [nodes * 3]: as ``nodes``; a leaf holds a row of weights
    weights: Array  # [rows * (K + 1)]
    low: Scalar
    high: Scalar
    terms: Array  # [C * (4 K + 2)]: (neighbour, weight) of errors, -1, the same of differences, -1
    bias: Array  # [C]
    shift: Scalar
    nodes: Array  # [nodes * 3]: feature or -1, threshold, child or table


@numba.njit(forceinline=True)
def level_of(value: Scalar) -> Scalar:
    """Four times log2(value / 4 + 1), about: 0, 1, 2, 3, 4, 4, 5, 5, 6, 6 ... of an int64 taken as unsigned.

    Without branches, for which way they would go is as random as the data.
    """
    v = min(np.uint64(value), np.uint64(1 << 62)) + np.uint64(4)
    octave = bit_length(v) - np.int64(3)
    return octave * np.int64(4) + np.int64((v >> np.uint64(octave)) & np.uint64(3))


# These are called for every value: they take few arrays, since each one passed costs a count of references.


@numba.njit(forceinline=True)
def weigh(
    q: Array,
    i: Scalar,
    offsets: Array,
    at: Scalar,
    weights: Array,
    of: Scalar,
    width: Scalar,
    mean: Scalar,
) -> Scalar:
    """Weighted sum of the neighbours' differences and the constant, in 1/2^WEIGHT, above ``mean``."""
    first = q[np.uint64(i + offsets[at])]
    total = (first - mean) * weights[of] + weights[of + width]
    for k in range(1, width):
        step = q[np.uint64(i + offsets[np.uint64(at + k)])] - first
        total += step * weights[np.uint64(of + k)]
    return total


@numba.njit(forceinline=True)
def clamp(total: Scalar, mean: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Prediction in 1/2^FRACTION from a sum of ``weigh``, within the range of the set."""
    p = (mean << FRACTION) + ((total + np.int64(1 << (WEIGHT - FRACTION - 1))) >> (WEIGHT - FRACTION))
    return min(max(p, low << FRACTION), high << FRACTION)


@numba.njit(forceinline=True)
def activity_of(
    q: Array,
    error: Array,
    i: Scalar,
    offsets: Array,
    at: Scalar,
    terms: Array,
    term: Scalar,
) -> Scalar:
    """Weighted sizes of the neighbours' errors and differences, from the channel's list at ``term``."""
    total = np.int64(0)
    first = q[np.uint64(i + offsets[at])]
    while terms[term] >= 0:
        neighbour = np.uint64(i + offsets[np.uint64(at + terms[term])])
        total += abs(np.int64(error[neighbour])) * terms[term + np.uint64(1)]
        term += np.uint64(2)
    term += np.uint64(1)
    while terms[term] >= 0:
        neighbour = np.uint64(i + offsets[np.uint64(at + terms[term])])
        total += abs(q[neighbour] - first) * terms[term + np.uint64(1)]
        term += np.uint64(2)
    return total


@numba.njit(forceinline=True)
def slope(difference: Scalar) -> Scalar:
    """A signed difference as a feature: its level above or below the middle."""
    down = difference >> np.int64(63)  # 0 or -1
    return _MIDDLE + ((level_of(abs(difference) << 2) ^ down) - down)


@numba.njit(forceinline=True)
def leaf_of(nodes: Array, node: Scalar, values: Array) -> Scalar:
    """Walk a tree from ``node`` with one value's features; returns what the leaf holds."""
    node = np.uint64(node)
    while nodes[node] >= 0:
        right = values[np.uint64(nodes[node])] > nodes[node + np.uint64(1)]
        node = np.uint64(nodes[node + np.uint64(2)]) + np.uint64(3) * np.uint64(right)
    return np.int64(nodes[node + np.uint64(2)])


@numba.njit(cache=True, nogil=True)
def regressors(
    q: Array,
    coded: Array,
    take: Array,
    near: Stencil,
    plan: Plan,
    steps: Array,
    target: Array,
    group: Array,
    looks: Array,
) -> Scalar:
    """Collect what predictions are fitted to, where ``take`` is set: differences, target, set * C + channel, looks.

    Errors are those of ``plan``.
    """
    error = np.zeros(q.size, np.int32)
    look = np.zeros(len(LOOKS), np.int64)
    second = min(np.int64(1), near.width - 1)
    third = min(np.int64(2), near.width - 1)
    fourth = min(np.int64(3), near.width - 1)
    i, n = np.int64(0), np.int64(0)
    for a in range(near.size[0]):
        for b in range(near.size[1]):
            for y in range(near.size[2]):
                look[5] = near.places[1][y]
                for x in range(near.size[3]):
                    row = near.rows[0][a] + near.rows[1][b] + near.rows[2][y] + near.rows[3][x]
                    look[6] = near.places[2][x]
                    for c in range(near.size[4]):
                        at = (row * near.size[4] + c) * near.width
                        total = np.int64(0)
                        if near.offsets[at] != 0:
                            one = np.uint64(i + near.offsets[at])
                            two = np.uint64(i + near.offsets[at + second])
                            three = np.uint64(i + near.offsets[at + third])
                            four = np.uint64(i + near.offsets[at + fourth])
                            look[0] = slope(q[one] - q[two])
                            look[1] = slope(q[one] - q[three])
                            look[2] = slope(q[two] - q[four])
                            look[3] = level_of(
                                np.int64(error[one])
                                + np.int64(error[two])
                                + np.int64(error[three])
                                + np.int64(error[four])
                            )
                            look[4] = min(
                                max((q[one] - plan.low) >> plan.shift, np.int64(0)),
                                np.int64(255),
                            )
                            root = plan.roots[near.sets[row] * near.size[4] + c]
                            of = leaf_of(plan.classes, root, look) * (near.width + 1)
                            total = weigh(
                                q,
                                i,
                                near.offsets,
                                at,
                                plan.weights,
                                of,
                                near.width,
                                plan.means[c],
                            )
                        p = clamp(total, plan.means[c], plan.low, plan.high)
                        if not coded[i]:
                            q[i] = q[one] if near.offsets[at] != 0 else plan.means[c]
                            i += 1
                            continue
                        error[i] = min(abs((q[i] << FRACTION) - p), _ERROR_LIMIT)
                        if take[i] and near.offsets[at] != 0:
                            first = q[i + near.offsets[at]]
                            steps[n, 0] = first - plan.means[c]
                            for k in range(1, near.width):
                                steps[n, k] = q[i + near.offsets[at + k]] - first
                            target[n] = q[i] - plan.means[c]
                            group[n] = near.sets[row] * near.size[4] + c
                            for f in range(len(LOOKS)):
                                looks[n, f] = look[f]
                            n += 1
                        i += 1
    return n


@numba.njit(cache=True, nogil=True)
def errors(
    q: Array,
    coded: Array,
    take: Array,
    near: Stencil,
    plan: Plan,
    parts: Array,
    target: Array,
    channel: Array,
) -> Scalar:
    """Collect what the activity is fitted to: neighbours' errors and differences, and the error itself."""
    error = np.zeros(q.size, np.int32)
    look = np.zeros(len(LOOKS), np.int64)
    second = min(np.int64(1), near.width - 1)
    third = min(np.int64(2), near.width - 1)
    fourth = min(np.int64(3), near.width - 1)
    i, n = np.int64(0), np.int64(0)
    for a in range(near.size[0]):
        for b in range(near.size[1]):
            for y in range(near.size[2]):
                look[5] = near.places[1][y]
                for x in range(near.size[3]):
                    row = near.rows[0][a] + near.rows[1][b] + near.rows[2][y] + near.rows[3][x]
                    look[6] = near.places[2][x]
                    for c in range(near.size[4]):
                        at = (row * near.size[4] + c) * near.width
                        total = np.int64(0)
                        if near.offsets[at] != 0:
                            one = np.uint64(i + near.offsets[at])
                            two = np.uint64(i + near.offsets[at + second])
                            three = np.uint64(i + near.offsets[at + third])
                            four = np.uint64(i + near.offsets[at + fourth])
                            look[0] = slope(q[one] - q[two])
                            look[1] = slope(q[one] - q[three])
                            look[2] = slope(q[two] - q[four])
                            look[3] = level_of(
                                np.int64(error[one])
                                + np.int64(error[two])
                                + np.int64(error[three])
                                + np.int64(error[four])
                            )
                            look[4] = min(
                                max((q[one] - plan.low) >> plan.shift, np.int64(0)),
                                np.int64(255),
                            )
                            root = plan.roots[near.sets[row] * near.size[4] + c]
                            of = leaf_of(plan.classes, root, look) * (near.width + 1)
                            total = weigh(
                                q,
                                i,
                                near.offsets,
                                at,
                                plan.weights,
                                of,
                                near.width,
                                plan.means[c],
                            )
                        p = clamp(total, plan.means[c], plan.low, plan.high)
                        if not coded[i]:
                            q[i] = q[one] if near.offsets[at] != 0 else plan.means[c]
                            i += 1
                            continue
                        error[i] = min(abs((q[i] << FRACTION) - p), _ERROR_LIMIT)
                        if take[i]:
                            parts[n] = 0
                            if near.offsets[at] != 0:
                                for k in range(near.width):
                                    neighbour = i + near.offsets[at + k]
                                    parts[n, k] = error[neighbour]
                                    parts[n, near.width + k] = abs(q[neighbour] - q[i + near.offsets[at]])
                            target[n] = error[i]
                            channel[n] = c
                            n += 1
                        i += 1
    return n


@numba.njit(forceinline=True)
def _cheapest(
    wanted: Scalar, weight: Scalar, q: Scalar, whole: Scalar, sign: Scalar, prices: Array, table: Scalar
) -> Scalar:
    """Of the nearest integer, the one next to it towards the prediction, and the prediction: the cheapest."""
    best, least = q, np.inf
    for candidate in (q, q + np.int64(np.sign(whole - q)), whole):
        miss = wanted - candidate
        cost = weight * miss * miss + prices[table, token_of(zigzag((candidate - whole) * sign))]
        if cost < least:
            best, least = candidate, cost
    return best


@numba.njit(cache=True, nogil=True)
def residuals(
    q: Array,
    coded: Array,
    near: Stencil,
    plan: Plan,
    folded: Array,
    tables: Array,
    described: Array,
    wanted: Array,
    weights: Array,
    prices: Array,
) -> Scalar:
    """Encoder's pass over a block: for each coded value its zigzagged residual, its table and (if ``described`` has
    room) its features. Returns how many were coded.

    A value that is not coded is replaced by its first neighbour: a prediction from predictions would run away. With
    ``wanted`` (float64 [n], values in cells) each integer is first replaced by the one of least squared error, times
    ``weights`` (float64, of the entries of the last axis, or one for all), and price, by float64 ``prices`` [tables,
    tokens].
    """
    error = np.zeros(q.size, np.int32)
    out = np.zeros(len(FEATURES), np.int64)
    look = np.zeros(len(LOOKS), np.int64)
    second = min(np.int64(1), near.width - 1)
    third = min(np.int64(2), near.width - 1)
    fourth = min(np.int64(3), near.width - 1)
    i, n = np.int64(0), np.int64(0)
    for a in range(near.size[0]):
        for b in range(near.size[1]):
            out[11] = near.places[0][b]
            for y in range(near.size[2]):
                look[5] = out[12] = near.places[1][y]
                for x in range(near.size[3]):
                    row = near.rows[0][a] + near.rows[1][b] + near.rows[2][y] + near.rows[3][x]
                    look[6] = out[13] = near.places[2][x]
                    for c in range(near.size[4]):
                        at = (row * near.size[4] + c) * near.width
                        total = np.int64(0)
                        if near.offsets[at] != 0:
                            one = np.uint64(i + near.offsets[at])
                            two = np.uint64(i + near.offsets[at + second])
                            three = np.uint64(i + near.offsets[at + third])
                            four = np.uint64(i + near.offsets[at + fourth])
                            look[0] = slope(q[one] - q[two])
                            look[1] = slope(q[one] - q[three])
                            look[2] = slope(q[two] - q[four])
                            look[3] = level_of(
                                np.int64(error[one])
                                + np.int64(error[two])
                                + np.int64(error[three])
                                + np.int64(error[four])
                            )
                            look[4] = min(
                                max((q[one] - plan.low) >> plan.shift, np.int64(0)),
                                np.int64(255),
                            )
                            root = plan.roots[near.sets[row] * near.size[4] + c]
                            of = leaf_of(plan.classes, root, look) * (near.width + 1)
                            total = weigh(
                                q,
                                i,
                                near.offsets,
                                at,
                                plan.weights,
                                of,
                                near.width,
                                plan.means[c],
                            )
                        p = clamp(total, plan.means[c], plan.low, plan.high)
                        whole = (p + _HALF) >> FRACTION
                        if not coded[i]:
                            q[i] = q[one] if near.offsets[at] != 0 else plan.means[c]
                            i += 1
                            continue
                        phase = p - (whole << FRACTION)
                        sign = (phase >> np.int64(63)) | np.int64(1)
                        activity = plan.bias[c]
                        if near.offsets[at] == 0:
                            for f in range(4, 11):
                                out[f] = 0
                        else:
                            term = np.uint64(c * (4 * near.width + 2))
                            activity += activity_of(q, error, i, near.offsets, at, plan.terms, term)
                            for f in range(3):
                                out[4 + f] = _MIDDLE + (look[f] - _MIDDLE) * sign
                            out[7] = level_of(np.int64(error[one]))
                            out[8] = level_of(np.int64(error[two]))
                            out[9] = level_of(np.int64(error[three]))
                            out[10] = level_of(np.int64(error[four]))
                        out[0] = level_of(max(activity >> np.int64(ACTIVITY - 4), np.int64(0)))
                        out[1] = phase * sign
                        out[2] = c
                        out[3] = min(
                            max((whole - plan.low) >> plan.shift, np.int64(0)),
                            np.int64(255),
                        )
                        if described.shape[0]:
                            for f in range(len(FEATURES)):
                                described[n, f] = out[f]
                        tables[n] = leaf_of(plan.nodes, 0, out)
                        if wanted.size:
                            q[i] = _cheapest(wanted[i], weights[i % weights.size], q[i], whole, sign, prices, tables[n])
                        folded[n] = zigzag((q[i] - whole) * sign)
                        error[i] = min(abs((q[i] << FRACTION) - p), _ERROR_LIMIT)
                        n += 1
                        i += 1
    return n


@numba.njit(cache=True, nogil=True)
def restore(
    q: Array,
    coded: Array,
    near: Stencil,
    plan: Plan,
    words: Array,
    raw: Array,
    lookup: Array,
    cumulative: Array,
) -> None:
    """Decoder's pass: the mirror of ``residuals`` with the entropy decoder in its loop; fills ``q``."""
    error = np.zeros(q.size, np.int32)
    out = np.zeros(len(FEATURES), np.int64)
    look = np.zeros(len(LOOKS), np.int64)
    second = min(np.int64(1), near.width - 1)
    third = min(np.int64(2), near.width - 1)
    fourth = min(np.int64(3), near.width - 1)
    escape = np.int64(cumulative.shape[1] - 2)
    state = first_state(words, 0)
    word, bit = np.int64(2), np.int64(0)
    i = np.int64(0)
    for a in range(near.size[0]):
        for b in range(near.size[1]):
            out[11] = near.places[0][b]
            for y in range(near.size[2]):
                look[5] = out[12] = near.places[1][y]
                for x in range(near.size[3]):
                    row = near.rows[0][a] + near.rows[1][b] + near.rows[2][y] + near.rows[3][x]
                    look[6] = out[13] = near.places[2][x]
                    for c in range(near.size[4]):
                        at = (row * near.size[4] + c) * near.width
                        total = np.int64(0)
                        if near.offsets[at] != 0:
                            one = np.uint64(i + near.offsets[at])
                            two = np.uint64(i + near.offsets[at + second])
                            three = np.uint64(i + near.offsets[at + third])
                            four = np.uint64(i + near.offsets[at + fourth])
                            look[0] = slope(q[one] - q[two])
                            look[1] = slope(q[one] - q[three])
                            look[2] = slope(q[two] - q[four])
                            look[3] = level_of(
                                np.int64(error[one])
                                + np.int64(error[two])
                                + np.int64(error[three])
                                + np.int64(error[four])
                            )
                            look[4] = min(
                                max((q[one] - plan.low) >> plan.shift, np.int64(0)),
                                np.int64(255),
                            )
                            root = plan.roots[near.sets[row] * near.size[4] + c]
                            of = leaf_of(plan.classes, root, look) * (near.width + 1)
                            total = weigh(
                                q,
                                i,
                                near.offsets,
                                at,
                                plan.weights,
                                of,
                                near.width,
                                plan.means[c],
                            )
                        p = clamp(total, plan.means[c], plan.low, plan.high)
                        whole = (p + _HALF) >> FRACTION
                        if not coded[i]:
                            q[i] = q[one] if near.offsets[at] != 0 else plan.means[c]
                            i += 1
                            continue
                        phase = p - (whole << FRACTION)
                        sign = (phase >> np.int64(63)) | np.int64(1)
                        activity = plan.bias[c]
                        if near.offsets[at] == 0:
                            for f in range(4, 11):
                                out[f] = 0
                        else:
                            term = np.uint64(c * (4 * near.width + 2))
                            activity += activity_of(q, error, i, near.offsets, at, plan.terms, term)
                            for f in range(3):
                                out[4 + f] = _MIDDLE + (look[f] - _MIDDLE) * sign
                            out[7] = level_of(np.int64(error[one]))
                            out[8] = level_of(np.int64(error[two]))
                            out[9] = level_of(np.int64(error[three]))
                            out[10] = level_of(np.int64(error[four]))
                        out[0] = level_of(max(activity >> np.int64(ACTIVITY - 4), np.int64(0)))
                        out[1] = phase * sign
                        out[2] = c
                        out[3] = min(
                            max((whole - plan.low) >> plan.shift, np.int64(0)),
                            np.int64(255),
                        )
                        table = leaf_of(plan.nodes, 0, out)
                        token = symbol_at(state, lookup, cumulative, table)
                        state = advance(state, cumulative, table, token)
                        if state < _LOW:
                            state = (state << _WORD) | word_at(words, word)
                            word += 1
                        if token == escape:
                            token = np.int64(get_bits(raw, bit, _ESCAPE_BITS))
                            bit += _ESCAPE_BITS
                        width = raw_width(token)
                        u = token_floor(token)
                        if width:
                            u += get_bits(raw, bit, width)
                            bit += width
                        q[i] = whole + unzigzag(u) * sign
                        error[i] = min(abs((q[i] << FRACTION) - p), _ERROR_LIMIT)
                        i += 1


@numba.njit(cache=True, nogil=True)
def tokens(folded: Array) -> Array:
    """uint8 token of each zigzagged residual."""
    out = np.empty(folded.size, np.uint8)
    for i in range(folded.size):
        out[i] = token_of(folded[i])
    return out


@numba.njit(cache=True, nogil=True)
def symbols(folded: Array, tables: Array, cumulative: Array) -> Array:
    """uint16 symbol of each zigzagged residual in its table: its token or the escape."""
    escape = np.int64(cumulative.shape[1] - 2)
    out = np.empty(folded.size, np.uint16)
    for i in range(folded.size):
        out[i] = symbol_of(token_of(folded[i]), tables[i], cumulative, escape)
    return out


@numba.njit(cache=True, nogil=True)
def lengths(folded: Array, tables: Array, prices: Array) -> Array:
    """float32 bits of each zigzagged residual in its table; ``prices`` [tables, 256] are those of tokens."""
    out = np.empty(folded.size, np.float32)
    for i in range(folded.size):
        out[i] = prices[tables[i], token_of(folded[i])]
    return out


@numba.njit(cache=True, nogil=True)
def counts(folded: Array, tables: Array, many: Scalar) -> Array:
    """int64 [many, 256]: how often each table met each token."""
    out = np.zeros((many, 256), np.int64)
    for i in range(folded.size):
        out[tables[i], token_of(folded[i])] += 1
    return out
