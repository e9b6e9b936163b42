"""From floating-point paths to the integer network that decodes.

Every weight matrix is rounded column by column: column k to multiples of a quantum proportional to
1 / sqrt(mean square of its input). That spends a given rounding noise with the fewest bits (reverse water-filling
over columns), and latents that hardly ever leave zero get weights of next to no bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aecompress.autoencoder.integer import (
    ACTIVATIONS,
    EXPONENT_LIMIT,
    HIDDEN_LIMIT,
    OUTPUT_LIMIT,
    SHIFT_LIMIT,
    SIGMOID_INPUT_BITS,
    SIGMOID_OUTPUT_BITS,
    IntegerLayer,
    IntegerNetwork,
    greatest_limit,
)
from aecompress.errors import ModelError
from aecompress.spec import Array

Float64s = npt.NDArray[np.float64]

#: ReLU outputs are clamped at this many times their root mean square, latents no nearer than at it.
_HEADROOM = 64

#: Least mean square that an input counts as, in units of its own step.
_LEAST_POWER = 1e-12


@dataclass(frozen=True)
class FloatLayer:
    """One dense layer.

    Attributes:
        weight: float32 or float64 [out, in]; the precision the layer runs in.
        bias: the same dtype [out].
        activation: ``linear``, ``relu`` or ``sigmoid``.
        input_power: float64 [in], mean square of the inputs at the fit; empty for a path's first layer.
    """

    weight: Array
    bias: Array
    activation: str
    input_power: Float64s

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1] or self.activation not in ACTIVATIONS:
            raise ModelError("A layer's weights and bias do not belong together; fit the model again.")
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise ModelError("A layer holds weights that are not finite; fit the model again.")

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[0])

    def first_outputs(self, count: int) -> FloatLayer:
        """The layer without its outputs from ``count`` on."""
        return replace(self, weight=self.weight[:count], bias=self.bias[:count])

    def first_inputs(self, count: int) -> FloatLayer:
        """The layer without its inputs from ``count`` on."""
        return replace(self, weight=self.weight[:, :count], input_power=self.input_power[:count])

    def apply(self, inputs: Array) -> Array:
        """Outputs [n, out] of inputs [n, in]."""
        total: Array = inputs.astype(self.weight.dtype, copy=False) @ self.weight.T + self.bias
        if self.activation == "relu":
            return np.maximum(total, 0)
        return 0.5 + 0.5 * np.tanh(0.5 * total) if self.activation == "sigmoid" else total

    def tensors(self) -> dict[str, Array]:
        return {"weight": self.weight, "bias": self.bias, "input_power": self.input_power}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array], prefix: str, activation: str) -> FloatLayer:
        weight, bias, power = (tensors[prefix + name] for name in ("weight", "bias", "input_power"))
        return cls(weight, bias, activation, power)


@dataclass(frozen=True)
class _Signal:
    """Integers on their way through a path, in statistics.

    Attributes:
        unit: float64 [in], value of 1.
        power: float64 [in], mean square, in units squared.
        noise: float64 [in], variance that quantised latents bring, in units squared.
        limit: bound of the magnitude.
    """

    unit: Float64s
    power: Float64s
    noise: Float64s
    limit: int


def freeze(
    paths: tuple[tuple[FloatLayer, ...], ...],
    *,
    steps: Float64s,
    spread: Float64s,
    centre: Float64s,
    scale: Float64s,
    weight_noise: float,
) -> IntegerNetwork:
    """Integer network of the sum of ``paths``, with ``inverse`` of the normaliser (centre, scale) folded in.

    Args:
        steps: float64 [K], value of one latent step, in the paths' units.
        spread: float64 [K], root mean square of the latents in steps.
        weight_noise: rounding noise allowed, relative to the noise of the quantised latents.
    """
    limit = int(min(2**31 - 1, max(2**16, _HEADROOM * float(spread.max()))))
    signal = _Signal(steps, _rounded_power(spread), np.clip(np.square(spread), _LEAST_POWER, 1 / 12), limit)
    hidden = [_freeze_hidden(path[:-1], path[1:], signal, weight_noise) for path in paths]
    last = [path[-1] for path in paths]
    signals = [found for _, found in hidden]
    if last[0].activation == "sigmoid":
        exponent, ends = -SIGMOID_OUTPUT_BITS, [_freeze_sigmoid(last[0], signals[0], weight_noise)]
        coarse, bias = 0, np.zeros(len(centre))
    else:
        exponent, ends, noise = _freeze_linear(last, signals, np.abs(centre / scale).max(), weight_noise)
        coarse = max(0, math.floor(math.log2(math.sqrt(12 * noise)) - exponent)) if noise else 0
        bias = np.sum([layer.bias for layer in last], axis=0, dtype=np.float64)
    branches = tuple((*layers, end) for (layers, _), end in zip(hidden, ends, strict=True))
    offset = _multiples(np.ldexp(bias + centre / scale, -exponent), min(coarse, 40))
    unit = (exponent + np.frexp(scale)[1] - 1).astype(np.int16)
    return IntegerNetwork(branches, offset, unit, greatest_limit(branches, offset))


def _freeze_hidden(
    layers: tuple[FloatLayer, ...], followers: tuple[FloatLayer, ...], signal: _Signal, weight_noise: float
) -> tuple[tuple[IntegerLayer, ...], _Signal]:
    """Integer ReLU layers, and the signal that leaves the last of them."""
    found = []
    for layer, follower in zip(layers, followers, strict=True):
        weight = layer.weight * signal.unit
        quanta = _quanta(weight, signal, weight_noise)
        lowest = _lowest_unit(weight, np.abs(layer.bias).max(), signal.limit)
        exponent = _floor_log2(max(float(quanta.min()), lowest))
        deviation = math.sqrt(float(follower.input_power.max()))
        target = _floor_log2(deviation * _HEADROOM / HIDDEN_LIMIT)
        shift = min(max(target - exponent, 0), SHIFT_LIMIT)
        found.append(_rounded(weight, layer.bias, quanta, exponent, shift, "relu"))
        unit = 2.0 ** (exponent + shift)
        noise = np.square(weight) @ signal.noise / unit**2 + 1 / 12
        power = np.maximum(follower.input_power / unit**2, _LEAST_POWER)
        signal = _Signal(np.full(layer.outputs, unit), power, noise, HIDDEN_LIMIT)
    return tuple(found), signal


def _freeze_linear(
    layers: list[FloatLayer], signals: list[_Signal], offset: float, weight_noise: float
) -> tuple[int, list[IntegerLayer], float]:
    """Last layers of all paths in one unit: (its exponent, the layers, noise allowed in a column and the offset)."""
    weights = [layer.weight * signal.unit for layer, signal in zip(layers, signals, strict=True)]
    noise = sum(float((np.square(w) @ s.noise).mean()) for w, s in zip(weights, signals, strict=True))
    budget = weight_noise * noise / len(layers)
    quanta = [_spread_budget(budget, signal.power) for signal in signals]
    reach = sum(_lowest_unit(w, offset, s.limit) for w, s in zip(weights, signals, strict=True))
    finest = min((float(q.min()) for q in quanta), default=0.0)
    exponent = _floor_log2(max(finest, reach))
    ends = [_rounded(w, np.zeros(len(w)), q, exponent, 0, "linear") for w, q in zip(weights, quanta, strict=True)]
    return exponent, ends, budget / max(len(signal.power) for signal in signals)


def _freeze_sigmoid(layer: FloatLayer, signal: _Signal, weight_noise: float) -> IntegerLayer:
    """The last layer of a path that ends in a sigmoid, its sum shifted to the table's units."""
    weight = layer.weight * signal.unit
    quanta = _quanta(weight, signal, weight_noise)
    lowest = _lowest_unit(weight, np.abs(layer.bias).max(), signal.limit)
    exponent = min(_floor_log2(max(float(quanta.min()), lowest)), -SIGMOID_INPUT_BITS)
    shift = min(-SIGMOID_INPUT_BITS - exponent, SHIFT_LIMIT)
    return _rounded(weight, layer.bias, quanta, -SIGMOID_INPUT_BITS - shift, shift, "sigmoid")


