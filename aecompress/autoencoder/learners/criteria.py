"""What a reconstruction is judged by, and how much of it a bit is worth.

At high rate a step s leaves errors spread evenly over a cell of width s, and halving it costs one bit a latent. So a
bit is worth minus the derivative of the error by log2 s: s^2 / 12 gives s^2 ln 2 / 6, s / 4 gives s ln 2 / 4. With
this price s is the step that training itself would choose (Gish and Pierce 1968).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from aecompress.normalize import Float64s, Normalizer, emphasis

Error = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Criterion:
    """Error a value of rows [n, D] against what they should be, in normalised units, and what a bit is worth of it."""

    error: Error
    bit: float


def criterion(loss: str, step: float, normalizer: Normalizer, weights: Float64s | None = None) -> Criterion:
    """The criterion of a recipe's ``loss`` for latents of this step, in normalised units.

    ``weights`` float64 [D], of mean 1, say what an error of each feature counts; None: all alike. The normaliser is the
    one that was made for them.
    """
    square = math.log(2) / 6 * step**2
    if loss == "cosine":
        return Criterion(_cosine(normalizer), square)
    if loss == "l1":
        return Criterion(_weighted(functional.l1_loss, weights, 1), math.log(2) / 4 * step)
    if loss == "huber":
        return Criterion(_weighted(partial(functional.huber_loss, delta=step), weights, 2), square / 2)
    return Criterion(_weighted(functional.mse_loss, weights, 2), square)


def sigmoid_error(loss: str, weights: Float64s | None = None) -> Error:
    """Error of rows in [0, 1] against the arguments of the sigmoid that should give them.

    ``weights`` float64 [D] are of mean 1; None: all alike.
    """
    if loss == "bce":
        return _weighted(functional.binary_cross_entropy_with_logits, weights, 0)
    plain: dict[str, Callable[..., Tensor]] = {"l1": functional.l1_loss, "huber": functional.smooth_l1_loss}
    error = _weighted(plain.get(loss, functional.mse_loss), weights, 0)
    return lambda found, wanted: error(torch.sigmoid(found), wanted)


def _weighted(error: Callable[..., Tensor], weights: Float64s | None, power: int) -> Error:
    """The mean of an error by weights, of which the rows, and so the error, hold ``emphasis`` to this power already.

    What is left of the weights is brought to the mean 1, so a bit is worth the same with them as without.
    """
    if weights is None:
        return error
    left = weights / emphasis(weights) ** power
    share = torch.from_numpy(left / left.mean()).float()
    return lambda found, wanted: (share.to(wanted.device) * error(found, wanted, reduction="none")).mean()


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
