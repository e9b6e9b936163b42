"""Masks as pictures of bits: where a block's special values are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import aecompress
from aecompress.codec import specials
from aecompress.codec.frame import Frame
from aecompress.codec.specials import Specials
from aecompress.config import Target
from aecompress.entropy import mask
from aecompress.errors import CorruptError
from aecompress.spec import Array

SHAPES = hnp.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=9)


@settings(deadline=None)
@given(hnp.arrays(bool, SHAPES))
def test_any_mask_comes_back(bits: Array) -> None:
    assert np.array_equal(mask.decode(mask.encode(bits), bits.shape), bits)


@pytest.mark.parametrize("shape", [(4, 30, 40), (3, 2, 30, 40), (4, 30, 40, 3), (30, 40, 4), (900,), (60, 50)])
def test_masks_with_edges_come_back(shape: tuple[int, ...]) -> None:
    bits = blobs(shape)
    assert np.array_equal(mask.decode(mask.encode(bits), shape), bits)


def test_lines_like_those_of_the_row_before_take_next_to_nothing() -> None:
    one = blobs((1, 60, 70))
    assert len(mask.encode(np.repeat(one, 50, axis=0))) < len(mask.encode(one)) + 60


def test_colours_that_miss_the_same_pixels_take_little_more_than_one() -> None:
    one = blobs((4, 60, 70))
    assert len(mask.encode(np.repeat(one[..., None], 3, axis=-1))) < 1.2 * len(mask.encode(one))


def test_clouds_are_stored_as_a_picture_and_noise_is_not() -> None:
    values = np.ones((40, 60, 70), np.float32)
    clouds, noise = blobs(values.shape), np.random.default_rng(0).random(values.shape) < 1e-3
    assert "mask" in specials.encode(np.where(clouds, np.nan, values).astype("f4"), ~clouds)
    assert "places" in specials.encode(np.where(noise, np.nan, values).astype("f4"), ~noise)


def test_an_archive_with_clouds_comes_back_bit_for_bit() -> None:
    values = np.random.default_rng(1).normal(size=(6, 60, 70)).cumsum(1).astype(np.float32)
    values[blobs(values.shape)] = np.nan
    model = aecompress.fit(values, Target("max-error", 0.1), kind="none")
    payload = model.compress(values)
    decoded = model.decompress(payload)
    assert "mask" in Frame.from_bytes(payload, model.identity).streams
    assert np.array_equal(np.isnan(values), np.isnan(decoded))
    assert np.nanmax(np.abs(values - decoded)) <= 0.1


@settings(deadline=None)
@given(st.binary(max_size=60), hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))
def test_garbage_is_no_mask_or_some_mask(data: bytes, shape: tuple[int, ...]) -> None:
    try:
        found = mask.decode(data, shape)
    except CorruptError:
        return
    assert found.shape == shape
    assert found.dtype == bool


@pytest.mark.parametrize("cut", [4, 8, 12])
def test_a_stream_that_is_cut_short_is_refused(cut: int) -> None:
    stream = mask.encode(blobs((3, 40, 50)))
    with pytest.raises(CorruptError):
        mask.decode(stream[:-cut], (3, 40, 50))


def test_patterns_that_do_not_fit_the_mask_are_refused() -> None:
    bits = blobs((3, 20, 20))
    streams = specials.encode(np.full(bits.shape, np.nan, np.float32), ~bits)
    other = {**streams, "mask": mask.encode(~bits)}
    with pytest.raises(CorruptError, match="do not fit their places"):
        Specials.decode(other, bits.shape, np.dtype(np.float32))


def blobs(shape: tuple[int, ...]) -> Array:
    """Patches of True, each some places wide along every axis of some length, the same for all colours."""
    colours = shape[-1] if len(shape) > 2 and shape[-1] <= mask.MOST_COLOURS else 0
    inner = shape[:-1] if colours else shape
    noise = np.random.default_rng(7).normal(size=inner)
    for axis, size in enumerate(inner):
        if size > 20:
            noise = sum(np.roll(noise, shift, axis) for shift in range(-4, 5))
    found = noise > np.quantile(noise, 0.7)
    return np.repeat(found[..., None], colours, axis=-1) if colours else np.asarray(found)
