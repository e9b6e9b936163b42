"""Floats that are printed numbers, and floats of few different values, without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.codec.cells import Cells
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.entropy import record
from aecompress.errors import CorruptError
from aecompress.lossless import MOST_ULPS, FigureLattice, KnownLattice
from aecompress.spec import Array

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


@pytest.mark.parametrize("parts", [([0, 2], [1, 2]), ([3], [1, 2]), ([2], [5, 0]), ([], [])])
def test_impossible_known_values_are_refused(parts: tuple[list[int], list[int]]) -> None:
    packed = np.frombuffer(record.pack([np.array(part, np.int64) for part in parts]), np.uint8)
    with pytest.raises(CorruptError):
        Cells.from_parts({"kind": "known", "axis": None, "relative": None}, {"known": packed})


def test_known_values_and_their_kind_go_together() -> None:
    with pytest.raises(CorruptError):
        Cells.from_parts({"kind": "known", "axis": None, "relative": None}, {})
