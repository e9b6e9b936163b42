"""Denoising: it lowers the error on pictures, series and fields, is blind, and keeps everything else as it was."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import aecompress
from aecompress.cli import cli
from aecompress.config import Target
from aecompress.context.stencil import Layout
from aecompress.denoiser import fit_denoiser
from aecompress.errors import DestinationError, InputError, ModelError
from aecompress.restoration.denoising import Denoiser, canonical, choose_layout
from aecompress.restoration.neighbourhood import View, around
from aecompress.restoration.network import Mixture
from aecompress.restoration.sampling import windows
from aecompress.restoration.units import Units
from aecompress.spec import Array

SAMPLE = Path(aecompress.__file__).parent / "samples" / "fashion_mnist_2000.npy"


def pictures(rows: int) -> Array:
    return np.load(SAMPLE)[:rows].astype(np.float32)


def series() -> Array:
    """float32 [12000, 3]: slow waves that channels share."""
    time = np.arange(12000)
    wave = np.stack([np.sin(time / 40), np.cos(time / 90)])
    return (np.array([[1.0, 0.2], [0.5, -1.0], [-0.7, 0.7]]) @ wave).T.astype(np.float32)


def noisy(clean: Array, noise: float) -> Array:
    return (clean + noise * np.random.default_rng(1).standard_normal(clean.shape)).astype(clean.dtype)


def rmse(first: Array, second: Array) -> float:
    return float(np.sqrt(np.square(first.astype(np.float64) - second).mean()))


@pytest.fixture(scope="module")
def fitted() -> Denoiser:
    return fit_denoiser(noisy(pictures(300), 25), seconds=2)


def test_noise_goes_without_clean_data(fitted: Denoiser) -> None:
    clean = pictures(300)
    seen = noisy(clean, 25)
    assert fitted.layout == Layout(2, False)
    assert fitted.noise == pytest.approx(25, rel=0.25)
    # A linear guess comes to this, however short the time.
    assert rmse(fitted.apply(seen), clean) < 0.75 * rmse(seen, clean)


def test_series_find_their_channels() -> None:
    clean = series()
    seen = noisy(clean, 0.3)
    found = fit_denoiser(seen, seconds=1)
    assert found.layout == Layout(1, True)
    assert found.reach > 0
    assert rmse(found.apply(seen), clean) < 0.6 * rmse(seen, clean)


def test_fields_find_their_axes() -> None:
    waves = np.fft.fftfreq(32)
    decay = np.exp(-200 * sum(np.square(np.meshgrid(waves, waves, waves))))
    field = np.fft.ifftn(np.fft.fftn(np.random.default_rng(2).standard_normal((32, 32, 32))) * decay).real
    field = noisy(field / field.std(), 0.5)
    assert choose_layout([field], np.random.default_rng(0)).depth == 3
    shuffled = field[np.random.default_rng(0).permutation(32)]
    assert choose_layout([shuffled], np.random.default_rng(0)).depth == 2


def test_clean_pairs_teach() -> None:
    clean = pictures(300)
    seen = np.abs(noisy(clean, 60))  # no blind guess can see through this
    found = fit_denoiser(seen, clean=clean[:200], seconds=2)
    assert found.noise is None
    assert rmse(found.apply(seen[200:]), clean[200:]) < 0.75 * rmse(seen[200:], clean[200:])


def test_nothing_is_taken_from_what_has_no_noise(fitted: Denoiser) -> None:
    seen = noisy(pictures(20), 25)
    np.testing.assert_allclose(fitted.with_noise(0.0).apply(seen), seen, rtol=1e-6)


def test_integers_stay_what_they_are_and_special_values_stay(fitted: Denoiser) -> None:
    whole = np.clip(np.rint(noisy(pictures(20), 25)), 0, 255).astype(np.uint8)
    found = fitted.apply(whole)
    assert found.dtype == np.uint8
    assert rmse(found, fitted.apply(whole.astype(np.float32)).clip(0, 255)) < 0.5
    holed = noisy(pictures(20), 25)
    holed[3, 4:9, 5], holed[4, 0, 0] = np.nan, np.inf
    found = fitted.apply(holed)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(holed))
    assert np.isinf(found[4, 0, 0])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_blind_network_cannot_see_the_value_itself(depth: int, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 7)] * 4, st.integers(1, 2)))
    rng = np.random.default_rng(0)
    values = rng.standard_normal(shape, dtype=np.float32)
    known = rng.random(shape) < 0.9
    hood = around(depth, shape[:4], blind=True)
    place = data.draw(st.integers(0, int(np.prod(shape[:4])) - 1))
    other = values.copy()
    other.reshape(-1, shape[4])[place] += 100
    at = np.array([place])
    np.testing.assert_array_equal(View(values, known, hood).inputs(at), View(other, known, hood).inputs(at))


def test_boxes_are_means_of_what_is_known() -> None:
    values = np.arange(81, dtype=np.float32).reshape(1, 1, 9, 9, 1)
    known = np.ones(values.shape, bool)
    known[0, 0, 3, 6] = False
    hood = around(2, (1, 1, 9, 9), blind=True)
    (seen,) = View(values, known, hood).inputs(np.array([4 * 9 + 4]))
    right = hood.taps.tolist().index([1, 0, 0, 0, 3])
    box = values[0, 0, 3:6, 6:9, 0]
    assert seen[right] == pytest.approx((box.sum() - box[0, 0]) / 8)
    assert seen[hood.taps.tolist().index([0, 0, 0, -1, 2])] == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=6), st.integers(0, 4))
def test_windows_hold_what_is_around(lengths: list[int], reach: int) -> None:
    lengths = [length + reach for length in lengths]
    ends = np.cumsum([0, *lengths])
    rows = np.arange(ends[-1])
    found = list(windows((rows[a:b] for a, b in pairwise(ends)), reach))
    assert len(found) == len(lengths)
    for (window, part), a, b in zip(found, ends, ends[1:], strict=False):
        np.testing.assert_array_equal(window[part], rows[a:b])
        np.testing.assert_array_equal(window, rows[max(a - reach, 0) : b + reach])


def test_the_answer_to_one_normal_distribution_is_wieners() -> None:
    signal, noise, seen = 4.0, 3.0, np.array([[10.0]])
    one = Mixture(np.full((1, 1, 1), 2.0), np.full((1, 1, 1), np.hypot(signal, noise)), np.ones((1, 1, 1)))
    expected = 2 + (10 - 2) * signal**2 / (signal**2 + noise**2)
    assert one.posterior(seen, np.array([noise])).item() == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.float64, (50, 3), elements=st.floats(-1e6, 1e6)))
def test_units_are_undone(values: Array) -> None:
    known = np.ones(values.shape, bool)
    units = Units.of([(values, known)])
    turned = units.forward(values, known)
    np.testing.assert_allclose(units.difference(turned) + units.centre, values, atol=1e-6 * np.abs(values).max() + 1e-9)


def test_rows_come_in_blocks_as_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = noisy(series(), 0.3)
    found = fit_denoiser(seen, seconds=0.2)
    monkeypatch.setattr("aecompress.denoiser.block_rows", lambda _spec, least: least)
    aecompress.denoise(seen, tmp_path / "clean.npy", model=found)
    np.testing.assert_allclose(np.load(tmp_path / "clean.npy"), found.apply(seen), atol=1e-5)


def test_a_model_comes_back_from_its_file(tmp_path: Path, fitted: Denoiser) -> None:
    path = tmp_path / "noise.model"
    path.write_bytes(fitted.to_bytes())
    again = Denoiser.load(path)
    seen = noisy(pictures(5), 25)
    np.testing.assert_array_equal(again.apply(seen), fitted.apply(seen))
    assert (again.noise, again.layout, again.about) == (fitted.noise, fitted.layout, fitted.about)
    for cut in (0, 7, 100, len(fitted.to_bytes()) - 1):
        path.write_bytes(fitted.to_bytes()[:cut])
        with pytest.raises(aecompress.AecompressError):
            Denoiser.load(path)
    with pytest.raises(ModelError, match="fit --task denoise"):
        Denoiser.load(SAMPLE)


def test_bad_input_gets_a_sentence(tmp_path: Path, fitted: Denoiser) -> None:
    seen, dest = noisy(pictures(5), 25), tmp_path / "clean.npy"
    with pytest.raises(ModelError, match="fitted to rows of 2 axes"):
        aecompress.denoise(seen.reshape(5, -1), dest, model=fitted)
    with pytest.raises(InputError, match="true and false"):
        aecompress.denoise(seen > 0, dest)
    with pytest.raises(InputError, match="too few"):
        aecompress.denoise(np.arange(50.0), dest)
    with pytest.raises(InputError, match="no finite values"):
        aecompress.denoise(np.full((9, 4), np.nan), dest)
    with pytest.raises(InputError, match="clean version of the first rows"):
        aecompress.denoise(seen, dest, clean=seen[:, :5])
    with pytest.raises(InputError, match="not both"):
        aecompress.denoise(seen, dest, clean=seen, model=fitted)
    with pytest.raises(InputError, match="standard deviation"):
        aecompress.denoise(seen, dest, noise=-1)
    dest.write_bytes(b"taken")
    with pytest.raises(DestinationError, match="--force"):
        aecompress.denoise(seen, dest, model=fitted)
    assert dest.read_bytes() == b"taken"


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clean = np.round(pictures(100))
    np.save("noisy.npy", noisy(clean, 25).astype(">f4"))

    def run(*arguments: str) -> str:
        found = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    assert "denoise" in run("fit", "noisy.npy", "--task", "denoise", "-o", "noise.model", "--fit-seconds", "1")
    assert "100 rows" in run("denoise", "noisy.npy", "-o", "again.npy", "--model", "noise.model", "--noise", "25")
    found = np.load("again.npy")
    assert found.dtype == np.dtype(">f4")
    assert rmse(found, clean) < 0.85 * 25
    wrong = CliRunner().invoke(cli, ["fit", "noisy.npy", "--task", "denoise", "-o", "m", "--psnr", "30"])
    assert wrong.exit_code == 2
    assert "--psnr does not go with --task denoise" in wrong.stderr
    wrong = CliRunner().invoke(cli, ["fit", "noisy.npy", "-o", "m", "--noise", "3"])
    assert wrong.exit_code == 2


def test_canonical_axes_are_told_from_their_roles() -> None:
    rows = np.zeros((4, 8, 9, 3))
    assert canonical(rows, Layout(2, True))[0].shape == (1, 4, 8, 9, 3)
    assert canonical(rows, Layout(3, False))[0].shape == (4, 8, 9, 3, 1)


def test_columns_beside_the_rows_come_along(tmp_path: Path, fitted: Denoiser) -> None:
    seen = noisy(pictures(70), 25)
    table = pa.table({"name": [f"picture {i}" for i in range(70)], "pixels": tensors(seen)})
    pq.write_table(table, tmp_path / "noisy.parquet")
    aecompress.denoise(f"{tmp_path}/noisy.parquet::pixels", tmp_path / "clean.parquet", model=fitted)
    found = pq.read_table(tmp_path / "clean.parquet")
    assert found.column_names == table.column_names
    assert found["name"] == table["name"]
    aecompress.denoise(seen, tmp_path / "clean.npy", model=fitted)
    cleaned = found["pixels"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(cleaned, np.load(tmp_path / "clean.npy"))


def test_an_archive_is_cleaned_as_its_rows_are(tmp_path: Path, fitted: Denoiser) -> None:
    seen = noisy(pictures(70), 25)
    table = pa.table({"name": [f"picture {i}" for i in range(70)], "pixels": tensors(seen)})
    aecompress.pack(table, tmp_path / "a", target=Target("max-error", 1.0), model="none")
    result = CliRunner().invoke(
        cli, ["fit", "--task", "denoise", f"{tmp_path}/a", "-o", f"{tmp_path}/m", "--fit-seconds", "0.1"]
    )
    assert result.exit_code == 0, result.output
    (tmp_path / "m").write_bytes(fitted.to_bytes())
    arguments = [f"{tmp_path}/a", "-o", f"{tmp_path}/c.parquet", "--model", f"{tmp_path}/m"]
    result = CliRunner().invoke(cli, ["denoise", *arguments])
    assert result.exit_code == 0, result.output
    found = pq.read_table(tmp_path / "c.parquet")
    assert found["name"] == table["name"]
    np.testing.assert_array_equal(
        found["pixels"].combine_chunks().to_numpy_ndarray(), fitted.apply(aecompress.open(tmp_path / "a")[:])
    )


def tensors(rows: Array) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(rows)
