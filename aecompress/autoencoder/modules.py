"""The dense networks while they learn (torch); ``paths`` gives them back as plain layers.

``Vanilla`` adds to PCA what it learns: a linear and a ReLU path each way, whose outputs start at zero.

    y = V'x + scale * (E x + e(x))           x_hat = V y + scale * (G y + g(y))

Its loss is rate + lambda * distortion. At high rate a step s costs s^2 / 12 of squared error a latent, and halving it
costs one bit: d(rate) / d(distortion) = -6 / (ln 2 s^2). So lambda = 6 / (ln 2 s^2) makes s the step that training
itself would choose (Gish and Pierce 1968; uniform noise for rounding: Balle, Laparra and Simoncelli 2017).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aecompress.autoencoder.freezing import FloatLayer
from aecompress.normalize import Float64s
from aecompress.spec import Array

Path = tuple[FloatLayer, ...]


class Learner(nn.Module, ABC):
    """A module that knows what to minimise, and how to be judged on rows it has not seen; lower is better."""

    @abstractmethod
    def loss(self, rows: Tensor) -> Tensor: ...

    @abstractmethod
    def score(self, rows: Tensor) -> float: ...


class Vanilla(Learner):
    """PCA and what is learned on top, trained for latents quantised at ``step``.

    Args:
        basis: float64 [D, K] orthonormal columns.
        deviation: float64 [K] of the latents, in normalised units.
        hidden: widths of the synthesis path's hidden layers; analysis has them in reverse.
        step: the latents' quantisation step, in normalised units.
    """

    def __init__(self, basis: Float64s, deviation: Float64s, hidden: tuple[int, ...], step: float) -> None:
        super().__init__()
        row_size, latent_dim = basis.shape
        self.basis: Tensor
        self.width: Tensor
        self.register_buffer("basis", torch.from_numpy(basis).float())
        # Latents as large as their signal or their noise, whichever is greater, come to about one.
        self.register_buffer("width", torch.from_numpy(np.hypot(deviation, step)).float())
        self.step = step
        # Adam moves every output at one speed: a finer step needs a slower one, but (as measured) not in proportion.
        self.scale = 1.5 * math.sqrt(step)
        self.encode_linear = _silent(nn.Linear(row_size, latent_dim))
        self.encode_curved = _dense(row_size, hidden[::-1], latent_dim)
        self.decode_linear = _silent(nn.Linear(latent_dim, row_size))
        self.decode_curved = _dense(latent_dim, hidden, row_size)
        self.rate = LogisticRate(deviation / step)

    def encode(self, x: Tensor) -> Tensor:
        y: Tensor = x @ self.basis + self.scale * (self.encode_linear(x) + self.encode_curved(x))
        return y

    def decode(self, y: Tensor) -> Tensor:
        level = y / self.width
        x: Tensor = y @ self.basis.T + self.scale * (self.decode_linear(level) + self.decode_curved(level))
        return x

    def loss(self, rows: Tensor) -> Tensor:
        """rate / lambda + distortion, in normalised squared error a value, with noise for rounding."""
        y = self.encode(rows)
        noisy = y + self.step * (torch.rand_like(y) - 0.5)
        error = functional.mse_loss(self.decode(noisy), rows)
        loss: Tensor = error + self._price * self.rate(noisy / self.step) / rows.shape[1]
        return loss

    def score(self, rows: Tensor) -> float:
        """The loss with latents rounded, and their rate measured as each latent's entropy over ``rows``."""
        q = torch.round(self.encode(rows) / self.step)
        error = functional.mse_loss(self.decode(q * self.step), rows).item()
        return error + self._price * entropy(q.numpy()) / rows.shape[1]

    @property
    def _price(self) -> float:
        """1 / lambda: squared error that a bit is worth."""
        return math.log(2) / 6 * self.step**2

    def paths(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """(encoder, decoder) as plain layers, PCA and the learned linear path in one."""
        scale, width = self.scale, self.width
        analysis = self.basis.T + scale * self.encode_linear.weight
        synthesis = self.basis + scale * self.decode_linear.weight / width
        encoder = (_layer(analysis, scale * self.encode_linear.bias),), _layers(self.encode_curved, scale=scale)
        decoder = (
            (_layer(synthesis, scale * self.decode_linear.bias),),
            _layers(self.decode_curved, scale=scale, width=width),
        )
        return encoder, decoder


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


class Textbook(Learner):
    """D-128-32-128-D as in every introduction: ReLU, sigmoid output, squared error. Rows lie in [0, 1]."""

    def __init__(self, row_size: int, hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.encode = _dense(row_size, hidden, latent_dim, silent=False)
        self.decode = _dense(latent_dim, hidden[::-1], row_size, silent=False)

    def loss(self, rows: Tensor) -> Tensor:
        return functional.mse_loss(torch.sigmoid(self.decode(self.encode(rows))), rows)

    def score(self, rows: Tensor) -> float:
        return self.loss(rows).item()

    def paths(self, rows: Tensor) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """(encoder, decoder) as plain layers; a latent's unit moves the rows by 1 in all, on average over ``rows``."""
        gain = self._gains(rows)
        return (_layers(self.encode, scale=gain),), (_layers(self.decode, width=gain, activation="sigmoid"),)

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
        self.curved = _dense(len(weight), hidden, 1)

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
        linear = _layer(self.linear.weight / self.width, self.linear.bias)
        return (linear,), _layers(self.curved, width=self.width)


def entropy(q: Array) -> float:
    """Bits a row of integers held as floats [n, K], by the histogram of every column."""
    total = 0.0
    for column in q.T:
        counts = np.unique(column, return_counts=True)[1]
        total -= float((counts * np.log2(counts / len(q))).sum())
    return total / len(q)


def _dense(inputs: int, hidden: tuple[int, ...], outputs: int, *, silent: bool = True) -> nn.Sequential:
    """Linear layers with ReLU between; ``silent``: the outputs start at zero."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    last = nn.Linear(inputs, outputs)
    return nn.Sequential(*layers, _silent(last) if silent else last)


def _silent(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _layers(
    network: nn.Sequential, *, scale: Tensor | float = 1.0, width: Tensor | float = 1.0, activation: str = "linear"
) -> Path:
    """Plain layers of ``scale * network(inputs / width)``, with ReLU between and ``activation`` at the end."""
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    weights: list[Tensor] = [layer.weight for layer in linear]
    biases: list[Tensor] = [layer.bias for layer in linear]
    weights[0] = weights[0] / width
    scale = torch.as_tensor(scale)
    weights[-1], biases[-1] = scale.reshape(-1, 1) * weights[-1], scale * biases[-1]
    activations = ["relu"] * (len(linear) - 1) + [activation]
    return tuple(_layer(*parts) for parts in zip(weights, biases, activations, strict=True))


def _layer(weight: Tensor, bias: Tensor, activation: str = "linear") -> FloatLayer:
    return FloatLayer(weight.detach().numpy().copy(), bias.detach().numpy().copy(), activation, np.zeros(0))
