"""Archives that were cut, changed, killed or made elsewhere; their size, and the memory they take."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard

import aecompress
from aecompress.archive import Archive
from aecompress.config import Target
from aecompress.errors import AecompressError, ArchiveError, DestinationError, InputError
from aecompress.shards import writer
from aecompress.shards.durable import write_durably
from aecompress.shards.reader import ShardReader
from aecompress.spec import Array
from aecompress.trainer import sampling

KINDS = ["none"]
DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
FIXED_BYTES = 8192

Digest = dict[str, str]


def digest(archive: Path) -> Digest:
    """SHA-256 of every file, by its path."""
    files = (path for path in archive.rglob("*") if path.is_file())
    return {str(path.relative_to(archive)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def walk(rows: int, columns: int = 6) -> Array:
    return np.random.default_rng(rows).normal(size=(rows, columns)).cumsum(0).astype(np.float32)


def run(code: str, *arguments: str | Path, threads: int = 1) -> str:
    """Standard output of ``code`` run in a fresh process with so many threads."""
    threading = {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, env=os.environ | threading).stdout


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """An archive of three blocks, and its decoded bytes."""
    path = tmp_path_factory.mktemp("small") / "archive"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK_VALUES", 60)
        aecompress.pack(walk(25), path, model="none", target=Target("max-error", 0.01))
    return path, Archive(path)[:].tobytes()


def damaged(archive: Path, name: str, data: bytes, expected: bytes) -> bool:
    """Write ``data`` over a file: True if reading everything fails by name; the right values are fine too."""
    file = archive / name
    whole = file.read_bytes()
    file.write_bytes(data)
    try:
        found = Archive(archive)[:].tobytes()
    except AecompressError:
        return True
    else:
        assert found == expected, f"{name} was changed, and gave wrong data"
        return False
    finally:
        file.write_bytes(whole)


def files_of(archive: Path) -> list[str]:
    return sorted(digest(archive))


def test_every_prefix_of_every_file_is_refused(small: tuple[Path, bytes], tmp_path: Path) -> None:
    archive = shutil.copytree(small[0], tmp_path / "copy")
    for name in files_of(archive):
        data = (archive / name).read_bytes()
        assert all(damaged(archive, name, data[:end], small[1]) for end in range(len(data))), name
        assert damaged(archive, name, data + b"\n", small[1]) or name == "_manifest.json"


def test_every_changed_bit_is_found(small: tuple[Path, bytes], tmp_path: Path) -> None:
    archive = shutil.copytree(small[0], tmp_path / "copy")
    chance = random.Random(3)
    for name in files_of(archive):
        data = (archive / name).read_bytes()
        for bit in chance.sample(range(8 * len(data)), 700):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            assert damaged(archive, name, bytes(changed), small[1]), (name, bit)


def test_a_missing_file_is_named(small: tuple[Path, bytes], tmp_path: Path) -> None:
    for i, name in enumerate(files_of(small[0])):
        archive = shutil.copytree(small[0], tmp_path / str(i))
        (archive / name).unlink()
        with pytest.raises(ArchiveError, match=archive.name):
            _ = Archive(archive)[:]


def test_files_of_another_archive_are_refused(small: tuple[Path, bytes], tmp_path: Path) -> None:
    other = tmp_path / "other"
    aecompress.pack(walk(26), other, model="none", target=Target("max-error", 0.02))
    for name in ("blocks/part-00000.parquet", next(name for name in files_of(other) if name.startswith("_model"))):
        archive = shutil.copytree(small[0], tmp_path / name.split("/")[0])
        mine = next(path for path in (archive / name).parent.iterdir())
        mine.write_bytes((other / name).read_bytes())
        with pytest.raises(ArchiveError):
            _ = Archive(archive)[:]


def test_a_damaged_archive_leaves_no_unpacked_file(small: tuple[Path, bytes], tmp_path: Path) -> None:
    archive = shutil.copytree(small[0], tmp_path / "copy")
    part = archive / "blocks/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(ArchiveError):
        aecompress.unpack(archive, tmp_path / "back.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


# --- the same bytes -------------------------------------------------------------------------------------------------

DECODE = """
    import hashlib, sys
    from aecompress.archive import Archive
    archive = Archive(sys.argv[1])
    digest = hashlib.sha256()
    for rows in archive.batches(workers=int(sys.argv[2])):
        digest.update(rows.tobytes())
    print(digest.hexdigest())
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_source_gives_the_same_archive_and_the_same_rows(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "BLOCK_VALUES", 600)
    values = walk(900)
    for workers in (1, 2, 5):
        aecompress.pack(values, tmp_path / str(workers), model=kind, workers=workers, seed=3)
    assert digest(tmp_path / "1") == digest(tmp_path / "2") == digest(tmp_path / "5")
    archive = Archive(tmp_path / "1")
    expected = hashlib.sha256(archive[:].tobytes()).hexdigest()
    for workers in (1, 3):
        found = hashlib.sha256(b"".join(rows.tobytes() for rows in archive.batches(workers=workers))).hexdigest()
        assert found == expected
    for threads in (1, 2):
        assert run(DECODE, archive.path, threads, threads=threads).strip() == expected


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    dest, own = tmp_path / "a.model", tmp_path / "a.model.tmp"
    dest.write_bytes(b"before")
    own.write_bytes(b"somebody's own")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                write_durably(dest, b"after")
        assert dest.read_bytes() == b"before"
    for data in (b"after", b""):
        write_durably(dest, data)
        assert dest.read_bytes() == data
    assert own.read_bytes() == b"somebody's own"
    assert sorted(tmp_path.iterdir()) == [dest, own]


