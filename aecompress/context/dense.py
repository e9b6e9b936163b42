"""One layer of a network, compiled to the processor's vectors.

What the loops of numba would make of it is many times slower: the sums would travel through memory. Inputs and weights
are int16 and come in pairs, for processors multiply two such pairs and add them up in one instruction, on a vector of
units at once. Sums are int32, below 2^24.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, types
from numba.extending import intrinsic

from aecompress.context.network import LANES

_INDEX, _SUM, _NUMBER = ir.IntType(64), ir.IntType(32), ir.IntType(16)
_SUMS, _PAIRS = ir.VectorType(_SUM, LANES), ir.VectorType(_NUMBER, 2 * LANES)
_PRODUCTS = ir.VectorType(_SUM, 2 * LANES)
_EVEN = 2  # pairs of inputs come in multiples of this

# Vectors of units that are served together, so that each input is fetched once for them, and sums of each that grow
# side by side, so that none waits for the one before: as many as processors have room for, which is twice as many where
# vectors are long.
_WIDE = bool(get_host_cpu_features().get("avx512f"))
_SHAPES = ((4, 2 if _WIDE else 1), (2, 2), (1, 4))


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
        pairs = builder.udiv(many, _index(2))
        done = cgutils.alloca_once_value(builder, _index(0))
        for width, chains in _SHAPES:
            start, room = builder.load(done), builder.sub(units, _index((width - 1) * LANES))
            with cgutils.for_range_slice(builder, start, room, _index(width * LANES), _INDEX) as (j, _):
                first = [_load(builder, bias, builder.add(builder.add(at, j), k), _SUMS) for k in _lanes(width)]
                totals = _sums(builder, inputs, weights, pairs, units, j, first, chains)
                for k, total in zip(_lanes(width), totals, strict=True):
                    builder.store(total, _pointer(builder, out, builder.add(j, k), _SUMS)).align = 2
                builder.store(builder.add(j, _index(width * LANES)), done)
        return context.get_dummy_value()

    return signature, generate


def _sums(
    builder: Any, inputs: Any, weights: Any, pairs: Any, units: Any, j: Any, first: list[Any], chains: int
) -> list[Any]:
    """Vectors of sums of units from ``j`` on that begin with ``first``."""
    sums = [[cgutils.alloca_once(builder, _SUMS) for _ in range(chains)] for _ in first]
    for mine, start in zip(sums, first, strict=True):
        for chain, value in zip(mine, [start] + [ir.Constant(_SUMS, [0] * LANES)] * (chains - 1), strict=True):
            builder.store(value, chain)

    def take(begin: Any, end: Any, together: int) -> None:
        """Pairs of inputs into so many chains each."""
        with cgutils.for_range_slice(builder, begin, end, _index(together), _INDEX) as (i, _):
            for chain in range(together):
                pair = builder.add(i, _index(chain))
                values = _splat(builder, _load(builder, inputs, builder.mul(pair, _index(2)), _SUM))
                row = builder.add(builder.mul(pair, units), j)
                for k, mine in zip(_lanes(len(sums)), sums, strict=True):
                    at = builder.mul(builder.add(row, k), _index(2))
                    added = _added(builder, values, _load(builder, weights, at, _PAIRS))
                    builder.store(builder.add(builder.load(mine[chain]), added), mine[chain])

    whole = builder.sub(pairs, builder.urem(pairs, _index(chains)))
    take(_index(0), whole, chains)
    if chains > _EVEN:
        take(whole, pairs, _EVEN)
    return [reduce(builder.add, (builder.load(chain) for chain in mine)) for mine in sums]


def _index(number: int) -> Any:
    return ir.Constant(_INDEX, number)


def _lanes(width: int) -> list[Any]:
    """Where each of so many vectors begins."""
    return [_index(k * LANES) for k in range(width)]


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
