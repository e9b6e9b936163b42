"""The time of a fit: what is left out when it is over, and that it decides nothing before."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aecompress
from aecompress.cli.pack import report_lines
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.context import fit as context
from aecompress.context.coder import ContextModel
from aecompress.entropy.loops import compile_seconds
from aecompress.recipe import Recipe
from aecompress.spec import Array, ArraySpec
from aecompress.trainer import clock as clock_module
from aecompress.trainer.clock import Clock
from aecompress.trainer.sampling import stretches
from aecompress.trainer.unbounded import Unbounded


@given(st.integers(1, 5000), st.integers(1, 6000), st.integers(1, 8))
def test_a_trial_sees_stretches_of_a_block_from_all_over_it(length: int, rows: int, most: int) -> None:
    block = np.arange(length)
    found = stretches(block, rows, most)
    joined = np.concatenate(found)
    assert (np.diff(joined) > 0).all()
    assert min(rows, length) - len(found) < len(joined) <= min(rows, length)
    assert len(found) <= most
    assert len(found) == 1 or min(map(len, found)) >= 256
    assert len(found) == 1 or joined[-1] > length * (1 - 1.5 / len(found))


def waves(rows: int) -> Array:
    """float32 [rows, 48, 64]: smooth, so that subbands pay."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([np.sin(x / 9.0 + k) + np.cos(y / 7.0 - k / 3) for k in range(rows)]).astype(np.float32)


def test_a_clock_counts_down_and_leaves_a_training_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(clock_module, "compile_seconds", lambda: 0.0)
    clock = Clock(20.0, started=100.0)
    assert clock.share(0.5) == 10.0
    now = 110.0
    assert (clock.spent, clock.share(0.5), clock.is_over(), clock.is_late()) == (10.0, 5.0, False, False)
    early = clock.part(0.2)
    assert (early.spent, early.seconds, early.is_over()) == (10.0, 12.0, False)
    now = 113.0
    assert (early.is_over(), early.part(0.5).is_over()) == (True, True)
    assert (clock.is_late(), clock.is_over()) == (True, False)
    now = 130.0
    assert clock.is_over()
    assert clock.share(0.5) == 1.0


def test_a_clock_stands_still_while_loops_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    clock = Clock(20.0)
    before = compile_seconds()

    @numba.njit
    def doubled(x: int) -> int:
        return 2 * x

    assert doubled(21) == 42
    took = compile_seconds() - before
    assert took > 0
    assert clock.spent == pytest.approx(-took)


def test_a_pack_counts_compiling_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = itertools.count(0.0, 0.001)  # asked at the start, around the fit and at the end
    monkeypatch.setattr("aecompress.packer.compile_seconds", lambda: next(compiled))
    values = waves(6)
    report = aecompress.pack(values, tmp_path / "a", target=Target("rel-error", 1e-2), model="none", fit_seconds=0)
    assert report.compile_seconds == pytest.approx(0.003)
    assert 0 < report.fit_seconds < report.seconds - report.compile_seconds
    rest = report.seconds - report.compile_seconds - report.fit_seconds
    assert report.mb_per_s == pytest.approx(values.nbytes / 1e6 / rest)
    for seconds, said in ((12.34, True), (0.04, False)):
        lines = dict(report_lines(replace(report, compile_seconds=seconds), ArraySpec(values.dtype, values.shape[1:])))
        assert ("and 12.3 s to compile loops" in lines["time"]) is said


def test_without_time_only_the_context_coder_is_fitted() -> None:
    target = Target("rel-error", 1e-2)
    quick = aecompress.fit(waves(6), target, seconds=0)
    assert quick.context is not None
    assert quick.subbands is None
    assert aecompress.fit(waves(6), target, seconds=600).subbands is not None


@pytest.mark.parametrize(("effort", "tried"), [("fast", False), ("balanced", True)])
def test_simple_ways_are_tried_on_blocks_where_they_are_rivals(
    monkeypatch: pytest.MonkeyPatch, effort: str, tried: bool
) -> None:
    rows = np.random.default_rng(1).integers(0, 30, (3000, 6)).astype(np.int16).cumsum(0)
    for more, rate in ((1.05, not tried), (1.3, True), (0.9, False)):
        monkeypatch.setattr(Model, "simplest", lambda model, batch, more=more: more * model.estimate(batch))
        model = aecompress.fit(rows, Target("lossless"), kind="none", seconds=0, effort=effort)
        assert bool(model.rate) is rate


def test_time_that_is_not_used_changes_nothing() -> None:
    rows = np.random.default_rng(1).integers(0, 30, (3000, 6)).astype(np.int16).cumsum(0)
    models = [aecompress.fit(rows, Target("lossless"), kind="none", seconds=seconds) for seconds in (600, 6000)]
    assert models[0].identity == models[1].identity


def test_no_coder_gets_two_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise has nothing for a network: once that is found out, while subbands are compared, it is not asked again."""
    asked: list[ContextModel] = []

    def train(coder: ContextModel, *_: object) -> tuple[ContextModel, float]:
        asked.append(coder)
        return coder, 0.0

    monkeypatch.setattr(context, "with_network", train)
    rows = np.random.default_rng(4).normal(size=(300, 200)).astype(np.float32)
    aecompress.fit(rows, Target("rel-error", 1e-2), kind="none", seconds=600)
    assert len(asked) == 1


CASES = [
    ("auto", Target("psnr", 30.0)),
    ("conv", Target("psnr", 30.0)),
    ("vanilla", Target("max-error", 0.01)),
    ("auto", Target("lossless")),
]


@pytest.mark.parametrize(("kind", "target"), CASES)
def test_every_target_is_met_without_time(kind: str, target: Target, tmp_path: Path) -> None:
    values = waves(70)[:, ::6, ::8]
    recipe = Recipe(epochs=1) if kind == "vanilla" else None
    report = aecompress.pack(values, tmp_path / "a", target=target, model=kind, recipe=recipe, fit_seconds=0)
    if target.bounded:
        assert report.bound_kept
    else:
        assert report.psnr is not None
        assert report.psnr >= 30.0


@pytest.mark.parametrize("share", [0.95, 0.3])
def test_given_subbands_are_kept_where_the_cells_hardly_change(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = waves(6)
    error = 0.01 * float(values.max() - values.min())
    model = aecompress.fit(values, Target("rmse", error), kind="none", effort="fast")
    assert model.subbands is not None
    refitted: list[Model] = []
    retuned = Unbounded._retuned
    monkeypatch.setattr(Unbounded, "_retuned", lambda self, kept: refitted.append(kept) or retuned(self, kept))
    report = aecompress.pack(values, tmp_path / "a", model=model, target=Target("rmse", share * error))
    assert report.rmse is not None
    assert 0.9 * share * error < report.rmse <= share * error
    assert bool(refitted) == (share < 0.5)
