"""CDF 9/7 by integer lifting along any axes of an array, exact both ways on every machine.

    line ─► even, odd ─► odd += alpha (even + even) ─► even += beta (odd + odd) ─► gamma ─► delta ─► [low | high]

(Daubechies and Sweldens 1998; rounded as by Calderbank et al. 1998.) The last two axes, the plane, are split together,
level by level within the low corner, or only its lines are; each axis before them is split on its own, all its levels
at once. Constants have 28 bits: of a field far from 0, coarser ones would leave a trace of its mean in every high band.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np

from aecompress.entropy.tokens import Scalar
from aecompress.spec import Array

#: Most levels along an axis.
MOST_LEVELS = 10

_SHIFT = np.int64(28)
_HALF = np.int64(1 << 27)
# in 1/2^28
_ALPHA, _BETA, _GAMMA, _DELTA = np.int64(-425774695), np.int64(-14221742), np.int64(237004637), np.int64(119052964)

#: Shares of the common step that the low and the high band of each level take, in 1/2^16: one over the square root of
#: the norm of the band's synthesis basis. One over the norm itself is best for the mean squared error; a bound on every
#: value asks less of the coarse bands, but not along lines, where they are squared.
SHARES = (
    (61386, 69575), (56579, 66084), (52498, 60532), (48889, 55984), (45579, 52085),
    (42506, 48547), (39643, 45270), (36973, 42220), (34484, 39377), (32162, 36725),
)  # fmt: skip

#: A share of one.
_ONE_BITS = 16
ONE = 1 << _ONE_BITS


def of_lines(levels: tuple[int, ...]) -> bool:
    """True if of planes only the lines are split, each on its own, or there are no planes."""
    return levels[-1] != (0, *levels)[-2]


def forward(values: Array, levels: tuple[int, ...]) -> Array:
    """Coefficients int64 of ``values`` [..., H, W]; ``levels`` has a number for each axis, the last two equal, or 0 for
    H where only lines are split."""
    out = np.array(values, np.int64, order="C")
    for axis, many in enumerate(levels[:-2]):
        lines = _lines(out, axis)
        for size in sizes(out.shape[axis], many)[:-1]:
            _split(lines, size, lines.shape[2])
    frames = out.reshape(-1, *out.shape[-2:])
    for height, width in planes(out.shape, levels)[:-1]:
        _along_lines(frames, height, width, False)
        if not of_lines(levels):
            _split(frames, height, width)
    return out


def inverse(coefficients: Array, levels: tuple[int, ...]) -> Array:
    """Values int64 of coefficients."""
    out = np.array(coefficients, np.int64, order="C")
    frames = out.reshape(-1, *out.shape[-2:])
    for height, width in planes(out.shape, levels)[-2::-1]:
        if not of_lines(levels):
            _merge(frames, height, width)
        _along_lines(frames, height, width, True)
    for axis, many in reversed(list(enumerate(levels[:-2]))):
        lines = _lines(out, axis)
        for size in sizes(out.shape[axis], many)[-2::-1]:
            _merge(lines, size, lines.shape[2])
    return out


@lru_cache(maxsize=2)
def steps(shape: tuple[int, ...], levels: tuple[int, ...], step: int) -> Array:
    """int64 quantisation step of every coefficient, in an array that broadcasts to ``shape``."""
    found = np.full((1,) * len(shape), step, np.int64)
    for axis, many in enumerate(levels[:-2]):
        share = np.full(shape[axis], ONE, np.int64)
        for level, size in enumerate(sizes(shape[axis], many)[1:]):
            share[:size], share[size : sizes(shape[axis], many)[level]] = SHARES[level]
        found = _scaled(found, share.reshape(-1, *[1] * (len(shape) - axis - 1)))
    down, across = _plane_shares(shape, levels)
    return np.maximum(_scaled(_scaled(found, down), across), 1)


def sizes(n: int, levels: int) -> list[int]:
    """Extent of the low band along an axis of ``n``: whole, then after each split."""
    found = [n]
    for _ in range(levels):
        found.append((found[-1] + 1) // 2)
    return found


def planes(shape: tuple[int, ...], levels: tuple[int, ...]) -> list[tuple[int, int]]:
    """Extent of the low corner of the plane: whole, then after each split."""
    across = sizes(shape[-1], levels[-1])
    down = [shape[-2]] * len(across) if of_lines(levels) else sizes(shape[-2], levels[-2])
    return list(zip(down, across, strict=True))


def _plane_shares(shape: tuple[int, ...], levels: tuple[int, ...]) -> tuple[Array, Array]:
    """Shares [H, W] of the bands' part along y, and along x, which stands for both where only lines are split."""
    down, across = np.full(shape[-2:], ONE, np.int64), np.full(shape[-2:], ONE, np.int64)
    corners = planes(shape, levels)
    for level in range(levels[-1]):
        (height, width), (h, w) = corners[level : level + 2]
        low, high = SHARES[level]
        if of_lines(levels):
            low, high = low * low >> _ONE_BITS, high * high >> _ONE_BITS
        else:
            down[:h, :width], down[h:height, :width] = low, high
        across[:height, :w], across[:height, w:width] = low, high
    return down, across


