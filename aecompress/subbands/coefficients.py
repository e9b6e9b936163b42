"""Quantised coefficients as decisions, each predicted from coefficients that are already known.

    for each frame, for each band from coarse to fine: the number of bits of its largest coefficient
      for each place: number of bits (one decision each) ─► bits below the highest ─► sign

What is known: neighbours in the band, on all sides in the band one level up and in the bands of the same level that
came before, and in the frame before; where lines are split, each on its own, more of the line and less of those beside
it. Eight quantised views of them each have a slot for every decision.
"""

from __future__ import annotations

import numpy as np

from aecompress.entropy import adaptive
from aecompress.entropy.adaptive import Machine, decide
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar, bit_length
from aecompress.spec import Array
from aecompress.subbands.contexts import coarse, level, sign
from aecompress.subbands.layout import Layout

#: Number of contexts of each view of the neighbourhood; each has NODES slots.
_VIEWS = np.array([64, 24 * 14, 6**4, 20 * 20, 20 * 14, 32 * 12, 32 * 10, 20 * 16], np.int64)
_NODES = 48  # 16 for the number of bits, 16 for the bit below the highest, 16 for the one below that

#: Slots of each view for signs, behind the others.
_SIGNS = 288

#: Number of bits of a band's largest coefficient: at most 2^5 - 1.
_WIDTH_BITS = 5
_WIDTHS = 32 * 64

_LEVELS = 12  # sets of weights for each node: one a level

# of the usual magnitude along a line: bits below the point, and how fast it moves, as a power of 1/2
_USUAL_BITS, _PACE = 8, 4

_FIRSTS = np.concatenate([[0], np.cumsum(_VIEWS * _NODES + _SIGNS)])
_BANDS_FIRST = int(_FIRSTS[-1])
_INPUTS = len(_VIEWS)


def machine(tape: adaptive.Tape) -> Machine:
    """Fresh slots and weights for the coefficients of a block."""
    return adaptive.machine(tape, inputs=_INPUTS, slots=_BANDS_FIRST + _INPUTS * _WIDTHS, sets=_NODES * _LEVELS + 8)


def most(memory: Array) -> int:
    """No more decisions than these are needed for coefficients int32 [F, size] in padded memory."""
    return int(_most(memory)) + 64 * len(memory) * 32


@loop
def _most(memory: Array) -> Scalar:
    total = np.int64(0)
    for f in range(memory.shape[0]):
        for value in memory[f]:
            total += 2 * bit_length(np.uint64(abs(np.int64(value)))) + 2
    return total


def code(memory: Array, layout: Layout, tape: adaptive.Tape, decoding: bool) -> None:
    """Encode coefficients int32 [F, size] in padded memory, or fill them in."""
    bands = layout.table()
    widths, views = np.zeros((len(memory), len(bands)), np.int64), np.zeros(_INPUTS, np.int64)
    _code(memory, bands, layout.before, layout.tall, widths, views, machine(tape), decoding)


@inlined
def _cross(c: Array, i: Scalar, stride: Scalar) -> Scalar:
    """Magnitudes of the four neighbours of place ``i``."""
    return (
        np.int64(abs(c[np.uint64(i - 1)]))
        + np.int64(abs(c[np.uint64(i + 1)]))
        + np.int64(abs(c[np.uint64(i - stride)]))
        + np.int64(abs(c[np.uint64(i + stride)]))
    )


@inlined
def _four(a: Scalar, b: Scalar, c: Scalar, d: Scalar) -> Scalar:
    """One of 6^4: the magnitudes of four coefficients."""
    first = min(coarse(abs(a)), 5) * 6 + min(coarse(abs(b)), 5)
    return (first * 6 + min(coarse(abs(c)), 5)) * 6 + min(coarse(abs(d)), 5)


