"""Autoencoders of places: what a pixel has in all bands, whether bands come first or last."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress import tensorfile
from aecompress.codec.lengths import code_lengths
from aecompress.codec.model import Model
from aecompress.config import Target, silent
from aecompress.context.coder import ContextModel
from aecompress.errors import CorruptError, InputError, ModelError
from aecompress.figures import break_even
from aecompress.sources import open_source
from aecompress.spec import Array
from aecompress.trainer import adapt, places, views

TARGET = Target("psnr", 45.0)


def cube(bands: int, height: int, width: int, seed: int = 0) -> Array:
    """float32 [bands, height, width]: three spectra in shares that change little from pixel to pixel."""
    rng = np.random.default_rng(seed)
    shares = rng.normal(size=(3, height, width)).cumsum(1).cumsum(2) / np.hypot(height, width)
    spectra = rng.normal(size=(bands, 3)) * np.array([8, 4, 2])
    return (np.tensordot(spectra, shares, 1) + 0.02 * rng.normal(size=(bands, height, width))).astype(np.float32)


def rmse(found: Array, wanted: Array) -> float:
    return float(np.sqrt(np.square(found.astype(float) - wanted).mean()))


@pytest.fixture(scope="module")
def bands() -> Array:
    return cube(24, 40, 50)


@pytest.fixture(scope="module")
def model(bands: Array) -> Model:
    return aecompress.fit(bands, TARGET, kind="pca", effort="fast")


@pytest.fixture(scope="module")
def packed(model: Model, bands: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places") / "a.aec"
    aecompress.pack(bands, folder, model=model)
    return folder


def test_bands_first_are_coded_as_pixels_and_come_back_as_bands(packed: Path, bands: Array) -> None:
    archive = aecompress.open(packed)
    assert (archive.model.turned, archive.model.of_places) == (24, True)
    assert (archive.shape, archive.dtype) == (bands.shape, bands.dtype)
    assert archive.manifest.report["methods"] == {"autoencoder": 1}
    assert aecompress.info(packed)["model"] == "pca of places"
    assert break_even(1, 99, 100_000, 24, archive.model.turned) == 24, "no fewer rows can be coded by it"
    assert break_even(1, 99, 100_000, 24) == 1
    assert rmse(archive[:], bands) <= float(bands.max() - bands.min()) * 10 ** (-45 / 20)
    np.testing.assert_array_equal(archive[5:9], archive[:][5:9])
    np.testing.assert_array_equal(archive[-1], archive[:][-1])


@pytest.mark.parametrize("kind", ["pca", "auto"])
def test_the_order_of_the_axes_hardly_matters(bands: Array, tmp_path: Path, kind: str) -> None:
    sizes = {}
    for name, x in {"first": bands, "last": np.moveaxis(bands, 0, -1), "flat": bands.reshape(24, -1).T}.items():
        report = aecompress.pack(x, tmp_path / name, target=TARGET, model=kind, effort="fast", fit_seconds=15)
        sizes[name] = report.packed_bytes
        archive = aecompress.open(tmp_path / name)
        assert archive.model.turned == (24 if name == "first" else 0)
        if kind == "auto" and name != "flat":
            assert report.tried["pca of places"] < min(size for tried, size in report.tried.items() if tried == "none")
        assert archive.model.of_places == (name != "flat")
        assert rmse(archive[:], x) <= float(x.max() - x.min()) * 10 ** (-45 / 20)
    assert sizes["first"] == pytest.approx(sizes["last"], rel=0.05)
    assert sizes["first"] < 0.95 * sizes["flat"], "pixels around tell something"


def test_bands_as_rows_would_take_far_more(model: Model, bands: Array) -> None:
    axes = ("ordered", "ordered", "ordered")
    rows = aecompress.fit(bands, TARGET, kind="auto", effort="fast", axes=axes)
    assert not rows.of_places
    assert len(model.compress(bands)) + len(model.to_bytes()) < 0.7 * (len(rows.compress(bands)) + len(rows.to_bytes()))


def test_tables_of_rows_are_turned_too() -> None:
    flat = cube(12, 30, 40).reshape(12, -1)
    for x, view in ((flat, (30, 40)), (flat[:, np.random.default_rng(1).permutation(1200)], ())):
        model = aecompress.fit(x, TARGET, kind="pca", effort="fast")
        assert (model.turned, model.view, model.of_places) == (12, view, True)
        decoded = Model.from_bytes(model.to_bytes()).decompress(model.compress(x))
        assert decoded.shape == x.shape
        assert rmse(decoded, x) <= float(x.max() - x.min()) * 10 ** (-45 / 20)
        finer = adapt(model, open_source(x), Target("psnr", 50.0))
        assert (finer.turned, finer.view) == (12, view)
        assert rmse(finer.decompress(finer.compress(x)), x) <= float(x.max() - x.min()) * 10 ** (-50 / 20)


def test_a_model_of_all_rows_takes_no_others(model: Model, bands: Array, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="all 24 rows of a set at once, not 23"):
        model.compress(bands[:23])
    with pytest.raises(ModelError, match="sets of 24 rows, the source has 20"):
        aecompress.pack(bands[:20], tmp_path / "a.aec", model=model)
    assert not (tmp_path / "a.aec").exists()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("target", [Target("psnr", 35.0), Target("ratio", 30.0), Target("max-error", 0.25)])
def test_a_given_model_serves_other_sets_and_targets(first: bool, target: Target, tmp_path: Path) -> None:
    x, y = (part if first else np.moveaxis(part, 0, -1) for part in (cube(24, 40, 50), cube(24, 40, 50, 1)))
    model = aecompress.fit(x, TARGET, kind="pca", effort="fast")
    report = aecompress.pack(y, tmp_path / "a.aec", model=Model.from_bytes(model.to_bytes(encoder=True)), target=target)
    decoded = aecompress.open(tmp_path / "a.aec")[:]
    if target.kind == "max-error":
        assert np.abs(decoded.astype(float) - y).max() <= 0.25
    elif target.kind == "ratio":
        assert report.ratio >= 30.0
    else:
        assert rmse(decoded, y) <= float(y.max() - y.min()) * 10 ** (-35 / 20)


def test_a_coder_of_latents_is_no_coder_of_cells(bands: Array) -> None:
    model = aecompress.fit(bands.reshape(24, -1).T, TARGET, kind="pca", effort="fast")
    assert isinstance(model.latent_coder, ContextModel)
    x = np.ascontiguousarray(bands.reshape(24, -1).T)
    bounded = adapt(model, open_source(x), Target("max-error", 0.5))  # cells of 1, which those without a bound have too
    assert bounded.context is not model.context
    assert np.abs(bounded.decompress(bounded.compress(x)) - x).max() <= 0.5


def test_what_needs_latents_of_rows_says_so(model: Model, packed: Path, bands: Array, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of places in rows"):
        aecompress.pack(bands, tmp_path / "a.aec", model=model, keep_latents=True)
    with pytest.raises(ModelError, match="of places in rows"):
        model.embed(bands)
    with pytest.raises(ModelError, match="of places in rows"):
        aecompress.embed(bands, tmp_path / "e.npy", model=model)
    archive = aecompress.open(packed)
    assert [archive.model.latents(block.payload) for block in archive.blocks(0, len(archive))] == [None]
    assert code_lengths(archive.model, bands) is None
    assert aecompress.embed(packed, tmp_path / "e.npy", dim=2).dim == 2


@pytest.mark.parametrize("quality", [1, 2])
def test_the_first_latents_alone_make_a_coarser_result(packed: Path, bands: Array, quality: int) -> None:
    errors = [rmse(aecompress.open(packed, quality=many)[:], bands) for many in (quality, quality + 1)]
    assert errors[0] > errors[1]
    with pytest.raises(InputError, match="each place has"):
        aecompress.open(packed, quality=99)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["u1", "i2", "u4", "f2", "f4", ">f4", "f8"]),
    st.integers(4, 9),
    st.integers(2, 12),
    st.integers(64, 80),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_cubes_come_back(
    dtype: str, bands: int, height: int, width: int, first: bool, specials: bool, seed: int
) -> None:
    x = (20 * cube(bands, height, width, seed) + 100).clip(0, 250).astype(dtype)
    x = x if first else np.ascontiguousarray(np.moveaxis(x, 0, -1))
    if specials and x.dtype.kind == "f":
        x.reshape(-1)[seed::31] = np.resize([np.nan, np.inf, -np.inf, -0.0], x.reshape(-1)[seed::31].shape)
    model = aecompress.fit(x, Target("psnr", 35.0), kind="pca", effort="fast")
    decoded = Model.from_bytes(model.to_bytes()).decompress(model.compress(x))
    assert (decoded.shape, decoded.dtype) == (x.shape, x.dtype.newbyteorder("="))
    known = np.isfinite(x)
    spread = float(x[known].max()) - float(x[known].min())
    assert rmse(decoded[known], x[known]) <= spread * 10 ** (-35 / 20) * (1 + 1e-9)
    assert np.array_equal(decoded[~known], x[~known], equal_nan=True)


def test_a_turned_source_has_the_values_of_the_source() -> None:
    x = cube(6, 10, 20)
    source = views.Turned(open_source(x))
    assert source.spec.shape == (10, 20, 6)
    found = np.concatenate(list(source.batches(3, 2, 9)))
    np.testing.assert_array_equal(found, np.moveaxis(x, 0, -1)[2:9])
    np.testing.assert_array_equal(np.concatenate(list(source.batches(4))), np.moveaxis(x, 0, -1))


@pytest.mark.parametrize("shape", [(3, 40, 50), (2000, 40, 50), (24, 7, 9), (24,), (24, 0, 9), (0, 30, 30)])
def test_few_places_and_few_or_many_rows_are_not_turned(shape: tuple[int, ...]) -> None:
    assert not places.may_turn(open_source(np.zeros(shape, np.uint8)))


def test_what_is_too_large_to_be_coded_at_once_is_not_turned() -> None:
    assert places.may_turn(open_source(np.zeros((128, 256, 256), np.uint8)))
    assert not places.may_turn(open_source(np.zeros((129, 256, 256), np.uint8)))


def header(data: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(tensorfile.metadata_of(data)["aecompress"])
    return found


def test_the_model_file_says_that_readers_must_know_it(model: Model, bands: Array) -> None:
    assert (header(model.to_bytes())["version"], header(model.to_bytes())["turned"]) == (11, 24)
    last = aecompress.fit(np.moveaxis(bands, 0, -1), TARGET, kind="pca", effort="fast")
    assert (header(last.to_bytes())["version"], "turned" in header(last.to_bytes())) == (11, False)


def test_rows_that_do_not_fit_the_network_are_damage(model: Model) -> None:
    for turned in (-1, 0, 23, 25):
        with pytest.raises(CorruptError):
            Model.from_bytes(replace(model, turned=turned).to_bytes())
    flat = aecompress.fit(np.zeros(50, np.float32), Target("rmse", 0.1), effort="fast")
    with pytest.raises(CorruptError):
        Model.from_bytes(replace(flat, turned=5).to_bytes())


def test_decoded_rows_are_fresh_memory(model: Model, bands: Array) -> None:
    decoded = model.decompress(model.compress(bands))
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable


def test_the_same_fit_again_is_the_same_model(model: Model, bands: Array) -> None:
    assert aecompress.fit(bands, TARGET, kind="pca", effort="fast", progress=silent).to_bytes() == model.to_bytes()
