"""Every source gives the same rows back, in batches, from every format and layout; bad input gives one sentence."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aecompress.errors import DestinationError, InputError
from aecompress.sources import Source, open_source, spool
from aecompress.spec import ArraySpec

CODES = ["?", "i1", "u1", "<i2", ">i2", "<u4", ">u4", "<i8", ">u8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]
DTYPES = [np.dtype(code) for code in CODES]
SHAPES = [(7,), (1,), (0,), (5, 3), (0, 4), (6, 2, 3), (4, 0), (3, 0, 2), (2, 2, 3, 1, 2, 2), (3, 1, 1, 2, 1, 1, 1, 2)]

# Bytes of any value, so that NaN payloads and -0.0 are met too.
arrays = st.builds(
    lambda array, order: np.array(array, order=order),
    hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=1, max_dims=6, min_side=0, max_side=5)),
    st.sampled_from("CF"),
)
rows_at_once = st.integers(1, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def example(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)


def same_bytes(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    native = expected.astype(expected.dtype.newbyteorder("="))
    return found.dtype == native.dtype and found.shape == native.shape and found.tobytes() == native.tobytes()


def gather(source: Source, rows: int, start: int = 0, stop: int | None = None) -> np.ndarray[Any, Any]:
    """All batches as one array, after a look at what each of them promises."""
    batches = list(source.batches(rows, start, stop))
    assert all(len(batch) == rows for batch in batches[:-1])
    for batch in batches:
        assert 0 < len(batch) <= rows
        assert batch.flags.c_contiguous
        assert batch.flags.writeable
        assert batch.dtype.isnative
    empty = np.empty((0, *source.spec.row_shape), source.spec.native)
    return np.concatenate([empty, *batches])


def npy_bytes(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


def open_saved(kind: str, array: np.ndarray[Any, Any], folder: Path) -> Source:
    if kind == "npy":
        np.save(folder / "a.npy", array)
        return open_source(folder / "a.npy")
    if kind == "npz":
        np.savez(folder / "a.npz", values=array)
        return open_source(str(folder / "a.npz"))
    if kind == "deflated":
        np.savez_compressed(folder / "b.npz", values=array, other=array[:0])
        return open_source(f"{folder}/b.npz::values")
    if kind == "memmap":
        np.save(folder / "m.npy", array)
        return open_source(np.load(folder / "m.npy", mmap_mode="r") if array.size else array)
    assert kind == "array"
    return open_source(array)


# Sources that can be read again


@pytest.mark.parametrize("kind", ["npy", "npz", "deflated", "memmap", "array"])
@settings(max_examples=60, deadline=None)
@given(array=arrays, rows=rows_at_once, start=st.integers(-6, 6), stop=st.none() | st.integers(-6, 6))
def test_any_part_of_a_replayable_source(
    folder: Path, kind: str, array: np.ndarray[Any, Any], rows: int, start: int, stop: int | None
) -> None:
    source = open_saved(kind, array, folder)
    assert source.replayable
    assert source.spec == ArraySpec(array.dtype, array.shape[1:], len(array))
    for _ in range(2):
        assert same_bytes(gather(source, rows, start, stop), array[start:stop])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_shape_in_npy(tmp_path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    array = example(dtype, shape)
    for order in (array, np.asfortranarray(array)):
        source = open_saved("npy", order, tmp_path)
        assert source.spec.dtype.str == dtype.str
        assert same_bytes(gather(source, 3), array)


def test_strided_arrays_are_read_without_a_copy_of_the_whole() -> None:
    array = np.arange(240.0).reshape(10, 6, 4)[::-2, 1::2, ::-1]
    assert same_bytes(gather(open_source(array), 2), array)


def test_batches_belong_to_the_caller() -> None:
    array = np.arange(6.0)
    for batch in open_source(array).batches(3):
        batch[:] = 0
    assert same_bytes(array, np.arange(6.0))


def test_origin_keeps_the_memory_order_and_the_member(tmp_path: Path) -> None:
    array = np.asfortranarray(example(np.dtype("f4"), (5, 3)))
    assert open_saved("npy", array, tmp_path).origin == {"format": "npy", "fortran": True}
    assert open_saved("array", array, tmp_path).origin == {"format": "array", "fortran": True}
    deflated = open_saved("deflated", array[:, 0].copy(), tmp_path).origin
    assert deflated == {"format": "npz", "member": "values", "deflated": True, "fortran": False}


def test_fortran_columns_are_read_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aecompress.sources.rowfile._MAPPED_BYTES", 100)
    array = np.asfortranarray(example(np.dtype(">i4"), (7, 5, 3)))
    assert same_bytes(gather(open_saved("npy", array, tmp_path), 4, 1), array[1:])


def test_extracted_members_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.asfortranarray(example(np.dtype("f8"), (5, 3)))
    np.savez(tmp_path / "a.npz", array)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    source = open_source(tmp_path / "a.npz")
    assert len(list(temporary.iterdir())) == 1
    assert same_bytes(gather(source, 2), array)
    del source
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(("extension", "kind"), [(".npy", "npy"), (".npz", "npz")])
def test_formats_are_recognised_by_content_or_by_name(tmp_path: Path, extension: str, kind: str) -> None:
    array = example(np.dtype("i2"), (4, 3))
    open_saved(kind, array, tmp_path)
    for name in ("plain", "odd.dat", f"UPPER{extension.upper()}"):
        (tmp_path / name).write_bytes((tmp_path / f"a{extension}").read_bytes())
        assert same_bytes(gather(open_source(tmp_path / name), 3), array)
    assert same_bytes(gather(open_source(tmp_path / "plain", format=kind), 3), array)


def test_a_source_is_its_own_source() -> None:
    source = open_source(np.zeros(3))
    assert open_source(source) is source


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, order: str) -> None:
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (100_000, 784), fortran_order=order == "F")
    grown = peak_growth(
        f"from aecompress.sources import open_source; source = open_source({str(tmp_path / 'a.npy')!r})",
        "for batch in source.batches(1024): pass",
    )
    assert grown < 40 << 10  # KiB, of a file of 300 MiB


def peak_growth(before: str, work: str) -> int:
    """KiB by which the peak of resident memory grows while ``work`` is done in a process of its own."""
    if not Path("/proc/self/status").exists():
        pytest.skip("resident memory is read from /proc")
    look = "import re; peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    script = "\n".join([look, before, "start = peak()", work, "print(peak() - start)"])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_arrow_is_imported_only_for_parquet(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    script = (
        "import sys; from aecompress.sources import open_source; from aecompress.sinks import open_sink;"
        f"source = open_source({str(tmp_path / 'a.npy')!r});"
        f"open_sink({str(tmp_path / 'b.npy')!r}, source.spec, source.origin).abort();"
        "sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


# Streams


@given(array=arrays, rows=rows_at_once)
@settings(max_examples=60, deadline=None)
def test_standard_input(array: np.ndarray[Any, Any], rows: int) -> None:
    array = np.ascontiguousarray(array)
    with pytest.MonkeyPatch.context() as patch:
        stdin(patch, npy_bytes(array))
        source = open_source("-")
        assert (source.name, source.replayable) == ("stdin", False)
        assert source.spec == ArraySpec(array.dtype, array.shape[1:], len(array))
        assert same_bytes(gather(source, rows), array)


@given(array=arrays, rows=rows_at_once, cuts=st.lists(st.integers(0, 6), max_size=6))
@settings(max_examples=60, deadline=None)
def test_iterables_are_cut_anew(array: np.ndarray[Any, Any], rows: int, cuts: list[int]) -> None:
    source = open_source(np.split(array, sorted(cuts)))
    assert source.spec == ArraySpec(array.dtype, array.shape[1:])
    assert same_bytes(gather(source, rows), array)


def test_a_generator_may_reuse_its_buffer() -> None:
    def items() -> Iterator[np.ndarray[Any, Any]]:
        buffer = np.empty((2, 3), np.float32)
        for value in range(5):
            buffer[:] = value
            yield buffer

    expected = np.repeat(np.arange(5, dtype=np.float32), 2)[:, None].repeat(3, axis=1)
    assert same_bytes(gather(open_source(items()), 3), expected)


def test_items_may_differ_in_byte_order_but_not_in_type() -> None:
    one = np.arange(6, dtype="<f4").reshape(2, 3)
    assert same_bytes(gather(open_source([one, one.astype(">f4")]), 3), np.concatenate([one, one]))
    for other in (one.astype("f8"), one[:, :2], one[0], one.reshape(2, 3, 1)):
        with pytest.raises(InputError, match="Item 1 is"):
            list(open_source([one, other]).batches(2))


def test_a_stream_is_read_once_and_whole() -> None:
    source = open_source([np.zeros((4, 2))])
    for part in [{"start": 1}, {"stop": 3}]:
        with pytest.raises(InputError, match="is a stream"):
            source.batches(2, **part)
    assert len(gather(source, 2)) == 4
    with pytest.raises(InputError, match="was read already"):
        source.batches(2)


@given(array=arrays, rows=rows_at_once, start=st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_a_spooled_stream_can_be_read_again(folder: Path, array: np.ndarray[Any, Any], rows: int, start: int) -> None:
    stream = open_source(iter([array[:1], array[1:]]))
    spooled = spool(stream, folder)
    assert (spooled.name, spooled.origin, spooled.replayable) == (stream.name, stream.origin, True)
    assert spooled.spec == ArraySpec(array.dtype, array.shape[1:], len(array))
    assert same_bytes(gather(spooled, rows, start), array[start:])


def test_a_broken_stream_leaves_no_spool(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        spool(open_source([np.zeros(3), np.zeros((3, 1))]), tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DestinationError, match="temporary file"):
        spool(open_source([np.zeros(3)]), tmp_path / "missing")


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_no_spool(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="Cannot keep the stream"):
        spool(open_source([np.zeros(10_000)] * 10), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can grow beyond 64 KiB, which fails as a full disk does."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# Parquet and Arrow


def tensor_column(array: np.ndarray[Any, Any]) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def nested_column(array: np.ndarray[Any, Any]) -> pa.Array:
    column = pa.array(array.reshape(-1))
    for length in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, length)
    return column


def list_column(array: np.ndarray[Any, Any]) -> pa.Array:
    return pa.array(array.tolist(), pa.list_(pa.from_numpy_dtype(array.dtype)))


LAYOUTS = {
    "tensor": ((5, 2, 3), lambda a: pa.table({"x": tensor_column(a)})),
    "nested": ((5, 2, 3), lambda a: pa.table({"x": nested_column(a)})),
    "fixed list": ((5, 4), lambda a: pa.table({"x": nested_column(a)})),
    "list": ((5, 4), lambda a: pa.table({"x": list_column(a)})),
    "large list": ((5, 4), lambda a: pa.table({"x": list_column(a).cast(pa.large_list(pa.from_numpy_dtype(a.dtype)))})),
    "columns": ((5, 4), lambda a: pa.table({name: a[:, i] for i, name in enumerate("abcd")})),
    "one column": ((5,), lambda a: pa.table({"x": a})),
}
NATIVE = [dtype for dtype in DTYPES if dtype.isnative]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", NATIVE, ids=str)
def test_every_layout_of_parquet(tmp_path: Path, dtype: np.dtype[Any], layout: str) -> None:
    shape, make = LAYOUTS[layout]
    array = example(dtype, shape)
    pq.write_table(make(array), tmp_path / "a.parquet", row_group_size=2)
    source = open_source(tmp_path / "a.parquet")
    assert source.spec == ArraySpec(dtype, shape[1:], 5)
    for start in range(6):
        assert same_bytes(gather(source, 2, start), array[start:])


@given(rows=rows_at_once, start=st.integers(0, 25), stop=st.integers(0, 25), group=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_any_part_of_a_folder_of_parquet_files(folder: Path, rows: int, start: int, stop: int, group: int) -> None:
    array = example(np.dtype("f4"), (24, 2))
    parts = folder / "parts"
    (parts / "_hidden").mkdir(parents=True, exist_ok=True)
    (parts / "_hidden" / "no.parquet").write_bytes(b"no parquet")
    for index, part in enumerate(np.split(array, [5, 5, 17])):
        pq.write_table(pa.table({"x": nested_column(part)}), parts / f"part-{index}.parquet", row_group_size=group)
    assert same_bytes(gather(open_source(parts), rows, start, stop), array[start:stop])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrow_in_memory(tmp_path: Path, layout: str) -> None:
    shape, make = LAYOUTS[layout]
    array = example(np.dtype("f4"), shape)
    halves = pa.concat_tables([make(array[:2]), make(array[2:])])
    pq.write_table(halves, tmp_path / "a.parquet")
    dataset = pads.dataset(tmp_path / "a.parquet")
    for data in (halves, halves.slice(0, 2).to_batches()[0], dataset):
        source = open_source(data)
        assert source.spec.rows == len(gather(source, 2))
        assert same_bytes(gather(source, 2, 1), array[1 : source.spec.rows])
    stream = open_source(halves.to_reader(max_chunksize=3))
    assert (stream.replayable, stream.spec) == (False, ArraySpec(array.dtype, shape[1:]))
    assert same_bytes(gather(stream, 2), array)


def test_permuted_tensors_have_their_logical_shape() -> None:
    array = example(np.dtype("f4"), (4, 2, 3)).transpose(0, 2, 1)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(array)
    assert column.type.permutation == [1, 0]
    assert same_bytes(gather(open_source(pa.table({"x": column})), 3), array)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrow_without_rows(layout: str) -> None:
    shape, make = LAYOUTS[layout]
    table = make(example(np.dtype("f4"), shape)).slice(0, 0)
    row_shape = (0,) if "list" in layout and layout != "fixed list" else shape[1:]
    for data in (table, table.to_reader()):
        source = open_source(data)
        assert source.spec.row_shape == row_shape
        assert len(gather(source, 2)) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0, 2.0], "b": pa.array([1, 2], "f4")}, r"one dtype; it has a: double, b: float.*as in table::a"),
        ({"a": [1, 2], "b": pa.array([1, 2], "i4"), "c": ["x", "y"]}, r"a: int64, b: int32, c: string.*table::a"),
        ({"a": [[1.0], [2.0]], "b": [[1.0], [2.0]]}, r"do not make rows"),
        ({f"c{i}": ["x"] for i in range(20)}, r"c7: string and 12 more"),
        ({"when": pa.array([0, 1], pa.timestamp("s"))}, r"when: timestamp"),
        ({"a": [1.0, None]}, r"column a holds nulls"),
        ({"a": [[1.0, 2.0], None]}, r"column a holds nulls"),
        ({"a": [[1.0, 2.0], [1.0, None]]}, r"column a holds nulls"),
        ({"a": [[1.0, 2.0], [3.0]]}, r"column a holds lists of 1 to 2 values"),
        ({}, r"it has none"),
    ],
)
def test_columns_that_make_no_rows(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gather(open_source(pa.table(columns)), 2)


def test_rows_of_differing_length_in_differing_batches() -> None:
    with pytest.raises(InputError, match="rows of shape"):
        gather(open_source(pa.table({"a": [[1.0, 2.0], [3.0]]})), 1)


def test_parts_of_differing_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"b": [1.0]}), tmp_path / "1.parquet")
    with pytest.raises(InputError, match=r"1\.parquet has other columns"):
        open_source(tmp_path)


# What cannot be used


def test_a_single_value_is_no_set_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.float32(3))
    stdin(monkeypatch, npy_bytes(np.float32(3)))  # type: ignore[arg-type]
    for source in (np.float32(3), np.array(3), tmp_path / "a.npy", "-", [1.0, 2.0]):
        with pytest.raises(InputError, match="single value"):
            open_source(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.array([object()]), "Python objects"),
        (np.zeros(3, "f4,i4"), "structured"),
        (np.zeros(3, "c8"), "complex64"),
        (np.array(["a"]), "not supported"),
        (np.array([0], "M8[s]"), "not supported"),
        (np.zeros(3, np.longdouble), "not supported"),
        (np.zeros((1,) * 9), "9 axes"),
        (np.ma.masked_equal(np.arange(3.0), 1), "masked"),
        ([], "is empty"),
        ([[[1.0, 2.0], [3.0]]], "Item 0 is not an array"),
        (b"bytes", "A bytes is no source"),
        ({"a": np.zeros(3)}, "A dict is no source"),
        (3, "A int is no source"),
        (None, "A NoneType is no source"),
        (pa.schema([]), "Schema cannot be packed"),
    ],
)
def test_objects_that_are_no_source(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(source)


def write_bad_files(folder: Path) -> None:
    whole = npy_bytes(np.arange(12.0).reshape(4, 3))
    contents = {
        "empty.npy": b"",
        "empty.dat": b"",
        "text.npy": b"1.0, 2.0\n" * 50,
        "text.txt": b"1.0, 2.0\n" * 50,
        "UPPER.NPZ": b"1.0, 2.0\n" * 50,
        "text.npz": b"1.0, 2.0\n" * 50,
        "text.parquet": b"1.0, 2.0\n" * 50,
        "header.npy": whole[:40],
        "short.npy": whole[:-1],
        "long.npy": whole + b"\0",
        "negative.npy": whole.replace(b"(4, 3)", b"(-4,3)"),
        "version.npy": whole.replace(b"NUMPY\x01", b"NUMPY\x09"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    np.save(folder / "object.npy", np.array([{}]), allow_pickle=True)
    np.save(folder / "structured.npy", np.zeros(3, "f4,i4"))
    np.savez(folder / "two.npz", first=np.zeros(3), second=np.zeros(3))
    np.savez(folder / "one.npz", first=np.zeros(3))
    with zipfile.ZipFile(folder / "none.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    with zipfile.ZipFile(folder / "cut.npz", "w") as archive:
        archive.writestr("a.npy", whole[:-1])
    os.mkfifo(folder / "pipe")
    (folder / "no-parts").mkdir()
    (folder / "folder.npy").mkdir()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.npy", "Cannot read .*missing.npy: No such file"),
        ("missing", "Cannot read .*missing: No such file"),
        ("empty.npy", "empty.npy is empty"),
        ("empty.dat", "empty.dat is empty"),
        ("text.npy", "not a whole array in npy format"),
        ("text.txt", "no known format; the formats are npy, npz, parquet"),
        ("UPPER.NPZ", "not a whole npz file"),
        ("text.npz", "not a whole npz file"),
        ("text.parquet", "not a whole Parquet file"),
        ("header.npy", "not a whole array in npy format"),
        ("short.npy", "truncated: its header promises 96 bytes of values, but 95 are there"),
        ("long.npy", "goes on after the end"),
        ("negative.npy", "negative length"),
        ("version.npy", "not a whole array in npy format"),
        ("object.npy", "Python objects"),
        ("structured.npy", "structured"),
        ("two.npz", r"several arrays \(first, second\).*two.npz::first"),
        ("two.npz::third", "no array 'third'; it holds first, second"),
        ("none.npz", "holds no arrays"),
        ("cut.npz", "cut.npz::a is truncated"),
        ("short.npy::first", "has no members"),
        ("no-parts", "holds neither Parquet files nor pictures"),
        ("x" * 300, "Cannot read .*: File name too long"),
        ("pipe", "no regular file; pipe it to standard input"),
        ("folder.npy", "Cannot read .*folder.npy: Is a directory"),
    ],
)
def test_files_that_are_no_source(tmp_path: Path, name: str, message: str) -> None:
    write_bad_files(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        open_source(f"{tmp_path}/{name}")
    assert "\n" not in str(caught.value)


def test_formats_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Unknown format 'gif'; use one of npy"):
        open_source(tmp_path / "a", format="gif")
    with pytest.raises(InputError, match="Standard input is read as npy, not npz"):
        open_source("-", format="npz")
    with pytest.raises(InputError, match="goes with a path only"):
        open_source(np.zeros(3), format="npy")


def test_fortran_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, npy_bytes(np.zeros((2, 3), order="F")))
    with pytest.raises(InputError, match=r"Fortran order.*save it to a file"):
        open_source("-")


def test_every_prefix_of_a_stream_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = npy_bytes(np.arange(6.0).reshape(3, 2))
    for content in [*(whole[:length] for length in range(len(whole))), whole + b"\0"]:
        stdin(monkeypatch, content)
        with pytest.raises(InputError):
            gather(open_source("-"), 2)


def test_every_prefix_of_a_file_is_noticed(tmp_path: Path) -> None:
    array = np.arange(40.0).reshape(20, 2)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", array)
    pq.write_table(pa.table({"x": array[:, 0]}), tmp_path / "a.parquet")
    for path in list(tmp_path.iterdir()):
        whole = path.read_bytes()
        for length in range(0, len(whole), 3):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError):
                gather(open_source(path), 5)


def test_damage_inside_a_member_is_noticed(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", values=np.random.default_rng(1).random(500))
        content = bytearray((tmp_path / "a.npz").read_bytes())
        content[len(content) // 2] ^= 4
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            gather(open_source(tmp_path / "a.npz"), 100)


def test_a_damaged_member_leaves_no_extract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", np.asfortranarray(np.random.default_rng(1).random((50, 10))))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "a.npz").write_bytes(content)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with pytest.raises(InputError, match="cannot be read"):
        open_source(tmp_path / "a.npz")
    assert not list(temporary.iterdir())


def test_a_file_cut_while_it_is_read(tmp_path: Path) -> None:
    for order in "CF":
        source = open_saved("npy", np.zeros((8, 3), order=order), tmp_path)
        content = (tmp_path / "a.npy").read_bytes()
        (tmp_path / "a.npy").write_bytes(content[:-40])
        with pytest.raises(InputError, match=re.escape("which was whole when opened")):
            gather(source, 8)
