"""What a reconstruction is judged by, and how much of it a bit is worth.

At high rate a step s leaves errors spread evenly over a cell of width s, and halving it costs one bit a latent. So a
bit is worth minus the derivative of the error by log2 s: s^2 / 12 gives s^2 ln 2 / 6, s / 4 gives s ln 2 / 4. With
this price s is the step that training itself would choose (Gish and Pierce 1968).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from aecompress.normalize import Normalizer

Error = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Criterion:
    """Error a value of rows [n, D] against what they should be, in normalised units, and what a bit is worth of it."""

    error: Error
    bit: float


def criterion(loss: str, step: float, normalizer: Normalizer) -> Criterion:
    """The criterion of a recipe's ``loss`` for latents of this step, in normalised units."""
    square = math.log(2) / 6 * step**2
    if loss == "l1":
        return Criterion(functional.l1_loss, math.log(2) / 4 * step)
    if loss == "huber":

        def huber(found: Tensor, wanted: Tensor) -> Tensor:
            return functional.huber_loss(found, wanted, delta=step)

        return Criterion(huber, square / 2)
    return Criterion(_cosine(normalizer) if loss == "cosine" else functional.mse_loss, square)


def sigmoid_error(loss: str) -> Error:
    """Error of rows in [0, 1] against the arguments of the sigmoid that should give them."""
    if loss == "bce":
        return functional.binary_cross_entropy_with_logits
    plain: dict[str, Error] = {"l1": functional.l1_loss, "huber": functional.smooth_l1_loss}
    error = plain.get(loss, functional.mse_loss)
    return lambda found, wanted: error(torch.sigmoid(found), wanted)


def _cosine(normalizer: Normalizer) -> Error:
    """1 - cosine between rows in the data's units, times 2 |row|^2 / D: about the squared error across the rows."""
    unit = normalizer.typical_scale
    scale = torch.from_numpy(normalizer.scale / unit).float()
    centre = torch.from_numpy(normalizer.centre / unit).float()

    def error(found: Tensor, wanted: Tensor) -> Tensor:
        factor, offset = scale.to(wanted.device), centre.to(wanted.device)
        goal = wanted * factor + offset
        lost = 1 - functional.cosine_similarity(found * factor + offset, goal, dim=1)
        return 2 * goal.square().mean() * lost.mean()

    return error
