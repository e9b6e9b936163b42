"""Integers to bytes and back: whatever goes in comes out, near the entropy, and damage is never worse than an error."""

from __future__ import annotations

import math
import struct
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aecompress.entropy import bits, integers, rans, record, tokens
from aecompress.entropy.division import divided, floored, quotient
from aecompress.entropy.loops import loop
from aecompress.entropy.tables import PRECISION, Tables
from aecompress.errors import CorruptError
from aecompress.spec import Array

relaxed = settings(deadline=None)  # compiled on the first call

LEAST, GREATEST = -(2**63), 2**63 - 1

int64s = st.one_of(
    st.integers(-20, 20),
    st.integers(LEAST, GREATEST),
    st.builds(lambda bits, by: max(LEAST, min(GREATEST, (1 << bits) + by)), st.integers(0, 63), st.integers(-2, 2)),
)
shapes = st.lists(st.integers(0, 5), max_size=6).map(tuple)
arrays = shapes.flatmap(lambda shape: hnp.arrays(np.int64, shape, elements=int64s))
with_axes = arrays.filter(lambda values: values.ndim > 0)
EXTREMES = np.array([LEAST, LEAST + 1, -(2**62), -1, 0, 1, 2**62, GREATEST - 1, GREATEST])


# --- raw bits -------------------------------------------------------------------------------------------------------

numbers = st.integers(0, 63).flatmap(lambda width: st.tuples(st.integers(0, (1 << width) - 1), st.just(width)))


@relaxed
@given(st.lists(numbers, max_size=50))
@example([(0, 0)] * 5)
@example([((1 << 63) - 1, 63)] * 3)
@example([(0, 63)] * 50)
def test_raw_bits_come_back(pairs: list[tuple[int, int]]) -> None:
    values = np.array([value for value, _ in pairs], np.uint64)
    widths = np.array([width for _, width in pairs], np.int64)
    data = bits.pack(values, widths)
    assert np.array_equal(bits.unpack(data, widths), values)
    assert len(data) <= 1 + 4 * -(-int(widths.sum()) // 32)
    for end in range(len(data)):
        with pytest.raises(CorruptError):
            bits.unpack(data[:end], widths)
    with pytest.raises(CorruptError):
        bits.unpack(b"\x02" + data[1:], widths)


def test_raw_bits_that_repeat_themselves_are_short() -> None:
    assert len(bits.pack(np.zeros(10_000, np.uint64), np.full(10_000, 29))) < 100


# --- tokens ---------------------------------------------------------------------------------------------------------


@loop(cache=False)
def taken_apart(value: Any) -> Any:
    u = tokens.zigzag(value)
    token = tokens.token_of(u)
    return u, token, tokens.token_floor(token), tokens.raw_width(token), tokens.unzigzag(u)


@loop(cache=False)
def span(token: Any) -> Any:
    return tokens.token_floor(token), tokens.raw_width(token)


@relaxed
@given(int64s)
@example(LEAST)
@example(GREATEST)
def test_token_and_raw_bits_are_the_integer(value: int) -> None:
    u, token, floor, width, back = taken_apart(np.int64(value))
    assert u == (2 * value if value >= 0 else -2 * value - 1)
    assert 0 <= token < tokens.ALPHABET
    assert 0 <= u - floor < 1 << width
    assert back == value


def test_tokens_partition_the_integers_in_order() -> None:
    spans = [span(np.int64(token)) for token in range(16 + 60 * 4)]
    assert spans[0][0] == 0
    assert all(a + (1 << width) == b for (a, width), (b, _) in pairwise(spans))
    assert spans[-1][0] + (1 << spans[-1][1]) == 1 << 64
    assert spans == [(tokens.token_floor(token), tokens.raw_width(token)) for token in range(16 + 60 * 4)]


# --- tables ---------------------------------------------------------------------------------------------------------

counts_of = st.integers(1, 5).flatmap(
    lambda many: st.integers(1, 256).flatmap(
        lambda width: hnp.arrays(
            np.int64,
            (many, width),
            elements=st.one_of(st.just(0), st.integers(1, 9), st.integers(1, 2**40)),
            fill=st.just(0),
        )
    )
)


def check_tables(tables: Tables) -> None:
    cumulative = tables.cumulative.astype(np.int64)
    frequency = np.diff(cumulative, axis=1)
    assert (cumulative[:, 0] == 0).all()
    assert (cumulative[:, -1] == 1 << PRECISION).all()
    assert (frequency >= 0).all()
    assert (frequency[:, -1] == 1).all(), "the escape has frequency 1"
    assert (frequency[:, :-1][tables.levels >= 0] > 0).all(), "a known token can be coded"
    slots = np.arange(0, 1 << PRECISION, 1 << (PRECISION - 8))
    for row, first in zip(cumulative, tables.lookup.astype(np.int64), strict=True):
        assert (row[first] <= slots).all()
        assert (slots < row[first + 1]).all()


@relaxed
@given(counts_of)
def test_tables_from_counts_sum_to_one_and_rebuild_from_levels(counts: Array) -> None:
    tables = Tables.from_counts(counts)
    check_tables(tables)
    again = Tables.from_levels(tables.levels)
    assert np.array_equal(again.cumulative, tables.cumulative)
    assert np.array_equal(again.lookup, tables.lookup)


@relaxed
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 256)), elements=st.integers(-1, 64)))
def test_all_levels_in_range_give_tables(levels: Array) -> None:
    check_tables(Tables.from_levels(levels))


