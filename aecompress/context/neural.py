"""The compiled loop of a context model with a network: one pass over a block that learns, encodes or decodes.

    neighbours ──► prediction, activity (as in ``kernel``) ──► inputs ──► network ──► mixture ──► rANS
                                                                 ╰──► lms ──╯

The three modes share every line up to the mixture, so they cannot drift apart. All is integers: int64 with wrap-around,
int16 factors, and int32 sums below 2^24.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aecompress.context import lms
from aecompress.context import mixture as mix
from aecompress.context.dense import dense
from aecompress.context.inputs import note, place, recall, scaled
from aecompress.context.kernel import (
    ACTIVITY,
    Plan,
    Stencil,
    clamp,
    foreseen,
    level_of,
    step_sizes,
)
from aecompress.context.network import (
    LANES,
    MOST_CHANNELS,
    MOST_UNIT,
    PLACE_INPUTS,
    TRACE,
    TRACE_INPUTS,
    WEIGHT_BITS,
    Layers,
)
from aecompress.context.regression import TRAITS, State, observe, tell
from aecompress.context.relations import Links, relate
from aecompress.context.sample import FRACTION
from aecompress.entropy.bits import get_bits, word_at
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.rans import begin, first_state, put
from aecompress.entropy.tokens import Scalar, bit_length, unzigzag, zigzag
from aecompress.spec import Array

LEARN, ENCODE, DECODE = 0, 1, 2

#: What ``walk`` notes of a value to learn from: prediction in 1/16, level of activity, the integer, its channel.
FACTS = 4

_HALF = np.int64(1 << (FRACTION - 1))
_ERROR_LIMIT = np.int64(1 << 30)
_LOW = np.uint64(1 << 31)
_WORD = np.uint64(32)
_BITS = np.uint64(mix.PRECISION)
_MASK = np.uint64((1 << mix.PRECISION) - 1)
_WIDTH_BITS = np.int64(6)
_DOWN = np.int32(WEIGHT_BITS)
# how fast the means of a trace move, as powers of 1/2
_SCAN = (np.int64(6), np.int64(10), np.int64(6), np.int64(8))
_COLUMN = (np.int64(4), np.int64(7), np.int64(4), np.int64(5))
_MOST_LEVEL = np.int64(mix.MOST_LEVEL)


@inlined
def _rectify(sums: Array, many: Scalar, units: Array) -> None:
    """Sums of a layer to activations: the point moved, negative ones 0."""
    for j in range(many):
        units[j] = np.int16(min(max(sums[j] >> _DOWN, np.int32(0)), np.int32(MOST_UNIT)))


class Scratch(NamedTuple):
    """What a pass works with, all zeros at its start."""

    error: Array  # int32 [values and reference]
    x: Array  # int16 [inputs]
    close: Array  # float64 [2 * width in whole vectors], the first of them, for ``lms``
    seen: Array  # int64 [2 * width], what is about: a copy, so that scaling it takes vectors
    sums: Array  # int32 [units]
    one_layer: Array  # int16 [units]
    next_layer: Array  # int16 [units and guesses, in pairs]
    out: Array  # int32 [LANES]
    mixture: Array  # int64 [ENTRIES]
    slow_weights: Array  # float64 [filters * size of ``close``]
    fast_weights: Array  # float64 [filters * size of ``close``]
    traces: Array  # int64 [TRACE * (1 + columns * channels)], or empty

    @classmethod
    def of(cls, size: int, near: Stencil, layers: Layers) -> Scratch:
        a, b, y, columns, channels = near.size.tolist()
        inputs, units = layers.first.size // layers.second_bias.size, layers.second_bias.size
        near_inputs = 2 * int(near.width)
        filtered = -(-near_inputs // lms.VECTOR) * lms.VECTOR
        weights = (channels if channels <= MOST_CHANNELS else 1) * filtered
        traced = inputs - TRACE_INPUTS >= near_inputs + PLACE_INPUTS
        columns = columns if a * b * y > 1 else 1  # of one line, each channel counts as a column
        return cls(
            np.zeros(size, np.int32),
            np.zeros(inputs, np.int16),
            np.zeros(filtered),
            np.zeros(near_inputs, np.int64),
            np.zeros(units, np.int32),
            np.zeros(units, np.int16),
            np.zeros(layers.last.size // LANES, np.int16),
            np.zeros(LANES, np.int32),
            np.zeros(mix.ENTRIES, np.int64),
            np.zeros(weights),
            np.zeros(weights),
            np.zeros(TRACE * (1 + columns * channels) if traced else 0, np.int64),
        )


@loop
def walk(
    mode: Scalar,
    q: Array,
    coded: Array,
    near: Stencil,
    plan: Plan,
    learning: State,
    links: Links,
    fine: Array,
    layers: Layers,
    take: Array,
    inputs: Array,
    facts: Array,
    starts: Array,
    spans: Array,
    rest: Array,
    widths: Array,
    words: Array,
    raw: Array,
    scratch: Scratch,
    first_cell: Scalar,
    last_cell: Scalar,
) -> Scalar:
    """Part of a pass over a block in coding order; returns how many values were noted or coded.

    Args:
        mode: LEARN, ENCODE or DECODE.
        q: int64, flat, with the reference behind it; values that are not coded are replaced, DECODE fills all.
        coded: bool.
        near, plan: as in ``kernel``; the plan's context tree is not used.
        learning, links, fine: of a regression or of relations, or without columns and empty: DECODE fills ``fine`` and
            the reference.
        layers: the network; in LEARN its numbers are not used.
        take, inputs, facts: LEARN notes int8 [n, inputs] and int64 [n, FACTS] where ``take`` is set.
        starts, spans: ENCODE writes the uint32 start and frequency of each value, in 2^-PRECISION.
        rest, widths: ENCODE writes uint64 raw bits and their int64 number.
        words, raw: DECODE reads these uint32 streams, which hold this part.
        scratch: new where a pass begins, for this block and this network.
        first_cell, last_cell: the part, a range of places along the axes but that of channels; parts follow each other.
    """
    error, x, close, seen, sums, one_layer, next_layer, out, mixture, slow_weights, fast_weights, traces = scratch
    units = np.int64(one_layer.size)
    near_inputs = 2 * near.width
    channels = near.size[4]
    filters = channels if channels <= MOST_CHANNELS else np.int64(1)
    slow, fast, power = np.int64(0), np.int64(0), np.int64(0)
    apart = np.int64(layers.first_bias.size > units)
    first_trace = np.int64(x.size - TRACE_INPUTS)
    traced = traces.size > 0
    columns = (np.int64(traces.size) // TRACE - np.int64(1)) // channels
    state = np.uint64(0)
    if mode == DECODE:
        state = first_state(words, 0)
    word, bit = np.int64(2), np.int64(0)
    traits, rows, values, innovations, gram, factor = learning
    regressed, related = mode == DECODE and traits.size > 0, mode == DECODE and links.kinds.size > 0
    i, n = first_cell * channels, np.int64(0)
    position, expected = np.int64(0), np.int64(0)
    if regressed:
        position = i % (traits.size // TRAITS - 1)
    length = near.size[3]
    for which in range(first_cell // length, (last_cell + length - 1) // length):
        begin = which * length
        y, plane = which % near.size[2], which // near.size[2]
        a, b = plane // near.size[1], plane % near.size[1]
        line = near.places[1][y]
        above = near.rows[0][a] + near.rows[1][b] + near.rows[2][y]
        for v in range(max(first_cell - begin, np.int64(0)), min(last_cell - begin, length)):
            row = above + near.rows[3][v]
            column = near.places[2][v]
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
                total, activity = np.int64(0), plan.bias[c]
                if known:
                    _, _, total = foreseen(q, error, i, at, c, row, line, column, near, plan, fine)
                    for k in range(near.width):
                        neighbour = np.uint64(i + near.offsets[np.uint64(at + k)])
                        seen[np.uint64(near.width + k)] = np.int64(error[neighbour])
                    for k in range(near.width):
                        size = abs(seen[np.uint64(near.width + k)])
                        activity += size * plan.of_any_error[np.uint64(c * near.width + k)]
                    activity += step_sizes(q, i, near.offsets, at, near.width, plan.of_step, c)
                p = clamp(total, plan.means[c], plan.low, plan.high)
                level = min(level_of(max(activity >> np.int64(ACTIVITY - 4), np.int64(0))), _MOST_LEVEL)
                unit, shift = mix.UNITS[level, 0], mix.UNITS[level, 1]
                mine = (c if filters > 1 else np.int64(0)) * np.int64(close.size)
                if known:
                    for k in range(near.width):
                        neighbour = np.uint64(i + near.offsets[np.uint64(at + k)])
                        seen[np.uint64(k)] = (q[neighbour] << FRACTION) - p
                    if fine.size:
                        seen[0] += np.int64(fine[i])
                    for k in range(near_inputs):
                        x[np.uint64(k)] = scaled(seen[np.uint64(k)], unit, shift)
                    for k in range(near_inputs):
                        close[np.uint64(k)] = np.float64(x[np.uint64(k)])
                    slow, fast, power = lms.guess(slow_weights, fast_weights, mine, close)
                else:
                    for k in range(near_inputs):
                        x[k] = 0
                    slow, fast = np.int64(0), np.int64(0)
                whole = (p + _HALF) >> FRACTION
                k = near_inputs
                x[k] = place((level - np.int64(32)) << np.int64(1))
                x[k + 1] = place(((whole - plan.low) >> plan.shift) - np.int64(128))
                x[k + 2] = place((p - (whole << FRACTION)) << np.int64(3))
                x[k + 3] = place((near.places[0][b] - np.int64(32)) << np.int64(1))
                x[k + 4] = place((line - np.int64(32)) << np.int64(1))
                x[k + 5] = place((column - np.int64(32)) << np.int64(1))
                x[k + 6] = place(np.int64(c * 255 // channels - 127))
                x[k + 7], x[k + 8] = place(lms.rounded(slow)), place(lms.rounded(fast))
                trace = TRACE * (np.int64(1) + min(v, columns - np.int64(1)) * channels + c)
                if traced:
                    recall(traces, np.int64(0), level, unit, shift, x, first_trace)
                    recall(traces, trace, level, unit, shift, x, first_trace + TRACE)
                if mode == LEARN:
                    if take[i]:
                        for k in range(x.size):
                            inputs[n, k] = np.int8(x[k])
                        facts[n, 0], facts[n, 1], facts[n, 2], facts[n, 3] = p, level, q[i], c
                        n += 1
                else:
                    dense(
                        x,
                        np.int64(x.size),
                        layers.first,
                        layers.first_bias,
                        apart * c * units,
                        units,
                        sums,
                    )
                    _rectify(sums, units, one_layer)
                    dense(one_layer, units, layers.second, layers.second_bias, np.int64(0), units, sums)
                    _rectify(sums, units, next_layer)
                    next_layer[units], next_layer[units + 1] = x[k + 7], x[k + 8]
                    many = np.int64(next_layer.size)
                    dense(next_layer, many, layers.last, layers.last_bias, np.int64(0), np.int64(LANES), out)
                    mix.describe(out, p, mix.ACTIVITIES[level], mixture)
                    if mode == ENCODE:
                        bucket = mix.bucket_of(mixture, q[i])
                        if bucket > mix.REACH or bucket < -mix.REACH:
                            side = np.int64(bucket > 0)
                            edge = mix.cumulative(mixture, np.int64(mix.REACH + 1 if side else -mix.REACH))
                            starts[n] = np.uint32(edge if side else 0)
                            spans[n] = np.uint32((np.int64(1 << mix.PRECISION) - edge) if side else edge)
                            u = zigzag(q[i] - mixture[mix.MIDDLE])
                            rest[n] = np.uint64(bit_length(u)) | (u << np.uint64(_WIDTH_BITS))
                            widths[n] = bit_length(u) + _WIDTH_BITS
                        else:
                            start = mix.cumulative(mixture, bucket)
                            starts[n] = np.uint32(start)
                            spans[n] = np.uint32(mix.cumulative(mixture, bucket + 1) - start)
                            widths[n] = mixture[mix.SHIFT]
                            rest[n] = np.uint64(q[i] - mixture[mix.MIDDLE] - (bucket << mixture[mix.SHIFT]))
                    else:
                        slot = np.int64(state & _MASK)
                        bucket, start, end = mix.search(mixture, slot)
                        if bucket > mix.REACH or bucket < -mix.REACH:
                            width = np.int64(get_bits(raw, bit, _WIDTH_BITS))
                            bit += _WIDTH_BITS
                            q[i] = mixture[mix.MIDDLE] + unzigzag(get_bits(raw, bit, width))
                        else:
                            width = mixture[mix.SHIFT]
                            low = np.int64(get_bits(raw, bit, width))
                            q[i] = mixture[mix.MIDDLE] + (bucket << width) + low
                        bit += width
                        state = np.uint64(end - start) * (state >> _BITS) + np.uint64(slot - start)
                        if state < _LOW:
                            state = (state << _WORD) | word_at(words, word)
                            word += 1
                    n += 1
                error[i] = min(max((q[i] << FRACTION) - p, -_ERROR_LIMIT), _ERROR_LIMIT)
                if traced:
                    note(traces, np.int64(0), np.int64(error[i]), level, *_SCAN)
                    note(traces, trace, np.int64(error[i]), level, *_COLUMN)
                if known:
                    wanted = np.int64(scaled((q[i] << FRACTION) - p, unit, shift))
                    lms.learn(slow_weights, fast_weights, mine, close, power, wanted, slow, fast)
                if regressed:
                    position = observe(position, q[i], here, expected, traits, rows, values, innovations, gram, factor)
                i += 1
    return n


def encode_spans(starts: Array, spans: Array) -> Array:
    """uint32 words that hold these slots of 2^PRECISION: the state first, then the stream."""
    words = np.empty(starts.size + 4, np.uint32)
    return words[_encode_spans(starts, spans, words) :].copy()


@loop
def _encode_spans(starts: Array, spans: Array, words: Array) -> Scalar:
    """Fill ``words`` from their end; returns where they begin."""
    at = words.size
    x = _LOW
    for i in range(starts.size - 1, -1, -1):
        x, at = put(x, np.uint64(starts[i]), np.uint64(spans[i]), _BITS, words, at)
    return begin(x, words, at)
