"""Latents of rows that resemble those before them: coded by what the others tell, where that takes fewer bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import aecompress
from aecompress import tensorfile
from aecompress.autoencoder import fit_pca
from aecompress.codec.frame import Frame
from aecompress.codec.latents import decode_latents, encode_latents
from aecompress.codec.lengths import latent_lengths
from aecompress.codec.model import Model
from aecompress.config import Target, silent
from aecompress.context.coder import ContextModel
from aecompress.entropy.tables import Tables
from aecompress.errors import CorruptError
from aecompress.recipe import Recipe
from aecompress.spec import Array
from aecompress.trainer.autoencoders import choose_linear

LATENTS = 4
TARGET = Target("psnr", 40.0)


def drifting(rows: int, seed: int = 0) -> Array:
    """float32 [rows, 24]: four patterns in shares that change little from row to row."""
    rng = np.random.default_rng(seed)
    shares = rng.normal(size=(rows, LATENTS)).cumsum(0)
    patterns = np.random.default_rng(99).normal(size=(LATENTS, 24)) * np.array([[8], [4], [2], [1]])
    return (shares @ patterns + 0.1 * rng.normal(size=(rows, 24))).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> Array:
    return drifting(4000)


@pytest.fixture(scope="module")
def model(rows: Array) -> Model:
    return aecompress.fit(rows, TARGET, kind="pca", effort="fast")


@pytest.fixture(scope="module")
def packed(model: Model, rows: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latents") / "a.aec"
    aecompress.pack(rows, folder, model=model)
    return folder


def rmse(found: Array, wanted: Array) -> float:
    return float(np.sqrt(np.square(found.astype(float) - wanted).mean()))


def test_rows_in_order_take_far_less_than_with_tables(model: Model, rows: Array) -> None:
    assert isinstance(model.latent_coder, ContextModel)
    by_tables = replace(model, context=None)
    assert isinstance(by_tables.latent_coder, Tables)
    assert len(model.compress(rows)) < 0.8 * len(by_tables.compress(rows))
    np.testing.assert_array_equal(
        model.decompress(model.compress(rows)), by_tables.decompress(by_tables.compress(rows))
    )


def test_latents_that_tell_nothing_of_each_other_keep_their_tables() -> None:
    rng = np.random.default_rng(1)
    independent = (rng.normal(size=(4000, 3)) @ rng.normal(size=(3, 24))).astype(np.float32)
    model = aecompress.fit(independent, TARGET, kind="pca", effort="fast")
    assert model.context is None
    assert isinstance(model.latent_coder, Tables)


def test_contexts_say_how_many_latents_there_are() -> None:
    rng, many = np.random.default_rng(0), 16
    pace, phase = rng.uniform(0.002, 0.01, many), rng.uniform(0, 6, many)
    patterns = 10 * np.linalg.qr(rng.normal(size=(24, many)))[0].T
    swings = np.sin(np.arange(4000)[:, None] * pace + phase) * 2.0 ** (-0.5 * np.arange(many)) @ patterns
    rows = (swings + 0.01 * rng.normal(size=swings.shape)).astype(np.float32)
    linear = fit_pca(lambda: iter([rows.astype(float)]), 24, 24, seed=0, progress=silent)
    by_tables = choose_linear(linear, rows.astype(float), len(rows), 0.4)
    assert by_tables is not None
    chosen, other = (
        aecompress.fit(rows, Target("rmse", 0.4), kind="pca", effort="fast", recipe=recipe)
        for recipe in (None, Recipe(latents=by_tables.latents))
    )
    assert chosen.latent_dim != other.latent_dim == by_tables.latents
    assert len(chosen.compress(rows)) + len(chosen.to_bytes()) < len(other.compress(rows)) + len(other.to_bytes())


def test_archives_come_back_and_reach_their_target(packed: Path, rows: Array) -> None:
    archive = aecompress.open(packed)
    assert archive.manifest.report["methods"].keys() == {"autoencoder"}
    spread = float(rows.max() - rows.min())
    assert rmse(archive[:], rows) <= spread / 100
    np.testing.assert_array_equal(archive[777:888], archive[:][777:888])


def test_latents_of_an_archive_are_those_of_the_model(packed: Path, model: Model, rows: Array) -> None:
    wanted = model.quantize_latents(rows, np.ones(rows.shape, bool))
    archive = aecompress.open(packed)
    found = [archive.model.latents(block.payload) for block in archive.blocks(0, len(archive))]
    assert all(part is not None and part.dtype == np.int32 for part in found)
    np.testing.assert_array_equal(np.concatenate(found), wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", [1, 2, 3])
def test_the_first_latents_alone_make_a_coarser_result(packed: Path, model: Model, rows: Array, quality: int) -> None:
    latents = model.quantize_latents(rows, np.ones(rows.shape, bool))
    wanted = model.synthesise(np.where(np.arange(latents.shape[1]) < quality, latents, 0), rows.shape)
    np.testing.assert_array_equal(aecompress.open(packed, quality=quality)[:], wanted)


def test_an_archive_holds_no_tables_that_nobody_asks(packed: Path, model: Model) -> None:
    archived = aecompress.open(packed).model
    assert archived.prior is None
    assert archived.identity == model.identity == model.decoder().identity
    known = Model.from_bytes(model.to_bytes(encoder=True))
    assert known.prior is not None
    assert known.identity == model.identity


def test_a_vae_keeps_its_tables_to_draw_from(rows: Array, tmp_path: Path) -> None:
    recipe = Recipe(hidden=(8,), epochs=2)
    model = aecompress.fit(rows, Target("latent-dim", LATENTS), kind="vae", recipe=recipe, effort="fast")
    assert isinstance(model.latent_coder, ContextModel)
    aecompress.pack(rows, tmp_path / "a.aec", model=model)
    assert aecompress.open(tmp_path / "a.aec").model.prior is not None
    drawn = aecompress.sample(tmp_path / "a.aec", 50, seed=3)
    assert drawn.shape == (50, 24)
    np.testing.assert_array_equal(drawn, aecompress.sample(model, 50, seed=3))


@pytest.mark.parametrize(("scale", "same"), [(1.0, True), (3.0, False)])
def test_a_given_model_keeps_its_coder_where_its_steps_hardly_change(
    model: Model, rows: Array, tmp_path: Path, scale: float, same: bool
) -> None:
    target = Target("rmse", scale * rmse(model.decompress(model.compress(rows)), rows) * 1.0001)
    aecompress.pack(rows, tmp_path / "a.aec", model=model, target=target)
    archive = aecompress.open(tmp_path / "a.aec")
    assert model.context is not None
    assert archive.model.context is not None
    assert (archive.model.context.to_bytes() == model.context.to_bytes()) == same
    assert rmse(archive[:], rows) <= (target.value or 0.0)


@pytest.mark.parametrize("ratio", [10, 30])
def test_a_size_is_reached_and_used(rows: Array, tmp_path: Path, ratio: int) -> None:
    report = aecompress.pack(rows, tmp_path / "a.aec", model="pca", target=Target("ratio", ratio), effort="fast")
    assert ratio <= report.ratio < 1.25 * ratio


def test_code_lengths_add_up_to_the_stream(model: Model, rows: Array) -> None:
    latents = model.quantize_latents(rows, np.ones(rows.shape, bool))
    found = latent_lengths(model, latents)
    assert found is not None
    assert found.shape == latents.shape
    stream = Frame.from_bytes(model.compress(rows), model.identity).streams["latents"]
    assert float(found.sum()) / 8 == pytest.approx(len(stream), rel=0.02, abs=64)


@given(q=arrays(np.int32, (40, LATENTS), elements=st.integers(-(2**20), 2**20)))
@settings(max_examples=60, deadline=None)
def test_any_latents_come_back(model: Model, q: Array) -> None:
    coder = model.latent_coder
    np.testing.assert_array_equal(decode_latents(coder, encode_latents(coder, q), q.shape), q)


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows_come_back(model: Model, rows: Array, count: int) -> None:
    few = rows[:count]
    assert model.decompress(model.compress(few)).shape == few.shape


def test_latents_without_a_coder_are_damage(model: Model, rows: Array) -> None:
    payload = model.compress(rows)
    bare = replace(model.decoder(), context=None, known_as=model.identity)
    with pytest.raises(CorruptError, match="no prior"):
        bare.decompress(payload)


def test_the_model_file_says_that_readers_must_know_it(model: Model) -> None:
    assert b'\\"version\\":10' in model.to_bytes()
    assert "prior" not in tensorfile.from_bytes(model.to_bytes())
