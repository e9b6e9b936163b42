"""Exact synthesis: a network of integers that gives the same bytes on every machine.

    latents q ─┬─ linear path ───────────────────────┐
               └─ layer ─ ReLU ─ ... ─ layer ────────┴─ + offset = z,    x_hat = z * unit

A layer is ``floor((W (q << exponent) + bias + 2^(shift-1)) / 2^shift)`` and an activation. Products run in float64
with every partial sum below 2^53, where float64 adds integers exactly: order of summation, batch size, threads and
device cannot change the result. That bound is proved whenever a network is built, read from a file included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from aecompress.devices import upload
from aecompress.entropy import integers
from aecompress.errors import ModelError
from aecompress.spec import Array

Int64s = npt.NDArray[np.int64]

#: Float64 holds every integer below this.
EXACT = 2**53

#: Sums of the outputs stay below this, so that ``z * unit`` rounds once.
OUTPUT_LIMIT = 2**52

#: ReLU outputs are clamped to this.
HIDDEN_LIMIT = 2**20 - 1

#: The sigmoid table: arguments in units of 1/1024 from -16 to 16, values in units of 2^-15.
SIGMOID_INPUT_BITS, SIGMOID_OUTPUT_BITS, SIGMOID_REACH = 10, 15, 16

#: Greatest left shift of a layer's input, and greatest right shift of its sum.
EXPONENT_LIMIT, SHIFT_LIMIT = 40, 52

ACTIVATIONS = ("linear", "relu", "sigmoid")


class Stored(ABC):
    """What a model file holds as integer arrays."""

    @abstractmethod
    def tensors(self) -> dict[str, Array]:
        """The arrays."""

    @cached_property
    def stored(self) -> dict[str, Array]:
        """The same as streams, which take long to find."""
        return integers.to_streams(self.tensors())


@dataclass(frozen=True)
class IntegerLayer:
    """One layer: weights, rescaling by a power of two, activation.

    Attributes:
        weight: integers of at most 32 bits [out, in]. Most columns need 8 bits or fewer.
        exponent: uint8 [in]; input k counts ``2**exponent[k]``-fold, so each column is as coarse as it may be.
        bias: int64 [out].
        shift: right shift of the sum, rounding halves up.
        activation: ``linear``, ``relu`` (clamped to HIDDEN_LIMIT) or ``sigmoid`` (by table).
    """

    weight: npt.NDArray[np.int32]
    exponent: npt.NDArray[np.uint8]
    bias: Int64s
    shift: int
    activation: str

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.weight.dtype != np.int32:
            raise ModelError("A layer's weights are not a matrix of 32-bit integers; the model is damaged.")
        outputs, inputs = self.weight.shape
        if self.exponent.shape != (inputs,) or self.bias.shape != (outputs,) or not outputs or not inputs:
            raise ModelError("A layer's weights and bias do not belong together; the model is damaged.")
        if int(self.exponent.max()) > EXPONENT_LIMIT or not 0 <= self.shift <= SHIFT_LIMIT:
            raise ModelError("A layer rescales by more than any network does; the model is damaged.")
        if self.activation not in ACTIVATIONS:
            raise ModelError(f"A layer has the unknown activation {self.activation!r}; the model is damaged.")

    @cached_property
    def matrix(self) -> npt.NDArray[np.float64]:
        """float64 [in, out], column scales included: what inputs are multiplied by."""
        scaled: npt.NDArray[np.float64] = np.ldexp(self.weight.T.astype(np.float64), self.exponent[:, None].astype(int))
        return scaled

    @cached_property
    def reach(self) -> int:
        """Greatest sum of the absolute weights of one output; exact below 2^53, and no less than 2^53 beyond."""
        return int(np.abs(self.matrix).sum(axis=0).max())

    def sum_bound(self, inputs: int) -> int:
        """Bound of every partial sum when inputs lie in [-inputs, inputs]."""
        half = (1 << self.shift) >> 1
        return self.reach * inputs + max(abs(int(self.bias.min())), abs(int(self.bias.max()))) + half

    def output_bound(self, inputs: int) -> int:
        """Bound of the outputs' magnitude when inputs lie in [-inputs, inputs]."""
        if self.activation == "relu":
            return HIDDEN_LIMIT
        if self.activation == "sigmoid":
            return 1 << SIGMOID_OUTPUT_BITS
        return (self.sum_bound(inputs) >> self.shift) + 1

    def first_inputs(self, count: int) -> IntegerLayer:
        """The layer without its inputs from ``count`` on."""
        return replace(self, weight=self.weight[:, :count], exponent=self.exponent[:count])

    def apply(self, inputs: Any, library: Any, move: Any) -> Any:
        """Integers in float64 [n, in] to integers in float64 [n, out].

        ``library`` is numpy or torch, and ``move`` brings numpy arrays to where the inputs are.
        """
        total = inputs @ move(self.matrix) + move(self.bias.astype(np.float64))
        if self.shift:
            total = library.floor((total + 2.0 ** (self.shift - 1)) * 2.0**-self.shift)
        if self.activation == "linear":
            return total
        if self.activation == "relu":
            return library.clip(total, 0, HIDDEN_LIMIT)
        edge = SIGMOID_REACH << SIGMOID_INPUT_BITS
        index = library.asarray(library.clip(total, -edge, edge) + edge, dtype=library.int64)
        return library.take(move(sigmoid_table()), index)

    def tensors(self) -> dict[str, Array]:
        """Weights as [in, out]: those of one latent are of one size and lie side by side."""
        return {
            "weight": narrow(np.ascontiguousarray(self.weight.T)),
            "exponent": self.exponent,
            "bias": narrow(self.bias),
            "head": np.array([self.shift, ACTIVATIONS.index(self.activation)], np.int8),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array], prefix: str) -> IntegerLayer:
        weight = _integers(tensors, f"{prefix}weight", 2, 2**31 - 1)
        shift, activation = _integers(tensors, f"{prefix}head", 1, 127, size=2).tolist()
        if not 0 <= activation < len(ACTIVATIONS):
            raise ModelError("A layer has an unknown activation; the model is damaged.")
        return cls(
            np.ascontiguousarray(weight.T, np.int32),
            _integers(tensors, f"{prefix}exponent", 1, 255, low=0).astype(np.uint8),
            _integers(tensors, f"{prefix}bias", 1, EXACT),
            shift,
            ACTIVATIONS[activation],
        )


