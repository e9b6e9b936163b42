"""The integer wavelet: exact both ways, and a bound that holds where it codes smooth fields."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import aecompress
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.errors import CorruptError
from aecompress.spec import Array
from aecompress.wavelet import CELL, Wavelet, fill_gaps, fit_wavelet, suits

shapes = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
)


@settings(deadline=None, max_examples=60)
@given(shapes.flatmap(lambda s: arrays(np.int64, s, elements=st.integers(-(2**40), 2**40))), st.integers(0, 4))
def test_steps_of_one_lose_nothing(values: Array, levels: int) -> None:
    wavelet = Wavelet(levels, np.ones((levels + 1, 4), np.int64))
    assert np.array_equal(wavelet.inverse(wavelet.forward(values)), values)


def test_the_error_grows_with_the_step() -> None:
    y, x = np.mgrid[0:64, 0:96]
    values = np.rint(5000 * np.sin(y / 9.0) * np.cos(x / 7.0)).astype(np.int64) * CELL
    errors = []
    for step in (0.5, 2.0, 8.0):
        wavelet = fit_wavelet(values.shape, step)
        errors.append(float(np.abs(wavelet.inverse(wavelet.forward(values)) - values).mean()) / CELL)
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.5 * 0.5


def smooth(dtype: str, seed: int = 0) -> Array:
    y, x = np.mgrid[0:90, 0:120]
    rng = np.random.default_rng(seed)
    planes = [np.sin(y / (11 + k) + k) * np.cos(x / 13.0 - k) + 1e-5 * rng.normal(size=y.shape) for k in range(6)]
    return (1000 * np.stack(planes)).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_smooth_fields_take_the_wavelet_and_keep_the_bound(dtype: str, tmp_path: Path) -> None:
    values = smooth(dtype)
    report = aecompress.pack(values, tmp_path / "a", target=Target("rel-error", 1e-2), model="none")
    assert set(report.methods) == {"wavelet"}
    decoded = aecompress.open(tmp_path / "a")[:]
    assert decoded.dtype == values.dtype
    error = np.abs(values.astype(np.float64) - decoded.astype(np.float64))
    assert report.bound is not None
    assert error.max() <= report.bound
    assert error.max() == report.max_abs_error


def test_special_values_in_smooth_fields(tmp_path: Path) -> None:
    values = smooth("f4")
    values[:, 30:50, 40:70] = np.nan
    values[2, 5, 5], values[3, 7, 7], values[1, 1, 1] = np.inf, -0.0, 1e-40
    aecompress.pack(values, tmp_path / "a", target=Target("max-error", 10.0), model="none")
    decoded = aecompress.open(tmp_path / "a")[:]
    apart = ~np.isfinite(values) | (values == 0) | (np.abs(values) < np.finfo(np.float32).tiny)
    assert np.array_equal(values[apart].view(np.int32), decoded[apart].view(np.int32))
    assert np.abs(values[~apart].astype(np.float64) - decoded[~apart]).max() <= 10.0


def test_gaps_repeat_the_last_value_of_their_line() -> None:
    keep = np.array([[False, True, False, False], [True, False, True, True]])
    filled = fill_gaps(np.array([[9, 4, 9, 9], [1, 9, 3, 7]]), keep)
    assert filled.tolist() == [[3, 4, 4, 4], [1, 1, 3, 7]]


def test_short_axes_are_left_alone() -> None:
    assert suits((3, 16, 16))
    assert not suits((3, 15, 400))
    assert not suits((400,))


@pytest.mark.parametrize("steps", [np.zeros((3, 4), np.int64), np.full((3, 4), 2**31), np.ones((2, 4), np.int64)])
def test_impossible_stored_transforms_are_refused(steps: Array) -> None:
    with pytest.raises(CorruptError):
        Wavelet.checked(2, steps)


def test_a_stored_model_keeps_its_identity_whatever_zstd_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    import zstandard

    values = smooth("f4")
    model = aecompress.fit(values, Target("max-error", 0.5), kind="none")
    payload, stored = model.compress(values[:2]), model.to_bytes()
    real = zstandard.ZstdCompressor
    monkeypatch.setattr(zstandard, "ZstdCompressor", lambda **options: real(**{**options, "level": 1}))
    again = Model.from_bytes(stored)
    assert again.identity == model.identity
    assert np.array_equal(again.decompress(payload), model.decompress(payload))