@loop
def _width(width: Scalar, band: Scalar, like: Scalar, m: Machine, decoding: Scalar) -> Scalar:
    """Code the number of bits of a band's largest coefficient, given that of the frame before."""
    node, value = np.int64(1), np.int64(0)
    for k in range(_WIDTH_BITS - 1, -1, -1):
        for view in range(_INPUTS):
            context = np.int64(0) if view == 0 else (band + 1 if view % 2 else like + 32)
            m.places[view] = _BANDS_FIRST + view * _WIDTHS + (context & 63) * 32
        bit = decide((width >> k) & 1, decoding, node, _NODES * _LEVELS + 4, m)
        node = node * 2 + bit
        value = value * 2 + bit
    return value


@loop
def _code(
    memory: Array, bands: Array, before: Array, tall: bool, widths: Array, views: Array, m: Machine, decoding: bool
) -> None:  # fmt: skip
    """All frames; ``widths`` int64 [F, bands] and ``views`` int64 [_INPUTS] are to work with."""
    for f in range(memory.shape[0]):
        for b in range(bands.shape[0]):
            if adaptive.astray(decoding, m):
                return
            like = widths[before[f], b] if before[f] >= 0 else np.int64(31)
            width = np.int64(0)
            if not decoding:
                first, stride, height = bands[b, 0], bands[b, 1], bands[b, 2]
                for i in range(first, first + stride * height):
                    width = max(width, bit_length(np.uint64(abs(np.int64(memory[f, i])))))
            width = _width(width, b, like, m, decoding)
            widths[f, b] = width
            if width:
                _code_band(memory, f, before[f], bands, b, tall, width, views, m, decoding)


