"""Mixtures of logistics in integers: cumulative frequencies of cells, and the search for the cell of a slot.

    cumulative(v) = sum over k of  w_k / (1 + exp(-(v - mean_k) / scale_k))

Positions on the axis of values are in 2^-FINE of a cell. Exponentials come from tables that are made by integers alone,
so every machine has the same. A window of cells around the main component is coded by its frequencies; what lies
beyond, by an escape at either end. Where the scale is many cells, several cells share a frequency and the rest of
the number is raw bits.
"""

from __future__ import annotations

import math

import numpy as np

from aecompress.context.network import COMPONENTS
from aecompress.entropy.division import quotient
from aecompress.entropy.loops import inlined
from aecompress.entropy.tokens import Scalar, bit_length
from aecompress.spec import Array

#: log2 of what the frequencies of a mixture sum to.
PRECISION = 24

#: Bits below the point of positions.
FINE = 8

#: Buckets on each side of the middle one; each end has an escape behind them.
REACH = 1024

#: Entries of a flat mixture: for each component mean, scale, 2^INVERSE / scale, weight; then middle, shift, main one.
MEAN, SCALE, INVERSE_AT, WEIGHT_AT = 0, COMPONENTS, 2 * COMPONENTS, 3 * COMPONENTS
MIDDLE, SHIFT, MAIN, ENTRIES = 4 * COMPONENTS, 4 * COMPONENTS + 1, 4 * COMPONENTS + 2, 4 * COMPONENTS + 3

#: Level of activity above which scales do not grow; the activity that a level stands for, in 2^-FINE cells.
MOST_LEVEL = 150
_FLOOR = 40

_ONE = 1 << 96
_WEIGHTS = 14  # log2 of what the weights of the components sum to
_INVERSE = 52
_STEPS = 1024  # positions a scale
_KNOT = 6  # log2 of positions between two entries of the table
_END = 17  # scales beyond which a logistic is 0 or 1
_LOGITS = 64  # logits a nat
_OCTAVE = 8  # scales an octave
_LEAST_SCALE = 4


def _exponential(numerator: int, denominator: int) -> int:
    """exp(-numerator / denominator) times _ONE: one over the series of the positive power, in integers."""
    term, total, k = _ONE, 0, 0
    while term:
        total += term
        k += 1
        term = term * numerator // (denominator * k)
    return _ONE * _ONE // total


