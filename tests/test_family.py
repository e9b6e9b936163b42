"""The members of the autoencoder family, their settings, and what only they can do."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import aecompress
from aecompress import sampler
from aecompress.autoencoder import fit_dense, load_autoencoder
from aecompress.autoencoder.learners.criteria import criterion
from aecompress.autoencoder.learners.denoising import corruption
from aecompress.cli import cli
from aecompress.codec.latents import draw_latents, encode_latents, fit_prior, thrifty
from aecompress.config import Target
from aecompress.errors import InputError, ModelError
from aecompress.normalize import Normalizer, measure
from aecompress.pictures import sheet
from aecompress.recipe import LOSSES, Recipe, load_recipe
from aecompress.trainer import quality

STEP = 6.0


def silent(phase, done, info):
    pass


def curved(rows=1200, row_size=24, seed=0):
    """Rows on a bent two-dimensional surface, which no plane fits."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-2, 2, (2, rows, 1))
    phase = np.linspace(0, 3, row_size)
    return 40 * np.sin(2 * u + phase) + 25 * np.cos(v * phase) + rng.normal(0, 0.2, (rows, row_size))


def fitted(kind, *, rows=None, latents=6, **settings):
    rows = curved() if rows is None else rows
    recipe = Recipe(**{"hidden": (32,), "epochs": 40, **settings})
    return fit_dense(
        lambda: iter([rows]), rows.shape[1], latents, kind=kind, recipe=recipe, distortion_step=STEP, seconds=600,
        seed=1, progress=silent,
    )  # fmt: skip


def levels(model, rows):
    return np.rint(model.analysis(rows) / model.steps(STEP)).astype(np.int32)


def error(model, seen, wanted):
    q = levels(model, seen)
    return float(np.square(model.synthesis(q * model.steps(STEP)) - wanted).mean())


# --- members ------------------------------------------------------------------------------------------------------


def test_a_k_sparse_code_has_at_most_k_latents():
    model = fitted("sparse", k=2)
    q = levels(model, curved(seed=5))
    assert (q != 0).sum(1).max() == 2
    assert error(model, curved(seed=5), curved(seed=5)) < 0.3 * curved().var()


def test_a_greater_penalty_leaves_more_zeros():
    few, many = (np.mean(levels(fitted("sparse", sparsity=s), curved(seed=5)) != 0) for s in (100.0, 0.0))
    assert few < 0.8 * many


@pytest.mark.parametrize("kind", ["gaussian", "masking", "salt-and-pepper"])
def test_denoising_takes_corruption_out_better_than_vanilla(kind):
    level = {"gaussian": 0.5}.get(kind, 0.2)
    clean = curved(seed=5)
    normalizer = Normalizer.standard(measure([curved()], 24))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        normalised = torch.from_numpy(normalizer.forward(clean)).float()
        spoilt = normalizer.inverse(corruption(kind, level, normalised)(normalised).double().numpy())
    plain = error(fitted("vanilla"), spoilt, clean)
    assert error(fitted("denoising", corruption=kind, corruption_level=level), spoilt, clean) < 0.8 * plain


def test_corruption_is_as_strong_as_it_says():
    rows = torch.randn(400, 50, generator=torch.Generator().manual_seed(0)) * 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert (corruption("gaussian", 0.5, rows)(rows) - rows).std().item() == pytest.approx(1.5, rel=0.02)
        assert (corruption("masking", 0.3, rows)(rows) == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
        hit = corruption("salt-and-pepper", 0.3, rows)(rows)
    assert (hit == rows.min()).float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (hit == rows.max()).float().mean().item() == pytest.approx(0.15, abs=0.01)


def test_a_greater_beta_makes_coarser_steps():
    fine, coarse = (fitted("vae", beta=beta).coarseness.mean() for beta in (0.1, 20.0))
    assert fine < coarse


@pytest.mark.parametrize("kind", ["sparse", "denoising", "vae"])
def test_too_few_rows_are_refused(kind):
    with pytest.raises(InputError, match="30 rows"):
        fitted(kind, rows=curved(30))


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "bce"])
def test_every_loss_makes_rows_come_back(loss):
    rows = curved() + 30
    model = fitted("vanilla", rows=rows, loss=loss)
    back = model.synthesis(levels(model, rows) * model.steps(STEP))
    cosines = (back * rows).sum(1) / np.linalg.norm(back, axis=1) / np.linalg.norm(rows, axis=1)
    assert cosines.mean() > 0.9


