"""Further lattices, for what was written as text or read from a sensor.

* ``FigureLattice``: decimal numbers of few significant figures; q counts them in the order of the values, and what a
  careless parser put beside the nearest float travels apart, in units of the last place (ulps).
* ``KnownLattice``: few different values; q is the rank among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aecompress.spec import Array

#: Floats further from the decimal number than so many ulps are not that number.
MOST_ULPS = 2

#: The last power of ten that is a float64, and all up to it.
MOST_DECIMALS = 22
_TENS = np.array([float(10**n) for n in range(MOST_DECIMALS + 1)])

#: Figures that a float64 holds exactly as a whole number, one spare.
MOST_FIGURES = 15

_LIMIT = 1 << 55


@dataclass(frozen=True)
class FigureLattice:
    """Decimal numbers of up to ``figures`` significant figures and ``decimals`` places behind the point.

    Small numbers are counted in units of 10^-decimals, and from 10^(figures - decimals) on each decade has units ten
    times those of the one before, as a printed number has: q is piecewise linear in the value.

    Attributes:
        dtype: floating.
        figures: 1 to 15.
        decimals: 0 to 22.
        by_powers: True for a number divided by 10, 100, 10^4, 10^8, 10^16 in turn, those that its decimals add up from,
            without zeros at its end: as fast parsers of text do, pandas' among them; else it is one quotient.
    """

    dtype: np.dtype[Any]
    figures: int
    decimals: int
    by_powers: bool

    def quantize(self, values: Array) -> Array:
        """Values that are not finite or too large give 0."""
        size = np.abs(np.where(np.isfinite(values), values, 0)).astype(np.float64)
        _, binary = np.frexp(size)
        decade = np.floor((binary - 1) * np.log10(2.0)).astype(np.int64) + 1 - (self.figures - self.decimals)
        # decades above the lowest: right or one too few
        many = np.where(size > 0, np.clip(decade, 0, self.decimals + MOST_DECIMALS), 0)
        most = 10.0**self.figures
        whole = self._scaled(size, many)
        low = whole >= most
        many = np.minimum(many + low, self.decimals + MOST_DECIMALS)
        whole = np.where(low, self._scaled(size, many), whole)
        q = np.where(whole < most, whole, 0).astype(np.int64) + many * self._decade
        return np.where((whole < most) & (q < _LIMIT), np.where(np.signbit(values), -q, q), 0)

    def dequantize(self, q: Array) -> Array:
        """The floats of the decimal numbers."""
        size = np.abs(q)
        many = np.clip((size - self._decade // 9) // self._decade, 0, self.decimals + MOST_DECIMALS)
        whole, places = size - many * self._decade, self.decimals - many
        exact = self._quotients(whole, places) if self.by_powers else _quotient(whole.astype(np.float64), places)
        with np.errstate(over="ignore"):
            return np.asarray(np.where(q < 0, -exact, exact).astype(self.dtype))

    def ulps(self, values: Array, decoded: Array) -> Array:
        """int64: by how many floats values lie beyond those decoded, seen from 0; MOST_ULPS + 1 if by more or if the
        signs differ."""
        beyond = self._patterns(values) - self._patterns(decoded)
        far = (np.abs(beyond) > MOST_ULPS) | (np.signbit(values) != np.signbit(decoded)) | ~np.isfinite(values)
        return np.where(far, MOST_ULPS + 1, beyond)

    def moved(self, decoded: Array, ulps: Array) -> Array:
        """What lies that many floats beyond those decoded."""
        width = self.dtype.itemsize
        patterns = np.maximum(self._patterns(decoded) + ulps, 0).astype(f"u{width}")
        return np.copysign(patterns.view(self.dtype), decoded)

    @property
    def _decade(self) -> int:
        """Numbers of the full number of figures that begin with 1 to 9."""
        return 9 * int(10 ** (self.figures - 1))

    def _scaled(self, size: Array, many: Array) -> Array:
        places = self.decimals - many
        with np.errstate(over="ignore"):
            return np.rint(np.where(places >= 0, size * _tens(places), size / _tens(-places)))

    def _quotients(self, whole: Array, places: Array) -> Array:
        for _ in range(self.figures):
            zero = (whole % 10 == 0) & (places > 0) & (whole > 0)
            if not zero.any():
                break
            whole, places = np.where(zero, whole // 10, whole), places - zero
        exact = whole.astype(np.float64)
        for bit in range(5):
            exact = np.where((places > 0) & (places >> bit & 1 > 0), exact / _TENS[1 << bit], exact)
        return np.where(places < 0, exact * _tens(-places), exact)

    def _patterns(self, values: Array) -> Array:
        """int64: bits of the magnitudes."""
        return np.abs(values).view(f"i{self.dtype.itemsize}").astype(np.int64)


@dataclass(frozen=True)
class KnownLattice:
    """Values of which there are few: q is the rank among them.

    Attributes:
        dtype: floating, or integer but not bool.
        known: [sum of counts], the values that there are for each index of the last axis, one after the other, in
            ascending order.
        counts: int64 [n], how many for each, 1 or more; [1] where all share one list.
    """

    dtype: np.dtype[Any]
    known: Array
    counts: Array

    def quantize(self, values: Array) -> Array:
        """Values that are not known get the rank of the nearest one."""
        if len(self.counts) == 1:
            return _nearest(self.known, values)
        q = np.empty(values.shape, np.int64)
        for i, (start, count) in enumerate(zip(self._starts, self.counts, strict=True)):
            q[..., i] = _nearest(self.known[start : start + count], values[..., i])
        return q

    def dequantize(self, q: Array) -> Array:
        return np.asarray(self.known[self._starts + np.clip(q, 0, self.counts - 1)])

    @property
    def _starts(self) -> Array:
        return np.cumsum(self.counts) - self.counts


def _nearest(known: Array, values: Array) -> Array:
    """int64 ranks among ``known``, ascending."""
    values = np.clip(values, known[0], known[-1])
    above = np.minimum(np.searchsorted(known, values), len(known) - 1)
    below = np.maximum(above - 1, 0)
    nearer = (values != known[above]) & (beyond(values, known[below]) < beyond(known[above], values))
    return np.where(nearer, below, above)


def beyond(values: Array, least: Array) -> Array:
    """How far values lie above others that are not greater: float64 of floats, NaN of NaN, uint64 of integers."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):  # signalling NaN, and differences of the greatest
            return values.astype(np.float64) - least.astype(np.float64)
    return (values - least).view(f"u{values.dtype.itemsize}").astype(np.uint64)  # wraps to what is right, unsigned


def _tens(exponents: Array) -> Array:
    """10 to these powers, those outside of 0 to 22 clipped."""
    return _TENS[np.clip(exponents, 0, MOST_DECIMALS)]


def _quotient(whole: Array, places: Array) -> Array:
    return np.where(places >= 0, whole / _tens(places), whole * _tens(-places))
