"""What tests of several modules share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.objectstore import ObjectStore

# What tests start (shells, Spark's workers) runs in this interpreter's environment, activated or not. Torch and BLAS
# take one thread each, for several test processes share the cores and threads that spin would starve each other.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def server() -> Iterator[ObjectStore]:
    """One S3 server for all tests that need one."""
    from tests.objectstore import ObjectStore  # takes a second, which most runs need not spend

    store = ObjectStore()
    yield store
    store.close()


@pytest.fixture
def store(server: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The server, which this process and its children find; each test works below a folder of its own name."""
    for name, value in {**server.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    server.watch()
    yield server
    server.watch()