def _powers(base: int, many: int) -> list[int]:
    found = [_ONE]
    for _ in range(many - 1):
        found.append(found[-1] * base // _ONE)
    return found


#: Weights of logits 0, -1, -2 ... below the greatest.
_EXP = np.array([p * (1 << _WEIGHTS) // _ONE for p in _powers(_exponential(1, _LOGITS), 10 * _LOGITS)], np.int64)

_HALF_TABLE = [
    (_ONE << PRECISION) // (_ONE + p) for p in _powers(_exponential(1 << _KNOT, _STEPS), (_END * _STEPS >> _KNOT) + 2)
]
#: The logistic function at multiples of 2^_KNOT positions, from -_END scales to _END.
_LOGISTIC = np.array([(1 << PRECISION) - p for p in _HALF_TABLE[:0:-1]] + _HALF_TABLE, np.int64)
_ORIGIN = np.int64((len(_HALF_TABLE) - 1) << _KNOT)

#: 2^(k/8) in 2^-14.
_ROOTS = np.array([math.isqrt(math.isqrt(math.isqrt(1 << (k + 112)))) for k in range(_OCTAVE)], np.int64)

#: What a level of activity stands for in 2^-FINE cells, and a multiplier and shift that divide 1/16 cells by it.
ACTIVITIES = np.array([((4 + k % 4) << (k // 4)) - 4 + _FLOOR for k in range(MOST_LEVEL + 1)], np.int64)
_SHIFTS = [6 + max(int(s).bit_length(), 1) for s in ACTIVITIES]
UNITS = np.array(
    [[(341 << shift) // int(s), shift] for s, shift in zip(ACTIVITIES, _SHIFTS, strict=True)],
    np.int64,
)

_WHOLE = np.int64(1 << PRECISION)
_COARSE = np.int64(PRECISION - 8)
_QUARTER = (_STEPS >> _KNOT).bit_length() - 1  # log2 of entries of the table a scale
#: Where a logistic reaches k / 256, in such entries from the middle.
_QUANTILES = np.searchsorted(_LOGISTIC, np.arange(256) << (PRECISION - 8)) - (len(_HALF_TABLE) - 1)

_LAST = np.int64((1 << PRECISION) - (2 * REACH + 3))
_SIDE = np.int64(REACH)
#: Weight, steps of the table between two knots and inverse of a scale, multiplied: what that is a cell.
_RISE = 2.0 ** (FINE - (_INVERSE - 10) - _KNOT - _WEIGHTS)


@inlined
def describe(out: Array, p: Scalar, activity: Scalar, mixture: Array) -> None:
    """The mixture that a network's outputs ``out`` int32 [OUTPUTS] stand for, around ``p``, in 1/16 cells.

    Outputs are logits in 2^-12 nats; means in 2^-12 of the ``activity``, which is in 2^-FINE cells; and scales as
    binary logarithms in 2^-12, above half of the activity.
    """
    best = out[0]
    for k in range(1, COMPONENTS):
        best = max(best, out[k])
    total = np.int64(0)
    for k in range(COMPONENTS):
        gap = np.int64(best - out[k]) >> np.int64(6)
        mixture[WEIGHT_AT + k] = _EXP[gap] if gap < _EXP.size else np.int64(0)
        total += mixture[WEIGHT_AT + k]
    main, rest = np.int64(0), np.int64(1 << _WEIGHTS)
    for k in range(COMPONENTS):
        move = min(max(np.int64(out[COMPONENTS + k]), np.int64(-(1 << 16))), np.int64(1 << 16))
        mixture[MEAN + k] = (p << np.int64(FINE - 4)) + ((move * activity) >> np.int64(12))
        power = min(max((np.int64(out[2 * COMPONENTS + k]) >> np.int64(9)), np.int64(-56)), np.int64(47)) + np.int64(56)
        scale = ((activity * _ROOTS[power & 7]) >> np.int64(14)) << (power >> np.int64(3)) >> np.int64(8)
        scale = max(scale, np.int64(_LEAST_SCALE))
        mixture[SCALE + k] = scale
        mixture[INVERSE_AT + k] = quotient(np.int64(1 << _INVERSE), scale)
        mixture[WEIGHT_AT + k] = quotient(mixture[WEIGHT_AT + k] << np.int64(_WEIGHTS), total)
        rest -= mixture[WEIGHT_AT + k]
        if mixture[WEIGHT_AT + k] > mixture[WEIGHT_AT + main]:
            main = np.int64(k)
    mixture[WEIGHT_AT + main] += rest
    mixture[MIDDLE] = (mixture[MEAN + main] + np.int64(1 << (FINE - 1))) >> np.int64(FINE)
    mixture[MAIN] = main
    mixture[SHIFT] = bit_length(np.uint64(mixture[SCALE + main] >> np.int64(FINE + 4)))


@inlined
def _rise(mixture: Array, j: Scalar) -> tuple[Scalar, Scalar]:
    """Start of bucket ``j``, and about how much later the next one starts, in float64."""
    v = ((mixture[MIDDLE] + (j << mixture[SHIFT])) << np.int64(FINE)) - np.int64(1 << (FINE - 1))
    total, rise = np.int64(0), 0.0
    for k in range(COMPONENTS):
        away = v - mixture[MEAN + k]
        end = mixture[SCALE + k] * np.int64(_END)
        z = ((min(max(away, -end), end) * mixture[INVERSE_AT + k]) >> np.int64(_INVERSE - 10)) + _ORIGIN
        at = z >> np.int64(_KNOT)
        low = _LOGISTIC[at]
        steep = _LOGISTIC[at + 1] - low
        total += mixture[WEIGHT_AT + k] * (low + ((steep * (z & np.int64((1 << _KNOT) - 1))) >> np.int64(_KNOT)))
        rise += np.float64(mixture[WEIGHT_AT + k] * steep) * np.float64(mixture[INVERSE_AT + k])
    start = (((total >> np.int64(_WEIGHTS)) * _LAST) >> np.int64(PRECISION)) + j + _SIDE + np.int64(1)
    return start, rise * _RISE * np.float64(np.int64(1) << mixture[SHIFT]) + 1.0


@inlined
def cumulative(mixture: Array, j: Scalar) -> Scalar:
    """Start of bucket ``j``, -REACH to REACH + 1, counted from the middle one; the last is the escape beyond."""
    return _rise(mixture, j)[0]


@inlined
def bucket_of(mixture: Array, value: Scalar) -> Scalar:
    """The bucket of an integer; beyond -REACH to REACH it is an escape."""
    return (value - mixture[MIDDLE]) >> mixture[SHIFT]


@inlined
def search(mixture: Array, slot: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """The bucket that owns a slot, its start and the start of the next; -REACH - 1 and REACH + 1 are the escapes.

    It begins where the slot would lie were the main component alone, goes to where a line through there would reach it,
    and looks around in growing steps, then between.
    """
    wide = mixture[SCALE + mixture[MAIN]]
    there = mixture[MEAN + mixture[MAIN]] + ((_QUANTILES[slot >> _COARSE] * wide) >> np.int64(_QUARTER))
    there = ((there >> np.int64(FINE)) - mixture[MIDDLE]) >> mixture[SHIFT]
    low = min(max(there, -_SIDE), _SIDE)
    start, rise = _rise(mixture, low)
    most = np.float64((wide >> (mixture[SHIFT] + np.int64(FINE - 2))) + np.int64(1))
    step = np.int64(np.floor(min(max(np.float64(slot - start) / rise, -most), most)))
    if step != 0:
        low = min(max(low + step, -_SIDE), _SIDE)
        start = cumulative(mixture, low)
    high, end, stride = low, start, np.int64(1)
    if start <= slot:
        while end <= slot:
            if high > _SIDE:
                return high, end, _WHOLE
            low, start = high, end
            high, stride = min(low + stride, _SIDE + np.int64(1)), stride + stride
            end = cumulative(mixture, high)
    else:
        while start > slot:
            if low == -_SIDE:
                return low - np.int64(1), np.int64(0), start
            high, end = low, start
            low, stride = max(high - stride, -_SIDE), stride + stride
            start = cumulative(mixture, low)
    straight = True
    while high - low > 1:
        middle = (low + high) >> np.int64(1)
        if straight:
            middle = low + min(
                max(quotient((slot - start) * (high - low), end - start), np.int64(1)), high - low - np.int64(1)
            )
        at = cumulative(mixture, middle)
        if at <= slot:
            low, start = middle, at
        else:
            high, end = middle, at
        straight = not straight
    return low, start, end
