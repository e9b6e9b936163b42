"""Cells that are moved: where histograms promise something, kept where an archive gets smaller, and always exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.codec.cells import Cells
from aecompress.config import Target
from aecompress.entropy import integers
from aecompress.errors import CorruptError
from aecompress.quantize import PHASES
from aecompress.sources import open_source
from aecompress.spec import Array
from aecompress.trainer import adapt
from aecompress.trainer.phases import carried, moved


def cells(bound: float, kind: Any = "real") -> Cells:
    step = 2 * bound if kind == "real" else 2 * bound + 1
    return Cells(kind, np.asarray(step), np.asarray(bound))


def apart(rows: int = 600, columns: int = 30, seed: int = 0, wild: float = 0.1) -> Array:
    """Columns that hardly vary, each about four levels of its own, but for some values that may be any."""
    rng = np.random.default_rng(seed)
    levels = np.random.default_rng(99).uniform(-100, 100, columns) + 20.0 * rng.integers(0, 4, (rows, columns))
    values = levels + rng.uniform(-0.8, 0.8, (rows, columns))
    return np.where(rng.random(values.shape) < wild, rng.normal(0, 300, values.shape), values).astype(np.float32)


def held(cut: Cells, values: Array) -> int:
    """Different cells that the columns of these values lie in, together."""
    q = cut.lattice(values.dtype, values.shape, None).quantize(values)
    return sum(len(np.unique(q[:, i])) for i in range(q.shape[1]))


def test_levels_of_columns_get_a_cell_each() -> None:
    values = apart(wild=0)
    even = cells(1.0)
    found = moved(even, [values], values.size)
    each = found[-1]
    assert each.phase is not None
    assert len(each.phase) == values.shape[1]
    assert held(each, values) == 4 * values.shape[1]
    assert held(even, values) > 6 * values.shape[1]


def test_what_begins_at_zero_gets_cells_that_begin_there() -> None:
    values = np.random.default_rng(1).exponential(1.0, 100_000).astype(np.float32)
    (found,) = moved(cells(1.0), [values], values.size)
    assert found.phase is not None
    assert 6 <= int(found.phase[0]) <= 8


@pytest.mark.parametrize(
    "cut",
    [
        Cells("whole", np.asarray(1.0), np.asarray(0.0)),
        Cells("bits"),
        Cells("real", axis=0, relative=0.01),
        Cells("real", np.full(600, 2.0), np.full(600, 1.0), axis=0),
        cells(np.inf),
        cells(1e-300),
    ],
)
def test_some_cells_stay_where_they_are(cut: Cells) -> None:
    assert moved(cut, [apart()], 18_000) == []


def test_noise_far_wider_than_a_cell_and_nothing_at_all_stay() -> None:
    noise = np.random.default_rng(2).normal(0, 50, (5000, 8)).astype(np.float32)
    assert moved(cells(1.0), [noise], noise.size) == []
    assert moved(cells(1.0), [], 0) == []
    assert moved(cells(1.0), [noise[:0]], 0) == []
    assert moved(cells(1.0), [np.full((40, 3), np.nan, np.float32)], 120) == []


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i4", "u2"])
def test_an_archive_in_moved_cells_keeps_its_bound_and_is_smaller(dtype: str, tmp_path: Any) -> None:
    values = (apart(2000) if dtype[0] == "f" else np.rint(10.5 * apart(2000) + 20_000)).astype(dtype)
    bound = 1.0 if dtype[0] == "f" else 10
    model = aecompress.fit(values, Target("max-error", bound), kind="none", effort="fast")
    assert model.cells.phase is not None
    report = aecompress.pack(values, tmp_path / "a", model=model)
    back = aecompress.open(tmp_path / "a")[:]
    assert np.abs(back.astype("f8") - values.astype("f8")).max() <= bound
    fixed = replace(model, cells=replace(model.cells, phase=None), known_as=None)
    assert report.packed_bytes < aecompress.pack(values, tmp_path / "b", model=fixed).packed_bytes


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["f2", "f4", "f8"]), st.booleans())
def test_special_values_come_back_from_moved_cells(seed: int, dtype: str, alike: bool) -> None:
    rng = np.random.default_rng(seed)
    values = apart(60, 7, seed).astype(dtype)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max], dtype)
    values[rng.random(values.shape) < 0.1] = odd[rng.integers(len(odd))]
    model = aecompress.fit(apart(400, 7).astype(dtype), Target("max-error", 1.0), kind="none", effort="fast")
    assert model.subbands is None
    phase = np.array([5]) if alike else rng.integers(0, PHASES, 7)
    model = replace(model, cells=replace(model.cells, phase=phase), known_as=None)
    back = model.decompress(model.compress(values))
    ordinary = np.isfinite(values) & (values != 0) & (np.abs(values) < 1e4) & (np.abs(values) > 1e-3)
    assert back[~ordinary].tobytes() == values[~ordinary].tobytes()
    assert (np.abs(back[ordinary].astype("f8") - values[ordinary].astype("f8")) <= 1.0).all()


def test_phases_stay_with_a_model_for_other_rows_of_the_same_bound() -> None:
    model = aecompress.fit(apart(), Target("max-error", 1.0), kind="none", effort="fast")
    other = adapt(model, open_source(apart(seed=3)), Target("max-error", 1.0))
    assert model.cells.phase is not None
    assert other.cells.phase is not None
    assert other.cells.phase.tolist() == model.cells.phase.tolist()


def test_columns_stay_where_they_are_in_cells_of_another_width() -> None:
    model = aecompress.fit(apart(), Target("max-error", 1.0), kind="none", effort="fast")
    values = apart(wild=0)
    far = values + np.float32(30_000) * (np.arange(values.shape[1]) % 7 == 0)
    known = moved(cells(1.0), [far], far.size)[-1]
    wider = carried(known, cells(1.02), [far])
    assert wider.phase is not None
    assert known.phase is not None
    assert wider.phase.tolist() != known.phase.tolist()
    levels = far[:, ::7]
    stale = replace(cells(1.02), phase=known.phase)
    count = [held(replace(cut, phase=np.asarray(cut.phase)[::7]), levels) for cut in (wider, stale)]
    assert count[0] < count[1]
    assert carried(known, cells(1.0), [far]).phase.tolist() == known.phase.tolist()
    other = adapt(model, open_source(apart(seed=3)), Target("max-error", 1.05))
    assert other.cells.phase is not None


@pytest.mark.parametrize("bound", [1, 3, 8, 10, 500])
def test_whole_cells_are_carried_as_they_are(bound: int) -> None:
    values = np.random.default_rng(0).integers(-9000, 9000, (50, PHASES))
    known = replace(cells(bound, "whole"), phase=np.arange(PHASES))
    same = carried(known, cells(bound, "whole"), [values])
    before, after = (cut.lattice(values.dtype, values.shape, None).quantize(values) for cut in (known, same))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("phase", [None, np.array([7])])
def test_no_phase_and_one_for_all_stay(phase: Array | None) -> None:
    known = replace(cells(1.0), phase=phase)
    assert carried(known, cells(1.3), [apart()]).phase is phase
    assert carried(known, cells(1.3), []).phase is phase


def test_phases_are_read_as_they_were_written() -> None:
    phase = np.arange(40) % PHASES
    head, arrays = replace(cells(1.0), phase=phase).to_parts()
    found = Cells.from_parts(head, arrays)
    assert found.phase is not None
    assert found.phase.tolist() == phase.tolist()


@pytest.mark.parametrize("phase", [[PHASES], [-1], [[1, 2]]])
def test_impossible_phases_are_damage(phase: list[Any]) -> None:
    head, arrays = cells(1.0).to_parts()
    stream = np.frombuffer(integers.encode(np.array(phase)), np.uint8)
    with pytest.raises(CorruptError, match="impossible phases"):
        Cells.from_parts(head, arrays | {"phase": stream})


def test_phases_of_other_columns_or_with_a_finer_lattice_are_damage() -> None:
    cut = replace(cells(1.0), phase=np.array([1, 2, 3]))
    with pytest.raises(CorruptError, match="another number of columns"):
        cut.lattice(np.dtype("f4"), (9, 4), None)
    with pytest.raises(CorruptError, match="finer lattice"):
        cut.finer(np.dtype("f4"), (9, 3), None, 256)