def test_what_a_bit_is_worth_is_the_slope_of_the_error():
    normalizer = Normalizer(np.zeros(4), np.ones(1))
    wanted = torch.zeros(4000, 4)
    for loss in ("mse", "l1", "huber"):
        errors = []
        for step in (0.99, 1.01):
            noise = step * (torch.linspace(-0.5, 0.5, 16000).reshape(4000, 4))
            errors.append(criterion(loss, 1.0, normalizer).error(noise, wanted).item())
        slope = (errors[1] - errors[0]) / np.log2(1.01 / 0.99)
        assert criterion(loss, 1.0, normalizer).bit == pytest.approx(slope, rel=0.02), loss


@pytest.mark.parametrize("kind", ["sparse", "vae"])
def test_members_come_back_from_their_file(kind):
    model = fitted(kind, **({"k": 3} if kind == "sparse" else {}), epochs=3)
    again = load_autoencoder(model.settings, model.tensors())
    np.testing.assert_array_equal(again.analysis(curved(seed=2)), model.analysis(curved(seed=2)))
    np.testing.assert_array_equal(again.steps(2.0), model.steps(2.0))


def test_the_training_curve_falls_and_ends_with_the_training():
    course = fitted("vanilla").course
    assert course.shape[1] == 3
    assert (np.diff(course[:, 0]) >= 0).all()
    assert course[-1, 2] < course[0, 2]


# --- weights ------------------------------------------------------------------------------------------------------


def two_channels(rows=1200, places=8, seed=0):
    """Float32 [rows, places, 2]: each channel is of four dimensions of its own."""
    rng = np.random.default_rng(seed)
    both = [rng.normal(size=(rows, 4)) @ rng.normal(size=(4, places)) for _ in range(2)]
    return np.stack(both, axis=2).astype(np.float32)


def channel_errors(model, rows):
    return np.sqrt(np.square(model.decompress(model.compress(rows)) - rows).mean((0, 1)))


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("vanilla", "mse"),
        ("vanilla", "l1"),
        ("vanilla", "huber"),
        ("sparse", "mse"),
        ("denoising", "mse"),
        ("vae", "mse"),
        ("textbook", "mse"),
        ("textbook", "l1"),
        ("textbook", "huber"),
        ("textbook", "bce"),
    ],
)
def test_a_heavy_channel_comes_back_better(kind, loss):
    rows, errors = two_channels(), []
    pace = {"epochs": 150, "learning_rate": 1e-2} if kind == "textbook" else {"epochs": 30}  # it starts from nothing
    for weights in (None, (1.0, 100.0)):
        recipe = Recipe(hidden=(16,), loss=loss, weights=weights, **pace)
        model = aecompress.fit(rows, Target("latent-dim", 4), kind=kind, recipe=recipe, seconds=600)
        assert model.kind == kind or (model.kind, kind) == ("pca", "vanilla")
        errors.append(channel_errors(model, rows))
    (light, heavy), (light_weighted, heavy_weighted) = errors
    assert heavy_weighted < 0.85 * heavy
    assert light_weighted > light


def test_only_ratios_of_weights_count():
    rows, recipe = two_channels(400), Recipe(hidden=(8,), epochs=5)
    models = [
        aecompress.fit(
            rows, Target("latent-dim", 3), kind="vanilla", recipe=replace(recipe, weights=w), seconds=600
        ).to_bytes()
        for w in ((1.0, 16.0), (0.5, 8.0))
    ]
    assert models[0] == models[1]


@given(st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.sampled_from(["mse", "l1"]))
def test_a_weighted_error_is_what_it_says(weights, loss):
    moments = measure([curved(50, 4)], 4)
    shares = np.array(weights) / np.mean(weights)
    normalizer, plain = Normalizer.standard(moments, shares), Normalizer.standard(moments)
    found, wanted = curved(30, 4, seed=1), curved(30, 4, seed=2)
    off = np.abs(found - wanted) / plain.scale
    error = criterion(loss, 1.0, normalizer, shares).error
    first = error(*(torch.from_numpy(normalizer.forward(rows)) for rows in (found, wanted))).item()
    second = error(*(torch.from_numpy(normalizer.forward(rows)) for rows in (found, found + 1))).item()
    power = {"mse": 2, "l1": 1}[loss]
    ratio = (shares * off**power).mean() / (shares / plain.scale**power).mean()
    assert first / second == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 3.0), ()])
def test_weights_of_another_number_than_channels_are_refused(weights):
    with pytest.raises(InputError, match=f"{len(weights)} weights for .* x 2 float32: name 2, one for each"):
        aecompress.fit(two_channels(80), kind="vanilla", recipe=Recipe(weights=weights))


