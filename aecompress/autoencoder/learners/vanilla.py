"""``vanilla``: rate + lambda * distortion, with the quantiser's noise in the loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aecompress.autoencoder.learners.base import LogisticRate
from aecompress.autoencoder.learners.residual import Residual
from aecompress.normalize import Float64s


class Vanilla(Residual):
    """Learns for rounded latents: uniform noise stands for rounding (Balle, Laparra and Simoncelli 2017)."""

    def __init__(self, basis: Float64s, deviation: Float64s, *args: Any) -> None:
        super().__init__(basis, deviation, *args)
        self.rate = LogisticRate(deviation / self.step)

    def loss(self, rows: Tensor) -> Tensor:
        """Error a value, and bits at what they are worth of it."""
        return self.taught(self.encode(rows), rows)

    def taught(self, y: Tensor, wanted: Tensor) -> Tensor:
        """The loss of latents that should come back as ``wanted``."""
        noisy = y + self.step * (torch.rand_like(y) - 0.5)
        error = self.criterion.error(self.decode(noisy), wanted)
        return error + self.criterion.bit * self.rate(noisy / self.step) / wanted.shape[1]
