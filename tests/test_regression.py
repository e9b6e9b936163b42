"""Values expected from all before them in their row, and sets read with their row axis last because of that."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.codec.lengths import code_lengths
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.context import fit as fitting
from aecompress.context import regression as learning
from aecompress.context.coder import ContextModel
from aecompress.context.regression import LEAST_COLUMNS, MOST_COLUMNS, MOST_PRIOR, MOST_UNIT, Regression, columns_of
from aecompress.context.sample import FRACTION, Sample, whole
from aecompress.context.stencil import Layout
from aecompress.entropy import record
from aecompress.errors import CorruptError, InputError, ModelError
from aecompress.spec import Array
from aecompress.trainer import turning

relaxed = settings(max_examples=25, deadline=None)


def dependent(rows: int, columns: int, seed: int = 0, spread: float = 6.0) -> Array:
    """int64 [rows, columns]: each column depends on many others, more than a stencil takes."""
    rng = np.random.default_rng(seed)
    return np.rint(rng.normal(size=(rows, columns // 2)) @ rng.normal(size=(columns // 2, columns)) * spread).astype(
        int
    )


def everywhere(q: Array) -> Array:
    return np.ones(q.shape, bool)


# --- the arithmetic -------------------------------------------------------------------------------------------------


def clamp(value: int, most: int) -> int:
    return min(max(value, -most), most)


def made_by_the_text(known: Regression, q: Array, coded: Array) -> list[int]:
    """What docs/format.md says, in Python's integers."""
    columns = len(known.centres)
    m = columns + 1
    factor = [[(1 << 20) * (i == j) for j in range(m)] for i in range(m)]
    sizes, sums, n = [1 << 12] * m, [[0] * m for _ in range(m)], 0
    most = float(max(8, min(columns // 12, 4096)))
    if known.prior == 0:
        _, _, (shifts, grains), entries = (a.tolist() for a in known.arrays())
        factor[1:] = [[entries.pop(0) << shifts[c] if k <= c + 1 else 0 for k in range(m)] for c in range(columns)]
        sizes, most = [1 << 12, *(16 * grain for grain in grains)], math.inf
    waiting: list[list[int]] = []
    found: list[int] = []
    for row, flags in zip(q.reshape(-1, columns).tolist(), coded.reshape(-1, columns).tolist(), strict=True):
        fresh, values = [1 << 16], [1 << 12]
        for c in range(columns):
            k, u, centre = c + 1, int(known.units[c]), int(known.centres[c])
            x = sum(factor[k][j] * fresh[j] for j in range(k)) >> 20
            z = clamp((x * sizes[k]) >> 16, 1 << 17)
            found.append(16 * centre + (z >> (8 - u) if u < 8 else z << (u - 8)))
            innovation = 0
            if flags[c]:
                away = row[c] - centre
                z = clamp(clamp(away, 1 << 17) << (12 - u) if u < 12 else clamp(away, 1 << 44) >> (u - 12), 1 << 17)
                away = ((z * ((1 << 36) // sizes[k])) >> 20) - x
                innovation = clamp((away * ((1 << 40) // factor[k][k])) >> 20, 1 << 21)
            fresh.append(innovation)
            values.append(z)
        waiting.append(values)
        if len(waiting) < most:
            continue
        for i in range(m):
            for j in range(i + 1):
                sums[i][j] += sum(complete[i] * complete[j] for complete in waiting)
        n += len(waiting)
        waiting, most = [], min(max(n // 16, columns // 12, 8), 4096)
        sizes = [max(math.isqrt(sums[i][i] // n), 1) for i in range(m)]
        norms = [max(math.isqrt(sums[i][i]), 1) for i in range(m)]
        for i in range(m):
            for j in range(i):
                if known.prior > 0:
                    t = ((sums[i][j] // norms[i]) << 20) // norms[j] * n // (n + known.prior) << 20
                else:
                    t = (((sums[i][j] << 8) // norms[i]) << 18) // norms[j] * 16 * n // (16 * n - known.prior) << 14
                dot = sum(factor[i][k] * factor[j][k] for k in range(j))
                factor[i][j] = clamp((t - dot) // factor[j][j], 17 << 16)
            ridge, least = (1 << 8, 1 << 28) if known.prior > 0 else (1 << 4, 1 << 24)
            left = (((1 << 20) + ridge) << 20) - sum(factor[i][k] ** 2 for k in range(i))
            factor[i][i] = math.isqrt(max(left, least))
    return found


def told_of(q: Array, coded: Array, prior: int = 4, detail: int = 6) -> Regression:
    """One that is told what these rows show."""
    sample = Sample(q, coded)
    known = Regression.of([sample], prior)
    return known.told(known.products([sample]), detail)


blocks = st.sampled_from(["dependent", "wild", "equal", "far", "twice"])


def integers(kind: str, rows: int, columns: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    q = dependent(rows, columns, seed)
    return {
        "dependent": q,
        "wild": rng.integers(-(2**54), 2**54, q.shape),
        "equal": np.full(q.shape, -7),
        "far": np.where(rng.random(q.shape) < 0.02, 2**45, q * 5000),
        "twice": np.concatenate([q[:, : columns - columns // 2], q[:, : columns // 2]], 1),
    }[kind]


@relaxed
@given(
    blocks,
    st.integers(1, 60),
    st.integers(17, 26),
    st.sampled_from([1, 16, 1000, -1, -30, -9999]),
    st.integers(0, 99),
    st.booleans(),
)
def test_what_is_made_agrees_with_the_format(
    kind: str, rows: int, columns: int, prior: int, seed: int, gaps: bool
) -> None:
    q = integers(kind, rows, columns, seed)
    coded = np.random.default_rng(seed).random(q.shape) < (0.8 if gaps else 1.0)
    known = Regression.of([Sample(q, coded)], prior)
    assert known.guesses(q, coded).reshape(-1).tolist() == made_by_the_text(known, q, coded)
    told = told_of(q, coded, prior, prior % 7)
    assert told.guesses(q, coded).reshape(-1).tolist() == made_by_the_text(told, q, coded)


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize(("rows", "columns"), [(300, 70), (256, 64), (513, 33)])
def test_rows_are_made_side_by_side_as_one_after_the_other(rows: int, columns: int, share: float) -> None:
    q = integers("far", rows, columns, 5)
    coded = np.random.default_rng(6).random(q.shape) < share
    told = told_of(q, coded)
    one_by_one = np.concatenate([told.guesses(q[i : i + 1], coded[i : i + 1]) for i in range(rows)])
    assert np.array_equal(told.guesses(q, coded), one_by_one)
    found = np.empty(q.size, np.int64)
    learning._pass(q.reshape(-1), coded.reshape(-1), found, told.state(q.shape))
    assert np.array_equal(found.reshape(q.shape), one_by_one)


def test_what_is_told_misses_less_than_what_few_rows_show() -> None:
    q = dependent(4000, 300, 3)
    told, block = told_of(q[80:], everywhere(q[80:])), q[:80]
    learned = Regression.of([Sample(q, everywhere(q))], 16)
    by_told, by_learned = (block - one.guesses(block, everywhere(block)) / 16 for one in (told, learned))
    assert np.abs(by_told[:, 200:]).mean() < 0.3 * np.abs(by_learned[:, 200:]).mean()


def test_sums_stay_whole_in_float64() -> None:
    m = MOST_COLUMNS + 1
    most = {name: int(getattr(learning, name)) for name in ("_MOST_FACTOR", "_MOST_INNOVATION", "_MOST_VALUE")}
    assert most["_MOST_FACTOR"] * most["_MOST_INNOVATION"] * m < 1 << 53
    assert most["_MOST_FACTOR"] ** 2 * m < 1 << 53
    assert most["_MOST_VALUE"] ** 2 * int(learning._MOST_ROWS) < 1 << 53


def test_a_pass_learns_what_columns_have_to_do_with_each_other() -> None:
    q = dependent(1200, 60)
    made = Regression.of([Sample(q, everywhere(q))], 4).guesses(q, everywhere(q))
    missed = q[600:, 30:] - made[600:, 30:] / (1 << FRACTION)  # as many shares as columns came before
    assert np.abs(missed).mean() < 0.2 * np.abs(q[600:, 30:]).mean()


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        ((100, 384), 384),
        ((100,), None),
        ((100, 16), None),
        ((100, 4, 17), 68),
        ((100, 100, 205), 205),
        ((9, 2048), 2048),
        ((9, 2049), None),
        ((9, 3, 1000), 1000),
        ((9, 2000, 3), None),
    ],
)
def test_rows_are_as_many_last_axes_as_fit(shape: tuple[int, ...], columns: int | None) -> None:
    assert columns_of(shape) == columns


def test_what_is_made_lies_beside_the_integers() -> None:
    made = np.array([[-9, -8, 7, 8, 1000]])
    sample = Sample(np.zeros((1, 5), np.int64), np.ones((1, 5), bool), made=made)
    assert sample.flat()[5:].tolist() == [-1, 0, 0, 1, 63]
    assert ((whole(made) << FRACTION).reshape(-1) + sample.fine()).tolist() == made.reshape(-1).tolist()


# --- coders ---------------------------------------------------------------------------------------------------------


def with_regression(q: Array, coded: Array, layout: Layout, *, told: bool = False) -> ContextModel:
    known = told_of(q, coded) if told else Regression.of([Sample(q, coded)], -64)
    return replace(fitting.fit([known.informed(Sample(q, coded))], q.size, layout), regression=known)


@relaxed
@given(
    blocks,
    st.sampled_from([(1, 20), (40, 17), (30, 3, 8), (5, 6, 40)]),
    st.booleans(),
    st.sampled_from([1.0, 0.7]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9),
)
def test_decode_undoes_encode(
    kind: str, shape: tuple[int, ...], channels: bool, share: float, told: bool, learned: bool, seed: int
) -> None:
    q = integers(kind, math.prod(shape[:-1]), shape[-1], seed).reshape(shape)
    coded = np.random.default_rng(seed).random(shape) < share
    coded.flat[0] = True
    model = with_regression(q, coded, Layout(1, channels, False), told=told)
    if learned:
        parts = [Sample(q, coded)]
        model = fitting.with_network(model, parts, 10**8, 16, 3, 600.0, 0)[0]
    data = model.encode(q, coded)
    assert np.array_equal(model.decode(data, coded)[coded], q[coded])
    again = ContextModel.from_bytes(model.to_bytes())
    assert again.encode(q, coded) == data
    assert np.array_equal(again.decode(data, coded)[coded], q[coded])
    assert again.to_bytes() == model.to_bytes()


def test_a_network_hears_what_is_made() -> None:
    q = dependent(900, 60, 1)
    parts = [Sample(q, everywhere(q))]
    plain = fitting.fit(parts, 100 * q.size, Layout(1, True, False), fixed=True)
    model, saved = fitting.with_network(plain, parts, 100 * q.size, 16, 300, 600.0, 0)
    assert plain.regression is not None
    assert model.network is not None
    assert saved > 0
    data = model.encode(q, everywhere(q))
    assert np.array_equal(model.decode(data, everywhere(q)), q)
    bits = model.lengths(parts[0]).sum(dtype=np.float64)
    assert model.part is not None
    assert 0 < 8 * len(data) - bits < 130 * math.ceil(q.size / 2**model.part)


def test_columns_that_depend_on_many_others_take_fewer_bits() -> None:
    q = dependent(1500, 120)
    parts = [Sample(q, everywhere(q))]
    with_one, (without, _) = fitting.fit(parts, q.size), fitting._fit_layout(parts, Layout(1, True), q.size)
    assert with_one.regression is not None
    assert fitting.cost(with_one, parts, q.size) < 0.9 * fitting.cost(without, parts, q.size)


def test_large_sets_are_told_what_small_ones_learn() -> None:
    q = dependent(6000, 120, 2)
    parts = [Sample(rows, everywhere(rows)) for rows in np.split(q, 10)]
    large, small = fitting.fit(parts, 100 * q.size), fitting.fit(parts, q.size // 60)
    assert large.regression is not None
    assert large.regression.factor is not None
    assert small.regression is not None
    assert small.regression.factor is None
    assert fitting.bits(large, parts) < 0.9 * fitting.bits(small, parts)
    few = fitting.fit([Sample(rows, everywhere(rows)) for rows in np.split(q[:4000], 10)], 100 * q.size)
    assert few.regression is None or few.regression.factor is None


def test_a_regression_leaves_a_layout_that_was_named() -> None:
    q = dependent(500, 60)
    for layout in (Layout(1, True, False), Layout(2, False, False)):
        model = fitting.fit([Sample(q, everywhere(q))], q.size, layout, fixed=True)
        assert model.regression is not None
        assert model.predictor.layout == layout


def test_sets_that_begin_with_nothing_are_fitted_too() -> None:
    q = dependent(12_000, 60)
    coded = everywhere(q)
    coded[:10_500] = False  # more than a corner that rivals are compared on
    model = fitting.fit([Sample(q, coded)], q.size)
    assert model.regression is not None
    assert np.array_equal(model.decode(model.encode(q, coded), coded)[coded], q[coded])


@pytest.mark.parametrize("what", ["noise", "steps", "short"])
def test_where_nothing_is_won_there_is_none(what: str) -> None:
    rng = np.random.default_rng(0)
    q = {
        "noise": rng.integers(-50, 50, (800, 40)),
        "steps": rng.integers(-3, 4, (800, 40)).cumsum(1),
        "short": dependent(3000, 16),
    }[what]
    assert fitting.fit([Sample(q, everywhere(q))], q.size).regression is None


def test_thrift_prices_integers_that_a_regression_expects() -> None:
    values = dependent(600, 40, 2, 0.3) + np.random.default_rng(0).normal(size=(600, 40)) * 0.7
    q = np.rint(values).astype(np.int64)
    model = with_regression(q, everywhere(q), Layout(1, True, False))
    chosen = model.thrifty(values, q, everywhere(q), 0.2)
    assert len(model.encode(chosen, everywhere(q))) < 0.97 * len(model.encode(q, everywhere(q)))
    assert np.square(chosen - values).mean() < 0.15


@pytest.mark.parametrize(
    ("part", "index", "value"),
    [
        (17, 0, 0),
        (17, 0, MOST_PRIOR + 1),
        (17, 0, -MOST_PRIOR - 1),
        (17, 3, -1),
        (17, 3, MOST_UNIT + 1),
        (18, 2, (1 << 56) + 1),
    ],
)
def test_impossible_numbers_are_refused(part: int, index: int, value: int) -> None:
    q = dependent(200, 40)
    parts = record.unpack(with_regression(q, everywhere(q), Layout(1, True, False)).to_bytes())
    assert len(parts) == 19
    changed = [array.copy() for array in parts]
    changed[part].flat[index] = value
    with pytest.raises(CorruptError, match="impossible numbers"):
        ContextModel.from_bytes(record.pack(changed))


@pytest.mark.parametrize(
    ("part", "index", "value"),
    [
        (17, 0, 1),
        (19, 0, -1),
        (19, 5, 21),
        (19, 40, 0),
        (19, 40, 1 << 14),
        (20, 0, 1 << 21),
        (20, 0, -(1 << 63)),
        (20, 1, 0),
        (20, 1, -300),
    ],
)
def test_impossible_factors_are_refused(part: int, index: int, value: int) -> None:
    q = dependent(200, 40)
    parts = record.unpack(with_regression(q, everywhere(q), Layout(1, True, False), told=True).to_bytes())
    assert len(parts) == 21
    changed = [array.copy() for array in parts]
    changed[part].flat[index] = value
    with pytest.raises(CorruptError, match="impossible numbers"):
        ContextModel.from_bytes(record.pack(changed))
    for short in ([*parts[:20], parts[20][:-1]], [*parts[:19], parts[19][:, :-1], parts[20]]):
        with pytest.raises(CorruptError, match="impossible numbers"):
            ContextModel.from_bytes(record.pack(short))


def test_blocks_of_other_columns_are_refused() -> None:
    q = dependent(100, 40)
    model = with_regression(q, everywhere(q), Layout(1, False, False))
    with pytest.raises(CorruptError, match="does not fit"):
        model.decode(model.encode(q, everywhere(q)), np.ones((80, 50), bool))


@pytest.mark.parametrize("columns", [LEAST_COLUMNS - 1, MOST_COLUMNS + 1])
def test_models_of_too_few_or_too_many_columns_are_refused(columns: int) -> None:
    with pytest.raises(CorruptError, match="impossible numbers"):
        Regression.from_arrays([np.ones(columns + 1, np.int64), np.zeros(columns, np.int64)])


# --- sets -----------------------------------------------------------------------------------------------------------

BOUND = Target("max-error", 3.0)


def bands(seed: int = 0) -> Array:
    """int16 [60, 30, 40]: spectra of thirty substances, each place a mixture of its own."""
    rng = np.random.default_rng(seed)
    shares, spectra = rng.normal(size=(1200, 30)), rng.normal(size=(30, 60))
    return np.rint((shares @ spectra).T * 100 + rng.normal(size=(60, 1200)) * 4).reshape(60, 30, 40).astype(np.int16)


@pytest.fixture(scope="module")
def model() -> Model:
    return aecompress.fit(bands(), BOUND, kind="none", seconds=20, once=True)


@pytest.fixture(scope="module")
def packed(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turned") / "a.aec"
    aecompress.pack(bands(), folder, model=model)
    return folder


def test_bands_first_are_read_as_places_where_that_is_smaller(packed: Path, tmp_path: Path) -> None:
    x, archive = bands(), aecompress.open(packed)
    assert archive.model.turned == len(x)
    assert archive.model.context is not None
    assert archive.model.context.regression is not None
    assert np.abs(archive[:].astype(int) - x).max() <= 3
    np.testing.assert_array_equal(archive[7:9], archive[:][7:9])
    aecompress.verify(packed, against=x)
    fast = aecompress.pack(x, tmp_path / "fast", target=BOUND, model="none", effort="fast")
    assert aecompress.info(packed)["packed_bytes"] < 0.9 * fast.packed_bytes


def test_special_values_come_back(tmp_path: Path) -> None:
    x = bands().astype(np.float32)
    x[3, 5:9], x[20, 0, 0], x[:, 7, 7] = np.nan, -np.inf, np.inf
    aecompress.pack(x, tmp_path / "a", target=BOUND, model="none", fit_seconds=15)
    archive = aecompress.open(tmp_path / "a")
    assert archive.model.turned == len(x)
    found = archive[:]
    known = np.isfinite(x)
    np.testing.assert_array_equal(found[~known], x[~known])
    assert np.abs(found[known] - x[known]).max() <= 3


def test_code_lengths_are_told_for_rows_as_they_came(model: Model, packed: Path) -> None:
    lengths = code_lengths(model, bands())
    assert lengths is not None
    assert lengths.shape == bands().shape
    packed_bytes = aecompress.info(packed)["packed_bytes"]
    assert 0.7 * packed_bytes < lengths.sum(dtype=np.float64) / 8 < packed_bytes
    assert code_lengths(model, bands()[:-1]) is None


def test_first_rows_are_no_more_surprising_than_others() -> None:
    q = dependent(500, 60)
    target = Target("lossless")
    coder = aecompress.fit(q, target, kind="none", seconds=15)
    assert coder.context is not None
    assert coder.context.regression is not None
    true = coder.context.lengths(Sample(q, everywhere(q)))[:, 30:].mean(1)
    told = code_lengths(coder, q)
    assert told is not None
    told = told[:, 30:].mean(1)
    assert true[:30].mean() > true[250:].mean() + 1
    assert told[:30].mean() < told[250:].mean() + 0.3


def test_the_model_serves_other_sets_of_as_many_rows(model: Model, tmp_path: Path) -> None:
    other = bands(1)
    aecompress.pack(other, tmp_path / "b", model=model)
    assert aecompress.open(tmp_path / "b").model.turned == len(other)
    assert np.abs(aecompress.open(tmp_path / "b")[:].astype(int) - other).max() <= 3
    with pytest.raises(ModelError, match="sets of 60 rows, the source has 59"):
        aecompress.pack(other[1:], tmp_path / "c", model=model)


def test_another_bound_keeps_the_places(model: Model, tmp_path: Path) -> None:
    aecompress.pack(bands(), tmp_path / "b", model=model, target=Target("max-error", 20.0))
    assert aecompress.open(tmp_path / "b").model.turned == 60
    assert np.abs(aecompress.open(tmp_path / "b")[:].astype(int) - bands()).max() <= 20


def test_smooth_fields_stay_as_they_are() -> None:
    t, y, x = np.meshgrid(np.arange(24) / 9, np.arange(40) / 12, np.arange(50) / 15, indexing="ij")
    field = (np.sin(x + t) * np.cos(y - t / 2) * 100).astype(np.float32)
    found = aecompress.fit(field, Target("rel-error", 1e-3), kind="none", seconds=15, once=True)
    assert found.turned == 0


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"once": True, "axes": ("independent", "ordered", "ordered")},
        {"once": True, "effort": "fast"},
        {"once": True, "target": Target("rel-error", 0.1, per=0)},
    ],
    ids=["for more sets", "named axes", "fast", "rows of their own bounds"],
)
def test_what_is_asked_may_leave_rows_to_be_rows(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turning, "smallest", pytest.fail)
    asked = {"target": BOUND, **asked}
    assert aecompress.fit(bands()[:, :3, :5], kind="none", seconds=5, **asked).turned == 0


def test_latents_of_rows_are_refused_as_before(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no latents to keep"):
        aecompress.pack(bands(), tmp_path / "d", model=aecompress.open(packed).model, keep_latents=True)
