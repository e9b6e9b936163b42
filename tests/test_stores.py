"""Archives in an object store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import aecompress
from aecompress.config import Target
from aecompress.errors import ArchiveError, CorruptError, StoreError
from aecompress.locations import StorePath, locate
from tests.objectstore import ObjectStore, Request

ROWS = np.cumsum(np.random.default_rng(0).normal(size=(400, 20)), axis=1).astype(np.float32)
TARGET = Target("max-error", 1e-3)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive on this machine."""
    archive = tmp_path_factory.mktemp("local") / "set.aec"
    aecompress.pack(ROWS, archive, target=TARGET, model="none")
    return archive


@pytest.fixture
def url(store: ObjectStore, tmp_path: Path) -> str:
    """The URL of an archive that is not there yet."""
    assert store.endpoint
    return f"s3://bucket/{tmp_path.name}/set.aec"


@pytest.fixture
def remote(url: str, local: Path) -> str:
    """The archive, in the store."""
    for path in local.rglob("*"):
        if path.is_file():
            StorePath(f"{url}/{path.relative_to(local).as_posix()}").upload(path)
    return url


def of_parts(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith(".parquet")


def test_info_fetches_no_blocks(store: ObjectStore, remote: str, local: Path) -> None:
    store.watch()
    found = aecompress.info(remote)
    assert found == {**aecompress.info(local), "archive": remote}
    assert not any(of_parts(request) for request in store.requests)
    assert len(store.requests) < 6


def test_resuming_what_is_complete_fetches_no_blocks(store: ObjectStore, remote: str, local: Path) -> None:
    store.watch()
    again = aecompress.pack(ROWS, remote, target=TARGET, model="none", resume=True)
    assert not any(of_parts(request) for request in store.requests)
    assert again.methods == aecompress.info(local)["methods"]
    assert again.packed_bytes == aecompress.info(local)["packed_bytes"]


def test_a_row_costs_its_block_not_the_archive(store: ObjectStore, remote: str, local: Path) -> None:
    archive = aecompress.open(remote)
    store.watch()
    assert np.array_equal(archive[5], aecompress.open(local)[5])
    fetched = sum(request.size for request in store.requests if of_parts(request))
    assert fetched <= archive.manifest.fragments[0].bytes + (1 << 17)


def test_everything_reads_as_from_disk(remote: str, local: Path, tmp_path: Path) -> None:
    aecompress.verify(remote, against=ROWS)
    aecompress.unpack(remote, tmp_path / "back.npy")
    assert np.array_equal(np.load(tmp_path / "back.npy"), aecompress.open(local)[:])


def test_what_is_no_archive(url: str, local: Path) -> None:
    with pytest.raises(ArchiveError, match=f"{url} does not exist"):
        aecompress.open(url)
    model = next((local / "_model").iterdir())
    (locate(url) / "_model" / model.name).upload(model)  # type: ignore[union-attr]
    with pytest.raises(ArchiveError, match=r"its upload was interrupted.*--resume"):
        aecompress.open(url)


def test_damage_is_found(remote: str, local: Path) -> None:
    path = "blocks/part-00000.parquet"
    whole = (local / path).read_bytes()
    place = len(whole) // 2
    damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    part = StorePath(f"{remote}/{path}")
    for data, read in [
        (damaged, lambda: aecompress.open(remote)[:]),
        (damaged, lambda: aecompress.verify(remote)),
        (whole[:-1], lambda: aecompress.open(remote)[:]),
    ]:
        part.write_bytes(data)
        with pytest.raises(CorruptError, match=path):
            read()
    part.unlink()
    with pytest.raises(CorruptError, match="is missing"):
        aecompress.open(remote)[0]


def test_a_store_that_stops_answering_is_no_damage(store: ObjectStore, remote: str) -> None:
    archive = aecompress.open(remote)
    store.watch(lambda request: "slow" if of_parts(request) else None)
    with pytest.raises(StoreError, match=r"part-00000\.parquet cannot be read: Please reduce your request rate\."):
        archive[0]


def test_what_stands_beside_the_rows_is_asked_in_the_store(url: str) -> None:
    column = pa.FixedSizeListArray.from_arrays(ROWS.ravel(), ROWS.shape[1])
    table = pa.table({"id": np.arange(len(ROWS)), "x": column})
    aecompress.pack(table, url, target=TARGET, model="none")
    archive = aecompress.open(url)
    assert archive.rows.to_table(filter=pc.field("id") > 397)["_row"].to_pylist() == [398, 399]
    assert archive.columns == ("id",)
