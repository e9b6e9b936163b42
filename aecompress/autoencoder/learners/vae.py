"""``vae``: latents are distributions, held near a prior that new rows can be drawn from (Kingma and Welling 2014).

    loss = error + bit * beta * KL(N(mean, deviation^2) || N(0, width^2))

``width`` of each latent is learned. A posterior of deviation d is as coarse as rounding with a step of sqrt(12) d, so
that is the step a latent gets when means are quantised: what the loss could not tell apart, the archive does not store.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aecompress.autoencoder.learners.base import silent
from aecompress.autoencoder.learners.residual import Residual
from aecompress.normalize import Float64s

# least and greatest step of a latent, in those that were asked for
_FINEST, _COARSEST = 0.25, 64.0


class Variational(Residual):
    """The evidence lower bound, with the weight ``beta`` of its second term."""

    def __init__(self, basis: Float64s, deviation: Float64s, *args: Any, beta: float) -> None:
        super().__init__(basis, deviation, *args)
        self._beta = beta
        start = self.step / math.sqrt(12)
        self.log_width = nn.Parameter(torch.from_numpy(np.log(np.hypot(deviation, start))).float())
        self.log_deviation = nn.Parameter(torch.full((len(deviation),), math.log(start)))
        self.of_row = silent(nn.Linear(len(basis), len(deviation)))

    def loss(self, rows: Tensor) -> Tensor:
        mean, log_deviation = self.encode(rows), self._log_deviations(rows)
        drawn = mean + torch.exp(log_deviation) * torch.randn_like(mean)
        error = self.criterion.error(self.decode(drawn), rows)
        share = torch.exp(2 * (log_deviation - self.log_width)) + (mean * torch.exp(-self.log_width)).square()
        bits = (self.log_width - log_deviation + 0.5 * share - 0.5).sum() / (len(rows) * math.log(2))
        return error + self._beta * self.criterion.bit * bits / rows.shape[1]

    def steps(self, rows: Tensor) -> Tensor:
        coarseness = math.sqrt(12) * torch.exp(self._log_deviations(rows)).square().mean(0).sqrt() / self.step
        return self.step * coarseness.clamp(_FINEST, _COARSEST)

    def _log_deviations(self, rows: Tensor) -> Tensor:
        found: Tensor = self.log_deviation + self.of_row(rows)
        return found
