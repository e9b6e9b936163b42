"""Archives in torch, xarray and Zarr: every row once, and no more decoded than asked for."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import aecompress
from aecompress.archive import Archive
from aecompress.config import Target
from aecompress.errors import ArchiveError, CorruptError, InputError
from aecompress.integrations.torch import ArchiveDataset, IterableArchiveDataset
from aecompress.spec import Array
from aecompress.trainer import sampling

xr = pytest.importorskip("xarray")
zarr = pytest.importorskip("zarr")
netcdf = pytest.importorskip("netCDF4")

from aecompress.integrations.xarray import ArchiveEntrypoint  # noqa: E402
from aecompress.integrations.zarr import AecompressCodec  # noqa: E402

ROOT = Path(__file__).parents[1]
HEIGHT = 7

# Machines with one or two cores are warned of the workers that the tests start.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def pack(source: Any, folder: Path, *, values: int, target: Target | None = None) -> Path:
    """An archive of HEIGHT rows a block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK_VALUES", HEIGHT * values)
        aecompress.pack(source, folder, model="none", target=target or Target("lossless"))
    return folder


@pytest.fixture(scope="module")
def rows() -> Array:
    """Row i holds i, i + 1, i + 2."""
    return np.arange(101, dtype=np.int32)[:, None] + np.arange(3, dtype=np.int32)


@pytest.fixture(scope="module")
def archive(rows: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(rows, tmp_path_factory.mktemp("rows") / "rows.aec", values=3)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First rows of the blocks decoded during a test."""
    starts: list[int] = []
    decode = Archive._decode
    monkeypatch.setattr(Archive, "_decode", lambda self, block: starts.append(block.start) or decode(self, block))
    return starts


# --- torch ----------------------------------------------------------------------------------------------------------


def numbers(batches: Any) -> list[int]:
    """First value of each row, which is its number."""
    return [int(row[0]) for batch in batches for row in batch]


def test_rows_come_by_number(archive: Path, rows: Array) -> None:
    dataset = ArchiveDataset(archive)
    assert len(dataset) == 101
    assert dataset[13].dtype == torch.int32
    assert all(torch.equal(dataset[i], torch.from_numpy(rows[i])) for i in (0, 6, 7, 100, -1, -101))
    assert [row.tolist() for row in dataset.__getitems__([50, 2, 50])] == [rows[i].tolist() for i in (50, 2, 50)]
    for row in (101, -102):
        with pytest.raises(IndexError, match=f"row {row} of an archive of 101 rows"):
            dataset[row]


def test_a_row_may_be_changed(archive: Path, rows: Array) -> None:
    dataset = ArchiveDataset(archive)
    dataset[5].zero_()
    assert dataset[5].tolist() == rows[5].tolist()


def test_blocks_read_last_stay_decoded(archive: Path, decoded: list[int]) -> None:
    dataset = ArchiveDataset(archive, cached_blocks=2)
    for row in (0, 7, 1, 8, 14, 9, 2):
        dataset[row]
    assert decoded == [0, 7, 14, 0]


def test_a_batch_decodes_each_of_its_blocks_once(archive: Path, decoded: list[int]) -> None:
    ArchiveDataset(archive, cached_blocks=1).__getitems__([0, 7, 1, 8, 2, 9])
    assert decoded == [0, 7]


def test_a_data_set_is_pickled_without_its_blocks(archive: Path) -> None:
    dataset = ArchiveDataset(archive)
    before = len(pickle.dumps(dataset))
    assert dataset[3].tolist() == pickle.loads(pickle.dumps(dataset))[3].tolist()
    assert len(pickle.dumps(dataset)) == before < 500


@pytest.mark.parametrize("shape", [(20,), (20, 2, 2)])
@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", ">i4", "<f2", ">f8"])
def test_every_dtype_becomes_a_tensor(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    values = (np.arange(np.prod(shape)) % 2).astype(dtype).reshape(shape)
    path = pack(values, tmp_path / "a", values=1)
    (batch,) = DataLoader(ArchiveDataset(path), batch_size=20)
    assert batch.shape == shape
    assert np.array_equal(batch.numpy(), values)
    assert batch.numpy().dtype == values.dtype.newbyteorder("=")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_gets_every_row_once(archive: Path, workers: int) -> None:
    loader = DataLoader(ArchiveDataset(archive), batch_size=8, shuffle=True, num_workers=workers)
    seen = numbers(loader)
    assert seen != list(range(101))
    assert sorted(seen) == list(range(101))


@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [8, None])
def test_workers_share_the_rows(archive: Path, workers: int, shuffle: bool, batch_size: int | None) -> None:
    dataset = IterableArchiveDataset(archive, shuffle=shuffle, buffer_blocks=3)
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers)
    seen = numbers(loader if batch_size else ([row] for row in loader))
    assert sorted(seen) == list(range(101))
    if not shuffle and workers == 0:
        assert seen == sorted(seen)


def test_more_workers_than_blocks(tmp_path: Path) -> None:
    path = pack(np.arange(3, dtype=np.int32)[:, None], tmp_path / "a", values=1)
    loader = DataLoader(IterableArchiveDataset(path, shuffle=True), num_workers=4)
    assert sorted(numbers(loader)) == [0, 1, 2]


def test_the_order_follows_from_seed_and_epoch(archive: Path) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        dataset = IterableArchiveDataset(archive, shuffle=True, seed=seed, buffer_blocks=3)
        dataset.set_epoch(epoch)
        return numbers([dataset])

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(*of)) for of in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4
    apart = np.abs(np.diff(order(0, 0)))
    assert np.median(apart) > HEIGHT  # rows that follow each other come from different blocks


def test_shuffling_decodes_each_block_once(archive: Path, decoded: list[int]) -> None:
    list(IterableArchiveDataset(archive, shuffle=True, buffer_blocks=3))
    assert sorted(decoded) == list(range(0, 101, HEIGHT))


def test_workers_that_persist_see_the_epoch(archive: Path) -> None:
    dataset = IterableArchiveDataset(archive, shuffle=True)
    loader = DataLoader(dataset, batch_size=8, num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        epochs.append(numbers(loader))
    assert epochs[0] == epochs[2] != epochs[1]
    assert sorted(epochs[1]) == list(range(101))


RANK = """
import sys
from torch import distributed
from torch.utils.data import DataLoader
from aecompress.integrations.torch import IterableArchiveDataset

if __name__ == "__main__":
    archive, meeting, rank = sys.argv[1:]
    dataset = IterableArchiveDataset(archive, shuffle=True, buffer_blocks=2)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2)
    for context in ("fork", "spawn"):
        loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=context)
        print(*(int(row[0]) for row in loader))
    distributed.destroy_process_group()