@loop
def _code_band(
    memory: Array, f: int, before: int, bands: Array, b: int, tall: bool, width: int,
    views: Array, m: Machine, decoding: bool,
) -> None:  # fmt: skip
    """One band of frame ``f``, whose coefficients have at most ``width`` bits."""
    c = memory[f]
    past = memory[max(before, 0)]
    first, stride, height, across = bands[b, 0], bands[b, 1], bands[b, 2], bands[b, 3]
    depth, kind = min(bands[b, 4], np.int64(_LEVELS - 1)), bands[b, 5]
    up, one, two = bands[b, 6], bands[b, 7], bands[b, 8]
    up_first, up_stride = (bands[up, 0], bands[up, 1]) if up >= 0 else (np.int64(0), np.int64(0))
    one_first, one_stride = (bands[one, 0], bands[one, 1]) if one >= 0 else (np.int64(0), np.int64(0))
    two_first, two_stride = (bands[two, 0], bands[two, 1]) if two >= 0 else (np.int64(0), np.int64(0))
    halved = np.int64(tall)
    for y in range(height):
        if adaptive.astray(decoding, m):
            return
        usual = np.int64(0)
        for x in range(across):
            i = first + y * stride + x
            w, n = np.int64(c[np.uint64(i - 1)]), np.int64(c[np.uint64(i - stride)])
            nw, ne = np.int64(c[np.uint64(i - stride - 1)]), np.int64(c[np.uint64(i - stride + 1)])
            ww, nn = np.int64(c[np.uint64(i - 2)]), np.int64(c[np.uint64(i - 2 * stride)])
            if tall:
                near = 2 * (abs(w) + abs(n)) + abs(nw) + abs(ne) + abs(ww) + abs(nn)
            else:
                near = 3 * abs(w) + 2 * (abs(ww) + abs(n)) + abs(np.int64(c[np.uint64(i - 3)]))
                usual += ((abs(w) << _USUAL_BITS) - usual) >> _PACE
            parent, above = np.int64(0), np.int64(0)
            if up >= 0:
                j = up_first + (y >> halved) * up_stride + (x >> 1)
                parent = np.int64(c[np.uint64(j)])
                above = 2 * abs(parent) + _cross(c, j, up_stride)
            beside = np.int64(0)
            if one >= 0:
                j = one_first + y * one_stride + x
                beside += 2 * abs(np.int64(c[np.uint64(j)])) + _cross(c, j, one_stride)
            if two >= 0:
                j = two_first + y * two_stride + x
                beside += 2 * abs(np.int64(c[np.uint64(j)])) + _cross(c, j, two_stride)
            last, past_near = np.int64(0), np.int64(0)
            if before >= 0:
                last = np.int64(past[np.uint64(i)])
                past_near = 4 * abs(last) + _cross(past, i, stride)
            total = 8 * near + 2 * above + 3 * beside + 3 * past_near
            views[0] = min(level(total), 63)
            views[1] = min(level(near), 23) * 14 + min(coarse(above), 13)
            views[5] = b * 12 + min(coarse(total >> 2), 11)
            views[6] = (y * 32 // height) * 10 + min(depth, 9)
            if tall:
                views[2] = _four(w, n, nw, ne)
                views[3] = min(level(past_near), 19) * 20 + min(level(near), 19)
                views[4] = min(level(beside), 19) * 14 + min(coarse(abs(parent)), 13)
                views[7] = min(level(abs(w) + abs(n)), 19) * 16 + min(coarse(abs(last)), 15)
            else:
                running = min(level(usual >> (_USUAL_BITS - 3)), 19)
                views[2] = _four(w, ww, n, parent)
                views[3] = (min(level(past_near), 19) if before >= 0 else running) * 20 + min(level(near), 19)
                views[4] = min(level(2 * abs(n) + abs(nw) + abs(ne)), 19) * 14 + min(coarse(abs(parent)), 13)
                views[7] = running * 16 + min(coarse(abs(last) if before >= 0 else above), 15)
            for k in range(_INPUTS):
                m.places[k] = _FIRSTS[k] + views[k] * _NODES
            value = np.int64(c[np.uint64(i)])
            size = abs(value)
            bits = bit_length(np.uint64(size))
            many = np.int64(0)
            while many < width:
                node = min(many, np.int64(15))
                if not decide(np.int64(bits > many), decoding, node, node * _LEVELS + depth, m):
                    break
                many += 1
            if many == 0:
                continue
            found = np.int64(1)
            for k in range(many - 2, -1, -1):
                bit = (size >> k) & 1
                if k == many - 2:
                    node = 16 + min(many, np.int64(15))
                    bit = decide(bit, decoding, node, node * _LEVELS + depth, m)
                elif k == many - 3:
                    node = 32 + min(many, np.int64(7)) * 2 + (found & 1)
                    bit = decide(bit, decoding, node, node * _LEVELS + depth, m)
                else:
                    bit = adaptive.code(bit, np.int64(1 << 15), decoding, m.words, m.at)
                found = found * 2 + bit
            sw, sn, sp = sign(w), sign(n), sign(last)
            views[0] = ((sw * 3 + sn) * 3 + sp) * 4 + kind
            views[1] = (sp * 8 + min(coarse(abs(last)), 7)) * 4 + min(coarse(found), 3)
            views[2] = ((sw * 3 + sign(ww)) * 4 + kind) * 8 + min(depth, 7)
            views[3] = ((sn * 3 + sign(nn)) * 4 + kind) * 8 + min(depth, 7)
            views[4] = ((sign(nw) * 3 + sign(ne)) * 3 + sw) * 4 + kind
            views[5] = (sign(parent) * 4 + (y & 1) * 2 + (x & 1)) * 4 + kind
            views[6] = (sw * 8 + min(coarse(abs(w)), 7)) * 4 + kind
            views[7] = (sn * 8 + min(coarse(abs(n)), 7)) * 4 + kind
            for k in range(_INPUTS):
                m.places[k] = _FIRSTS[k + 1] - _SIGNS + views[k]
            if not decide(np.int64(value > 0), decoding, np.int64(0), _NODES * _LEVELS + kind, m):
                found = -found
            c[np.uint64(i)] = found
