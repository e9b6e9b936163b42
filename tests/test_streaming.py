"""Every format streams: read and written by a process that may not hold the whole set in memory."""

from __future__ import annotations

import filecmp
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aecompress import sinks

resource = pytest.importorskip("resource")
if not sys.platform.startswith("linux"):
    pytest.skip("the limit on private memory is Linux's", allow_module_level=True)

#: All that are written; what is only read has a test of its own. Tabs are commas here.
FORMATS = sorted(set(sinks.FORMATS) - {"tsv"})

_LIMIT = 40 << 20  # bytes of new private memory that a copy may take
_ROWS = 80  # of 1 MiB each: twice the limit

#: Copies a small set, so that everything is loaded; then, under the limit, a large one.
_COPY = """
import re, resource, sys
from aecompress.sinks import open_sink
from aecompress.sources import open_source
from aecompress.sources.base import chunk_rows

def copy(read, written, format):
    source = open_source(read, format=None if read.endswith(".npy") else format)
    sink = open_sink(written, source.spec, source.origin, format=None if written.endswith(".npy") else format)
    for batch in source.batches(chunk_rows(source.spec)):
        sink.write(batch)
    sink.commit()
    return source.spec.raw_bytes

format, limit, small, large = sys.argv[1], int(sys.argv[2]), *[sys.argv[3:5], sys.argv[5:7]]
copy(*small, format)
held = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (held + limit, held + limit))
copied = copy(*large, format)
assert copied > 1.9 * limit, copied
"""


def copy(format: str, small: tuple[Path, Path], large: tuple[Path, Path]) -> None:
    paths = map(str, (*small, *large))
    done = subprocess.run([sys.executable, "-c", _COPY, format, str(_LIMIT), *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small and large sets in npy: pictures, and lines of numbers."""
    folder, made = tmp_path_factory.mktemp("plain"), {}
    for name, rows in {"small": 3, "large": _ROWS}.items():
        for kind, array in {
            "pictures": np.zeros((rows, 512, 2048), np.uint8),
            "lines": np.zeros((rows << 10, 128)),
        }.items():
            array[::7] = 1
            made[f"{name} {kind}"] = folder / f"{name}-{kind}.npy"
            np.save(made[f"{name} {kind}"], array)
    return made


@pytest.mark.parametrize("format", FORMATS)
def test_written_and_read_in_constant_memory(format: str, plain: dict[str, Path], tmp_path: Path) -> None:
    kind = "lines" if format == "csv" else "pictures"
    small, large = plain[f"small {kind}"], plain[f"large {kind}"]
    there = tmp_path / "small", tmp_path / "large"
    copy(format, (small, there[0]), (large, there[1]))
    copy(format, (there[0], tmp_path / "small.npy"), (there[1], tmp_path / "large.npy"))
    assert filecmp.cmp(tmp_path / "large.npy", large, shallow=False)


def test_the_limit_is_felt(plain: dict[str, Path], tmp_path: Path) -> None:
    """What keeps all rows fails, so the test above could."""
    script = _COPY.replace("source.batches(chunk_rows(source.spec))", "list(source.batches(chunk_rows(source.spec)))")
    paths = [plain["small pictures"], tmp_path / "a.npy", plain["large pictures"], tmp_path / "b.npy"]
    done = subprocess.run([sys.executable, "-c", script, "npy", str(_LIMIT), *paths], capture_output=True, text=True)
    assert "MemoryError" in done.stderr