def _rounded(weight: Array, bias: Array, quanta: Float64s, exponent: int, shift: int, activation: str) -> IntegerLayer:
    """The layer with column k rounded to ``quanta[k]`` made a power of two, its sums in units of 2^exponent."""
    columns = np.clip(np.floor(np.log2(quanta)) - exponent, 0, EXPONENT_LIMIT)
    largest = np.ldexp(np.abs(weight).max(axis=0), -exponent)
    # Columns that 32 bits cannot hold at their quantum are rounded more coarsely.
    columns = np.maximum(columns, np.ceil(np.log2(np.maximum(largest, 1)) - 30)).astype(int)
    integers = np.rint(np.ldexp(weight.astype(np.float64), -exponent - columns)).astype(np.int32)
    offset = np.rint(np.ldexp(np.asarray(bias, np.float64), -exponent)).astype(np.int64)
    return IntegerLayer(integers, columns.astype(np.uint8), offset, shift, activation)


def _quanta(weight: Array, signal: _Signal, weight_noise: float) -> Float64s:
    """Column quanta [in] whose rounding noise is ``weight_noise`` times the noise that comes through ``weight``."""
    noise = float((np.square(weight) @ signal.noise).mean())
    return _spread_budget(weight_noise * noise, signal.power)


def _spread_budget(budget: float, power: Float64s) -> Float64s:
    """Quanta w [in] with sum(power * w^2 / 12) = budget, shared evenly; 1 where there is nothing to round."""
    return np.sqrt(12 * budget / (len(power) * power)) if budget > 0 else np.ones(len(power))


def _lowest_unit(weight: Array, bias: float, limit: int) -> float:
    """Least unit in which sums over inputs up to ``limit`` stay well below the exact range."""
    reach = float(np.abs(weight).sum(axis=1, dtype=np.float64).max())
    return (reach * limit + float(bias)) * 4 / OUTPUT_LIMIT


def _rounded_power(spread: Float64s) -> Float64s:
    """E[round(y)^2] of Laplacian latents of root mean square ``spread``: the sum of (2j - 1) P(|y| > j - 1/2)."""
    decay = math.sqrt(2) / np.maximum(spread, 1e-3)
    power: Float64s = np.exp(-decay / 2) * (1 + np.exp(-decay)) / np.square(np.expm1(-decay))
    return np.maximum(power, _LEAST_POWER)


def _multiples(values: Array, bits: int) -> npt.NDArray[np.int64]:
    """The nearest multiples of 2^bits."""
    return np.rint(np.ldexp(values, -bits)).astype(np.int64) << bits


def _floor_log2(value: float) -> int:
    """The exponent of the greatest power of two not above ``value``; at least -104, which any scale leaves above 0."""
    return max(math.frexp(value)[1] - 1, -104) if value > 0 else 0
