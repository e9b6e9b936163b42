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

import numpy as np

from aecompress.context.forest import Forest, leaf_of
from aecompress.context.regression import State, observe, tell
from aecompress.context.relations import Links, relate
from aecompress.context.sample import FRACTION
from aecompress.entropy.bits import get_bits, word_at
from aecompress.entropy.loops import inlined, loop
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

#: Bits below the point of prediction weights and of activity weights.
WEIGHT = 16
ACTIVITY = 7

#: What a context tree may ask about a value, in this order. Slopes are differences between near neighbours, mirrored
#: with the residual; errors are those of the nearest neighbours.
FEATURES = (
    "activity", "phase", "channel", "value", "slope 1", "slope 2", "slope 3",
    "error 1", "error 2", "error 3", "error 4", "b", "y", "x",
)  # fmt: skip

#: The numbers of those in the order in which the loops have them: errors last, which quick trees do not ask about.
ORDER = np.array(sorted(range(len(FEATURES)), key=lambda f: "error" in FEATURES[f]))
WITHOUT_ERRORS = sum("error" not in name for name in FEATURES)

#: What a class tree may ask, in this order.
LOOKS = ("slope 1", "slope 2", "slope 3", "errors", "level", "y", "x")

#: Raw bits that follow each token.
RAW_WIDTHS = np.array([0] * 16 + [(token - 16) // 4 + 2 for token in range(16, 256)], np.int64)

_HALF = np.int64(1 << (FRACTION - 1))
_ONE = np.float64(1 << FRACTION)
_ERROR_LIMIT = np.int64(1 << 30)
_LOW = np.uint64(1 << 31)
_WORD = np.uint64(32)
_ESCAPE_BITS = np.int64(8)
_MIDDLE = np.int64(256)

_NONE = np.int64(0)


class Stencil(NamedTuple):
    """Where the neighbours of each position lie; see ``stencil.Geometry``."""

    size: Array  # [5]
    rows: tuple[Array, Array, Array, Array]  # for each index along a, b, y, x its share of the border class
    places: tuple[Array, Array, Array]  # for each index along b, y, x where it lies, 0 to 63
    width: Scalar  # K
    offsets: Array  # [classes * C * K]
    sets: Array  # [classes]


class Plan(NamedTuple):
    """What was learned, as the loops want it: flat arrays; see ``coder.plan``."""

    means: Array  # [C]
    classes: Forest  # a root for each of 8 weight sets and channel; a leaf holds a row of weights
    weights: Array  # [rows * (K + 2)]: of the neighbours themselves, the constant, what takes off the mean
    low: Scalar
    high: Scalar
    of_error: Array  # [C * (2 K + 1)]: (neighbour, weight) of errors, -1
    of_step: Array  # [C * (2 K + 1)]: the same of differences
    of_any_error: Array  # [C * K]: those of errors, of every neighbour
    bias: Array  # [C]
    shift: Scalar
    contexts: Forest  # one root; a leaf holds a table; of FEATURES in their ORDER, of which the last may be missing


@inlined
def level_of(value: Scalar) -> Scalar:
    """Four times log2(value / 4 + 1), about: 0, 1, 2, 3, 4, 4, 5, 5, 6, 6 ... of an int64 taken as unsigned.

    Without branches, for which way they would go is as random as the data.
    """
    v = min(np.uint64(value), np.uint64(1 << 62)) + np.uint64(4)
    octave = bit_length(v) - np.int64(3)
    return octave * np.int64(4) + np.int64((v >> np.uint64(octave)) & np.uint64(3))


@inlined
def clamp(total: Scalar, mean: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Prediction in 1/2^FRACTION from a weighted sum above ``mean``, within the range of the set."""
    p = (mean << FRACTION) + ((total + np.int64(1 << (WEIGHT - FRACTION - 1))) >> (WEIGHT - FRACTION))
    return min(max(p, low << FRACTION), high << FRACTION)


@inlined
def slope(difference: Scalar) -> Scalar:
    """A signed difference as a feature: its level above or below the middle."""
    down = difference >> np.int64(63)  # 0 or -1
    return _MIDDLE + ((level_of(abs(difference) << 2) ^ down) - down)


# These are called for every value.


@inlined
def nearest_of(i: Scalar, offsets: Array, at: Scalar, width: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Where the four nearest neighbours of value ``i`` lie, its offsets being those from ``at`` on."""
    last = width - np.int64(1)
    return (
        np.uint64(i + offsets[np.uint64(at)]),
        np.uint64(i + offsets[np.uint64(at + min(np.int64(1), last))]),
        np.uint64(i + offsets[np.uint64(at + min(np.int64(2), last))]),
        np.uint64(i + offsets[np.uint64(at + min(np.int64(3), last))]),
    )


@inlined
def slopes_of(q: Array, nearest: tuple[Scalar, ...]) -> tuple[Scalar, Scalar, Scalar]:
    """The first three of LOOKS."""
    one, two, three, four = nearest
    first, second = q[one], q[two]
    return slope(first - second), slope(first - q[three]), slope(second - q[four])


@inlined
def look_at(
    q: Array, error: Array, nearest: tuple[Scalar, ...], slopes: tuple[Scalar, ...], line: Scalar, column: Scalar,
    plan: Plan,
) -> tuple[Scalar, Scalar, Scalar, Scalar, Scalar, Scalar, Scalar]:  # fmt: skip
    """LOOKS, ``slopes`` first."""
    one, two, three, four = nearest
    size = abs(np.int64(error[one])) + abs(np.int64(error[two])) + abs(np.int64(error[three]))
    size += abs(np.int64(error[four]))
    level = min(max((q[one] - plan.low) >> plan.shift, np.int64(0)), np.int64(255))
    return (*slopes, level_of(size), level, line, column)


@inlined
def weigh(
    q: Array, i: Scalar, offsets: Array, at: Scalar, width: Scalar, weights: Array, leaf: Scalar, mean: Scalar
) -> Scalar:
    """Weighted sum of the neighbours and the constant, in 1/2^WEIGHT, above ``mean``."""
    of = leaf * (width + 2)
    total = weights[np.uint64(of + width)] - mean * weights[np.uint64(of + width + 1)]
    for k in range(width):
        total += q[np.uint64(i + offsets[np.uint64(at + k)])] * weights[np.uint64(of + k)]
    return total


@inlined
def error_sizes(
    error: Array, i: Scalar, offsets: Array, at: Scalar, width: Scalar, of_error: Array, c: Scalar
) -> Scalar:
    """Weighted sizes of the neighbours' errors, from the channel's list."""
    total = np.int64(0)
    term = np.uint64(c * (2 * width + 1))
    while of_error[term] >= 0:
        neighbour = np.uint64(i + offsets[np.uint64(at + of_error[term])])
        total += abs(np.int64(error[neighbour])) * of_error[term + np.uint64(1)]
        term += np.uint64(2)
    return total


@inlined
def step_sizes(q: Array, i: Scalar, offsets: Array, at: Scalar, width: Scalar, of_step: Array, c: Scalar) -> Scalar:
    """Weighted sizes of the neighbours' differences from the first, from the channel's list."""
    total = np.int64(0)
    first = q[np.uint64(i + offsets[np.uint64(at)])]
    term = np.uint64(c * (2 * width + 1))
    while of_step[term] >= 0:
        neighbour = np.uint64(i + offsets[np.uint64(at + of_step[term])])
        total += abs(q[neighbour] - first) * of_step[term + np.uint64(1)]
        term += np.uint64(2)
    return total


@inlined
def foreseen(
    q: Array, error: Array, i: Scalar, at: Scalar, c: Scalar, row: Scalar, line: Scalar, column: Scalar,
    near: Stencil, plan: Plan, fine: Array,
) -> tuple[tuple[Scalar, ...], tuple[Scalar, ...], Scalar]:  # fmt: skip
    """Of value ``i``, which has neighbours: the nearest, their slopes, and a weighted sum of all, as its class has it.

    Where a regression makes the first of them, ``fine`` is what that is beyond its whole cells, in 1/2^FRACTION.
    """
    nearest = nearest_of(i, near.offsets, at, near.width)
    slopes = slopes_of(q, nearest)
    root = plan.classes.roots[near.sets[np.uint64(row)] * near.size[4] + c]
    leaf = ~root
    if root >= 0:
        look = look_at(q, error, nearest, slopes, line, column, plan)
        leaf = leaf_of(plan.classes.masks, plan.classes.exits, root, look)
    total = weigh(q, i, near.offsets, at, near.width, plan.weights, leaf, plan.means[c])
    if fine.size:
        total += (np.int64(fine[i]) * plan.weights[np.uint64(leaf * (near.width + 2))]) >> np.int64(FRACTION)
    return nearest, slopes, total


@inlined
def _mirrored(slopes: tuple[Scalar, ...], sign: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Slopes of FEATURES."""
    return (
        _MIDDLE + (slopes[0] - _MIDDLE) * sign,
        _MIDDLE + (slopes[1] - _MIDDLE) * sign,
        _MIDDLE + (slopes[2] - _MIDDLE) * sign,
    )


# Whether there are levels, ``len(levels)``, is known when a loop is compiled.


@inlined
def _no_errors(levels: tuple[Array, ...]) -> tuple[Scalar, ...]:
    """Errors of FEATURES where there is no neighbour; none at all where nobody asks about them."""
    if len(levels) == 0:
        return ()
    return _NONE, _NONE, _NONE, _NONE


@inlined
def _errors(levels: tuple[Array, ...], nearest: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """The same of the nearest neighbours."""
    if len(levels) == 0:
        return ()
    level = levels[0]
    one, two, three, four = nearest
    return np.int64(level[one]), np.int64(level[two]), np.int64(level[three]), np.int64(level[four])


@inlined
def _error_of(q: Scalar, p: Scalar) -> Scalar:
    return min(abs((q << FRACTION) - p), _ERROR_LIMIT)


def fresh(size: int, plan: Plan) -> tuple[Array, tuple[Array, ...]]:
    """What a pass over so many values notes of each: sizes of errors, uint32, and their levels, uint8; nothing yet.

    There are no levels where the plan's contexts do not ask about errors.
    """
    asks = plan.contexts.features > WITHOUT_ERRORS
    return np.zeros(size, np.uint32), (np.zeros(size, np.uint8),) if asks else ()


@loop
def regressors(
    q: Array,
    coded: Array,
    take: Array,
    near: Stencil,
    plan: Plan,
    fine: Array,
    steps: Array,
    target: Array,
    group: Array,
    looks: Array,
    error: Array,
) -> Scalar:
    """Collect what predictions are fitted to, where ``take`` is set: differences, target, set * C + channel, looks.

    Errors are those of ``plan``; ``error`` as ``fresh`` makes it.
    """
    channels = near.size[4]
    i, n = np.int64(0), np.int64(0)
    for a in range(near.size[0]):
        for b in range(near.size[1]):
            for y in range(near.size[2]):
                line = near.places[1][y]
                above = near.rows[0][a] + near.rows[1][b] + near.rows[2][y]
                for x in range(near.size[3]):
                    row = above + near.rows[3][x]
                    column = near.places[2][x]
                    for c in range(channels):
                        at = (row * channels + c) * near.width
                        known = near.offsets[np.uint64(at)] != 0
                        if not coded[np.uint64(i)]:
                            q[i] = q[i + near.offsets[at]] if known else plan.means[c]
                            i += 1
                            continue
                        total = np.int64(0)
                        if known:
                            nearest, slopes, total = foreseen(q, error, i, at, c, row, line, column, near, plan, fine)
                        p = clamp(total, plan.means[c], plan.low, plan.high)
                        error[i] = _error_of(q[i], p)
                        if take[i] and known:
                            first = np.float64(q[i + near.offsets[at]])
                            if fine.size:
                                first += fine[i] / _ONE
                            steps[n, 0] = first - plan.means[c]
                            for k in range(1, near.width):
                                steps[n, k] = q[i + near.offsets[at + k]] - first
                            target[n] = q[i] - plan.means[c]
                            group[n] = near.sets[np.uint64(row)] * channels + c
                            look = look_at(q, error, nearest, slopes, line, column, plan)
                            for f in range(len(LOOKS)):
                                looks[n, f] = look[f]
                            n += 1
                        i += 1
    return n


@loop
def errors(
    q: Array,
    coded: Array,
    take: Array,
    near: Stencil,
    plan: Plan,
    fine: Array,
    parts: Array,
    target: Array,
    channel: Array,
    error: Array,
) -> Scalar:
    """Collect what the activity is fitted to: neighbours' errors and differences, and the error itself.

    ``error`` as ``fresh`` makes it.
    """
    channels = near.size[4]
    i, n = np.int64(0), np.int64(0)
    for a in range(near.size[0]):
        for b in range(near.size[1]):
            for y in range(near.size[2]):
                line = near.places[1][y]
                above = near.rows[0][a] + near.rows[1][b] + near.rows[2][y]
                for x in range(near.size[3]):
                    row = above + near.rows[3][x]
                    column = near.places[2][x]
                    for c in range(channels):
                        at = (row * channels + c) * near.width
                        known = near.offsets[np.uint64(at)] != 0
                        if not coded[np.uint64(i)]:
                            q[i] = q[i + near.offsets[at]] if known else plan.means[c]
                            i += 1
                            continue
                        total = np.int64(0)
                        if known:
                            _, _, total = foreseen(q, error, i, at, c, row, line, column, near, plan, fine)
                        p = clamp(total, plan.means[c], plan.low, plan.high)
                        error[i] = _error_of(q[i], p)
                        if take[i]:
                            parts[n] = 0
                            if known:
                                for k in range(near.width):
                                    neighbour = i + near.offsets[at + k]
                                    parts[n, k] = error[neighbour]
                                    parts[n, near.width + k] = abs(q[neighbour] - q[i + near.offsets[at]])
                            target[n] = error[i]
                            channel[n] = c
                            n += 1
                        i += 1
    return n


@inlined
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


@loop
def residuals(
    q: Array,
    coded: Array,
    near: Stencil,
    plan: Plan,
    fine: Array,
    folded: Array,
    tables: Array,
    described: Array,
    wanted: Array,
    weights: Array,
    prices: Array,
    error: Array,
    levels: tuple[Array, ...],
) -> Scalar:
    """Encoder's pass over a block: for each coded value its zigzagged residual, its table and (if ``described`` has
    room) its features. Returns how many were coded. ``error`` and ``levels`` as ``fresh`` makes them.

    With ``wanted`` (float64 [n], values in cells) each integer is first replaced by the one of least squared error,
    times ``weights`` (float64, of the entries of the last axis, or one for all), and price, by float64 ``prices``
    [tables, tokens].
    """
    channels = near.size[4]
    i, n = np.int64(0), np.int64(0)
    for a in range(near.size[0]):
        for b in range(near.size[1]):
            plane = near.places[0][b]
            for y in range(near.size[2]):
                line = near.places[1][y]
                above = near.rows[0][a] + near.rows[1][b] + near.rows[2][y]
                for x in range(near.size[3]):
                    row = above + near.rows[3][x]
                    column = near.places[2][x]
                    for c in range(channels):
                        at = (row * channels + c) * near.width
                        known = near.offsets[np.uint64(at)] != 0
                        if not coded[np.uint64(i)]:
                            q[i] = q[i + near.offsets[at]] if known else plan.means[c]
                            i += 1
                            continue
                        total = np.int64(0)
                        if known:
                            nearest, slopes, total = foreseen(q, error, i, at, c, row, line, column, near, plan, fine)
                        p = clamp(total, plan.means[c], plan.low, plan.high)
                        whole = (p + _HALF) >> FRACTION
                        phase = p - (whole << FRACTION)
                        sign = (phase >> np.int64(63)) | np.int64(1)
                        activity = plan.bias[c]
                        around, missed = (_NONE, _NONE, _NONE), _no_errors(levels)
                        if known:
                            activity += error_sizes(error, i, near.offsets, at, near.width, plan.of_error, c)
                            activity += step_sizes(q, i, near.offsets, at, near.width, plan.of_step, c)
                            around, missed = _mirrored(slopes, sign), _errors(levels, nearest)
                        place = min(max((whole - plan.low) >> plan.shift, np.int64(0)), np.int64(255))
                        calm = level_of(max(activity >> np.int64(ACTIVITY - 4), np.int64(0)))
                        features = (calm, phase * sign, np.int64(c), place, *around, plane, line, column, *missed)
                        table = leaf_of(plan.contexts.masks, plan.contexts.exits, plan.contexts.roots[0], features)
                        if described.shape[0]:
                            for f in range(len(features)):
                                described[n, ORDER[f]] = features[f]
                        if wanted.size:
                            q[i] = _cheapest(wanted[i], weights[i % weights.size], q[i], whole, sign, prices, table)
                        tables[n] = table
                        folded[n] = zigzag((q[i] - whole) * sign)
                        error[i] = _error_of(q[i], p)
                        if len(levels) > 0:
                            levels[0][i] = level_of(error[i])
                        n += 1
                        i += 1
    return n


@loop
def restore(
    q: Array,
    coded: Array,
    near: Stencil,
    plan: Plan,
    learning: State,
    links: Links,
    fine: Array,
    words: Array,
    raw: Array,
    lookup: Array,
    cumulative: Array,
    error: Array,
    levels: tuple[Array, ...],
) -> None:
    """Decoder's pass: the mirror of ``residuals`` with the entropy decoder in its loop; fills ``q``.

    With a regression, whose state has columns, or with relations it fills the reference and ``fine`` as well. ``error``
    and ``level`` as ``fresh`` makes them.
    """
    escape = np.int64(cumulative.shape[1] - 2)
    state = first_state(words, 0)
    word, bit = np.int64(2), np.int64(0)
    channels = near.size[4]
    traits, rows, values, innovations, gram, factor = learning
    regressed, related = traits.size > 0, links.kinds.size > 0
    position, expected = np.int64(0), np.int64(0)
    i = np.int64(0)
    for a in range(near.size[0]):
        for b in range(near.size[1]):
            plane = near.places[0][b]
            for y in range(near.size[2]):
                line = near.places[1][y]
                above = near.rows[0][a] + near.rows[1][b] + near.rows[2][y]
                for x in range(near.size[3]):
                    row = above + near.rows[3][x]
                    column = near.places[2][x]
                    for c in range(channels):
                        at = (row * channels + c) * near.width
                        known = near.offsets[np.uint64(at)] != 0
                        if regressed:
                            expected = tell(position, q, i, fine, traits, innovations, factor)
                        if related:
                            relate(c, i, q, coded, fine, links)
                        here = coded[np.uint64(i)]
                        if not here:
                            q[i] = q[i + near.offsets[at]] if known else plan.means[c]
                            if regressed:
                                position = observe(
                                    position, q[i], here, expected, traits, rows, values, innovations, gram, factor
                                )
                            i += 1
                            continue
                        total = np.int64(0)
                        if known:
                            nearest, slopes, total = foreseen(q, error, i, at, c, row, line, column, near, plan, fine)
                        p = clamp(total, plan.means[c], plan.low, plan.high)
                        whole = (p + _HALF) >> FRACTION
                        phase = p - (whole << FRACTION)
                        sign = (phase >> np.int64(63)) | np.int64(1)
                        activity = plan.bias[c]
                        around, missed = (_NONE, _NONE, _NONE), _no_errors(levels)
                        if known:
                            activity += error_sizes(error, i, near.offsets, at, near.width, plan.of_error, c)
                            activity += step_sizes(q, i, near.offsets, at, near.width, plan.of_step, c)
                            around, missed = _mirrored(slopes, sign), _errors(levels, nearest)
                        place = min(max((whole - plan.low) >> plan.shift, np.int64(0)), np.int64(255))
                        calm = level_of(max(activity >> np.int64(ACTIVITY - 4), np.int64(0)))
                        features = (calm, phase * sign, np.int64(c), place, *around, plane, line, column, *missed)
                        table = leaf_of(plan.contexts.masks, plan.contexts.exits, plan.contexts.roots[0], features)
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
                        error[i] = _error_of(q[i], p)
                        if len(levels) > 0:
                            levels[0][i] = level_of(error[i])
                        if regressed:
                            position = observe(
                                position, q[i], here, expected, traits, rows, values, innovations, gram, factor
                            )
                        i += 1


def symbols(folded: Array, tables: Array, cumulative: Array) -> Array:
    """uint16 symbol of each zigzagged residual in its table: its token or the escape."""
    out = np.empty(folded.size, np.uint16)
    _symbols(folded, tables, cumulative, out)
    return out


@loop
def _symbols(folded: Array, tables: Array, cumulative: Array, out: Array) -> None:
    escape = np.int64(cumulative.shape[1] - 2)
    for i in range(folded.size):
        out[i] = symbol_of(token_of(folded[i]), tables[i], cumulative, escape)
