"""Archives on their way to a store: what stops half-way never looks whole, and can be finished."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import aecompress
from aecompress.config import Target
from aecompress.errors import ArchiveError, DestinationError, StoreError
from aecompress.locations import Location, StorePath, workspace
from aecompress.metrics import Distortion
from aecompress.shards import writer
from aecompress.shards.block import Block
from aecompress.shards.reader import ShardReader
from aecompress.shards.writer import ShardWriter
from aecompress.spec import ArraySpec
from tests.objectstore import Fault, ObjectStore, Request

KEY = "0123456789abcdef"
ROWS = np.cumsum(np.random.default_rng(0).normal(size=(400, 20)), axis=1).astype(np.float32)


@pytest.fixture
def remote(store: ObjectStore, tmp_path: Path) -> StorePath:
    """Where an archive is to be."""
    assert store.endpoint
    return StorePath(f"s3://bucket/{tmp_path.name}/set.aec")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part for each block."""
    monkeypatch.setattr(writer, "PART_BYTES", 1)


def blocks(seed: int, count: int = 3) -> list[Block]:
    rng = np.random.default_rng(seed)
    return [Block(4 * i, 4, rng.bytes(100 + i), "plain", Distortion()) for i in range(count)]


def put(archive: Location, given: list[Block], *, force: bool = False, resume: bool = False, key: str = KEY) -> None:
    """Write an archive as a packer does."""
    shard = ShardWriter.create(archive, key=key, force=force, resume=resume)
    try:
        if shard.model is None:
            shard.save_model(given[0].payload)
        for block in given:
            if block.start >= shard.next_row:
                shard.write(block)
        spec = ArraySpec(np.dtype("<f4"), (2,), given[-1].stop)
        shard.commit(spec, {}, Target("lossless"), 4, {})
    finally:
        shard.abort()


def tree(archive: Location) -> dict[str, bytes]:
    """Every file of an archive."""
    return {str(path.relative_to(archive)): path.read_bytes() for path in archive.rglob("*") if path.is_file()}


def failing_after(count: int, method: str = "PUT") -> Fault:
    """Refuse all requests of a method but the first ``count``; that is not tried again, which would take time."""
    seen = [0]

    def fault(request: Request) -> str | None:
        if request.method == method:
            seen[0] += 1
        return "deny" if seen[0] > count and request.method == method else None

    return fault


def test_an_archive_in_a_store_is_that_of_a_disk(remote: StorePath, tmp_path: Path) -> None:
    target = Target("max-error", 1e-3)
    aecompress.pack(ROWS, tmp_path / "local.aec", target=target, model="none")
    report = aecompress.pack(ROWS, str(remote), target=target, model="none")
    assert tree(remote) == tree(tmp_path / "local.aec")
    assert report.packed_bytes == sum(map(len, tree(remote).values()))
    assert aecompress.pack(ROWS, str(remote), target=target, model="none", resume=True).methods == report.methods
    assert not list(workspace(str(remote)).parent.iterdir())


def test_the_manifest_comes_last_and_parts_once(store: ObjectStore, remote: StorePath) -> None:
    store.watch()
    put(remote, blocks(1))
    sent = [request.path.rpartition("set.aec/")[2] for request in store.requests if request.method == "PUT"]
    assert len(sent) == 5
    assert sent[-1] == "_manifest.json"
    assert len(set(sent)) == 5


@pytest.mark.parametrize("former", [0, 5], ids=["fresh", "replace"])
def test_an_upload_that_dies_at_any_place_looks_unfinished_and_goes_on(
    store: ObjectStore, remote: StorePath, tmp_path: Path, former: int
) -> None:
    put(tmp_path / "whole", blocks(1))
    for count in (0, 2, 4):
        store.watch()
        if former:
            put(remote, blocks(2, former), force=True)
        store.watch(failing_after(count))
        with pytest.raises(DestinationError, match=r"Access Denied. What is packed stays .* --resume"):
            put(remote, blocks(1), force=bool(former))
        store.watch()
        with pytest.raises(ArchiveError, match="is unfinished"):
            ShardReader(remote)
        with pytest.raises(DestinationError, match="is unfinished: use --resume"):
            put(remote, blocks(1))
        put(remote, blocks(1), resume=True)
        again = [request for request in store.requests if request.method == "PUT"]
        assert len(again) == 5 - count
        assert tree(remote) == tree(tmp_path / "whole")
        (remote / "_manifest.json").unlink()
        for path in remote.rglob("*"):
            path.unlink()


