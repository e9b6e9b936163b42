"""Every sink gives back what the source was, makes it appear whole or not at all, and leaves nothing else behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aecompress.errors import DestinationError, InputError
from aecompress.sinks import FORMATS, Sink, open_sink
from aecompress.sources import open_source
from aecompress.spec import ArraySpec

CODES = ["?", "i1", "u1", "<i2", ">i2", "<u4", ">u4", "<i8", ">u8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]
DTYPES = [np.dtype(code) for code in CODES]
EXTENSIONS = [".npy", ".npz", ".parquet"]

arrays = st.builds(
    lambda array, order: np.array(array, order=order),
    hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=1, max_dims=6, min_side=0, max_side=5)),
    st.sampled_from("CF"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sinks")


def spec_of(array: np.ndarray[Any, Any]) -> ArraySpec:
    return ArraySpec(array.dtype, array.shape[1:], len(array))


def fill(sink: Sink, array: np.ndarray[Any, Any], rows: int = 3) -> None:
    for batch in open_source(array).batches(rows):
        sink.write(batch)


def copy(source: Any, dest: Path, rows: int = 3) -> None:
    """What unpacking does, without the packing."""
    opened = open_source(source)
    sink = open_sink(dest, opened.spec, opened.origin, force=True)
    for batch in opened.batches(rows):
        sink.write(batch)
    sink.commit()


def same(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


@given(array=arrays, rows=st.integers(1, 7))
@settings(max_examples=80, deadline=None)
def test_npy_gives_the_very_file_back(folder: Path, array: np.ndarray[Any, Any], rows: int) -> None:
    np.save(folder / "in.npy", array)
    copy(folder / "in.npy", folder / "out.npy", rows)
    assert (folder / "out.npy").read_bytes() == (folder / "in.npy").read_bytes()


@given(array=arrays, rows=st.integers(1, 7), save=st.sampled_from([np.savez, np.savez_compressed]))
@settings(max_examples=80, deadline=None)
def test_npz_gives_member_and_compression_back(
    folder: Path, array: np.ndarray[Any, Any], rows: int, save: Callable[..., None]
) -> None:
    save(folder / "in.npz", rows=array)
    copy(folder / "in.npz", folder / "out.npz", rows)
    with np.load(folder / "out.npz", allow_pickle=False) as found:
        assert found.files == ["rows"]
        assert same(found["rows"], array)
    kinds = [zipfile.ZipFile(folder / name).infolist()[0].compress_type for name in ("in.npz", "out.npz")]
    assert kinds[0] == kinds[1]


@given(array=arrays.filter(lambda array: 0 not in array.shape[1:]), rows=st.integers(1, 7))
@settings(max_examples=80, deadline=None)
def test_any_array_goes_into_parquet_and_back(folder: Path, array: np.ndarray[Any, Any], rows: int) -> None:
    copy(array, folder / "out.parquet", rows)
    assert pq.read_schema(folder / "out.parquet").names == ["values"]
    found = open_source(folder / "out.parquet")
    batches = list(found.batches(100))
    native = array.astype(array.dtype.newbyteorder("="))
    assert found.spec == spec_of(native)
    assert same(np.concatenate([native[:0], *batches]), native)


def scalars(values: np.ndarray[Any, Any]) -> pa.Table:
    return pa.table({name: values[:, i] for i, name in enumerate("xyz")}, metadata={"unit": "m"})


TABLES = {
    "columns": scalars(np.arange(12, dtype="f4").reshape(4, 3)),
    "bool columns": scalars(np.eye(4, 3) > 0),
    "one column": pa.table({"only": np.arange(4, dtype="u8")}),
    "list": pa.table({"x": [[1.0, 2.0], [3.0, 4.0]]}),
    "large list": pa.table({"x": pa.array([[1, 2], [3, 4]], pa.large_list(pa.int16()))}),
    "empty lists": pa.table({"x": pa.array([[], []], pa.list_(pa.float32()))}),
    "no lists": pa.table({"x": pa.array([], pa.list_(pa.float32()))}),
    "fixed list": pa.table({"x": pa.array([[1, 2], [3, 4]], pa.list_(pa.float16(), 2))}),
    "nested": pa.table({"x": pa.array([[[1, 2], [3, 4]]] * 3, pa.list_(pa.list_(pa.int8(), 2), 2))}),
    "list of fixed": pa.table({"x": pa.array([[[1, 2], [3, 4]]] * 3, pa.list_(pa.list_(pa.int8(), 2)))}),
    "tensor": pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(24.0).reshape(4, 3, 2))}),
    "permuted": pa.table(
        {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(48.0).reshape(2, 4, 3, 2).transpose(0, 2, 3, 1))}
    ),
}


@pytest.mark.parametrize("layout", TABLES)
def test_parquet_gives_its_columns_back(tmp_path: Path, layout: str) -> None:
    pq.write_table(TABLES[layout], tmp_path / "in.parquet")
    copy(tmp_path / "in.parquet", tmp_path / "out.parquet")
    expected = pq.read_table(tmp_path / "in.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found.equals(expected)


def test_the_schema_of_a_wide_table_is_small() -> None:
    table = pa.table({f"pixel{i}": np.zeros(1) for i in range(784)})
    assert len(open_source(table).origin["schema"]) < 16 << 10


def test_small_batches_make_large_row_groups(tmp_path: Path) -> None:
    copy(np.zeros((1000, 5)), tmp_path / "out.parquet", rows=7)
    assert pq.read_metadata(tmp_path / "out.parquet").num_row_groups == 1


def test_large_sets_make_many_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aecompress.sinks.parquet._GROUP_BYTES", 1000)
    array = np.random.default_rng(3).random((100, 5))
    copy(array, tmp_path / "out.parquet", rows=7)
    assert pq.read_metadata(tmp_path / "out.parquet").num_row_groups == 100 // 28 + 1
    assert same(np.concatenate(list(open_source(tmp_path / "out.parquet").batches(9))), array)


def test_fortran_columns_are_written_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aecompress.sinks.npy._MAPPED_BYTES", 100)
    array = np.asfortranarray(np.random.default_rng(3).random((7, 5, 3)).astype(">f4"))
    copy(array, tmp_path / "out.npy")
    found = np.load(tmp_path / "out.npy")
    assert found.flags.fnc
    assert same(found, array)


@given(array=arrays, rows=st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_standard_output(array: np.ndarray[Any, Any], rows: int) -> None:
    out = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        sink = open_sink("-", spec_of(array), {"format": "npy", "fortran": True})
        fill(sink, array, rows)
        sink.commit()
        sink.abort()
    assert same(np.load(io.BytesIO(out.getvalue())), array)


def test_a_closed_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=pipe))
        with pytest.raises(DestinationError, match="Cannot write standard output: Broken pipe"):
            fill(open_sink("-", ArraySpec(np.dtype("f4"), (), 9), {}), np.zeros(9, "f4"))


# Whole or not at all


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("fortran", [False, True])
def test_nothing_appears_before_commit_or_after_abort(tmp_path: Path, extension: str, fortran: bool) -> None:
    dest = tmp_path / f"out{extension}"
    array = np.arange(20.0).reshape(10, 2)
    for rows in (0, 4, 10):
        sink = open_sink(dest, spec_of(array), {"fortran": fortran})
        fill(sink, array[:rows])
        assert not dest.exists()
        sink.abort()
        sink.abort()
        assert not list(tmp_path.iterdir())
    sink = open_sink(dest, spec_of(array), {"fortran": fortran})
    fill(sink, array)
    sink.commit()
    sink.abort()
    assert list(tmp_path.iterdir()) == [dest]
    assert same(np.concatenate(list(open_source(dest).batches(20))), array)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_existing_destination_is_kept_until_commit(tmp_path: Path, extension: str) -> None:
    dest, array = tmp_path / f"out{extension}", np.arange(5.0)
    dest.write_bytes(b"precious")
    with pytest.raises(DestinationError, match="exists already"):
        open_sink(dest, spec_of(array), {})
    sink = open_sink(dest, spec_of(array), {}, force=True)
    fill(sink, array)
    assert dest.read_bytes() == b"precious"
    sink.abort()
    assert dest.read_bytes() == b"precious"
    copy(array, dest)
    assert same(np.concatenate(list(open_source(dest).batches(20))), array)
    assert list(tmp_path.iterdir()) == [dest]


def test_a_destination_made_meanwhile_is_kept(tmp_path: Path) -> None:
    dest, array = tmp_path / "out.npy", np.arange(5.0)
    sink = open_sink(dest, spec_of(array), {})
    fill(sink, array)
    dest.write_bytes(b"precious")
    with pytest.raises(DestinationError, match="exists already"):
        sink.commit()
    sink.abort()
    assert dest.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [dest]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_missing_and_surplus_rows(tmp_path: Path, extension: str) -> None:
    sink = open_sink(tmp_path / f"out{extension}", ArraySpec(np.dtype("f8"), (2,), 5), {})
    fill(sink, np.zeros((4, 2)))
    with pytest.raises(DestinationError, match="4 of 5 rows"):
        sink.commit()
    with pytest.raises(DestinationError, match="more than the 5 rows"):
        fill(sink, np.zeros((2, 2)))
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_rows_of_another_type(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "out.npy", ArraySpec(np.dtype(">f4"), (2,), 5), {})
    for batch in (np.zeros((5, 2)), np.zeros((5, 3), "f4"), np.zeros(5, "f4"), np.zeros((5, 2), ">f4")):
        with pytest.raises(DestinationError, match=r"opened for 5 x 2 float32, but was given"):
            sink.write(batch)
    sink.abort()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can grow beyond 64 KiB, which fails as a full disk does."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("origin", [{}, {"fortran": True}, {"deflated": True}], ids=str)
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_full_disk(tmp_path: Path, extension: str, origin: dict[str, Any]) -> None:
    array = np.random.default_rng(5).random((20_000, 2))

    def unpack() -> None:
        sink = open_sink(tmp_path / f"out{extension}", spec_of(array), origin)
        try:
            fill(sink, array, rows=1000)
            sink.commit()
        finally:
            sink.abort()

    with pytest.raises(DestinationError, match=r"Cannot write .*out.*: .*File too large"):
        unpack()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.dat", r"no known format; end it in one of \.npy, \.npz, \.parquet"),
        ("missing/out.npy", "There is no folder .*missing; make it first"),
        ("folder.npy", "is a folder"),
        ("x" * 300 + ".npy", "Cannot write .*: File name too long"),
    ],
)
def test_destinations_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(DestinationError, match=message):
        open_sink(tmp_path / name, ArraySpec(np.dtype("f4"), (), 3), {}, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.npy"]


def test_rows_without_values_do_not_go_into_parquet(tmp_path: Path) -> None:
    for shape in [(0,), (2, 0), (0, 3)]:
        with pytest.raises(DestinationError, match="rows without values"):
            open_sink(tmp_path / "out.parquet", ArraySpec(np.dtype("f4"), shape, 3), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("row_shape", [(), (2,), (4,), (6,), (3, 1)], ids=str)
@pytest.mark.parametrize("layout", ["columns", "bool columns", "fixed list", "nested", "tensor", "one column"])
def test_columns_of_another_set(tmp_path: Path, layout: str, row_shape: tuple[int, ...]) -> None:
    origin = open_source(TABLES[layout]).origin
    spec = ArraySpec(np.dtype("i2"), row_shape, 3)
    with pytest.raises(DestinationError, match="do not hold rows of 3"):
        open_sink(tmp_path / "out.parquet", spec, origin)


@pytest.mark.parametrize("schema", [None, 7, "", "not base64!", "AAAA", "eJwDAAAAAAE="])
def test_columns_that_cannot_be_read(tmp_path: Path, schema: Any) -> None:
    with pytest.raises(DestinationError, match="cannot be read"):
        open_sink(tmp_path / "out.parquet", ArraySpec(np.dtype("i2"), (), 3), {"format": "parquet", "schema": schema})


def test_every_extension_opens(tmp_path: Path) -> None:
    extensions = [extension for known in FORMATS.values() for extension in known.extensions]
    for extension in extensions:
        shape = (2, 12) if extension in (".csv", ".tsv") else (2, 3, 4)
        copy(np.arange(24, dtype=np.uint8).reshape(shape), tmp_path / f"out{extension.upper()}")
    assert len(list(tmp_path.iterdir())) == len(extensions)


@pytest.mark.parametrize("origin", [{}, {"fortran": True}], ids=str)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, origin: dict[str, Any]) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("resident memory is read from /proc")
    script = f"""
