"""Quantised coefficients as decisions, each predicted from coefficients that are already known.

    for each frame, for each band from coarse to fine: the number of bits of its largest coefficient
      for each place: number of bits (one decision each) ─► bits below the highest ─► sign

What is known: neighbours in the band, on all sides in the band one level up and in the bands of the same level that
came before, and in the frame before; where lines are split, each on its own, more of the line and less of those beside
it. Eight quantised views of them each have a slot for every decision.

Where all that is known around SPAN places is 0, one decision says whether they are too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aecompress.entropy import adaptive
from aecompress.entropy.adaptive import Machine, decide
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar, bit_length
from aecompress.spec import Array
from aecompress.subbands.contexts import coarse, level, sign
from aecompress.subbands.layout import Layout
from aecompress.subbands.spans import SPAN, around, calm, magnitudes, some

#: Number of contexts of each view of the neighbourhood; each has NODES slots.
_VIEWS = np.array([64, 24 * 14, 6**4, 20 * 20, 20 * 14, 32 * 12, 32 * 10, 20 * 16], np.int64)
_NODES = 48  # 16 for the number of bits, 16 for the bit below the highest, 16 for the one below that

#: Slots of each view for signs, behind the others.
_SIGNS = 288

#: Number of bits of a band's largest coefficient: at most 2^5 - 1.
_WIDTH_BITS = 5
_WIDTHS = 32 * 64

_LEVELS = 12  # levels that are told apart

# sets of weights: of nodes by level, of signs by kind of band, of widths, of spans by kind, and of places in a span
# that holds something, by how many of them are left
_OF_SIGN = _NODES * _LEVELS
_OF_WIDTH, _OF_SPAN, _OF_LEFT = _OF_SIGN + 4, _OF_SIGN + 8, _OF_SIGN + 12
_SETS = _OF_LEFT + SPAN + 1

# of the usual magnitude along a line: bits below the point, and how fast it moves, as a power of 1/2
_USUAL_BITS, _PACE = 8, 4

_FIRSTS = np.concatenate([[0], np.cumsum(_VIEWS * _NODES + _SIGNS)])
_BANDS_FIRST = int(_FIRSTS[-1])
_INPUTS = len(_VIEWS)

# behind them, places in such a span, a slot for each number left and level, and spans
_LEFT = _BANDS_FIRST + _INPUTS * _WIDTHS
_SPAN_FIRSTS = _LEFT + (SPAN + 1) * _LEVELS + 256 * np.arange(_INPUTS + 1)


def most(memory: Array) -> int:
    """No more decisions than these are needed for coefficients int32 [F, size] in padded memory."""
    return int(_most(memory)) + memory.size // SPAN + 64 * len(memory) * 32


@loop
def _most(memory: Array) -> Scalar:
    total = np.int64(0)
    for f in range(memory.shape[0]):
        for value in memory[f]:
            total += 2 * bit_length(np.uint64(abs(np.int64(value)))) + 2
    return total


def code(memory: Array, layout: Layout, spans: bool, uses: int, tape: adaptive.Tape, decoding: bool) -> None:
    """Encode coefficients int32 [F, size] in padded memory, or fill them in.

    With ``spans`` places are decided together where nothing is around them; slots count up to so many ``uses``.
    """
    bands, kinds = layout.table(), (layout.tall, spans)
    m = adaptive.machine(tape, inputs=_INPUTS, slots=int(_SPAN_FIRSTS[-1]), sets=_SETS, uses=uses)
    widths, views = np.zeros((len(memory), len(bands)), np.int64), np.zeros(_INPUTS, np.int64)
    _code(memory, bands, layout.before, *kinds, widths, views, m, decoding)


class _Band(NamedTuple):
    """A band as its loop takes it: where it lies, and where its relatives do, which begin below 0 if there are none.

    Attributes:
        first, stride, height, across: of the band; see ``layout.Band``.
        level, kind: the same.
        number: of the band in its frame.
        up, up_stride: of the band one level up.
        one, one_stride, two, two_stride: of the bands of its level that were coded before.
    """

    first: Scalar
    stride: Scalar
    height: Scalar
    across: Scalar
    level: Scalar
    kind: Scalar
    number: Scalar
    up: Scalar
    up_stride: Scalar
    one: Scalar
    one_stride: Scalar
    two: Scalar
    two_stride: Scalar


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
        bit = decide((width >> k) & 1, decoding, node, np.int64(_OF_WIDTH), m)
        node = node * 2 + bit
        value = value * 2 + bit
    return value


@loop
def _code(
    memory: Array, bands: Array, before: Array, tall: bool, spans: bool, widths: Array, views: Array, m: Machine,
    decoding: bool,
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
                _code_band(memory, f, before[f], bands, b, tall, spans, width, views, m, decoding)


@loop
def _code_band(
    memory: Array, f: int, before: int, bands: Array, b: int, tall: bool, spans: bool, width: int,
    views: Array, m: Machine, decoding: bool,
) -> None:  # fmt: skip
    """One band of frame ``f``, whose coefficients have at most ``width`` bits."""
    c = memory[f]
    past = memory[max(before, 0)]
    first, stride, height, across, level_of_band, kind, up, up_stride, one, one_stride, two, two_stride = bands[b]
    depth = min(level_of_band, np.int64(_LEVELS - 1))
    band = _Band(
        first, stride, height, across, depth, kind, np.int64(b), up, up_stride, one, one_stride, two, two_stride
    )
    for y in range(band.height):
        if adaptive.astray(decoding, m):
            return
        usual, x, left, found = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        while x < band.across:
            i = band.first + y * band.stride + x
            if not tall:
                usual += ((abs(np.int64(c[np.uint64(i - 1)])) << _USUAL_BITS) - usual) >> _PACE
            if (
                spans
                and (x & (SPAN - 1)) == 0
                and x + SPAN <= band.across
                and _is_calm(c, past, before >= 0, tall, band, y, x)
            ):
                if not _code_span(c, past, before >= 0, tall, band, y, x, width, found, m, decoding):
                    found = found << 1
                    for _ in range(SPAN - 1):
                        usual += -usual >> _PACE
                    x += SPAN
                    continue
                found = found << 1 | 1
                left = np.int64(SPAN)
            _code_place(c, past, before >= 0, tall, band, y, x, width, usual, left, views, m, decoding)
            left = np.int64(0) if c[np.uint64(i)] != 0 else max(left - 1, np.int64(0))
            x += 1


@inlined
def _beside(first: Scalar, stride: Scalar, y: Scalar, x: Scalar) -> Scalar:
    """The place of (y, x) in a band that begins at ``first``; -1 if there is no such band."""
    return first + y * stride + x if first >= 0 else np.int64(-1)


@inlined
def _relatives(band: _Band, tall: Scalar, y: Scalar, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """The places of what (y, x) is part of one level up, and of its like in the bands coded before; below 0 if there
    are none."""
    halved = np.int64(tall)
    up = _beside(band.up, band.up_stride, y >> halved, x >> 1)
    return up, _beside(band.one, band.one_stride, y, x), _beside(band.two, band.two_stride, y, x)


@inlined
def _is_calm(c: Array, past: Array, looks_back: Scalar, tall: Scalar, band: _Band, y: Scalar, x: Scalar) -> Scalar:
    """True if nothing is known around the span at (y, x) but zeros: next to it, above it and in its relatives."""
    if not calm(c, past, looks_back, band.first + y * band.stride + x, band.stride):
        return False
    up, one, two = _relatives(band, tall, y, x)
    if up >= 0 and some(c, up, SPAN // 2):
        return False
    return not ((one >= 0 and some(c, one, SPAN)) or (two >= 0 and some(c, two, SPAN)))


@inlined
def _code_span(
    c: Array, past: Array, looks_back: Scalar, tall: Scalar, band: _Band, y: Scalar, x: Scalar, width: Scalar,
    found: Scalar, m: Machine, decoding: Scalar,
) -> Scalar:  # fmt: skip
    """Whether any coefficient of a calm span is not 0; bits of ``found`` say that of those before it in its line."""
    i = band.first + y * band.stride + x
    up, one, two = _relatives(band, tall, y, x)
    far = magnitudes(c, i - 3, 2) + magnitudes(c, i - 2 * band.stride - 1, SPAN + 2)
    above: Scalar = np.int64(0)
    if up >= 0:
        above = around(c, up, band.up_stride, SPAN // 2)
    beside: Scalar = np.int64(0)
    if one >= 0:
        beside += around(c, one, band.one_stride, SPAN)
    if two >= 0:
        beside += around(c, two, band.two_stride, SPAN)
    last: Scalar = np.int64(0)
    if looks_back:
        last = around(past, i, band.stride, SPAN)
    total = far + above + beside + last
    part = x * 64 // band.across
    m.places[0] = _SPAN_FIRSTS[0] + ((min(far, 3) * 4 + min(above, 3)) * 4 + min(beside, 3)) * 4 + min(last, 3)
    m.places[1] = _SPAN_FIRSTS[1] + min(band.number, 31) * 8 + min(width, 8) - 1
    m.places[2] = _SPAN_FIRSTS[2] + (y * 32 // band.height) * 8 + (part >> 3)
    m.places[3] = _SPAN_FIRSTS[3] + band.level * 8 + (found & 7)
    m.places[4] = _SPAN_FIRSTS[4] + min(level(above), 15) * 16 + min(level(beside), 15)
    m.places[5] = _SPAN_FIRSTS[5] + min(level(far), 15) * 16 + min(level(last), 15)
    m.places[6] = _SPAN_FIRSTS[6] + min(band.number, 31) * 8 + min(level(total), 7)
    m.places[7] = _SPAN_FIRSTS[7] + part * 4 + band.kind
    return decide(np.int64(some(c, i, SPAN)), decoding, np.int64(0), _OF_SPAN + band.kind, m)


@inlined
def _code_place(
    c: Array, past: Array, looks_back: Scalar, tall: Scalar, band: _Band, y: Scalar, x: Scalar, width: Scalar,
    usual: Scalar, left: Scalar, views: Array, m: Machine, decoding: Scalar,
) -> None:  # fmt: skip
    """One coefficient; it is known that one of the ``left`` places from here on is not 0, if there are any."""
    i = band.first + y * band.stride + x
    stride, depth, kind = band.stride, band.level, band.kind
    up, one, two = _relatives(band, tall, y, x)
    w, n = np.int64(c[np.uint64(i - 1)]), np.int64(c[np.uint64(i - stride)])
    nw, ne = np.int64(c[np.uint64(i - stride - 1)]), np.int64(c[np.uint64(i - stride + 1)])
    ww, nn = np.int64(c[np.uint64(i - 2)]), np.int64(c[np.uint64(i - 2 * stride)])
    if tall:
        near = 2 * (abs(w) + abs(n)) + abs(nw) + abs(ne) + abs(ww) + abs(nn)
    else:
        near = 3 * abs(w) + 2 * (abs(ww) + abs(n)) + abs(np.int64(c[np.uint64(i - 3)]))
    parent, above = np.int64(0), np.int64(0)
    if up >= 0:
        parent = np.int64(c[np.uint64(up)])
        above = 2 * abs(parent) + _cross(c, up, band.up_stride)
    beside = np.int64(0)
    if one >= 0:
        beside += 2 * abs(np.int64(c[np.uint64(one)])) + _cross(c, one, band.one_stride)
    if two >= 0:
        beside += 2 * abs(np.int64(c[np.uint64(two)])) + _cross(c, two, band.two_stride)
    last, past_near = np.int64(0), np.int64(0)
    if looks_back:
        last = np.int64(past[np.uint64(i)])
        past_near = 4 * abs(last) + _cross(past, i, stride)
    total = 8 * near + 2 * above + 3 * beside + 3 * past_near
    views[0] = min(level(total), 63)
    views[1] = min(level(near), 23) * 14 + min(coarse(above), 13)
    views[5] = band.number * 12 + min(coarse(total >> 2), 11)
    views[6] = (y * 32 // band.height) * 10 + min(depth, 9)
    if tall:
        views[2] = _four(w, n, nw, ne)
        views[3] = min(level(past_near), 19) * 20 + min(level(near), 19)
        views[4] = min(level(beside), 19) * 14 + min(coarse(abs(parent)), 13)
        views[7] = min(level(abs(w) + abs(n)), 19) * 16 + min(coarse(abs(last)), 15)
    else:
        running = min(level(usual >> (_USUAL_BITS - 3)), 19)
        views[2] = _four(w, ww, n, parent)
        views[3] = (min(level(past_near), 19) if looks_back else running) * 20 + min(level(near), 19)
        views[4] = min(level(2 * abs(n) + abs(nw) + abs(ne)), 19) * 14 + min(coarse(abs(parent)), 13)
        views[7] = running * 16 + min(coarse(abs(last) if looks_back else above), 15)
    for k in range(_INPUTS):
        m.places[k] = _FIRSTS[k] + views[k] * _NODES
    value = np.int64(c[np.uint64(i)])
    size = abs(value)
    bits = bit_length(np.uint64(size))
    many = np.int64(left > 0)
    if left > 1:
        m.places[0] = _LEFT + left * _LEVELS + depth
        if not decide(np.int64(bits > 0), decoding, np.int64(0), _OF_LEFT + left, m):
            return
        m.places[0] = _FIRSTS[0] + views[0] * _NODES
    while many < width:
        node = min(many, np.int64(15))
        if not decide(np.int64(bits > many), decoding, node, node * _LEVELS + depth, m):
            break
        many += 1
    if many == 0:
        return
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
    if not decide(np.int64(value > 0), decoding, np.int64(0), _OF_SIGN + kind, m):
        found = -found
    c[np.uint64(i)] = found
