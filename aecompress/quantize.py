"""Values to lattice integers and back, within a bound.

A lattice cuts the value axis into cells; every value of a cell comes back as the cell's middle.

* ``FloatLattice``: any dtype, cells of width ``step``; x_hat = q * step, one correctly rounded product in float64.
* ``IntegerLattice``: integers, cells of an odd whole width; step 1 is lossless. Both may be moved by a ``phase``.
* ``BitLattice``: floats without loss; q is the bit pattern, ordered as the values are.
* ``FixedLattice``: floats without loss; q is the fixed-point part, and the bits below it travel apart.
* ``DecimalLattice``: floats that are decimal numbers, without loss; q counts units of the last decimal.

The bound is promised for what comes back in the user's dtype, so ``FloatLattice.quantize`` leaves it to the caller
to compare ``dequantize(q)`` with the original and to keep aside what does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from aecompress.spec import Array

#: Lattice integers stay below this, which leaves the context coder room for its arithmetic.
LIMIT = 1 << 55

# Bits of the largest fixed-point integer, and the first whole number that float64 cannot tell from its neighbour.
_FIXED_BITS = 54
_DECIMALS = 2.0**53

#: Parts of a cell that a phase counts in.
PHASES = 16

#: Low bits that are kept apart when 64-bit values do not fit the limit.
WIDE_BITS = 16


class Lattice(Protocol):
    """Both directions of a quantiser."""

    def quantize(self, values: Array) -> Array:
        """int64 lattice integers of ``values``."""
        ...

    def dequantize(self, q: Array) -> Array:
        """Values of lattice integers, in the user's dtype."""
        ...


