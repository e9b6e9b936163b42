"""The strided autoencoder: an exact synthesis of grids of latents, of pictures of any size, and archives of it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress import Target
from aecompress.autoencoder import striding
from aecompress.autoencoder.network import run
from aecompress.autoencoder.strided import StridedAutoencoder, fit_strided, grid_of
from aecompress.autoencoder.striding import Grid, Strided, around, gathered
from aecompress.codec.model import Model
from aecompress.config import silent
from aecompress.errors import InputError, ModelError
from aecompress.sources import open_source
from aecompress.spec import Array
from aecompress.trainer import adapt


def scenes(rows: int, height: int = 66, width: int = 90, colours: int = 3, seed: int = 0) -> Array:
    """Pictures uint8 [rows, height, width, colours] of overlapping discs, and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    found = np.full((rows, height, width, colours), 90.0)
    for picture in found:
        for _ in range(12):
            inside = np.hypot(y - rng.integers(height), x - rng.integers(width)) < rng.integers(5, 25)
            picture[inside] = rng.integers(0, 256, colours)
    return np.clip(found + rng.normal(0, 4, found.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted() -> StridedAutoencoder:
    found = fit_strided([scenes(12).astype(np.float64)], 12.0, seconds=6.0, seed=0, progress=silent)
    assert found is not None
    return found


def test_what_is_worth_far_less_is_given_up_early() -> None:
    noise = [np.random.default_rng(0).normal(0, 60, (20, 64, 64))]
    spent = []
    for worth in (0.05, math.inf):
        seen: list[float] = []
        found = fit_strided(
            noise, 12.0, worth=worth, seconds=6.0, seed=0, progress=lambda _, done, __, seen=seen: seen.append(done)
        )
        assert (found is None) == (worth < 1.0)
        spent.append(seen[-1])
    assert spent[0] < 0.9 < spent[1]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(0, 3),
    st.lists(st.integers(1, 4), max_size=2),
    st.lists(st.integers(1, 13), min_size=1, max_size=3),
)
def test_cells_join_to_what_they_were_cut_from(stride: int, colours: int, outer: list[int], sides: list[int]) -> None:
    shape = (*outer, *sides, *([colours] if colours else []))
    block = np.random.default_rng(0).integers(-9, 9, shape)
    grid = Grid(stride, colours, len(sides))
    assert grid.cut(block).shape == (*grid.cells(shape), grid.patch)
    assert np.array_equal(grid.join(grid.cut(block), shape), block)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 40))
