"""Sources in an object store: the rows are those of a file of this machine, fetched piece by piece."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import aecompress
from aecompress.config import Target
from aecompress.errors import DestinationError, InputError, StoreError
from aecompress.locations import StorePath, files_below
from aecompress.sinks import open_sink
from aecompress.sources import open_source
from aecompress.spec import Array
from tests.objectstore import ObjectStore

ROWS = np.random.default_rng(0).normal(size=(500, 6, 4)).astype(np.float32)
PICTURES = np.random.default_rng(1).integers(0, 256, (5, 8, 9), np.uint8)


@pytest.fixture
def folder(store: ObjectStore, tmp_path: Path) -> StorePath:
    """A name in the store that no other test uses."""
    assert store.endpoint
    return StorePath(f"s3://bucket/{tmp_path.name}")


def send(path: Path, folder: StorePath) -> str:
    """Copy a file, or a folder, to the store."""
    if path.is_file():
        (folder / path.name).upload(path)
    else:
        for name, file in files_below(path).items():
            assert isinstance(file, Path)
            (folder / path.name / name).upload(file)
    return f"{folder}/{path.name}"


def write(dest: Path, rows: Array = ROWS) -> Path:
    """A file in the format that its extension names."""
    spec = open_source(rows).spec
    sink = open_sink(dest, spec, {"format": "array", "member": "x"})
    sink.write(rows)
    sink.commit()
    return dest


def fortran(folder: Path) -> Path:
    np.save(folder / "f.npy", np.asfortranarray(ROWS))
    return folder / "f.npy"


def deflated(folder: Path) -> Path:
    np.savez_compressed(folder / "d.npz", other=np.arange(3), x=ROWS)
    return folder / "d.npz"


def parts(folder: Path) -> Path:
    for name, rows in (("b-1/p", ROWS[:200]), ("b/p", ROWS[200:])):  # sorted otherwise by their letters
        path = folder / "set" / f"{name}.parquet"
        path.parent.mkdir(parents=True)
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(rows)
        pq.write_table(pa.table({"x": column}), path, row_group_size=90)
    return folder / "set"


def pictures(folder: Path) -> Path:
    (folder / "pictures").mkdir()
    for i, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(folder / "pictures" / f"{i}.png")
    return folder / "pictures"


def tarred(folder: Path) -> Path:
    with tarfile.open(folder / "p.tar", "w") as tar:
        for path in sorted(pictures(folder).iterdir()):
            tar.add(path, path.name)
    return folder / "p.tar"


MADE = {
    **{name: lambda folder, name=name: write(folder / name) for name in (
        "x.npy", "x.npz", "x.parquet", "x.arrow", "x.h5", "x.nc", "x.zarr", "x.safetensors",
    )},
    "x.tif": lambda folder: write(folder / "x.tif", PICTURES),
    "fortran": fortran, "deflated": deflated, "parts": parts, "pictures": pictures, "tar": tarred,
}  # fmt: skip


@pytest.mark.parametrize("made", MADE)
def test_every_format_reads_as_from_disk(made: str, folder: StorePath, tmp_path: Path) -> None:
    path = MADE[made](tmp_path)
    member = "::x" if made == "deflated" else ""
    local, remote = open_source(f"{path}{member}"), open_source(f"{send(path, folder)}{member}")
    assert remote.name == local.name.replace(str(path.parent), str(folder))
    assert (remote.spec, remote.origin) == (local.spec, local.origin)
    for start, stop in ((0, None), (3, 333), (499, 500)):
        found = list(remote.batches(100, start, stop))
        assert all(np.array_equal(a, b) for a, b in zip(found, local.batches(100, start, stop), strict=True))
        assert all(batch.flags.writeable for batch in found)


@pytest.mark.parametrize("name", ["x.npy", "x.parquet", "x.h5", "x.safetensors", "x.zarr"])
def test_rows_are_fetched_where_they_are(name: str, store: ObjectStore, folder: StorePath, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(2000, 500))
    path = tmp_path / name
    if name == "x.parquet":
        pq.write_table(pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(rows)}), path, row_group_size=100)
    elif name == "x.zarr":
        import zarr

        zarr.create_array(str(path), data=rows, chunks=(100, 500))
    else:
        write(path, rows)
    url = send(path, folder)
    store.watch()
    source = open_source(url)
    (batch,) = source.batches(10, 1500, 1510)
    assert np.array_equal(batch, rows[1500:1510])
    assert sum(request.size for request in store.requests) < 1.5e6 < rows.nbytes / 4


def test_a_pack_from_store_to_store_and_back(folder: StorePath, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    url, archive, back = send(tmp_path / "x.npy", folder), f"{folder}/x.aec", f"{folder}/back.npy"
    target = Target("max-error", 1e-3)
    aecompress.pack(tmp_path / "x.npy", tmp_path / "x.aec", target=target, model="none")
    aecompress.pack(url, archive, target=target, model="none")
    local, remote = files_below(tmp_path / "x.aec"), files_below(StorePath(archive))
    assert {name: path.read_bytes() for name, path in local.items()} == {
        name: path.read_bytes() for name, path in remote.items()
    }
    aecompress.verify(archive, against=url)
    assert aecompress.unpack(archive, back) == 500
    assert np.abs(np.load(io.BytesIO(StorePath(back).read_bytes())) - ROWS).max() <= 1e-3
    with pytest.raises(DestinationError, match=r"back.npy exists already; choose another name"):
        aecompress.unpack(archive, back)
    aecompress.unpack(archive, back, rows=(0, 3), force=True)
    assert len(np.load(io.BytesIO(StorePath(back).read_bytes()))) == 3


def test_a_destination_that_fails_is_not_there(store: ObjectStore, folder: StorePath) -> None:
    sink = open_sink(f"{folder}/x.npy", open_source(ROWS).spec, {})
    sink.write(ROWS[:100])
    with pytest.raises(DestinationError, match="100 of 500 rows"):
        sink.commit()
    sink.abort()
    sink = open_sink(f"{folder}/x.npy", open_source(ROWS).spec, {})
    sink.write(ROWS)
    store.watch(lambda request: "deny" if request.method == "PUT" else None)
    with pytest.raises(StoreError, match=r"x.npy cannot be written: Access Denied"):
        sink.commit()
    sink.abort()
    assert not folder.exists()
    with pytest.raises(DestinationError, match="is not written to a store"):
        open_sink(f"{folder}/x", open_source(PICTURES).spec, {}, format="images")


def test_what_is_not_there_or_no_source(folder: StorePath, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"Cannot read {folder}/none.npy: No such file"):
        open_source(f"{folder}/none.npy")
    (tmp_path / "x.nc").write_bytes(b"no such thing")
    with pytest.raises(InputError, match=f"{folder}/x.nc is not a whole NetCDF file"):
        open_source(send(tmp_path / "x.nc", folder))
    with pytest.raises(InputError, match="leads to no place known here"):
        open_source("http://host/x.npy")


def test_copies_go_with_their_sources(folder: StorePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    source = open_source(send(write(tmp_path / "x.arrow"), folder))
    assert len(list((tmp_path / "copies").iterdir())) == 1
    del source
    assert not list((tmp_path / "copies").iterdir())