def test_a_killed_upload_goes_on(store: ObjectStore, remote: StorePath, tmp_path: Path) -> None:
    put(tmp_path / "whole", blocks(1))
    child = os.fork()
    if not child:
        time.sleep(0.2)  # until the parent knows whom to kill
        put(remote, blocks(1))
        os._exit(0)

    def kill(request: Request) -> None:
        if request.method == "PUT" and request.path.endswith("part-00001.parquet"):
            os.kill(child, signal.SIGKILL)

    store.watch(kill)  # type: ignore[arg-type]
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    store.watch()
    with pytest.raises(ArchiveError, match="is unfinished"):
        ShardReader(remote)
    put(remote, blocks(1), resume=True)
    assert tree(remote) == tree(tmp_path / "whole")


def test_an_archive_stays_until_the_new_one_is_sent(store: ObjectStore, remote: StorePath) -> None:
    put(remote, blocks(1))
    store.watch()
    shard = ShardWriter.create(remote, key=KEY, force=True, resume=False)
    shard.save_model(b"another")
    shard.write(blocks(2)[0])
    assert ShardReader(remote).manifest.spec.rows == 12
    assert not any(request.method in ("PUT", "DELETE") for request in store.requests)
    shard.discard()


def test_parts_of_the_former_archive_go(remote: StorePath) -> None:
    put(remote, blocks(1, 5))
    put(remote, blocks(2, 2), force=True)
    assert sorted(name for name in tree(remote) if "part" in name) == [f"blocks/part-{i:05d}.parquet" for i in range(2)]


def test_an_upload_is_not_continued_over_another_archive(store: ObjectStore, remote: StorePath, tmp_path: Path) -> None:
    """The other one has parts of the same names and sizes."""
    put(tmp_path / "whole", blocks(1))
    store.watch(failing_after(3))
    with pytest.raises(DestinationError):
        put(remote, blocks(1))
    store.watch()
    for name, data in tree(tmp_path / "whole").items():
        (remote / name).write_bytes(data if name.startswith("_") else bytes(len(data)))
    with pytest.raises(DestinationError, match="complete archive already"):
        put(remote, blocks(1), resume=True)
    put(remote, blocks(1), force=True, resume=True)
    assert tree(remote) == tree(tmp_path / "whole")


def test_what_is_in_the_way(store: ObjectStore, remote: StorePath) -> None:
    put(remote, blocks(1))
    with pytest.raises(DestinationError, match="is a complete archive already; use --force"):
        put(remote, blocks(1))
    (remote / "_manifest.json").unlink()
    with pytest.raises(DestinationError, match="is unfinished: use --resume"):  # begun on another machine
        put(remote, blocks(1))
    (remote / "notes.txt").write_bytes(b"mine")
    for force in (False, True):
        with pytest.raises(DestinationError, match="is not an archive, so it is left alone"):
            put(remote, blocks(1), force=force)
    store.watch(lambda request: "deny" if request.method == "HEAD" else None)
    with pytest.raises(StoreError):  # nobody knows what is there, so nothing is written
        put(remote, blocks(1))
    assert not any(request.method == "PUT" for request in store.requests)


def test_work_begun_with_other_settings(store: ObjectStore, remote: StorePath) -> None:
    store.watch(failing_after(1))
    with pytest.raises(DestinationError):
        put(remote, blocks(1))
    store.watch()
    with pytest.raises(DestinationError, match="begun from another source or with other settings"):
        put(remote, blocks(2), key="f" * 16, resume=True)
    put(remote, blocks(2), key="f" * 16, force=True)
    assert ShardReader(remote).model() == blocks(2)[0].payload
