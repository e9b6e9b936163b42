"""PCA and the dense autoencoders: quality, degenerate data, extreme data, freezing, and files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecompress.autoencoder import IntegerNetwork, fit_dense, fit_pca, fit_textbook, load_autoencoder
from aecompress.autoencoder.learners.base import entropy
from aecompress.errors import InputError, ModelError
from aecompress.recipe import Recipe


def silent(phase, done, info):
    assert isinstance(info, dict)
    assert isinstance(phase, str)
    assert 0 <= done <= 1


def in_batches(rows, size=100):
    return lambda: (rows[at : at + size] for at in range(0, len(rows), size))


def pca(rows, latent_dim, **options):
    return fit_pca(in_batches(rows), rows.shape[1], latent_dim, seed=0, progress=silent, **options)


def low_rank(rows=400, row_size=30, rank=5, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    decay = 2.0 ** -np.arange(rank)
    return rng.normal(size=(rows, rank)) * decay @ rng.normal(size=(rank, row_size)) + noise * rng.normal(
        size=(rows, row_size)
    )


def curved(rows=2000, row_size=24, seed=0):
    """Rows on a bent two-dimensional surface, which no plane fits."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-2, 2, (2, rows, 1))
    phase = np.linspace(0, 3, row_size)
    return 40 * np.sin(2 * u + phase) + 25 * np.cos(v * phase) + rng.normal(0, 0.2, (rows, row_size))


def decoded(model, rows, step, **options):
    network = model.freeze(step, **options)
    latents = np.rint(model.analysis(rows) / step).astype(np.int32)
    return network.values(network.synthesis(latents), np.dtype(np.float64)), latents


def mse(a, b):
    return float(np.square(a - b).mean())


# --- PCA ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row_size", [30, 1100])
def test_pca_keeps_what_the_best_plane_keeps(row_size):
    rows = low_rank(row_size=row_size, noise=0.05)
    model = pca(rows, 4)
    centred = rows - rows.mean(axis=0)
    missed = np.square(np.linalg.svd(centred, compute_uv=False)[4:]).sum() / rows.size
    assert mse(model.synthesis(model.analysis(rows)), rows) == pytest.approx(missed, rel=1e-3)


def test_pca_of_rows_too_wide_for_a_covariance():
    rows = low_rank(rows=60, row_size=5000, rank=8, noise=0.0)
    model = pca(rows, 20)
    assert model.latent_dim == 8
    assert mse(model.synthesis(model.analysis(rows)), rows) < 1e-20 * rows.var()


def test_pca_latents_are_uncorrelated_and_in_data_units():
    rows = low_rank()
    model = pca(rows, 5)
    latents = model.analysis(rows)
    covariance = latents.T @ latents / len(rows)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), model.deviation, rtol=1e-6)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-9 * covariance.max())
    moved = model.synthesis(latents + 0.5) - model.synthesis(latents)
    np.testing.assert_allclose(np.square(moved).sum(axis=1), 5 * 0.25)


def test_signs_do_not_depend_on_the_signs_of_the_rows():
    rows = low_rank()
    first, second = pca(rows, 5), pca(-rows, 5)
    np.testing.assert_allclose(first.decoder[0][0].weight, second.decoder[0][0].weight, atol=1e-9)


def test_batches_do_not_change_the_fit():
    rows = low_rank()
    whole = fit_pca(lambda: iter([rows]), 30, 5, seed=0, progress=silent)
    np.testing.assert_allclose(whole.decoder[0][0].weight, pca(rows, 5).decoder[0][0].weight, atol=1e-9)


@pytest.mark.parametrize(
    ("rows", "latent_dim"),
    [
        (np.zeros((0, 6)), 1),
        (np.full((1, 6), 3.5), 1),
        (np.full((40, 6), -7.25), 1),
        (np.arange(12.0).reshape(2, 6), 1),
        (np.outer(np.arange(40.0), [1, 0, 2, 0, 0, 0]) + 5, 1),
        (low_rank(3, 6), 2),
        (np.random.default_rng(0).normal(size=(40, 6)), 6),
    ],
    ids=["no rows", "one row", "constant", "two rows", "constant columns", "three rows", "full rank"],
)
def test_the_number_of_latents_is_the_rank_but_at_least_one(rows, latent_dim):
    model = pca(rows, 6)
    assert model.latent_dim == latent_dim
    probe = rows if len(rows) else np.ones((2, 6))
    values, _ = decoded(model, probe, 0.01)
    assert np.isfinite(values).all()
    if len(rows):
        np.testing.assert_allclose(values, rows, atol=0.05)


