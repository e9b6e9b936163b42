"""The network of a context model while it learns: what its code length is, which way that falls, and how it moves.

    inputs ──► layer ──► layer ──► mixture ──► bits
       weights ◄── gradients ◄── gradients ◄───┘

Rounding is in the loop: forwards, weights and activations are what the integer network will have; backwards, as if they
were not rounded. It is too small for a framework: what that does between two products would take longer than they do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeVar

import numpy as np

from aecompress.context.lms import RATES
from aecompress.context.network import (
    COMPONENTS,
    MOST_BIAS,
    MOST_UNIT,
    MOST_WEIGHT,
    OUTPUTS,
    UNIT_BITS,
    WEIGHT_BITS,
    Network,
)
from aecompress.entropy.loops import inlined, loop
from aecompress.entropy.tokens import Scalar
from aecompress.spec import Array

T = TypeVar("T")

_GRAIN, _SCALE = np.float32(1 << WEIGHT_BITS), np.float32(1 << UNIT_BITS)
_OUT_BITS = UNIT_BITS + WEIGHT_BITS
_GREATEST = np.float32(MOST_UNIT)
_MOST = MOST_WEIGHT / float(_GRAIN)

#: Rates to begin with: of steps that are orthogonal matrices, for the weights of hidden layers; and of Adam, for all
#: else. The least of both.
_ORTHOGONAL_RATE, _RATE, _LEAST_RATE = 1.2e-2, 1e-2, 1e-5

#: Added to each chance, in a cell and in a mixture; what binary logarithms of scales lie between; the least scale.
_LEAST_CHANCE, _LEAST_SCALE = np.float32(2.0**-22), np.float32(2.0**-6)
_SPREAD = np.float32(-7.0), np.float32(5.9)

#: log2 of e; powers of 2; the series of 2^t, from its last term on.
_OCTAVES = np.float32(1 / math.log(2))
_POWERS = np.exp2(np.arange(-126.0, 127.0)).astype(np.float32)
_SERIES = np.array([math.log(2) ** k / math.factorial(k) for k in range(6, -1, -1)], np.float32)

#: Of Muon (Jordan et al. 2024): momentum, and the iteration that makes a matrix about orthogonal.
_MOMENTUM, _ORTHOGONAL, _ROUNDS = 0.95, (3.4445, -4.7750, 2.0315), 5

#: Of Adam (Kingma and Ba 2015).
_MEANS, _TINY = (0.9, 0.98), 1e-8


@dataclass(frozen=True)
class Weights:
    """float32, in units of 1: those of a network, or their gradients; shapes are those of ``Network``."""

    first: Array
    first_bias: Array
    second: Array
    second_bias: Array
    last: Array
    last_bias: Array

    @classmethod
    def fresh(cls, inputs: int, units: int, channels: int, seed: int) -> Weights:
        """At random; to begin with, what the guesses say is added to the means."""
        rng = np.random.default_rng(seed)

        def uniform(before: int) -> Array:
            return (rng.uniform(-1, 1, (before, units)) * math.sqrt(3 / before)).astype(np.float32)

        def blank(*shape: int) -> Array:
            return np.zeros(shape, np.float32)

        last, last_bias = blank(units + len(RATES), OUTPUTS), blank(OUTPUTS)
        last[units:, COMPONENTS : 2 * COMPONENTS] = 1 / len(RATES)
        last_bias[2 * COMPONENTS :] = np.linspace(-1, 1, COMPONENTS)
        return cls(uniform(inputs), blank(channels, units), uniform(units), blank(units), last, last_bias)

    def parts(self) -> list[Array]:
        return [getattr(self, field.name) for field in fields(self)]

    def rounded(self) -> Weights:
        """Weights that an integer network can have; biases, which have many more bits, as they are."""
        first, second, last = (_rounded(part) for part in (self.first, self.second, self.last))
        return Weights(first, self.first_bias, second, self.second_bias, last, self.last_bias)

    def integers(self) -> Network:
        weights = [_integers(part, WEIGHT_BITS, MOST_WEIGHT) for part in (self.first, self.second, self.last)]
        biases = [_integers(part, _OUT_BITS, MOST_BIAS) for part in (self.first_bias, self.second_bias, self.last_bias)]
        return Network(weights[0], biases[0], weights[1], biases[1], weights[2], biases[2])

    def stored(self) -> list[Array]:
        """Those that take bits in a model which depend on how large they are."""
        return [self.first, self.second, self.last, self.first_bias]

    def in_vectors(self) -> list[Array]:
        """Those that are no weights of hidden layers."""
        return [self.last, self.first_bias, self.second_bias, self.last_bias]


def _rounded(part: Array) -> Array:
    return np.clip(np.rint(part * _GRAIN), -MOST_WEIGHT, MOST_WEIGHT) / _GRAIN


def _integers(part: Array, bits: int, most: int) -> Array:
    return np.clip(np.rint(part.astype(np.float64) * (1 << bits)), -most, most).astype(np.int32)


@dataclass(frozen=True)
class Batch:
    """What a step looks at.

    Attributes:
        inputs: int8 [n, inputs].
        rest: float32 [n], residuals in cells; ``size`` float32 [n], activity in cells.
        channel: int64 [n], rows of biases.
    """

    inputs: Array
    rest: Array
    size: Array
    channel: Array

    def part(self, start: int, stop: int) -> Batch:
        """Some of its values."""
        kept = slice(start, stop)
        return Batch(self.inputs[kept], self.rest[kept], self.size[kept], self.channel[kept])


class Learner:
    """Weights on their way down, batch by batch, on two cores where there are two: each has half of a batch.

    Args:
        guesses: which inputs are those of ``lms``.
        total: values of the whole set, which the bits of the weights are shared among.
        pool: of one thread for the other half; None to do both halves here, which makes the same weights.
    """

    def __init__(self, weights: Weights, guesses: slice, total: int, pool: Executor | None) -> None:
        self.weights = weights
        self._guesses, self._total, self._pool = guesses, total, pool
        self._first, self._second = (Orthogonal(part) for part in (weights.first, weights.second))
        self._others = Adam(weights.in_vectors())

    def step(self, batch: Batch, slow: float) -> float:
        """Go down a batch, at this share of the rates; returns the bits of a value of it, those of weights included."""
        rounded, many = self.weights.rounded(), len(batch.rest)
        halves = batch.part(0, many // 2), batch.part(many // 2, many)
        one, other = (partial(descend, rounded, half, self._guesses) for half in halves)
        (bits, gradients), (more_bits, more) = self._both(one, other)
        for mine, its in zip(gradients.parts(), more.parts(), strict=True):
            mine += its
            mine /= many
        bits = (bits + more_bits) / many + price(self.weights, gradients, self._total)
        self._both(
            partial(self._first.step, gradients.first, slow),
            partial(self._second.step, gradients.second, slow),
        )
        self._others.step(gradients.in_vectors(), slow)
        for part in (self.weights.first, self.weights.second, self.weights.last):
            np.clip(part, -_MOST, _MOST, out=part)
        return bits

    def _both(self, one: Callable[[], T], other: Callable[[], T]) -> tuple[T, T]:
        if self._pool is None:
            return one(), other()
        waiting = self._pool.submit(other)
        return one(), waiting.result()


def descend(weights: Weights, batch: Batch, guesses: slice) -> tuple[float, Weights]:
    """Bits of a batch, all of its values together, and their gradients.

    Args:
        weights: as ``Weights.rounded`` makes them.
        guesses: which inputs are those of ``lms``.
    """
    x = batch.inputs.astype(np.float32)
    x /= _SCALE
    one = x @ weights.first
    _activate(one, weights.first_bias, batch.channel)
    two = one @ weights.second
    _activate(two, weights.second_bias[None], np.zeros_like(batch.channel))
    heard, units = x[:, guesses], two.shape[1]
    outputs = weights.last[:units].T @ two.T + weights.last[units:].T @ heard.T + weights.last_bias[:, None]
    bits, out = code_length(outputs, batch.rest, batch.size)
    last = np.concatenate([(out @ two).T, (out @ heard).T])
    down = out.T @ weights.last[:units].T
    _hold(down, two)
    second, second_bias = one.T @ down, down.sum(0)
    down = down @ weights.second.T
    _hold(down, one)
    first_bias = np.zeros_like(weights.first_bias)
    _gather(down, batch.channel, first_bias)
    return bits, Weights(x.T @ down, first_bias, second, second_bias, last, out.sum(1))


@loop
def _activate(sums: Array, bias: Array, channel: Array) -> None:
    """Sums [n, units] of a layer, but for ``bias`` [channels, units], become activations: ReLU, rounded down to
    multiples of 1 / _SCALE, at most MOST_UNIT of them."""
    for i in range(sums.shape[0]):
        c = channel[i]
        for j in range(sums.shape[1]):
            unit = np.floor((sums[i, j] + bias[c, j]) * _SCALE)
            sums[i, j] = min(max(unit, np.float32(0)), _GREATEST) / _SCALE


@loop
def _hold(gradient: Array, units: Array) -> None:
    """Gradients [n, units] pass as if nothing had been rounded, but not where a unit is at either end: such as can be
    pushed beyond the greatest made archives 2 % larger."""
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            inside = (units[i, j] > np.float32(0)) & (units[i, j] < _GREATEST / _SCALE)
            gradient[i, j] = gradient[i, j] if inside else np.float32(0)


@loop
def _gather(gradient: Array, channel: Array, bias: Array) -> None:
    """Add up gradients [n, units] of each channel."""
    for i in range(gradient.shape[0]):
        c = channel[i]
        for j in range(gradient.shape[1]):
            bias[c, j] += gradient[i, j]


def code_length(outputs: Array, rest: Array, size: Array) -> tuple[float, Array]:
    """Bits of the cells that hold ``rest`` [n] under mixtures of logistics of ``outputs`` [OUTPUTS, n], all together,
    and gradients of these, float32 [OUTPUTS, n]."""
    gradient, chance = np.empty_like(outputs), np.zeros_like(rest)
    scratch, sums = np.empty((4, COMPONENTS, rest.size), np.float32), np.empty((3, rest.size), np.float32)
    _mix(outputs, rest, size, scratch, sums, chance, gradient)
    return -float(np.log2(chance + _LEAST_CHANCE).sum(dtype=np.float64)), gradient


@inlined(fastmath={"contract"})
def _power(x: Scalar) -> Scalar:
    """2^x in float32: the nearest whole power, times the series of what is left."""
    whole = np.floor(min(max(x, np.float32(-125)), np.float32(125)) + np.float32(0.5))
    t = x - whole
    series = _SERIES[0]
    for k in range(1, _SERIES.size):
        series = series * t + _SERIES[k]
    return series * _POWERS[np.uint64(np.int64(whole) + np.int64(126))]


@loop
def _mix(
    outputs: Array, rest: Array, size: Array, scratch: Array, sums: Array, chance: Array, gradient: Array
) -> None:  # fmt: skip
    """Fill in the chances of cells [n] and what ``code_length`` gives; each loop goes through memory in its order."""
    many = rest.size
    over, upper, lower, share = scratch
    best, total, down = sums
    for k in range(COMPONENTS):
        mean, spread = outputs[COMPONENTS + k], outputs[2 * COMPONENTS + k]
        for at in range(many):
            i = np.uint64(at)
            wide = size[i] * _power(min(max(spread[i], _SPREAD[0]), _SPREAD[1]) - np.float32(1))
            over[k, i] = np.float32(1) / max(wide, _LEAST_SCALE)
            away = abs(rest[i] - mean[i] * size[i])
            # both ends on the lower side, where the logistic function keeps its precision
            upper[k, i] = np.float32(1) / (np.float32(1) + _power((away - np.float32(0.5)) * over[k, i] * _OCTAVES))
            lower[k, i] = np.float32(1) / (np.float32(1) + _power((away + np.float32(0.5)) * over[k, i] * _OCTAVES))
    for at in range(many):
        i = np.uint64(at)
        best[i], total[i] = outputs[0, i], np.float32(0)
        for k in range(1, COMPONENTS):
            best[i] = max(best[i], outputs[k, i])
    for k in range(COMPONENTS):
        for at in range(many):
            i = np.uint64(at)
            share[k, i] = _power((outputs[k, i] - best[i]) * _OCTAVES)
            total[i] += share[k, i]
            chance[i] += share[k, i] * (upper[k, i] - lower[k, i])
    for at in range(many):
        i = np.uint64(at)
        chance[i] /= total[i]
        down[i] = -_OCTAVES / ((chance[i] + _LEAST_CHANCE) * total[i])
    for k in range(COMPONENTS):
        mean, spread = outputs[COMPONENTS + k], outputs[2 * COMPONENTS + k]
        for at in range(many):
            i = np.uint64(at)
            mine = share[k, i] * down[i]
            above = rest[i] - mean[i] * size[i]
            near, far = np.float32(0.5) - abs(above), np.float32(-0.5) - abs(above)
            of_near = mine * upper[k, i] * (np.float32(1) - upper[k, i]) * over[k, i]
            of_far = -mine * lower[k, i] * (np.float32(1) - lower[k, i]) * over[k, i]
            up = size[i] if above > np.float32(0) else -size[i]
            free = (over[k, i] < np.float32(1) / _LEAST_SCALE) & (spread[i] > _SPREAD[0]) & (spread[i] < _SPREAD[1])
            gradient[k, i] = mine * (upper[k, i] - lower[k, i] - chance[i])
            gradient[COMPONENTS + k, i] = (of_near + of_far) * up
            wider = -(of_near * near + of_far * far) / _OCTAVES
            gradient[2 * COMPONENTS + k, i] = wider if free else np.float32(0)


def price(weights: Weights, gradients: Weights, total: int) -> float:
    """About what weights take in the model, a ``total``-th of it in bits; its gradients are added."""
    bits = 0.0
    for part, gradient in zip(weights.stored(), gradients.stored(), strict=True):
        size = 1 + _GRAIN * np.abs(part)
        bits += float((2 * np.log2(size) + 1).sum(dtype=np.float64))
        gradient += np.sign(part) * (2 * _GRAIN / (math.log(2) * total)) / size
    return bits / total


class Orthogonal:
    """Moves a matrix by orthogonal ones: Muon (Jordan et al. 2024), by which hidden layers get as far as by Adam in
    less than half the batches."""

    def __init__(self, part: Array) -> None:
        self._part, self._rate = part, _ORTHOGONAL_RATE * math.sqrt(max(1.0, part.shape[0] / part.shape[1]))
        self._momentum = np.zeros_like(part)

    def step(self, gradient: Array, slow: float) -> None:
        """Down a gradient, at this share of the rate."""
        self._momentum += (1 - _MOMENTUM) * (gradient - self._momentum)
        ahead = gradient + _MOMENTUM * (self._momentum - gradient)
        self._part -= max(self._rate * slow, _LEAST_RATE) * _orthogonal(ahead)


def _orthogonal(matrix: Array) -> Array:
    """About the orthogonal matrix that is nearest, by Newton and Schulz's iteration."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / max(float(np.linalg.norm(x)), 1e-7)
    a, b, c = _ORTHOGONAL
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Adam:
    """Moves some parts, each number by the sizes of its own gradients (Kingma and Ba 2015)."""

    def __init__(self, parts: Sequence[Array]) -> None:
        self._parts, self._done = parts, 0
        self._means = [np.zeros_like(part) for part in parts]
        self._squares = [np.zeros_like(part) for part in parts]

    def step(self, gradients: Sequence[Array], slow: float) -> None:
        """Down a gradient of each part, at this share of the rate."""
        self._done += 1
        first, second = (1 - decay**self._done for decay in _MEANS)
        rate = max(_RATE * slow, _LEAST_RATE) / first
        for part, gradient, mean, square in zip(self._parts, gradients, self._means, self._squares, strict=True):
            mean += (1 - _MEANS[0]) * (gradient - mean)
            square += (1 - _MEANS[1]) * (gradient * gradient - square)
            part -= rate * mean / (np.sqrt(square / second) + _TINY)
