"""Whole cells that bring an estimate within the bound: mostly 0, decided from their surroundings.

What is known: corrections before it in its line, the lines above and the frame before, and the whole estimate, whose
differences of second and fourth order show where the transform had to leave detail away.

Where nothing around SPAN places is corrected, one decision says whether any of them is: most are not, and take no more.
"""

from __future__ import annotations

import numpy as np

from aecompress.entropy import adaptive
from aecompress.entropy.adaptive import Machine, decide
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar
from aecompress.spec import Array
from aecompress.subbands.contexts import coarse, level, sign
from aecompress.subbands.spans import SPAN, around, calm, magnitudes, some

# margins of zeros around a plane of corrections: lines above and below, places left and right
_ABOVE, _BELOW, _BESIDE = 2, 1, 3

_VIEWS = np.array([144, 128, 40, 96, 32, 192, 512], np.int64)
_NODES = 8  # not 0, sign, larger than 1, 2, ... 6
_FIRSTS = np.concatenate([[0], np.cumsum(_VIEWS * _NODES)])
_INPUTS = len(_VIEWS)
_SIGN = 1

# slots behind them: of places in a span where one is known to be corrected, by how many of them are left, and of spans
_LEFT = int(_FIRSTS[-1])
_SPAN_FIRSTS = _LEFT + (SPAN + 1) * 12 + 256 * np.arange(_INPUTS + 1)

# sets of weights: 0 to 7 by what is near or how large a correction is, then of signs, of spans and of places left
_OF_SIGN, _OF_SPAN, _OF_LEFT = 8, 9, 10
_SETS = _OF_LEFT + SPAN + 1

#: Corrections are rare: a first guess at how rare.
_SHARE = 1 / 16

#: Bits below the point of estimates.
FRACTION = 4

#: The largest correction; what is off by more is better kept aside.
MOST = 64


def most(missing: Array) -> int:
    """No more decisions than these are needed for corrections int64 [F, H, W]."""
    return (
        len(missing) + missing.size + missing.size // SPAN + int(np.abs(missing).sum()) + 2 * int((missing != 0).sum())
    )


def code(
    missing: Array, estimate: Array, coded: Array, before: Array, tall: bool, spans: bool, uses: int,
    tape: adaptive.Tape, decoding: bool,
) -> None:  # fmt: skip
    """Encode corrections, or fill them in.

    Args:
        missing: int64 [F, H, W].
        estimate: int64 [F, H, W], in 1/2^FRACTION of a cell.
        coded: bool [F, H, W]: False where there is nothing to correct.
        before: int64 [F]: the frame before each, -1 for none.
        tall: whether the estimate is smooth along H as well.
        spans: whether places are decided together where nothing around them is corrected.
        uses: the most that slots count.
        tape: where decisions go to or come from.
    """
    margins = ((0, 0), (_ABOVE, _BELOW), (_BESIDE, _BESIDE))
    padded = np.pad(missing.astype(np.int32), margins)
    wide = np.pad(estimate, ((0, 0), (2, 2), (2, 2)), mode="edge")
    m = adaptive.machine(tape, inputs=_INPUTS, slots=int(_SPAN_FIRSTS[-1]), sets=_SETS, share=_SHARE, uses=uses)
    m.known[_SIGN:_LEFT:_NODES] = adaptive.EVEN
    bends = np.zeros((2, missing.shape[2]), np.int64)
    for f in range(len(missing)):
        past = padded[max(int(before[f]), 0)].reshape(-1)
        around_it = bool(before[f] >= 0), tall, spans
        _code_frame(padded[f].reshape(-1), wide[f], coded[f], past, *around_it, bends, m, decoding)
    if decoding:
        missing[...] = padded[:, _ABOVE:-_BELOW, _BESIDE:-_BESIDE]


@inlined
def _second(e: Array, y: Scalar, x: Scalar, dy: Scalar, dx: Scalar) -> Scalar:
    """Second difference of an estimate at (y, x)."""
    return e[y - dy, x - dx] - 2 * e[y, x] + e[y + dy, x + dx]


