"""Channels in units of their own spread, turned so that they are uncorrelated; and back.

A rotation leaves noise that is equal and independent in all channels as it is, while the signal gathers in few of them:
for colours, in brightness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aecompress.errors import ModelError
from aecompress.normalize import Float64s
from aecompress.spec import Array


@dataclass(frozen=True)
class Units:
    """An affine map of the last axis.

    Attributes:
        centre, scale: float64 [C].
        rotation: float64 [C, C], orthonormal.
    """

    centre: Float64s
    scale: Float64s
    rotation: Float64s

    def __post_init__(self) -> None:
        channels = len(self.centre)
        if self.scale.shape != (channels,) or self.rotation.shape != (channels, channels):
            raise ModelError("The units of the channels do not belong together; the model is damaged.")
        if not (np.isfinite(self.centre).all() and np.isfinite(self.rotation).all() and (self.scale > 0).all()):
            raise ModelError("The units of the channels are no numbers; the model is damaged.")

    @property
    def channels(self) -> int:
        return len(self.centre)

    def forward(self, values: Array, known: Array) -> Array:
        """Float32 [..., C] of values [..., C]; what is not known counts as the centre."""
        apart = np.where(known, values, self.centre) - self.centre
        turned: Array = (apart / self.scale @ self.rotation).astype(np.float32)
        return turned

    def difference(self, turned: Array) -> Float64s:
        """A difference float [..., C] in these units as one in the data's."""
        found: Float64s = turned.astype(np.float64) @ self.rotation.T * self.scale
        return found

    def noise(self, deviation: float) -> Float64s:
        """Float64 [C]: standard deviation, in these units, of independent noise of one deviation in all channels."""
        found: Float64s = np.sqrt(np.square(deviation / self.scale) @ np.square(self.rotation))
        return found

    def tensors(self) -> dict[str, Array]:
        return {"centre": self.centre, "scale": self.scale, "rotation": self.rotation}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Units:
        """The reverse; raises KeyError or ModelError."""
        return cls(*(tensors[name].astype(np.float64) for name in ("centre", "scale", "rotation")))

    @classmethod
    def of(cls, blocks: Sequence[tuple[Array, Array]]) -> Units:
        """Measured on blocks (values, known), each [..., C]; only places where all channels are known count."""
        values = np.concatenate([block[known.all(-1)].astype(np.float64) for block, known in blocks])
        centre, scale = values.mean(0), values.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        _, rotation = np.linalg.eigh(np.cov(((values - centre) / scale).T).reshape(len(centre), -1))
        return cls(centre, scale, np.ascontiguousarray(rotation[:, ::-1]))
