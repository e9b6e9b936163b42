"""Lattices: every value within half a cell, every bit pattern back, at the ends of every dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aecompress.quantize import (
    LIMIT,
    PHASES,
    WIDE_BITS,
    BitLattice,
    DecimalLattice,
    FixedLattice,
    FloatLattice,
    IntegerLattice,
    join_wide,
    round_to,
    safe_integers,
    split_wide,
)
from aecompress.spec import Array

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
FLOATS = ["f2", "f4", "f8"]

relaxed = settings(deadline=None)


def integers_of(dtype: str) -> st.SearchStrategy[Array]:
    info = np.iinfo(dtype)
    near = st.one_of(
        st.integers(info.min, info.max), st.integers(info.min, info.min + 9), st.integers(info.max - 9, info.max)
    )
    return hnp.arrays(dtype, st.integers(1, 20), elements=near)


# --- integer lattice ------------------------------------------------------------------------------------------------


#: How far cells are moved, if at all.
phases = st.one_of(st.none(), st.integers(0, PHASES - 1).map(np.array))


@pytest.mark.parametrize("dtype", INTEGERS)
@relaxed
@given(st.data(), st.one_of(st.integers(0, 20), st.integers(0, 2**60)), phases)
def test_whole_cells_keep_the_bound(dtype: str, data: st.DataObject, bound: int, phase: Array | None) -> None:
    values = data.draw(integers_of(dtype))
    step = np.asarray(2 * bound + 1)
    if not safe_integers(values, step):
        return
    lattice = IntegerLattice(np.dtype(dtype), step, phase)
    decoded = lattice.dequantize(lattice.quantize(values))
    assert decoded.dtype == np.dtype(dtype)
    assert all(abs(int(a) - int(b)) <= bound for a, b in zip(values, decoded, strict=True))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_narrow_integers_are_always_safe_and_the_ends_of_wide_ones_never(dtype: str) -> None:
    info = np.iinfo(dtype)
    ends = np.array([info.min, info.max], dtype)
    assert safe_integers(ends, np.asarray(3)) == (info.bits < 64)
    middle = np.array([(info.min + info.max) // 2], dtype)
    assert safe_integers(middle, np.asarray(3))
    assert safe_integers(ends[:0], np.asarray(3))


@pytest.mark.parametrize("dtype", ["?", *INTEGERS])
def test_cells_of_one_give_every_integer_back(dtype: str) -> None:
    kind = np.dtype(dtype)
    values = np.array([False, True] if dtype == "?" else [np.iinfo(kind).min, np.iinfo(kind).max, 0, 1], kind)
    lattice = IntegerLattice(kind, np.asarray(1))
    assert lattice.dequantize(lattice.quantize(values)).tobytes() == values.tobytes()
    assert (np.diff(lattice.quantize(np.sort(values))) >= 0).all() or kind.itemsize == 8


def test_wide_cells_spread_over_an_axis() -> None:
    values = np.arange(60, dtype=np.int16).reshape(4, 15)
    lattice = IntegerLattice(values.dtype, np.array([[1], [3], [9], [101]]))
    error = np.abs(lattice.dequantize(lattice.quantize(values)).astype(int) - values)
    assert (error.max(1) <= [0, 1, 4, 50]).all()
    assert error[0].max() == 0


# --- float lattice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@relaxed
@given(st.data(), st.floats(1e-30, 1e30), phases)
def test_real_cells_are_half_a_step_away_at_most(
    dtype: str, data: st.DataObject, step: float, phase: Array | None
) -> None:
    """Before rounding to the dtype, which may add half a unit in the last place."""
    width = 8 * np.dtype(dtype).itemsize
    values = data.draw(hnp.arrays(dtype, 10, elements=st.floats(width=width, allow_nan=False, allow_infinity=False)))
    lattice = FloatLattice(np.dtype(dtype), np.asarray(step), phase)
    q = lattice.quantize(values)
    exact = values.astype(np.float64)
    with np.errstate(over="ignore"):
        cells = np.abs(exact / step)
    part = 0 if phase is None else 1  # of a cell that they may be moved by
    fits = cells < LIMIT - 1 - part
    assert (q[cells > LIMIT + part] == 0).all()
    middles = FloatLattice(np.dtype("f8"), np.asarray(step), phase).dequantize(q)[fits]
    near = np.abs(middles - exact[fits])
    assert (near <= 0.5 * step + 4 * np.spacing(np.abs(exact[fits]))).all()
    assert lattice.dequantize(q).dtype == np.dtype(dtype)


def test_cells_are_moved_by_parts_of_their_width() -> None:
    real = FloatLattice(np.dtype("f8"), np.asarray(3.2), np.array([0, 1, 15]))
    assert real.dequantize(np.array([-1, 2, 0])).tolist() == pytest.approx([-3.2, 6.6, 3.0])
    assert real.quantize(np.array([1.5, 1.9, 1.3])).tolist() == [0, 1, -1]
    whole = IntegerLattice(np.dtype("i4"), np.asarray(21), np.array([0, 8, 15]))
    assert whole.dequantize(np.array([-1, 0, 2])).tolist() == [-21, 10, 61]
    assert whole.quantize(np.array([10, 21, 8])).tolist() == [0, 1, -1]


@pytest.mark.parametrize("dtype", FLOATS)
def test_real_cells_take_no_part_in_special_values(dtype: str) -> None:
    lattice = FloatLattice(np.dtype(dtype), np.asarray(1e-300))
    values = np.array([np.nan, np.inf, -np.inf, np.finfo(dtype).max, -0.0], dtype)
    q = lattice.quantize(values)
    assert (q == 0).all()
    assert not np.signbit(lattice.dequantize(q)).any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("step", [5e-324, 1e-300, 1.0, 1e38, 1e300, 1.7e308])
def test_no_cell_is_too_narrow_or_too_wide(dtype: str, step: float) -> None:
    lattice = FloatLattice(np.dtype(dtype), np.asarray(step))
    info = np.finfo(dtype)
    values = np.array([info.max, info.min, info.tiny, info.smallest_subnormal, 1.0], dtype)
    decoded = lattice.dequantize(lattice.quantize(values))
    assert not np.isnan(decoded).any()
    assert not np.isnan(lattice.dequantize(np.array([LIMIT - 1, 1 - LIMIT]))).any()


@pytest.mark.parametrize("dtype", ["?", *INTEGERS])
@relaxed
@given(hnp.arrays(np.float64, 8, elements=st.floats(allow_nan=False)))
@example(np.array([np.inf, -np.inf, 0.5, 1.5, 2.5, 2.0**63, 2.0**64, -(2.0**63)]))
def test_rounding_to_integers_never_leaves_their_range(dtype: str, exact: Array) -> None:
    rounded = round_to(exact, np.dtype(dtype))
    assert rounded.dtype == np.dtype(dtype)
    if dtype == "?":
        return
    info = np.iinfo(dtype)
    for x, found in zip(exact.tolist(), rounded.tolist(), strict=True):
        nearest = max(info.min, min(info.max, round(x) if np.isfinite(x) else int(np.sign(x)) * 2**70))
        assert abs(found - nearest) <= (0 if info.bits < 64 else 2048)


# --- bit lattice ----------------------------------------------------------------------------------------------------


def check_patterns(patterns: Array, dtype: str) -> None:
    values = patterns.view(dtype)
    lattice = BitLattice(np.dtype(dtype))
    q = lattice.quantize(values)
    assert q.dtype == np.int64
    assert np.array_equal(lattice.dequantize(q).view(patterns.dtype), patterns)
    ordered = ~np.isnan(values)
    ranked = values[ordered][np.argsort(q[ordered])]
    assert (ranked[1:] >= ranked[:-1]).all(), "patterns are in the order of the values"
    assert len(np.unique(q)) == len(np.unique(patterns))


def test_every_half_is_its_own_integer() -> None:
    check_patterns(np.arange(1 << 16, dtype=np.uint16), "f2")


@pytest.mark.parametrize(("dtype", "unsigned"), [("f4", "u4"), ("f8", "u8")])
@relaxed
@given(st.data())
def test_any_pattern_is_its_own_integer(dtype: str, unsigned: str, data: st.DataObject) -> None:
    top = 1 << (8 * np.dtype(dtype).itemsize - 1)
    mantissa = np.finfo(dtype).nmant
    exponent = (top - 1) >> mantissa << mantissa
    edges = [0, 1, top, top | 1, exponent, exponent | 1, exponent | top, exponent | top | 5, 2 * top - 1, top - 1]
    some = st.one_of(st.integers(0, 2 * top - 1), st.sampled_from(edges))
    drawn = data.draw(st.lists(some, min_size=1, max_size=50))
    check_patterns(np.array(drawn, unsigned), dtype)


# --- fixed point ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@relaxed
@given(st.data(), st.integers(-40, 20), st.integers(0, 10))
def test_fixed_point_and_remainder_are_the_value(dtype: str, data: st.DataObject, exponent: int, less: int) -> None:
    whole = np.finfo(dtype).nmant + 1
    values = data.draw(hnp.arrays(dtype, st.integers(1, 30)))
    lattice = FixedLattice(np.dtype(dtype), exponent, whole - less)
    q, rest = lattice.quantize(values), lattice.remainders(values)
    widths = lattice.widths(q)
    decoded = lattice.restore(q, np.where(q == 0, 0, rest))
    assert decoded.dtype == np.dtype(dtype)
    assert (np.abs(q) < 1 << 54).all()
    assert ((widths >= 0) & (widths < whole)).all()
    held = q != 0
    assert (rest[held] >> widths[held].astype(np.uint64) == 0).all(), "the reader knows how long each remainder is"
    # what is cut off is less than one unit in the last of the bits that are kept
    kept = np.abs(values[held].astype(np.float64))
    assert (np.abs(decoded[held].astype(np.float64)) <= kept).all()
    assert (np.abs(decoded[held].astype(np.float64)) >= kept * (1 - 2.0 ** (1 + less - whole))).all()
    if not less:
        assert np.array_equal(decoded[held], values[held])
        inside = np.isfinite(values) & (np.abs(values.astype(np.float64)) >= 2.0**exponent)
        inside &= np.abs(values.astype(np.float64)) < 2.0 ** (exponent + 54)
        assert np.array_equal(held, inside)


def test_fixed_point_keeps_what_lies_on_both_sides_of_zero_close() -> None:
    values = np.array([-0.01, 0.01], np.float32)
    fixed = np.ptp(FixedLattice(values.dtype, -24, 24).quantize(values))
    assert fixed < np.ptp(BitLattice(values.dtype).quantize(values)) / 1000


@pytest.mark.parametrize("digits", [0, 1, 3, 7])
@relaxed
@given(st.data())
def test_decimal_numbers_come_back(digits: int, data: st.DataObject) -> None:
    whole = data.draw(st.lists(st.integers(-(10**8), 10**8), min_size=1, max_size=30))
    values = np.array([float(f"{n}e-{digits}") for n in whole])
    lattice = DecimalLattice(values.dtype, digits)
    assert lattice.quantize(values).tolist() == whole
    assert np.array_equal(lattice.dequantize(lattice.quantize(values)), values)


def test_no_decimal_for_what_is_no_number_or_too_large() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e30])
    assert not DecimalLattice(values.dtype, 2).quantize(values).any()


# --- wide integers --------------------------------------------------------------------------------------------------


@relaxed
@given(hnp.arrays(np.int64, st.integers(0, 20), elements=st.integers(-(2**63), 2**63 - 1)))
@example(np.array([-(2**63), 2**63 - 1]))
@example(np.array([LIMIT]))
@example(np.array([-LIMIT]))
@example(np.array([LIMIT - 1, 1 - LIMIT]))
def test_wide_integers_split_and_join(q: Array) -> None:
    high, low = split_wide(q)
    assert np.array_equal(join_wide(high, low), q)
    assert (np.abs(high) < LIMIT).all()
    if low is None:
        assert np.array_equal(high, q)
    else:
        assert ((low >= 0) & (low < 1 << WIDE_BITS)).all()
