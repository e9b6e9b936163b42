"""A small integer network that says how the next integer is distributed: its numbers, checked and stored.

    neighbours, their errors, place, guesses ──► two layers of ReLU units ──► mixture of five logistics
                                       ╰──────────────────────────────────╯

It takes over from the context tree and its tables where that pays. Inputs are in units of the activity, so one
network serves calm and rough places. Weights are multiples of 2^-7, inputs and activations of 2^-5, all of few bits,
so every sum is an integer below 2^24: exact in any order, in int32 and in float32 as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aecompress.context.lms import RATES
from aecompress.errors import CorruptError
from aecompress.spec import Array

#: Bits below the point of weights, and of inputs and activations.
WEIGHT_BITS, UNIT_BITS = 7, 5

#: Greatest magnitudes: of an input, an activation, a weight, a bias.
MOST_INPUT, MOST_UNIT, MOST_WEIGHT, MOST_BIAS = 127, 255, 511, 1 << 21

#: Inputs beside the neighbours: activity, level, phase, b, y, x, channel, and the guesses of ``lms``.
PLACE_INPUTS = 7 + len(RATES)

#: Logistics in a mixture; each has a weight, a mean and a scale.
COMPONENTS = 5
OUTPUTS = 3 * COMPONENTS

# Before version 12 mixtures had three; weights of the others are 0 with a logit that no sum falls below.
_FORMER_COMPONENTS, _NEVER = 3, -(1 << 28)

#: Means of a trace of errors, and inputs for two traces, behind all others; before version 12 there are none.
TRACE = 4
TRACE_INPUTS = 2 * TRACE

#: Units of a layer come in vectors of this many, inputs in groups of four.
LANES = 16
_GROUP = 4

_CACHE_LINE = 64

#: Most units of a layer, most inputs, most channels with biases of their own.
MOST_UNITS, MOST_INPUTS, MOST_CHANNELS = 96, 100, 16


def inputs_of(width: int, *, traced: bool = True) -> int:
    """Inputs of a network whose stencil has ``width`` neighbours: in whole groups, and with or without traces."""
    return -(-(2 * width + PLACE_INPUTS) // _GROUP) * _GROUP + traced * TRACE_INPUTS


class Layers(NamedTuple):
    """The network as the compiled loops want it: flat, weights int16 and in pairs, biases int32; see ``dense``.

    Outputs are filled up to a vector.
    """

    first: Array  # [inputs / 2 * units * 2]
    first_bias: Array  # [channels * units]
    second: Array  # [units / 2 * units * 2]
    second_bias: Array  # [units]
    last: Array  # [(units + _GROUP) / 2 * LANES * 2]
    last_bias: Array  # [LANES]


@dataclass(frozen=True)
class Network:
    """Integer weights, in 2^-WEIGHT_BITS; biases in 2^-(WEIGHT_BITS + UNIT_BITS).

    Attributes:
        first: int32 [inputs, units] weights; ``first_bias`` int32 [channels or 1, units].
        second: int32 [units, units]; ``second_bias`` int32 [units].
        last: int32 [units + guesses, outputs]: the guesses of ``lms`` come to the last layer as well, past the others;
            ``last_bias`` int32 [outputs]: logits, means and scales of the logistics.
    """

    first: Array
    first_bias: Array
    second: Array
    second_bias: Array
    last: Array
    last_bias: Array

    @property
    def traced(self) -> bool:
        """True if it is told traces of errors and mixes COMPONENTS logistics: since version 12."""
        return len(self.last_bias) == OUTPUTS

    def layers(self) -> Layers:
        many = len(self.last_bias) // 3
        lanes = [kind * COMPONENTS + k for kind in range(3) for k in range(many)]
        wide = np.zeros((len(self.second) + _GROUP, LANES), np.int32)
        wide[: len(self.last), lanes] = self.last
        bias = np.zeros(LANES, np.int32)
        bias[many:COMPONENTS] = _NEVER
        bias[lanes] = self.last_bias
        first, second, last = paired(self.first), paired(self.second), paired(wide)
        return Layers(first, self.first_bias.reshape(-1), second, self.second_bias, last, bias)

    def arrays(self) -> list[Array]:
        """For a record: each unit's weights together, since they are alike."""
        return [self.first.T, self.first_bias, self.second.T, self.second_bias, self.last.T, self.last_bias]

    @classmethod
    def from_arrays(cls, arrays: Sequence[Array], width: int, channels: int) -> Network:
        """Undo ``arrays``, for a stencil of ``width`` neighbours. Raises CorruptError for impossible numbers."""
        first, first_bias, second, second_bias, last, last_bias = arrays
        units = len(first)
        rows = channels if channels <= MOST_CHANNELS else 1
        traced = len(last) == OUTPUTS
        inputs, outputs = inputs_of(width, traced=traced), OUTPUTS if traced else 3 * _FORMER_COMPONENTS
        last_shape = (outputs, units + len(RATES))
        shapes = ((units, inputs), (rows, units), (units, units), (units,), last_shape, (outputs,))
        if not (
            0 < units <= MOST_UNITS
            and units % LANES == 0
            and inputs <= MOST_INPUTS
            and all(array.shape == shape for array, shape in zip(arrays, shapes, strict=True))
            and all(bool((np.abs(array) <= MOST_WEIGHT).all()) for array in (first, second, last))
            and all(bool((np.abs(array) <= MOST_BIAS).all()) for array in (first_bias, second_bias, last_bias))
        ):
            raise CorruptError("The context model's network holds impossible numbers; the file is damaged.")
        return cls(
            *(array.astype(np.int32) for array in (first.T, first_bias, second.T, second_bias, last.T, last_bias))
        )


def paired(weights: Array) -> Array:
    """Weights of a layer, integers [inputs, units], as ``dense`` wants them: int16, flat, those of two inputs together.

    They begin with a cache line: vectors that straddle two take twice as long.
    """
    pairs = weights.reshape(-1, 2, weights.shape[1]).swapaxes(1, 2).astype(np.int16)
    room = np.empty(pairs.nbytes + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    found = room[start : start + pairs.nbytes].view(np.int16)
    found[:] = pairs.reshape(-1)
    return found
