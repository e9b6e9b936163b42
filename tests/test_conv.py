"""The convolution behind the lattice: exact, never worse than the plain cells, and smaller archives at one error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress import Target
from aecompress.autoencoder import convolution
from aecompress.autoencoder.conv import Lesson, fit_conv
from aecompress.autoencoder.convolution import FRACTION, Convolution, gather
from aecompress.codec.model import Model
from aecompress.config import silent
from aecompress.context import fit as context
from aecompress.errors import InputError, ModelError
from aecompress.spec import Array
from aecompress.trainer import smooth
from aecompress.trainer.unbounded import Unbounded


def waves(rows: int, size: int = 24, seed: int = 0) -> Array:
    """Smooth fields [rows, size, size] float32 that differ from row to row."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    turn, far = rng.uniform(0, 3, (rows, 1, 1)), rng.uniform(0.1, 0.4, (rows, 1, 1))
    return np.sin(far * (x * np.cos(turn) + y * np.sin(turn)) + 5 * turn).astype(np.float32)


def noisy(rows: int, seed: int = 0) -> Array:
    """The same with noise, so that errors grow evenly with the cells."""
    values: Array = waves(rows, seed=seed) + np.random.default_rng(seed).normal(0, 0.1, (rows, 24, 24))
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> Convolution:
    values = waves(60) / 0.3
    q = np.rint(values).astype(np.int64)
    found = fit_conv([Lesson(q, np.ones(q.shape, bool), values)], seconds=2.0, seed=0, progress=silent)
    assert found is not None
    return found


def naive(conv: Convolution, q: Array, keep: Array) -> Iterator[Array]:
    """Inputs of every value in turn, by the definition."""
    for place in product(*map(range, q.shape)):
        told = np.zeros(len(conv.taps) + 1, np.int64)
        for k, tap in enumerate(conv.taps):
            other = tuple(int(p + t) for p, t in zip(place, tap, strict=True))
            inside = all(0 <= o < n for o, n in zip(other, q.shape, strict=True))
            if inside and keep[other] and keep[place]:
                told[k] = q[other] - q[place]
        told[-1] = (q[place] - conv.typical) * keep[place]
        yield np.clip(told, -4095, 4095)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
def test_inputs_are_those_of_the_definition(fitted: Convolution, seed: int, rows: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    q = rng.integers(-6000, 6000, (rows, height, width))
    keep = rng.random(q.shape) < 0.8
    found = np.concatenate(list(gather(q, keep, fitted.taps, fitted.typical)))
    assert np.array_equal(found, np.array(list(naive(fitted, q, keep))))


def test_pieces_do_not_change_the_estimate(fitted: Convolution, monkeypatch: pytest.MonkeyPatch) -> None:
    q = np.rint(waves(8, seed=1) / 0.3).astype(np.int64)
    keep = np.ones(q.shape, bool)
    whole = fitted.estimate(q, keep)
    monkeypatch.setattr(convolution, "_CHUNK", 100)
    assert np.array_equal(fitted.estimate(q, keep), whole)


def test_values_that_are_not_kept_change_nothing(fitted: Convolution) -> None:
    q = np.rint(waves(4, seed=2) / 0.3).astype(np.int64)
    keep = np.random.default_rng(0).random(q.shape) < 0.7
    other = np.where(keep, q, 1000)
    assert np.array_equal(fitted.estimate(q, keep)[keep], fitted.estimate(other, keep)[keep])


def test_it_lowers_the_error_of_rows_it_never_saw(fitted: Convolution) -> None:
    values = waves(8, seed=3) / 0.3
    q = np.rint(values).astype(np.int64)
    estimate = fitted.estimate(q, np.ones(q.shape, bool)) / 2.0**FRACTION
    assert np.square(estimate - values).mean() < 0.6 * np.square(q - values).mean()


def test_tensors_give_the_same_convolution_and_damage_is_refused(fitted: Convolution) -> None:
    tensors = fitted.tensors()
    q = np.rint(waves(2, seed=4) / 0.3).astype(np.int64)
    keep = np.ones(q.shape, bool)
    assert np.array_equal(Convolution.from_tensors(tensors).estimate(q, keep), fitted.estimate(q, keep))
    far = {**tensors, "taps": tensors["taps"] * 100}
    fewer = {**tensors, "taps": tensors["taps"][1:]}
    without = {name: array for name, array in tensors.items() if name != "typical"}
    coarse = {**tensors, "unit": np.array([5], np.int16)}
    for damaged in (far, fewer, without, coarse):
        with pytest.raises(ModelError):
            Convolution.from_tensors(damaged)


def test_too_few_values_teach_nothing() -> None:
    q = np.zeros((2, 8), np.int64)
    assert fit_conv([Lesson(q, q == 0, q + 0.1)], seconds=1.0, seed=0, progress=silent) is None


def test_thrifty_integers_save_bits() -> None:
    values = waves(40, seed=5) / 0.1 + np.random.default_rng(1).normal(0, 0.5, (40, 24, 24))
    q, coded = np.rint(values).astype(np.int64), np.ones(values.shape, bool)
    coder = context.fit([context.Sample(q, coded)], q.size)
    chosen = coder.thrifty(values, q, coded, 0.1)
    price = [len(coder.encode(each, coded)) * 8 * 0.1 + np.square(values - each).sum() for each in (q, chosen)]
    assert price[1] < price[0]
    assert np.array_equal(coder.thrifty(values, q, coded, 0.0), q)


def test_an_archive_meets_the_quality_in_fewer_bytes_than_plain_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smooth, "suits", lambda *_: False)
    values = noisy(500)
    values[3, 4, 5], values[7, 0, 0] = np.nan, np.inf
    target = Target("psnr", 30.0)
    sizes = {}
    for kind in ("none", "conv"):
        report = aecompress.pack(values, tmp_path / kind, model=kind, target=target, fit_seconds=6, effort="fast")
        sizes[kind] = report.packed_bytes
        assert report.psnr is not None
        assert 30.0 <= report.psnr < 30.5
    back = aecompress.open(tmp_path / "conv")[:]
    assert np.isnan(back[3, 4, 5])
    assert back[7, 0, 0] == np.inf
    assert set(aecompress.open(tmp_path / "conv").manifest.report["methods"]) == {"conv"}
    assert sizes["conv"] < 0.9 * sizes["none"]


