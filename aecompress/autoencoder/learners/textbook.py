"""The autoencoder of every introduction, for teaching."""

from __future__ import annotations

import torch
from torch import Tensor

from aecompress.autoencoder.learners.base import Learner, Path, dense, layers
from aecompress.autoencoder.learners.criteria import Error


class Textbook(Learner):
    """D-128-32-128-D: ReLU, a sigmoid output, and the error alone. Rows lie in [0, 1]."""

    def __init__(self, row_size: int, hidden: tuple[int, ...], latent_dim: int, error: Error) -> None:
        super().__init__()
        self._error = error
        self.encode = dense(row_size, hidden, latent_dim, quiet=False)
        self.decode = dense(latent_dim, hidden[::-1], row_size, quiet=False)

    def loss(self, rows: Tensor) -> Tensor:
        return self._error(self.decode(self.encode(rows)), rows)

    def score(self, rows: Tensor) -> float:
        return self.loss(rows).item()

    def paths(self, rows: Tensor) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """(encoder, decoder) as plain layers; a latent's unit moves the rows by 1 in all, on average over ``rows``."""
        gain = self._gains(rows)
        return (layers(self.encode, scale=gain),), (layers(self.decode, width=gain, activation="sigmoid"),)

    def _gains(self, rows: Tensor) -> Tensor:
        """Root mean squared change of a row by a unit of each latent [K], by small differences."""
        y = self.encode(rows)
        small = 1e-2 * y.std(correction=0).clamp_min(1e-3)
        base = torch.sigmoid(self.decode(y))
        gains = []
        for k in range(y.shape[1]):
            moved = y.clone()
            moved[:, k] += small
            change = torch.sigmoid(self.decode(moved)) - base
            gains.append(change.square().sum(1).mean().sqrt() / small)
        return torch.stack(gains).clamp_min(1e-6)
