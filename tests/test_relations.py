"""Columns that are functions of others: found, exact, the same both ways, and refused where they are impossible."""

from __future__ import annotations

import contextlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.codec.cells import Cells
from aecompress.codec.formulas import formulas
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.context import fit as fitting
from aecompress.context.coder import NO_TABLES, ContextModel
from aecompress.context.discovery import _bent, discover
from aecompress.context.relations import CURVE, FORM, NONE, ROOT, SIGNED, Formula, Relations
from aecompress.context.sample import Sample
from aecompress.context.stencil import Layout
from aecompress.context.training import lesson, train
from aecompress.context.tree import STUMP
from aecompress.entropy import record
from aecompress.errors import CorruptError
from aecompress.spec import Array, ArraySpec


def derived(rows: int, seed: int) -> Array:
    """Length, x, y, z, length in the plane, product and angle of random vectors."""
    rng = np.random.default_rng(seed)
    x, y, z = rng.normal(size=(3, rows)) * 200
    length, flat = np.sqrt(x * x + y * y + z * z), np.hypot(x, y)
    return np.stack([length, x, y, z, flat, x * y / 80, 300 * np.arctan2(y, x)], axis=1)


def whole(values: Array) -> Sample:
    return Sample(np.rint(values).astype(np.int64), np.ones(values.shape, bool))


@pytest.fixture(scope="module")
def fitted() -> ContextModel:
    model = fitting.fit([whole(derived(6000, 1))], 7 * 60_000)
    assert model.relations is not None
    return model


@pytest.fixture(scope="module")
def networked(fitted: ContextModel) -> ContextModel:
    """With a small network, whether it pays or not."""
    assert fitted.relations is not None
    sample = fitted.relations.informed(whole(derived(6000, 1)))
    learned = lesson([sample], fitted.predictor, fitted.activity)
    network = train(learned, 16, 300, 600.0, sample.q.size, seed=0)
    return replace(fitted, tree=STUMP, tables=NO_TABLES, network=network)


def test_formulas_are_found() -> None:
    found = discover([whole(derived(6000, 2))], 42_000)
    assert found is not None
    assert [f.kind for f in found.formulas] == [NONE, NONE, NONE, SIGNED, ROOT, FORM, CURVE]
    root = found.formulas[3]
    factors = {(i, j): f / 2 ** (root.down + 8) for i, j, f in root.terms}
    assert factors == pytest.approx({(0, 0): 1.0, (1, 1): -1.0, (2, 2): -1.0}, abs=1e-2)


def test_a_column_of_few_bits_is_left_alone() -> None:
    rng = np.random.default_rng(3)
    assert discover([Sample(rng.integers(-500, 500, (3000, 5)), np.ones((3000, 5), bool))], 15_000) is None


def test_they_save_bits_of_rows_that_were_not_seen(fitted: ContextModel, networked: ContextModel) -> None:
    fresh = whole(derived(2000, 4))
    alone, _ = fitting._fit_layout([whole(derived(6000, 1))], Layout(1, True), 7 * 60_000)
    least = 0.75 * len(alone.encode(fresh.q, fresh.coded))
    assert len(fitted.encode(fresh.q, fresh.coded)) < least
    assert len(networked.encode(fresh.q, fresh.coded)) < least


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([0.0, 0.1, 0.9, 1.0]), st.integers(0, 40))
def test_decode_undoes_encode(
    fitted: ContextModel, networked: ContextModel, seed: int, rows: int, gaps: float, size: int
) -> None:
    rng = np.random.default_rng(seed)
    q = np.rint(derived(rows, seed)).astype(np.int64)
    wild = rng.random(q.shape) < 0.2
    q = np.where(wild, rng.integers(-(2**size), 2**size, q.shape), q)
    coded = rng.random(q.shape) >= gaps
    for model in (fitted, networked):
        back = model.decode(model.encode(q, coded), coded)
        assert np.array_equal(back[coded], q[coded])


def test_a_model_comes_back_from_its_bytes(networked: ContextModel) -> None:
    again = ContextModel.from_bytes(networked.to_bytes())
    assert again.relations == networked.relations
    fresh = whole(derived(300, 5))
    assert again.encode(fresh.q, fresh.coded) == networked.encode(fresh.q, fresh.coded)


# --- the format -----------------------------------------------------------------------------------------------------