@dataclass(frozen=True)
class IntegerNetwork(Stored):
    """Exact synthesis network: latents to integers ``z``, and ``x_hat = z * unit``.

    Attributes:
        branches: paths whose outputs add up; each a tuple of layers, all but the last with ReLU.
        offset: int64 [D], added to the sum: output bias and the normaliser's centre.
        unit_exponent: int16 [1] or [D]; ``unit`` is 2 to its power, the normaliser's scale included.
        limit: latents beyond [-limit, limit] count as the nearer end, while packing and while unpacking.
    """

    branches: tuple[tuple[IntegerLayer, ...], ...]
    offset: Int64s
    unit_exponent: npt.NDArray[np.int16]
    limit: int

    def __post_init__(self) -> None:
        _check_chain(self.branches, len(self.offset))
        if self.unit_exponent.shape not in ((1,), self.offset.shape):
            raise ModelError("The network's units and outputs do not belong together; the model is damaged.")
        if not ((self.unit_exponent >= -1074) & (self.unit_exponent <= 1023)).all():
            raise ModelError("The network's units are no float64 numbers; the model is damaged.")
        if not 1 <= self.limit < 2**31 or not within_bounds(self.branches, self.offset, self.limit):
            raise ModelError("The network's sums could exceed what float64 adds exactly; fit the model again.")

    @property
    def latent_dim(self) -> int:
        return int(self.branches[0][0].weight.shape[1])

    @cached_property
    def unit(self) -> npt.NDArray[np.float64]:
        """float64 [1] or [D], powers of two: the value of one step of ``z``."""
        unit: npt.NDArray[np.float64] = np.ldexp(1.0, self.unit_exponent.astype(int))
        return unit

    def synthesis(self, latents: Array, device: str = "cpu") -> Int64s:
        """Integers int64 [n, D], below 2^52, of latents int32 [n, K]; the same on every ``device`` (a torch name)."""
        inputs = np.clip(latents, -self.limit, self.limit).astype(np.float64)
        if device == "cpu":
            return _as_integers(self._run(inputs, np, lambda array: array))
        import torch

        move = partial(upload, device=device)
        return _as_integers(self._run(move(inputs), torch, move).cpu().numpy())

    def _run(self, inputs: Any, library: Any, move: Any) -> Any:
        total = move(self.offset.astype(np.float64))
        for branch in self.branches:
            x = inputs
            for layer in branch:
                x = layer.apply(x, library, move)
            total = total + x
        return total

    def truncated(self, latents: int) -> IntegerNetwork:
        """The network of the first ``latents`` latents: it gives the integers that zeros for the others would."""
        return replace(self, branches=tuple((path[0].first_inputs(latents), *path[1:]) for path in self.branches))

    def values(self, z: Int64s, dtype: np.dtype[Any]) -> Array:
        """``z * unit`` in the user's dtype [n, D]: rounded to the nearest, clipped to what the dtype holds."""
        scaled = z.astype(np.float64) * self.unit
        if dtype.kind == "b":
            return scaled >= 0.5
        if dtype.kind == "f":
            most = np.finfo(dtype).max
            return np.clip(scaled, -float(most), float(most)).astype(dtype)
        return _round_to(scaled, dtype)

    def tensors(self) -> dict[str, Array]:
        """Integer arrays, each as narrow as it fits."""
        zeros = _trailing_zeros(self.offset)
        found: dict[str, Array] = {
            "limit": np.array([self.limit], np.int32),
            "depths": np.array([len(branch) for branch in self.branches], np.int8),
            "unit": self.unit_exponent,
            "offset": narrow(self.offset >> zeros),
            "offset_exponent": np.array([zeros], np.int8),
        }
        for b, branch in enumerate(self.branches):
            for i, layer in enumerate(branch):
                found |= {f"{b}.{i}.{name}": array for name, array in layer.tensors().items()}
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> IntegerNetwork:
        """The reverse of ``tensors``, from integers of any width; raises ModelError unless they are exact."""
        depths = _integers(tensors, "depths", 1, 64, low=1).tolist()
        branches = tuple(
            tuple(IntegerLayer.from_tensors(tensors, f"{b}.{i}.") for i in range(depth))
            for b, depth in enumerate(depths)
        )
        zeros = int(_integers(tensors, "offset_exponent", 1, 52, low=0, size=1)[0])
        return cls(
            branches,
            _integers(tensors, "offset", 1, OUTPUT_LIMIT >> zeros) << zeros,
            _integers(tensors, "unit", 1, 2**15 - 1).astype(np.int16),
            int(_integers(tensors, "limit", 1, 2**31 - 1, size=1)[0]),
        )


