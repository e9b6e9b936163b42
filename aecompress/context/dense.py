"""One layer of a network, compiled to the processor's vectors.

What the loops of numba would make of it is four times slower: the sums would travel through memory. All numbers are
integers and all sums below 2^24, so float32 gives them exactly, whatever the order and whether or not a product and a
sum are fused.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from aecompress.context.network import LANES

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INDEX = ir.IntType(64)
_CHAINS = 4  # sums that grow side by side, so that none waits for the one before
_FUSED = ("contract",)


@intrinsic
def dense(_context: Any, x: Any, many: Any, weights: Any, bias: Any, at: Any, units: Any, out: Any) -> Any:
    """out[j] = bias[at + j] + sum over i < many of x[i] * weights[i * units + j], j < units.

    Flat float32 arrays; ``many`` a multiple of 4, ``units`` of 16, both int64.
    """
    signature = types.void(x, many, weights, bias, at, units, out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(k: int) -> Any:
            return context.make_array(signature.args[k])(context, builder, arguments[k]).data

        inputs, weights, bias, out = (data(k) for k in (0, 2, 3, 6))
        many, at, units = (arguments[k] for k in (1, 4, 5))
        zero = ir.Constant(_INDEX, 0)
        with cgutils.for_range_slice(builder, zero, units, ir.Constant(_INDEX, LANES), _INDEX) as (j, _):
            sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(_CHAINS)]
            builder.store(_load(builder, bias, builder.add(at, j)), sums[0])
            for chain in sums[1:]:
                builder.store(ir.Constant(_VECTOR, [0.0] * LANES), chain)
            with cgutils.for_range_slice(builder, zero, many, ir.Constant(_INDEX, _CHAINS), _INDEX) as (i, _):
                for k, chain in enumerate(sums):
                    row = builder.add(i, ir.Constant(_INDEX, k))
                    value = _splat(builder, builder.load(builder.gep(inputs, [row])))
                    weight = _load(builder, weights, builder.add(builder.mul(row, units), j))
                    product = builder.fmul(value, weight, flags=_FUSED)
                    builder.store(builder.fadd(builder.load(chain), product, flags=_FUSED), chain)
            first, second, third, fourth = (builder.load(chain) for chain in sums)
            total = builder.fadd(builder.fadd(first, second), builder.fadd(third, fourth))
            stored = builder.store(total, _pointer(builder, out, j))
            stored.align = 4
        return context.get_dummy_value()

    return signature, generate


def _pointer(builder: Any, data: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _load(builder: Any, data: Any, at: Any) -> Any:
    loaded = builder.load(_pointer(builder, data, at))
    loaded.align = 4
    return loaded


def _splat(builder: Any, value: Any) -> Any:
    """A vector of one value."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    single = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.VectorType(ir.IntType(32), LANES)
    return builder.shuffle_vector(single, nothing, ir.Constant(lanes, [0] * LANES))
