"""Spark on this machine: what it packs is what a local pack makes, whoever dies meanwhile."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from killing import blocks_of, one_writer_killed, run_section

import aecompress
from aecompress.config import Target
from aecompress.errors import InputError
from aecompress.shards.manifest import is_archive
from aecompress.trainer import fit

pyspark = pytest.importorskip("pyspark", "4.1", reason="needs Spark 4: pip install 'aecompress[spark]'")
from pyspark.errors import PySparkException  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

from aecompress.integrations import spark as adapter  # noqa: E402

pytestmark = [
    pytest.mark.xdist_group("engines"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17 or newer"),
]

WIDTH, HEIGHT = 16, 256
ROWS = np.cumsum(np.random.default_rng(0).normal(size=(5000, WIDTH)), axis=1).astype(np.float32)
TARGET = Target("max-error", 0.01)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two executor threads, four tries for a task; on the loopback alone, and in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("session"))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.master("local[2,4]")
        for name, value in {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": "1g",
            "spark.sql.shuffle.partitions": "2",
            "spark.ui.enabled": "false",
        }.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        session.dataSource.register(adapter.ArchiveDataSource)
        yield session
        session.stop()


def frame(session: Any, rows: Any, first: int = 0) -> Any:
    numbers = np.arange(first, first + len(rows))
    return session.createDataFrame(pa.table({"row": numbers, "signal": pa.array(list(rows), pa.list_(pa.float32()))}))


def test_an_archive_is_a_data_frame(session: Any, local: Path) -> None:
    found = session.read.format("aecompress").option("partitions", 3).load(str(local))
    assert found.dtypes == [("row", "bigint"), ("values", "array<float>")]
    assert found.rdd.getNumPartitions() == 3
    table = found.orderBy("row").toArrow()
    assert np.array_equal(table["row"], np.arange(len(ROWS)))
    assert np.array_equal(np.stack(table["values"].to_numpy()), aecompress.open(local)[:])


def test_tables_of_an_archive_open_as_they_are(session: Any, tmp_path: Path) -> None:
    """Rows by what stands beside them, with their latents, and the error of their blocks."""
    columns = {
        "name": [None if row % 5 == 0 else f"row {row}" for row in range(300)],
        "when": pa.array(np.arange(300) * 60, pa.timestamp("s", "UTC")),
        "tags": [["a"] * (row % 3) for row in range(300)],
        "signal": pa.FixedSizeListArray.from_arrays(pa.array(ROWS[:300].reshape(-1)), WIDTH),
    }
    target = Target("latent-dim", 2)
    aecompress.pack(pa.table(columns), tmp_path / "a", target=target, model="pca", keep_latents=True)
    rows, blocks = (session.read.parquet(str(tmp_path / "a" / name)) for name in ("rows", "blocks"))
    late = rows.where("when >= timestamp'1970-01-01 04:00:00Z' and size(tags) = 2 and name is not null")
    joint = late.join(blocks, late._block == blocks.row_start).orderBy("_row")
    found = joint.select("_row", "name", "_latents", "max_abs").collect()
    numbers = [row for row in range(240, 300) if row % 3 == 2 and row % 5]
    assert [row[:2] for row in found] == [(row, f"row {row}") for row in numbers]
    archive = aecompress.open(tmp_path / "a")
    assert np.array_equal([row._latents for row in found], archive.latents()[numbers])
    assert all(row.max_abs >= np.abs(archive[row._row] - ROWS[row._row]).max() for row in found)


def test_nothing_is_lost_or_doubled_when_a_worker_dies(session: Any, tmp_path: Path, local: Path, model: Any) -> None:
    with one_writer_killed(tmp_path / "a") as killed:
        report = adapter.pack(frame(session, ROWS).drop("row"), tmp_path / "a", model=model)
    assert len(killed) == 1
    assert report.rows == len(ROWS)
    assert blocks_of(tmp_path / "a") == blocks_of(local)
    assert sorted(os.listdir(tmp_path / "a")) == ["_manifest.json", "_model", "blocks"]
    assert len(os.listdir(tmp_path / "a" / "blocks")) == len(aecompress.open(tmp_path / "a").manifest.fragments)


def test_rows_are_put_in_order_by_their_numbers(session: Any, tmp_path: Path, local: Path, model: Any) -> None:
    shuffled = frame(session, ROWS).selectExpr("concat('row ', row) AS label", "*").orderBy("signal")
    adapter.pack(shuffled, tmp_path / "a", model=model, columns=["signal"], row="row")
    assert blocks_of(tmp_path / "a") == blocks_of(local)
    beside = aecompress.open(tmp_path / "a").rows.to_table()
    assert beside["label"].to_pylist() == [f"row {row}" for row in range(len(ROWS))]
    with pytest.raises(aecompress.AecompressError, match="Rows 0 to 100 are missing"):
        adapter.pack(frame(session, ROWS[:300], first=100), tmp_path / "b", model=model, row="row")
    assert not (tmp_path / "b").exists()


def test_workers_of_another_python_are_told_of(
    session: Any, tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a virtual environment is not active, and Spark takes the python3 of the system."""
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')  # without installed packages
    bare.chmod(0o755)
    monkeypatch.setattr(session.sparkContext, "pythonExec", str(bare))
    with pytest.raises(InputError, match="set PYSPARK_PYTHON"):
        adapter.pack(frame(session, ROWS[:100]), tmp_path / "a", model=model, row="row")
    assert not (tmp_path / "a").exists()