@inlined
def _bend(d: Scalar) -> Scalar:
    """A signed difference as a context, 0 to 15."""
    return 2 * min(coarse(abs(d)), np.int64(7)) + np.int64(d > 0)


@loop
def _bends(e: Array, y: int, tall: bool, bends: Array) -> None:
    """Magnitudes int64 [2, W] of the second and of the fourth differences of an estimate along line ``y``, and with
    ``tall`` of those across it too."""
    above, over, line, under, below = e[y], e[y + 1], e[y + 2], e[y + 3], e[y + 4]
    for x in range(bends.shape[1]):
        here, beside = line[x + 2], line[x + 1] + line[x + 3]
        bends[0, x] = abs(beside - 2 * here)
        bends[1, x] = abs(line[x] + line[x + 4] - 4 * beside + 6 * here)
    if tall:
        for x in range(bends.shape[1]):
            here, beside = line[x + 2], over[x + 2] + under[x + 2]
            bends[0, x] += abs(beside - 2 * here)
            bends[1, x] += abs(above[x + 2] + below[x + 2] - 4 * beside + 6 * here)


@loop
def _code_frame(
    r: Array, e: Array, coded: Array, past: Array, looks_back: bool, tall: bool, spans: bool, bends: Array, m: Machine,
    decoding: bool,
) -> None:  # fmt: skip
    """Corrections int32 of one frame, and of the frame before it, in flat padded memory."""
    height, width = coded.shape
    anything = np.int64(not decoding and some(r, np.int64(0), r.size))
    if not adaptive.code(anything, np.int64(1 << 15), decoding, m.words, m.at):
        return
    stride = width + 2 * _BESIDE
    for y in range(height):
        if adaptive.astray(decoding, m):
            return
        _bends(e, y, tall, bends)
        x, left, found = np.int64(0), np.int64(0), np.int64(0)
        while x < width:
            i = (y + _ABOVE) * stride + x + _BESIDE
            if spans and (x & (SPAN - 1)) == 0 and x + SPAN <= width and calm(r, past, looks_back, i, stride):
                if not _code_span(r, past, looks_back, bends, i, stride, y * 32 // height, x, found, m, decoding):
                    found = found << 1
                    x += SPAN
                    continue
                found = found << 1 | 1
                left = np.int64(SPAN)
            if coded[y, x]:
                _code_place(r, e, past, looks_back, tall, bends, i, stride, y, x, height, left, m, decoding)
            left = np.int64(0) if r[np.uint64(i)] != 0 else max(left - 1, np.int64(0))
            x += 1


@inlined
def _code_span(
    r: Array, past: Array, looks_back: Scalar, bends: Array, i: Scalar, stride: Scalar, part: Scalar, x: Scalar,
    found: Scalar, m: Machine, decoding: Scalar,
) -> Scalar:  # fmt: skip
    """Whether anything is corrected in a calm span; bits of ``found`` say that of those before it in its line."""
    most_bend: Scalar = np.int64(0)
    most_fine: Scalar = np.int64(0)
    fine_sum: Scalar = np.int64(0)
    for k in range(SPAN):
        most_bend = max(most_bend, bends[0, x + k])
        most_fine = max(most_fine, bends[1, x + k])
        fine_sum += bends[1, x + k]
    far = min(magnitudes(r, i - 3, 2) + magnitudes(r, i - 2 * stride, SPAN), 3)
    last: Scalar = np.int64(0)
    if looks_back:
        last = min(around(past, i, stride, SPAN), 3)
    bend, fine = min(level(most_bend), 39), min(level(most_fine), 39)
    m.places[0] = _SPAN_FIRSTS[0] + fine * 4 + far
    m.places[1] = _SPAN_FIRSTS[1] + bend * 4 + last
    m.places[2] = _SPAN_FIRSTS[2] + min(bend >> 1, 15) * 16 + min(fine >> 1, 15)
    m.places[3] = _SPAN_FIRSTS[3] + part
    m.places[4] = _SPAN_FIRSTS[4] + min(level(fine_sum), 63) * 4 + (found & 3)
    m.places[5] = _SPAN_FIRSTS[5] + x * 64 // bends.shape[1]
    m.places[6] = _SPAN_FIRSTS[6] + (min(fine >> 1, 15) * 4 + far) * 4 + last
    return decide(np.int64(some(r, i, SPAN)), decoding, np.int64(0), np.int64(_OF_SPAN), m)


@inlined
def _code_place(
    r: Array, e: Array, past: Array, looks_back: Scalar, tall: Scalar, bends: Array, i: Scalar, stride: Scalar,
    y: Scalar, x: Scalar, height: Scalar, left: Scalar, m: Machine, decoding: Scalar,
) -> None:  # fmt: skip
    """One correction; it is known that one of the ``left`` places from here on is not 0, if there are any."""
    w, n = np.int64(r[np.uint64(i - 1)]), np.int64(r[np.uint64(i - stride)])
    nw, ne = np.int64(r[np.uint64(i - stride - 1)]), np.int64(r[np.uint64(i - stride + 1)])
    near: Scalar = 2 * (abs(w) + abs(n)) + abs(nw) + abs(ne)
    far = magnitudes(r, i - 3, 2) + magnitudes(r, i - 2 * stride - 1, 3)
    far += magnitudes(r, i - stride - 2, 1) + magnitudes(r, i - stride + 2, 1)
    last: Scalar = np.int64(0)
    beside: Scalar = np.int64(0)
    if looks_back:
        last = np.int64(past[np.uint64(i)])
        beside = around(past, i, stride, 1)
    bend, fine = level(bends[0, x]), level(bends[1, x])
    corner = (y & 1) * 2 + (x & 1) if tall else x & 3
    m.places[0] = _FIRSTS[0] + (min(near, 11) * 12 + min(far, 11)) * _NODES
    m.places[1] = _FIRSTS[1] + (min(fine, 31) * 4 + corner) * _NODES
    m.places[2] = _FIRSTS[2] + min(bend, 39) * _NODES
    m.places[3] = _FIRSTS[3] + ((min(abs(last), 2) * 4 + min(beside, 3)) * 8 + min(near, 7)) * _NODES
    m.places[4] = _FIRSTS[4] + (y * 32 // height) * _NODES
    m.places[5] = _FIRSTS[5] + (min(fine >> 1, 15) * 12 + min(near + far, 11)) * _NODES
    m.places[6] = _FIRSTS[6] + (min(bend, 31) * 16 + min(fine >> 1, 15)) * _NODES
    value = np.int64(r[np.uint64(i)])
    if left > 1:
        usual = m.places[0]
        m.places[0] = _LEFT + left * 12 + min(far, 11)
        if not decide(np.int64(value != 0), decoding, np.int64(0), _OF_LEFT + left, m):
            return
        m.places[0] = usual
    elif left == 0 and not decide(np.int64(value != 0), decoding, np.int64(0), min(near, 3), m):
        return
    size: Scalar = np.int64(1)
    while size < MOST:
        node = min(size + 1, _NODES - 1)
        if not decide(np.int64(abs(value) > size), decoding, node, 3 + min(size, 4), m):
            break
        size += 1
    across, down = _second(e, y + 2, x + 2, 0, 1), np.int64(0)
    if tall:
        down = _second(e, y + 2, x + 2, 1, 0)
    sw, sn = sign(w), sign(n)
    m.places[0] = _FIRSTS[0] + (((sw * 3 + sn) * 3 + sign(nw)) * 3 + sign(ne)) * _NODES
    m.places[1] = _FIRSTS[1] + sign(last) * _NODES
    m.places[2] = _FIRSTS[2] + _bend(across) * _NODES
    m.places[3] = _FIRSTS[3] + _bend(down) * _NODES
    m.places[4] = _FIRSTS[4] + sn * _NODES
    m.places[5] = _FIRSTS[5] + (corner * 9 + sw * 3 + sn) * _NODES
    m.places[6] = _FIRSTS[6] + (_bend(across) * 16 + _bend(down)) * _NODES
    positive = decide(np.int64(value > 0), decoding, np.int64(_SIGN), np.int64(_OF_SIGN), m)
    r[np.uint64(i)] = size if positive else -size
