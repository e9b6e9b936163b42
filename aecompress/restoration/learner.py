"""The network while it learns (torch)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aecompress.autoencoder.learners.base import Learner, Path, dense, layer, layers
from aecompress.normalize import Float64s
from aecompress.spec import Array


class Guesser(Learner):
    """The best linear guess, and ReLU layers beside it that start at zero; see ``restoration.network``.

    Rows are inputs and, last, what is to be guessed. With one part it learns means by squared error; with several
    a mixture, by likelihood.

    Args:
        linear: float64 [inputs + 1, C], weights of the linear guess, its constants last.
        deviation: float64 [C], of what that misses.
        parts: distributions in a mixture, M.
        hidden: widths of the ReLU layers.
    """

    def __init__(self, linear: Float64s, deviation: Float64s, parts: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        inputs, channels = linear.shape[0] - 1, linear.shape[1]
        self._shape = (parts, channels)
        self.linear = nn.Linear(inputs, parts * channels)
        self.curved = dense(inputs, hidden, 3 * parts * channels)
        spread = np.linspace(-1.0, 1.0, parts)[:, None] if parts > 1 else np.zeros((1, 1))
        with torch.no_grad():
            self.linear.weight.copy_(_tensor(np.tile(linear[:-1].T, (parts, 1))))
            self.linear.bias.copy_(_tensor(np.tile(linear[-1], parts)))
            # Parts that start alike would stay so.
            start = [0.5 * spread * deviation, np.log(deviation) + 0.5 * spread, np.zeros(self._shape)]
            list(self.curved.parameters())[-1].copy_(_tensor(np.stack(start)).reshape(-1))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, log deviations and log weights, each [n, M, C]."""
        curved = self.curved(inputs).view(-1, 3, *self._shape)
        means = self.linear(inputs).view(-1, *self._shape) + curved[:, 0]
        return means, curved[:, 1].clamp(-20, 20), torch.log_softmax(curved[:, 2], 1)

    def loss(self, rows: Tensor) -> Tensor:
        channels = self._shape[1]
        means, logs, weights = self(rows[:, :-channels])
        wanted = rows[:, None, -channels:]
        if self._shape[0] == 1:
            return functional.mse_loss(means, wanted)
        away = (wanted - means) * torch.exp(-logs)
        return -torch.logsumexp(weights - logs - 0.5 * away.square(), 1).mean()

    def score(self, rows: Tensor) -> float:
        return self.loss(rows).item()

    def paths(self) -> tuple[Path, Path]:
        """(linear, curved) as plain layers."""
        return (layer(self.linear.weight, self.linear.bias),), layers(self.curved)


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
