"""Files of this machine and objects of a store, reached in the same way."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aecompress import locations
from aecompress.errors import InputError, StoreError
from aecompress.locations import StorePath, arrow_file, locate, upload_all, workspace
from tests.objectstore import Fault, ObjectStore, Request

DATA = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def folder(store: ObjectStore, tmp_path: Path) -> StorePath:
    """A name in the store that no other test uses."""
    assert store.endpoint
    found = locate(f"s3://bucket/{tmp_path.name}/")
    assert isinstance(found, StorePath)
    return found


def failing(what: str, method: str = "GET", times: int = 1000) -> Fault:
    """Do ``what`` to the first ``times`` requests of a method."""
    left = [times]

    def fault(request: Request) -> str | None:
        if request.method != method or not left[0]:
            return None
        left[0] -= 1
        return what

    return fault


@pytest.mark.parametrize(
    ("where", "path"),
    [("a/b.npy", "a/b.npy"), ("file:///a/b%20c", "/a/b c"), ("file://localhost/a", "/a"), (Path("x"), "x"), ("-", "-")],
)
def test_files_of_this_machine(where: str | Path, path: str) -> None:
    assert locate(where) == Path(path)


@pytest.mark.parametrize("where", ["http://host/a", "s3://", "hdfs://a/b", "://x"])
def test_urls_of_no_known_place(where: str) -> None:
    with pytest.raises(InputError, match="leads to no place known here"):
        locate(where)


def test_names_are_taken_apart() -> None:
    path = locate("s3://bucket/a.aec/") / "blocks" / "part-00000.parquet"  # type: ignore[operator]
    assert str(path) == "s3://bucket/a.aec/blocks/part-00000.parquet"
    assert (path.name, path.suffix) == ("part-00000.parquet", ".parquet")
    assert path.relative_to(locate("s3://bucket/a.aec")).parts == ("blocks", "part-00000.parquet")
    assert pickle.loads(pickle.dumps(path)) == path
    assert locate(path) is path


def test_an_object_is_written_listed_read_and_deleted(folder: StorePath) -> None:
    path = folder / "deep" / "a b%20c#?.bin"
    assert not path.exists()
    assert not folder.is_dir()
    path.write_bytes(DATA)
    assert path.is_file()
    assert folder.is_dir()
    assert path.read_bytes() == DATA
    assert path.stat().st_size == len(DATA)
    assert [found.relative_to(folder).parts for found in folder.rglob("*.bin")] == [("deep", "a b%20c#?.bin")]
    assert not list(folder.rglob("*.npy"))
    path.unlink()
    path.unlink()
    assert not folder.exists()


def test_what_is_not_there(folder: StorePath) -> None:
    for read in (folder.read_bytes, folder.open, folder.stat, lambda: folder.read_range(0, 1)):
        with pytest.raises(FileNotFoundError) as caught:
            read()
        assert caught.value.filename == str(folder)
    with pytest.raises(StoreError, match="s3://none/x cannot be written: The specified bucket does not exist"):
        StorePath("s3://none/x").write_bytes(b"x")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(st.tuples(st.integers(0, len(DATA) + 10), st.integers(0, 100_000)), max_size=6),
    in_order=st.booleans(),
)
def test_a_file_in_a_store_reads_like_one_on_disk(
    folder: StorePath, moves: list[tuple[int, int]], in_order: bool
) -> None:
    path = folder / "file"
    if not path.exists():
        path.write_bytes(DATA)
    with path.open() as file:
        place = 0
        for start, count in moves:
            place = place if in_order else file.seek(start)
            assert file.tell() == place
            assert file.read(count) == DATA[place : place + count]
            place = min(place + count, max(place, len(DATA)))


def test_reading_in_order_fetches_ever_more_at_once(store: ObjectStore, folder: StorePath) -> None:
    path = folder / "file"
    path.write_bytes(DATA * 20)
    store.watch()
    with path.open() as file:
        while file.read(1000):
            pass
    sizes = [request.size for request in store.requests if request.method == "GET"]
    assert sizes[:4] == [1 << 17, 1 << 18, 1 << 19, 1 << 20]
    assert sum(sizes) == 20 * len(DATA)


def test_pyarrow_reads_both(folder: StorePath, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    (folder / "file").upload(tmp_path / "file")
    for path in (tmp_path / "file", folder / "file"):
        with arrow_file(path) as file:
            assert file.size() == len(DATA)
            file.seek(1000)
            assert file.read(10) == DATA[1000:1010]


@pytest.mark.parametrize("what", ["slow", "drop", "half"])
def test_a_failure_is_tried_again(store: ObjectStore, folder: StorePath, what: str) -> None:
    (folder / "file").write_bytes(DATA)
    store.watch(failing(what, times=2))
    assert (folder / "file").read_bytes() == DATA
    assert [request.method for request in store.requests].count("GET") == 3


def test_a_failure_that_lasts_is_one_sentence(store: ObjectStore, folder: StorePath, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    store.watch(failing("slow", "PUT"))
    with pytest.raises(StoreError) as caught:
        (folder / "file").upload(tmp_path / "file")
    assert str(caught.value) == f"{folder}/file cannot be written: Please reduce your request rate."
    assert len(store.requests) > 3
    store.watch()
    assert not folder.exists()


@pytest.mark.parametrize("fails", [None, 2, 11])
def test_many_files_are_sent_at_once(store: ObjectStore, folder: StorePath, tmp_path: Path, fails: int | None) -> None:
    files = [tmp_path / str(i) for i in range(12)]
    for file in files:
        file.write_bytes(file.name.encode())
    store.watch(lambda request: "deny" if request.path.endswith(f"/{fails}") and request.method == "PUT" else None)
    arrived: list[Path] = []

    def send() -> None:
        for file in upload_all([(file, folder / file.name) for file in files]):
            arrived.append(file)

    if fails is None:
        send()
        assert len(arrived) == 12
    else:
        with pytest.raises(StoreError, match=f"/{fails} cannot be written"):
            send()
    assert {path.name for path in folder.rglob("*")} == {file.name for file in arrived}


def test_a_child_process_connects_anew(folder: StorePath) -> None:
    (folder / "file").write_bytes(DATA)
    child = os.fork()
    if not child:
        os._exit(0 if (folder / "file").read_range(5, 9) == DATA[5:9] else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")])
def test_a_missing_package_is_named_with_its_extra(scheme: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_args: object, **_options: object) -> None:
        raise ImportError(f"Install {package}")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    locations._connect.cache_clear()
    with pytest.raises(InputError, match=rf"needs {package}; install it by: pip install 'aecompress\[{scheme}\]'"):
        StorePath(f"{scheme}://bucket/x").exists()


def test_each_url_has_a_folder_to_work_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert workspace("s3://a/b").parent == Path("/caches/aecompress")
    assert workspace("s3://a/b") == workspace("s3://a/b") != workspace("s3://a/c")
