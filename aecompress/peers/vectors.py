"""Faiss: the quantisers of a vector index as compressors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from aecompress.peers.base import UnboundedPeer, are_vectors, as_rows, as_values
from aecompress.spec import Array

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its generated classes name no module
    import faiss

#: Longer rows take minutes to train on.
MOST_VALUES = 2048

#: Product quantisers learn 256 centroids a part, from 39 rows each or more.
_ROWS_TO_LEARN = 39 * 256


@dataclass(frozen=True)
class Faiss(UnboundedPeer):
    """An index that only codes: ``SQ8`` takes a byte a value, ``PQ16`` 16 bytes a row; its tables count."""

    name = "faiss"
    factory: str

    @classmethod
    def settings(cls, x: Array, rmse: float) -> Iterator[Self]:  # noqa: ARG003 - there are few, all are tried
        if not are_vectors(x, MOST_VALUES):
            return
        size = x[0].size
        if len(x) >= _ROWS_TO_LEARN:
            yield from (cls(f"PQ{size // width}") for width in (8, 4, 2) if size % width == 0)
        yield from (cls(f"SQ{bits}") for bits in ("4", "6", "8", "fp16"))

    def compress(self, x: Array) -> list[bytes]:
        rows = as_rows(x)
        index = faiss.index_factory(rows.shape[1], self.factory)
        index.train(rows)
        return [faiss.serialize_index(index).tobytes(), index.sa_encode(rows).tobytes()]

    def decompress(self, parts: list[bytes], shape: tuple[int, ...], dtype: np.dtype) -> Array:
        index = faiss.deserialize_index(np.frombuffer(parts[0], np.uint8))
        codes = np.frombuffer(parts[1], np.uint8).reshape(shape[0], -1)
        return as_values(index.sa_decode(codes), shape, dtype)