def test_rows_of_one_axis_have_a_weight_for_each_feature():
    rows = two_channels(400)
    flat = rows.reshape(400, 16)
    settings = {"kind": "vanilla", "seconds": 600}
    recipe = Recipe(hidden=(8,), epochs=5, weights=(1.0, 50.0))
    model = aecompress.fit(rows, Target("latent-dim", 3), recipe=recipe, **settings)
    same = aecompress.fit(flat, Target("latent-dim", 3), recipe=replace(recipe, weights=(1.0, 50.0) * 8), **settings)
    np.testing.assert_array_equal(
        model.decompress(model.compress(rows)).reshape(400, 16), same.decompress(same.compress(flat))
    )
    with pytest.raises(InputError, match="name 16"):
        aecompress.fit(flat, kind="vanilla", recipe=recipe)


# --- from source to archive ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sparse", "denoising", "vae"])
def test_archives_of_each_member_reach_their_target(kind, tmp_path):
    rows = curved(900).astype(np.float32)
    report = aecompress.pack(
        rows, tmp_path / "a", model=kind, recipe=Recipe(hidden=(16,), epochs=20), target=Target("psnr", 25)
    )
    assert report.model == kind
    back = aecompress.open(tmp_path / "a")[:]
    assert 10 * np.log10(np.ptp(rows) ** 2 / np.square(back - rows).mean()) >= 25


def test_the_size_shows_that_codes_are_sparse():
    rows = curved(900).astype(np.float32)
    sizes = []
    for k in (1, 4):
        recipe = Recipe(hidden=(16,), epochs=10, k=k)
        model = aecompress.fit(rows, Target("latent-dim", 6), kind="sparse", recipe=recipe)
        sizes.append(len(model.compress(rows)))
    assert sizes[0] < 0.5 * sizes[1]


def test_a_model_file_tells_settings_and_curve():
    rows = curved(400).astype(np.float32)
    model = aecompress.fit(rows, Target("latent-dim", 3), kind="vae", recipe=Recipe(epochs=3, beta=2.0))
    assert model.about["settings"] == {"epochs": 3, "beta": 2.0}
    again = aecompress.Model.from_bytes(model.to_bytes(encoder=True))
    assert again.about["training"]["held_out"] == model.about["training"]["held_out"]
    assert len(model.about["training"]["seconds"]) > 1


def test_a_model_of_other_latents_than_the_target_asks_for_is_refused(tmp_path):
    rows = curved(400).astype(np.float32)
    model = aecompress.fit(rows, Target("latent-dim", 3), kind="pca")
    report = aecompress.pack(rows, tmp_path / "a", model=model)
    assert report.methods == {"autoencoder": 1}
    with pytest.raises(ModelError, match="3 latents, not the 5"):
        aecompress.pack(rows, tmp_path / "b", model=model, target=Target("latent-dim", 5))


def test_auto_tells_what_it_tried_and_never_loses_to_pca(tmp_path):
    rows = curved(400).astype(np.float32)
    target = Target("rmse", 2.0)
    report = aecompress.pack(rows, tmp_path / "a", target=target, fit_seconds=1)
    linear = aecompress.pack(rows, tmp_path / "b", model="pca", target=target)
    assert "pca" in report.tried
    assert report.model == min(report.tried, key=lambda kind: report.tried[kind])
    assert report.packed_bytes <= 1.02 * linear.packed_bytes
    assert not linear.tried


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wheels = 4", "no setting wheels"),
        ("latents = 2.5", "whole number"),
        ("latents = true", "whole number"),
        ("hidden = 64", "list"),
        ("hidden = []", "1 to 8"),
        ("hidden = [0]", "width"),
        ('beta = "much"', "number"),
        ("loss = 3", "text"),
        ("weights = 2", "list of numbers"),
        ('weights = [1, "2"]', "list of numbers"),
        ("weights = [1, 0]", "a weight in weights is 0"),
        ("weights = [-1.0, 2]", "a weight in weights is -1"),
        ("weights = [1, inf]", "a weight in weights is inf"),
        ('loss = "best"', "mse, l1"),
        ('corruption = "fire"', "masking"),
        ("learning_rate = nan", "learning_rate"),
        ("epochs = 0", "epochs"),
        ("latents =", "TOML"),
    ],
)
def test_settings_that_make_no_sense_are_refused(text, words, tmp_path):
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        load_recipe(tmp_path / "m.toml")


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("vanilla", {"k": 3}, "it goes with sparse"),
        ("pca", {"hidden": (8,)}, "no setting hidden"),
        ("auto", {"latents": 3}, "takes no settings"),
        ("conv", {"epochs": 3}, "takes no settings"),
        ("vae", {"loss": "bce"}, "sigmoid"),
        ("textbook", {"loss": "cosine"}, "cosines mean nothing"),
        ("vanilla", {"loss": "cosine", "weights": (1.0,) * 24}, "no entry has a weight"),
        ("pca", {"weights": (1.0,) * 24}, "no setting weights"),
    ],
)
def test_settings_that_do_not_suit_the_kind_are_refused(kind, settings, words):
    with pytest.raises(InputError, match=words):
        aecompress.fit(curved(80), kind=kind, recipe=Recipe(**settings))


