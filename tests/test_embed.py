"""Features of rows: from what an archive holds, and from autoencoders fitted to rows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import aecompress
from aecompress.applications.embedding import Whitening
from aecompress.applications.features import FittedFeatures, spread_features, step_lengths, stored_features
from aecompress.applications.rows import spread_rows
from aecompress.cli import cli
from aecompress.config import Target
from aecompress.errors import DestinationError, InputError, ModelError
from aecompress.inputs import archive_source, replayable
from aecompress.sinks.table import TableSink
from aecompress.sources import open_source
from aecompress.sources.base import Columns, SlicedSource


def planes(rows: int = 300, seed: int = 0) -> np.ndarray:
    """float32 [rows, 4, 6]: three directions of spread 30, 10 and 3, and a little noise."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(9).normal(size=(24, 3)))[0]
    flat = rng.normal(size=(rows, 3)) * [30, 10, 3] @ basis.T + 0.01 * rng.normal(size=(rows, 24)) + 5
    return flat.reshape(rows, 4, 6).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, an archive without an autoencoder, and one of latents."""
    path = tmp_path_factory.mktemp("embed")
    np.save(path / "rows.npy", planes())
    aecompress.pack(path / "rows.npy", path / "plain.aec", target=Target("max-error", 0.01), model="none")
    aecompress.pack(path / "rows.npy", path / "pca.aec", target=Target("rmse", 0.05), model="pca")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["embed", *map(str, arguments)])


def principal(rows: np.ndarray, dim: int) -> np.ndarray:
    """Principal components by the textbook, float64 [n, dim]."""
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    flat -= flat.mean(0)
    return flat @ np.linalg.svd(flat, full_matrices=False)[2][:dim].T


def same_up_to_sign(found: np.ndarray, expected: np.ndarray, error: float) -> bool:
    signs = np.sign((found * expected).sum(0))
    return bool(np.abs(found * signs - expected).max() < error)


@pytest.mark.parametrize("name", ["rows.npy", "plain.aec"])
def test_pca_features_are_the_principal_components(folder: Path, tmp_path: Path, name: str) -> None:
    found = aecompress.embed(folder / name, tmp_path / "f.npy", dim=3)
    features = np.load(tmp_path / "f.npy")
    assert (found.rows, found.dim, found.model, found.stored) == (300, 3, "pca", False)
    assert features.dtype == np.float32
    assert same_up_to_sign(features, principal(planes(), 3), 0.05)
    assert found.explained is not None
    assert 0.999 < found.explained < 1


def test_latents_of_an_archive_are_features_in_the_units_of_the_data(folder: Path, tmp_path: Path) -> None:
    found = aecompress.embed(folder / "pca.aec", tmp_path / "f.npy")
    features = np.load(tmp_path / "f.npy")
    assert found.stored
    assert found.explained is None
    assert same_up_to_sign(features[:, :2], principal(planes(), 2), 0.5)
    aecompress.embed(folder / "pca.aec", tmp_path / "first.npy", dim=1)
    np.testing.assert_array_equal(np.load(tmp_path / "first.npy"), features[:, :1])


def test_stored_latents_are_read_without_decoding_rows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aecompress.codec.model.Model.decompress", lambda *_: pytest.fail("a block was decoded"))
    aecompress.embed(folder / "pca.aec", tmp_path / "f.npy", whiten=True)


def test_steps_have_the_length_that_they_move_a_row_by(folder: Path) -> None:
    archive = aecompress.open(folder / "pca.aec")
    network = archive.model.network
    assert network is not None
    latents = np.zeros((1, network.latent_dim), np.int32)
    step = np.eye(network.latent_dim, dtype=np.int32)[:1]
    moved = (network.synthesis(step) - network.synthesis(latents)) * network.unit
    assert step_lengths(network, latents)[0] == pytest.approx(np.linalg.norm(moved), rel=1e-3)


@pytest.mark.parametrize("name", ["plain.aec", "pca.aec"])
def test_whitened_features_have_no_correlation(folder: Path, tmp_path: Path, name: str) -> None:
    aecompress.embed(folder / name, tmp_path / "f.npy", dim=3, whiten=True)
    features = np.load(tmp_path / "f.npy").astype(np.float64)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(features.T, bias=True), np.eye(features.shape[1]), atol=1e-3)


def test_whitening_leaves_out_what_does_not_vary() -> None:
    class Flat:
        kind, dim = "pca", 2

        def batches(self, start: int = 0, stop: int | None = None):
            yield np.stack([np.arange(9.0), np.ones(9)], 1)[start:stop]

    white = Whitening.of(Flat(), 9).apply(np.array([[0.0, 1.0], [8.0, 1.0]]))
    np.testing.assert_array_equal(white[:, 1], 0)
    assert np.isfinite(white).all()


def test_vanilla_beats_pca_on_a_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aecompress.autoencoder.training._EPOCHS", 100)
    angle = np.random.default_rng(1).uniform(0, 3, (2000, 1))
    rows = np.hstack([np.cos(k * angle) for k in range(1, 9)]).astype(np.float32)
    linear = aecompress.embed(rows, tmp_path / "pca.npy", dim=1)
    learned = aecompress.embed(rows, tmp_path / "vanilla.npy", dim=1, model="vanilla", seconds=600)
    assert learned.model == "vanilla"
    assert linear.explained is not None
    assert learned.explained is not None
    assert learned.explained > linear.explained + 0.1


def test_a_model_file_gives_the_same_features_to_other_rows(folder: Path, tmp_path: Path) -> None:
    model = aecompress.fit(folder / "rows.npy", Target("latent-dim", 3), kind="pca")
    (tmp_path / "m").write_bytes(model.to_bytes(encoder=True))
    aecompress.embed(folder / "rows.npy", tmp_path / "all.npy", model=tmp_path / "m")
    aecompress.embed(planes()[100:200], tmp_path / "some.npy", model=model)
    np.testing.assert_allclose(np.load(tmp_path / "some.npy"), np.load(tmp_path / "all.npy")[100:200], atol=1e-4)
    with pytest.raises(ModelError, match="no autoencoder"):
        aecompress.embed(folder / "rows.npy", tmp_path / "no.npy", model=model.decoder())
    with pytest.raises(ModelError, match="fit a model for them"):
        aecompress.embed(np.zeros((9, 5)), tmp_path / "no.npy", model=model)


def test_parquet_keeps_row_numbers_and_what_came_with_the_rows(tmp_path: Path) -> None:
    rows = planes(50)
    names = pa.table({"name": [f"r{i}" for i in range(50)], "when": pa.array(range(50), pa.timestamp("s"))})

    def batches(start: int, _: int):
        yield from names.slice(start).to_batches(max_chunksize=7)

    plain = open_source(rows)
    source = SlicedSource("rows", plain.spec, {}, lambda lo, hi: rows[lo:hi], Columns(names.schema, batches))
    aecompress.embed(source, tmp_path / "f.parquet", dim=2)
    aecompress.embed(rows, tmp_path / "f.npy", dim=2)
    table = pq.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["row", "name", "when", "features"]
    assert table["row"].to_pylist() == list(range(50))
    assert table["name"].equals(names["name"])
    features = np.stack(table["features"].to_numpy())
    np.testing.assert_array_equal(features, np.load(tmp_path / "f.npy"))


def test_what_an_archive_keeps_beside_its_rows_goes_with_the_features(tmp_path: Path) -> None:
    rows = planes(50)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 24)
    table = pa.table({"values": flat, "name": [f"r{i}" for i in range(50)]})
    pq.write_table(table, tmp_path / "rows.parquet")
    aecompress.pack(tmp_path / "rows.parquet", tmp_path / "a", target=Target("max-error", 0.01), model="none")
    aecompress.embed(tmp_path / "a", tmp_path / "f.parquet", dim=2)
    found = pq.read_table(tmp_path / "f.parquet")
    assert found.column_names == ["row", "name", "features"]
    assert found["name"].to_pylist() == table["name"].to_pylist()
    np.testing.assert_array_equal(
        np.concatenate(list(open_source(f"{tmp_path}/f.parquet::features").batches(9))).shape, (50, 2)
    )


def test_a_table_refuses_two_columns_of_one_name_and_other_formats(tmp_path: Path) -> None:
    beside = (pa.schema([("row", pa.int8())]), iter(()))
    with pytest.raises(DestinationError, match="'row'"):
        TableSink(tmp_path / "t.parquet", {"x": np.float32}, beside, force=False)
    with pytest.raises(DestinationError, match=r"\.parquet"):
        TableSink(tmp_path / "t.csv", {"x": np.float32}, None, force=False)
    assert not list(tmp_path.iterdir())


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    one = pa.record_batch({"id": pa.array([1], pa.int8())})
    beside = Columns(one.schema, lambda *_: iter([one]))
    source = SlicedSource("rows", open_source(planes(9)).spec, {}, lambda lo, hi: planes(9)[lo:hi], beside)
    with pytest.raises(DestinationError, match="end before"):
        aecompress.embed(source, tmp_path / "f.parquet")
    assert not list(tmp_path.iterdir())


def test_special_values_count_as_the_mean(tmp_path: Path) -> None:
    rows = planes()
    rows[5, 0, 0], rows[6] = np.nan, np.inf
    found = aecompress.embed(rows, tmp_path / "f.npy", dim=3)
    features = np.load(tmp_path / "f.npy")
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[6], 0, atol=1.0)
    assert found.explained is not None
    assert found.explained > 0.99


def test_a_stream_and_stretches_of_rows() -> None:
    with replayable(iter([planes(60), planes(40)])) as source:
        assert source.spec.rows == 100
        assert len(list(source.batches(50))) == len(list(source.batches(50))) == 2
        some = spread_rows(source, "sample", lambda *_: None, most=24 * 32)
        assert len(some) == 32
        np.testing.assert_array_equal(some[-2:], planes(40)[-2:])


def test_an_archive_is_a_source(folder: Path) -> None:
    archive = aecompress.open(folder / "plain.aec")
    found = np.concatenate(list(archive_source(archive).batches(7, 20, 50)))
    np.testing.assert_array_equal(found, archive[20:50])


def test_spread_features_follow_the_rows(folder: Path) -> None:
    archive = aecompress.open(folder / "pca.aec")
    features = stored_features(archive)
    assert features is not None
    whole = np.concatenate(list(features.batches()))
    some = spread_features(features, len(archive), most=64)
    np.testing.assert_array_equal(some[:4], whole[:4])
    np.testing.assert_array_equal(some[-4:], whole[-4:])
    assert stored_features(aecompress.open(folder / "plain.aec")) is None
    assert not isinstance(features, FittedFeatures)


def test_the_command(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "plain.aec", "-o", tmp_path / "f.parquet", "--dim", 2)
    assert result.exit_code == 0, result.output
    assert "300 rows of 2" in result.stdout
    assert "% of the variance" in result.stdout
    again = run(folder / "plain.aec", "-o", tmp_path / "f.parquet")
    assert again.exit_code == 1
    assert "--force" in again.stderr
    facts = json.loads(run(folder / "pca.aec", "-o", tmp_path / "g.npy", "--json", "--dim", 2).stdout)
    assert facts["stored"]
    assert facts["dim"] == 2


def test_standard_input(folder: Path, tmp_path: Path) -> None:
    data = (folder / "rows.npy").read_bytes()
    result = CliRunner().invoke(cli, ["embed", "-", "-o", str(tmp_path / "f.npy")], input=io.BytesIO(data))
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "f.npy").shape == (300, 24)


@pytest.mark.parametrize("rows", [np.zeros((1, 5)), np.zeros((5, 1)), np.zeros((0, 5)), np.zeros(5)])
def test_too_little_to_learn_from(rows: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two rows of two values"):
        aecompress.embed(rows, tmp_path / "f.npy")
    assert not list(tmp_path.iterdir())


def test_rows_that_do_not_vary(tmp_path: Path) -> None:
    found = aecompress.embed(np.ones((9, 5), np.int16), tmp_path / "f.npy", whiten=True)
    assert found.explained is None
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy"), 0)
