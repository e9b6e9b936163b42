"""Blocks of integers that a context model is fitted to or codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aecompress.spec import Array

#: Bits below the point of predictions, errors and what a regression makes.
FRACTION = 4


@dataclass(frozen=True)
class Sample:
    """One block, and what else both sides know of it.

    Attributes:
        q: int64 [rows, ...]; ``coded`` bool, same shape.
        reference: int64, same shape, an estimate of all that is known beforehand; or None.
        made: int64, same shape, in 1/2^FRACTION, what a regression or relations expect of each value when its turn
            comes; or None. It takes the place of a reference.
        told: for each entry of the last axis, whether what is made says something of it; empty if all does.
    """

    q: Array
    coded: Array
    reference: Array | None = None
    made: Array | None = None
    told: tuple[bool, ...] = ()

    @property
    def has_reference(self) -> bool:
        """True if something lies behind ``q`` in ``flat``."""
        return self.reference is not None or self.made is not None

    def flat(self) -> Array:
        """A flat copy of ``q`` with the reference behind it, that which is made in whole cells."""
        parts = [self.q]
        if self.reference is not None:
            parts.append(self.reference)
        elif self.made is not None:
            parts.append(whole(self.made))
        return np.concatenate([np.asarray(part, np.int64).reshape(-1) for part in parts])

    def fine(self) -> Array:
        """int8, flat: what is made beyond its whole cells; nothing if nothing is made."""
        if self.made is None:
            return np.empty(0, np.int8)
        return (self.made - (whole(self.made) << FRACTION)).astype(np.int8).reshape(-1)

    def rows(self, start: int, many: int) -> Sample:
        """So many rows from one on."""
        kept = slice(start, start + many)
        reference, made = (None if part is None else part[kept] for part in (self.reference, self.made))
        return replace(self, q=self.q[kept], coded=self.coded[kept], reference=reference, made=made)

    def crop(self, values: int) -> Sample:
        """About ``values`` values from the middle, a few indices of every leading axis: margins often hold little."""
        cut: list[slice] = []
        for axis, n in enumerate(self.q.shape):
            inner = math.prod(self.q.shape[axis + 1 :])
            keep = min(n, max(4, values // max(inner, 1)))
            cut.append(slice((n - keep) // 2, (n - keep) // 2 + keep))
            values = max(values // keep, 1)
        index = tuple(cut)
        reference, made = (
            None if part is None else np.ascontiguousarray(part[index]) for part in (self.reference, self.made)
        )
        return Sample(
            np.ascontiguousarray(self.q[index]), np.ascontiguousarray(self.coded[index]), reference, made, self.told
        )


def chosen(samples: Sequence[Sample], values: int, rng: np.random.Generator) -> Iterator[tuple[Sample, Array]]:
    """The samples, and bool [n] which of their values are looked at: about so many of all, at random places."""
    share = min(1.0, values / sum(s.q.size for s in samples))
    for s in samples:
        yield s, rng.random(s.q.size) < share


def whole(made: Array) -> Array:
    """The nearest whole cells of numbers in 1/2^FRACTION."""
    return (made + (1 << (FRACTION - 1))) >> FRACTION