def by_the_format(formula: Formula, row: list[int], coded: list[bool], negative: bool) -> int:
    """What docs/format.md says is made of a channel of this formula."""

    def number(k: int) -> int:
        if k == len(row):
            return 1
        return min(max(row[k], -(2**40)), 2**40) if coded[k] else 0

    if formula.kind == CURVE:
        ((i, j, lift),) = formula.terms
        a = min(max(number(i) << max(-lift, 0), -(2**40)), 2**40)
        b = min(max(number(j) << max(lift, 0), -(2**40)), 2**40)
        s = (a << 20) // max(abs(a) + abs(b), 1)
        d = s if b >= 0 else 2**21 - s if a >= 0 else -(2**21) - s
        first, *h = formula.heights
        w = min(max(d - first, 0), ((len(h) - 1) << formula.down) - 1)
        k, u = w >> formula.down, w % (1 << formula.down)
        return h[k] + (((h[k + 1] - h[k]) * u) >> formula.down)
    total = sum(f * number(i) * number(j) for i, j, f in formula.terms)
    total = ((total + 2**63) % 2**64 - 2**63) >> formula.down
    if formula.kind != FORM:
        total = math.isqrt(min(max(total, 0), 2**62 - 1))
    return min(max(-total if negative else total, -(2**48)), 2**48)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_made_agrees_with_the_format(data: st.DataObject) -> None:
    columns = data.draw(st.integers(3, 6))
    formulas = []
    for c in range(columns):
        kind = data.draw(st.sampled_from([NONE, FORM, ROOT, SIGNED, CURVE])) if c else NONE
        place = st.sampled_from([*range(c), columns])
        if kind == NONE:
            formulas.append(Formula())
        elif kind == CURVE:
            term = (data.draw(place), data.draw(place), data.draw(st.integers(-20, 20)))
            first = data.draw(st.integers(-(2**21), 2**21))
            heights = data.draw(st.lists(st.integers(-(2**40), 2**40), min_size=2, max_size=9))
            formulas.append(Formula(CURVE, data.draw(st.integers(0, 22)), (term,), (first, *heights)))
        else:
            factor = st.integers(-(2**40), 2**40) | st.integers(-(2**10), 2**10)
            terms = data.draw(st.lists(st.tuples(place, place, factor), min_size=1, max_size=4))
            formulas.append(Formula(kind, data.draw(st.integers(0, 61)), tuple(terms)))
    relations = Relations(tuple(formulas))
    number = st.integers(-1000, 1000) | st.integers(-(2**50), 2**50)
    rows = data.draw(st.lists(st.lists(number, min_size=columns, max_size=columns), min_size=1, max_size=4))
    flags = data.draw(
        st.lists(st.lists(st.booleans(), min_size=columns, max_size=columns), min_size=len(rows), max_size=len(rows))
    )
    made = relations.informed(Sample(np.array(rows, np.int64), np.array(flags))).made
    assert made is not None
    for row, coded, found in zip(rows, flags, made.tolist(), strict=True):
        for c, formula in enumerate(formulas):
            if formula.kind != NONE:
                negative = formula.kind == SIGNED and coded[c] and row[c] < 0
                assert found[c] == by_the_format(formula, row, coded, negative)
    assert Relations.from_arrays(record.unpack(record.pack(relations.arrays())), columns) == relations


@pytest.mark.parametrize(
    "formula",
    [
        Formula(FORM, 4, ((2, 0, 1),)),  # of itself
        Formula(FORM, 4, ((0, 4, 1),)),  # of no column
        Formula(FORM, 4, ((0, -1, 1),)),
        Formula(ROOT, 62, ((0, 0, 1),)),
        Formula(ROOT, 4, ()),
        Formula(ROOT, 4, ((0, 0, 2**41),)),
        Formula(5, 4, ((0, 0, 1),)),
        Formula(NONE, 0, ((0, 0, 1),)),
        Formula(FORM, 4, ((0, 0, 1),), (0, 1, 2)),
        Formula(CURVE, 4, ((0, 1, 0),), (0, 1)),  # a single knot
        Formula(CURVE, 23, ((0, 1, 0),), (0, 1, 2)),
        Formula(CURVE, 4, ((0, 1, 21),), (0, 1, 2)),
        Formula(CURVE, 4, ((0, 1, 0), (0, 1, 0)), (0, 1, 2)),
        Formula(CURVE, 4, ((0, 1, 0),), (0, 2**41, 2)),
    ],
)
def test_impossible_formulas_are_refused(formula: Formula) -> None:
    relations = Relations((Formula(), Formula(), formula))
    with pytest.raises(CorruptError, match="impossible"):
        Relations.from_arrays(relations.arrays(), 3)


def test_damaged_streams_are_refused_or_decode_to_something(fitted: ContextModel) -> None:
    sample = whole(derived(200, 6))
    data = fitted.encode(sample.q, sample.coded)
    rng = np.random.default_rng(7)
    for _ in range(100):
        broken = bytearray(data)
        broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        with contextlib.suppress(CorruptError):
            assert fitted.decode(bytes(broken), sample.coded).shape == sample.q.shape
    for cut in (0, 3, 4, 11):
        with pytest.raises(CorruptError):
            fitted.decode(data[:cut], sample.coded)


