"""PCA, and what is learned beside it: a linear and a ReLU path each way, whose outputs start at zero.

    y = V'x + scale * (E x + e(x))           x_hat = V y + scale * (G y + g(y))

So training starts at PCA's quality and only improves. Members differ in what they minimise.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aecompress.autoencoder.learners.base import Learner, Path, dense, entropy, layer, layers, silent
from aecompress.autoencoder.learners.criteria import Criterion
from aecompress.normalize import Float64s


class Residual(Learner):
    """PCA and what is learned on top, for latents quantised at ``step``.

    Args:
        basis: float64 [D, K] orthonormal columns.
        deviation: float64 [K] of the latents, in normalised units.
        hidden: widths of the synthesis path's hidden layers; analysis has them in reverse.
        step: the latents' quantisation step, in normalised units.
        criterion: of reconstructions.
    """

    def __init__(
        self, basis: Float64s, deviation: Float64s, hidden: tuple[int, ...], step: float, criterion: Criterion
    ) -> None:
        super().__init__()
        row_size, latent_dim = basis.shape
        self.basis: Tensor
        self.width: Tensor
        self.register_buffer("basis", torch.from_numpy(basis).float())
        # Latents as large as their signal or their noise, whichever is greater, come to about one.
        self.register_buffer("width", torch.from_numpy(np.hypot(deviation, step)).float())
        self.step, self.criterion = step, criterion
        # Adam moves every output at one speed: a finer step needs a slower one, but (as measured) not in proportion.
        self.scale = 1.5 * math.sqrt(step)
        self.encode_linear = silent(nn.Linear(row_size, latent_dim))
        self.encode_curved = dense(row_size, hidden[::-1], latent_dim)
        self.decode_linear = silent(nn.Linear(latent_dim, row_size))
        self.decode_curved = dense(latent_dim, hidden, row_size)

    def encode(self, x: Tensor) -> Tensor:
        y: Tensor = functional.linear(x, *self._analysis) + self.scale * self.encode_curved(x)
        return y

    def decode(self, y: Tensor) -> Tensor:
        x: Tensor = functional.linear(y, *self._synthesis) + self.scale * self.decode_curved(y / self.width)
        return x

    def steps(self, rows: Tensor) -> Tensor | float:
        """Step of each latent [K], or of all, that suits ``rows``."""
        del rows
        return self.step

    def penalty(self, levels: Tensor) -> float:
        """Bits a row that the loss counts beside the rate, for latents [n, K] in whole steps."""
        del levels
        return 0.0

    def score(self, rows: Tensor) -> float:
        """The loss with latents rounded, and their rate measured as each latent's entropy over ``rows``."""
        return self.judged(rows, rows)

    def judged(self, seen: Tensor, wanted: Tensor) -> float:
        """The score of ``seen`` rows that should come back as ``wanted``."""
        steps = self.steps(seen)
        levels = torch.round(self.encode(seen) / steps)
        error = self.criterion.error(self.decode(levels * steps), wanted).item()
        bits = entropy(levels.cpu().numpy()) + self.penalty(levels)
        return error + self.criterion.bit * bits / wanted.shape[1]

    def paths(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """(encoder, decoder) as plain layers, PCA and the learned linear path in one."""
        encoder = (layer(*self._analysis),), layers(self.encode_curved, scale=self.scale)
        decoder = (layer(*self._synthesis),), layers(self.decode_curved, scale=self.scale, width=self.width)
        return encoder, decoder

    @property
    def _analysis(self) -> tuple[Tensor, Tensor]:
        """Weight [K, D] and bias of the linear path."""
        linear = self.encode_linear
        return self.basis.T + self.scale * linear.weight, self.scale * linear.bias

    @property
    def _synthesis(self) -> tuple[Tensor, Tensor]:
        """Weight [D, K] and bias of the linear path."""
        linear = self.decode_linear
        return self.basis + self.scale * linear.weight / self.width, self.scale * linear.bias
