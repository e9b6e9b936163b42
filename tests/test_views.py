"""Rows that came flat and are coded in the shape of what they hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.codec.lengths import code_lengths
from aecompress.codec.model import Model
from aecompress.config import Target, silent
from aecompress.errors import CorruptError
from aecompress.sources import open_source
from aecompress.spec import Array
from aecompress.trainer.views import Reshaped, shape_of_rows, view_of


def pictures(rows: int, height: int, width: int, seed: int = 0) -> Array:
    """uint8 [rows, height, width]: lines resemble each other more than columns do."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-4, 5, (rows, height, width))
    steps[:, 0] = rng.integers(-30, 31, (rows, width)).cumsum(1)
    return (steps.cumsum(1) + 120).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def samples() -> Array:
    """uint8 [600, 28, 28]."""
    found: Array = np.load(Path(aecompress.__file__).parent / "samples" / "fashion_mnist_2000.npy")[:600]
    return found


def flat(x: Array) -> Array:
    return x.reshape(len(x), -1)


def test_pictures_are_found(samples: Array) -> None:
    assert shape_of_rows([flat(samples)], len(samples)) == (28, 28)
    assert shape_of_rows([flat(samples).astype(np.float32) / 255], len(samples)) == (28, 28)


def test_colours_are_found_beside_and_behind_each_other(samples: Array) -> None:
    beside = np.stack([samples, 255 - samples // 2, samples // 3], -1)
    assert shape_of_rows([flat(beside)], len(beside)) == (28, 28, 3)
    behind = np.stack([samples, samples - samples // 16, samples], 1)
    assert shape_of_rows([flat(behind)], len(behind)) == (3, 28, 28)


@pytest.mark.parametrize("shape", [(500, 96), (500, 127), (40, 63), (0, 128), (3, 16, 16)])
def test_other_rows_stay_as_they_are(shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape)
    assert view_of(open_source(noise), silent) == ()


def test_flat_pictures_take_no_more_than_pictures(tmp_path, samples: Array) -> None:
    x, target = samples[:120], Target("max-error", 8)
    whole = aecompress.pack(x, tmp_path / "whole", target=target, model="none", effort="fast")
    lists = aecompress.pack(flat(x), tmp_path / "lists", target=target, model="none", effort="fast")
    assert lists.packed_bytes < 1.01 * whole.packed_bytes
    opened = aecompress.open(tmp_path / "lists")
    assert opened.model.view == (28, 28)
    assert opened.spec.row_shape == (784,)
    assert opened[:].shape == (120, 784)
    assert np.array_equal(opened[:], flat(aecompress.open(tmp_path / "whole")[:]))


def test_roles_and_bounds_of_single_columns_leave_rows_flat() -> None:
    x = flat(pictures(300, 12, 16)).astype(np.float32)
    assert aecompress.fit(x, Target("max-error", 1), kind="none", effort="fast").view == (12, 16)
    assert aecompress.fit(x, Target("rel-error", 0.01, per=1), kind="none", effort="fast").view == ()
    axes = ("independent", "ordered")
    assert aecompress.fit(x, Target("max-error", 1), kind="none", effort="fast", axes=axes).view == ()


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["u1", "i4", "f4", "f8"]), st.integers(0, 99), st.booleans())
def test_blocks_come_back_flat(dtype: str, seed: int, specials: bool) -> None:
    x = flat(pictures(120, 12, 16, seed)).astype(dtype)
    if specials and x.dtype.kind == "f":
        x.reshape(-1)[seed::31] = np.resize([np.nan, np.inf, -0.0], x.reshape(-1)[seed::31].shape)
    model = aecompress.fit(x, Target("max-error", 2), kind="none", effort="fast")
    decoded = Model.from_bytes(model.to_bytes()).decompress(model.compress(x))
    assert decoded.shape == x.shape
    known = np.isfinite(x)
    assert np.abs(decoded[known].astype(float) - x[known]).max() <= 2
    assert np.array_equal(decoded[~known], x[~known], equal_nan=True)
    assert model.decompress(model.compress(x[:0])).shape == (0, 192)


def test_a_model_serves_other_targets_and_tells_the_bits_of_flat_rows() -> None:
    x = flat(pictures(300, 12, 16)).astype(np.float32)
    model = aecompress.fit(x, Target("max-error", 2), kind="none", effort="fast")
    lengths = code_lengths(model, x)
    assert lengths is not None
    assert lengths.shape == x.shape
    assert lengths.sum() / 8 == pytest.approx(len(model.compress(x)), rel=0.1)
    finer = aecompress.trainer.adapt(model, open_source(x), Target("max-error", 0.2))
    assert finer.view == (12, 16)
    assert finer.spec == model.spec
    assert np.abs(finer.decompress(finer.compress(x)) - x).max() <= 0.2


def test_latents_of_flat_rows(tmp_path, samples: Array) -> None:
    aecompress.pack(flat(samples), tmp_path / "a", model="pca", target=Target("latent-dim", 8))
    assert aecompress.open(tmp_path / "a")[:5].shape == (5, 784)


def test_a_view_of_another_size_is_damage() -> None:
    x = flat(pictures(100, 12, 16))
    model = aecompress.fit(x, Target("max-error", 2), kind="none", effort="fast")
    assert model.view == (12, 16)
    for view in ((12, 17), (192, 0), (-12, -16)):
        with pytest.raises(CorruptError):
            Model.from_bytes(replace(model, view=view).to_bytes())


def test_a_model_says_what_it_was_fitted_to() -> None:
    x = flat(pictures(100, 12, 16))
    model = aecompress.fit(x, Target("max-error", 2), kind="none", effort="fast")
    assert model.about["source"] == "100 x 192 uint8"
    data = model.to_bytes()
    head = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["aecompress"])
    assert (head["version"], head["view"], head["spec"]["row_shape"]) == (6, [12, 16], [192])


def test_a_reshaped_source_is_the_same_source() -> None:
    x = flat(pictures(10, 12, 16))
    source = open_source(x)
    shaped = Reshaped(source, (12, 16))
    assert shaped.spec.shape == (10, 12, 16)
    assert (shaped.name, shaped.replayable, shaped.origin, shaped.columns) == (
        source.name, source.replayable, source.origin, source.columns,
    )  # fmt: skip
    assert np.array_equal(np.concatenate(list(shaped.batches(3, 2, 9))), x[2:9].reshape(-1, 12, 16))
