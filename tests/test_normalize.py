"""The normaliser: streaming moments, extreme values, and the way there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aecompress.errors import ModelError
from aecompress.normalize import Moments, Normalizer, measure

FINITE = st.integers(-(10**9), 10**9).map(lambda n: n / 1000)


@given(arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=FINITE), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_batches_of_any_size_give_the_moments_of_the_whole(rows, size):
    pooled = measure((rows[at : at + size] for at in range(0, len(rows), size)), rows.shape[1])
    unit = 2.0**pooled.exponent
    assert pooled.count == len(rows)
    np.testing.assert_allclose(pooled.mean * unit, rows.mean(axis=0), atol=1e-12 * unit)
    np.testing.assert_allclose(pooled.deviation * unit, rows.std(axis=0), atol=1e-9 * unit)
    np.testing.assert_allclose(pooled.low * unit, rows.min(axis=0), rtol=0, atol=1e-300)
    np.testing.assert_allclose(pooled.high * unit, rows.max(axis=0), rtol=0, atol=1e-300)


@pytest.mark.parametrize("size", [1e300, 1e-300, 5e-324, 1.0])
def test_extreme_ranges_neither_overflow_nor_vanish(size):
    rows = np.array([[1.0, 2.0], [3.0, -4.0], [2.0, 2.0]]) * size
    normalizer = Normalizer.standard(measure([rows[:1], rows[1:]], 2))
    forward = normalizer.forward(rows)
    assert np.isfinite(forward).all()
    np.testing.assert_allclose(normalizer.inverse(forward), rows, rtol=1e-12, atol=5e-324)
    assert np.isfinite(normalizer.typical_scale)


def test_values_of_very_different_size_in_turn():
    moments = measure([np.full((1, 1), 1e-300), np.full((1, 1), 1e300), np.full((1, 1), 1e-300)], 1)
    assert np.ldexp(moments.mean, moments.exponent)[0] == pytest.approx(1e300 / 3)


def test_a_small_spread_on_a_large_offset_is_seen():
    rows = 1e9 + np.array([[-1e-3], [1e-3]] * 50)
    moments = measure([rows[:30], rows[30:]], 1)
    assert np.ldexp(moments.deviation, moments.exponent)[0] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.full((1, 3), 7.0), np.full((50, 3), -2.5)])
def test_nothing_to_spread_gives_scale_one(rows):
    normalizer = Normalizer.standard(measure([rows], 3))
    assert normalizer.scale.tolist() == [1.0]
    assert not normalizer.forward(rows).any()


def test_one_scale_unless_ranges_differ_widely():
    rng = np.random.default_rng(0)
    alike = rng.normal(size=(200, 8))
    assert Normalizer.standard(Moments.of(alike)).scale.shape == (1,)
    unlike = alike * np.array([1, 1, 1, 1, 1e6, 1e6, 1e6, 1e6])
    normalizer = Normalizer.standard(Moments.of(unlike))
    assert normalizer.scale.shape == (8,)
    deviation = normalizer.forward(unlike).std(axis=0)
    assert ((deviation > 0.45) & (deviation <= 1)).all()


def test_features_that_hardly_ever_change_do_not_count_as_wide():
    rows = np.random.default_rng(0).uniform(0, 255, (500, 20))
    rows[1:, :10] = 0  # corners of pictures: of full range, and nearly always dark
    assert Normalizer.standard(Moments.of(rows)).scale.shape == (1,)


def test_unit_range_fills_no_more_than_zero_to_one():
    rows = np.array([[-3.0, 10.0], [4.0, 250.0]])
    forward = Normalizer.unit_range(Moments.of(rows)).forward(rows)
    assert forward.min() == 0
    assert 0.5 < forward.max() <= 1


def test_unit_range_without_rows():
    assert Normalizer.unit_range(Moments.empty(2)).scale.tolist() == [1.0]


def test_tensors_there_and_back():
    normalizer = Normalizer.standard(Moments.of(np.random.default_rng(0).normal(5, 3, (20, 4))))
    again = Normalizer.from_tensors(normalizer.tensors())
    np.testing.assert_array_equal(again.centre, normalizer.centre)
    np.testing.assert_array_equal(again.scale, normalizer.scale)


@pytest.mark.parametrize(
    "tensors",
    [
        {"centre": np.zeros(3)},
        {"centre": np.zeros(3), "scale": np.ones(2)},
        {"centre": np.zeros(3), "scale": np.zeros(1)},
        {"centre": np.zeros(3), "scale": np.array([0.3])},
        {"centre": np.array([np.nan, 0, 0]), "scale": np.ones(1)},
    ],
)
def test_tensors_of_something_else_are_refused(tensors):
    with pytest.raises(ModelError):
        Normalizer.from_tensors(tensors)
