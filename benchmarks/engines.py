"""Start-up time and throughput of the same pack on Ray, on Spark and locally, all on this machine.

python -m benchmarks.engines [local] [ray] [spark] [--megabytes 128] [--cpus 2]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import aecompress
from aecompress.errors import AecompressError, InputError
from aecompress.spec import Array
from benchmarks.command import write_synthetic

_GROUP_ROWS = 1 << 14


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    options.add_argument("engines", nargs="*", default=list(ENGINES), metavar="|".join(ENGINES))
    options.add_argument("--megabytes", type=int, default=128)
    options.add_argument("--cpus", type=int, default=2)
    try:
        run(options.parse_args())
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(options: argparse.Namespace) -> None:
    """Print one line an engine. Raises InputError for one that is not known."""
    if unknown := set(options.engines) - set(ENGINES):
        raise InputError(f"There is no engine {', '.join(sorted(unknown))}; use {', '.join(ENGINES)}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_parquet(folder / "rows", options.megabytes)
        model = aecompress.fit(rows[: 1 << 16], aecompress.Target("max-error", 0.01), kind="none", effort="fast")
        print(f"{rows.nbytes / 1e6:.0f} MB of Parquet, float32 {rows.shape}, {options.cpus} CPUs")
        print(f"{'engine':8} {'start-up':>10} {'pack':>22} {'read':>22} {'ratio':>7}")
        for engine in options.engines:
            started = time.monotonic()
            pack, read = ENGINES[engine](options.cpus)
            up = time.monotonic()
            ratio = pack(folder / "rows", folder / f"{engine}.aec", model)
            packed = time.monotonic()
            if read(folder / f"{engine}.aec") != len(rows):
                raise SystemExit(f"{engine} read another number of rows than there are.")
            done = time.monotonic()
            speeds = [f"{took:8.1f} s {rows.nbytes / 1e6 / took:6.1f} MB/s" for took in (packed - up, done - packed)]
            print(f"{engine:8} {up - started:8.1f} s {speeds[0]:>22} {speeds[1]:>22} {ratio:7.2f}", flush=True)


def write_parquet(folder: Path, megabytes: int) -> Array:
    """Noisy sine waves [n, 256] as a folder of one file; also in memory."""
    folder.mkdir()
    array = folder.parent / "rows.npy"
    write_synthetic(array, megabytes)
    rows: Array = np.load(array, mmap_mode="r")
    kind = pa.list_(pa.float32(), rows.shape[1])
    with pq.ParquetWriter(folder / "rows.parquet", pa.schema([("values", kind)])) as file:
        for start in range(0, len(rows), _GROUP_ROWS):
            values = pa.FixedSizeListArray.from_arrays(rows[start : start + _GROUP_ROWS].reshape(-1), type=kind)
            file.write_table(pa.table({"values": values}))
    return rows


Pack = Callable[[Path, Path, aecompress.Model], float]
Read = Callable[[Path], int]


def on_this_machine(cpus: int) -> tuple[Pack, Read]:
    def pack(source: Path, archive: Path, model: aecompress.Model) -> float:
        return aecompress.pack(source, archive, model=model, workers=cpus).ratio or 0.0

    def read(archive: Path) -> int:
        return sum(len(batch) for batch in aecompress.open(archive).batches(workers=cpus))

    return pack, read


def on_ray(cpus: int) -> tuple[Pack, Read]:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    import ray

    from aecompress.integrations import ray as adapter

    ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    ray.data.DataContext.get_current().enable_progress_bars = False

    def pack(source: Path, archive: Path, model: aecompress.Model) -> float:
        return adapter.pack(ray.data.read_parquet(str(source)), archive, model=model).ratio or 0.0

    def read(archive: Path) -> int:
        batches = adapter.read_archive(archive).iter_batches(batch_size=None)
        return sum(len(batch["row"]) for batch in batches)

    return pack, read


def on_spark(cpus: int) -> tuple[Pack, Read]:
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    from aecompress.integrations import spark as adapter

    builder: Any = SparkSession.builder.master(f"local[{cpus},4]").config("spark.driver.memory", "2g")
    session = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.dataSource.register(adapter.ArchiveDataSource)

    def pack(source: Path, archive: Path, model: aecompress.Model) -> float:
        return adapter.pack(session.read.parquet(str(source)), archive, model=model).ratio or 0.0

    def read(archive: Path) -> int:
        rows = session.read.format("aecompress").load(str(archive))
        return int(rows.selectExpr("count(values)").first()[0])

    return pack, read


ENGINES = {"local": on_this_machine, "ray": on_ray, "spark": on_spark}

if __name__ == "__main__":
    main()