@pytest.mark.parametrize("size", [1e300, 1e100, 1e-100, 1e-300])
def test_extreme_values_stay_finite_and_keep_their_quality(size):
    rows = low_rank() * size
    values, _ = decoded(pca(rows, 5), rows, 0.02 * size)
    assert np.isfinite(values).all()
    assert np.abs(values / size - rows / size).max() < 0.2


def test_a_large_offset_does_not_hide_the_signal():
    rows = low_rank(noise=0.0) + 1e8
    values, _ = decoded(pca(rows, 5), rows, 0.01)
    assert np.abs(values - rows).max() < 0.02


def test_rows_unlike_any_seen_at_the_fit_stay_finite():
    model = pca(low_rank(), 3)
    assert np.isfinite(model.analysis(np.full((1, 30), 1e300))).all()


def test_special_values_count_as_the_centre():
    rows = low_rank()
    model = pca(rows, 3)
    values = rows[:2].astype(np.float32).reshape(2, 5, 6).copy()
    values[0, 1, 2] = np.nan
    filled = model.rows(values, np.isfinite(values))
    assert filled.shape == (2, 30)
    assert filled.dtype == np.float64
    assert filled[0, 8] == model.normalizer.centre[8]
    np.testing.assert_array_equal(filled[1], values[1].reshape(-1))


def test_progress_is_reported_from_start_to_end():
    seen = []
    rows = low_rank()
    fit_pca(in_batches(rows), 30, 5, seed=0, progress=lambda *report: seen.append(report[:2]))
    assert seen[0] == ("moments", 0.0)
    assert seen[-1] == ("components", 1.0)


# --- freezing -----------------------------------------------------------------------------------------------------


@given(st.floats(-3, 0.4), st.integers(0, 5))  # beyond, latents are all but zero
@settings(max_examples=20, deadline=None)
def test_rounding_the_weights_costs_less_than_a_hundredth_of_a_decibel(magnitude, seed):
    rows, step = low_rank(rows=1000, noise=0.002, seed=seed), 10.0**magnitude * 0.05
    model = pca(rows, 5)
    values, latents = decoded(model, rows, step)
    loss = 10 * np.log10(mse(values, rows) / mse(model.synthesis(latents * step), rows))
    assert loss < 0.01


def test_steps_may_differ_between_latents():
    rows = low_rank(noise=0.0)
    model = pca(rows, 5)
    steps = np.array([0.1, 0.05, 0.2, 0.1, 0.01])
    network = model.freeze(steps)
    q = np.rint(model.analysis(rows) / steps).astype(np.int32)
    values = network.synthesis(q) * network.unit
    assert mse(values, rows) == pytest.approx(mse(model.synthesis(q * steps), rows), rel=0.01)


def test_more_rounding_noise_makes_smaller_weights():
    model = pca(low_rank(), 5)
    fine, coarse = (model.freeze(0.05, noise).branches[0][0].weight for noise in (1e-5, 0.1))
    assert np.abs(coarse).max() < np.abs(fine).max()


def test_weights_fit_eight_bits_at_coarse_steps():
    assert pca(low_rank(rows=1000), 5).freeze(4.0, 0.02).tensors()["0.0.weight"].dtype == np.int8


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf, 1e-30])
def test_impossible_steps_are_refused(step):
    with pytest.raises(InputError):
        pca(low_rank(), 3).freeze(step)


def test_one_scale_a_feature_where_ranges_differ_widely():
    sizes = np.where(np.arange(30) % 2, 1e6, 1.0)
    rows = low_rank(rows=1000) * sizes
    model = pca(rows, 5)
    assert model.normalizer.scale.shape == (30,)
    values, _ = decoded(model, rows, 1e4)
    relative = np.sqrt(np.square(values - rows).mean(axis=0)) / rows.std(axis=0)
    assert relative.max() < 0.1


# --- dense autoencoders -------------------------------------------------------------------------------------------

STEP = 4.0


@pytest.fixture(scope="module")
def vanilla():
    rows = curved()
    return fit_dense(
        in_batches(rows),
        24,
        6,
        recipe=Recipe(hidden=(32, 32), epochs=120),
        distortion_step=STEP,
        seconds=600,
        seed=1,
        progress=silent,
    )


def cost(model, rows):
    """Bits a value and squared error of rows at STEP, as rate + lambda * distortion (in bits)."""
    values, latents = decoded(model, rows, STEP)
    return entropy(latents) / rows.shape[1] + 6 / (np.log(2) * STEP**2) * mse(values, rows)


