"""Odd rows: found by code length where one value is odd, and by distance where the whole row is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import aecompress
from aecompress.applications.oddity import COLUMNS, Calibration, Costs, Crowd, Usual, part
from aecompress.applications.rows import stretches
from aecompress.cli import cli
from aecompress.codec.lengths import code_lengths, latent_lengths
from aecompress.codec.model import Model
from aecompress.config import Target
from aecompress.errors import DestinationError, InputError, ModelError
from aecompress.spec import ArraySpec

GOLDEN = Path(__file__).parent / "golden/v1"
SPIKE, STRANGER = 123, 321


def waves(rows: int = 600, seed: int = 0, odd: bool = True) -> np.ndarray:
    """float32 [rows, 40, 2]: sine waves; one row with a spike, one of another kind."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 6, 40)[:, None]
    found = np.sin(time + rng.uniform(0, 6, (rows, 1, 1))) * [1, 0.5] + 0.01 * rng.normal(size=(rows, 40, 2))
    if odd:
        found[SPIKE, 17, 1] += 0.3
        found[STRANGER] = np.cumsum(rng.normal(size=(40, 2)), axis=0) / 4
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("anomalies")
    np.save(path / "waves.npy", waves())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aecompress.packer.packed_rows", lambda *_: 100)
        aecompress.pack(path / "waves.npy", path / "plain.aec", target=Target("max-error", 0.005), model="none")
        aecompress.pack(path / "waves.npy", path / "latents.aec", target=Target("rmse", 0.01), model="pca")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["anomalies", *map(str, arguments)])


def test_the_odd_rows_come_first_and_it_is_said_where_they_are_odd(folder: Path) -> None:
    found = aecompress.anomalies(folder / "plain.aec", 5)
    assert found.total == 600
    assert {SPIKE, STRANGER} <= set(found.rows[:2].tolist())
    at = found.rows.tolist().index(SPIKE)
    assert found.columns["part"][at] == "15:20, 1"
    assert (np.diff(found.columns["score"]) <= 0).all()
    assert found.columns["quantile"][0] == 599 / 600
    assert found.columns["score"][0] == pytest.approx(np.log10(601 / 2), abs=1e-6)


def test_latents_alone_are_enough(folder: Path) -> None:
    found = aecompress.anomalies(folder / "latents.aec", 10)
    assert STRANGER in found.rows[:3]
    assert np.isfinite(found.columns["code"]).all()


def test_rows_from_elsewhere_are_scored_by_what_is_usual_in_the_archive(folder: Path, tmp_path: Path) -> None:
    calm = waves(600, odd=False)
    aecompress.pack(calm, tmp_path / "calm.aec", target=Target("max-error", 0.005), model="none")
    found = aecompress.anomalies(tmp_path / "calm.aec", 3, of=folder / "waves.npy")
    assert set(found.rows[:2].tolist()) == {SPIKE, STRANGER}
    assert (found.columns["quantile"][:2] > 0.99).all()
    assert found.columns["score"][0] > np.log10(601)
    with pytest.raises(ModelError, match="dtype and shape"):
        aecompress.anomalies(tmp_path / "calm.aec", of=np.zeros((3, 4)))


def test_a_table_of_all_rows(folder: Path, tmp_path: Path) -> None:
    found = aecompress.anomalies(folder / "plain.aec", 4, dest=tmp_path / "s.parquet")
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["row", *COLUMNS]
    score = table["score"].to_numpy()
    assert len(score) == 600
    np.testing.assert_array_equal(np.argsort(-score, kind="stable")[:4], found.rows)
    assert table["part"].to_pylist()[SPIKE] == "15:20, 1"
    with pytest.raises(DestinationError, match="--force"):
        aecompress.anomalies(folder / "plain.aec", 4, dest=tmp_path / "s.parquet")
    with pytest.raises(DestinationError, match=r"\.parquet"):
        aecompress.anomalies(folder / "plain.aec", 4, dest=tmp_path / "s.npy")


def test_lengths_add_up_to_the_stream() -> None:
    rows = waves(200, odd=False)
    model = aecompress.fit(rows, Target("max-error", 0.005), kind="none")
    lengths = code_lengths(model, rows)
    assert lengths is not None
    assert model.context is not None
    streams = 8 * model.estimate(rows)
    assert float(lengths.sum()) == pytest.approx(streams, rel=0.01)