# --- killed packs ---------------------------------------------------------------------------------------------------

PACK = """
    import sys
    import aecompress
    from aecompress.shards import writer
    from aecompress.trainer import sampling
    sampling.BLOCK_VALUES = 600
    writer.PART_BYTES = 2000
    source, archive, kind = sys.argv[1:]
    tell = lambda phase, done, facts: print(phase, flush=True)
    target = aecompress.Target("max-error", 0.01)
    aecompress.pack(source, archive, model=kind, resume=True, target=target, progress=tell)
"""


def kill(command: list[str], reports: int, delay: float) -> None:
    """Start a pack and SIGKILL it ``delay`` seconds after so many reports of progress."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in range(reports):
            process.stdout.readline()
        time.sleep(delay)
        process.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_pack_never_opens_and_resumes_to_the_same_bytes(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "source.npy"
    np.save(source, walk(4000))
    command = [sys.executable, "-c", textwrap.dedent(PACK), str(source)]
    reports = run(PACK, source, tmp_path / "calm", kind).split()
    expected = digest(tmp_path / "calm")
    assert sum(name.startswith("blocks") for name in expected) > 3
    chance = random.Random(5)
    moments = [1, reports.index("pack"), *(chance.randrange(reports.index("pack"), len(reports) + 1) for _ in range(2))]
    for trial, moment in enumerate(moments):
        archive = tmp_path / f"killed-{trial}"
        kill([*command, str(archive), kind], moment, chance.uniform(0, 0.003))
        run(PACK, source, archive, kind)
        assert digest(archive) == expected


class Interrupted(Exception):  # noqa: N818 - as when a user presses a key
    """Raised out of a pack, half way."""


def interrupted(values: object, archive: Path) -> None:
    """Pack until the first part is safe, and stop there."""

    def stop(phase: str, done: float, _facts: object) -> None:
        if phase == "pack" and done > 0.5:
            raise Interrupted

    with pytest.raises(Interrupted):
        aecompress.pack(values, archive, model="none", target=Target("max-error", 0.01), progress=stop)


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BLOCK_VALUES", 600)
    monkeypatch.setattr(writer, "PART_BYTES", 2000)


@pytest.mark.usefixtures("many_parts")
def test_an_interrupted_pack_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    values = walk(2000)
    aecompress.pack(values, tmp_path / "calm", model="none", target=Target("max-error", 0.01))
    interrupted(values, tmp_path / "a")
    with pytest.raises(ArchiveError, match="unfinished"):
        Archive(tmp_path / "a")
    with pytest.raises(DestinationError, match="settings"):
        aecompress.pack(values, tmp_path / "a", model="none", target=Target("max-error", 0.02), resume=True)
    aecompress.pack(values, tmp_path / "a", model="none", target=Target("max-error", 0.01), resume=True)
    assert digest(tmp_path / "a") == digest(tmp_path / "calm")


@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize("in_file", [False, True])
def test_a_pack_never_resumes_with_other_values(in_file: bool, tmp_path: Path) -> None:
    """The same name, dtype and shape, other values: refused, or packed from the start."""
    source, first, second = tmp_path / "source.npy", walk(2000), -walk(2000)
    np.save(source, first)
    interrupted(source if in_file else first, tmp_path / "a")
    np.save(source, second)
    os.utime(source, (2e9, 2e9))
    with suppress(AecompressError):
        aecompress.pack(
            source if in_file else second,
            tmp_path / "a",
            model="none",
            target=Target("max-error", 0.01),
            resume=True,
        )
        assert np.abs(Archive(tmp_path / "a")[:] - second).max() <= 0.01


@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize("row", [0, 1999])
def test_a_changed_end_of_the_source_is_noticed(row: int, tmp_path: Path) -> None:
    values = walk(2000)
    interrupted(values, tmp_path / "a")
    values[row, 5] += 1
    with pytest.raises(DestinationError, match="another source"):
        aecompress.pack(values, tmp_path / "a", model="none", target=Target("max-error", 0.01), resume=True)


@pytest.mark.usefixtures("many_parts")
def test_resuming_what_is_complete_is_done(tmp_path: Path) -> None:
    values, archive = walk(2000), tmp_path / "a"
    first = aecompress.pack(values, archive, model="none", target=Target("max-error", 0.01))
    before = digest(archive)
    again = aecompress.pack(values, archive, model="none", target=Target("max-error", 0.01), resume=True)
    times = dict.fromkeys(("seconds", "fit_seconds", "compile_seconds", "mb_per_s"), 0.0)
    assert replace(again, **times) == replace(first, **times)
    assert again.fit_seconds == 0
    for other, target in ((values, Target("max-error", 0.02)), (values + 1, Target("max-error", 0.01))):
        with pytest.raises(DestinationError, match="complete"):
            aecompress.pack(other, archive, model="none", target=target, resume=True)
    assert digest(archive) == before


@pytest.mark.usefixtures("many_parts")
def test_a_stream_starts_with_resume_but_is_not_resumed(tmp_path: Path) -> None:
    def stream() -> Iterator[Array]:
        return iter(np.array_split(walk(2000), 7))

    options = {"model": "none", "target": Target("max-error", 0.01)}
    aecompress.pack(stream(), tmp_path / "calm", resume=True, **options)
    interrupted(stream(), tmp_path / "a")
    with pytest.raises(InputError, match="stream"):
        aecompress.pack(stream(), tmp_path / "a", resume=True, **options)
    aecompress.pack(stream(), tmp_path / "a", force=True, **options)
    assert digest(tmp_path / "a") == digest(tmp_path / "calm")


# --- sizes ----------------------------------------------------------------------------------------------------------


def payload_bytes(archive: Path) -> int:
    reader = ShardReader(archive)
    rows = reader.manifest.spec.shape[0]
    return sum(len(block.payload) for block in reader.blocks(0, rows))


def tensor_bytes(archive: Path) -> int:
    """Bytes of the model's tensors, without the header of their file."""
    (file,) = (archive / "_model").iterdir()
    data = file.read_bytes()
    return len(data) - 8 - int.from_bytes(data[:8], "little")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "target"),
    [
        *((dtype, Target("lossless")) for dtype in DTYPES),
        ("f2", Target("max-error", 1e-3)),
        ("f4", Target("max-error", 1e-3)),
        ("f8", Target("max-error", 1e-3)),
        ("f4", Target("rel-error", 1e-3, per=0)),
    ],
)
def test_incompressible_data_does_not_grow(kind: str, dtype: str, target: Target, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, 1 << 17, dtype=np.uint8)
    values = (noise & 1).view(bool) if dtype == "?" else noise.view(dtype)
    report = aecompress.pack(values.reshape(64, -1), tmp_path / "a", model=kind, target=target, effort="fast")
    assert report.packed_bytes <= 1.01 * values.nbytes + FIXED_BYTES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [Target("lossless"), Target("rel-error", 1e-3)], ids=Target.describe)
