"""The network of ``conv``: what a quantised value was, from its neighbours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aecompress.autoencoder.learners.base import Learner, Path, dense, layer, layers
from aecompress.normalize import Float64s


class Restorer(Learner):
    """What a quantised value was, from its neighbours: the best linear guess, and ReLU layers that start at zero.

    Rows are the inputs and, last, what should come out.

    Args:
        linear: float64 [K] weights and the constant of the linear guess.
        deviation: float64 [K] root mean square of the inputs.
        hidden: widths of the hidden layers.
    """

    def __init__(self, linear: tuple[Float64s, float], deviation: Float64s, hidden: tuple[int, ...]) -> None:
        super().__init__()
        weight, constant = linear
        self.width: Tensor
        self.register_buffer("width", torch.from_numpy(np.maximum(deviation, 1e-3)).float())
        self.linear = nn.Linear(len(weight), 1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight * self.width.numpy())[None])
            self.linear.bias.fill_(constant)
        self.curved = dense(len(weight), hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        level = inputs / self.width
        found: Tensor = self.linear(level) + self.curved(level)
        return found[:, 0]

    def loss(self, rows: Tensor) -> Tensor:
        return functional.mse_loss(self(rows[:, :-1]), rows[:, -1])

    def score(self, rows: Tensor) -> float:
        return self.loss(rows).item()

    def paths(self) -> tuple[Path, ...]:
        """The linear path and the ReLU path as plain layers."""
        linear = layer(self.linear.weight / self.width, self.linear.bias)
        return (linear,), layers(self.curved, width=self.width)