def test_a_cell_is_seen_with_those_around_it(grids: int, sides: list[int], chunk: int) -> None:
    cells = np.random.default_rng(0).integers(-9, 9, (grids, *sides, 2))
    told = np.zeros((*cells.shape, *[3] * len(sides)), np.int64)
    for n, *place in product(range(grids), *map(range, sides)):
        for step in product(range(3), repeat=len(sides)):
            there = [at + i - 1 for at, i in zip(place, step, strict=True)]
            if all(0 <= at < side for at, side in zip(there, sides, strict=True)):
                told[(n, *place, slice(None), *step)] = cells[(n, *there)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(striding, "_CHUNK", chunk)
        assert np.array_equal(np.concatenate(list(around(cells))), told.reshape(-1, 2 * 3 ** len(sides)))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_what_is_told_around_is_gathered_by_the_adjoint(grids: int, sides: list[int]) -> None:
    rng = np.random.default_rng(0)
    cells = rng.integers(-9, 9, (grids, *sides, 2))
    seen = np.concatenate(list(around(cells)))
    told = rng.integers(-9, 9, seen.shape)
    assert (seen * told).sum() == (cells * gathered(told, cells.shape)).sum()


@pytest.mark.parametrize("shape", [(2, 66, 90, 3), (1, 17, 16, 3), (3, 31, 50, 3)])
def test_the_exact_synthesis_is_that_of_the_float_network(fitted: StridedAutoencoder, shape: tuple[int, ...]) -> None:
    pictures = scenes(shape[0], shape[1], shape[2], seed=1)
    latents = np.rint(fitted.analysis(pictures)).astype(np.int64)
    exact = fitted.freeze(1.0)
    back = exact.network.values(exact.synthesis(latents, pictures.shape), np.dtype(np.float64))
    wanted = _patches(fitted, latents.astype(np.float64)).reshape(*latents.shape[:3], -1)
    expected = fitted.grid.join(wanted, pictures.shape) * fitted.scale + fitted.centre
    error = np.sqrt(np.square(expected - pictures).mean())
    assert np.sqrt(np.square(back - expected).mean()) < 0.2 * error


def test_a_step_down_the_gradient_makes_good_for_rounding(fitted: StridedAutoencoder) -> None:
    pictures = scenes(4, seed=3)
    latents = np.rint(fitted.analysis(pictures))
    before, after = (_error(fitted, pictures, found) for found in (latents, fitted.nearer(pictures, latents)))
    assert after < 0.9 * before


def test_gains_are_squared_errors_that_steps_of_latents_make(fitted: StridedAutoencoder) -> None:
    latents = np.rint(np.random.default_rng(1).normal(0, fitted.spread, (1, 40, 40, len(fitted.spread))))
    apart = np.zeros((1, 40, 40))
    apart[:, 2::4, 2::4] = 1
    for k, gain in enumerate(fitted.gains):
        changed = latents.copy()
        changed[..., k] += apart
        error = np.square(_patches(fitted, changed) - _patches(fitted, latents)).sum() / apart.sum()
        assert error == pytest.approx(gain, rel=0.3)


def _error(fitted: StridedAutoencoder, values: Array, latents: Array) -> float:
    wanted = fitted.grid.cut((values - fitted.centre) / fitted.scale).reshape(-1, fitted.grid.patch)
    return float(np.square(_patches(fitted, latents) - wanted).sum())


def _patches(fitted: StridedAutoencoder, latents: Array) -> Array:
    return np.concatenate([run(fitted.decoder, inputs) for inputs in around(latents)])


def test_it_learns_to_err_as_asked(fitted: StridedAutoencoder) -> None:
    pictures = scenes(12)
    exact = fitted.freeze(1.0)
    back = exact.synthesis(np.rint(fitted.analysis(pictures)).astype(np.int64), pictures.shape)
    error = exact.network.values(back, np.dtype(np.float64)) - pictures
    assert 6.0 < np.sqrt(np.square(error).mean()) < 24.0


def test_tensors_give_the_same_network_and_damage_is_refused(fitted: StridedAutoencoder) -> None:
    exact = fitted.freeze(1.0)
    latents = np.random.default_rng(0).integers(-5, 5, (2, 3, 4, exact.latents))
    kept = Strided.from_tensors(exact.tensors())
    assert np.array_equal(kept.synthesis(latents, (2, 12, 15, 3)), exact.synthesis(latents, (2, 12, 15, 3)))
    tensors = exact.tensors()
    without = {name: array for name, array in tensors.items() if name != "grid"}
    for damage in ([3, 3], [0, 3], [4, 9], [4, 17], [4, 3, 1], [4, 3, 0], [4, 3, 4], [4, 3, 2, 2]):
        with pytest.raises(ModelError):
            Strided.from_tensors({**tensors, "grid": np.array(damage)})
    with pytest.raises(ModelError):
        Strided.from_tensors(without)
    with pytest.raises(ModelError):
        Strided.from_tensors({**tensors, "unit": np.zeros(len(exact.network.offset), np.int16)})


def test_volumes_planes_and_series_have_a_grid() -> None:
    assert grid_of((16, 40, 50)) == Grid(4, 0, 3)
    assert grid_of((6, 25, 125, 125)) == Grid(4, 0, 3)
    assert grid_of((32, 32, 32, 3)) == Grid(4, 3, 3)
    assert grid_of((512, 768, 3)) == Grid(4, 3)
    assert grid_of((5, 28, 28)) == Grid(4, 0)
    assert grid_of((28, 28)) == Grid(4, 0)
    assert grid_of((1000,)) == Grid(8, 0, 1)
    assert grid_of((200, 4)) == Grid(8, 4, 1)
    assert grid_of((6,)) == Grid(8, 6, 1)  # moments of one series
    assert grid_of((28,)) is None
    assert grid_of((12, 20)) is None
    assert grid_of(()) is None


def beats(rows: int, length: int) -> Array:
    """int16 [rows, length]: pulses at uneven times, and some noise."""
    rng = np.random.default_rng(0)
    time = np.arange(rows * length)
    at = np.cumsum(rng.integers(40, 80, rows * length // 40))
    phase = time - at[np.maximum(np.searchsorted(at, time, "right") - 1, 0)]
    pulse = 900 * np.exp(-np.square(phase - 10) / 18) - 200 * np.exp(-np.square(phase - 22) / 60)
    return (pulse + rng.normal(0, 12, len(time))).round().astype(np.int16).reshape(rows, length)


@pytest.mark.parametrize("shape", [(80, 1000), (50_000, 3)])
def test_series_meet_the_quality(shape: tuple[int, int], tmp_path: Path) -> None:
    """Of rows, and of moments."""
    values = beats(150, 1000).ravel()[: math.prod(shape)]
    series = values.reshape(shape[::-1]).T if shape[1] < 16 else values.reshape(shape)
    target = Target("rmse", 24.0)
    report = aecompress.pack(series, tmp_path / "a", model="strided", target=target, fit_seconds=8, effort="fast")
    assert report.rmse is not None
    assert 16.0 < report.rmse <= 24.0
    assert set(report.methods) == {"strided"}
    assert np.sqrt(np.square(aecompress.open(tmp_path / "a")[:].astype(float) - series).mean()) <= 24.0


def drops(count: int, side: int) -> Array:
    """float32 [count, side, side, side]: shells around centres that differ, and some noise."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:side, :side, :side]
    middle, radius = rng.uniform(0.3, 0.7, (count, 3, 1, 1, 1)) * side, rng.uniform(0.2, 0.4, (count, 1, 1, 1)) * side
    away = np.sqrt(sum(np.square(at - middle[:, axis]) for axis, at in enumerate((z, y, x)))) - radius
    found: Array = 100 * np.exp(-np.square(away) / 8) + rng.normal(0, 2, away.shape)
    return found.astype(np.float32)


def test_volumes_meet_the_quality(tmp_path: Path) -> None:
    volumes = drops(10, 33)
    volumes[3, 4, 5, 6], volumes[7, 0, 0, 0] = np.nan, np.inf
    target = Target("rmse", 6.0)
    report = aecompress.pack(volumes, tmp_path / "a", model="strided", target=target, fit_seconds=8, effort="fast")
    assert report.rmse is not None
    assert 4.0 < report.rmse <= 6.0
    assert set(report.methods) == {"strided"}
    archive = aecompress.open(tmp_path / "a")
    assert archive.model.strided is not None
    assert archive.model.strided.grid == Grid(4, 0, 3)
    back, known = archive[:], np.isfinite(volumes)
    assert np.sqrt(np.square(back[known].astype(float) - volumes[known]).mean()) <= 6.0
    assert np.array_equal(back[~known], volumes[~known], equal_nan=True)


def test_an_archive_meets_the_quality_and_its_model_packs_others(tmp_path: Path) -> None:
    pictures = scenes(16).astype(np.float32)
    pictures[3, 4, 5, 1], pictures[7, 0, 0, 0] = np.nan, np.inf
    target = Target("rmse", 12.0)
    model = aecompress.fit(pictures, target, kind="strided", seconds=12, effort="fast")
    assert model.kind == "strided"
    assert model.thrift
    generous = replace(model, thrift=0.0)
    assert model.estimate(pictures) < generous.estimate(pictures)
    kept = Model.from_bytes(model.to_bytes(encoder=True))
    assert kept.identity == model.identity
    assert Model.from_bytes(model.to_bytes()).patches is None
    assert adapt(kept, open_source(pictures), target).context is kept.context
    report = aecompress.pack(pictures, tmp_path / "a", model=kept, target=target)
    back = aecompress.open(tmp_path / "a")[:]
    assert report.rmse is not None
    assert 11.0 < report.rmse <= 12.0
    assert np.isnan(back[3, 4, 5, 1])
    assert back[7, 0, 0, 0] == np.inf
    assert set(aecompress.open(tmp_path / "a").manifest.report["methods"]) == {"strided"}
    report = aecompress.pack(
        scenes(8, seed=2).astype(np.float32), tmp_path / "b", model=kept, target=Target("rmse", 14)
    )
    assert report.rmse is not None
    assert report.rmse <= 14.0


def test_where_there_is_too_little_to_learn_from_other_ways_serve(tmp_path: Path) -> None:
    pictures = scenes(2, 20, 20)
    report = aecompress.pack(pictures, tmp_path / "a", model="strided", target=Target("psnr", 30.0), fit_seconds=3)
    assert report.psnr is not None
    assert report.psnr >= 30.0


@pytest.mark.parametrize("target", [Target("rel-error", 1e-2), Target("lossless"), Target("latent-dim", 4)])
def test_strided_refuses_a_bound(target: Target) -> None:
    with pytest.raises(InputError, match="strided"):
        aecompress.fit(scenes(2), target, kind="strided")