@pytest.mark.parametrize(
    "levels",
    [
        np.full((1, 3), -2),
        np.full((1, 3), 65),
        np.full((1, 3), 2**62),
        np.zeros((1, 257), int),
        np.zeros((0, 3), int),
        np.zeros((2**16 + 1, 1), int),
        np.zeros((3, 0), int),
        np.zeros(3, int),
        np.zeros((1, 1, 1), int),
        np.array(0),
    ],
)
def test_impossible_levels_are_refused(levels: Array) -> None:
    with pytest.raises(CorruptError):
        Tables.from_levels(levels)


# --- rans -----------------------------------------------------------------------------------------------------------


@relaxed
@given(st.lists(int64s, max_size=300), counts_of, st.randoms(use_true_random=False))
def test_rans_round_trip_with_any_tables(values: list[int], counts: Array, random: np.random.RandomState) -> None:
    """Tables that know little of the values: most of them go through the escape."""
    tables = Tables.from_counts(counts)
    contexts = np.array([random.randrange(len(counts)) for _ in values], np.uint16)
    array = np.array(values, np.int64)
    data = rans.encode(array, contexts, tables)
    assert np.array_equal(rans.decode(data, contexts, tables), array)


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 1001])
def test_any_number_of_lanes_decodes(lanes: int, n: int) -> None:
    rng = np.random.default_rng(n)
    tables = Tables.from_counts(rng.integers(1, 9, (3, 20)))
    symbols, contexts = rng.integers(0, 21, n).astype(np.uint16), rng.integers(0, 3, n).astype(np.uint16)
    words = rans.encode_symbols(symbols, contexts, tables.cumulative, lanes)
    assert np.array_equal(rans.decode_symbols(words, contexts, tables.lookup, tables.cumulative, lanes), symbols)


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_dearest_symbols_fit_the_buffer(lanes: int) -> None:
    """16 bits for every symbol, the most there can be."""
    tables = Tables.from_counts(np.array([[1]]))
    symbols, contexts = np.ones(10_000, np.uint16), np.zeros(10_000, np.uint16)
    words = rans.encode_symbols(symbols, contexts, tables.cumulative, lanes)
    assert np.array_equal(rans.decode_symbols(words, contexts, tables.lookup, tables.cumulative, lanes), symbols)


@pytest.mark.parametrize("spread", [0.3, 2.0, 40.0, 1e5])
def test_rans_stays_within_half_a_percent_of_the_entropy(spread: float) -> None:
    rng = np.random.default_rng(1)
    contexts = rng.integers(0, 4, 200_000).astype(np.uint16)
    values = np.rint(rng.laplace(scale=spread, size=contexts.size) * (1 + contexts)).astype(np.int64)
    seen = tokens.tokenized(tokens.fold(values))
    counts = np.stack([np.bincount(seen[contexts == c], minlength=256) for c in range(4)])
    share = counts / counts.sum(1, keepdims=True)
    entropy = -(counts * np.log2(np.where(counts > 0, share, 1.0))).sum()
    raw = sum(int(tokens.raw_width(np.int64(t))) * int(n) for t, n in enumerate(counts.sum(0)))
    data = rans.encode(values, contexts, Tables.from_counts(counts))
    assert 8 * len(data) <= 1.005 * (entropy + raw) + 8 * 64
    assert 8 * len(data) >= entropy + raw - 64
    assert Tables.from_counts(counts).bits(counts) == pytest.approx(entropy, rel=0.005)