def test_lengths_beside_latents_need_these() -> None:
    archive = aecompress.open(GOLDEN / "joint-pca")
    for block, values in archive.decoded(0, len(archive)):
        latents = archive.model.latents(block.payload)
        lengths = code_lengths(archive.model, values, latents)
        assert lengths is not None
        assert latents is not None
        held = latent_lengths(archive.model, latents)
        assert held is not None
        assert float(lengths.sum() + held.sum()) == pytest.approx(8 * len(block.payload), rel=0.02)
    assert np.isfinite(aecompress.anomalies(archive, 9).columns["code"]).all()


def test_the_first_rows_are_not_judged_where_they_depend_on_rows_before() -> None:
    series = np.random.default_rng(2).choice([-0.1, 0.1], 5000).cumsum().astype(np.float32)
    model = aecompress.fit(series, Target("max-error", 0.04), kind="none")
    assert model.context is not None
    found = Costs(model)(series, None)
    assert found is not None
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[4:]).all()


def test_smooth_fields_are_judged_by_what_a_line_misses() -> None:
    archive = aecompress.open(GOLDEN / "wavelet")
    assert archive.model.context is None
    rows = archive[:]
    rows[1, 7, 9] += 100 * np.ptp(rows) / 1000
    lengths = code_lengths(archive.model, rows)
    calm = code_lengths(archive.model, archive[:])
    assert lengths is not None
    assert calm is not None
    np.testing.assert_array_equal(np.argwhere(lengths != calm), [[1, 7, 9], [1, 7, 10], [1, 7, 11]])
    assert (calm[..., :2] == 1).all()
    assert np.isfinite(aecompress.anomalies(archive, 2).columns["code"]).any()


def test_rows_are_measured_the_same_in_any_batches() -> None:
    rows = np.cumsum(np.random.default_rng(2).normal(size=(64, 30)), axis=0).astype(np.float32)
    model = aecompress.fit(rows, Target("max-error", 0.05), kind="none")
    whole, pieces = Costs(model)(rows, None), Costs(model)
    parts = [pieces(rows[a : a + 16], None) for a in range(0, 64, 16)]
    assert whole is not None
    joined = np.concatenate([found for found in parts if found is not None])
    np.testing.assert_array_equal(joined, whole)


def test_special_values_cost_what_they_hold() -> None:
    rows = waves(200, odd=False)
    rows[7, 3, 1] = np.nan
    model = aecompress.fit(rows, Target("max-error", 0.005), kind="none")
    lengths = code_lengths(model, rows)
    assert lengths is not None
    assert lengths[7, 3, 1] == 32


def test_surprise_counts_the_rows_that_are_as_odd() -> None:
    known = Calibration.of(np.arange(999.0))
    np.testing.assert_allclose(known.surprise(np.array([-1.0, 989.0])), [0, np.log10(1000 / 11)])
    far = known.surprise(np.array([998.0, 1000.0, 5000.0]))
    assert (np.diff(far) > 0).all()
    np.testing.assert_array_equal(known.quantile(np.array([0.0, 999.0])), [0, 1])
    assert np.isfinite(Calibration.of(np.zeros(5)).surprise(np.array([0.0, 1.0]))).all()


def crowd(rows: np.ndarray) -> Crowd:
    found = Crowd.of(rows, np.zeros(0), 0, lambda *_: None)
    assert found is not None
    return found


def test_distances_count_beyond_what_is_usual_around() -> None:
    rng = np.random.default_rng(5)
    centres, widths = rng.normal(size=(2, 6)) * 40, np.array([0.1, 3.0])
    kind = np.repeat([0, 1], 300)
    rows = centres[kind] + widths[kind, None] * rng.normal(size=(600, 6))
    found = crowd(rows)
    near_the_dense = centres[:1] + np.full(6, 0.8)
    loose = rows[kind == 1]
    assert found.distance(near_the_dense)[0] > np.quantile(found.distance(loose)[0], 0.5)
    assert np.abs(np.median(found.distance(rows)[0])) < 0.1


def test_rows_drawn_are_not_their_own_neighbours() -> None:
    rows = np.random.default_rng(6).normal(size=(200, 8))
    found = crowd(rows)
    again = found.distance(rows)[0]
    moved = found.distance(rows + 1e-3 * np.random.default_rng(7).normal(size=rows.shape))[0]
    # copies that are not quite themselves have themselves as a neighbour, one of ten
    assert 0.05 < np.mean(again - moved) < 0.5


