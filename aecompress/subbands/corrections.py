"""Whole cells that bring an estimate within the bound: mostly 0, each decided from its surroundings.

What is known: corrections before it in its line, the lines above and the frame before, and the whole estimate, whose
differences of second and fourth order show where the transform had to leave detail away.
"""

from __future__ import annotations

import numpy as np

from aecompress.entropy import adaptive
from aecompress.entropy.adaptive import Machine, decide
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar
from aecompress.spec import Array
from aecompress.subbands.contexts import coarse, level, sign

# margins of zeros around a plane of corrections: lines above, places left and right.
_ABOVE, _BESIDE = 2, 3

_VIEWS = np.array([144, 128, 40, 96, 32, 192, 512], np.int64)
_NODES = 8  # not 0, sign, larger than 1, 2, ... 6
_FIRSTS = np.concatenate([[0], np.cumsum(_VIEWS * _NODES)])
_INPUTS = len(_VIEWS)
_SETS = 16
_SIGN = 1

#: Corrections are rare: a first guess at how rare.
_SHARE = 1 / 16

#: Bits below the point of estimates.
FRACTION = 4

#: The largest correction; what is off by more is better kept aside.
MOST = 64


def most(missing: Array) -> int:
    """No more decisions than these are needed for corrections int64 [F, H, W]."""
    return len(missing) + missing.size + int(np.abs(missing).sum()) + 2 * int((missing != 0).sum())


def code(
    missing: Array, estimate: Array, coded: Array, before: Array, tall: bool, tape: adaptive.Tape, decoding: bool
) -> None:
    """Encode corrections, or fill them in.

    Args:
        missing: int64 [F, H, W].
        estimate: int64 [F, H, W], in 1/2^FRACTION of a cell.
        coded: bool [F, H, W]: False where there is nothing to correct.
        before: int64 [F]: the frame before each, -1 for none.
        tall: whether the estimate is smooth along H as well.
        tape: where decisions go to or come from.
    """
    margins = ((0, 0), (_ABOVE, 0), (_BESIDE, _BESIDE))
    padded = np.pad(missing.astype(np.int32), margins)
    wide = np.pad(estimate, ((0, 0), (2, 2), (2, 2)), mode="edge")
    m = adaptive.machine(tape, inputs=_INPUTS, slots=int(_FIRSTS[-1]), sets=_SETS, share=_SHARE)
    m.known[_SIGN::_NODES] = adaptive.EVEN
    for f in range(len(missing)):
        past = padded[max(int(before[f]), 0)]
        _code_frame(padded[f], wide[f], coded[f], past, bool(before[f] >= 0), tall, m, decoding)
    if decoding:
        missing[...] = padded[:, _ABOVE:, _BESIDE:-_BESIDE]


@inlined
def _second(e: Array, y: Scalar, x: Scalar, dy: Scalar, dx: Scalar) -> Scalar:
    """Second difference of an estimate at (y, x)."""
    return e[y - dy, x - dx] - 2 * e[y, x] + e[y + dy, x + dx]


@inlined
def _fourth(e: Array, y: Scalar, x: Scalar, dy: Scalar, dx: Scalar) -> Scalar:
    """Fourth difference of an estimate at (y, x)."""
    far = e[y - 2 * dy, x - 2 * dx] + e[y + 2 * dy, x + 2 * dx]
    return far - 4 * (e[y - dy, x - dx] + e[y + dy, x + dx]) + 6 * e[y, x]


@inlined
def _bend(d: Scalar) -> Scalar:
    """A signed difference as a context, 0 to 15."""
    return 2 * min(coarse(abs(d)), np.int64(7)) + np.int64(d > 0)


@loop
def _code_frame(
    r: Array, e: Array, coded: Array, past: Array, looks_back: bool, tall: bool, m: Machine, decoding: bool
) -> None:
    height, width = coded.shape
    some = np.int64(0)
    if not decoding:
        for line in range(r.shape[0]):
            for place in range(r.shape[1]):
                some |= np.int64(r[line, place] != 0)
    if not adaptive.code(some, np.int64(1 << 15), decoding, m.words, m.at):
        return
    for y in range(height):
        if adaptive.astray(decoding, m):
            return
        for x in range(width):
            if not coded[y, x]:
                continue
            i, j = y + _ABOVE, x + _BESIDE
            w, n, nw, ne = r[i, j - 1], r[i - 1, j], r[i - 1, j - 1], r[i - 1, j + 1]
            near = 2 * (abs(w) + abs(n)) + abs(nw) + abs(ne)
            far: Scalar = (
                abs(r[i, j - 2]) + abs(r[i, j - 3]) + abs(r[i - 2, j]) + abs(r[i - 2, j - 1]) + abs(r[i - 2, j + 1])
            )
            far += abs(r[i - 1, j - 2]) + abs(r[i - 1, j + 2])
            last: Scalar = np.int64(0)
            around: Scalar = np.int64(0)
            if looks_back:
                last = np.int64(past[i, j])
                around = abs(past[i, j - 1]) + abs(past[i, j + 1]) + abs(past[i - 1, j])
                if y + 1 < height:
                    around += abs(past[i + 1, j])
            across, detail = _second(e, y + 2, x + 2, 0, 1), abs(_fourth(e, y + 2, x + 2, 0, 1))
            down: Scalar = np.int64(0)
            if tall:
                down = _second(e, y + 2, x + 2, 1, 0)
                detail += abs(_fourth(e, y + 2, x + 2, 1, 0))
            bend, fine = level(abs(across) + abs(down)), level(detail)
            corner = (y & 1) * 2 + (x & 1) if tall else x & 3
            m.places[0] = _FIRSTS[0] + (min(near, 11) * 12 + min(far, 11)) * _NODES
            m.places[1] = _FIRSTS[1] + (min(fine, 31) * 4 + corner) * _NODES
            m.places[2] = _FIRSTS[2] + min(bend, 39) * _NODES
            m.places[3] = _FIRSTS[3] + ((min(abs(last), 2) * 4 + min(around, 3)) * 8 + min(near, 7)) * _NODES
            m.places[4] = _FIRSTS[4] + (y * 32 // height) * _NODES
            m.places[5] = _FIRSTS[5] + (min(fine >> 1, 15) * 12 + min(near + far, 11)) * _NODES
            m.places[6] = _FIRSTS[6] + (min(bend, 31) * 16 + min(fine >> 1, 15)) * _NODES
            value = np.int64(r[i, j])
            if not decide(np.int64(value != 0), decoding, 0, min(near, 3), m):
                continue
            size: Scalar = np.int64(1)
            while size < MOST:
                node = min(size + 1, _NODES - 1)
                if not decide(np.int64(abs(value) > size), decoding, node, 3 + min(size, 4), m):
                    break
                size += 1
            sw, sn = sign(w), sign(n)
            m.places[0] = _FIRSTS[0] + (((sw * 3 + sn) * 3 + sign(nw)) * 3 + sign(ne)) * _NODES
            m.places[1] = _FIRSTS[1] + sign(last) * _NODES
            m.places[2] = _FIRSTS[2] + _bend(across) * _NODES
            m.places[3] = _FIRSTS[3] + _bend(down) * _NODES
            m.places[4] = _FIRSTS[4] + sn * _NODES
            m.places[5] = _FIRSTS[5] + (corner * 9 + sw * 3 + sn) * _NODES
            m.places[6] = _FIRSTS[6] + (_bend(across) * 16 + _bend(down)) * _NODES
            positive = decide(np.int64(value > 0), decoding, _SIGN, 15, m)
            r[i, j] = size if positive else -size
