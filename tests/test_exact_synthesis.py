"""Exact decode: whatever evaluates an integer network, and however, the integers are the same."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aecompress.autoencoder.integer import (
    EXACT,
    HIDDEN_LIMIT,
    OUTPUT_LIMIT,
    IntegerLayer,
    IntegerNetwork,
    greatest_limit,
    narrow,
    sigmoid_table,
    within_bounds,
)
from aecompress.errors import ModelError


def layer(rng, inputs, outputs, activation, *, weight=2000, exponent=6, shift=0, bias=10**6):
    return IntegerLayer(
        rng.integers(-weight, weight + 1, (outputs, inputs)).astype(np.int32),
        rng.integers(0, exponent + 1, inputs).astype(np.uint8),
        rng.integers(-bias, bias + 1, outputs),
        shift,
        activation,
    )


def network(seed=0, latent_dim=7, row_size=11, hidden=(9, 13), end="linear"):
    rng = np.random.default_rng(seed)
    sizes = [latent_dim, *hidden]
    curved = [layer(rng, a, b, "relu", shift=9) for a, b in pairwise(sizes)]
    last = layer(rng, sizes[-1], row_size, end, shift=20 if end == "sigmoid" else 3)
    branches = ((*curved, last),)
    if end == "linear":
        branches = ((layer(rng, latent_dim, row_size, "linear"),), *branches)
    offset = rng.integers(-(2**40), 2**40, row_size)
    return IntegerNetwork(branches, offset, np.array([-12], np.int16), greatest_limit(branches, offset))


def latents(seed=1, rows=50, latent_dim=7, reach=3000):
    return np.random.default_rng(seed).integers(-reach, reach + 1, (rows, latent_dim)).astype(np.int32)


def by_hand(network, row):
    """Synthesis of one row in Python's own integers."""
    row = [max(-network.limit, min(network.limit, int(q))) for q in row]
    total = [int(value) for value in network.offset]
    table = [int(value) for value in sigmoid_table()]
    for branch in network.branches:
        x = row
        for layer in branch:
            scaled = [q << int(e) for q, e in zip(x, layer.exponent, strict=True)]
            sums = [
                sum(int(w) * q for w, q in zip(weights, scaled, strict=True)) + int(b)
                for weights, b in zip(layer.weight, layer.bias, strict=True)
            ]
            x = [(value + ((1 << layer.shift) >> 1)) >> layer.shift for value in sums]
            if layer.activation == "relu":
                x = [max(0, min(HIDDEN_LIMIT, value)) for value in x]
            if layer.activation == "sigmoid":
                x = [table[max(-16384, min(16384, value)) + 16384] for value in x]
        total = [a + b for a, b in zip(total, x, strict=True)]
    return total


@pytest.mark.parametrize("end", ["linear", "sigmoid"])
@given(seed=st.integers(0, 2**32 - 1), reach=st.sampled_from([1, 50, 10**5, 2**31 - 1]))
@settings(max_examples=25, deadline=None)
def test_it_is_what_integers_give(end, seed, reach):
    net = network(seed, end=end)
    q = latents(seed, rows=4, reach=reach)
    assert net.synthesis(q).tolist() == [by_hand(net, row) for row in q]


