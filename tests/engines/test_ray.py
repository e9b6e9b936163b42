"""Ray on two nodes of this machine: what it packs is what a local pack makes, whoever dies meanwhile."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from killing import blocks_of, run_section, writers

import aecompress
from aecompress.config import Target
from aecompress.errors import DestinationError, InputError
from aecompress.trainer import fit

# Before Ray is imported: only this machine's loopback is used, and nothing is reported to anybody.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'aecompress[ray]'")
pytest.importorskip("ray.data", reason="needs Ray Data: pip install 'aecompress[ray]'")

from ray.cluster_utils import Cluster  # noqa: E402

from aecompress.integrations import ray as adapter  # noqa: E402

pytestmark = [
    pytest.mark.xdist_group("engines"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # Ray's own, of its own settings
    pytest.mark.filterwarnings("ignore:unclosed file .*ray:ResourceWarning"),  # its log files
]

WIDTH, HEIGHT = 64, 512
ROWS = np.cumsum(np.random.default_rng(0).normal(size=(20_000, WIDTH)), axis=1).astype(np.float32)
TARGET = Target("max-error", 0.01)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    gc.collect()  # so that what Ray left open is not found in another test


@pytest.mark.usefixtures("cluster")
def test_an_archive_is_a_dataset_of_numbered_rows(local: Path) -> None:
    dataset = adapter.read_archive(local, override_num_blocks=3)
    assert dataset.columns() == ["row", "values"]
    batches = list(dataset.iter_batches(batch_size=None))
    assert len(batches) >= 3
    numbers = np.concatenate([batch["row"] for batch in batches])
    values = np.concatenate([batch["values"] for batch in batches])
    assert values.dtype == np.float32
    assert np.array_equal(np.sort(numbers), np.arange(len(ROWS)))
    assert np.array_equal(values, aecompress.open(local)[:][numbers])


@pytest.mark.usefixtures("cluster")
def test_numbered_rows_find_their_place(local: Path, model: Any, tmp_path: Path) -> None:
    """Stretches of rows in any order, as tasks return them."""
    exact = aecompress.open(local)[:]
    stretches = [
        pa.table({"n": np.arange(a, b), "signal": list(exact[a:b]), "label": [f"row {n}" for n in range(a, b)]})
        for a, b in ((14_000, 20_000), (0, 8000), (8000, 14_000))
    ]
    sink = adapter.ArchiveDatasink(tmp_path / "a", model, columns=["signal"], row="n", rows=len(ROWS))
    ray.data.from_blocks(stretches).write_datasink(sink)
    assert sink.report.rows == len(ROWS)
    assert np.abs(aecompress.open(tmp_path / "a")[:] - exact).max() <= 0.01
    aecompress.unpack(tmp_path / "a", tmp_path / "back.parquet", rows=(0, 10))
    assert pa.parquet.read_table(tmp_path / "back.parquet")["label"].to_pylist() == [f"row {n}" for n in range(10)]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("kind", ["lists", "numbers"])
def test_columns_make_rows(kind: str, tmp_path: Path) -> None:
    rows = ROWS[:3000, :4]
    few = fit(rows, TARGET, kind="none", effort="fast")
    if kind == "lists":
        table = pa.table({"id": np.arange(3000), "signal": rows.tolist()}).cast(
            pa.schema([("id", pa.int64()), ("signal", pa.list_(pa.float32()))])
        )
        columns = ["signal"]
    else:
        table = pa.table({"id": np.arange(3000), **{name: rows[:, i] for i, name in enumerate("abcd")}})
        columns = list("abcd")
    adapter.pack(ray.data.from_arrow(table), tmp_path / "a", model=few, columns=columns)
    aecompress.verify(tmp_path / "a", against=rows)
    beside = aecompress.open(tmp_path / "a").rows.to_table()
    assert np.array_equal(beside["id"], np.arange(3000))
    assert np.array_equal(beside["_row"], np.arange(3000))


@pytest.mark.usefixtures("cluster")
def test_a_job_that_fails_leaves_nothing(tmp_path: Path, model: Any, local: Path) -> None:
    with pytest.raises(InputError, match="where the model was fitted for"):
        adapter.pack(ray.data.from_numpy(ROWS[:, :3]), tmp_path / "a", model=model)
    sink = adapter.ArchiveDatasink(tmp_path / "a", model)
    with pytest.raises(InputError, match="no column 'row'"):
        ray.data.from_numpy(ROWS[:100]).write_datasink(sink)
    assert not (tmp_path / "a").exists()
    with pytest.raises(DestinationError, match="--force"):
        adapter.pack(ray.data.from_numpy(ROWS[:100]), local, model=model)


@pytest.mark.usefixtures("cluster")
def test_the_page_does_what_it_says(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_section("Ray", model, ROWS[:2000])
    aecompress.verify("windows.aec", against=ROWS[:2000])
    assert np.abs(aecompress.open("halved.aec")[:] - ROWS[:2000] / 2).max() <= 0.02


def lose(cluster: Cluster, folder: Path, lost: list[str]) -> None:
    """Kill a worker that is writing, then the whole second node."""
    while not (found := writers(folder)):
        time.sleep(0.002)
    os.kill(min(found), signal.SIGKILL)
    lost.append("worker")
    while not writers(folder):
        time.sleep(0.002)
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    lost.append("node")


def test_nothing_is_lost_or_doubled_when_a_worker_and_a_node_die(
    tmp_path: Path, cluster: Cluster, model: Any, local: Path
) -> None:
    lost: list[str] = []
    death = threading.Thread(target=lose, args=(cluster, tmp_path / "a", lost), daemon=True)
    death.start()
    report = adapter.pack(ray.data.from_numpy(np.array_split(ROWS, 7)), tmp_path / "a", model=model)
    assert lost == ["worker", "node"]
    assert report.rows == len(ROWS)
    assert blocks_of(tmp_path / "a") == blocks_of(local)
    assert sorted(os.listdir(tmp_path / "a")) == ["_manifest.json", "_model", "blocks"]
    assert len(os.listdir(tmp_path / "a" / "blocks")) == len(aecompress.open(tmp_path / "a").manifest.fragments)