def _scaled(numbers: Array, share: Array) -> Array:
    return (numbers * share + ONE // 2) // ONE


def _lines(values: Array, axis: int) -> Array:
    """``values`` as [before, axis, behind]."""
    return values.reshape(int(np.prod(values.shape[:axis])), values.shape[axis], -1)


@numba.njit(cache=True, nogil=True)
def _moved(one: Scalar, two: Scalar, weight: Scalar) -> Scalar:
    """How far two neighbours of this weight move what lies between them."""
    return ((one + two) * weight + _HALF) >> _SHIFT


@numba.njit(cache=True, nogil=True)
def _lift(target: Array, source: Array, weight: int, back: int, sign: int) -> None:
    """Add ``sign`` times the rounded ``weight`` times the two neighbours of each target line, mirrored at the ends.

    Neighbours of target i are the source lines i - ``back`` and i + 1 - ``back``.
    """
    last = source.shape[0] - 1
    for i in range(target.shape[0]):
        one, two = max(i - back, 0), min(i + 1 - back, last)
        for j in range(target.shape[1]):
            target[i, j] += sign * _moved(source[one, j], source[two, j], weight)


@numba.njit(cache=True, nogil=True)
def _split(values: Array, n: int, inner: int) -> None:
    """One level along the middle axis of the corner [outer, n, inner] of ``values`` int64, in place: the low band
    first, the high band behind it."""
    if n < 2:
        return
    half = (n + 1) // 2
    even, odd = np.empty((half, inner), np.int64), np.empty((n - half, inner), np.int64)
    for o in range(values.shape[0]):
        for i in range(n):
            line = odd[i // 2] if i % 2 else even[i // 2]
            for j in range(inner):
                line[j] = values[o, i, j]
        _lift(odd, even, _ALPHA, 0, 1)
        _lift(even, odd, _BETA, 1, 1)
        _lift(odd, even, _GAMMA, 0, 1)
        _lift(even, odd, _DELTA, 1, 1)
        for i in range(n):
            line = even[i] if i < half else odd[i - half]
            for j in range(inner):
                values[o, i, j] = line[j]


@numba.njit(cache=True, nogil=True)
def _merge(values: Array, n: int, inner: int) -> None:
    """Undo ``_split``."""
    if n < 2:
        return
    half = (n + 1) // 2
    even, odd = np.empty((half, inner), np.int64), np.empty((n - half, inner), np.int64)
    for o in range(values.shape[0]):
        for i in range(n):
            line = even[i] if i < half else odd[i - half]
            for j in range(inner):
                line[j] = values[o, i, j]
        _lift(even, odd, _DELTA, 1, -1)
        _lift(odd, even, _GAMMA, 0, -1)
        _lift(even, odd, _BETA, 1, -1)
        _lift(odd, even, _ALPHA, 0, -1)
        for i in range(n):
            line = odd[i // 2] if i % 2 else even[i // 2]
            for j in range(inner):
                values[o, i, j] = line[j]


@numba.njit(cache=True, nogil=True)
def _along_lines(values: Array, height: int, n: int, merging: bool) -> None:
    """What ``_split`` does, or ``_merge``, along the last axis of the corner [F, height, n]."""
    if n < 2:
        return
    half, many = (n + 1) // 2, n // 2
    even, odd = np.empty(half + 1, np.int64), np.empty(half + 1, np.int64)
    for f in range(values.shape[0]):
        for y in range(height):
            line = values[f, y]
            if merging:
                for i in range(half):
                    even[i] = line[i]
                for i in range(many):
                    odd[i + 1] = line[half + i]
                _lift_even(even, odd, many, _DELTA, -1)
                _lift_odd(odd, even, many, _GAMMA, -1)
                _lift_even(even, odd, many, _BETA, -1)
                _lift_odd(odd, even, many, _ALPHA, -1)
                for i in range(many):
                    line[2 * i], line[2 * i + 1] = even[i], odd[i + 1]
                line[2 * half - 2] = even[half - 1]
            else:
                for i in range(many):
                    even[i], odd[i + 1] = line[2 * i], line[2 * i + 1]
                even[half - 1] = line[2 * half - 2]
                _lift_odd(odd, even, many, _ALPHA, 1)
                _lift_even(even, odd, many, _BETA, 1)
                _lift_odd(odd, even, many, _GAMMA, 1)
                _lift_even(even, odd, many, _DELTA, 1)
                for i in range(half):
                    line[i] = even[i]
                for i in range(many):
                    line[half + i] = odd[i + 1]


@numba.njit(cache=True, nogil=True)
def _lift_odd(odd: Array, even: Array, many: int, weight: int, sign: int) -> None:
    """What ``_lift`` does, to the ``many`` odd numbers of a line, which lie from 1 on; both have room for a mirror."""
    even[-1] = even[-2]
    for i in range(many):
        odd[i + 1] += sign * _moved(even[i], even[i + 1], weight)


@numba.njit(cache=True, nogil=True)
def _lift_even(even: Array, odd: Array, many: int, weight: int, sign: int) -> None:
    """The same to the even numbers."""
    odd[0], odd[-1] = odd[1], odd[many]
    for i in range(even.size - 1):
        even[i] += sign * _moved(odd[i], odd[i + 1], weight)