def test_equal_rows_and_few_rows_have_distances() -> None:
    assert np.isfinite(crowd(np.random.default_rng(8).normal(size=(2, 5))).distance(np.zeros((3, 5)))[0]).all()
    same = np.tile(np.random.default_rng(9).normal(size=(1, 5)), (50, 1))
    np.testing.assert_allclose(crowd(same).distance(same)[0], 0, atol=1e-6)


def test_unknown_lengths_are_no_surprise() -> None:
    unknown = Calibration.of(np.full(4, np.nan))
    assert np.isnan(unknown.surprise(np.full(2, np.nan))).all()


def test_what_is_usual_is_taken_place_by_place() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(50, 3)) * [1, 10, 0] + [0, 5, 100] for _ in range(2)]
    usual = Usual.of(batches, 0.5)
    np.testing.assert_allclose(usual.mean, np.concatenate(batches).mean(0))
    np.testing.assert_allclose(usual.deviation, np.concatenate(batches).std(0) + 0.5)
    over, place = usual.excess(np.array([[0, 100.0, 100.0], [4.0, 5.0, 100.0]]))
    assert place.tolist() == [1, 0]
    assert over[0] > 5


@pytest.mark.parametrize(
    ("place", "shape", "expected"),
    [
        (0, (), ""),
        (3, (5,), "3"),
        (99, (100,), "87:100"),
        (3 * 6 + 4, (40, 6), "0:5, 4"),
        (0, (20, 3, 18), "0:2, 0, 0:2"),
    ],
)
def test_parts_hold_their_place(place: int, shape: tuple[int, ...], expected: str) -> None:
    found = part(place, shape)
    assert found == expected
    if shape:
        numbers = np.arange(np.prod(shape)).reshape(shape)
        assert place in np.atleast_1d(eval(f"numbers[{found}]", {"numbers": numbers}))


def test_stretches_are_spread_and_small_sets_are_taken_whole() -> None:
    assert stretches(ArraySpec(np.dtype("f4"), (10,), 100), 1000) == [(0, 100)]
    found = stretches(ArraySpec(np.dtype("f4"), (10,), 1000), 1600)
    assert len(found) == 16
    assert (found[0], found[-1]) == ((0, 10), (990, 1000))
    assert stretches(ArraySpec(np.dtype("f4"), (10,), 3), 1) == [(0, 1)]


def test_single_values_and_rows_without_a_model(tmp_path: Path) -> None:
    series = np.sin(np.arange(4000) / 20) + np.random.default_rng(4).normal(size=4000) / 100
    series[2000] += 1
    aecompress.pack(series, tmp_path / "series.aec", target=Target("max-error", 0.001), model="none")
    found = aecompress.anomalies(tmp_path / "series.aec", 3)
    assert 2000 in found.rows
    assert found.columns["part"].tolist() == [""] * 3
    assert np.isnan(found.columns["distance"]).all()
    aecompress.pack(np.zeros((0, 3)), tmp_path / "none.aec")
    with pytest.raises(InputError, match="nothing to score"):
        aecompress.anomalies(tmp_path / "none.aec")
    with pytest.raises(InputError, match="1 or more"):
        aecompress.anomalies(tmp_path / "series.aec", 0)


def test_an_archive_coded_without_a_model_is_scored_by_distance(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aecompress.applications.oddity.code_lengths", lambda *_: None)
    found = aecompress.anomalies(folder / "plain.aec", 2)
    assert STRANGER in found.rows
    assert np.isnan(found.columns["code"]).all()
    json.dumps(found.to_json(), allow_nan=False)
    assert isinstance(aecompress.open(folder / "plain.aec").model, Model)
    np.save(tmp_path / "x.npy", np.arange(50.0))
    aecompress.pack(tmp_path / "x.npy", tmp_path / "x.aec")
    with pytest.raises(InputError, match="single values"):
        aecompress.anomalies(tmp_path / "x.aec")


def test_the_command(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "plain.aec", "-n", 3, "-o", tmp_path / "s.parquet")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["row", *COLUMNS]
    assert {line.split()[0] for line in lines[1:3]} == {str(SPIKE), str(STRANGER)}
    assert "600 rows" in lines[-1]
    facts = json.loads(run(folder / "plain.aec", "-n", 2, "--json").stdout)
    assert set(facts["row"]) == {SPIKE, STRANGER}
    assert len(facts["part"]) == 2