def test_values_outside_the_tables_cost_what_bits_says() -> None:
    counts = np.array([[5, 5, 0, 0]])
    tables = Tables.from_counts(counts)
    assert tables.bits(np.array([[0, 0, 1, 1, 1]])) == 3 * (PRECISION + 8)


@relaxed
@given(st.binary(max_size=200), st.integers(0, 100))
def test_garbage_decodes_to_something_or_is_refused(data: bytes, n: int) -> None:
    tables = Tables.from_counts(np.array([[3, 0, 5, 1], [1, 1, 1, 1]]))
    contexts = (np.arange(n) % 2).astype(np.uint16)
    with suppress(CorruptError):
        assert rans.decode(data, contexts, tables).shape == (n,)


def test_every_prefix_of_a_stream_decodes_to_something_or_is_refused() -> None:
    tables = Tables.from_counts(np.array([[3, 2, 5, 1]]))
    contexts = np.zeros(EXTREMES.size, np.uint16)
    data = rans.encode(EXTREMES, contexts, tables)
    for end in range(len(data)):
        with suppress(CorruptError):
            rans.decode(data[:end], contexts, tables)


# --- integers -------------------------------------------------------------------------------------------------------


@relaxed
@given(with_axes, st.sampled_from([integers.THOROUGH, integers.QUICK]))
def test_integers_round_trip(values: Array, level: int) -> None:
    decoded = integers.decode(integers.encode(values, level=level))
    assert decoded.dtype == np.int64
    assert decoded.shape == values.shape
    assert np.array_equal(decoded, values)


@relaxed
@given(with_axes, st.data())
def test_integers_round_trip_along_any_axis(values: Array, data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.integers(0, values.ndim - 1), max_size=2).map(tuple))
    assert np.array_equal(integers.decode(integers.encode(values, axes=axes)), values)
    best = integers.best_axis(values)
    assert best is None or 0 <= best < values.ndim


@pytest.mark.parametrize("value", [5, LEAST, GREATEST])
def test_a_single_integer_keeps_its_shape(value: int) -> None:
    assert integers.best_axis(np.array(value)) is None
    found = integers.decode(integers.encode(np.array(value)))
    assert found.shape == ()
    assert found == value


@pytest.mark.parametrize("end", [LEAST, GREATEST])
@pytest.mark.parametrize("spread", [0, 1, 200, 60_000, 2**32 - 1])
def test_narrow_sets_at_the_ends_of_int64(end: int, spread: int) -> None:
    values = np.array([end, end + (spread if end < 0 else -spread)])
    assert np.array_equal(integers.decode(integers.encode(values)), values)


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", ">i2", ">i8"])
def test_integers_of_every_dtype(dtype: str) -> None:
    info = np.iinfo(dtype) if dtype != "?" else None
    ends = [0, 1] if info is None else [info.min, info.max, 0]
    values = np.array(ends * 20, dtype).reshape(2, -1)[:, ::-1]
    assert np.array_equal(integers.decode(integers.encode(values)), values)


def test_deltas_wrap_around() -> None:
    values = np.tile(EXTREMES, (7, 1))
    for axis in range(2):
        assert np.array_equal(integers.decode(integers.encode(values, axes=(axis,))), values)


def test_a_smooth_series_is_coded_by_its_differences() -> None:
    values = 10**15 + 1000 * np.arange(50_000)
    assert len(integers.encode(values)) < 200


def test_more_values_than_allowed_are_refused() -> None:
    data = integers.encode(np.zeros(100, np.int64))
    assert integers.decode(data, most=100).size == 100
    with pytest.raises(CorruptError):
        integers.decode(data, most=99)


def header(delta: int, item: int, planes: int, shape: tuple[int, ...], body: bytes = b"") -> bytes:
    sides = b"".join(struct.pack("<Q", n) for n in shape)
    return struct.pack("<BBBB", delta, item, planes, len(shape)) + sides + struct.pack("<q", 0) + body


