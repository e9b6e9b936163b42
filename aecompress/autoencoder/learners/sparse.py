"""``sparse``: most latents of a row are zero, by an L1 penalty or because only k may differ from it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aecompress.autoencoder.learners.vanilla import Vanilla


class Sparse(Vanilla):
    """``vanilla`` with ``sparsity`` bits counted for each step of magnitude, and at most ``k`` latents of a row.

    The k greatest stay as they are and teach, the others are zero (k-sparse: Makhzani and Frey 2014).
    """

    def __init__(self, *args: Any, sparsity: float, k: int | None) -> None:
        super().__init__(*args)
        self._sparsity, self._k = sparsity, k

    def encode(self, x: Tensor) -> Tensor:
        y = super().encode(x)
        return y if self._k is None else y * greatest(y, self._k)

    def loss(self, rows: Tensor) -> Tensor:
        y = self.encode(rows)
        noise = self.step * (torch.rand_like(y) - 0.5)
        noisy = y + (noise if self._k is None else noise * (y != 0))
        error = self.criterion.error(self.decode(noisy), rows)
        bits = self.rate(noisy / self.step) + self._sparsity * y.abs().sum() / (self.step * len(y))
        return error + self.criterion.bit * bits / rows.shape[1]

    def penalty(self, levels: Tensor) -> float:
        return self._sparsity * levels.abs().sum().item() / len(levels)


def greatest(y: Tensor, k: int) -> Tensor:
    """Bool [n, K]: the ``k`` of each row that are greatest in magnitude."""
    if k >= y.shape[1]:
        return torch.ones_like(y, dtype=torch.bool)
    chosen = y.abs().topk(k, dim=1).indices
    return torch.zeros_like(y, dtype=torch.bool).scatter(1, chosen, value=True)
