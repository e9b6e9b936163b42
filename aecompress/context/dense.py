"""One layer of a network, compiled to the processor's vectors.

What the loops of numba would make of it is many times slower: the sums would travel through memory. Inputs and weights
are int16 and come in pairs, for processors multiply two such pairs and add them up in one instruction, on a vector of
units at once. Sums are int32, below 2^24.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from aecompress.context.network import LANES

_INDEX, _SUM, _NUMBER = ir.IntType(64), ir.IntType(32), ir.IntType(16)
_SUMS, _PAIRS = ir.VectorType(_SUM, LANES), ir.VectorType(_NUMBER, 2 * LANES)
_PRODUCTS = ir.VectorType(_SUM, 2 * LANES)
_CHAINS = 2  # sums that grow side by side, so that none waits for the one before


@intrinsic
def dense(_context: Any, x: Any, many: Any, weights: Any, bias: Any, at: Any, units: Any, out: Any) -> Any:
    """out[j] = bias[at + j] + sum over i < many of x[i] * weights[(i // 2 * units + j) * 2 + i % 2], j < units.

    Flat: ``x`` and ``weights`` int16, ``bias`` and ``out`` int32. ``many`` is a multiple of 4, ``units`` of 16, int64.
    """
    signature = types.void(x, many, weights, bias, at, units, out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(k: int) -> Any:
            return context.make_array(signature.args[k])(context, builder, arguments[k]).data

        inputs, weights, bias, out = (data(k) for k in (0, 2, 3, 6))
        many, at, units = (arguments[k] for k in (1, 4, 5))
        zero, two = ir.Constant(_INDEX, 0), ir.Constant(_INDEX, 2)
        pairs = builder.udiv(many, two)
        with cgutils.for_range_slice(builder, zero, units, ir.Constant(_INDEX, LANES), _INDEX) as (j, _):
            sums = [cgutils.alloca_once(builder, _SUMS) for _ in range(_CHAINS)]
            builder.store(_load(builder, bias, builder.add(at, j), _SUMS), sums[0])
            for chain in sums[1:]:
                builder.store(ir.Constant(_SUMS, [0] * LANES), chain)
            with cgutils.for_range_slice(builder, zero, pairs, ir.Constant(_INDEX, _CHAINS), _INDEX) as (i, _):
                for k, chain in enumerate(sums):
                    pair = builder.add(i, ir.Constant(_INDEX, k))
                    values = _splat(builder, _load(builder, inputs, builder.mul(pair, two), _SUM))
                    row = builder.mul(builder.add(builder.mul(pair, units), j), two)
                    added = _added(builder, values, _load(builder, weights, row, _PAIRS))
                    builder.store(builder.add(builder.load(chain), added), chain)
            total = reduce(builder.add, (builder.load(chain) for chain in sums))
            builder.store(total, _pointer(builder, out, j, _SUMS)).align = 2
        return context.get_dummy_value()

    return signature, generate


def _pointer(builder: Any, data: Any, at: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def _load(builder: Any, data: Any, at: Any, kind: Any) -> Any:
    loaded = builder.load(_pointer(builder, data, at, kind))
    loaded.align = 2
    return loaded


def _splat(builder: Any, pair: Any) -> Any:
    """A vector of one pair, which comes as one number of 32 bits."""
    nothing = ir.Constant(_SUMS, ir.Undefined)
    single = builder.insert_element(nothing, pair, ir.Constant(_SUM, 0))
    spread = builder.shuffle_vector(single, nothing, ir.Constant(_SUMS, [0] * LANES))
    return builder.bitcast(spread, _PAIRS)


def _added(builder: Any, values: Any, weights: Any) -> Any:
    """Products of two vectors, the two of each pair added up. Compilers know this pattern."""
    product = builder.mul(builder.sext(values, _PRODUCTS), builder.sext(weights, _PRODUCTS))
    first, second = (
        builder.shuffle_vector(product, product, ir.Constant(_SUMS, list(range(k, 2 * LANES, 2)))) for k in range(2)
    )
    return builder.add(first, second)
