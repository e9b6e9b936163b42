"""What every peer does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Self

import numpy as np

from aecompress.spec import Array


class Peer(ABC):
    """One compressor in one setting: a layout of the array, a bound, a filter.

    The reader knows the setting, the shape and the dtype for nothing, which flatters peers by some dozen bytes.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def variants(cls, x: Array, bound: float) -> Iterable[Self]:
        """The settings worth trying for ``x`` at an absolute ``bound``; none where the peer does not apply."""

    @abstractmethod
    def compress(self, x: Array) -> list[bytes]:
        """Code ``x``; the size that counts is the sum of the parts."""

    @abstractmethod
    def decompress(self, parts: list[bytes], shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """The array of ``shape`` and ``dtype`` that the parts give back."""

    def at(self, x: Array, bound: float) -> Self:  # noqa: ARG002 - most peers need one of the two
        """The same setting at another bound; itself where the bound plays no part."""
        return self


class UnboundedPeer(Peer):
    """A peer that can reach a mean error, but keeps no bound on single values."""

    @classmethod
    def variants(cls, x: Array, bound: float) -> Iterable[Self]:  # noqa: ARG003 - there is no setting that keeps one
        return ()

    @classmethod
    @abstractmethod
    def settings(cls, x: Array, rmse: float) -> Iterable[Self]:
        """The settings worth trying for a root mean squared error of ``rmse`` on ``x``; some may miss it."""


def as_rows(x: Array) -> Array:
    """``x`` as float32 rows [n, D], NaN and infinities replaced by the mean, which such peers could not carry."""
    rows = np.ascontiguousarray(x.reshape(len(x), -1), np.float32)
    finite = np.isfinite(rows)
    if finite.all():
        return rows
    mean = rows[finite].mean(dtype=np.float64) if finite.any() else 0.0
    return np.where(finite, rows, np.float32(mean))


def as_values(rows: Array, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Undo ``as_rows``; integers are rounded and clipped."""
    if dtype.kind == "f":
        return rows.reshape(shape).astype(dtype)
    limits = np.iinfo(dtype)
    rounded: Array = np.clip(np.rint(rows.astype(np.float64)), limits.min, limits.max)
    return rounded.reshape(shape).astype(dtype)


def are_vectors(x: Array, most: int) -> bool:
    """True if the rows of ``x`` are vectors of numbers, 2 to ``most`` long."""
    return x.ndim > 1 and x.dtype.kind in "fiu" and len(x) > 1 and 2 <= x[0].size <= most
