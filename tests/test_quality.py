"""Targets without a bound: a quality or a size is met by every kind of model, and decodes exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aecompress
from aecompress.codec.cells import Cells
from aecompress.codec.model import Model
from aecompress.config import Target, silent
from aecompress.errors import InputError, ModelError
from aecompress.metrics import distortion, similarity
from aecompress.packer import _remeasured
from aecompress.quantize import FloatLattice
from aecompress.recipe import Recipe
from aecompress.shards.block import Block
from aecompress.sources import open_source
from aecompress.spec import Array, ArraySpec
from aecompress.trainer import quality

PICTURES = np.load(Path(aecompress.__file__).parent / "samples" / "fashion_mnist_2000.npy")[:300]


def floats() -> Array:
    rng = np.random.default_rng(3)
    basis = rng.normal(size=(5, 40))
    return (rng.normal(size=(500, 5)) @ basis + 0.05 * rng.normal(size=(500, 40))).astype(np.float32)


@pytest.mark.parametrize("kind", ["none", "pca", "vanilla", "auto"])
@pytest.mark.parametrize("quality", [20.0, 32.0])
def test_psnr_is_reached_and_hardly_passed(kind: str, quality: float, tmp_path: Path) -> None:
    values = floats()
    report = aecompress.pack(values, tmp_path / "a", target=Target("psnr", quality), model=kind, fit_seconds=3)
    decoded = aecompress.open(tmp_path / "a")[:].astype(np.float64)
    rmse = float(np.sqrt(np.mean(np.square(values - decoded))))
    psnr = 20 * np.log10((float(values.max()) - float(values.min())) / rmse)
    assert report.psnr == pytest.approx(psnr, abs=1e-6)
    assert quality - 0.1 <= psnr <= quality + 0.4
    assert report.bound_kept is None


@pytest.mark.parametrize("kind", ["none", "pca", "vanilla"])
@pytest.mark.parametrize("scale", [1e-6, 0.02, 1e6])
def test_quality_does_not_depend_on_the_unit(kind: str, scale: float, tmp_path: Path) -> None:
    values = floats() * np.float32(scale)
    report = aecompress.pack(values, tmp_path / "a", target=Target("psnr", 30.0), model=kind, fit_seconds=2)
    assert report.psnr is not None
    assert 29.9 <= report.psnr <= 30.4


@pytest.mark.parametrize("kind", ["none", "pca"])
def test_rmse_of_pictures(kind: str, tmp_path: Path) -> None:
    report = aecompress.pack(PICTURES, tmp_path / "a", target=Target("rmse", 12.0), model=kind, effort="fast")
    decoded = aecompress.open(tmp_path / "a")[:]
    assert decoded.dtype == np.uint8
    rmse = float(np.sqrt(np.mean(np.square(PICTURES.astype(float) - decoded))))
    assert rmse == pytest.approx(report.rmse)
    assert 11.5 <= rmse <= 12.0 * 1.012


def mean_cosine(first: Array, second: Array) -> float:
    """By the definition, row by row."""
    pairs = zip(first.astype(float), second.astype(float), strict=True)
    return float(np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))


@pytest.mark.parametrize("kind", ["none", "pca", "auto"])
def test_a_mean_cosine_is_reached_and_hardly_passed(kind: str, tmp_path: Path) -> None:
    values = floats()
    target = Target("cosine", 0.97)
    report = aecompress.pack(values, tmp_path / "a", target=target, model=kind, fit_seconds=1, effort="fast")
    found = mean_cosine(values, aecompress.open(tmp_path / "a")[:])
    assert report.cosine == pytest.approx(found, abs=1e-9)
    assert 0.97 <= found < 0.975
    assert aecompress.info(tmp_path / "a")["cosine"] == report.cosine
    assert aecompress.verify(tmp_path / "a", against=values)["cosine"] == pytest.approx(found, abs=1e-9)


def test_blocks_of_an_interrupted_pack_are_measured_again() -> None:
    values = floats()
    model = aecompress.fit(values, Target("cosine", 0.97), kind="pca")
    coded = model.code(values[100:200])
    block = Block(100, 100, coded.payload, coded.method, coded.distortion)
    assert _remeasured(block, open_source(values), model).similarity == coded.similarity


def test_similarity_by_its_definition() -> None:
    rows = floats()[:50]
    other = rows + np.random.default_rng(0).normal(0, 1, rows.shape).astype(np.float32)
    whole = similarity(rows, other)
    assert whole.mean == pytest.approx(mean_cosine(rows, other))
    parts = similarity(rows[:20], other[:20]) + similarity(rows[20:], other[20:])
    assert parts.cosines == pytest.approx(whole.cosines)
    huge = rows.astype(np.float64) * 1e300
    assert similarity(huge, other.astype(np.float64) * 1e-300).mean == pytest.approx(whole.mean, rel=1e-6)
    zeros = np.zeros_like(rows)
    assert similarity(zeros, zeros).mean == 1
    assert similarity(zeros, other).mean == 0
    odd = np.where(rows > 1, np.nan, rows)
    assert similarity(odd, odd).mean == pytest.approx(1)
    assert similarity(zeros[:0], zeros[:0]).mean == 1


def test_rows_without_length_stay_without_and_count(tmp_path: Path) -> None:
    values = floats()
    values[::3] = 0
    report = aecompress.pack(values, tmp_path / "a", target=Target("cosine", 0.99), model="none", effort="fast")
    assert report.cosine is not None
    assert report.cosine >= 0.99
    assert not aecompress.open(tmp_path / "a")[:][::3].any()


def test_rows_far_shorter_than_others_are_refused_by_a_sentence(tmp_path: Path) -> None:
    values = floats().astype(np.float64)
    values[::2] *= 1e-12
    with pytest.raises(InputError, match="far shorter"):
        aecompress.pack(values, tmp_path / "a", target=Target("cosine", 0.99), model="none", effort="fast")


def test_single_values_have_no_direction() -> None:
    with pytest.raises(InputError, match="direction"):
        aecompress.fit(np.arange(100.0), Target("cosine", 0.9))


@pytest.mark.parametrize("kind", ["none", "pca"])
def test_ratio_is_reached(kind: str, tmp_path: Path) -> None:
    report = aecompress.pack(PICTURES[:150], tmp_path / "a", target=Target("ratio", 6.0), model=kind, effort="fast")
    assert report.ratio is not None
    assert 6.0 * 0.98 <= report.ratio <= 6.0 * 1.1


@pytest.mark.parametrize("kind", ["pca", "vanilla", "textbook"])
def test_a_number_of_latents(kind: str, tmp_path: Path) -> None:
    target = Target("latent-dim", 8)
    recipe = None if kind == "pca" else Recipe(epochs=300)  # not the time: machines may be busy
    report = aecompress.pack(PICTURES, tmp_path / "a", target=target, model=kind, recipe=recipe, fit_seconds=60)
    assert set(report.methods) == {"autoencoder"}
    network = aecompress.open(tmp_path / "a").model.network
    assert network is not None
    assert network.latent_dim == 8
    blank = float(np.sqrt(np.mean(np.square(PICTURES - PICTURES.mean(0)))))
    assert report.rmse < 0.9 * blank


def test_an_error_that_no_step_reaches_is_told() -> None:
    spec = ArraySpec(np.dtype(np.float32), (40,))
    coarse = Model(spec, "none", Target("rmse", 0.1), Cells("real", np.asarray(9.0), np.asarray(np.inf)), np.zeros(0))
    goal, source = quality.Goal(0.1, None), open_source(floats())
    assert quality.checked_step(goal, 0.3, lambda _: coarse, source, silent) is None


@given(st.floats(0.01, 100.0), st.integers(0, 2**32))
@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_a_sure_step_is_sure(dtype: type, rmse: float, seed: int) -> None:
    values = (np.random.default_rng(seed).normal(0, 100, 50)).astype(dtype)
    lattice = FloatLattice(np.dtype(dtype), np.asarray(quality.sure_step(quality.Goal(rmse, None), np.dtype(dtype))))
    assert distortion(values, lattice.dequantize(lattice.quantize(values))).rmse <= rmse


def test_latents_need_an_autoencoder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="autoencoder"):
        aecompress.pack(PICTURES, tmp_path / "a", target=Target("latent-dim", 8), model="none")


def test_special_values_beside_an_autoencoder(tmp_path: Path) -> None:
    values = floats()
    values[::7, 3] = np.nan
    values[5, 5], values[6, 6] = np.inf, -0.0
    aecompress.pack(values, tmp_path / "a", target=Target("latent-dim", 5), model="pca")
    decoded = aecompress.open(tmp_path / "a")[:]
    apart = ~np.isfinite(values) | (values == 0)
    assert np.array_equal(values[apart].view(np.int32), decoded[apart].view(np.int32))
    assert float(np.sqrt(np.nanmean(np.square(values[~apart] - decoded[~apart])))) < 0.2


def test_a_kept_model_packs_other_rows(tmp_path: Path) -> None:
    values = floats()
    model = aecompress.fit(values[:250], Target("psnr", 25.0), kind="pca")
    (tmp_path / "model").write_bytes(model.to_bytes(encoder=True))
    report = aecompress.pack(values[250:], tmp_path / "a", model=tmp_path / "model")
    assert report.psnr is not None
    assert report.psnr >= 24.9
    assert aecompress.open(tmp_path / "a")[:].shape == (250, 40)


def test_a_model_says_which_rows_it_saw() -> None:
    values, target = floats(), Target("latent-dim", 4)
    seen = [aecompress.fit(rows, target, kind="pca").about["sample"] for rows in (values, values.copy(), values[::-1])]
    assert seen[0] == seen[1] != seen[2]
    assert seen[0]["rows"] == len(values)


def test_a_decoder_cannot_pack() -> None:
    values = floats()
    model = Model.from_bytes(aecompress.fit(values, Target("latent-dim", 4), kind="pca").to_bytes())
    with pytest.raises(ModelError, match="only decode"):
        model.compress(values)


def test_the_same_bytes_for_any_batch_of_latents() -> None:
    model = aecompress.fit(PICTURES, Target("latent-dim", 8), kind="vanilla", seconds=3)
    whole = model.quantize_latents(PICTURES, np.ones(PICTURES.shape, bool))
    together = model.synthesise(whole, PICTURES.shape)
    apart = [model.synthesise(whole[i : i + 7], (len(whole[i : i + 7]), 28, 28)) for i in range(0, len(whole), 7)]
    assert np.array_equal(together, np.concatenate(apart))
