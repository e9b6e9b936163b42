"""Containers of named arrays and Arrow IPC: read as their own libraries write them, written as those read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import aecompress
from aecompress.errors import DestinationError, InputError
from aecompress.sinks import open_sink
from aecompress.sources import open_source
from aecompress.sources.safetensors import DTYPES

h5py = pytest.importorskip("h5py")
netcdf = pytest.importorskip("netCDF4")
zarr = pytest.importorskip("zarr")
safetensors = pytest.importorskip("safetensors.numpy")

NAMED = [".h5", ".nc", ".safetensors"]
READ = [*NAMED, ".zarr"]
CODES = ["?", "i1", "u1", "<i2", ">i2", "<u4", ">u4", "<i8", ">u8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]

arrays = hnp.arrays(st.sampled_from(CODES), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
relaxed = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

Named = dict[str, np.ndarray[Any, Any]]


def write_hdf5(path: Path, named: Named) -> None:
    with h5py.File(path, "w") as file:
        for name, array in named.items():
            file.create_dataset(name, data=array, chunks=True if array.size else None)
        file["a text"] = "no array of numbers"
        file["a scalar"] = 3.0


def write_netcdf(path: Path, named: Named) -> None:
    with netcdf.Dataset(path, "w") as file:
        for name, array in named.items():
            axes = tuple(f"{name.replace('/', '_')}_{axis}" for axis in range(array.ndim))
            for axis, size in zip(axes, array.shape, strict=True):
                file.createDimension(axis, size or None)
            endian = "big" if array.dtype.str[0] == ">" else "native"
            made = file.createVariable(name, array.dtype, axes, endian=endian, fill_value=False)
            made.set_auto_maskandscale(False)
            if array.size:
                made[:] = array
        file.createVariable("a scalar", "f8", ())


def write_zarr(path: Path, named: Named) -> None:
    group = zarr.open_group(path, mode="w")
    for name, array in named.items():
        made = group.create_array(name, shape=array.shape, dtype=array.dtype)
        made[...] = array


def write_safetensors(path: Path, named: Named) -> None:
    safetensors.save_file({name: np.ascontiguousarray(array) for name, array in named.items()}, path)


WRITE: dict[str, Callable[[Path, Named], None]] = {
    ".h5": write_hdf5, ".nc": write_netcdf, ".zarr": write_zarr, ".safetensors": write_safetensors,
}  # fmt: skip


def read_back(path: Path, name: str) -> np.ndarray[Any, Any]:
    """The array as the format's own library reads it."""
    if path.suffix == ".safetensors":
        return np.asarray(safetensors.load_file(path)[name])
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return np.asarray(file[name][...])
    with netcdf.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        return np.asarray(file[name][...])


def supported(extension: str, dtype: np.dtype[Any]) -> bool:
    """What the formats have no type for; safetensors' own library writes no big-endian arrays."""
    if extension == ".nc":
        return dtype.kind != "b" and dtype.str[1:] != "f2"
    return extension != ".safetensors" or dtype.str[0] != ">"


def gather(source: Any, rows: int = 3) -> np.ndarray[Any, Any]:
    batches = list(source.batches(rows))
    assert all(batch.dtype == source.spec.native for batch in batches)
    return np.concatenate(batches) if batches else np.zeros((0, *source.spec.row_shape), source.spec.native)