@pytest.fixture(scope="module")
def model() -> Model:
    return aecompress.fit(noisy(500), Target("psnr", 30.0), kind="conv", seconds=4, effort="fast")


def test_a_fitted_model_packs_other_rows_at_other_qualities(model: Model, tmp_path: Path) -> None:
    kept = Model.from_bytes(model.to_bytes(encoder=True))
    assert (kept.identity, kept.thrift) == (model.identity, model.thrift)
    assert Model.from_bytes(model.to_bytes()).thrift == 0
    report = aecompress.pack(noisy(200, seed=9), tmp_path / "a", model=kept, target=Target("psnr", 26.0))
    assert report.psnr is not None
    assert 26.0 <= report.psnr < 26.6


def test_a_simple_way_is_no_way_to_miss_the_quality(model: Model) -> None:
    """The same row again and again costs delta and zstd nothing, but cells as wide need the convolution."""
    rows = np.repeat(noisy(1), 300, axis=0)
    assert model.conv is not None
    assert model.simplest(rows) < model.estimate(rows)
    assert replace(model, rate=0.0).code(rows).distortion.rmse <= model.error(rows).rmse


def test_integers_come_back_as_integers(tmp_path: Path) -> None:
    pictures = np.clip(waves(150) * 120 + 128, 0, 255).astype(np.uint8)
    aecompress.pack(pictures, tmp_path / "a", model="conv", target=Target("rmse", 6.0), fit_seconds=3)
    back = aecompress.open(tmp_path / "a")[:]
    assert back.dtype == np.uint8
    assert np.sqrt(np.square(back.astype(float) - pictures).mean()) <= 6.0


@pytest.mark.parametrize("target", [Target("rel-error", 1e-2), Target("lossless"), Target("latent-dim", 4)])
def test_conv_refuses_a_bound(target: Target) -> None:
    with pytest.raises(InputError, match="conv"):
        aecompress.fit(waves(20), target, kind="conv")


def test_a_trial_that_was_too_kind_costs_thrift_and_not_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """In narrower cells, where there are few, a convolution that was trained for others may err more."""
    values = noisy(240)
    values[120:] += np.random.default_rng(1).normal(0, 0.1, (120, 24, 24)).astype(np.float32)
    kind = values[:120]
    monkeypatch.setattr(Unbounded, "_trial", lambda _: [kind])
    target = Target("psnr", 24.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aecompress.trainer.unbounded._THRIFTS", (math.log(2) / 6,))
        model = aecompress.fit(values, target, kind="conv", seconds=6)
    assert model.kind == "conv"
    assert 0 < model.thrift < math.log(2) / 6
    decoded = model.decompress(model.compress(values))
    error = float(np.sqrt(np.square(decoded.astype(np.float64) - values).mean()))
    allowed = float(np.ptp(values)) / 10 ** (24 / 20)
    assert 0.97 * allowed < error <= allowed