@pytest.mark.parametrize("end", ["linear", "sigmoid"])
def test_batch_size_does_not_matter(end):
    net, q = network(end=end), latents()
    whole = net.synthesis(q)
    for size in (1, 3, 16, 49):
        parts = [net.synthesis(q[at : at + size]) for at in range(0, len(q), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert net.synthesis(q[:0]).shape == (0, 11)


def large():
    return network(latent_dim=96, row_size=300, hidden=(128, 128)), latents(rows=400, latent_dim=96)


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_on_any_number_of_threads_agrees_with_numpy(threads):
    net, q = large()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # "cpu:0" is torch's own name of the CPU; plain "cpu" is served by numpy.
        np.testing.assert_array_equal(net.synthesis(q, "cpu:0"), net.synthesis(q))
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator here")
def test_an_accelerator_agrees_with_numpy():
    for end in ("linear", "sigmoid"):
        net, q = network(latent_dim=96, row_size=300, hidden=(128, 128), end=end), latents(rows=400, latent_dim=96)
        np.testing.assert_array_equal(net.synthesis(q, "cuda"), net.synthesis(q))


def test_order_of_summation_does_not_matter():
    net, q = large()
    order = np.random.default_rng(3).permutation(96)
    branches = tuple(
        (
            IntegerLayer(
                np.ascontiguousarray(first.weight[:, order]),
                first.exponent[order],
                first.bias,
                first.shift,
                first.activation,
            ),
            *rest,
        )
        for first, *rest in net.branches
    )
    permuted = IntegerNetwork(branches, net.offset, net.unit_exponent, net.limit)
    np.testing.assert_array_equal(permuted.synthesis(q[:, order]), net.synthesis(q))


def test_latents_beyond_the_limit_count_as_the_limit():
    net = network()
    far = np.full((1, 7), np.iinfo(np.int32).max, np.int32)
    np.testing.assert_array_equal(net.synthesis(far), net.synthesis(np.full((1, 7), net.limit, np.int32)))
    np.testing.assert_array_equal(net.synthesis(-far), net.synthesis(np.full((1, 7), -net.limit, np.int32)))
    assert np.abs(net.synthesis(far)).max() < OUTPUT_LIMIT


def test_the_bound_is_tight_enough_to_use_and_never_exceeded():
    one = IntegerLayer(np.array([[3]], np.int32), np.array([4], np.uint8), np.array([-5]), 0, "linear")
    offset = np.array([0])
    assert one.sum_bound(10) == 3 * 16 * 10 + 5
    limit = greatest_limit(((one,),), offset)
    assert limit == 2**31 - 1
    edge = np.array([OUTPUT_LIMIT - 1 - one.output_bound(limit)])
    assert within_bounds(((one,),), edge, limit)
    assert not within_bounds(((one,),), edge + 1, limit)


def test_sums_that_could_exceed_the_exact_range_are_refused():
    wide = IntegerLayer(np.full((1, 4), 2**30, np.int32), np.full(4, 20, np.uint8), np.zeros(1, np.int64), 0, "linear")
    with pytest.raises(ModelError, match="exactly"):
        IntegerNetwork(((wide,),), np.zeros(1, np.int64), np.zeros(1, np.int16), 2)
    with pytest.raises(ModelError, match="exactly"):
        IntegerNetwork(((network().branches[0][0],),), np.full(11, EXACT), np.zeros(1, np.int16), 1)


def test_the_sigmoid_table_is_correctly_rounded():
    table = sigmoid_table()
    with localcontext() as context:
        context.prec = 50
        for t in (-16384, -5000, -1, 0, 1, 77, 3000, 16384):
            exact = 2**15 / (1 + (Decimal(-t) / 1024).exp())
            assert int(table[t + 16384]) == int(exact.to_integral_value())
    assert (np.diff(table) >= 0).all()
    np.testing.assert_array_equal(table + table[::-1], 2**15)


@pytest.mark.parametrize("end", ["linear", "sigmoid"])
def test_tensors_there_and_back(end):
    net = network(end=end)
    stored = net.tensors()
    assert all(array.dtype.kind in "iu" for array in stored.values())
    again = IntegerNetwork.from_tensors({name: array.astype(np.int64) for name, array in stored.items()})
    np.testing.assert_array_equal(again.synthesis(latents()), net.synthesis(latents()))
    np.testing.assert_array_equal(again.unit, net.unit)
    assert again.limit == net.limit


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 127], np.int8), ([-129], np.int16), ([2**15], np.int32), ([2**31], np.int64), ([], np.int8)],
)
def test_integers_are_stored_as_small_as_they_fit(values, dtype):
    assert narrow(np.array(values, np.int64)).dtype == dtype


def test_missing_tensors_are_refused():
    stored = network().tensors()
    for name in stored:
        with pytest.raises(ModelError):
            IntegerNetwork.from_tensors({key: array for key, array in stored.items() if key != name})


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_tensors_are_refused_or_stay_exact(data):
    stored = dict(network().tensors())
    name = data.draw(st.sampled_from(sorted(stored)))
    array = stored[name].astype(np.int64)
    kind = data.draw(st.sampled_from(["value", "shape", "dtype", "empty"]))
    if kind == "value":
        array.flat[data.draw(st.integers(0, array.size - 1))] = data.draw(st.integers(-(2**63), 2**63 - 1))
    elif kind == "shape":
        array = array[:-1]
    elif kind == "dtype":
        array = array.astype(np.float64)
    else:
        array = array[:0]
    stored[name] = array
    try:
        net = IntegerNetwork.from_tensors(stored)
    except ModelError:
        return
    q = latents(rows=2, latent_dim=net.latent_dim, reach=2**31 - 1)
    assert net.synthesis(q).tolist() == [by_hand(net, row) for row in q]


def test_values_in_the_dtype_of_the_user():
    net = network()
    z = np.array([[-(2**20), 0, 6000, 2**51]])
    as_float = z * 2.0**-12
    assert net.values(z, np.dtype(np.float64)).tolist() == as_float.tolist()
    assert net.values(z, np.dtype(np.uint8)).tolist() == [[0, 0, 1, 255]]
    assert net.values(z, np.dtype(np.int8)).tolist() == [[-128, 0, 1, 127]]
    assert net.values(z, np.dtype(np.bool_)).tolist() == [[False, False, True, True]]
    assert net.values(z, np.dtype(np.float16))[0, 3] == np.finfo(np.float16).max
    assert net.values(z, np.dtype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_values_at_the_ends_of_64_bits(dtype):
    identity = IntegerLayer(np.ones((1, 1), np.int32), np.zeros(1, np.uint8), np.zeros(1, np.int64), 0, "linear")
    net = IntegerNetwork(((identity,),), np.zeros(1, np.int64), np.array([30], np.int16), 1)
    ends = net.values(np.array([[-(2**51)], [2**51]]), np.dtype(dtype))
    assert ends.ravel().tolist() == [np.iinfo(dtype).min, np.iinfo(dtype).max]


def test_decoding_does_not_load_torch():
    code = "import sys, aecompress.autoencoder.integer, aecompress.autoencoder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rounding_is_half_up():
    halves = IntegerLayer(np.ones((1, 1), np.int32), np.zeros(1, np.uint8), np.zeros(1, np.int64), 1, "linear")
    net = IntegerNetwork(((halves,),), np.zeros(1, np.int64), np.zeros(1, np.int16), 100)
    q = np.arange(-5, 6, dtype=np.int32)[:, None]
    assert net.synthesis(q).ravel().tolist() == [math.floor(value / 2 + 0.5) for value in range(-5, 6)]