import re
import numpy as np
from aecompress.sinks import open_sink
from aecompress.spec import ArraySpec
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
batch = np.ones((1000, 784), np.float32)
start = peak()
sink = open_sink({str(tmp_path / "out.npy")!r}, ArraySpec(batch.dtype, (784,), 60_000), {origin!r})
for _ in range(60):
    sink.write(batch)
sink.commit()
print(peak() - start)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 45 << 10  # KiB, of a file of 180 MiB
    assert np.load(tmp_path / "out.npy", mmap_mode="r").shape == (60_000, 784)


@pytest.mark.parametrize(
    ("origin", "read_as"),
    [
        ("npz", "npz"),
        ("parquet", "parquet"),
        ("arrow", "arrow"),
        ("images", "images"),
        ("tiff", "tiff"),
        ("array", "npy"),
        (None, "npy"),
    ],
)
def test_without_an_extension_the_format_is_the_sources(tmp_path: Path, origin: str | None, read_as: str) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    spec = spec_of(array)
    said = {} if origin is None else {"format": origin}
    if origin in ("parquet", "arrow"):
        table = pa.table({"values": pa.FixedShapeTensorArray.from_numpy_ndarray(array)})
        said = open_source(table).origin
    if origin == "arrow":
        with pa.ipc.new_file(str(tmp_path / "in.arrow"), table.schema) as file:
            file.write_table(table)
        said = open_source(tmp_path / "in.arrow").origin
    sink = open_sink(tmp_path / "out", spec, said)
    fill(sink, array)
    sink.commit()
    found = open_source(tmp_path / "out")
    assert found.origin["format"] == read_as
    assert same(np.concatenate(list(found.batches(20))), array)


def test_a_format_is_forced(tmp_path: Path) -> None:
    array = np.arange(5.0)
    sink = open_sink(tmp_path / "out.npy", spec_of(array), {}, format="parquet")
    fill(sink, array)
    sink.commit()
    with pytest.raises(InputError, match="npy format"):
        open_source(tmp_path / "out.npy")
    assert same(np.concatenate(list(open_source(tmp_path / "out.npy", format="parquet").batches(9))), array)
    for dest, format, message in (
        ("out.npy", "gif", "'gif' cannot be written; use one of npy"),
        ("-", "parquet", "Standard output gets npy, not parquet"),
    ):
        with pytest.raises(DestinationError, match=message):
            open_sink(dest if dest == "-" else tmp_path / dest, spec_of(array), {}, format=format, force=True)
    with pytest.raises(DestinationError, match="The source was matlab, which is not written"):
        open_sink(tmp_path / "new", spec_of(array), {"format": "matlab"})
