"""Search: the nearest rows, by whatever an archive gives away about them, in exact order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import aecompress
from aecompress.applications.neighbours import _Best, _Distance
from aecompress.cli import cli
from aecompress.config import Target
from aecompress.errors import InputError

GOLDEN = Path(__file__).parent / "golden/v1"


def clouds(rows: int = 400) -> np.ndarray:
    """float32 [rows, 24]: twenty clouds in three of 24 dimensions, far from the origin."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(24, 3)))[0]
    points = rng.normal(size=(20, 3))[rng.integers(20, size=rows)] * 20 + rng.normal(size=(rows, 3))
    return (points @ basis.T + 0.01 * rng.normal(size=(rows, 24)) + 50).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, and archives of it in blocks of 40 rows: without and with latents."""
    path = tmp_path_factory.mktemp("search")
    np.save(path / "rows.npy", clouds())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aecompress.packer.packed_rows", lambda *_: 40)
        aecompress.pack(path / "rows.npy", path / "plain.aec", target=Target("max-error", 0.01), model="none")
        aecompress.pack(path / "rows.npy", path / "latents.aec", target=Target("rmse", 0.05), model="pca")
    aecompress.embed(path / "rows.npy", path / "f.parquet", dim=3)
    return path


def brute(rows: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """Distances float64 [n] by the definition."""
    x, q = rows.reshape(len(rows), -1).astype(np.float64), query.reshape(-1).astype(np.float64)
    if metric == "l2":
        return np.linalg.norm(x - q, axis=1)
    return 1 - x @ q / np.linalg.norm(x, axis=1) / np.linalg.norm(q)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, arguments)])


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize(
    ("name", "by"), [("plain.aec", "decoding"), ("joint-pca", "latents"), ("latents.aec", "latents")]
)
def test_the_nearest_rows_in_exact_order(folder: Path, name: str, by: str, metric: str) -> None:
    archive = aecompress.open(folder / name if name.endswith(".aec") else GOLDEN / name)
    found = aecompress.search(archive, row=[17, -1], k=5, metric=metric)
    assert found.by == by
    decoded = archive[:]
    for row, near, distances in zip([17, len(archive) - 1], found.rows, found.distances, strict=True):
        expected = brute(decoded, decoded[row], metric)
        expected[row] = np.inf
        np.testing.assert_array_equal(near, np.argsort(expected, kind="stable")[:5])
        np.testing.assert_allclose(distances, expected[near], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("query", [0, slice(0, 3)])
def test_queries_from_elsewhere(folder: Path, query: int | slice) -> None:
    arrays = clouds()[query] + np.float32(0.001)
    found = aecompress.search(folder / "plain.aec", query=arrays, k=2)
    assert found.rows.shape == (3 if isinstance(query, slice) else 1, 2)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(len(found.rows)))


def test_candidates_by_features(folder: Path, tmp_path: Path) -> None:
    exact = aecompress.search(folder / "plain.aec", row=7, k=5)
    found = aecompress.search(folder / "plain.aec", row=7, k=5, features=folder / "f.parquet", candidates=20)
    assert found.by == "features"
    np.testing.assert_array_equal(found.rows, exact.rows)
    np.testing.assert_array_equal(found.distances, exact.distances)
    model = aecompress.fit(folder / "rows.npy", Target("latent-dim", 3), kind="pca")
    aecompress.embed(folder / "plain.aec", tmp_path / "f.npy", model=model)
    elsewhere = aecompress.search(
        folder / "plain.aec", query=clouds()[7], k=5, features=tmp_path / "f.npy", model=model
    )
    assert elsewhere.rows[0, 0] == 7
    np.testing.assert_array_equal(elsewhere.rows[0, 1:], exact.rows[0, :4])


def test_only_the_blocks_of_candidates_are_decoded(folder: Path) -> None:
    found = aecompress.search(folder / "latents.aec", query=clouds()[0], k=1, candidates=1)
    assert found.decoded_rows == 40
    assert found.rows[0, 0] == 0
    assert aecompress.search(folder / "plain.aec", row=0).decoded_rows == 400
    features = np.full((400, 1), 9.0)
    features[[0, 7, 45, 130, 399]] = [[0], [1], [2], [3], [4]]
    np.save(folder / "far.npy", features)
    said = []
    far = aecompress.search(
        folder / "plain.aec",
        row=0,
        k=4,
        candidates=4,
        features=folder / "far.npy",
        progress=lambda *now: said.append(now),
    )
    assert (far.decoded_rows, far.total) == (160, 400)
    assert sorted(far.rows[0].tolist()) == [7, 45, 130, 399]
    assert [share for phase, share, _ in said if phase == "rank"] == [0.25, 0.5, 0.75, 1.0]


def test_special_values_do_not_spoil_distances(tmp_path: Path) -> None:
    rows = clouds(60)
    rows[:, 5] = np.nan
    rows[3, 2] = np.inf
    aecompress.pack(rows, tmp_path / "a", target=Target("max-error", 0.01), model="none")
    found = aecompress.search(tmp_path / "a", row=8, k=3)
    expected = np.linalg.norm(np.nan_to_num(rows - rows[8], posinf=0), axis=1)
    expected[[8, 3]] = np.inf
    np.testing.assert_array_equal(found.rows[0], np.argsort(expected)[:3])
    assert np.isfinite(found.distances).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from(["l2", "cosine"]), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_the_best_of_batches_are_the_best_of_all(seed: int, metric: str, k: int) -> None:
    rng = np.random.default_rng(seed)
    rows, wanted = rng.normal(size=(30, 4)) + 1e6, rng.normal(size=(2, 4)) + 1e6
    measure, best, at = _Distance.to(wanted, metric, np.zeros(0)), _Best(2, k, None), 0
    while at < 30:
        many = int(rng.integers(1, 12))
        batch = rows[at : at + many]
        best.add(np.arange(at, at + len(batch)), measure(batch))
        at += many
    expected = np.stack([brute(rows, query, metric) for query in wanted])
    np.testing.assert_allclose(best.result()[1], np.sort(expected, axis=1)[:, :k], rtol=1e-6, atol=1e-9)


def test_fewer_rows_than_wanted(tmp_path: Path) -> None:
    aecompress.pack(clouds(4), tmp_path / "a", model="none")
    assert aecompress.search(tmp_path / "a", row=0).rows.shape == (1, 3)
    assert aecompress.search(tmp_path / "a", query=clouds(1)).rows.shape == (1, 4)


def test_what_cannot_be_searched(folder: Path, tmp_path: Path) -> None:
    plain = folder / "plain.aec"
    for wrong, words in (
        ({}, "one of the two"),
        ({"row": 0, "query": clouds(1)}, "one of the two"),
        ({"row": 400}, "rows 0 to 399"),
        ({"row": 0, "k": 0}, "1 or more"),
        ({"row": 0, "metric": "l1"}, "no metric"),
        ({"query": np.zeros((3, 5))}, r"rows of shape \(24,\)"),
        ({"query": clouds(1), "features": folder / "f.parquet"}, "--model"),
        ({"row": 0, "features": folder / "rows.npy"}, None),
    ):
        if words is None:
            assert aecompress.search(plain, **wrong).by == "features"  # rows are features of themselves
            continue
        with pytest.raises(InputError, match=words):
            aecompress.search(plain, **wrong)
    np.save(tmp_path / "short.npy", np.zeros((3, 2)))
    with pytest.raises(InputError, match="400 rows"):
        aecompress.search(plain, row=0, features=tmp_path / "short.npy")
    aecompress.pack(np.zeros((0, 3)), tmp_path / "none")
    with pytest.raises(InputError, match="nothing to search"):
        aecompress.search(tmp_path / "none", query=np.zeros((1, 3)))


def test_the_command(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "latents.aec", "--row", 17, "-k", 3)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1].startswith("row 17     1")
    assert "by latents" in lines[-1]
    np.save(tmp_path / "q.npy", clouds()[:2])
    facts = json.loads(run(folder / "plain.aec", "--query", tmp_path / "q.npy", "--json", "-k", 2).stdout)
    assert [rows[0] for rows in facts["rows"]] == [0, 1]
    assert run(folder / "plain.aec").exit_code == 2
