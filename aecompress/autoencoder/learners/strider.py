"""The networks of ``strided``: a convolutional autoencoder that starts as PCA of patches, and a prior for its latents.

    y = V'x + e(x)           x_hat = V y + d(y)           e, d: ReLU layers over the cells around, from zero on

Latents are in steps of their quantiser, patches in units of one step too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aecompress.autoencoder.learners.base import Path, layer, silent
from aecompress.normalize import Float64s

# by the axes of the grid: cells that a network sees, and those the prior does, the cell itself third in their last line
_SEEN, _BEFORE = {1: (1, 3), 2: (3, 3)}, {1: (1, 5), 2: (2, 5)}

# and the share of crops whose errors are those of noise: few latents that know rounding alone learn to be integers
# before it, and then no other step would do
_NOISY = {1: 0.5, 2: 0.25}

# the prior's hidden units for each latent, and the least chance of a cell
_UNITS, _LEAST_CHANCE = 6, 1e-6


class Strider(nn.Module):
    """The autoencoder; grids are [n, P or K, h, w], those of one axis of height 1.

    Args:
        axes: of the grid, 1 or 2.
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
    """What latents may be, given the cells above and to the left and the latents before them in their own cell.

    It stands for the context coder while the autoencoder learns, and is thrown away then.
    """

    def __init__(self, deviation: Float64s, lines: tuple[int, int]) -> None:
        super().__init__()
        latents = len(deviation)
        self.causal: Tensor
        self.before: Tensor
        causal = torch.ones(lines)
        causal[-1, 2:] = 0
        self.register_buffer("causal", causal)
        self.register_buffer("before", torch.ones(latents, latents).tril(-1)[:, :, None, None])
        self.cells_linear = silent(nn.Conv2d(latents, latents, lines, bias=False))
        self.here_linear = silent(nn.Conv2d(latents, latents, 1, bias=False))
        self.cells = nn.Conv2d(latents, latents * _UNITS, lines)
        self.here = nn.Conv2d(latents, latents * _UNITS, 1, bias=False)
        self.out = silent(nn.Conv2d(latents * _UNITS, 2 * latents, 1, groups=latents))
        width = torch.from_numpy(np.log(np.maximum(deviation / 2, 0.05))).float()
        self.log_width = nn.Parameter(width)

    def forward(self, y: Tensor) -> Tensor:
        """Bits [n, K, h, w] of ``y``, in steps: of a logistic distribution integrated over a bin of width one."""
        margin = (2, 2, len(self.causal) - 1, 0)
        squeezed = y / (1 + y.abs() / 4)
        hidden = functional.conv2d(
            functional.pad(squeezed, margin), self.cells.weight * self.causal, self.cells.bias
        ) + functional.conv2d(squeezed, self.here.weight * self.before.repeat_interleave(_UNITS, 0))
        told = self.out(functional.relu(hidden)).unflatten(1, (-1, 2))
        centre = told[:, :, 0] + functional.conv2d(functional.pad(y, margin), self.cells_linear.weight * self.causal)
        centre = centre + functional.conv2d(y, self.here_linear.weight * self.before)
        sharpness = torch.exp(-torch.clamp(told[:, :, 1] + self.log_width[:, None, None], -5.0, 5.0))
        away = (y - centre).abs()
        chance = torch.sigmoid((0.5 - away) * sharpness) - torch.sigmoid((-0.5 - away) * sharpness)
        return -torch.log2(chance.clamp(min=_LEAST_CHANCE))


def _linear(weight: Float64s, seen: tuple[int, int]) -> nn.Conv2d:
    """A convolution that sees its own cell alone to begin with."""
    found = silent(nn.Conv2d(weight.shape[1], weight.shape[0], seen, padding="same"))
    with torch.no_grad():
        found.weight[:, :, seen[0] // 2, seen[1] // 2] = torch.from_numpy(weight.copy())
    return found


def _curved(inputs: int, hidden: int, outputs: int, seen: tuple[int, int]) -> nn.Sequential:
    first, last = nn.Conv2d(inputs, hidden, seen, padding="same"), silent(nn.Conv2d(hidden, outputs, 1))
    return nn.Sequential(first, nn.ReLU(), nn.Conv2d(hidden, hidden, 1), nn.ReLU(), last)


def _layers(*parts: nn.Module) -> Path:
    found = [part for part in parts if isinstance(part, nn.Conv2d)]
    activations = ["relu"] * (len(found) - 1) + ["linear"]
    return tuple(
        layer(part.weight.flatten(1), part.bias if part.bias is not None else torch.zeros(len(part.weight)), activation)
        for part, activation in zip(found, activations, strict=True)
    )
