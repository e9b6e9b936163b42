"""The first latents of an archive alone: coarser rows of the same bytes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.cli import cli
from aecompress.config import Target
from aecompress.errors import InputError
from aecompress.recipe import Recipe
from aecompress.spec import Array

LATENTS = 16
SAMPLES = Path(aecompress.__file__).parent / "samples" / "fashion_mnist_2000.npy"


def rmse(found: Array, wanted: Array) -> float:
    return float(np.sqrt(np.square(found.astype(float) - wanted).mean()))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pictures() -> Array:
    return np.asarray(np.load(SAMPLES)[:300])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, pictures: Array) -> Path:
    """A folder with archives of the pictures: pca and vanilla of 16 latents each, and one at a bound."""
    folder = tmp_path_factory.mktemp("progressive")
    aecompress.pack(pictures, folder / "pca", model="pca", target=Target("latent-dim", LATENTS))
    recipe = Recipe(hidden=(16,), epochs=10)
    aecompress.pack(pictures, folder / "vanilla", model="vanilla", target=Target("latent-dim", LATENTS), recipe=recipe)
    aecompress.pack(pictures, folder / "bound", model="none", target=Target("max-error", 8), effort="fast")
    return folder


@pytest.mark.parametrize("kind", ["pca", "vanilla"])
def test_all_latents_give_the_same_bytes(kind: str, home: Path) -> None:
    whole, asked = aecompress.open(home / kind)[:], aecompress.open(home / kind, quality=LATENTS)[:]
    np.testing.assert_array_equal(asked, whole)


@pytest.mark.parametrize("kind", ["pca", "vanilla"])
def test_the_error_falls_with_every_latent_or_two(kind: str, home: Path, pictures: Array) -> None:
    errors = [rmse(aecompress.open(home / kind, quality=k)[:], pictures) for k in range(2, LATENTS + 1, 2)]
    assert (np.diff(errors) < 0).all()
    assert errors[0] > 1.3 * errors[-1]


def test_latents_of_pca_lie_in_order_of_their_importance(pictures: Array) -> None:
    model = aecompress.fit(pictures, Target("latent-dim", LATENTS), kind="pca")
    assert model.encoder is not None
    assert (np.diff(model.encoder.deviation) <= 0).all()


@given(seed=st.integers(0, 2**32), quality=st.integers(1, LATENTS))
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("kind", ["pca", "vanilla"])
def test_latents_left_out_count_as_zero(kind: str, home: Path, seed: int, quality: int) -> None:
    model = aecompress.open(home / kind).model
    latents = np.random.default_rng(seed).integers(-40, 40, (5, LATENTS), dtype=np.int32)
    zeroed = np.where(np.arange(LATENTS) < quality, latents, 0)
    found = model.truncated(quality).synthesise(latents, (5, 28, 28))
    np.testing.assert_array_equal(found, model.synthesise(zeroed, (5, 28, 28)))


def test_rows_and_special_values_come_back_at_a_quality_too(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
    rows[::7, 3], rows[5, 5] = np.nan, np.inf
    aecompress.pack(rows, tmp_path / "a", model="pca", target=Target("latent-dim", 6))
    archive = aecompress.open(tmp_path / "a", quality=2)
    np.testing.assert_array_equal(np.isnan(archive[:]), np.isnan(rows))
    assert archive[5, 5] == np.inf
    np.testing.assert_array_equal(archive[40:60], archive[:][40:60])


def test_another_process_opens_the_same_quality(home: Path) -> None:
    archive = aecompress.open(home / "pca", quality=3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(archive))[:9], archive[:9])


def test_unpack_takes_a_quality(home: Path, tmp_path: Path) -> None:
    wanted = aecompress.open(home / "pca", quality=4)
    done = run("unpack", home / "pca", "-o", tmp_path / "a.npy", "--quality", 4)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), wanted[:])
    for name, archive, quality in (("b", wanted, None), ("c", aecompress.open(home / "pca"), 4)):
        aecompress.unpack(archive, tmp_path / f"{name}.npy", quality=quality)
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), wanted[:])


@pytest.mark.parametrize(
    ("name", "quality", "words"),
    [
        ("pca", 0, "name 1 to 16"),
        ("pca", -3, "name 1 to 16"),
        ("vanilla", 17, "each row has 16: name"),
        ("bound", 4, "holds no latents alone (its blocks are coded as context)"),
    ],
)
def test_qualities_that_an_archive_does_not_have(
    name: str, quality: int, words: str, home: Path, tmp_path: Path
) -> None:
    done = run("unpack", home / name, "-o", tmp_path / "a.npy", "--quality", quality)
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError):
        aecompress.open(home / name, quality=quality)


def test_a_model_with_a_bound_has_no_quality(home: Path) -> None:
    with pytest.raises(InputError, match="codes no latents alone"):
        aecompress.open(home / "bound").model.truncated(1)


def test_an_archive_without_rows_has_no_quality(tmp_path: Path) -> None:
    aecompress.pack(np.zeros((0, 4), np.float32), tmp_path / "a", model="none")
    with pytest.raises(InputError, match="it has no blocks"):
        aecompress.open(tmp_path / "a", quality=1)
