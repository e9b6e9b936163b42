"""Static frequency tables over tokens, in integers only.

A table stores for each token it knows a *level*: the logarithm of its frequency in quarter octaves. Both sides turn
levels into frequencies that sum to 2^16 with integer roots and divisions, so they agree on every machine. One more
symbol, the escape, has frequency 1 in every table and announces a token the table does not know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aecompress.entropy.tokens import ALPHABET, raw_width
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: log2 of what the frequencies of a table sum to.
PRECISION = 16

#: Entries of the first step of the search for a symbol, by the top bits of its slot.
LOOKUP_BITS = 8

#: Tables are named by uint16 numbers.
_MOST_TABLES = 1 << 16

_TOTAL = (1 << PRECISION) - 1  # the escape takes 1
_ABSENT = -1
_STEPS = 4  # levels an octave
_MOST = PRECISION * _STEPS

# floor(2^(level/4) * 2^8): fourth roots by two integer square roots, exact on every machine
_POWERS = np.array([math.isqrt(math.isqrt(1 << (level + 32))) for level in range(_MOST + 1)], np.int64)


@dataclass(frozen=True)
class Tables:
    """Frequencies of ``S`` tokens and the escape in each of ``T`` tables.

    Attributes:
        levels: int8 [T, S]; -1 where a table does not know the token.
        cumulative: uint32 [T, S + 2]; symbol s of table t owns slots cumulative[t, s] to cumulative[t, s + 1].
        lookup: int16 [T, 256]; the symbol that owns the first slot of each 1/256 of the table.
    """

    levels: Array
    cumulative: Array
    lookup: Array

    @property
    def escape(self) -> int:
        """The symbol that announces an unknown token: the one after the last token."""
        return int(self.levels.shape[1])

    @classmethod
    def from_counts(cls, counts: Array) -> Tables:
        """Fit to ``counts`` [T, tokens]: how often each table met each token."""
        used = np.flatnonzero(counts.any(0))
        width = int(used[-1]) + 1 if used.size else 1
        smooth = counts[:, :width].astype(np.float64)
        share = smooth / np.maximum(smooth.sum(1, keepdims=True), 1.0)
        with np.errstate(divide="ignore"):
            levels = np.rint(_STEPS * np.log2(share * (1 << PRECISION)))
        levels = np.where(smooth > 0, np.clip(levels, 0, _MOST), _ABSENT)
        return cls.from_levels(levels)

    @classmethod
    def from_levels(cls, levels: Array) -> Tables:
        """Rebuild the frequencies from stored levels, integers only. Raises CorruptError for impossible levels."""
        if levels.ndim != 2 or not 1 <= levels.shape[1] <= ALPHABET or not 1 <= len(levels) <= _MOST_TABLES:
            raise CorruptError("The model's frequency tables have an impossible shape; the file is damaged.")
        if levels.min() < _ABSENT or levels.max() > _MOST:
            raise CorruptError("The model's frequency tables hold an impossible level; the file is damaged.")
        levels = levels.astype(np.int8)
        present = levels != _ABSENT
        power = np.where(present, _POWERS[np.maximum(levels, 0)], 0)
        total = np.maximum(power.sum(1, keepdims=True), 1)
        frequency = np.where(present, np.maximum(power * (_TOTAL - levels.shape[1]) // total, 1), 0)
        largest = levels.argmax(1)
        rows = np.arange(len(levels))
        frequency[rows, largest] += _TOTAL - frequency.sum(1)
        full = np.concatenate([frequency, np.ones((len(levels), 1), np.int64)], 1)
        cumulative = np.zeros((len(levels), full.shape[1] + 1), np.uint32)
        cumulative[:, 1:] = full.cumsum(1)
        return cls(levels, cumulative, _lookup(cumulative))

    @property
    def prices(self) -> Array:
        """float64 [T, 256]: bits of every token, escape and raw bits included."""
        escaped = np.full((len(self.levels), ALPHABET), PRECISION + 8.0)
        frequency = np.diff(self.cumulative.astype(np.int64), axis=1)[:, : self.levels.shape[1]]
        known = PRECISION - np.log2(np.maximum(frequency, 1))
        escaped[:, : frequency.shape[1]] = np.where(frequency > 0, known, PRECISION + 8.0)
        widths = np.array([raw_width(token) for token in range(ALPHABET)], np.float64)
        return escaped + widths

    def bits(self, counts: Array) -> float:
        """Bits that tokens with these ``counts`` [T, tokens] cost, escapes included."""
        width = self.levels.shape[1]
        padded = np.zeros((len(counts), max(width, counts.shape[1])), np.int64)
        padded[:, : counts.shape[1]] = counts
        frequency = np.diff(self.cumulative.astype(np.int64), axis=1)[:, :width]
        known = padded[:, :width] * (frequency > 0)
        with np.errstate(divide="ignore"):
            cost = PRECISION - np.log2(np.maximum(frequency, 1))
        return float((known * cost).sum()) + float(padded.sum() - known.sum()) * (PRECISION + 8)


def _lookup(cumulative: Array) -> Array:
    """The symbol of every (2^PRECISION / 256)-th slot."""
    slots = np.arange(0, 1 << PRECISION, 1 << (PRECISION - LOOKUP_BITS))
    return np.stack([np.searchsorted(row, slots, side="right") - 1 for row in cumulative]).astype(np.int16)