def within_bounds(branches: tuple[tuple[IntegerLayer, ...], ...], offset: Int64s, limit: int) -> bool:
    """True if latents in [-limit, limit] keep all sums of layers below 2^53 and the outputs below 2^52."""
    output = max(abs(int(offset.min())), abs(int(offset.max())))
    for branch in branches:
        inputs = limit
        for layer in branch:
            if layer.sum_bound(inputs) >= EXACT:
                return False
            inputs = layer.output_bound(inputs)
        output += inputs
    return output < OUTPUT_LIMIT


def greatest_limit(branches: tuple[tuple[IntegerLayer, ...], ...], offset: Int64s) -> int:
    """The greatest 2^p - 1 of at most 31 bits that ``within_bounds`` allows as limit of the latents; 0 if none is."""
    allowed = (limit for limit in (2**p - 1 for p in range(31, 0, -1)) if within_bounds(branches, offset, limit))
    return next(allowed, 0)


@cache
def sigmoid_table() -> npt.NDArray[np.float64]:
    """Integers round(2^15 / (1 + exp(-t / 1024))) for t = -16384 ... 16384, by integer arithmetic alone."""
    one = 1 << 160
    step = _exp_of_minus_reciprocal(1 << SIGMOID_INPUT_BITS, one)
    power, upper = one, []
    for _ in range((SIGMOID_REACH << SIGMOID_INPUT_BITS) + 1):
        upper.append(((one << (SIGMOID_OUTPUT_BITS + 1)) // (one + power) + 1) >> 1)
        power = power * step // one
    lower = [(1 << SIGMOID_OUTPUT_BITS) - value for value in upper[:0:-1]]
    return np.array(lower + upper, np.float64)


def _exp_of_minus_reciprocal(n: int, one: int) -> int:
    """exp(-1/n) in units of 1/one: one over the Taylor series of exp(1/n)."""
    term, total, order = one, 0, 0
    while term:
        total += term
        order += 1
        term //= n * order
    return one * one // total


def narrow(values: Array) -> Array:
    """The same integers in the narrowest signed dtype that holds them."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    fits = (t for t in (np.int8, np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(next(fits, np.int64))


def _check_chain(branches: tuple[tuple[IntegerLayer, ...], ...], outputs: int) -> None:
    if not branches or not all(branches):
        raise ModelError("The network has no layers; the model is damaged.")
    for branch in branches:
        sizes = [branches[0][0].weight.shape[1], *(layer.weight.shape[0] for layer in branch)]
        if [layer.weight.shape[1] for layer in branch] != sizes[:-1] or sizes[-1] != outputs:
            raise ModelError("The network's layers do not fit one another; the model is damaged.")
        if any(layer.activation != "relu" for layer in branch[:-1]) or branch[-1].activation == "relu":
            raise ModelError("The network's activations are in the wrong places; the model is damaged.")


def _integers(
    tensors: Mapping[str, Array], name: str, ndim: int, high: int, *, low: int | None = None, size: int | None = None
) -> Int64s:
    """Tensor ``name`` as int64, checked: axes, number of elements (at least one), range [low or -high, high]."""
    array = tensors.get(name)
    if array is None or array.dtype.kind not in "iu" or array.ndim != ndim or array.size == 0:
        raise ModelError(f"The network's {name} is missing or of the wrong type; the model is damaged.")
    if size is not None and array.size != size:
        raise ModelError(f"The network's {name} has the wrong size; the model is damaged.")
    if int(array.min()) < (-high if low is None else low) or int(array.max()) > high:
        raise ModelError(f"The network's {name} has values out of range; the model is damaged.")
    return array.astype(np.int64)


def _as_integers(values: Array) -> Int64s:
    return values.astype(np.int64)


def _trailing_zeros(values: Int64s) -> int:
    """The greatest s such that all values are multiples of 2^s (0 where all are zero)."""
    bits = int(np.bitwise_or.reduce(values))
    return (bits & -bits).bit_length() - 1 if bits else 0


def _round_to(scaled: Array, dtype: np.dtype[Any]) -> Array:
    """Nearest integers (halves to even) within the range of ``dtype``."""
    info = np.iinfo(dtype)
    # The ends of 64-bit types round up in float64: compare before converting.
    inside = np.clip(np.rint(scaled), float(info.min), np.nextafter(float(info.max) + 1, 0))
    return np.where(scaled >= float(info.max), dtype.type(info.max), inside.astype(dtype))