def test_settings_reach_the_model(tmp_path):
    np.save(tmp_path / "x.npy", curved(300).astype(np.float32))
    (tmp_path / "m.toml").write_text("latents = 3\nhidden = [10, 12]\nepochs = 2\n")
    done = CliRunner().invoke(
        cli,
        [
            *("fit", f"{tmp_path}/x.npy", "-o", f"{tmp_path}/m", "--model", "sparse"),
            *("--model-config", f"{tmp_path}/m.toml", "--latent-dim", "3"),
        ],
    )
    assert done.exit_code == 0, done.output
    network = aecompress.load_model(tmp_path / "m").network
    assert network is not None
    assert [layer.weight.shape[0] for layer in network.branches[1]] == [10, 12, 24]


def test_weights_reach_the_model_from_a_file(tmp_path):
    np.save(tmp_path / "x.npy", two_channels(300))
    (tmp_path / "m.toml").write_text("weights = [1, 9.5]\nhidden = [8]\nepochs = 2\n")
    words = ["--model", "vanilla", "--latent-dim", "3", "--fit-seconds", "600", "--model-config", f"{tmp_path}/m.toml"]
    done = CliRunner().invoke(cli, ["fit", f"{tmp_path}/x.npy", "-o", f"{tmp_path}/m", *words])
    assert done.exit_code == 0, done.output
    recipe = Recipe(hidden=(8,), epochs=2, weights=(1.0, 9.5))
    model = aecompress.fit(two_channels(300), Target("latent-dim", 3), kind="vanilla", recipe=recipe, seconds=600)
    found = aecompress.load_model(tmp_path / "m")
    assert found.identity == model.identity
    assert found.about["settings"] == {"hidden": [8], "weights": [1.0, 9.5], "epochs": 2}


def test_too_few_latents_for_the_target_are_refused():
    with pytest.raises(InputError, match="2 latents cannot reach psnr 60"):
        aecompress.fit(curved(300), Target("psnr", 60), kind="pca", recipe=Recipe(latents=2))


def test_a_fitted_model_takes_no_settings(tmp_path):
    model = aecompress.fit(curved(100), Target("latent-dim", 2), kind="pca")
    with pytest.raises(InputError, match="leave them out"):
        aecompress.pack(curved(100), tmp_path / "a", model=model, recipe=Recipe(latents=3))


# --- drawing new rows ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn_from(tmp_path_factory) -> Path:
    """A folder with a model file and an archive of one vae of small pictures."""
    folder = tmp_path_factory.mktemp("vae")
    pictures = np.clip(curved(600, 36) + 128, 0, 255).astype(np.uint8).reshape(-1, 6, 6)
    recipe = Recipe(hidden=(16,), epochs=20)
    model = aecompress.fit(pictures, Target("latent-dim", 4), kind="vae", recipe=recipe)
    (folder / "m").write_bytes(model.to_bytes(encoder=True))
    aecompress.pack(pictures, folder / "a", model=model)
    np.save(folder / "x.npy", pictures)
    return folder


def test_a_vae_draws_rows_like_those_it_saw(drawn_from):
    drawn, seen = aecompress.sample(drawn_from / "a", 500, seed=3), np.load(drawn_from / "x.npy")
    assert drawn.dtype == np.uint8
    assert drawn.shape == (500, 6, 6)
    np.testing.assert_allclose(drawn.mean(0), seen.mean(0), atol=12)
    assert drawn.std() == pytest.approx(seen.std(), rel=0.25)


def test_a_model_and_its_archive_draw_the_same(drawn_from):
    first, second = (aecompress.sample(drawn_from / name, 5, seed=1) for name in ("m", "a"))
    np.testing.assert_array_equal(first, second)
    assert (aecompress.sample(drawn_from / "a", 5, seed=2) != second).any()


