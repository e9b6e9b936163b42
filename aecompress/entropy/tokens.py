"""Signed integers of any size as tokens of a small alphabet plus raw bits.

    integer --zigzag--> u --token--> one of 256 tokens (entropy coded) + raw bits (sent as they are)

u < 16 is its own token; above that a token names the octave of u and its next two bits, and the rest follow raw
(the hybrid integers of JPEG XL, ISO/IEC 18181-1 annex C, with split exponent 4 and two most significant bits).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from aecompress.entropy.loops import inlined, loop
from aecompress.spec import Array

#: A machine integer inside a compiled loop: np.int64 or np.uint64.
Scalar = Any

#: Number of tokens: 16 direct ones and four for each octave of a 64-bit integer.
ALPHABET = 256

_ONE = np.uint64(1)


@inlined
def zigzag(value: Scalar) -> Scalar:
    """int64 to uint64: 0, -1, 1, -2, 2 ... become 0, 1, 2, 3, 4 ..."""
    return np.uint64((np.int64(value) << np.int64(1)) ^ (np.int64(value) >> np.int64(63)))


@inlined
def unzigzag(u: Scalar) -> Scalar:
    """uint64 back to int64."""
    half = np.int64(np.uint64(u) >> _ONE)
    return half ^ -np.int64(np.uint64(u) & _ONE)


@intrinsic
def _leading_zeros(_context: Any, _number: Any) -> Any:
    """The processor's own count of leading zeros of a uint64: 64 for 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@intrinsic
def _trailing_zeros(_context: Any, _number: Any) -> Any:
    """The processor's own count of trailing zeros of a uint64: 64 for 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@inlined
def trailing_zeros(u: Scalar) -> Scalar:
    """Number of zero bits below the lowest one of a uint64: 64 for 0."""
    return np.int64(_trailing_zeros(np.uint64(u)))


@inlined
def bit_length(u: Scalar) -> Scalar:
    """Number of bits of a uint64: 0 for 0, 64 for 2^63 and more."""
    return np.int64(64) - np.int64(_leading_zeros(np.uint64(u)))


@inlined
def token_of(u: Scalar) -> Scalar:
    """Token of a uint64."""
    u = np.uint64(u)
    if u < np.uint64(16):
        return np.int64(u)
    n = bit_length(u)
    return np.int64(16) + (n - np.int64(5)) * np.int64(4) + np.int64((u >> np.uint64(n - 3)) & np.uint64(3))


@inlined
def raw_width(token: Scalar) -> Scalar:
    """Number of raw bits that follow a token."""
    if token < 16:
        return np.int64(0)
    return (np.int64(token) - np.int64(16)) // np.int64(4) + np.int64(2)


@inlined
def token_floor(token: Scalar) -> Scalar:
    """The least uint64 with this token; adding the raw bits gives the value."""
    if token < 16:
        return np.uint64(token)
    width = raw_width(token)
    top = np.uint64(4) + np.uint64((np.int64(token) - np.int64(16)) & np.int64(3))
    return top << np.uint64(width)


def fold(values: Array) -> Array:
    """uint64, the zigzag of each of int64 ``values``."""
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def unfold(folded: Array) -> Array:
    """Undo ``fold``, of unsigned integers of any width."""
    wide = folded.astype(np.uint64).view(np.int64)
    return (wide >> 1) ^ -(wide & 1)


def tokenized(folded: Array) -> Array:
    """uint8, the token of each uint64; same shape."""
    out = np.empty(folded.size, np.uint8)
    _tokenize(folded.reshape(-1), out)
    return out.reshape(folded.shape)


@loop
def _tokenize(folded: Array, out: Array) -> None:
    for i in range(folded.size):
        out[i] = token_of(folded[i])