@pytest.mark.parametrize(
    ("delta", "item", "planes", "shape"),
    [
        (0, 4, 0, (3,)),
        (2, 0, 0, (3,)),
        (0, 0, 2, (3,)),
        (0, 0, 0, (1,) * 9),
        (0, 0, 0, (2**34 + 1,)),
        (0, 0, 0, (2**40, 2**40)),
        (0, 3, 0, (2**33,)),
        *((0, 3, 0, shape) for shape in [(0, 2**63), (0, 2**62), (2**64 - 1, 0), (0, 2**31, 2**31)]),
    ],
)
def test_impossible_headers_are_refused_without_their_memory(
    delta: int, item: int, planes: int, shape: tuple[int, ...]
) -> None:
    data = header(delta, item, planes, shape, integers.deflate(b"" if 0 in shape else b"\0\0\0", 3))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError):
            integers.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_damaged_integers_are_refused_or_decode() -> None:
    data = integers.encode(np.arange(-50, 50).reshape(4, 25) ** 3)
    for end in range(len(data)):
        with pytest.raises(CorruptError):
            integers.decode(data[:end])
    for bit in range(8 * len(data)):
        with suppress(CorruptError):
            integers.decode(flip(data, bit), most=10_000)


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@relaxed
@given(st.binary(max_size=100), st.integers(0, 100))
def test_inflate_gives_the_announced_bytes_or_refuses(data: bytes, size: int) -> None:
    body = integers.deflate(data, 3)
    if size == len(data):
        assert integers.inflate(body, size) == data
    else:
        with pytest.raises(CorruptError):
            integers.inflate(body, size)


# --- record ---------------------------------------------------------------------------------------------------------


@relaxed
@given(st.lists(arrays, max_size=5))
def test_records_round_trip(parts: list[Array]) -> None:
    found = record.unpack(record.pack(parts))
    assert len(found) == len(parts)
    for part, back in zip(parts, found, strict=True):
        assert back.shape == part.shape
        assert np.array_equal(back, part)


def test_damaged_records_are_refused_or_decode() -> None:
    data = record.pack([EXTREMES, np.arange(30).reshape(5, 6), 7])
    for end in range(len(data)):
        with pytest.raises(CorruptError):
            record.unpack(data[:end])
    for bit in range(8 * len(data)):
        with suppress(CorruptError):
            record.unpack(flip(data, bit))


@relaxed
@given(st.binary(max_size=60))
def test_garbage_in_a_record_is_refused_or_decodes(body: bytes) -> None:
    with suppress(CorruptError):
        record.unpack(zstandard.ZstdCompressor().compress(body))


@pytest.mark.parametrize(
    "shape",
    [(1 << 20, 1 << 20), (1 << 28,), (1 << 27, 2), (0, 1 << 62, 4)],
)
def test_a_record_that_announces_more_than_it_holds_takes_no_memory(shape: tuple[int, ...]) -> None:
    body = bytearray()
    for number in (len(shape), *shape, 0):
        u = 2 * number
        while u > 127:
            body.append(u & 127 | 128)
            u >>= 7
        body.append(u)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError):
            record.unpack(zstandard.ZstdCompressor().compress(bytes(body)))
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200))
def test_small_arrays_stay_small(n: int) -> None:
    assert len(record.pack([np.zeros(n, np.int64)])) < 40
    assert math.isclose(len(record.pack([np.arange(n)])), 2 * n, abs_tol=2 * n + 40)


@loop(cache=False)
def by_floats(number: Any, small: Any, by: Any) -> Any:
    return floored(number, by), floored(-number, by), divided(number, by), quotient(small, by)


@relaxed
@given(st.integers(1, 1 << 53), st.integers(0, (1 << 48) - 2), st.integers(-2, 2))
@example(123_821_758, 3_723_536_945, 1)  # rounded, the number comes to lie on the other side of a whole quotient
def test_quotients_by_floats_are_those_of_integers(by: int, times: int, more: int) -> None:
    number = max(times % ((1 << 62) // by) * by + more, 0)
    small = min(number, 1 << 53)
    found = by_floats(np.int64(number), np.int64(small), np.int64(by))
    assert found == (number // by, -number // by, divmod(number, by), small // by)