# --- archives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Target("max-error", 0.5), Target("rel-error", 1e-4, per=1)])
def test_archives_keep_the_bound_of_tables_with_formulas(tmp_path: Path, target: Target) -> None:
    values = derived(3000, 8)
    values[5, 2], values[9, 6], values[11] = np.nan, np.inf, -0.0
    report = aecompress.pack(values, tmp_path / "a", target=target, model="none", fit_seconds=20)
    assert report.bound_kept
    model = Model.from_bytes(next((tmp_path / "a" / "_model").iterdir()).read_bytes())
    assert model.context is not None
    assert model.context.relations is not None
    back = aecompress.open(tmp_path / "a")[:]
    finite = np.where(np.isfinite(values), values, np.nan)
    bound = 0.5 if target.per is None else 1e-4 * (np.nanmax(finite, 0) - np.nanmin(finite, 0))
    known = np.isfinite(values)
    assert np.array_equal(np.isnan(back), np.isnan(values))
    assert (np.abs(np.where(known, back, 0) - np.where(known, values, 0)) <= bound).all()


# --- for people -----------------------------------------------------------------------------------------------------


def test_info_tells_what_columns_are_computed_by(tmp_path: Path) -> None:
    names = ["length", "x", "y", "z", "flat", "product", "angle"]
    table = pa.table(dict(zip(names, derived(6000, 5).T, strict=True)))
    pq.write_table(table, tmp_path / "t.parquet")
    aecompress.pack(tmp_path / "t.parquet", tmp_path / "a", target=Target("max-error", 0.5), model="none")
    found = aecompress.info(tmp_path / "a")["computed"]
    assert re.fullmatch(r"±√\(length² - [xy]² - [xy]²\)", found["z"])
    assert re.fullmatch(r"√\([xy]² \+ [xy]²\)|√\(length² - z²\)", found["flat"])
    assert re.fullmatch(r"0\.0125 x·y", found["product"])
    assert re.fullmatch(r"a curve of y : x with [\d,]+ knots|a curve of x : y with [\d,]+ knots", found["angle"])
    assert set(found) == {"z", "flat", "product", "angle"}


def test_columns_without_names_have_numbers_and_nothing_else_is_told(tmp_path: Path) -> None:
    aecompress.pack(derived(6000, 5), tmp_path / "a", target=Target("max-error", 0.5), model="none")
    found = aecompress.info(tmp_path / "a")["computed"]
    assert found["5"] == "0.0125 [1]·[2]"
    aecompress.pack(np.random.default_rng(0).normal(size=(500, 4)), tmp_path / "b", target=Target("max-error", 0.1))
    assert aecompress.info(tmp_path / "b")["computed"] == {}
    manifest = json.loads((tmp_path / "a" / "_manifest.json").read_text())
    assert manifest["report"]["computed"] == len(found)
    assert "computed" not in json.loads((tmp_path / "b" / "_manifest.json").read_text())["report"]


def test_factors_are_in_the_units_of_the_values() -> None:
    relations = discover([whole(derived(6000, 2))], 42_000)
    assert relations is not None
    plain = fitting.fit([whole(derived(600, 1))], 600, fixed=False)
    spec = ArraySpec(np.dtype("f8"), (7,))
    steps = np.array([2.0, 0.5, 0.5, 1.0, 1.0, 3.0, 1.0])
    cells = Cells("real", steps, steps / 2, axis=1)
    model = Model(
        spec, "none", Target("max-error", 1.0), cells, np.empty(0), context=replace(plain, relations=relations)
    )
    found = formulas(model)
    assert found["5"] == "0.15 [1]·[2]"  # 3 / 80 of cells that are 0.5 wide
    moved = replace(model, cells=replace(cells, phase=np.arange(7)))
    assert formulas(moved)["5"] == "a sum of [1]·[2]"
    assert formulas(moved)["4"].startswith("the root of a sum of ")
    assert formulas(replace(model, turned=9)) == {}


@pytest.mark.parametrize("knots", [2, 3, 4, 10, 200])
def test_stiff_curves_are_the_solution_of_their_equations(knots: int) -> None:
    rng = np.random.default_rng(knots)
    main, first, moment = rng.random(knots) + 1, rng.random(knots) / 2, rng.normal(size=knots)
    bend = np.diff(np.eye(knots), 2, axis=0)
    full = np.diag(main) + np.diag(first[:-1], 1) + np.diag(first[:-1], -1) + 0.3 * bend.T @ bend
    assert np.allclose(_bent(main, first, moment, 0.3), np.linalg.solve(full, moment))
