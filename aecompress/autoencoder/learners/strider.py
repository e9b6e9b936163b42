"""The networks of ``strided``: a convolutional autoencoder that starts as PCA of patches, and a prior for its latents.

    y = V'x + e(x)           x_hat = V y + d(y)           e, d: ReLU layers over the cells around, from zero on

Latents are in steps of their quantiser, patches in units of one step too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aecompress.autoencoder.learners.base import Path, layer, silent
from aecompress.normalize import Float64s

# by the axes of the grid: cells that a network sees, and those around that the prior does, as far as they come before:
# the cell itself is the middle one of the last line or plane
_SEEN, _BEFORE = {1: (1, 3), 2: (3, 3), 3: (3, 3, 3)}, {1: (1, 5), 2: (2, 5), 3: (2, 3, 5)}

# and the share of crops whose errors are those of noise: few latents that know rounding alone learn to be integers
# before it, and then no other step would do
_NOISY = {1: 0.5, 2: 0.25, 3: 0.25}

# the prior's hidden units for each latent, and the least chance of a cell
_UNITS, _LEAST_CHANCE = 6, 1e-6


class Strider(nn.Module):
    """The autoencoder; grids are [n, P or K, ...], those of one axis of height 1.

    Args:
        axes: of the grid, 1 to 3.
        basis: float64 [P, K] orthonormal columns.
        deviation: float64 [K] of the latents in steps.
        hidden: width of the two hidden layers, each way.
    """

    def __init__(self, axes: int, basis: Float64s, deviation: Float64s, hidden: int) -> None:
        super().__init__()
        patch, latents = basis.shape
        seen, self.noisy = _SEEN[axes], _NOISY[axes]
        self.encode_linear, self.encode_curved = _linear(basis.T, seen), _curved(patch, hidden, latents, seen)
        self.decode_linear, self.decode_curved = _linear(basis, seen), _curved(latents, hidden, patch, seen)
        self.prior = Prior(deviation, _BEFORE[axes])
        self.share = latents / patch  # latents for a value

    def encode(self, x: Tensor) -> Tensor:
        y: Tensor = self.encode_linear(x) + self.encode_curved(x)
        return y

    def decode(self, y: Tensor) -> Tensor:
        x: Tensor = self.decode_linear(y) + self.decode_curved(y)
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(bits of all latents, mean squared error) of patches x.

        Bits are those of latents with uniform noise, errors those of rounded ones, through which gradients pass as if
        nothing had happened (Minnen and Singh 2020); but for a share of the crops, which have the noise there too.
        """
        y = self.encode(x)
        noisy, rounded = y + torch.rand_like(y) - 0.5, y + (torch.round(y) - y).detach()
        many = round(self.noisy * len(y))
        error = functional.mse_loss(self.decode(torch.cat([noisy[:many], rounded[many:]])), x)
        return self.prior(noisy).sum(), error

    def paths(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """(encoder, decoder) as plain layers of a cell and those around it."""
        encoder = _layers(self.encode_linear), _layers(*self.encode_curved)
        return encoder, (_layers(self.decode_linear), _layers(*self.decode_curved))


class Prior(nn.Module):
    """What latents may be, given cells before theirs and the latents before them in their own cell.

    It stands for the context coder while the autoencoder learns, and is thrown away then.
    """

    def __init__(self, deviation: Float64s, seen: tuple[int, ...]) -> None:
        super().__init__()
        latents, one = len(deviation), (1,) * len(seen)
        self.causal: Tensor
        self.before: Tensor
        itself = np.ravel_multi_index((seen[0] - 1, *(side // 2 for side in seen[1:])), seen)
        causal = (torch.arange(math.prod(seen)) < int(itself)).float().reshape(seen)
        self.register_buffer("causal", causal)
        self.register_buffer("before", torch.ones(latents, latents).tril(-1).reshape(latents, latents, *one))
        self.cells_linear = silent(_convolution(latents, latents, seen, bias=False))
        self.here_linear = silent(_convolution(latents, latents, one, bias=False))
        self.cells = _convolution(latents, latents * _UNITS, seen)
        self.here = _convolution(latents, latents * _UNITS, one, bias=False)
        self.out = silent(_convolution(latents * _UNITS, 2 * latents, one, groups=latents))
        width = torch.from_numpy(np.log(np.maximum(deviation / 2, 0.05))).float()
        self.log_width = nn.Parameter(width)

    def forward(self, y: Tensor) -> Tensor:
        """Bits [n, K, ...] of ``y``, in steps: of a logistic distribution integrated over a bin of width one."""
        squeezed = y / (1 + y.abs() / 4)
        hidden = self._before_in(squeezed, self.cells.weight, self.cells.bias)
        hidden = hidden + _convolved(squeezed, self.here.weight * self.before.repeat_interleave(_UNITS, 0))
        told = self.out(functional.relu(hidden)).unflatten(1, (-1, 2))
        centre = told[:, :, 0] + self._before_in(y, self.cells_linear.weight)
        centre = centre + _convolved(y, self.here_linear.weight * self.before)
        width = self.log_width.reshape(-1, *[1] * self.causal.ndim)
        sharpness = torch.exp(-torch.clamp(told[:, :, 1] + width, -5.0, 5.0))
        away = (y - centre).abs()
        chance = torch.sigmoid((0.5 - away) * sharpness) - torch.sigmoid((-0.5 - away) * sharpness)
        return -torch.log2(chance.clamp(min=_LEAST_CHANCE))

    def _before_in(self, y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """A convolution that sees the cells before alone."""
        first, *others = self.causal.shape
        margin = [side // 2 for side in reversed(others) for _ in range(2)] + [first - 1, 0]
        return _convolved(functional.pad(y, margin), weight * self.causal, bias)


def _convolution(inputs: int, outputs: int, seen: tuple[int, ...], **settings: Any) -> nn.Conv2d | nn.Conv3d:
    """A layer over grids of as many axes as ``seen`` has."""
    return (nn.Conv3d if len(seen) == 3 else nn.Conv2d)(inputs, outputs, seen, **settings)  # type: ignore[arg-type]


def _convolved(y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return (functional.conv3d if weight.ndim == 5 else functional.conv2d)(y, weight, bias)


def _linear(weight: Float64s, seen: tuple[int, ...]) -> nn.Conv2d | nn.Conv3d:
    """A convolution that sees its own cell alone to begin with."""
    found = silent(_convolution(weight.shape[1], weight.shape[0], seen, padding="same"))
    with torch.no_grad():
        found.weight.flatten(2)[:, :, math.prod(seen) // 2] = torch.from_numpy(weight.copy())
    return found


def _curved(inputs: int, hidden: int, outputs: int, seen: tuple[int, ...]) -> nn.Sequential:
    one = (1,) * len(seen)
    first, last = _convolution(inputs, hidden, seen, padding="same"), silent(_convolution(hidden, outputs, one))
    return nn.Sequential(first, nn.ReLU(), _convolution(hidden, hidden, one), nn.ReLU(), last)


def _layers(*parts: nn.Module) -> Path:
    found = [part for part in parts if isinstance(part, nn.Conv2d | nn.Conv3d)]
    activations = ["relu"] * (len(found) - 1) + ["linear"]
    return tuple(
        layer(part.weight.flatten(1), part.bias if part.bias is not None else torch.zeros(len(part.weight)), activation)
        for part, activation in zip(found, activations, strict=True)
    )