@dataclass(frozen=True)
class FloatLattice:
    """Cells of width ``step``.

    Attributes:
        dtype: any; integers are rounded to the nearest and clipped to their range.
        step: float64 scalar, or an array that broadcasts over a block; greater than 0.
        phase: int64 as ``step``: how far the middles of cells lie above whole steps, in 1/PHASES of one.
    """

    dtype: np.dtype[Any]
    step: Array
    phase: Array | None = None

    def quantize(self, values: Array) -> Array:
        """Nearest cell; values that are not finite or too large give 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = values.astype(np.float64) / self.step
            scaled = np.rint(scaled if self.phase is None else scaled - self.phase / PHASES)
            fits = np.abs(scaled) < LIMIT  # False for NaN
        return np.where(fits, scaled, 0.0).astype(np.int64)

    def dequantize(self, q: Array) -> Array:
        with np.errstate(over="ignore"):
            if self.phase is None:
                exact = q.astype(np.float64) * self.step
            else:
                exact = (q * PHASES + self.phase).astype(np.float64) * (self.step / PHASES)
            return np.asarray(exact.astype(self.dtype)) if self.dtype.kind == "f" else round_to(exact, self.dtype)


@dataclass(frozen=True)
class IntegerLattice:
    """Cells of an odd whole width over an integer or bool dtype.

    Attributes:
        dtype: the integer dtype, or bool.
        step: int64 scalar or array that broadcasts over a block: 2 e + 1 for a bound of e.
        phase: as that of ``FloatLattice``, rounded down to whole numbers.
    """

    dtype: np.dtype[Any]
    step: Array
    phase: Array | None = None

    def quantize(self, values: Array) -> Array:
        """Nearest cell, without overflow: floor division, then up if the rest is more than half a cell."""
        q, rest = np.divmod(_centred(values) - self._moved, self.step)
        return q + (rest > self.step // 2)

    def dequantize(self, q: Array) -> Array:
        return _uncentred(q * self.step + self._moved, self.dtype)

    @property
    def _moved(self) -> Array | int:
        if self.phase is None:
            return 0
        parts, rest = np.divmod(self.step, PHASES)  # for wide cells times a phase may leave int64
        return parts * self.phase + rest * self.phase // PHASES


@dataclass(frozen=True)
class BitLattice:
    """Bit patterns of floats as integers in the order of the values: -NaN < -Inf < -1 < -0.0 < 0.0 < 1 < Inf < NaN."""

    dtype: np.dtype[Any]

    def quantize(self, values: Array) -> Array:
        bits = values.view(self._integer)
        # a negative float's magnitude bits count downwards
        ordered = np.where(bits < 0, bits ^ self._integer.type(np.iinfo(self._integer).max), bits)
        return ordered.astype(np.int64)

    def dequantize(self, q: Array) -> Array:
        ordered = q.astype(self._integer)
        bits = np.where(ordered < 0, ordered ^ self._integer.type(np.iinfo(self._integer).max), ordered)
        return bits.view(self.dtype)

    @property
    def _integer(self) -> np.dtype[Any]:
        return np.dtype(f"i{self.dtype.itemsize}")


def exact_lattice(dtype: np.dtype[Any]) -> BitLattice | IntegerLattice:
    """The lattice that holds every value of a dtype."""
    return BitLattice(dtype) if dtype.kind == "f" else IntegerLattice(dtype, np.asarray(1))


@dataclass(frozen=True)
class FixedLattice:
    """Fixed point: q is what a float holds in whole units of 2^exponent, towards 0.

    Floats crowd around 0, so patterns of bits jump where values change sign; fixed point keeps neighbours close. A
    mantissa of ``precision`` bits reaches below the unit where the value is small. How far follows from q alone, so
    these bits, the *remainder*, need no context and no length.

    Attributes:
        dtype: floating.
        exponent: log2 of the unit.
        precision: significant bits of the values; one with more does not come back and is for the caller to find.
    """

    dtype: np.dtype[Any]
    exponent: int
    precision: int

    def quantize(self, values: Array) -> Array:
        """Values that are not finite, or of less than a unit, or beyond 2^54 units, give 0."""
        mantissa, shift = self._scaled(values)
        size = np.where(shift >= 0, mantissa >> np.clip(shift, 0, 63), mantissa << np.clip(-shift, 0, 63))
        fits = shift >= self.precision - _FIXED_BITS
        return np.where(fits, np.where(np.signbit(values), -size, size), 0)

    def remainders(self, values: Array) -> Array:
        """uint64: the bits of each value below the unit, ``widths`` of them."""
        mantissa, shift = self._scaled(values)
        below = np.clip(shift, 0, 63)
        return (mantissa & ((np.int64(1) << below) - 1)).astype(np.uint64)

    def widths(self, q: Array) -> Array:
        """int64: how many bits of a mantissa lie below the unit; none where q is 0."""
        return np.where(q == 0, 0, np.maximum(self.precision - _bit_length(np.abs(q)), 0))

    def dequantize(self, q: Array) -> Array:
        """Values without their remainders."""
        return self.restore(q, np.zeros(q.shape, np.uint64))

    def restore(self, q: Array, remainders: Array) -> Array:
        """Values of both parts; every step is exact."""
        below = self.widths(q)
        size = (np.abs(q) << below) | remainders.astype(np.int64)
        with np.errstate(over="ignore", under="ignore"):
            exact = np.ldexp(np.where(q < 0, -size, size).astype(np.float64), self.exponent - below)
            return np.asarray(exact.astype(self.dtype))

    def _scaled(self, values: Array) -> tuple[Array, Array]:
        """(int64 mantissas of ``precision`` bits, bits of each below the unit)."""
        share, exponent = np.frexp(np.abs(np.where(np.isfinite(values), values, 0)).astype(np.float64))
        mantissa = np.ldexp(share, self.precision).astype(np.int64)
        return mantissa, self.exponent - (exponent.astype(np.int64) - self.precision)


@dataclass(frozen=True)
class DecimalLattice:
    """Floats that were decimal numbers: x_hat = q / 10^digits, one correctly rounded quotient in float64.

    Attributes:
        dtype: floating.
        digits: decimals behind the point, 0 to 22, for 10^22 is the last power that is a float64.
    """

    dtype: np.dtype[Any]
    digits: int

    def quantize(self, values: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.rint(values.astype(np.float64) * 10.0**self.digits)
            fits = np.abs(scaled) < _DECIMALS  # False for NaN
        return np.where(fits, scaled, 0.0).astype(np.int64)

    def dequantize(self, q: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray((q.astype(np.float64) / 10.0**self.digits).astype(self.dtype))


def _bit_length(whole: Array) -> Array:
    """Bits of int64 numbers from 0 below 2^55; a float64 of more than 53 could round up to the next power."""
    _, exponent = np.frexp((whole >> 16).astype(np.float64))
    _, short = np.frexp(whole.astype(np.float64))
    return np.where(whole >> 16 > 0, exponent + 16, short).astype(np.int64)


def round_to(exact: Array, dtype: np.dtype[Any]) -> Array:
    """float64 values to the nearest integer of ``dtype``, clipped to its range."""
    if dtype.kind == "b":
        return exact >= 0.5
    info = np.iinfo(dtype)
    # the largest 64-bit integers are no float64; the next float64 below them is
    top = float(info.max) if info.bits < 64 else np.nextafter(float(info.max), 0.0)
    return np.asarray(np.clip(np.rint(exact), float(info.min), top).astype(dtype))


def _centred(values: Array) -> Array:
    """Any integer dtype as int64, order kept: uint64 is shifted by 2^63."""
    if values.dtype == np.uint64:
        return (values ^ np.uint64(1 << 63)).view(np.int64)
    return values.astype(np.int64)


def _uncentred(whole: Array, dtype: np.dtype[Any]) -> Array:
    """Undo ``_centred``; what leaves the dtype's range (half a cell beyond its ends) is clipped to it."""
    if dtype == np.uint64:
        return whole.view(np.uint64) ^ np.uint64(1 << 63)
    if dtype == np.int64:
        return whole
    if dtype.kind == "b":
        return whole != 0
    info = np.iinfo(dtype)
    return np.clip(whole, info.min, info.max).astype(dtype)


def safe_integers(values: Array, step: Array) -> bool:
    """True if cells of ``step`` around ``values`` stay within int64."""
    if not values.size or values.dtype.itemsize < 8:
        return True
    whole = _centred(values)
    room = (1 << 62) - 1
    return int(whole.min()) > -room and int(whole.max()) < room and int(np.max(step)) < room


def split_wide(q: Array) -> tuple[Array, Array | None]:
    """Integers beyond LIMIT as (high part, low 16 bits); others as they are with None."""
    if not q.size or (int(q.min()) > -LIMIT and int(q.max()) < LIMIT):
        return q, None
    return q >> WIDE_BITS, q & ((1 << WIDE_BITS) - 1)


def join_wide(high: Array, low: Array | None) -> Array:
    """Undo ``split_wide``."""
    return high if low is None else (high << WIDE_BITS) | low
