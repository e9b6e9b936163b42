"""The network behind a context model: exact, the same both ways, and refused where its numbers are impossible."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress import ranks
from aecompress.config import Target
from aecompress.context import fit as fitting
from aecompress.context import inputs, lms
from aecompress.context import mixture as mix
from aecompress.context.coder import NO_TABLES, ContextModel, part_of
from aecompress.context.dense import dense
from aecompress.context.network import (
    COMPONENTS,
    LANES,
    MOST_BIAS,
    MOST_CHANNELS,
    MOST_INPUT,
    MOST_INPUTS,
    MOST_UNIT,
    MOST_UNITS,
    MOST_WEIGHT,
    OUTPUTS,
    TRACE,
    TRACE_INPUTS,
    Network,
    inputs_of,
    paired,
)
from aecompress.context.passage import Decoder
from aecompress.context.sample import Sample
from aecompress.context.stencil import Layout
from aecompress.context.training import Schedule, lesson, train
from aecompress.context.tree import STUMP
from aecompress.entropy import record
from aecompress.errors import CorruptError, VerificationError
from aecompress.spec import Array

numba = pytest.importorskip("numba")

relaxed = settings(max_examples=40, deadline=None)


@numba.njit
def _dense(x: Array, weights: Array, bias: Array, at: int, units: int, out: Array) -> None:
    dense(x, x.size, weights, bias, at, units, out)


@numba.njit
def _described(out: Array, p: int, activity: int) -> Array:
    mixture = np.zeros(mix.ENTRIES, np.int64)
    mix.describe(out, p, activity, mixture)
    return mixture


@numba.njit
def _cumulative(mixture: Array, first: int, last: int) -> Array:
    found = np.empty(last - first + 1, np.int64)
    for j in range(first, last + 1):
        found[j - first] = mix.cumulative(mixture, j)
    return found


@numba.njit
def _search(mixture: Array, slots: Array) -> Array:
    """For each slot its bucket, where that starts and where the next does."""
    found = np.empty((slots.size, 3), np.int64)
    for i in range(slots.size):
        found[i, 0], found[i, 1], found[i, 2] = mix.search(mixture, slots[i])
    return found


def random_network(
    width: int, channels: int, units: int, rng: np.random.Generator, most: int = 200, *, former: bool = False
) -> Network:
    """Random weights, ``former`` in the shapes before version 12."""
    rows = channels if channels <= MOST_CHANNELS else 1
    outputs = 9 if former else OUTPUTS

    def weights(*shape: int) -> Array:
        return rng.integers(-most, most + 1, shape).astype(np.int32)

    return Network(
        weights(inputs_of(width, traced=not former), units),
        weights(rows, units) * 50,
        weights(units, units),
        weights(units) * 50,
        weights(units + len(lms.RATES), outputs),
        weights(outputs) * 50,
    )


def with_random_network(
    q: Array, coded: Array, units: int, seed: int, reference: Array | None = None, *, former: bool = False
) -> ContextModel:
    """A fitted model with a network of random weights: bad, but it must be exact."""
    model = fitting.fit([Sample(q, coded, reference)], q.size)
    width, channels = model.predictor.weights.shape[1] - 1, len(model.predictor.steps)
    network = random_network(width, channels, units, np.random.default_rng(seed), former=former)
    return replace(model, tree=STUMP, tables=NO_TABLES, network=network)


def walk(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Integers with something to learn: steps whose size depends on the place."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=shape) * (1 + 3 * (np.arange(shape[-1]) % 40 > 20))
    return np.rint(steps.cumsum(-1)).astype(np.int64)


# --- arithmetic -----------------------------------------------------------------------------------------------------


@relaxed
@given(st.sampled_from([4, 20, MOST_INPUTS]), st.sampled_from([16, 32, 64, 96]), st.integers(0, 99), st.booleans())
def test_a_layer_is_exact(many: int, units: int, seed: int, extreme: bool) -> None:
    rng = np.random.default_rng(seed)
    if extreme:
        x, weights = np.full(many, MOST_UNIT), np.full((many, units), MOST_WEIGHT) * rng.choice([-1, 1], units)
    else:
        x = rng.integers(-MOST_INPUT, MOST_INPUT + 1, many)
        weights = rng.integers(-MOST_WEIGHT, MOST_WEIGHT + 1, (many, units))
    bias = rng.integers(-MOST_BIAS, MOST_BIAS + 1, 3 * units)
    out = np.zeros(units, np.int32)
    _dense(x.astype(np.int16), paired(weights), bias.astype(np.int32), units, units, out)
    assert np.array_equal(out, x @ weights + bias[units : 2 * units])


def test_training_in_float32_is_exact_as_well() -> None:
    assert MOST_INPUTS * MOST_INPUT * MOST_WEIGHT + MOST_BIAS < 1 << 24
    assert (MOST_UNITS * MOST_UNIT + len(lms.RATES) * MOST_INPUT) * MOST_WEIGHT + MOST_BIAS < 1 << 24


outputs = st.lists(st.integers(-(1 << 23), 1 << 23), min_size=OUTPUTS, max_size=OUTPUTS)
predictions = st.one_of(st.integers(-1000, 1000), st.integers(-(1 << 50), 1 << 50))


@relaxed
@given(outputs, predictions, st.integers(0, mix.MOST_LEVEL))
def test_buckets_share_all_slots(numbers: list[int], p: int, level: int) -> None:
    """Starts grow, the first is above 0 and the last below the end: each bucket and both escapes have a slot."""
    out = np.zeros(LANES, np.int32)
    out[:OUTPUTS] = numbers
    mixture = _described(out, p, int(mix.ACTIVITIES[level]))
    starts = _cumulative(mixture, -mix.REACH, mix.REACH + 1)
    assert starts[0] >= 1
    assert starts[-1] < 1 << mix.PRECISION
    assert (np.diff(starts) >= 1).all()
    slots = np.concatenate([starts, starts - 1, np.random.default_rng(0).integers(0, 1 << mix.PRECISION, 500)])
    at = np.searchsorted(starts, slots, side="right")
    edges = np.concatenate([[0], starts, [1 << mix.PRECISION]])
    assert np.array_equal(_search(mixture, slots), np.stack([at - 1 - mix.REACH, edges[at], edges[at + 1]], 1))


class FromTheText:
    """A mixture as docs/format.md has it, in Python's integers."""

    def __init__(self, t: list[int], p: int, level: int) -> None:
        size = ((4 + level % 4) << (level // 4)) + 36
        one = 1 << 96
        self.half = self.powers(one, one * one // self.exp(one, 64, 1024), 274)
        decay = self.powers(one, one * one // self.exp(one, 1, 64), 640)
        n = len(t) // 3
        shares = [decay[g] * 2**14 // one if (g := (max(t[:n]) - x) >> 6) < 640 else 0 for x in t[:n]]
        self.w = [(share << 14) // sum(shares) for share in shares]
        main = self.w.index(max(self.w))
        self.w[main] += 2**14 - sum(self.w)
        self.m = [16 * p + ((min(max(x, -(2**16)), 2**16) * size) >> 12) for x in t[n : 2 * n]]
        powers = [min(max(x >> 9, -56), 47) + 56 for x in t[2 * n :]]
        roots = [math.isqrt(math.isqrt(math.isqrt(1 << (n + 112)))) for n in range(8)]
        self.z = [max(4, (((size * roots[r % 8]) >> 14) << (r >> 3)) >> 8) for r in powers]
        self.middle = (self.m[main] + 128) >> 8
        self.shift = (self.z[main] >> 12).bit_length()

    @staticmethod
    def exp(one: int, a: int, b: int) -> int:
        term, total, k = one, 0, 0
        while term:
            total, k = total + term, k + 1
            term = term * a // (b * k)
        return total

    @staticmethod
    def powers(one: int, e: int, many: int) -> list[int]:
        found = [one]
        while len(found) < many:
            found.append(found[-1] * e // one)
        return found

    def table(self, i: int) -> int:
        one = 1 << 96
        return (one << 24) // (one + self.half[i]) if i >= 0 else 2**24 - self.table(-i)

    def start(self, j: int) -> int:
        v = 256 * (self.middle + (j << self.shift)) - 128
        total = 0
        for w, m, z in zip(self.w, self.m, self.z, strict=True):
            u = (min(max(v - m, -17 * z), 17 * z) * (2**52 // z)) >> 42
            low = self.table(u >> 6)
            total += w * (low + (((self.table((u >> 6) + 1) - low) * (u % 64)) >> 6))
        return ((total >> 14) * (2**24 - 2051) >> 24) + j + 1025


@relaxed
@given(outputs, predictions, st.integers(0, mix.MOST_LEVEL))
def test_mixtures_agree_with_the_format(numbers: list[int], p: int, level: int) -> None:
    out = np.zeros(LANES, np.int32)
    out[:OUTPUTS] = numbers
    mixture = _described(out, p, int(mix.ACTIVITIES[level]))
    text = FromTheText([int(x) for x in out[:OUTPUTS]], p, level)
    assert (mixture[mix.MIDDLE], mixture[mix.SHIFT]) == (text.middle, text.shift)
    for j in (-1024, -300, -17, -2, -1, 0, 1, 5, 64, 1024, 1025):
        assert _cumulative(mixture, j, j)[0] == text.start(j)


@relaxed
@given(st.lists(st.integers(-(1 << 21), 1 << 21), min_size=9, max_size=9), predictions, st.integers(0, mix.MOST_LEVEL))
def test_mixtures_before_version_12_agree_with_the_format(numbers: list[int], p: int, level: int) -> None:
    """They had three components; a network without units, whose last biases are its outputs, says which."""
    former = random_network(4, 1, 16, np.random.default_rng(0), former=True)
    former = replace(former, last=0 * former.last, last_bias=np.array(numbers, np.int32))
    mixture = _described(former.layers().last_bias, p, int(mix.ACTIVITIES[level]))
    text = FromTheText(numbers, p, level)
    assert (mixture[mix.MIDDLE], mixture[mix.SHIFT]) == (text.middle, text.shift)
    for j in (-1024, -300, -17, -2, -1, 0, 1, 5, 64, 1024, 1025):
        assert _cumulative(mixture, j, j)[0] == text.start(j)


def test_a_mixture_is_what_it_says() -> None:
    """Frequencies beside the formula in float64."""
    rng = np.random.default_rng(4)
    for _ in range(50):
        out = np.zeros(LANES, np.int32)
        out[:OUTPUTS] = rng.integers(-9000, 9000, OUTPUTS)
        activity = 700
        mixture = _described(out, 333, activity)
        logits, means, scales = (out[k * COMPONENTS : (k + 1) * COMPONENTS].astype(float) / 4096 for k in range(3))
        weights = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        edges = mixture[mix.MIDDLE] + np.arange(-30, 31) * 2.0 ** mixture[mix.SHIFT] - 0.5
        size = activity / 256
        z = (edges[:, None] - 333 / 16 - means * size) / np.maximum(size * 2.0**scales / 2, 1 / 64)
        with np.errstate(over="ignore"):
            expected = (weights / (1 + np.exp(-z))).sum(1)
        found = _cumulative(mixture, -30, 30) / (1 << mix.PRECISION)
        assert np.abs(found - expected).max() < 0.02


# --- predictors that learn ------------------------------------------------------------------------------------------


@numba.njit
def _follow(x: Array, wanted: Array) -> Array:
    """What the slow and the fast one guess, int64 [2, n]."""
    slow, fast = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    found = np.empty((2, len(x)), np.int64)
    for i in range(len(x)):
        found[0, i], found[1, i], energy = lms.guess(slow, fast, np.int64(0), x[i])
        lms.learn(slow, fast, np.int64(0), x[i], energy, wanted[i], found[0, i], found[1, i])
    return found


def follow_by_the_text(x: Array, wanted: Array, rate: int) -> list[int]:
    """docs/format.md, in Python's integers."""
    weights, found = [0] * x.shape[1], []
    for row, r in zip(x.astype(int).tolist(), wanted.tolist(), strict=True):
        g = sum(w * v for w, v in zip(weights, row, strict=True))
        found.append(g)
        error = min(max((r << 28) - g, -(2**36)), 2**36)
        gain = ((error >> 8) * (2**32 // (sum(v * v for v in row) + 200))) >> (24 + rate)
        weights = [min(max(w + gain * v, -(2**31)), 2**31) for w, v in zip(weights, row, strict=True)]
    return found


@relaxed
@given(st.integers(1, 80), st.integers(0, 99), st.sampled_from([1, 5, MOST_INPUT]))
def test_guesses_agree_with_the_format(many: int, seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-size, size + 1, (60, many)).astype(np.int16)
    wanted = rng.integers(-MOST_INPUT, MOST_INPUT + 1, 60)
    assert _follow(x, wanted).tolist() == [follow_by_the_text(x, wanted, rate) for rate in lms.RATES]


def test_a_predictor_learns_what_has_changed() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-40, 41, (4000, 6)).astype(np.int16)
    mix_of_inputs = np.where(np.arange(4000)[:, None] < 2000, [1, 0, 0, -1, 0, 0], [0, 0.5, 0, 0, 0.5, 0])
    wanted = np.rint((x * mix_of_inputs).sum(1)).clip(-MOST_INPUT, MOST_INPUT).astype(np.int64)
    error = np.abs(wanted - _follow(x, wanted)[1] / 2.0**lms.POINT)
    assert error[1500:2000].mean() < 0.1 * error[2000:2020].mean()
    assert error[3500:].mean() < 0.1 * error[2000:2020].mean()


# --- traces of errors -----------------------------------------------------------------------------------------------


@numba.njit
def _traced(errors: Array, levels: Array, units: Array, paces: tuple[int, int, int, int]) -> Array:
    """What a trace says before each error, int64 [n, TRACE]."""
    trace, x = np.zeros(TRACE, np.int64), np.zeros(TRACE, np.int16)
    found = np.empty((len(errors), TRACE), np.int64)
    for i in range(len(errors)):
        unit, shift = units[levels[i], 0], units[levels[i], 1]
        inputs.recall(trace, np.int64(0), levels[i], unit, shift, x, np.int64(0))
        found[i] = x
        inputs.note(trace, np.int64(0), errors[i], levels[i], *paces)
    return found


def traced_by_the_text(errors: list[int], levels: list[int], rates: tuple[int, ...]) -> list[list[int]]:
    """docs/format.md, in Python's integers."""

    def clamp(number: int) -> int:
        return min(max(number, -127), 127)

    def level(v: int) -> int:
        u = v + 4
        o = u.bit_length() - 3
        return 4 * o + ((u >> o) & 3)

    m, found = [0, 0, 0, 0], []
    for e, L in zip(errors, levels, strict=True):
        s = ((4 + L % 4) << (L // 4)) + 36
        n = 6 + s.bit_length()
        sizes = [clamp(8 * (level(m[k] >> 8) - L)) for k in (0, 1)]
        found.append([*sizes, clamp(((m[2] >> 5) * (341 * 2**n // s)) >> n), clamp(m[3] >> 8)])
        news = [2**12 * abs(e), 2**12 * abs(e), 2**8 * e, 2**11 * (level(16 * abs(e)) - L)]
        m = [old + ((new - old) >> rate) for old, new, rate in zip(m, news, rates, strict=True)]
    return found


@relaxed
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(-200, 200), st.integers(-(1 << 30), 1 << 30)), st.integers(0, mix.MOST_LEVEL)),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from([(6, 10, 6, 8), (4, 7, 4, 5)]),
)
def test_traces_agree_with_the_format(met: list[tuple[int, int]], rates: tuple[int, int, int, int]) -> None:
    errors, levels = (np.array(column, np.int64) for column in zip(*met, strict=True))
    found = _traced(errors, levels, mix.UNITS, tuple(np.int64(rate) for rate in rates))
    assert found.tolist() == traced_by_the_text(errors.tolist(), levels.tolist(), rates)


def test_traces_tell_what_neighbours_do_not() -> None:
    """Noise whose size is a matter of the column, and of the line, takes fewer bits than without traces."""
    rng = np.random.default_rng(2)
    q = np.rint(rng.normal(size=(400, 300)) * np.exp(1.5 * rng.normal(size=300))).astype(np.int64)
    parts = [Sample(q, np.ones(q.shape, bool))]
    plain = fitting.fit(parts, q.size, Layout(1, False, False))
    learned = lesson(parts, plain.predictor, plain.activity)
    deaf = learned.inputs.copy()
    deaf[:, -TRACE_INPUTS:] = 0
    spent = []
    for told in (learned, replace(learned, inputs=deaf)):
        network = train(told, 16, 400, 600.0, 40 * q.size, 0)
        spent.append(fitting.bits(replace(plain, tree=STUMP, tables=NO_TABLES, network=network), parts))
    assert spent[0] < 0.97 * spent[1]


# --- round trips ----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(40,), (9, 31), (5, 6, 7), (30, 3), (4, 5, 6, 3)]),
    st.sampled_from(["walk", "wild", "zero", "jumps"]),
    st.sampled_from([16, 32]),
    st.integers(0, 99),
    st.sampled_from([1.0, 0.8]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 6, 7, 12]),
)
def test_decode_undoes_encode(
    shape: tuple[int, ...],
    values: str,
    units: int,
    seed: int,
    share: float,
    with_reference: bool,
    former: bool,
    part: int | None,
) -> None:
    rng = np.random.default_rng(seed)
    q = {
        "walk": walk(shape, seed),
        "wild": rng.integers(-(2**54), 2**54, shape),
        "zero": np.zeros(shape, np.int64),
        "jumps": np.where(rng.random(shape) < 0.1, 2**40, 3),
    }[values]
    coded = rng.random(shape) < share
    coded.flat[0] = True
    reference = q + rng.integers(-2, 3, shape) if with_reference else None
    model = replace(with_random_network(q, coded, units, seed, reference, former=former), part=part)
    data = model.encode(q, coded, reference)
    assert np.array_equal(model.decode(data, coded, reference)[coded], q[coded])
    again = ContextModel.from_bytes(model.to_bytes())
    assert again.encode(q, coded, reference) == data
    assert again.to_bytes() == model.to_bytes()
    if not with_reference:
        followed = model.followed(q, coded)
        assert followed.stream == data
        assert np.array_equal(followed.values, model.decode(data, coded))


def embedded(rows: int, seed: int) -> Array:
    """int64 [rows, 40] that depend on one another through few factors."""
    rng = np.random.default_rng(seed)
    return np.rint(rng.normal(size=(rows, 6)) @ rng.normal(size=(6, 40)) * 30 + rng.normal(size=(rows, 40))).astype(int)


def test_parts_of_a_stream_go_on_where_the_last_ended() -> None:
    """What a regression, predictors and traces have learned stays: values take the bits that they take in one part."""
    q = embedded(900, 1)
    coded = np.random.default_rng(1).random(q.shape) < 0.9
    whole = with_random_network(q, coded, 16, 3)
    assert whole.regression is not None
    in_parts = replace(whole, part=9)
    sample = Sample(q, coded)
    assert np.array_equal(whole.lengths(sample), in_parts.lengths(sample))
    stream = in_parts.encode(q, coded)
    parts = -(-900 // (512 // 40 if len(whole.predictor.steps) > 1 else 512 / 40))
    assert 0 < len(stream) - len(whole.encode(q, coded)) <= 20 * parts
    assert np.array_equal(in_parts.decode(stream, coded), whole.decode(whole.encode(q, coded), coded))
    followed = in_parts.followed(q, coded)
    assert followed.stream == stream
    assert np.array_equal(followed.values[coded], q[coded])


def test_streams_in_parts_are_refused_where_cut_or_too_long() -> None:
    q = walk((40, 300))
    coded = np.ones(q.shape, bool)
    model = replace(with_random_network(q, coded, 16, 2), part=10)
    stream = model.encode(q, coded)
    first = 4 + int.from_bytes(stream[:4], "little")
    for bad in (b"", stream[:3], stream[:first], stream[: first + 2], stream[:-1], stream + bytes(4), stream + stream):
        with pytest.raises(CorruptError):
            model.decode(bad, coded)


@pytest.mark.parametrize("part", [5, 41])
def test_impossible_parts_are_refused(part: int) -> None:
    q = walk((30, 20))
    model = replace(with_random_network(q, np.ones(q.shape, bool), 16, 2), part=part)
    with pytest.raises(CorruptError, match="impossible numbers"):
        ContextModel.from_bytes(model.to_bytes())


def test_a_part_takes_some_kilobytes() -> None:
    """Less would be lost in what each begins and ends with."""
    for bits in (0.0, 0.01, 1.0, 6.0, 24.0, 1e9):
        part = part_of(bits, 1 << 40)
        assert part in (12, 40) or 2**17 <= 2**part * bits < 2**18


@pytest.mark.parametrize("values", [100_000, 200_000, 500_000])
def test_a_block_of_few_values_has_some_parts(values: int) -> None:
    for bits in (1.5, 6.0):
        part = part_of(bits, values)
        assert 2**part * bits >= 2**15
        assert values / 2**part > min(4, values * bits / 2**16)


def test_what_followed_is_of_one_stream_only() -> None:
    q = walk((40, 300))
    coded = np.ones(q.shape, bool)
    followed = replace(with_random_network(q, coded, 16, 2), part=10).followed(q, coded)
    assert followed.decode(followed.stream, coded) is followed.values
    assert followed.decode(followed.stream + b"x", coded) is None
    assert followed.decode(followed.stream, ~coded) is None


def test_code_length_is_what_the_stream_takes() -> None:
    q = walk((50, 400))
    model = with_random_network(q, np.ones(q.shape, bool), 16, 1)
    bits = model.lengths(Sample(q, np.ones(q.shape, bool))).sum(dtype=np.float64)
    assert abs(8 * len(model.encode(q, np.ones(q.shape, bool))) - bits) < 200


# --- training -------------------------------------------------------------------------------------------------------


def curved(rows: int, seed: int) -> Array:
    """Series whose next number is a curved function of the last two, and some noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 200)) * 3
    for t in range(2, 200):
        x[:, t] += 60 * np.sin(x[:, t - 1] / 25) + 40 * np.cos(x[:, t - 2] / 18)
    return np.rint(x).astype(np.int64)


@pytest.fixture(scope="module")
def trained() -> tuple[ContextModel, ContextModel, Array]:
    """(without a network, with one, integers)."""
    q = curved(600, 5)
    parts = [Sample(q, np.ones(q.shape, bool))]
    plain = fitting.fit(parts, q.size)
    return plain, fitting.with_network(plain, parts, 40 * q.size, 16, 300, 600.0, 0)[0], q


def test_a_network_saves_bits_on_integers_it_never_saw(trained: tuple[ContextModel, ContextModel, Array]) -> None:
    plain, model, _ = trained
    assert model.network is not None
    fresh = curved(100, 6)
    coded = np.ones(fresh.shape, bool)
    data = model.encode(fresh, coded)
    assert np.array_equal(model.decode(data, coded), fresh)
    assert len(data) < len(plain.encode(fresh, coded))


def test_training_repeats_itself(trained: tuple[ContextModel, ContextModel, Array]) -> None:
    plain, model, q = trained
    parts = [Sample(q, np.ones(q.shape, bool))]
    assert fitting.with_network(plain, parts, 40 * q.size, 16, 300, 600.0, 0)[0].to_bytes() == model.to_bytes()


def shares(monkeypatch: pytest.MonkeyPatch, steps: int, seconds: float, took: Callable[[int], float]) -> list[float]:
    """What a schedule says before each step, up to the one that it ends at, where step k takes ``took(k)`` seconds."""
    clock = 100.0
    monkeypatch.setattr(ranks, "now", lambda: clock)
    schedule, found = Schedule(steps, seconds), []
    for step in range(steps):
        found.append(schedule.done(step))
        if found[-1] >= 1:
            break
        clock += took(step)
    return found


@pytest.mark.parametrize("stalled", [0, 5, 45, 500, 999])
def test_a_stall_changes_nothing_where_a_training_ends_in_time(stalled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shares(monkeypatch, 1000, 20.0, lambda step: 8.0 if step == stalled else 0.01)
    assert found == [step / 1000 for step in range(1000)]


@pytest.mark.parametrize(
    ("took", "seconds"),
    [
        (lambda _: 0.05, 20.0),  # too slow from the beginning
        (lambda step: 0.01 if step < 200 else 0.08, 20.0),  # from some time on
        (lambda step: 22.0 if step == 500 else 0.01, 30.0),  # a stall that leaves too little
        (lambda _: 0.3, 1.0),  # over before its pace is known
        (lambda _: 0.01, 0.05),
    ],
)
def test_a_training_without_time_for_its_steps_goes_by_the_clock(
    took: Callable[[int], float], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shares(monkeypatch, 1000, seconds, took)
    assert found == sorted(found)
    assert found[-1] == 1
    assert found[-2] > 0.6, "it is all but over when time is"


@pytest.mark.parametrize("cores", [1, 2])
def test_a_block_is_checked_by_what_was_decoded(
    trained: tuple[ContextModel, ContextModel, Array], monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """By a decoder that follows where there is a core for it, and never by what was to be coded."""
    _, coder, q = trained
    rows = q.astype(np.int32)
    model = replace(aecompress.fit(rows, Target("max-error", 0), kind="none", effort="fast"), context=coder)
    monkeypatch.setattr("aecompress.codec.model.WORKERS", cores)
    coded = model.code(rows)
    assert coded.method == "context"
    assert np.array_equal(model.decompress(coded.payload), rows)
    take, taken = Decoder.take, []

    def wrong(self: Decoder, data: bytes | memoryview) -> memoryview:
        rest = take(self, data)
        self.values.flat[-1] += 1
        taken.append(threading.current_thread())
        return rest

    monkeypatch.setattr(Decoder, "take", wrong)
    with pytest.raises(VerificationError, match="did not decode to what was encoded"):
        model.code(rows)
    assert (threading.main_thread() in taken) == (cores == 1)


def test_a_network_that_does_not_pay_is_left_out() -> None:
    rng = np.random.default_rng(0)
    q = rng.integers(0, 256, (300, 100))
    parts = [Sample(q, np.ones(q.shape, bool))]
    plain = fitting.fit(parts, q.size)
    assert fitting.with_network(plain, parts, q.size, 16, 20, 600.0, 0) == (plain, 0.0)
    assert fitting.with_network(plain, parts, 1000, 16, 20, 600.0, 0) == (plain, 0.0), "too small to win anything"


# --- stored numbers -------------------------------------------------------------------------------------------------


def test_impossible_numbers_are_refused(trained: tuple[ContextModel, ContextModel, Array]) -> None:
    parts = record.unpack(trained[1].to_bytes())
    assert len(parts) == 23
    for index, wrong in itertools.product(range(17, 23), (MOST_BIAS + 1, -(2**62), 2**63 - 1)):
        changed = [part.copy() for part in parts]
        changed[index].flat[0] = wrong
        with pytest.raises(CorruptError):
            ContextModel.from_bytes(record.pack(changed))
    for index in range(17, 23):
        for other in (parts[index][..., None], parts[index][:0], np.asarray(3), parts[index][:-1]):
            with pytest.raises(CorruptError):
                ContextModel.from_bytes(record.pack([*parts[:index], other, *parts[index + 1 :]]))
    with pytest.raises(CorruptError):
        ContextModel.from_bytes(record.pack(parts[:20]))


def test_damaged_streams_decode_to_something(trained: tuple[ContextModel, ContextModel, Array]) -> None:
    model = trained[1]
    coded = np.ones((3, 200), bool)
    data = model.encode(curved(3, 7), coded)
    for bit in range(0, 8 * len(data), 7):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert model.decode(bytes(changed), coded).shape == coded.shape
        except CorruptError:
            continue
    for end in range(0, len(data), 4):
        try:
            assert model.decode(data[:end], coded).shape == coded.shape
        except CorruptError:
            continue
