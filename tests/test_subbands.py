"""Subbands: exact both ways, the same decisions on both sides, and a bound that holds where they code smooth fields."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import aecompress
from aecompress.codec.cells import Cells
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.context import fit as context
from aecompress.context.coder import ContextModel
from aecompress.entropy import adaptive
from aecompress.errors import CorruptError
from aecompress.spec import Array, ArraySpec
from aecompress.subbands import CELL, MOST_CORRECTION, MOST_VALUE, Subbands, axes_of, lifting
from aecompress.subbands.gaps import fill_gaps
from aecompress.subbands.layout import layout_of
from aecompress.subbands.rounding import rounded
from aecompress.trainer.clock import Clock
from aecompress.trainer.smooth import fit_subbands, suits

shapes = st.one_of(
    st.tuples(st.integers(1, 200)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
)
values_of = shapes.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(1 - MOST_VALUE, MOST_VALUE - 1)))


def forward(subbands: Subbands, values: Array, keep: Array) -> Array | None:
    """Quantised coefficients of a block."""
    return subbands.forward(subbands.filled(values, keep), values.shape)


@settings(deadline=None, max_examples=40)
@given(values_of, st.integers(0, 10), st.integers(0, 10), st.booleans())
def test_lifting_loses_nothing(values: Array, along: int, plane: int, lines: bool) -> None:
    values = np.atleast_2d(values)
    levels = (*[along] * (values.ndim - 2), 0 if lines else plane, plane)
    assert np.array_equal(lifting.inverse(lifting.forward(values, levels), levels), values)


def test_high_bands_of_a_constant_are_empty() -> None:
    levels = (2, 4, 4)
    found = lifting.forward(np.full((5, 33, 70), MOST_VALUE - 1), levels)
    low = found[:2, :3, :5].copy()
    found[:2, :3, :5] = 0
    assert np.abs(found).max() <= 64  # of 2^27
    assert low.min() > MOST_VALUE


def test_shares_are_one_over_the_root_of_the_norm_of_the_basis() -> None:
    one = 1 << 30
    for level, shares in enumerate(lifting.SHARES, 1):
        many = 16
        for place, share in ((many // 2, shares[0]), (many + many // 2, shares[1])):
            line = np.zeros((many << level, 1, 1), np.int64)
            line[place] = one
            norm = np.linalg.norm(lifting.inverse(line, (level, 0, 0)) / one)
            assert share == pytest.approx(lifting.ONE / math.sqrt(norm), abs=1)


def test_along_lines_they_are_one_over_the_norm() -> None:
    one = 1 << 30
    steps = lifting.steps((1, 256), (0, 3), 1 << 20)
    for place in (20, 45, 90, 200):  # in the low band, and in the high one of levels 3, 2 and 1
        line = np.zeros((1, 256), np.int64)
        line[0, place] = one
        norm = np.linalg.norm(lifting.inverse(line, (0, 3)) / one)
        assert steps[0, place] == pytest.approx((1 << 20) / norm, rel=1e-3)


def test_squash_is_the_logistic_function() -> None:
    odds = np.arange(-adaptive.MOST_ODDS, adaptive.MOST_ODDS + 1)
    exact = np.clip(65536 / (1 + np.exp(-odds / 256)), 1, 65535)
    assert np.abs(adaptive._SQUASH - exact).max() <= 0.5 + 1e-9
    assert adaptive._SQUASH.min() >= 1  # no decision is impossible
    assert np.all(np.diff(adaptive._STRETCH) >= 0)


@settings(deadline=None, max_examples=40)
@given(
    shapes,
    st.integers(0, 2**32 - 1),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.002, 0.02, 0.5]),
)
def test_what_is_encoded_comes_back(
    shape: tuple[int, ...], seed: int, level: int, lines: bool, spans: bool, share: float
) -> None:
    rng = np.random.default_rng(seed)
    axes = len(axes_of(shape))
    order, levels = tuple(rng.permutation(axes).tolist()), [level] * axes
    if lines and axes > 1:
        levels[-2] = 0
    subbands = Subbands(order, tuple(levels), 300, spans, int(rng.choice([1, 30, 255])))
    assert subbands.of_lines == (level > 0 and (lines or axes == 1))
    values = rng.integers(-(1 << rng.integers(1, 27)), 1 << rng.integers(1, 27), shape)
    values *= rng.random(shape) < rng.choice([0.001, 0.05, 1.0])
    quantized = forward(subbands, values, np.ones(shape, bool))
    assert quantized is not None
    estimate = subbands.inverse(quantized, shape)
    coded = rng.random(shape) >= share
    size = rng.choice([1, 1, 2, MOST_CORRECTION], shape) * rng.choice([-1, 1], shape)
    missing = np.where(coded & (rng.random(shape) < share), size, 0)
    if share == 0.5:
        missing[: len(missing) // 2] = 0  # calm, then not
    data = subbands.encode(quantized, missing, estimate, coded)
    assert np.array_equal(subbands.decode(data, coded), estimate + CELL * missing)


def test_a_cut_stream_is_refused() -> None:
    subbands = Subbands((0, 1), (3, 3), 300)
    values = np.arange(40 * 50).reshape(40, 50) ** 2
    coded = np.ones(values.shape, bool)
    quantized = forward(subbands, values, coded)
    assert quantized is not None
    data = subbands.encode(quantized, np.zeros_like(values), subbands.inverse(quantized, values.shape), coded)
    for cut in (0, 3, 8, len(data) // 8 * 4, len(data) - 4):
        with pytest.raises(CorruptError):
            subbands.decode(data[:cut], coded)


def test_the_error_grows_with_the_step() -> None:
    y, x = np.mgrid[0:64, 0:96]
    values = np.rint(5000 * np.sin(y / 9.0) * np.cos(x / 7.0)).astype(np.int64) * CELL
    errors = []
    for step in (128, 512, 2048):
        subbands = Subbands((0, 1), (4, 4), step)
        quantized = forward(subbands, values, np.ones(values.shape, bool))
        assert quantized is not None
        errors.append(float(np.abs(subbands.inverse(quantized, values.shape) - values).mean()) / CELL)
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.25


def test_values_too_large_to_transform_are_refused() -> None:
    subbands, keep = Subbands((0, 1), (2, 2), 256), np.ones((16, 16), bool)
    assert forward(subbands, np.full((16, 16), MOST_VALUE - 1), keep) is not None
    assert forward(subbands, np.full((16, 16), -MOST_VALUE), keep) is None


def smooth(dtype: str, seed: int = 0) -> Array:
    y, x = np.mgrid[0:90, 0:120]
    rng = np.random.default_rng(seed)
    planes = [np.sin(y / (11 + k) + k) * np.cos(x / 13.0 - k) + 1e-5 * rng.normal(size=y.shape) for k in range(6)]
    return (1000 * np.stack(planes)).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_smooth_fields_take_subbands_and_keep_the_bound(dtype: str, tmp_path: Path) -> None:
    values = smooth(dtype)
    report = aecompress.pack(values, tmp_path / "a", target=Target("rel-error", 1e-2), model="none")
    assert set(report.methods) == {"subbands"}
    decoded = aecompress.open(tmp_path / "a")[:]
    assert decoded.dtype == values.dtype
    error = np.abs(values.astype(np.float64) - decoded.astype(np.float64))
    assert report.bound is not None
    assert error.max() <= report.bound
    assert error.max() == report.max_abs_error


@pytest.mark.parametrize("per", [0, 1, 2])
def test_bounds_of_each_variable(per: int, tmp_path: Path) -> None:
    scales = np.array([1.0, 100.0, 3.0, 1e4, 10.0, 0.1]).reshape(6, 1, 1)
    values = smooth("f4") * scales.astype(np.float32)
    if per == 1:
        values = values[None]
    if per == 2:
        values = values.transpose(1, 0, 2)[None].copy()
    report = aecompress.pack(values, tmp_path / "a", target=Target("rel-error", 1e-2, per=per), model="none")
    assert report.ratio > 10
    decoded = aecompress.open(tmp_path / "a")[:]
    axes = tuple(axis for axis in range(values.ndim) if axis != per)
    bound = 1e-2 * (values.max(axes, keepdims=True).astype(np.float64) - values.min(axes, keepdims=True))
    assert (np.abs(values.astype(np.float64) - decoded) <= bound).all()


def blank(values: Array) -> Model:
    """A model of these blocks that has no coder yet."""
    cells = Cells("real", np.asarray(1.0), np.asarray(0.5))
    spec = ArraySpec(values.dtype, values.shape[1:])
    return Model(spec, "none", Target("max-error", 0.5), cells, values.reshape(-1)[:0])


def test_channels_at_the_end_are_taken_apart() -> None:
    values = np.stack([smooth("f4"), 50 * smooth("f4", 1)[::-1]], -1)
    model = fit_subbands(blank(values), [values], Clock(600.0), other=values.nbytes)
    assert model is not None
    assert model.subbands is not None
    assert model.subbands.order == (3, 0, 1, 2)
    assert np.abs(model.decompress(model.compress(values)) - values).max() <= 0.5


def series(rows: int, columns: int) -> Array:
    """int32 [rows, columns]: each column noise of its own, smoothed."""
    noise = np.random.default_rng(columns).normal(0, 500, (rows + 40, columns))
    return np.rint(np.apply_along_axis(np.convolve, 0, noise, np.hanning(41), "valid")).astype(np.int32)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (series(3000, 1)[:, 0], 0),
        (series(1500, 5), 0),
        (np.ascontiguousarray(series(400, 20).T), 1),
        (series(400, 21).reshape(400, 7, 3), 0),
    ],
    ids=["alone", "side by side", "as rows", "of bodies"],
)
def test_smooth_series_are_transformed_along_time(values: Array, line: int, tmp_path: Path) -> None:
    by_contexts = len(aecompress.fit(values, Target("max-error", 400), kind="none", seconds=0).compress(values))
    report = aecompress.pack(values, tmp_path / "a", target=Target("max-error", 400), model="none", effort="fast")
    archive = aecompress.open(tmp_path / "a")
    assert set(report.methods) == {"subbands"}
    assert archive.model.subbands is not None
    assert archive.model.subbands.of_lines
    assert archive.model.subbands.order[-1] == line
    assert len(archive.model.compress(values)) < 0.8 * by_contexts
    assert np.abs(archive[:].astype(int) - values).max() <= 400


def test_subbands_that_stay_behind_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another coder takes less than any levels would, no step is tried, and of the time only a part is taken."""
    values = smooth("f4")
    found = fit_subbands(blank(values), [values], Clock(600.0))
    assert found is not None
    size = float(len(found.compress(values)))
    behind = partial(fit_subbands, blank(values), [values], other=0.5 * size, hope=10.0, sure=0.6)
    monkeypatch.setattr("aecompress.trainer.smooth._with_step", lambda *_: pytest.fail("a step was tried"))
    assert behind(Clock(600.0)) is None
    tried: list[Subbands] = []
    monkeypatch.setattr(
        "aecompress.trainer.smooth._bytes", lambda _, subbands, __: tried.append(subbands) or size - len(tried)
    )
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + 150.0 * len(tried))
    assert behind(Clock(600.0, started=100.0)) is None
    few = len(tried)
    tried.clear()
    assert behind(Clock(60_000.0, started=100.0)) is None
    assert few < len(tried)