def same(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> bool:
    native = first.dtype.newbyteorder("=")
    return first.shape == second.shape and first.astype(native).tobytes() == second.astype(native).tobytes()


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", READ)
@relaxed
@given(array=arrays)
def test_what_a_library_writes_is_read(extension: str, array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    if not supported(extension, array.dtype):
        return
    path = tmp_path / f"some{extension}"
    if path.is_file():
        path.unlink()
    WRITE[extension](path, {"values": array})
    source = open_source(path)
    assert source.spec.shape == array.shape
    assert source.spec.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert same(gather(source), array)
    assert same(next(source.batches(9, len(array) // 2), array[:0]), array[len(array) // 2 :][:9])


@pytest.mark.parametrize("extension", READ)
def test_one_of_several_arrays_is_chosen_by_name(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"two{extension}"
    first = "deep/first" if extension != ".safetensors" else "first"
    named = {first: np.arange(12.0).reshape(4, 3), "second": np.arange(5, dtype=np.int16)}
    WRITE[extension](path, named)
    for name, array in named.items():
        assert same(gather(open_source(f"{path}::{name}")), array)
    with pytest.raises(InputError, match=rf"several arrays .*{first}.*choose one"):
        open_source(path)
    with pytest.raises(InputError, match="no array 'third'; it holds"):
        open_source(f"{path}::third")


@pytest.mark.parametrize("extension", [".h5", ".nc", ".safetensors", ".arrow", ".arrows", ".feather"])
@pytest.mark.parametrize("content", [b"no container at all", b"\x89HDF\r\n\x1a\n\0\0\0\0", b"ARROW1\0\0xxxxxxxx"])
def test_damaged_files_are_refused(extension: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"bad{extension}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a whole"):
        open_source(path)


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match="not a Zarr store"):
        open_source(tmp_path / "empty.zarr")


def test_a_file_without_numbers_says_so(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "none.h5", {})
    with pytest.raises(InputError, match="holds no arrays of numbers"):
        open_source(tmp_path / "none.h5")


def test_containers_are_known_by_content(tmp_path: Path) -> None:
    values = np.arange(6.0)
    write_hdf5(tmp_path / "a.h5", {"values": values})
    (tmp_path / "a.h5").rename(tmp_path / "nameless")
    assert same(gather(open_source(tmp_path / "nameless")), values)
    assert same(gather(open_source(tmp_path / "nameless", format="hdf5")), values)


def test_packed_values_of_netcdf_are_read_as_stored_and_coordinates_passed_over(tmp_path: Path) -> None:
    stored = np.array([[1, 2, -999], [4, 5, 6]], np.int16)
    with netcdf.Dataset(tmp_path / "t.nc", "w") as file:
        file.createDimension("time", 2)
        file.createDimension("x", 3)
        file.createVariable("time", "f8", ("time",))[:] = [0.0, 1.0]
        made = file.createVariable("t2m", "i2", ("time", "x"), fill_value=-999)
        made.scale_factor, made.add_offset = 0.01, 273.15
        made.set_auto_maskandscale(False)
        made[:] = stored
    source = open_source(tmp_path / "t.nc")
    assert source.origin["dimensions"] == ["time", "x"]
    assert same(gather(source), stored)


def test_a_tensor_of_a_foreign_dtype_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "b.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(InputError, match=r"BF16.*convert it"):
        open_source(tmp_path / "b.safetensors")


@pytest.mark.parametrize("cut", [1, 8, 20, 70])
def test_a_truncated_tensor_is_refused(cut: int, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "t.safetensors", {"values": np.arange(8.0)})
    whole = (tmp_path / "t.safetensors").read_bytes()
    (tmp_path / "t.safetensors").write_bytes(whole[:-cut])
    with pytest.raises(InputError, match=r"truncated|not a whole"):
        open_source(tmp_path / "t.safetensors")


@pytest.mark.parametrize("shape", ["[Infinity]", "[1.5]", "[true]", '"12"', "[-1]", "null"])
@pytest.mark.parametrize("offsets", ["[0,8]", "[0,Infinity]", "[8,0]", "[0]"])
def test_a_tensor_of_impossible_size_is_refused(shape: str, offsets: str, tmp_path: Path) -> None:
    header = f'{{"w":{{"dtype":"F64","shape":{shape},"data_offsets":{offsets}}}}}'.encode()
    (tmp_path / "b.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(InputError, match="is not a whole"):
        open_source(tmp_path / "b.safetensors")


# --- writing --------------------------------------------------------------------------------------------------------


def copy(source: Any, dest: Path, rows: int = 3) -> None:
    sink = open_sink(dest, source.spec, source.origin, force=True)
    for batch in source.batches(rows):
        sink.write(batch)
    sink.commit()


@pytest.mark.parametrize("extension", NAMED)
@relaxed
@given(array=arrays)
def test_what_is_written_a_library_reads(extension: str, array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    dest = tmp_path / f"out{extension}"
    if extension == ".nc" and not supported(extension, array.dtype):
        with pytest.raises(DestinationError, match="NetCDF has no type"):
            copy(open_source(array), dest)
        return
    copy(open_source(array), dest)
    found = read_back(dest, "values")
    assert found.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert same(found, array)
    assert same(gather(open_source(dest)), array)
    assert [path.name for path in tmp_path.iterdir()] == [dest.name]


@pytest.mark.parametrize("extension", NAMED)
def test_a_failed_write_leaves_nothing(extension: str, tmp_path: Path) -> None:
    source = open_source(np.arange(12.0).reshape(4, 3))
    sink = open_sink(tmp_path / f"out{extension}", source.spec, source.origin)
    sink.write(np.zeros((1, 3)))
    with pytest.raises(DestinationError, match="1 of 4 rows"):
        sink.commit()
    sink.abort()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extension", NAMED)
def test_names_come_back_through_an_archive(extension: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(2).normal(size=(50, 4)).cumsum(0).astype(np.float32)
    name = "fields/wind" if extension != ".safetensors" else "wind"
    WRITE[extension](tmp_path / f"in{extension}", {name: rows, "other": rows[:3]})
    target = aecompress.Target("max-error", 0.01)
    aecompress.pack(f"{tmp_path}/in{extension}::{name}", tmp_path / "a.aec", target=target, model="none")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / f"out{extension}")
    found = read_back(tmp_path / f"out{extension}", name)
    assert found.dtype == rows.dtype
    assert np.abs(found - rows).max() <= 0.01


def test_dimensions_of_netcdf_come_back(tmp_path: Path) -> None:
    with netcdf.Dataset(tmp_path / "in.nc", "w") as file:
        file.createDimension("time", 4)
        file.createDimension("lat", 3)
        file.createVariable("t", ">f4", ("time", "lat"), endian="big")[:] = np.zeros((4, 3))
    copy(open_source(tmp_path / "in.nc"), tmp_path / "out.nc")
    with netcdf.Dataset(tmp_path / "out.nc") as file:
        assert file["t"].dimensions == ("time", "lat")
        assert file["t"].endian() == "big"


def climate(path: Path) -> None:
    """A variable with all that may stand around one."""
    with netcdf.Dataset(path, "w") as file:
        file.Conventions, file.history = "CF-1.8", "made"
        file.createDimension("time", None)
        file.createDimension("lat", 3)
        time = file.createVariable("time", ">f8", ("time",), endian="big")
        time.units = "hours since 2000-01-01"
        time[:] = [0, 6, 12, 18]
        file.createVariable("lat", "f4", ("lat",))[:] = [1, 2, 3]
        mask = file.createVariable("mask", "i1", ("time", "lat"))
        mask[:] = np.arange(12).reshape(4, 3) % 2
        data = file.createVariable("t2m", "f4", ("time", "lat"), fill_value=np.nan)
        data.units, data.coordinates, data.flags = "K", "mask", ["a", "b"]
        data.valid_range = np.array([0, 400], np.float32)
        data[:] = np.arange(12).reshape(4, 3)


def described(path: Path) -> dict[str, Any]:
    """Everything in a NetCDF file, as it is stored."""
    with netcdf.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        found: dict[str, Any] = {"": {name: file.getncattr(name) for name in file.ncattrs()}}
        found["dims"] = {name: (len(dim), dim.isunlimited()) for name, dim in file.dimensions.items()}
        for name, item in file.variables.items():
            attributes = {key: np.asarray(item.getncattr(key)).tolist() for key in item.ncattrs()}
            found[name] = (item.dimensions, item.dtype.str, item.endian(), repr(attributes), item[:].tolist())
        return found


def test_all_that_stands_around_a_variable_comes_back(tmp_path: Path) -> None:
    climate(tmp_path / "in.nc")
    aecompress.pack(tmp_path / "in.nc", tmp_path / "a.aec", target=aecompress.Target("lossless"), model="none")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out")
    assert described(tmp_path / "out") == described(tmp_path / "in.nc")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "part.nc", rows=(1, 3))
    part = described(tmp_path / "part.nc")
    assert part["time"][-1] == [6, 12]
    assert part["lat"][-1] == [1, 2, 3]
    assert part["mask"][-1] == [[1, 0, 1], [0, 1, 0]]


def test_attributes_come_back_and_go_into_other_formats(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        made = file.create_dataset("g/x", data=np.arange(6.0))
        made.attrs["unit"], made.attrs["range"], made.attrs["gain"] = "m", np.arange(3), np.float32(2)
        made.attrs["names"], made.attrs["none"] = ["a", "b"], h5py.Empty("f")
    copy(open_source(tmp_path / "in.h5"), tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        found = dict(file["g/x"].attrs)
    assert found["unit"] == "m"
    assert found["range"].tolist() == [0, 1, 2]
    assert found["range"].dtype == np.int64
    assert (found["gain"], found["gain"].dtype) == (2, np.float32)
    assert list(found["names"]) == ["a", "b"]
    assert "none" not in found
    climate(tmp_path / "in.nc")
    copy(open_source(tmp_path / "in.nc"), tmp_path / "out.zarr")
    array = zarr.open(tmp_path / "out.zarr", mode="r")["t2m"]
    assert array.metadata.dimension_names == ("time", "lat")
    assert array.attrs["units"] == "K"
    assert array.attrs["valid_range"] == [0.0, 400.0]


@pytest.mark.parametrize(
    "damage",
    [
        {"attributes": 7},
        {"attributes": {"a": {"dtype": "O", "shape": [], "zlib": ""}}},
        {"attributes": {"a": {"dtype": "<f8", "shape": [1 << 40], "zlib": "eNo="}}},
        {"attributes": {"a": {"dtype": "<f8", "shape": [2], "zlib": "eNoDAAAAAAE="}}},
        {"coordinates": {"x": 7}},
        {"coordinates": [7]},
    ],
)
def test_damaged_attributes_are_refused(damage: dict[str, Any], tmp_path: Path) -> None:
    source = open_source(np.arange(4.0))
    with pytest.raises(DestinationError, match="cannot be read; write to"):
        open_sink(tmp_path / "out.nc", source.spec, damage)
    assert not list(tmp_path.iterdir())


@relaxed
@given(array=arrays)
def test_what_goes_into_a_store_zarr_reads(array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    copy(open_source(array), tmp_path / "out.zarr")
    found = zarr.open(tmp_path / "out.zarr", mode="r")
    assert same(found[...], array)
    assert same(gather(open_source(tmp_path / "out.zarr")), array)
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr"]


def test_a_store_gives_its_names_back_and_is_replaced_by_force_alone(tmp_path: Path) -> None:
    made = zarr.open_group(tmp_path / "in.zarr", mode="w").create_array(
        "fields/wind", shape=(4, 3), dtype="f4", dimension_names=["time", "x"], attributes={"unit": "m/s", "n": [1]}
    )
    made[...] = np.arange(12).reshape(4, 3)
    (tmp_path / "in.zarr").rename(tmp_path / "store")
    copy(open_source(tmp_path / "store"), tmp_path / "out")
    found = zarr.open(tmp_path / "out", mode="r")["fields/wind"]
    assert (found.metadata.dimension_names, dict(found.attrs)) == (("time", "x"), {"unit": "m/s", "n": [1]})
    source = open_source(np.arange(5))
    with pytest.raises(DestinationError, match="exists already"):
        open_sink(tmp_path / "out", source.spec, {"format": "zarr"})
    copy(source, tmp_path / "out.zarr")
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "thesis.txt").write_text("precious")
    with pytest.raises(DestinationError, match="holds other things"):
        open_sink(tmp_path / "folder.zarr", source.spec, {}, force=True)


# --- Arrow IPC ------------------------------------------------------------------------------------------------------


def table() -> pa.Table:
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 2)
    return pa.table({"embedding": column}).combine_chunks()


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("extension", [".arrow", ".feather", ".arrows"])
def test_ipc_files_and_streams_are_read(kind: str, extension: str, tmp_path: Path) -> None:
    path, data = tmp_path / f"t{extension}", table()
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(str(path), data.schema) as writer:
        writer.write_table(data, max_chunksize=7)
    source = open_source(path)
    expected = np.arange(40, dtype=np.float32).reshape(20, 2)
    assert source.spec.shape == (20, 2)
    assert same(gather(source, 6), expected)
    assert same(np.concatenate(list(source.batches(4, 9, 17))), expected[9:17])
    copy(source, tmp_path / "out.arrow")
    with pa.ipc.open_file(str(tmp_path / "out.arrow")) as back:
        assert back.read_all().combine_chunks().equals(data)


def test_ipc_of_an_array_has_one_column(tmp_path: Path) -> None:
    copy(open_source(np.arange(5)), tmp_path / "out.arrow")
    with pa.ipc.open_file(str(tmp_path / "out.arrow")) as back:
        assert back.read_all().to_pydict() == {"values": [0, 1, 2, 3, 4]}


def test_dtypes_have_the_names_of_the_format() -> None:
    array = {name: np.zeros(1, code) for name, code in DTYPES.items()}
    header = safetensors.save(array)
    found = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    assert {name: entry["dtype"] for name, entry in found.items()} == {name: name for name in DTYPES}


@pytest.mark.parametrize("rows", [np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.arange(6).reshape(2, 3)])
def test_tensors_of_ray_keep_their_shape_without_ray(rows: np.ndarray[Any, Any], tmp_path: Path) -> None:
    """As Ray writes them: lists, and the shape beside the column."""
    said = {"ARROW:extension:name": "ray.data.arrow_tensor_v2", "ARROW:extension:metadata": str(list(rows.shape[1:]))}
    lists = pa.array(rows.reshape(2, -1).tolist(), pa.large_list(pa.from_numpy_dtype(rows.dtype)))
    schema = pa.schema([pa.field("x", lists.type, metadata=said), pa.field("id", pa.string())])
    data = pa.table([lists, ["a", "b"]], schema)
    pq.write_table(data, tmp_path / "in.parquet")
    source = open_source(tmp_path / "in.parquet")
    assert same(gather(source), rows)
    aecompress.pack(source, tmp_path / "a.aec", target=aecompress.Target("lossless"), model="none")
    aecompress.unpack(tmp_path / "a.aec", tmp_path / "out")
    back = pq.read_table(tmp_path / "out")
    assert back.equals(pq.read_table(tmp_path / "in.parquet"))
    field = back.schema.field("x")
    if isinstance(field.type, pa.BaseExtensionType):  # Ray was imported by another test, and knows its type
        assert field.type.extension_name == said["ARROW:extension:name"]
    else:
        assert field.metadata == {key.encode(): value.encode() for key, value in said.items()}
