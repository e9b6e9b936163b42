"""Every format streams: read and written by a process that may not hold the whole set in memory."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aecompress import sinks
from aecompress.locations import StorePath

if TYPE_CHECKING:
    from tests.objectstore import ObjectStore

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit on private memory is Linux's")

#: All that are written; what is only read has tests of its own. Tabs are commas here.
FORMATS = sorted(set(sinks.FORMATS) - {"tsv"})

_LIMIT = 40 << 20  # bytes of new private memory that a copy may take
_ROWS = 80  # of 1 MiB each: twice the limit

#: Copies a small set, so that everything is loaded; then, under the limit, a large one.
_COPY = """
import re, resource, sys
from pathlib import Path
from aecompress.sinks import open_sink
from aecompress.sources import open_source
from aecompress.sources.base import chunk_rows
from aecompress.sources.spool import spool

def opened(read, format):
    return open_source(read, format=None if read.endswith(".npy") else format)

def copy(read, written, format):
    source = opened(read, format)
    if not source.replayable:
        source = spool(source, Path(written).parent)
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

#: What the function ``opened`` of the script is for sources that are no files; ``read`` is a number of pictures.
_OBJECTS = {
    "iterable": """
        return open_source(picture(row)[None] for row in range(int(read)))
    """,
    "record batches": """
        import pyarrow as pa
        kind = pa.fixed_shape_tensor(pa.uint8(), (512, 2048))

        def batch(row):
            values = pa.FixedSizeListArray.from_arrays(pa.array(picture(row).reshape(-1)), 1 << 20)
            return pa.record_batch({"x": pa.ExtensionArray.from_storage(kind, values)})

        return open_source(pa.RecordBatchReader.from_batches(batch(0).schema, map(batch, range(int(read)))))
    """,
    "torch Dataset": """
        from torch.utils.data import Dataset

        class Pictures(Dataset):
            __len__ = lambda self: int(read)
            __getitem__ = lambda self, row: picture(row)

        return open_source(Pictures())
    """,
    "torch IterableDataset": """
        from torch.utils.data import IterableDataset

        class Pictures(IterableDataset):
            __iter__ = lambda self: map(picture, range(int(read)))

        return open_source(Pictures())
    """,
}

#: The pictures of ``plain``, one by one.
_PICTURES = """
import numpy as np

def picture(row):
    return np.full((512, 2048), row % 7 == 0, np.uint8)

def opened(read, format):
"""


def copy(format: str, small: tuple[Any, Path], large: tuple[Any, Path], script: str = _COPY) -> None:
    paths = map(str, (*small, *large))
    done = subprocess.run([sys.executable, "-c", script, format, str(_LIMIT), *paths], capture_output=True, text=True)
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


@pytest.mark.parametrize("kind", _OBJECTS)
def test_objects_are_read_in_constant_memory(kind: str, plain: dict[str, Path], tmp_path: Path) -> None:
    begin = _COPY.index("format, limit")
    script = _COPY[:begin] + _PICTURES + textwrap.indent(textwrap.dedent(_OBJECTS[kind]), "    ") + _COPY[begin:]
    copy("npy", ("3", tmp_path / "small.npy"), (str(_ROWS), tmp_path / "large.npy"), script)
    assert filecmp.cmp(tmp_path / "large.npy", plain["large pictures"], shallow=False)


def test_a_data_set_on_disk_is_read_in_constant_memory(plain: dict[str, Path], tmp_path: Path) -> None:
    """What ``save_to_disk`` of Hugging Face writes: streams of Arrow, and a list of them."""
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
        files = [{"filename": f"data-{i}.arrow"} for i in range(2)]
        (tmp_path / name / "state.json").write_text(json.dumps({"_data_files": files}))
        pictures = np.load(plain[f"{name} pictures"], mmap_mode="r")
        for file, part in zip(files, np.array_split(pictures, 2), strict=True):
            table = pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(part)})
            with pa.ipc.new_stream(str(tmp_path / name / file["filename"]), table.schema) as stream:
                stream.write_table(table, max_chunksize=5)
    copies = tmp_path / "small.npy", tmp_path / "large.npy"
    copy("dataset", (tmp_path / "small", copies[0]), (tmp_path / "large", copies[1]))
    assert filecmp.cmp(copies[1], plain["large pictures"], shallow=False)


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_a_store_is_read_in_constant_memory(
    format: str, store: ObjectStore, plain: dict[str, Path], tmp_path: Path
) -> None:
    assert store.endpoint
    urls = {name: f"s3://bucket/{tmp_path.name}/{name}.{format}" for name in ("small", "large")}
    for name, url in urls.items():
        file = tmp_path / f"{name}.{format}"
        if format == "parquet":
            table = pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(np.load(plain[f"{name} pictures"]))})
            pq.write_table(table, file, row_group_size=10)
        StorePath(url).upload(plain[f"{name} pictures"] if format == "npy" else file)
    copies = tmp_path / "copy-small.npy", tmp_path / "copy-large.npy"
    copy(format, (urls["small"], copies[0]), (urls["large"], copies[1]))
    assert filecmp.cmp(copies[1], plain["large pictures"], shallow=False)


def test_the_limit_is_felt(plain: dict[str, Path], tmp_path: Path) -> None:
    """What keeps all rows fails, so the test above could."""
    script = _COPY.replace("source.batches(chunk_rows(source.spec))", "list(source.batches(chunk_rows(source.spec)))")
    paths = [plain["small pictures"], tmp_path / "a.npy", plain["large pictures"], tmp_path / "b.npy"]
    done = subprocess.run([sys.executable, "-c", script, "npy", str(_LIMIT), *paths], capture_output=True, text=True)
    assert "MemoryError" in done.stderr
