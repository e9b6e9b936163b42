"""Masks as pictures: each bit decided from those around it, and from the planes before.

    block ─► planes ─► lines ─► like the line of reference? ─ no ─► bits, by contexts ─► rANS
                                          └─ yes ─► nothing more

Clouds, coasts and shadows have smooth edges and hold on from row to row, and what is missing in one variable is missing
in the others (contexts of bits around and before, as in JBIG, ITU-T T.82).
"""

from __future__ import annotations

import math

import numpy as np

from aecompress.entropy import adaptive
from aecompress.entropy.adaptive import Machine, decide
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar, bit_length
from aecompress.spec import Array

#: A last axis of at most so many places holds colours, or variables of one place: it counts planes.
MOST_COLOURS = 4

# zeros around a plane: lines above and below, places left and right
_ABOVE, _BELOW, _BESIDE = 2, 1, 4

_VIEWS = np.array([1 << 13, 1 << 13, 1 << 13, 1 << 12, 1 << 10], np.int64)
_SAME = 4  # slots behind those of a view: whether a line is like that of reference
_FIRSTS = np.concatenate([[0], np.cumsum(_VIEWS + _SAME)])
_INPUTS = len(_VIEWS)
_SETS = 17
_SET_OF_SAME = 16


def encode(mask: Array) -> bytes:
    """The stream of a mask, bool of any shape."""
    planes = _planes(mask)
    tape = adaptive.Tape.empty(planes.size + math.prod(planes.shape[:2]))
    _code(planes, _planes_of_row(mask.shape), tape, decoding=False)
    return tape.to_bytes()


def decode(stream: bytes, shape: tuple[int, ...]) -> Array:
    """The mask, bool of this shape. Raises CorruptError for a stream that is none of such a mask."""
    mask = np.zeros(shape, bool)
    planes, tape = _planes(mask), adaptive.Tape.of(stream)
    found = _code(planes, _planes_of_row(shape), tape, decoding=True)
    tape.finish()
    if _colours(shape):
        found = np.moveaxis(found.reshape(*shape[:-3], shape[-1], *shape[-3:-1]), -3, -1)
    return found.reshape(shape).astype(bool)


def _colours(shape: tuple[int, ...]) -> bool:
    return len(shape) > 2 and shape[-1] <= MOST_COLOURS


def _planes(mask: Array) -> Array:
    """uint8 [N, H, W], those of a row side by side: colours apart, one line where rows are single values."""
    if _colours(mask.shape):
        mask = np.moveaxis(mask, -1, -3)
    high, wide = mask.shape[-2:] if mask.ndim > 1 else (1, mask.size)
    return mask.reshape(-1, high, wide).astype(np.uint8)


def _planes_of_row(shape: tuple[int, ...]) -> int:
    """How far apart planes are that hold the same of two rows; where planes hold many rows there are none."""
    inner = shape[1:-3] + shape[-1:] if _colours(shape) else shape[1:-2]
    return math.prod(inner)


def _code(planes: Array, apart: int, tape: adaptive.Tape, *, decoding: bool) -> Array:
    """Encode planes, or fill them in; returns them."""
    margins = ((1, 0), (_ABOVE, _BELOW), (_BESIDE, _BESIDE))
    padded = np.pad(planes, margins)  # the first plane stands for those that are not there
    m = adaptive.machine(tape, inputs=_INPUTS, slots=int(_FIRSTS[-1]), sets=_SETS)
    for n in range(1, len(padded)):
        _code_plane(padded[n], padded[n - 1], padded[max(n - apart, 0)], n > apart, m, decoding)
    return padded[1:, _ABOVE:-_BELOW, _BESIDE:-_BESIDE]


@loop
def _code_plane(plane: Array, last: Array, past: Array, has_past: bool, m: Machine, decoding: bool) -> None:
    """One plane, given the one before and that of the row before."""
    wide = plane.shape[1] - 2 * _BESIDE
    same = np.int64(0)
    for i in range(_ABOVE, plane.shape[0] - _BELOW):
        if adaptive.astray(decoding, m):
            return
        line, before, row = plane[i], last[i], past[i]
        like = row if has_past else plane[i - 1]
        if not decoding:
            now = np.int64(1)
            for j in range(_BESIDE, _BESIDE + wide):
                now &= np.int64(line[j] == like[j])
        else:
            now = np.int64(0)
        for k in range(_INPUTS):
            m.places[k] = _FIRSTS[k] + _VIEWS[k] + 2 * same + np.int64(has_past)
        same = decide(now, decoding, np.int64(0), np.int64(_SET_OF_SAME), m)
        if same:
            if decoding:
                for j in range(line.size):
                    line[j] = like[j]
            continue
        run = np.int64(0)
        n1, n2, b0, b2, r0, r2 = plane[i - 1], plane[i - 2], last[i - 1], last[i + 1], past[i - 1], past[i + 1]
        for j in range(_BESIDE, _BESIDE + wide):
            w, n = np.int64(line[j - 1]), np.int64(n1[j])
            near = w | n << 1 | np.int64(n1[j - 1]) << 2 | np.int64(n1[j + 1]) << 3
            beside = near | np.int64(line[j - 2]) << 4 | np.int64(line[j - 3]) << 5 | np.int64(line[j - 4]) << 6
            beside |= np.int64(n1[j - 2]) << 7 | np.int64(n1[j + 2]) << 8 | np.int64(n2[j]) << 9
            beside |= np.int64(n2[j - 1]) << 10 | np.int64(n2[j + 1]) << 11 | np.int64(n1[j + 3]) << 12
            cross = _cross(before, b0, b2, j)
            crossed = _cross(row, r0, r2, j)
            m.places[0] = _FIRSTS[0] + beside
            m.places[1] = _FIRSTS[1] + (near << 9 | cross << 4 | _corners(b0, b2, j))
            m.places[2] = _FIRSTS[2] + (near << 9 | crossed << 4 | _corners(r0, r2, j))
            m.places[3] = _FIRSTS[3] + (cross << 7 | crossed << 2 | n << 1 | w)
            length = min(bit_length(np.uint64(run)), np.int64(15))
            m.places[4] = _FIRSTS[4] + (length << 6 | near << 2 | (crossed & 1) << 1 | (cross & 1))
            of = near & 3 | (cross & 1) << 2 | (crossed & 1) << 3
            bit = decide(np.int64(line[j]), decoding, np.int64(0), of, m)
            line[j] = bit
            run = run + 1 if bit == w else np.int64(0)


@inlined
def _cross(line: Array, above: Array, below: Array, j: Scalar) -> Scalar:
    """Five bits: place j of a line, and the four beside it."""
    found = np.int64(line[j]) | np.int64(line[j - 1]) << 1 | np.int64(line[j + 1]) << 2
    return found | np.int64(above[j]) << 3 | np.int64(below[j]) << 4


@inlined
def _corners(above: Array, below: Array, j: Scalar) -> Scalar:
    """The four bits at the corners of place j."""
    found = np.int64(above[j - 1]) | np.int64(above[j + 1]) << 1
    return found | np.int64(below[j - 1]) << 2 | np.int64(below[j + 1]) << 3
