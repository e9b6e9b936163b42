"""Floats that are printed numbers, without loss, and few different values, with a bound or without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import aecompress
from aecompress.codec import specials
from aecompress.codec.cells import Cells
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.entropy import record
from aecompress.errors import CorruptError
from aecompress.lossless import MOST_ULPS, FigureLattice, KnownLattice
from aecompress.sources import open_source
from aecompress.spec import Array
from aecompress.trainer import adapt, bounds

LOSSLESS = Target("lossless")
relaxed = settings(max_examples=60, deadline=None)


def hasty(text: str) -> float:
    """A number read as fast parsers do: divided by 10, 100, 10^4 ... for the bits of its number of decimals."""
    whole, _, places = text.strip("-").partition(".")
    value, power = float(int(whole + places)), 10.0
    for bit in range(5):
        value = value / power if len(places) >> bit & 1 else value
        power *= power
    return -value if text.startswith("-") else value


def printed(rows: int, seed: int = 0) -> list[list[str]]:
    """Numbers of six significant figures and of many magnitudes, columns alike."""
    values = np.random.default_rng(seed).normal(size=(rows, 5)).cumsum(0) * 10.0 ** np.arange(-2, 3)
    return [[f"{value:.6g}" for value in row] for row in values if (np.abs(row) > 1e-4).all()]


def same(first: Array, second: Array) -> bool:
    pattern = f"u{first.dtype.itemsize}"
    return np.array_equal(first.view(pattern), second.view(pattern))


@pytest.mark.parametrize("by_powers", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@relaxed
@given(st.lists(st.tuples(st.integers(-999_999, 999_999), st.integers(0, 9)), min_size=1, max_size=30))
def test_printed_numbers_are_figures(by_powers: bool, dtype: str, numbers: list[tuple[int, int]]) -> None:
    texts = [f"{m / 10**n:.{n}f}" for m, n in numbers]
    values = np.array([hasty(text) if by_powers else float(text) for text in texts], dtype)
    lattice = FigureLattice(values.dtype, 6, 9, by_powers)
    q = lattice.quantize(values)
    decoded = lattice.dequantize(q)
    assert (np.abs(lattice.ulps(values, decoded)) <= MOST_ULPS).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(q[order]) >= 0).all()
    if not by_powers:
        assert np.array_equal(decoded, values)


def test_a_hasty_parser_is_followed_to_the_bit() -> None:
    texts = ["-1.64374", "0.467524", "18.8121", "4.5", "0.000123", "100", "0"]
    values = np.array([hasty(text) for text in texts])
    lattice = FigureLattice(values.dtype, 6, 9, by_powers=True)
    assert np.array_equal(lattice.dequantize(lattice.quantize(values)), values)


def test_a_unit_is_ten_times_as_wide_in_each_decade() -> None:
    lattice = FigureLattice(np.dtype("f8"), 2, 2, by_powers=False)
    values = np.array([0.0, 0.01, 0.99, 1.0, 1.1, 9.9, 10.0, 11.0, 99.0, 1e5, -1.1])
    q = lattice.quantize(values)
    assert q.tolist() == [0, 1, 99, 100, 101, 189, 190, 191, 279, 550, -101]
    assert np.array_equal(lattice.dequantize(q), values)


@relaxed
@given(st.lists(st.floats(width=64), min_size=1, max_size=40), st.integers(1, 15), st.integers(0, 22), st.booleans())
def test_any_float_is_figures_or_far_from_them(numbers: list[float], figures: int, decimals: int, fast: bool) -> None:
    values = np.array(numbers)
    lattice = FigureLattice(values.dtype, figures, decimals, fast)
    with np.errstate(invalid="ignore"):
        decoded = lattice.dequantize(lattice.quantize(values))
        ulps = lattice.ulps(values, decoded)
    held = np.abs(ulps) <= MOST_ULPS
    assert same(lattice.moved(decoded, np.where(held, ulps, 0))[held], values[held])


def test_known_values_have_ranks_of_their_own_in_each_column() -> None:
    known = np.array([-1.5, 0.25, 7.0, 3.0, 4.0])
    lattice = KnownLattice(known.dtype, known, np.array([3, 2]))
    values = np.array([[0.25, 4.0], [7.0, 3.0], [-1.5, 3.5]])
    assert lattice.quantize(values).tolist() == [[1, 1], [2, 0], [0, 1]]
    assert lattice.dequantize(np.array([[1, 1], [9, -4]])).tolist() == [[0.25, 4.0], [7.0, 3.0]]


@pytest.mark.parametrize("read", [float, hasty])
def test_a_table_of_printed_numbers_comes_back_small(read: type[float], tmp_path: Path) -> None:
    values = np.array([[read(text) for text in row] for row in printed(4000)])
    values[7, :3] = [np.nan, -0.0, np.pi]
    report = aecompress.pack(values, tmp_path / "a", target=LOSSLESS, model="none", effort="fast")
    archive = aecompress.open(tmp_path / "a")
    assert archive.model.cells.kind == "figures"
    assert archive.model.cells.point[2] == (read is hasty)
    assert same(archive[:], values)
    assert report.packed_bytes < 0.35 * values.nbytes


def test_few_different_values_are_known_and_others_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    steps = np.sort(rng.normal(size=(60, 4)).astype(np.float32), axis=0)
    ranks = np.clip(rng.integers(-2, 3, (5000, 4)).cumsum(0) % 60, 0, 59)
    values = np.take_along_axis(steps, ranks, 0)
    values[-1, 0] = 0.123456
    model = aecompress.fit(values[:-1], LOSSLESS, kind="none", effort="fast")
    assert model.cells.kind == "known"
    stored = Model.from_bytes(model.to_bytes())
    payload = model.compress(values)
    assert same(stored.decompress(payload), values)
    assert len(payload) < 0.12 * values.nbytes
    aecompress.pack(values[:100], tmp_path / "b", model=model, target=LOSSLESS)
    assert same(aecompress.open(tmp_path / "b")[:], values[:100])


@relaxed
@given(
    st.sampled_from(["i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8"]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.integers(1, 60), elements=_elements(np.dtype(dtype)))
    ),
    st.sampled_from([0.0, 1.0, 3.0, 40.0]),
)
@example(np.array([3, -(2**63) + 100, 0]), 1.0)  # float64 does not tell their distances apart
def test_the_nearest_known_value_is_within_the_bound(values: Array, bound: float) -> None:
    known, counts = bounds.middles(values, bound)
    assert counts.sum() == values.size
    assert (known[1:] > known[:-1]).all()
    decoded = KnownLattice(values.dtype, known, np.array([len(known)]))
    found = decoded.dequantize(decoded.quantize(values))
    assert specials.within(values, found, np.asarray(bound)).all()


def _elements(dtype: np.dtype[np.generic]) -> st.SearchStrategy[float]:
    """Numbers near each other, so that bounds matter, that the arithmetic of the dtype tells from them."""
    if dtype.kind == "f":
        return st.floats(-900, 900, width=8 * dtype.itemsize).map(lambda x: float(np.round(x)))
    ends = np.iinfo(dtype)
    near = [st.integers(low, low + 100) for low in (int(ends.min), 0, int(ends.max) - 100)]
    return st.one_of(near)


@pytest.mark.parametrize("dtype", ["i2", "u4", "i8", "f4"])
@pytest.mark.parametrize("bound", [0.0, 1.0, 7.0])
def test_readings_with_gaps_are_known(dtype: str, bound: float) -> None:
    rng = np.random.default_rng(5)
    ranks = np.clip(rng.integers(-2, 3, (6000, 3)).cumsum(0) % 200, 0, 199)
    values = (np.rint(ranks * 9.77) * np.array([1, 2, 3]) + 50).astype(dtype)
    target = Target("max-error", bound) if bound or dtype != "f4" else LOSSLESS
    model = aecompress.fit(values, target, kind="none", effort="fast")
    assert model.cells.kind == "known"
    odd = values.copy()
    odd[[5, 9], 1] = 1234  # beyond the bound of every known value
    stored = Model.from_bytes(model.to_bytes())
    for rows in (values, odd):
        payload = model.compress(rows)
        decoded = stored.decompress(payload)
        assert decoded.dtype == rows.dtype
        assert specials.within(rows, decoded, np.asarray(bound)).all()
        assert len(payload) < 18_000 * 2.5 / 8  # five steps alike take 2.32 bits


def test_known_values_stay_for_the_same_bound_and_no_narrower_one() -> None:
    ranks = np.random.default_rng(6).integers(-2, 3, (6000, 1)).cumsum(0) % 200
    values = ranks.astype(np.int32) * 20
    model = aecompress.fit(values, Target("max-error", 5), kind="none", effort="fast")
    assert model.cells.kind == "known"
    kept = adapt(model, open_source(values), Target("max-error", 6))
    assert kept.cells.kind == "known"
    assert adapt(model, open_source(values), Target("max-error", 1)).cells.kind == "whole"


def test_dense_integers_are_not_known() -> None:
    values = np.random.default_rng(7).integers(-3, 4, (6000, 3)).cumsum(0).astype(np.int16)
    assert aecompress.fit(values, Target("lossless"), kind="none", effort="fast").cells.kind == "whole"


@pytest.mark.parametrize(("dtype", "ends"), [("f8", [-np.pi * 1e300, np.e, np.pi * 1e300]), ("u8", [0, 2**64 - 1])])
def test_known_values_may_be_as_far_apart_as_their_dtype_allows(dtype: str, ends: list[float]) -> None:
    values = np.random.default_rng(8).choice(np.array(ends, dtype), (300, 2))
    model = aecompress.fit(values, LOSSLESS, kind="none", effort="fast")
    assert model.cells.kind == "known"
    stored = Model.from_bytes(model.to_bytes())
    assert same(stored.decompress(model.compress(values)), values)


@pytest.mark.parametrize("parts", [([0, 2], [1, 2]), ([3], [1, 2]), ([2], [5, 0]), ([], [])])
def test_impossible_known_values_are_refused(parts: tuple[list[int], list[int]]) -> None:
    packed = np.frombuffer(record.pack([np.array(part, np.int64) for part in parts]), np.uint8)
    with pytest.raises(CorruptError):
        Cells.from_parts({"kind": "known", "axis": None, "relative": None}, {"known": packed})


def test_known_values_and_their_kind_go_together() -> None:
    with pytest.raises(CorruptError):
        Cells.from_parts({"kind": "known", "axis": None, "relative": None}, {})