def deadly(died: Path) -> Any:
    """The data source, whose first task dies when it has written its parts, before it tells anybody."""

    class Writer(adapter.ArchiveWriter):
        def write(self, iterator: Iterator[Any]) -> adapter.Written:
            written = super().write(iterator)
            if not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return written

    class Source(adapter.ArchiveDataSource):
        @classmethod
        def name(cls) -> str:
            return "deadly"

        def writer(self, schema: Any, overwrite: bool) -> Writer:
            made = super().writer(schema, overwrite)
            return Writer(made.job, made.row, made.columns)

    return Source


def test_a_data_frame_is_written_as_an_archive(session: Any, tmp_path: Path, model: Any) -> None:
    (tmp_path / "m.model").write_bytes(model.to_bytes(encoder=True))
    whole = frame(session, ROWS).repartitionByRange(3, "row").sortWithinPartitions("row")
    options = {"path": str(tmp_path / "a"), "model": str(tmp_path / "m.model")}
    session.dataSource.register(deadly(tmp_path / "died"))
    whole.write.format("deadly").options(**options).mode("append").save()
    assert (tmp_path / "died").exists()
    aecompress.verify(tmp_path / "a", against=ROWS)
    few = frame(session, ROWS[:10], first=5).coalesce(1)
    with pytest.raises(PySparkException, match="Rows 0 to 5 are missing"):
        few.write.format("aecompress").options(**options).mode("overwrite").save()
    assert is_archive(tmp_path / "a")
    assert sorted(os.listdir(tmp_path / "a")) == ["_manifest.json", "_model", "blocks"]


@pytest.mark.usefixtures("session")
def test_the_page_does_what_it_says() -> None:
    rows = np.array([[i / 7, i / 8] * 32 for i in range(200)], np.float32)
    run_section("Spark", fit(rows, TARGET, kind="none", effort="fast"), rows)
    aecompress.verify("windows.aec", against=rows)
    assert np.abs(aecompress.open("halved.aec")[:] - rows / 2).max() <= 0.02


def test_dtypes_that_spark_lacks(session: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 3, 4)).astype(np.uint8)
    lossless = fit(pixels, Target("lossless"), kind="none", effort="fast")
    aecompress.pack(pixels, tmp_path / "a", model=lossless)
    found = session.read.format("aecompress").load(str(tmp_path / "a"))
    assert found.dtypes == [("row", "bigint"), ("values", "array<array<smallint>>")]
    adapter.pack(found, tmp_path / "b", model=lossless, row="row")
    assert np.array_equal(aecompress.open(tmp_path / "b")[:], pixels)
