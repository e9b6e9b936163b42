"""The unit of random access: a batch of rows coded together."""

from __future__ import annotations

from dataclasses import dataclass

from aecompress.metrics import Distortion, Similarity


@dataclass(frozen=True)
class Block:
    """One coded block.

    Attributes:
        start: its first row.
        rows: number of rows, 1 or more.
        payload: coded bytes, opaque here.
        method: short name of the candidate that won: ``lattice``, ``autoencoder``, ``lossless``, ...
        distortion: error of its values.
        similarity: of its rows, where the target asks for it; parts do not keep it.
    """

    start: int
    rows: int
    payload: bytes
    method: str
    distortion: Distortion
    similarity: Similarity | None = None

    @property
    def stop(self) -> int:
        """The row after its last."""
        return self.start + self.rows
