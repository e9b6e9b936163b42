"""Ours beside the peers: the same rows, the same target, everything checked."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result

import aecompress
from aecompress import comparer, peers
from aecompress.cli import cli
from aecompress.config import Target
from aecompress.errors import InputError

pytest.importorskip("imagecodecs")
pytest.importorskip("faiss")


@pytest.fixture
def waves(tmp_path: Path) -> Path:
    """float32 [200, 24], a NaN among them."""
    rows = np.cumsum(np.random.default_rng(5).normal(size=(200, 24)), axis=1).astype(np.float32)
    rows[7, 7] = np.nan
    np.save(tmp_path / "waves.npy", rows)
    return tmp_path / "waves.npy"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def test_everyone_keeps_the_bound(waves: Path) -> None:
    found = aecompress.compare(waves, Target("max-error", 0.05))
    assert set(found.peers) == {"sz3", "sperr", "zfp", "quantize+delta+zstd", "quantize+pcodec"}
    assert found.bound == 0.05
    assert found.ours["bound_kept"]
    assert all(cell["max_abs_error"] <= 0.05 for cell in (found.ours, *found.peers.values()))
    sizes = [cell["bytes"] for cell in found.peers.values()]
    assert sizes == sorted(sizes)
    assert found.gain == sizes[0] / found.ours["bytes"]
    assert found.ours["special_kept"]
    assert not found.peers["sz3"]["special_kept"]
    assert "--psnr" in found.left_out["faiss"]
    assert set(found.peers) | set(found.left_out) == set(peers.PEERS)
    json.dumps(found.to_json(), allow_nan=False)


def test_ours_counts_every_byte_of_the_archive(waves: Path, tmp_path: Path) -> None:
    found = aecompress.compare(waves, Target("lossless"))
    report = aecompress.pack(np.load(waves), tmp_path / "a", target=Target("lossless"))
    assert abs(found.ours["bytes"] - report.packed_bytes) <= 8
    assert found.ours["max_abs_error"] == 0
    assert set(found.peers) == {"zstd-19", "pcodec"}


def test_an_archive_is_compared_by_its_rows(waves: Path, tmp_path: Path) -> None:
    aecompress.pack(waves, tmp_path / "a", target=Target("max-error", 0.1), model="none")
    found = aecompress.compare(tmp_path / "a", Target("lossless"), rows=(0, 40))
    assert found.spec.shape == (40, 24)
    assert found.ours["max_abs_error"] == 0


@pytest.mark.parametrize("target", [Target("psnr", 40), Target("rmse", 0.2)])
def test_a_quality_is_reached_by_all_and_hardly_exceeded_by_those_with_a_bound(target: Target, waves: Path) -> None:
    found = aecompress.compare(waves, target)
    assert {"sz3", "pca", "faiss", "quantize+pcodec"} <= set(found.peers)
    assert found.rmse is not None
    assert all(cell["rmse"] <= found.rmse for cell in found.peers.values() if cell["bound_kept"])
    assert found.peers["quantize+pcodec"]["bound_kept"]
    assert found.peers["quantize+pcodec"]["rmse"] > 0.9 * found.rmse
    assert found.peers["pca"]["bound_kept"]


def test_the_command_prints_a_table_and_draws_a_chart(waves: Path, tmp_path: Path) -> None:
    chart = tmp_path / "sizes.svg"
    result = run(waves, "--max-error", 0.1, "--rows", "0:50", "-o", chart)
    assert result.exit_code == 0, result.output
    assert "50 x 24 float32" in result.stdout
    assert any(line.startswith("sperr ") for line in result.stdout.splitlines())
    assert "loses NaN or infinities" in result.stdout
    drawn = ElementTree.parse(chart).getroot()
    text = "".join(drawn.itertext())
    assert "aecompress" in text
    assert "sperr" in text
    again = run(waves, "-o", chart)
    assert again.exit_code == 1
    assert "--force" in again.stderr


def test_json(waves: Path) -> None:
    result = run(waves, "--rows", "0:20", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["shape"] == [20, 24]
    assert facts["aecompress"]["bound_kept"]
    assert facts["best"] in facts["peers"]


def test_what_is_missing_is_named(waves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in ("imagecodecs", "faiss") else True)
    found = aecompress.compare(waves, rows=(0, 20))
    assert set(found.peers) == {"quantize+delta+zstd"}
    assert found.left_out["sz3"].endswith("pip install 'aecompress[peers]'")
    assert "faiss" in found.left_out["faiss"]


@pytest.mark.parametrize(
    "target", [Target("ratio", 9), Target("latent-dim", 2), Target("rel-error", 0.1, 1)], ids=Target.describe
)
def test_targets_that_peers_do_not_know(waves: Path, target: Target) -> None:
    with pytest.raises(InputError, match="Peers"):
        aecompress.compare(waves, target)


def test_too_many_rows_and_none(waves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        aecompress.compare(waves, rows=(300, None))
    monkeypatch.setattr(comparer, "MOST_VALUES", 240)
    with pytest.raises(InputError, match="--rows 0:10"):
        aecompress.compare(waves)
    with pytest.raises(InputError, match="--rows 0:10"):
        aecompress.compare(iter([np.zeros((8, 24))] * 2))
    monkeypatch.setattr(comparer, "MOST_VALUES", 10)
    with pytest.raises(InputError, match="One row"):
        aecompress.compare(waves)