def test_draws_follow_the_prior():
    rng = np.random.default_rng(0)
    q = np.stack([rng.integers(-1, 2, 4000), np.full(4000, 7), rng.integers(-900, 900, 4000)], 1).astype(np.int32)
    drawn = draw_latents(fit_prior(q), 4000, rng)
    np.testing.assert_allclose([(drawn[:, 0] == v).mean() for v in (-1, 0, 1)], 1 / 3, atol=0.05)
    assert (drawn[:, 1] == 7).all()
    assert drawn[:, 2].std() == pytest.approx(q[:, 2].std(), rel=0.1)


def test_sample_writes_sheets_and_arrays(drawn_from, tmp_path):
    run = CliRunner().invoke
    assert run(cli, ["sample", f"{drawn_from}/m", "-n", "7", "-o", f"{tmp_path}/s.png"]).exit_code == 0
    assert run(cli, ["sample", f"{drawn_from}/a", "-n", "7", "-o", f"{tmp_path}/s.npy"]).exit_code == 0
    assert np.load(tmp_path / "s.npy").shape == (7, 6, 6)
    data = (tmp_path / "s.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    again = run(cli, ["sample", f"{drawn_from}/a", "-o", f"{tmp_path}/s.png"])
    assert again.exit_code == 1
    assert "exists" in again.stderr


def test_many_rows_are_drawn_some_at_a_time(drawn_from, tmp_path, monkeypatch):
    monkeypatch.setattr("aecompress.sampler.block_rows", lambda _: 4)
    said = []
    sampler.write_sample(drawn_from / "a", tmp_path / "s.npy", 10, seed=1, progress=lambda *now: said.append(now[:2]))
    assert said == [("sample", 0.4), ("sample", 0.8), ("sample", 1.0)]
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), aecompress.sample(drawn_from / "m", 10, seed=1))


def test_only_a_vae_can_be_drawn_from():
    model = aecompress.fit(curved(100), Target("latent-dim", 2), kind="pca")
    with pytest.raises(InputError, match="this model is pca"):
        aecompress.sample(model)
    with pytest.raises(InputError, match="0 rows"):
        aecompress.sample(model, 0)


def test_a_sheet_holds_all_pictures():
    rows = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
    found = sheet(rows)
    zoom = found.shape[1] // (3 * 6)
    small = found[::zoom, ::zoom]
    assert small.shape == (2 * 5, 3 * 6)
    np.testing.assert_array_equal(small[1:4, 1:5], rows[0])
    np.testing.assert_array_equal(small[6:9, 7:11], rows[4])
    assert (small[5:, 12:] == 255).all()
    assert sheet(np.zeros((2, 3, 4, 3), np.float32)).shape[2] == 3
    with pytest.raises(InputError, match="no pictures"):
        sheet(np.zeros((4, 9)))
    assert zlib.crc32(found.tobytes()) == zlib.crc32(sheet(rows).tobytes())


# --- rounding latents ---------------------------------------------------------------------------------------------


def test_thrifty_latents_cost_least_for_their_price():
    rng = np.random.default_rng(0)
    levels = rng.laplace(0, 1.0, (3000, 4))
    q = np.rint(levels).astype(np.int32)
    prior = fit_prior(q)
    free, dear = (thrifty(prior, levels, q, price) for price in (0.0, 0.1))
    np.testing.assert_array_equal(free, q)
    sizes = [len(encode_latents(prior, found)) for found in (q, dear)]
    assert sizes[1] < 0.97 * sizes[0]
    spent, kept = np.square(levels - q).sum(), np.square(levels - dear).sum()
    assert kept - spent < 0.1 * 8 * (sizes[0] - sizes[1])  # the bits saved are worth the error


def test_thrift_pays_at_equal_error():
    rows = curved(900) + np.random.default_rng(1).normal(0, 8, (900, 24))
    model = aecompress.fit(rows, Target("rmse", 9.0), kind="pca")
    plain = replace(model, thrift=0.0)
    assert model.thrift
    assert len(model.compress(rows)) < len(plain.compress(rows))
    assert model.error(rows).rmse <= 9.0


@pytest.mark.parametrize("fixed", [0.0, 0.5, 0.9])
def test_steps_are_found_though_part_of_the_error_is_fixed(fixed):
    step, tried = 1.0, []
    for _ in range(4):
        error = np.sqrt(fixed + 0.3 * step**2)
        if 0.99 < error <= 1.0:
            break
        tried.append((step**2, error**2))
        step *= quality._correction(tried, 1.0, late=False)
    assert 0.99 < error <= 1.0
