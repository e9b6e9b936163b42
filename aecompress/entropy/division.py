"""Whole quotients and roots of int64 by way of float64: many processors divide integers of 64 bits several times as
slowly."""

from __future__ import annotations

import numpy as np

from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar


@inlined(error_model="numpy")
def quotient(number: Scalar, by: Scalar) -> Scalar:
    """Whole part of ``number / by``, of 0 ... 2^53 by 1 ... 2^53.

    Exact, for rounding does not bridge the gap: a quotient that is no whole number is at least 1 / by below the next.
    """
    return np.int64(np.float64(number) / np.float64(by))


@inlined(error_model="numpy")
def floored(number: Scalar, by: Scalar) -> Scalar:
    """``number // by`` of int64, ``by`` from 1 on, where that is within +-2^48: what rounding is off is made good."""
    near = np.int64(np.floor(np.float64(number) / np.float64(by)))
    rest = number - near * by
    return near + (rest >= by) + (rest >> np.int64(63))


@inlined(error_model="numpy")
def divided(number: Scalar, by: Scalar) -> tuple[Scalar, Scalar]:
    """``floored`` and what is left, of a number from 0 on, for a chain of numbers that each wait for the one before:
    nothing but a product of float64 does, for the reciprocals are there in time."""
    near = np.int64(np.float64(number) * (np.float64(1.0) / np.float64(by)))
    rest = number - near * by
    off = np.int64(rest >= by) + (rest >> np.int64(63))
    return near + off, rest - off * by


@loop
def root_of(square: Scalar) -> Scalar:
    """Whole part of the square root of an int64, 0 ... 2^62 - 1."""
    root = np.int64(np.sqrt(np.float64(square)))
    while root * root > square:
        root -= 1
    while (root + 1) * (root + 1) <= square:
        root += 1
    return root
