"""Where files live: on this machine, or in an object store. Both answer as paths do.

    locate("set.npy")               a pathlib.Path
    locate("s3://bucket/set.npy")   a StorePath: those of pathlib's methods that are needed here

A store has no folders, only names with slashes, so nothing is made or renamed there; an object appears whole or not at
all. What is not there is a FileNotFoundError, as with any path; all else that a store says is a StoreError, after its
own library has tried again several times.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from aecompress.errors import InputError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

#: The stores, and the package that speaks to each; the extra that brings it is named as the store.
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}

#: Bytes fetched at least, and read ahead at most while a file is read in order.
_LEAST_BYTES = 1 << 16
_MOST_BYTES = 8 << 20

#: Files that are sent at once.
_UPLOADS = 4


class Stat(NamedTuple):
    """The part of os.stat_result that a store knows."""

    st_size: int


@dataclass(frozen=True, order=True)
class StorePath:
    """An object in a store, or the beginning of the names of several, as if it were a folder.

    Attributes:
        url: such as ``s3://bucket/name``, taken literally, without a slash at the end.

    Raises:
        FileNotFoundError: by what reads, if there is no such object.
        StoreError: the store does not answer, or refuses.
        InputError: the package that speaks to it is missing.
    """

    url: str
    _listed: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def absolute(self) -> StorePath:
        return self  # as all names in a store are

    def resolve(self) -> StorePath:
        return self

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def looked_up(self) -> StorePath:
        """The same, with what the store says of it now, so that it is asked once."""
        return StorePath(self.url, self._info())

    def relative_to(self, other: StorePath) -> PurePosixPath:
        """What of the name comes behind ``other``."""
        return PurePosixPath(self.url.removeprefix(f"{other.url}/"))

    def exists(self) -> bool:
        return self._kind() is not None

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def stat(self) -> Stat:
        return Stat(int(self._info()["size"]))

    def rglob(self, pattern: str) -> Iterator[StorePath]:
        """All objects below this one whose last name matches; asking them for their size costs nothing more."""
        with self.answers():
            found = self._store.find(self.url, detail=True)
        scheme = self.url.partition("://")[0]
        for name, info in found.items():
            if fnmatch(PurePosixPath(name).name, pattern):
                yield StorePath(f"{scheme}://{name}", info)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The object as a file; what is read of it is fetched, and no more than 8 MiB ahead of that."""
        if mode != "rb":
            raise ValueError(f"objects are opened for reading only, not as {mode!r}")
        return io.BufferedReader(_Ranges(self, self.stat().st_size), _LEAST_BYTES)

    def read_range(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` of the object."""
        with self.answers():
            data = bytes(self._store.cat_file(self.url, start=start, end=stop)) if start < stop else b""
        if len(data) != stop - start:
            raise StoreError(f"{self} cannot be read: {len(data)} bytes came for {start} to {stop}; it has changed.")
        return data

    def read_bytes(self) -> bytes:
        with self.answers():
            return bytes(self._store.cat_file(self.url))

    def write_bytes(self, data: bytes) -> None:
        """Make the object, or replace it; it appears when all of it has arrived."""
        with self.answers("written"):
            self._store.pipe_file(self.url, data)

    def upload(self, file: Path) -> None:
        """The same, from a file of this machine."""
        with self.answers("written"):
            self._store.put_file(str(file), self.url)

    def download(self, file: Path) -> None:
        """Copy the object to a file of this machine."""
        with self.answers():
            self._store.get_file(self.url, str(file))

    def unlink(self) -> None:
        """Delete the object, if it is there."""
        with suppress(FileNotFoundError), self.answers("deleted"):
            self._store.rm_file(self.url)

    @property
    def _store(self) -> Any:
        return _connect(self.url.partition("://")[0], os.getpid())

    def _info(self) -> dict[str, Any]:
        if self._listed is not None:
            return self._listed
        with self.answers():
            found: dict[str, Any] = self._store.info(self.url)
        return found

    def _kind(self) -> str | None:
        try:
            return str(self._info()["type"])
        except FileNotFoundError:
            return None

    @contextmanager
    def answers(self, verb: str = "read") -> Iterator[None]:
        """Make the errors of the stores' libraries ours; each library has its own, and those of Python are defects."""
        try:
            yield
        except Exception as err:
            if isinstance(err, FileNotFoundError) and verb != "written":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url) from err
            if isinstance(err, InputError) or (type(err).__module__ == "builtins" and not isinstance(err, OSError)):
                raise
            raise StoreError(f"{self} cannot be {verb}: {_sentence(err)}.") from err


#: A file or folder, wherever it lives, and what names one.
Location = Path | StorePath
Where = str | os.PathLike[str] | StorePath


def locate(where: Where) -> Location:
    """The file or folder that a path or URL leads to: ``file://``, ``s3://``, ``gs://``, ``az://``.

    Nothing is looked up yet. Raises InputError for any other kind of URL.
    """
    if isinstance(where, StorePath):
        return where
    scheme, colon, rest = os.fspath(where).partition("://")
    if not colon:
        return Path(where)
    if scheme == "file":
        return Path(unquote(rest.removeprefix("localhost")))
    if scheme not in _PACKAGES or not rest.strip("/"):
        known = ", ".join(f"{name}://" for name in ("file", *_PACKAGES))
        raise InputError(f"{where} leads to no place known here; give a path, or a URL that begins with {known}.")
    return StorePath(f"{scheme}://{rest.strip('/')}")


def files_below(folder: Location) -> dict[str, Location]:
    """Every file in a folder and below, by its name from there, in the order of the names' parts."""
    found: dict[str, Location] = {}
    if isinstance(folder, StorePath):
        found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    else:
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: found[name] for name in sorted(found, key=PurePosixPath)}


def upload_all(pairs: list[tuple[Path, StorePath]]) -> Iterator[Path]:
    """Send files, several at once, and name each as it has arrived; after a failure no more are sent.

    Raises StoreError, when all that did arrive are named.
    """
    pool = ThreadPoolExecutor(_UPLOADS)
    try:
        sent = {pool.submit(path.upload, file): file for file, path in pairs}
        for future in as_completed(sent):
            if future.exception():
                break
            yield sent.pop(future)
        pool.shutdown(cancel_futures=True)
        yield from (file for future, file in sent.items() if not future.cancelled() and not future.exception())
        for future in sent:
            if not future.cancelled():
                future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def workspace(url: str) -> Path:
    """The folder of this machine where work for a URL is kept; the same in every process of a user."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "aecompress", hashlib.sha256(url.encode()).hexdigest()[:16])


def arrow_names(paths: list[Location]) -> tuple[Any, list[str]]:
    """The names of files for pyarrow, and the file system that they are in: None for this machine's."""
    if not paths or isinstance(paths[0], Path):
        return None, [str(path) for path in paths]
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    system = PyFileSystem(FSSpecHandler(paths[0]._store))
    return system, [str(path).partition("://")[2] for path in paths]


def arrow_file(path: Location) -> pa.NativeFile:
    """The file as pyarrow reads it. Raises OSError or StoreError."""
    import pyarrow as pa

    return pa.OSFile(str(path), "rb") if isinstance(path, Path) else pa.PythonFile(path.open(), mode="r")


class _Ranges(io.RawIOBase):
    """An object as a file. What is fetched at once doubles while the file is read in order."""

    def __init__(self, path: StorePath, size: int) -> None:
        self._path, self._size = path, size
        self._place = self._start = 0
        self._window = memoryview(b"")
        self._ahead = _LEAST_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        wanted = max(0, min(len(target), self._size - self._place))
        if wanted and not self._start <= self._place < self._start + len(self._window):
            self._fetch(wanted)
        offset = self._place - self._start
        found = self._window[offset : offset + wanted]
        target[: len(found)] = found
        self._place += len(found)
        return len(found)

    def _fetch(self, wanted: int) -> None:
        in_order = self._place == self._start + len(self._window)
        self._ahead = min(2 * self._ahead, _MOST_BYTES) if in_order else _LEAST_BYTES
        stop = min(self._place + max(wanted, self._ahead), self._size)
        self._start, self._window = self._place, memoryview(self._path.read_range(self._place, stop))


@lru_cache
def _connect(scheme: str, _process: int) -> Any:
    """A connection to a store; a forked process needs one of its own."""
    try:
        import fsspec

        # Listings are asked for anew each time: others may write to the same store.
        return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as err:
        raise InputError(
            f"{scheme}:// needs {_PACKAGES[scheme]}; install it by: pip install 'aecompress[{scheme}]'"
        ) from err


def _sentence(err: BaseException) -> str:
    """What an error says, on one line and without a full stop."""
    text = (err.strerror if isinstance(err, OSError) else None) or str(err) or type(err).__name__
    return " ".join(text.split()).rstrip(".")
