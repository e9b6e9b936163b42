"""Blocks of integers that a context model is fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aecompress.spec import Array


@dataclass(frozen=True)
class Sample:
    """One block to learn from: ``q`` int64 [rows, ...], ``coded`` bool, ``reference`` int64 or None."""

    q: Array
    coded: Array
    reference: Array | None = None

    def flat(self) -> Array:
        """A flat copy of ``q`` with the reference behind it."""
        parts = [self.q] if self.reference is None else [self.q, self.reference]
        return np.concatenate([part.reshape(-1) for part in parts])

    def crop(self, values: int) -> Sample:
        """A corner of about ``values`` values that keeps a few indices of every leading axis."""
        cut: list[slice] = []
        for axis, n in enumerate(self.q.shape):
            inner = math.prod(self.q.shape[axis + 1 :])
            keep = min(n, max(4, values // max(inner, 1)))
            cut.append(slice(0, keep))
            values = max(values // keep, 1)
        index = tuple(cut)
        reference = None if self.reference is None else np.ascontiguousarray(self.reference[index])
        return Sample(
            np.ascontiguousarray(self.q[index]),
            np.ascontiguousarray(self.coded[index]),
            reference,
        )