def test_vanilla_beats_pca_on_rows_it_never_saw(vanilla):
    rows = curved(seed=9)
    assert vanilla.kind == "vanilla"
    assert cost(vanilla, rows) < 0.9 * cost(pca(curved(), 6), rows)


def test_the_exact_synthesis_of_vanilla_is_as_good_as_the_float_one(vanilla):
    rows = curved(seed=9)
    values, latents = decoded(vanilla, rows, STEP)
    loss = 10 * np.log10(mse(values, rows) / mse(vanilla.synthesis(latents * STEP), rows))
    assert loss < 0.05  # four layers are rounded


def test_too_few_rows_to_learn_from_give_pca():
    rows = curved()[:30]
    model = fit_dense(in_batches(rows), 24, 6, distortion_step=STEP, seconds=1, seed=1, progress=silent)
    assert model.kind == "pca"


def test_where_nothing_is_to_be_learned_pca_comes_back():
    rows = np.full((200, 6), 3.0)
    model = fit_dense(in_batches(rows), 6, 2, distortion_step=1.0, seconds=0.5, seed=1, progress=silent)
    values, _ = decoded(model, rows, 1.0)
    assert model.kind == "pca"
    np.testing.assert_allclose(values, rows, atol=0.5)


def test_training_survives_extreme_values():
    rows = curved(rows=300) * 1e299
    model = fit_dense(in_batches(rows), 24, 4, distortion_step=4e299, seconds=0.5, seed=1, progress=silent)
    values, _ = decoded(model, rows, 4e299)
    assert np.isfinite(values).all()


@pytest.fixture(scope="module")
def textbook():
    rows = np.clip(curved() + 120, 0, 255)
    return fit_textbook(
        in_batches(rows), 24, 6, recipe=Recipe(hidden=(32,), epochs=120), seconds=600, seed=1, progress=silent
    )


def test_textbook_learns_and_its_exact_synthesis_keeps_it(textbook):
    rows = np.clip(curved(seed=9) + 120, 0, 255)
    values, latents = decoded(textbook, rows, 1.0)
    assert mse(values, rows) < 0.3 * rows.var(axis=0).mean()
    assert mse(values, rows) == pytest.approx(mse(textbook.synthesis(latents * 1.0), rows), rel=0.01)
    assert textbook.freeze(1.0).branches[0][-1].activation == "sigmoid"


def test_textbook_latents_are_about_in_data_units(textbook):
    rows = np.clip(curved(seed=9) + 120, 0, 255)
    latents = textbook.analysis(rows)
    moved = textbook.synthesis(latents + 0.5) - textbook.synthesis(latents)
    assert np.square(moved).sum(axis=1).mean() == pytest.approx(6 * 0.25, rel=0.8)


def test_textbook_refuses_too_few_rows():
    with pytest.raises(InputError, match="pca"):
        fit_textbook(in_batches(np.zeros((3, 5))), 5, 2, seconds=1, seed=0, progress=silent)


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pca", "vanilla", "textbook"])
def test_settings_and_tensors_there_and_back(kind, request):
    model = pca(low_rank(row_size=24), 5) if kind == "pca" else request.getfixturevalue(kind)
    again = load_autoencoder(json.loads(json.dumps(model.settings)), model.tensors())
    rows = curved(seed=3)[:20]
    np.testing.assert_array_equal(again.analysis(rows), model.analysis(rows))
    first, second = again.freeze(2.0), model.freeze(2.0)
    q = np.random.default_rng(0).integers(-9, 9, (20, model.latent_dim)).astype(np.int32)
    np.testing.assert_array_equal(first.synthesis(q), second.synthesis(q))
    np.testing.assert_array_equal(IntegerNetwork.from_tensors(second.tensors()).synthesis(q), second.synthesis(q))


def test_what_is_no_autoencoder_is_refused():
    model = pca(low_rank(), 3)
    for name in model.tensors().keys() - {"coarseness", "course"}:  # files of earlier releases lack these
        with pytest.raises(ModelError):
            load_autoencoder(model.settings, {key: value for key, value in model.tensors().items() if key != name})
    with pytest.raises(ModelError):
        load_autoencoder({"kind": "pca"}, model.tensors())
    with pytest.raises(ModelError):
        load_autoencoder(model.settings, model.tensors() | {"deviation": np.ones(7)})
    with pytest.raises(ModelError):
        load_autoencoder(model.settings, model.tensors() | {"decoder.0.0.weight": np.full((30, 3), np.nan)})
