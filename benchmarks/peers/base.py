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
