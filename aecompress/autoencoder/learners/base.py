"""What all learners are made of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aecompress.autoencoder.freezing import FloatLayer
from aecompress.normalize import Float64s
from aecompress.spec import Array

Path = tuple[FloatLayer, ...]

_Linear = TypeVar("_Linear", bound=nn.Linear | nn.Conv2d | nn.Conv3d)


class Learner(nn.Module, ABC):
    """A module that knows what to minimise, and how to be judged on rows it has not seen; lower is better."""

    @abstractmethod
    def loss(self, rows: Tensor) -> Tensor: ...

    @abstractmethod
    def score(self, rows: Tensor) -> float: ...


class LogisticRate(nn.Module):
    """Bits of latents under a logistic distribution for each, integrated over a bin of width one.

    Args:
        deviation: float64 [K] of the latents in steps, to start from.
    """

    def __init__(self, deviation: Float64s) -> None:
        super().__init__()
        width = np.sqrt(3 * (np.square(deviation) + 1 / 12)) / math.pi
        self.log_width = nn.Parameter(torch.from_numpy(np.log(width)).float())
        self.centre = nn.Parameter(torch.zeros(len(width)))

    def forward(self, y: Tensor) -> Tensor:
        """Mean over rows of the bits of ``y`` [n, K] in steps."""
        sharpness = torch.exp(-self.log_width)
        high = (y + 0.5) * sharpness - self.centre
        low = high - sharpness
        # F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)) for the logistic F: no cancellation in the tails.
        nats = functional.logsigmoid(high) + functional.logsigmoid(-low) + torch.log(-torch.expm1(-sharpness))
        return -nats.sum() / (len(y) * math.log(2))


def entropy(q: Array) -> float:
    """Bits a row of integers held as floats [n, K], by the histogram of every column."""
    total = 0.0
    for column in q.T:
        counts = np.unique(column, return_counts=True)[1]
        total -= float((counts * np.log2(counts / len(q))).sum())
    return total / len(q)


class Dense(nn.Sequential):
    """Layers that learn in mixed precision on CUDA: products in bfloat16, weights and their updates in float32.

    Judging, where no gradients are wanted, is in float32 on every device, and so is all on the others.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        mixed = inputs.is_cuda and torch.is_grad_enabled()
        with torch.autocast("cuda", torch.bfloat16) if mixed else nullcontext():
            return super().forward(inputs).float()  # type: ignore[no-untyped-call]


def dense(inputs: int, hidden: tuple[int, ...], outputs: int, *, quiet: bool = True) -> Dense:
    """Linear layers with ReLU between; ``quiet``: the outputs start at zero."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    last = nn.Linear(inputs, outputs)
    return Dense(*layers, silent(last) if quiet else last)


def silent(linear: _Linear) -> _Linear:
    """The layer with its outputs at zero."""
    nn.init.zeros_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


def layers(
    network: nn.Sequential, *, scale: Tensor | float = 1.0, width: Tensor | float = 1.0, activation: str = "linear"
) -> Path:
    """Plain layers of ``scale * network(inputs / width)``, with ReLU between and ``activation`` at the end."""
    linear = [part for part in network if isinstance(part, nn.Linear)]
    weights: list[Tensor] = [part.weight for part in linear]
    biases: list[Tensor] = [part.bias for part in linear]
    weights[0] = weights[0] / width
    scale = torch.as_tensor(scale)
    weights[-1], biases[-1] = scale.reshape(-1, 1) * weights[-1], scale * biases[-1]
    activations = ["relu"] * (len(linear) - 1) + [activation]
    return tuple(layer(*parts) for parts in zip(weights, biases, activations, strict=True))


def layer(weight: Tensor, bias: Tensor, activation: str = "linear") -> FloatLayer:
    return FloatLayer(weight.detach().numpy().copy(), bias.detach().numpy().copy(), activation, np.zeros(0))