"""


def test_ranks_and_their_workers_share_the_rows(archive: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    command = [sys.executable, str(script), str(archive), str(tmp_path / "meeting")]
    ranks = [subprocess.Popen([*command, rank], stdout=subprocess.PIPE, text=True) for rank in "01"]
    texts = [rank.communicate(timeout=300)[0].splitlines() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    for first, second in zip(*texts, strict=True):
        shares = [list(map(int, text.split())) for text in (first, second)]
        assert sorted(shares[0] + shares[1]) == list(range(101))
        assert {len(share) for share in shares} == {50, 51}


def test_settings_and_paths_that_make_no_sense_are_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cached_blocks is 0; it must be 1 or more"):
        ArchiveDataset(archive, cached_blocks=0)
    with pytest.raises(InputError, match="buffer_blocks is -1; it must be 1 or more"):
        IterableArchiveDataset(archive, buffer_blocks=-1)
    with pytest.raises(ArchiveError, match="does not exist"):
        ArchiveDataset(tmp_path / "none")


# --- xarray ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def field() -> Array:
    return np.random.default_rng(5).normal(size=(30, 4, 5)).cumsum(0).astype(np.float32)


@pytest.fixture(scope="module")
def opened(field: Array, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    path = pack(field, tmp_path_factory.mktemp("field") / "field.aec", values=20)
    return xr.open_dataset(path, engine=ArchiveEntrypoint)


def test_an_archive_opens_as_a_variable(opened: xr.Dataset, field: Array) -> None:
    assert list(opened) == ["values"]
    values = opened["values"]
    assert values.dims == ("row", "dim_1", "dim_2")
    assert values.encoding["preferred_chunks"] == {"row": HEIGHT, "dim_1": 4, "dim_2": 5}
    assert values.dtype == np.float32
    assert np.array_equal(values.copy(deep=True), field)


def selections(sizes: dict[str, int]) -> st.SearchStrategy[dict[str, Any]]:
    one = {
        dim: st.one_of(
            st.slices(size).filter(lambda item, size=size: range(size)[item]),  # xarray trips over some empty ones
            st.integers(-size, size - 1),
            st.lists(st.integers(-size, size - 1), max_size=4),
        )
        for dim, size in sizes.items()
    }
    return st.fixed_dictionaries({}, optional=one)


@settings(deadline=None, max_examples=150)
@given(first=selections({"row": 30, "dim_1": 4, "dim_2": 5}))
def test_every_selection_is_that_of_the_array(opened: xr.Dataset, field: Array, first: dict[str, Any]) -> None:
    lazy = opened["values"].isel(first)
    expected = xr.DataArray(field, dims=("row", "dim_1", "dim_2")).isel(first)
    xr.testing.assert_identical(lazy.drop_attrs().load().rename(None), expected)


def test_pointwise_selection(opened: xr.Dataset, field: Array) -> None:
    along = {"row": xr.DataArray([29, 3], dims="p"), "dim_2": xr.DataArray([0, 4], dims="p")}
    assert np.array_equal(
        opened["values"].isel(along), xr.DataArray(field).isel(dim_0=along["row"], dim_2=along["dim_2"])
    )


def test_only_the_blocks_looked_at_are_decoded(opened: xr.Dataset, decoded: list[int]) -> None:
    lazy = xr.open_dataset(opened.encoding["source"], engine=ArchiveEntrypoint)["values"]
    part = lazy.isel(row=[1, 29], dim_1=2)
    assert not decoded
    part.load()
    assert sorted(decoded) == [0, 28]


def test_names_and_dimensions_come_from_the_container(tmp_path: Path, field: Array) -> None:
    with netcdf.Dataset(tmp_path / "t.nc", "w") as file:
        for name, size in zip(("time", "lat", "lon"), field.shape, strict=True):
            file.createDimension(name, size)
        file.createGroup("fields").createVariable("t2m", "f4", ("time", "lat", "lon"))[:] = field
    path = pack(tmp_path / "t.nc", tmp_path / "t.aec", values=20)
    found = xr.open_dataset(path, engine=ArchiveEntrypoint)
    assert found["t2m"].dims == ("time", "lat", "lon")
    assert np.array_equal(found["t2m"].sel(time=slice(3, 9)), field[3:9])
    assert not xr.open_dataset(path, engine=ArchiveEntrypoint, drop_variables="t2m").variables


def test_coordinates_and_attributes_come_from_the_container(tmp_path: Path) -> None:
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(tmp_path / "in.nc", "w") as file:
        file.history = "made"
        file.createDimension("time", 4)
        time = file.createVariable("time", "i4", ("time",))
        time.units = "days since 2000-01-01"
        time[:] = range(4)
        data = file.createVariable("level", "i2", ("time",))
        data.scale_factor, data.units = 0.5, "m"
        data.set_auto_maskandscale(False)
        data[:] = [2, 4, 6, 8]
    aecompress.pack(tmp_path / "in.nc", tmp_path / "a.aec", model="none")
    with xr.open_dataset(tmp_path / "a.aec", engine="aecompress") as found:
        assert found.attrs == {"history": "made"}
        assert found["level"].attrs["units"] == "m"
        assert found["level"].sel(time="2000-01-03").item() == 3.0
    with xr.open_dataset(tmp_path / "a.aec", engine="aecompress", mask_and_scale=False, decode_times=False) as found:
        assert found["level"].values.tolist() == [2, 4, 6, 8]
        assert found["time"].values.tolist() == [0, 1, 2, 3]


def test_only_archives_are_guessed(archive: Path, tmp_path: Path) -> None:
    guess = ArchiveEntrypoint().guess_can_open
    assert guess(archive)
    assert guess(str(archive))
    assert not any(map(guess, (tmp_path, tmp_path / "none", "http://somewhere/x.nc", 3, b"CDF")))
    with pytest.raises(ArchiveError, match="not an archive"):
        xr.open_dataset(tmp_path, engine=ArchiveEntrypoint)


# --- Zarr -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    """As the entry point does where the package is installed."""
    zarr.registry.register_codec("aecompress", AecompressCodec)


def stored(values: Array, folder: Path, target: Target, **more: Any) -> zarr.Array:
    """The array as zarr reads it back from a folder."""
    codec = AecompressCodec(target)
    settings = {"chunks": (16, *values.shape[1:]), "serializer": codec, "compressors": None, **more}
    made = zarr.create_array(folder, shape=values.shape, dtype=values.dtype, **settings)
    made[...] = values
    return zarr.open_array(folder, mode="r")


def test_chunks_keep_the_bound(field: Array, tmp_path: Path) -> None:
    found = stored(field, tmp_path / "z", Target("max-error", 0.01))
    assert 0 < np.abs(found[:].astype(float) - field.astype(float)).max() <= 0.01
    assert np.array_equal(found[20, 1:3, ::2], found[:][20, 1:3, ::2])
    meta = json.loads((tmp_path / "z" / "zarr.json").read_text())
    assert meta["codecs"] == [{"name": "aecompress", "configuration": {"kind": "max-error", "value": 0.01}}]


def test_a_relative_bound_is_that_of_each_chunk(tmp_path: Path) -> None:
    values = np.concatenate([np.linspace(0, 1, 160), np.linspace(0, 1000, 160)]).reshape(32, 10)
    found = stored(values, tmp_path / "z", Target("rel-error", 0.01))[:]
    assert np.abs(found - values)[:16].max() <= 0.01
    assert 0.01 < np.abs(found - values)[16:].max() <= 10


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">i4", "<u8", "<f2", "<f4", ">f8"])
@pytest.mark.parametrize("shape", [(40,), (20, 3), (17, 2, 2)])
def test_without_loss_every_bit_comes_back(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 50, shape).astype(dtype)
    if values.dtype.kind == "f":
        values.flat[:3] = [np.nan, -np.inf, -0.0]
    found = stored(values, tmp_path / "z", Target("lossless"))[...]
    native = values.dtype.newbyteorder("=")
    assert found.astype(native).tobytes() == values.astype(native).tobytes()


def test_parts_of_chunks_are_written_and_shards_hold_chunks(field: Array, tmp_path: Path) -> None:
    path = tmp_path / "z"
    stored(field, path, Target("lossless"), chunks=(5, 4, 5), shards=(15, 4, 5))
    zarr.open_array(path, mode="r+")[3:8, 1] = 7
    changed = field.copy()
    changed[3:8, 1] = 7
    assert np.array_equal(zarr.open_array(path, mode="r")[...], changed)


def test_what_cannot_be_packed_is_refused(field: Array, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"psnr needs the whole array.*use max-error"):
        AecompressCodec(Target("psnr", 40))
    for configuration in ({"kind": "max-error"}, {"kind": "max-error", "value": "small"}, None):
        with pytest.raises(InputError, match="configured by the kind of a target and its value"):
            AecompressCodec.from_dict({"name": "aecompress", "configuration": configuration})
    with pytest.raises(InputError, match="complex64 is not supported"):
        stored(field.astype(np.complex64), tmp_path / "c", Target("lossless"))
    with pytest.raises(InputError, match="without axes"):
        zarr.create_array(tmp_path / "0", shape=(), dtype="f4", serializer=AecompressCodec(Target("lossless")))


def test_damaged_chunks_are_refused(field: Array, tmp_path: Path) -> None:
    found = stored(field, tmp_path / "z", Target("lossless"))
    chunk = tmp_path / "z" / "c" / "0" / "0" / "0"
    whole = chunk.read_bytes()
    for damaged in (b"", whole[:3], whole[:40], whole[:-1], b"\0" * 4 + whole[4:], b"\xff" * 40, whole[::-1]):
        chunk.write_bytes(damaged)
        with pytest.raises(CorruptError):
            found[:16]
    stored(field[:, :2], tmp_path / "other", Target("lossless"))
    chunk.write_bytes((tmp_path / "other" / "c" / "0" / "0" / "0").read_bytes())
    with pytest.raises(CorruptError, match="of another array"):
        found[:16]


# --- entry points and documents -------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which the entry points of pyproject.toml are found, as after installing the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "aecompress-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aecompress\nVersion: 0\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in names.items())
        for group, names in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(info.parent), str(ROOT)])}


def test_the_libraries_find_their_entry_points(installed: dict[str, str]) -> None:
    code = "import xarray, zarr; print(xarray.backends.list_engines()['aecompress'])"
    code += "; print(zarr.registry.get_codec_class('aecompress'))"
    found = subprocess.run([sys.executable, "-c", code], env=installed, capture_output=True, text=True)
    assert "ArchiveEntrypoint" in found.stdout
    assert "AecompressCodec" in found.stdout


@pytest.mark.parametrize("library", ["xarray", "zarr"])
def test_a_missing_library_is_named(library: str) -> None:
    code = f"import sys; sys.modules['{library}'] = None; import aecompress.integrations.{library}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert f"needs {library}; install it by: pip install 'aecompress[{library}]'" in found.stderr
