"""Colourisation: what brightness tells of colour is learned, and brightness stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import aecompress
from aecompress.cli import cli
from aecompress.colorizer import fit_colorizer
from aecompress.config import Target
from aecompress.errors import InputError, ModelError
from aecompress.restoration.coloring import TO_RGB, TO_YCC, Colorizer, brightness
from aecompress.spec import Array


def pictures(rows: int, seed: int = 0) -> Array:
    """uint8 [rows, 16, 16, 3]: bright places are yellow, dark ones blue."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(0.1, 0.6, (2, rows, 1, 1))
    y, x = np.mgrid[:16, :16]
    luma = 128 + 60 * np.sin(waves[0] * y + waves[1] * x + rng.uniform(0, 6, (rows, 1, 1)))
    told = np.stack([luma, (128 - luma) / 3, (luma - 128) / 8], axis=-1) @ TO_RGB.T
    return np.clip(np.rint(told + rng.normal(0, 3, told.shape)), 0, 255).astype(np.uint8)


def rmse(first: Array, second: Array) -> float:
    return float(np.sqrt(np.square(first.astype(np.float64) - second).mean()))


@pytest.fixture(scope="module")
def fitted() -> Colorizer:
    return fit_colorizer(pictures(200), seconds=2)


def test_colours_come_back(fitted: Colorizer) -> None:
    unseen = pictures(20, seed=1)
    grey = brightness(unseen)
    found = fitted.apply(grey)
    assert found.dtype == np.uint8
    assert rmse(found, unseen) < 0.6 * rmse(np.repeat(grey[..., None], 3, -1), unseen)
    assert np.abs(brightness(found).astype(int) - grey).max() <= 1


def test_colours_without_a_rule_are_not_invented() -> None:
    rng = np.random.default_rng(0)
    grey = pictures(60)[..., 1]
    tints = np.where(rng.random((60, 1, 1, 1)) < 0.5, [40, 0, -40], [-40, 0, 40])
    any_colour = np.clip(grey[..., None] * 0.5 + 64 + tints, 0, 255).astype(np.uint8)
    found = fit_colorizer(any_colour[:40], seconds=1)
    told = found.apply(brightness(any_colour[40:]))
    mean = any_colour.mean((0, 1, 2)) - brightness(any_colour).mean()
    assert rmse(told, any_colour[40:]) < 1.1 * rmse(brightness(any_colour[40:])[..., None] + mean, any_colour[40:])


def test_the_transform_is_that_of_jpeg() -> None:
    np.testing.assert_allclose(TO_YCC.sum(1), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(TO_RGB @ [0, 0, 1], [1.402, -0.714136, 0], atol=1e-5)


def test_floats_count_from_zero_to_one(fitted: Colorizer) -> None:
    grey = brightness(pictures(3))
    found = fitted.apply((grey / 255).astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.clip(0, 1) * 255, fitted.apply(grey), atol=0.51)


def test_a_model_comes_back_from_its_file(tmp_path: Path, fitted: Colorizer) -> None:
    path = tmp_path / "colour.model"
    path.write_bytes(fitted.to_bytes())
    grey = brightness(pictures(3))
    np.testing.assert_array_equal(Colorizer.load(path).apply(grey), fitted.apply(grey))
    for cut in (0, 7, 100, len(fitted.to_bytes()) - 1):
        path.write_bytes(fitted.to_bytes()[:cut])
        with pytest.raises(aecompress.AecompressError):
            Colorizer.load(path)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("colour.npy", pictures(60))
    np.save("grey.npy", brightness(pictures(5, seed=1)))

    def run(*arguments: str) -> str:
        found = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    run("fit", "colour.npy", "--task", "colorize", "-o", "colour.model", "--fit-seconds", "0.5")
    assert "5 pictures" in run("colorize", "grey.npy", "-o", "found.npy", "--model", "colour.model")
    assert np.load("found.npy").shape == (5, 16, 16, 3)
    wrong = CliRunner().invoke(cli, ["denoise", "grey.npy", "-o", "clean.npy", "--model", "colour.model"])
    assert wrong.exit_code == 1
    assert "was fitted to colorize" in wrong.stderr


def test_bad_input_gets_a_sentence(tmp_path: Path, fitted: Colorizer) -> None:
    with pytest.raises(InputError, match="pictures in colour"):
        fit_colorizer(np.zeros((9, 4, 4)))
    with pytest.raises(InputError, match="grey pictures"):
        aecompress.colorize(pictures(3), tmp_path / "found.npy", model=fitted)
    with pytest.raises(InputError, match="no colours"):
        fit_colorizer(np.full((9, 4, 4, 3), np.nan))
    with pytest.raises(ModelError, match="cannot be read"):
        aecompress.colorize(pictures(3)[..., 0], tmp_path / "found.npy", model=tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_an_archive_gets_colours_and_keeps_its_columns(tmp_path: Path, fitted: Colorizer) -> None:
    grey = brightness(pictures(5, seed=1))
    table = pa.table({"name": list("abcde"), "grey": pa.FixedShapeTensorArray.from_numpy_ndarray(grey)})
    aecompress.pack(table, tmp_path / "a", target=Target("lossless"), model="none")
    assert aecompress.colorize(tmp_path / "a", tmp_path / "c.parquet", model=fitted) == 5
    found = pq.read_table(tmp_path / "c.parquet")
    assert found["name"] == table["name"]
    told = next(name for name in found.column_names if name != "name")
    np.testing.assert_array_equal(found[told].combine_chunks().to_numpy_ndarray(), fitted.apply(grey))