def test_other_coders_stay_at_home_where_subbands_are_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coder without classes tells that; what is nearer to it is compared with one that is fitted with care."""

    def fit(*args: Any, with_classes: bool = True, **kwargs: Any) -> ContextModel:
        if with_classes:
            raise InterruptedError
        return context.fit(*args, with_classes=with_classes, **kwargs)

    monkeypatch.setattr("aecompress.trainer.search.context", SimpleNamespace(**vars(context) | {"fit": fit}))
    values = np.concatenate([smooth("f4")] * 4)
    assert aecompress.fit(values, Target("max-error", 2.0), kind="none").subbands is not None
    values += 3.0 * np.random.default_rng(1).normal(size=values.shape).astype(np.float32)
    with pytest.raises(InterruptedError):
        aecompress.fit(values, Target("max-error", 2.0), kind="none")


@pytest.mark.parametrize("ahead", [True, False])
def test_no_network_is_tried_where_subbands_are_far_ahead_of_trees(
    ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, share in (("_PLAIN", 0.0), ("_SURE", 0.0), ("_AHEAD", 0.7 if ahead else 0.0)):
        monkeypatch.setattr(f"aecompress.trainer.bounded.{name}", share)
    tried: list[ContextModel] = []

    def train(coder: ContextModel, *_: object) -> tuple[ContextModel, float]:
        tried.append(coder)
        return coder, 0.0

    monkeypatch.setattr(context, "with_network", train)
    values = smooth("f4")[:, ::2, ::2]
    assert aecompress.fit(values, Target("max-error", 2.0), kind="none").subbands is not None
    assert bool(tried) != ahead


def test_what_is_known_of_blocks_is_not_found_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    values = smooth("f4")
    known: dict[tuple[Subbands, int], float] = {}
    first = fit_subbands(blank(values), [values], Clock(600.0), known=known)
    assert known
    monkeypatch.setattr("aecompress.trainer.smooth._bytes", lambda *_: pytest.fail("a block was coded again"))
    again = fit_subbands(blank(values), [values], Clock(600.0), known=known)
    assert first is not None
    assert again is not None
    assert again.subbands == first.subbands


def test_special_values_in_smooth_fields(tmp_path: Path) -> None:
    values = smooth("f4")
    values[:, 30:50, 40:70] = np.nan
    values[2, 5, 5], values[3, 7, 7], values[1, 1, 1] = np.inf, -0.0, 1e-40
    report = aecompress.pack(values, tmp_path / "a", target=Target("max-error", 10.0), model="none")
    assert "subbands" in report.methods
    decoded = aecompress.open(tmp_path / "a")[:]
    apart = ~np.isfinite(values) | (values == 0) | (np.abs(values) < np.finfo(np.float32).tiny)
    assert np.array_equal(values[apart].view(np.int32), decoded[apart].view(np.int32))
    assert np.abs(values[~apart].astype(np.float64) - decoded[~apart]).max() <= 10.0


def test_gaps_are_filled_smoothly() -> None:
    y, x = np.mgrid[0:40, 0:50]
    plane = (1000 * y + 300 * x).astype(np.int64)
    keep = np.ones(plane.shape, bool)
    keep[10:30, 20:25] = keep[0, 0] = keep[7, 9] = False
    filled = fill_gaps(np.where(keep, plane, 1 << 60)[None], keep[None])[0]
    assert np.array_equal(filled[keep], plane[keep])
    assert np.abs(filled - plane).max() < 5000
    assert np.abs(np.diff(filled, 2, axis=0)).max() < 5000


def test_a_plane_of_gaps_alone_is_level() -> None:
    values = np.arange(12).reshape(1, 3, 4)
    assert not fill_gaps(values, np.zeros(values.shape, bool)).any()
    assert fill_gaps(values, np.ones(values.shape, bool)) is values


def test_short_planes_are_left_alone() -> None:
    assert suits((3, 16, 16))
    assert suits((3, 16, 1, 16))
    assert suits((16, 400, 3))
    assert not suits((3, 7, 31))
    assert not suits((31,))


def test_lines_need_no_plane() -> None:
    assert suits((400,))
    assert suits((3, 7, 400))
    assert suits((400, 7, 3))
    assert not suits((400, 7, 3), (False, True, True))


@pytest.mark.parametrize(
    ("order", "levels", "step"),
    [
        ([], [], 5),
        ([0], [11], 5),
        ([0, 1], [1, 2], 5),
        ([0, 1], [2, 0], 5),
        ([0, 1], [11, 11], 5),
        ([0, 1], [-1, -1], 5),
        ([0, 1], [2, 2], 0),
        ([0, 1], [2, 2], 2**20),
        ([[0, 1]], [[2, 2]], 5),
        ([0, 0], [2, 2], 5),
        ([1, 2], [2, 2], 5),
        (list(range(9)), [2] * 9, 5),
    ],
)
def test_impossible_stored_subbands_are_refused(order: list[int], levels: list[int], step: int) -> None:
    with pytest.raises(CorruptError):
        Subbands.checked(np.array(order), np.array(levels), np.array(step))


@pytest.mark.parametrize(("levels", "shape"), [((3, 3), (40, 48)), ((0, 3), (40, 48))])
def test_a_coefficient_alone_must_be_larger_to_count(levels: tuple[int, int], shape: tuple[int, int]) -> None:
    layout = layout_of((1, *shape), (0, *levels))
    exact = np.zeros((1, *shape))
    exact[0, 10, 40], exact[0, 30, 40] = 0.7, -0.9
    assert rounded(exact, layout)[0, 10, 40] == 0
    assert rounded(exact, layout)[0, 30, 40] == -1
    exact[0, 8:13, 38:43] = -0.7
    assert rounded(exact, layout)[0, 10, 40] == -1
    exact[0, 8:13, 38:43] = 7.56
    assert rounded(exact, layout)[0, 10, 40] == 8
    assert np.count_nonzero(rounded(exact, layout)) == 26


def test_stored_uses_say_that_there_are_spans() -> None:
    axes = np.array([0, 1]), np.array([2, 2]), np.array(256)
    for subbands in (
        Subbands((0, 1), (2, 2), 256, False),
        Subbands((0, 1), (2, 2), 256),
        Subbands((0,), (2,), 256, True, 30),
    ):
        assert Subbands.checked(*subbands.arrays()) == subbands
    for wrong in (np.array(0), np.array(256), np.array([30])):
        with pytest.raises(CorruptError):
            Subbands.checked(*axes, wrong)


def test_spans_take_fewer_bytes_of_a_calm_field() -> None:
    y, x = np.mgrid[:200, :300]
    values = np.rint(3000 * np.sin(y / 60.0) * np.cos(x / 90.0)).astype(np.int64) * CELL
    values[50:60, 100:130] += np.random.default_rng(3).integers(-9, 10, (10, 30)) * CELL
    keep, sizes = np.ones(values.shape, bool), []
    for spans in (True, False):
        subbands = Subbands((0, 1), (6, 6), 400, spans)
        quantized = forward(subbands, values, keep)
        assert quantized is not None
        estimate = subbands.inverse(quantized, values.shape)
        missing = np.rint((values - estimate) / CELL / 2).astype(np.int64)
        sizes.append(len(subbands.encode(quantized, missing, estimate, keep)))
    assert sizes[0] < sizes[1]


def test_subbands_of_other_axes_are_refused() -> None:
    with pytest.raises(CorruptError):
        Subbands((0, 1, 2), (0, 2, 2), 256).decode(b"", np.ones((16, 16), bool))


def test_a_stored_model_keeps_its_identity_whatever_zstd_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    import zstandard

    values = smooth("f4")
    model = aecompress.fit(values, Target("max-error", 0.5), kind="none")
    payload, stored = model.compress(values[:2]), model.to_bytes()
    real = zstandard.ZstdCompressor
    monkeypatch.setattr(zstandard, "ZstdCompressor", lambda **options: real(**{**options, "level": 1}))
    again = Model.from_bytes(stored)
    assert again.identity == model.identity
    assert np.array_equal(again.decompress(payload), model.decompress(payload))


def test_without_a_bound_they_reach_the_quality_and_follow_a_given_model(tmp_path: Path) -> None:
    y, x = np.mgrid[:120, :150]
    fields = np.sin(0.01 * y * np.arange(1, 5)[:, None, None] + 0.02 * x).astype(np.float32)
    fields[1, 5, 6], fields[2, 7, 8] = np.nan, -np.inf
    model = aecompress.fit(fields, Target("psnr", 50.0), kind="none", seconds=30, effort="fast")
    assert model.subbands is not None
    for path, psnr in ((tmp_path / "a", 50.0), (tmp_path / "b", 40.0)):
        report = aecompress.pack(fields, path, model=model, target=Target("psnr", psnr))
        assert report.psnr is not None
        assert psnr <= report.psnr < psnr + 1
        assert set(aecompress.open(path).manifest.report["methods"]) == {"subbands"}
        back = aecompress.open(path)[:]
        assert np.array_equal(np.isfinite(back), np.isfinite(fields))


def test_cells_too_narrow_for_parts_are_left_to_others(tmp_path: Path) -> None:
    """Each value has a bound of its own here, of cells as wide as itself: a 256th of the least numbers is 0."""
    values = np.concatenate([5e-324 * np.arange(1, 20), np.linspace(1, 2, 36)])
    aecompress.pack(values, tmp_path / "a", target=Target("rel-error", 1e-3, per=0), model="none")
    assert np.array_equal(aecompress.open(tmp_path / "a")[:], values)
