"""The fitted network: from a neighbourhood to what stands there, as a mixture of normal distributions.

inputs ─┬─ linear ────────────────────┐
        └─ ReLU layers ─┬─ means ─────┴─► means [M, C]
                        ├─ log deviations [M, C]
                        └─ logits [M, C]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from aecompress.autoencoder.freezing import FloatLayer
from aecompress.autoencoder.network import run
from aecompress.errors import ModelError
from aecompress.normalize import Float64s
from aecompress.restoration.neighbourhood import Neighbourhood, View
from aecompress.spec import Array

#: Positions looked at at once.
_CHUNK = 1 << 13


@dataclass(frozen=True)
class Mixture:
    """Normal distributions for each of n positions and C channels.

    Attributes:
        means, deviations, weights: float32 [n, M, C]; the weights add up to one over M.
    """

    means: Array
    deviations: Array
    weights: Array

    @property
    def mean(self) -> Array:
        """[n, C]."""
        return (self.weights * self.means).sum(1)

    @property
    def variance(self) -> Array:
        """[n, C]."""
        second = self.weights * (np.square(self.deviations) + np.square(self.means))
        return np.maximum(second.sum(1) - np.square(self.mean), 0)

    def posterior(self, seen: Array, noise: Float64s) -> Array:
        """Mean [n, C] of what is behind ``seen`` [n, C], whose distribution this is, noise [C] included.

        Each normal distribution of variance s^2 is one of variance s^2 - noise^2 with noise on top; its own answer is
        seen + (mean - seen) noise^2 / s^2, and counts by how likely it made ``seen`` (Laine et al. 2019, eq. 4).
        """
        away = seen[:, None] - self.means
        likely = np.log(self.weights + 1e-30) - np.log(self.deviations) - 0.5 * np.square(away / self.deviations)
        share = np.exp(likely - likely.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        back = np.minimum(np.square(noise / self.deviations), 1.0)
        found: Array = seen - (share * back * away).sum(1)
        return found


@dataclass(frozen=True)
class Network:
    """Where it looks and what it makes of that.

    Attributes:
        hood: where it looks.
        channels: of what it looks at, and ``outputs`` of what it tells.
        parts: distributions in a mixture.
        linear, curved: paths of layers, the first to the means [M C], the other to all [3 M C].
    """

    hood: Neighbourhood
    channels: int
    outputs: int
    parts: int
    linear: tuple[FloatLayer, ...]
    curved: tuple[FloatLayer, ...]

    def __post_init__(self) -> None:
        inputs, means = self.hood.inputs(self.channels), self.parts * self.outputs
        ends = [(path[0].inputs, path[-1].outputs) for path in (self.linear, self.curved) if path]
        joints = [(a.outputs, b.inputs) for path in (self.linear, self.curved) for a, b in pairwise(path)]
        if ends != [(inputs, means), (inputs, 3 * means)] or any(a != b for a, b in joints):
            raise ModelError("The network's layers do not fit one another; the model is damaged.")

    def look(self, values: Array, known: Array) -> Iterator[tuple[slice, Mixture]]:
        """Of a block [A, B, H, W, C] (see ``View``) all positions in C order, some at a time."""
        view = View(values, known, self.hood)
        for start in range(0, view.positions, _CHUNK):
            part = slice(start, min(start + _CHUNK, view.positions))
            yield part, self.tell(view.inputs(np.arange(part.start, part.stop)))

    def tell(self, inputs: Array) -> Mixture:
        """The mixtures for inputs float32 [n, inputs]."""
        shape = (len(inputs), self.parts, self.outputs)
        curved = run((self.curved,), inputs).reshape(len(inputs), 3, *shape[1:])
        means = run((self.linear,), inputs).reshape(shape) + curved[:, 0]
        weights = np.exp(curved[:, 2] - curved[:, 2].max(1, keepdims=True))
        return Mixture(means, np.exp(np.clip(curved[:, 1], -20, 20)), weights / weights.sum(1, keepdims=True))

    @property
    def settings(self) -> dict[str, int]:
        """What ``from_tensors`` needs beside the tensors."""
        return {
            "depth": self.hood.depth,
            "channels": self.channels,
            "outputs": self.outputs,
            "parts": self.parts,
            "layers": len(self.curved),
        }

    def tensors(self) -> dict[str, Array]:
        found = {"taps": self.hood.taps}
        for name, path in (("linear", self.linear), ("curved", self.curved)):
            for i, layer in enumerate(path):
                found |= {f"{name}.{i}.weight": layer.weight, f"{name}.{i}.bias": layer.bias}
        return found

    @classmethod
    def from_tensors(cls, settings: Mapping[str, int], tensors: Mapping[str, Array]) -> Network:
        """The reverse; raises KeyError or ModelError where they make no network."""

        def layer(name: str, activation: str) -> FloatLayer:
            return FloatLayer(tensors[f"{name}.weight"], tensors[f"{name}.bias"], activation, np.zeros(0))

        many = settings["layers"]
        curved = [layer(f"curved.{i}", "relu" if i < many - 1 else "linear") for i in range(many)]
        hood = Neighbourhood(settings["depth"], tensors["taps"])
        sizes = (settings["channels"], settings["outputs"], settings["parts"])
        return cls(hood, *sizes, (layer("linear.0", "linear"),), tuple(curved))


def deviation_of(mixture: Mixture, seen: Array, parts: int = 20) -> Float64s:
    """Float64 [C]: standard deviation of ``seen`` [n, C] where the mixture is surest.

    What is least uncertain varies by the noise alone. Positions are sorted by predicted variance into ``parts`` equal
    parts, and what counts is how far the values of each really are from their means.
    """
    found = []
    for channel in range(seen.shape[1]):
        order = np.argsort(mixture.variance[:, channel])
        errors = np.square(seen[order, channel] - mixture.mean[order, channel], dtype=np.float64)
        found.append(min(math.sqrt(part.mean()) for part in np.array_split(errors, parts) if len(part)))
    return np.array(found)