def test_an_archive_is_never_much_larger_than_the_simple_ways(kind: str, target: Target, tmp_path: Path) -> None:
    """Rows that come again and again: zstd finds them, contexts do not."""
    values = np.tile(np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32), (20, 1))
    report = aecompress.pack(values, tmp_path / "a", model=kind, target=target, effort="fast")
    simple = len(zstandard.ZstdCompressor(level=19).compress(values.tobytes()))
    assert report.packed_bytes <= 1.02 * simple + FIXED_BYTES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2,), (3, 4), (2, 3, 4, 5), (1, 100)])
def test_the_fixed_cost_of_an_archive(kind: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    path = tmp_path / "archive"
    report = aecompress.pack(values, path, model=kind, target=Target("rel-error", 1e-3, per=len(shape) - 1))
    assert report.packed_bytes - tensor_bytes(path) - payload_bytes(path) <= FIXED_BYTES


def test_a_report_is_plain_json(tmp_path: Path) -> None:
    report = aecompress.pack(walk(40), tmp_path / "a", model="none", target=Target("rel-error", 1e-3))
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    asked = "rows raw_bytes packed_bytes model_bytes ratio target max_abs_error rmse psnr bound_kept model seconds"
    assert set(f"{asked} mb_per_s break_even_rows".split()) <= set(data)
    assert data["target"] == {"kind": "rel-error", "value": 1e-3}
    assert data["ratio"] == data["raw_bytes"] / data["packed_bytes"]
    assert data["max_abs_error"] <= report.bound


# --- memory ---------------------------------------------------------------------------------------------------------

PEAK = """
    import re, sys
    import aecompress
    from aecompress.trainer import sampling
    sampling.SAMPLE_VALUES = sampling.LESSON_VALUES = 1 << 20
    verb, source, dest = sys.argv[1:]
    if verb == "pack":
        aecompress.pack(source, dest, model="none", target=aecompress.Target("max-error", 0.5), effort="fast")
    else:
        aecompress.unpack(source, dest)
    print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
def test_peak_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (40, 80):  # both more than a fit looks at, and than fills the queues
        source, archive = tmp_path / f"{megabytes}.npy", tmp_path / f"{megabytes}"
        rows = np.lib.format.open_memmap(source, "w+", np.float64, (megabytes, 125_000))
        rows[:] = np.random.default_rng(0).integers(0, 7, 125_000)
        del rows
        pack = int(run(PEAK, "pack", source, archive))
        peaks.append((pack, int(run(PEAK, "unpack", archive, tmp_path / f"{megabytes}-back.npy"))))
    assert all(last < 1.15 * first for first, last in zip(*peaks, strict=True)), peaks
