"""The archive on disk: what is written comes back, and nothing damaged or half-written passes for whole."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecompress.config import Target
from aecompress.errors import AecompressError, ArchiveError, CorruptError, DestinationError, InputError, VersionError
from aecompress.metrics import Distortion
from aecompress.shards import part, writer
from aecompress.shards.block import Block
from aecompress.shards.manifest import MANIFEST, FileEntry, Fragment, Manifest, read_manifest
from aecompress.shards.part import read_part
from aecompress.shards.reader import ShardReader, archive_bytes
from aecompress.shards.sealed import FORMAT_VERSION, seal, unseal
from aecompress.shards.writer import ShardWriter
from aecompress.spec import ArraySpec

KEY = "0123456789abcdef"
MODEL = b"a model, opaque here"
REPORT = {"rmse": 0.25, "psnr": None}


def blocks_of(*rows: int, payload: bytes = b"payload", method: str = "lattice") -> list[Block]:
    starts = itertools.accumulate(rows, initial=0)
    error = Distortion(3, 0.5, 0.75, -1.0, 1e300)
    return [
        Block(start, count, payload + str(start).encode(), method, error)
        for start, count in zip(starts, rows, strict=False)
    ]


def put(
    archive: Path,
    blocks: list[Block],
    *,
    model: bytes | None = MODEL,
    key: str = KEY,
    force: bool = False,
    resume: bool = False,
    columns: bool = False,
) -> Manifest:
    """Write an archive as a packer does, going on where an earlier run stopped."""
    shard = ShardWriter.create(archive, key=key, force=force, resume=resume)
    if model is not None and shard.model is None:
        shard.save_model(model)
    if columns:
        shard.keep_columns(beside(0, 1)[0].schema)
    for block in blocks:
        if block.start >= shard.next_row:
            shard.write(block, beside(block.start, block.stop) if columns else ())
    rows = blocks[-1].stop if blocks else 0
    spec = ArraySpec(np.dtype(">f4"), (2, 3), rows)
    return shard.commit(spec, {"name": "x"}, Target("rel-error", 1e-3, per=1), 4, REPORT)


def beside(start: int, stop: int) -> list[pa.RecordBatch]:
    """What stands beside some rows."""
    return [pa.record_batch({"id": range(row, row + 1), "name": [f"row {row}"]}) for row in range(start, stop)]


def get(archive: Path) -> tuple[list[Block], bytes | None]:
    """Everything an archive holds, checked as far as a reader can."""
    reader = ShardReader(archive)
    reader.check_files()
    rows = reader.manifest.spec.rows
    assert rows is not None
    return list(reader.blocks(0, rows)), reader.model()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks a part, one a row group, and no waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(writer, "PART_BYTES", 2 * 64 + 1)
    monkeypatch.setattr(part, "GROUP_BYTES", 1)


# Round trips


finite = st.floats(allow_nan=False)
one_block = st.tuples(
    st.integers(1, 2**31 - 1),
    st.binary(max_size=300),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.builds(Distortion, st.integers(0, 2**63 - 1), finite, finite, finite, finite),
)


@settings(max_examples=40, deadline=None)
@given(
    contents=st.lists(one_block, max_size=12),
    model=st.none() | st.binary(max_size=50),
    part_bytes=st.integers(1, 2000),
    group_bytes=st.integers(1, 2000),
    data=st.data(),
)
def test_blocks_come_back_whole_and_by_range(
    contents: list[Any], model: bytes | None, part_bytes: int, group_bytes: int, data: st.DataObject
) -> None:
    blocks: list[Block] = []
    for rows, payload, method, error in contents:
        blocks.append(Block(blocks[-1].stop if blocks else 0, rows, payload, method, error))
    rows = blocks[-1].stop if blocks else 0
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(writer, "PART_BYTES", part_bytes)
        patch.setattr(part, "GROUP_BYTES", group_bytes)
        patch.setattr(os, "fsync", lambda _: None)
        archive = Path(folder) / "archive"
        manifest = put(archive, blocks, model=model)
        assert get(archive) == (blocks, model)
        assert read_manifest(archive) == manifest
        assert sum(fragment.blocks for fragment in manifest.fragments) == len(blocks)
        found = list(ShardReader(archive).blocks(start, stop))
        assert found == [block for block in blocks if block.start < stop and block.stop > start]
        assert not (archive / "_staging").exists()


def test_an_empty_source_has_no_part(tmp_path: Path) -> None:
    manifest = put(tmp_path / "a", [], model=None)
    assert manifest.fragments == ()
    assert manifest.model is None
    assert get(tmp_path / "a") == ([], None)
    assert set(tree(tmp_path / "a")) == {MANIFEST}
    assert [path.name for path in (tmp_path / "a").iterdir()] == [MANIFEST]


def test_the_fixed_cost_is_below_two_kib(tmp_path: Path) -> None:
    put(tmp_path / "a", [Block(0, 1, b"", "lattice", Distortion())], model=b"")
    assert archive_bytes(tmp_path / "a") <= 2048
    assert archive_bytes(tmp_path / "a") == sum(map(len, tree(tmp_path / "a").values()))


@pytest.mark.usefixtures("small_parts")
def test_only_the_parts_and_row_groups_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(4, 4, 4, 4, 4)
    manifest = put(tmp_path / "a", blocks)
    (tmp_path / "a" / manifest.fragments[0].path).unlink()
    groups: list[int] = []
    plain = pq.ParquetFile.iter_batches

    def counting(self: Any, **options: Any) -> Any:
        groups.extend(options["row_groups"])
        return plain(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    reader = ShardReader(tmp_path / "a")
    assert list(reader.blocks(13, 14)) == [blocks[3]]
    assert groups == [1]
    with pytest.raises(CorruptError, match=r"part-00000.parquet is missing"):
        list(reader.blocks(0, 1))


def test_parts_are_plain_parquet(tmp_path: Path) -> None:
    manifest = put(tmp_path / "a", blocks_of(4, 2))
    table = pq.read_table(tmp_path / "a" / manifest.fragments[0].path)
    assert table["row_start"].to_pylist() == [0, 4]
    assert table["method"].to_pylist() == ["lattice", "lattice"]


@pytest.mark.parametrize("rows", [(-1, 2), (2, 1), (0, 7)])
def test_rows_out_of_range_are_refused(tmp_path: Path, rows: tuple[int, int]) -> None:
    put(tmp_path / "a", blocks_of(6))
    with pytest.raises(InputError, match="has rows 0 to 6"):
        list(ShardReader(tmp_path / "a").blocks(*rows))


def test_a_manifest_is_read_without_pyarrow() -> None:
    code = "import sys, aecompress.shards.manifest, aecompress.shards.reader, aecompress.shards.writer as w; "
    subprocess.run([sys.executable, "-c", code + "assert 'pyarrow' not in sys.modules"], check=True)


# Destinations


def test_a_complete_archive_is_replaced_only_by_force(tmp_path: Path) -> None:
    archive = tmp_path / "a"
    put(archive, blocks_of(4))
    for resume in (False, True):
        with pytest.raises(DestinationError, match="complete archive already; use --force"):
            ShardWriter.create(archive, key=KEY, force=False, resume=resume)
    shard = ShardWriter.create(archive, key=KEY, force=True, resume=False)
    shard.write(blocks_of(5)[0])
    assert get(archive)[0] == blocks_of(4)
    shard.abort()
    assert get(archive)[0] == blocks_of(4)
    put(archive, blocks_of(7), force=True, model=None)
    assert get(archive) == (blocks_of(7), None)
    assert set(tree(archive)) == {MANIFEST, "blocks/part-00000.parquet"}


def test_a_damaged_archive_can_be_replaced(tmp_path: Path) -> None:
    put(tmp_path / "a", blocks_of(4))
    path = tmp_path / "a" / MANIFEST
    path.write_bytes(path.read_bytes()[:40])
    put(tmp_path / "a", blocks_of(5), force=True)
    assert get(tmp_path / "a")[0] == blocks_of(5)


@pytest.mark.parametrize("name", ["mine.txt", "_manifest.json", "blocks/x", "_staging/x", "_staging/blocks/x"])
@pytest.mark.parametrize("resume", [False, True])
def test_foreign_folders_are_left_alone(tmp_path: Path, name: str, resume: bool) -> None:
    path = tmp_path / "a" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    before = tree(tmp_path)
    with pytest.raises(DestinationError, match="is not an archive, so it is left alone"):
        ShardWriter.create(tmp_path / "a", key=KEY, force=True, resume=resume)
    assert tree(tmp_path) == before


def test_a_file_is_no_destination(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(DestinationError, match="left alone"):
        ShardWriter.create(tmp_path / "a", key=KEY, force=True, resume=False)
    with pytest.raises(DestinationError, match="cannot be written"):
        ShardWriter.create(tmp_path / "a" / "b", key=KEY, force=True, resume=False)
    assert (tmp_path / "a").read_text() == "mine"


def test_an_empty_folder_is_a_destination(tmp_path: Path) -> None:
    put(tmp_path, blocks_of(3))
    assert get(tmp_path)[0] == blocks_of(3)


@pytest.mark.usefixtures("small_parts")
def test_unfinished_work_asks_for_resume_or_force(tmp_path: Path) -> None:
    archive, blocks = tmp_path / "a", blocks_of(4, 4, 4, 4, 4)
    shard = ShardWriter.create(archive, key=KEY, force=False, resume=True)
    shard.save_model(MODEL)
    (shard.scratch() / "spool").write_bytes(b"x")
    for block in blocks[:3]:
        shard.write(block)
    shard.abort()
    with pytest.raises(ArchiveError, match=r"unfinished.*--resume"):
        ShardReader(archive)
    with pytest.raises(DestinationError, match="--resume to finish it"):
        ShardWriter.create(archive, key=KEY, force=False, resume=False)
    with pytest.raises(DestinationError, match="other settings"):
        ShardWriter.create(archive, key="another", force=True, resume=True)
    shard = ShardWriter.create(archive, key=KEY, force=False, resume=True)
    assert (shard.next_row, shard.model, len(shard.fragments)) == (8, MODEL, 1)
    assert not any(shard.scratch().iterdir())
    assert ShardWriter.create(archive, key="another", force=True, resume=False).next_row == 0


def test_abort_leaves_nothing_when_nothing_was_finished(tmp_path: Path) -> None:
    shard = ShardWriter.create(tmp_path / "a", key=KEY, force=False, resume=False)
    shard.scratch()
    shard.write(blocks_of(4)[0])
    shard.abort()
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("small_parts")
def test_a_damaged_part_is_packed_again(tmp_path: Path) -> None:
    blocks = blocks_of(4, 4, 4, 4, 4)
    put(tmp_path / "whole", blocks)
    shard = ShardWriter.create(tmp_path / "a", key=KEY, force=False, resume=False)
    shard.save_model(MODEL)
    for block in blocks:
        shard.write(block)
    damaged = tmp_path / "a" / "_staging" / "blocks" / "part-00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    shard.abort()
    assert ShardWriter.create(tmp_path / "a", key=KEY, force=False, resume=True).next_row == 8
    assert [path.name for path in damaged.parent.iterdir()] == ["part-00000.parquet"]
    put(tmp_path / "a", blocks, resume=True)
    assert tree(tmp_path / "a") == tree(tmp_path / "whole")


def test_a_damaged_staging_folder_is_not_resumed(tmp_path: Path) -> None:
    for name in ("key.json", "_model/" + hashlib.sha256(MODEL).hexdigest()[:16] + ".safetensors"):
        shard = ShardWriter.create(tmp_path / "a", key=KEY, force=True, resume=False)
        shard.save_model(MODEL)
        shard.abort()
        (tmp_path / "a" / "_staging" / name).write_bytes(b"?")
        with pytest.raises(DestinationError, match="start again"):
            ShardWriter.create(tmp_path / "a", key=KEY, force=False, resume=True)


@pytest.mark.parametrize(
    "block",
    [
        Block(1, 4, b"", "lattice", Distortion()),
        Block(0, 0, b"", "lattice", Distortion()),
        Block(0, 2**31, b"", "lattice", Distortion()),
    ],
)
def test_blocks_out_of_order_are_refused(tmp_path: Path, block: Block) -> None:
    shard = ShardWriter.create(tmp_path / "a", key=KEY, force=False, resume=False)
    with pytest.raises(InputError, match="where row 0 is next"):
        shard.write(block)


def test_too_long_a_payload_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_PAYLOAD", 6)
    shard = ShardWriter.create(tmp_path / "a", key=KEY, force=False, resume=False)
    with pytest.raises(InputError, match="blocks of fewer rows"):
        shard.write(blocks_of(4)[0])


def test_missing_rows_are_not_committed(tmp_path: Path) -> None:
    shard = ShardWriter.create(tmp_path / "a", key=KEY, force=False, resume=False)
    shard.write(blocks_of(4)[0])
    with pytest.raises(InputError, match="gave 4 rows, not the 5"):
        shard.commit(ArraySpec(np.dtype("u1"), (), 5), {}, Target("lossless"), 4, {})
    with pytest.raises(ArchiveError, match="unfinished"):
        ShardReader(tmp_path / "a")


def test_a_staged_file_that_went_missing_is_not_committed(tmp_path: Path) -> None:
    shard = ShardWriter.create(tmp_path / "a", key=KEY, force=False, resume=False)
    shard.save_model(MODEL)
    shutil.rmtree(tmp_path / "a" / "_staging" / "_model")
    with pytest.raises(DestinationError, match="cannot be written"):
        shard.commit(ArraySpec(np.dtype("u1"), (), 0), {}, Target("lossless"), 4, {})


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("owner", "name"),
    [(os, "fsync"), (os, "replace"), (os, "mkdir"), (os, "rename"), (pq.ParquetWriter, "write_table")],
)
def test_a_full_disk_is_one_sentence_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    blocks = blocks_of(4, 4, 4)
    put(tmp_path / "whole", blocks)
    plain = getattr(owner, name)
    for room in itertools.count():
        left = itertools.repeat(True, room)

        def operation(*args: Any, left: Iterator[bool] = left, **options: Any) -> Any:
            if next(left, False):
                return plain(*args, **options)
            raise OSError(errno.ENOSPC, "No space left on device")

        archive = tmp_path / str(room)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, operation)
            try:
                put(archive, blocks)
                break
            except DestinationError as error:
                assert "disk is full" in str(error)  # noqa: PT017
        put(archive, blocks, resume=True, force=(archive / MANIFEST).exists())
        assert tree(archive) == tree(tmp_path / "whole")
    assert room > 0


# Kills


OLD = blocks_of(3, 3, method="old")
NEW = blocks_of(4, 4, 4, 4, 4)

#: Every file operation of a pack that changes what a later process finds.
OPERATIONS = [
    *((os, name) for name in ("mkdir", "rmdir", "unlink", "rename", "replace", "fsync")),
    (pq.ParquetWriter, "write_table"),
    (pq.ParquetWriter, "close"),
]


def die_after(count: int) -> None:
    """Kill this process in front of the file operation of that number."""
    left = iter(range(count))

    def mortal(plain: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **options: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*args, **options)

        return operation

    for owner, name in OPERATIONS:
        setattr(owner, name, mortal(getattr(owner, name)))


def before_the_kill(archive: Path, scene: str) -> None:
    if scene == "replace":
        put(archive, OLD, key="old", model=b"old")
    if scene == "restart":
        shard = ShardWriter.create(archive, key=KEY, force=False, resume=False)
        shard.save_model(MODEL)
        shard.keep_columns(beside(0, 1)[0].schema)
        for block in NEW[:3]:
            shard.write(block, beside(block.start, block.stop))
        shard.abort()


def kill_at_every_operation(folder: Path, scene: str) -> None:
    """Leave one archive for each moment of death, and ``end`` with the one that was not disturbed."""
    writer.PART_BYTES, part.GROUP_BYTES = 2 * 64 + 1, 1
    os.fsync = lambda _: None  # only a power cut needs it
    for count in itertools.count():
        archive = folder / f"{count:03d}"
        before_the_kill(archive, scene)
        child = os.fork()
        if not child:
            die_after(count)
            put(archive, NEW, force=scene != "fresh", columns=scene == "restart")
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            os.rename(archive, folder / "end")
            return


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("scene", ["fresh", "replace", "restart"])
def test_a_kill_at_any_moment_is_found_out_and_resumed(tmp_path: Path, scene: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", __file__, str(tmp_path), scene], check=True)
    whole = tree(tmp_path / "end")
    assert get(tmp_path / "end") == (NEW, MODEL)
    killed = sorted(path for path in tmp_path.iterdir() if path.name != "end")
    assert len(killed) > 40
    for archive in killed:
        complete = False
        if (archive / MANIFEST).exists():
            blocks, model = get(archive)
            assert (blocks, model) in ((NEW, MODEL), (OLD, b"old"))
            complete = blocks == NEW
        else:
            with pytest.raises(ArchiveError):
                ShardReader(archive)
        if complete and scene == "fresh":
            with pytest.raises(DestinationError, match="complete archive already"):
                put(archive, NEW, resume=True)
        put(archive, NEW, force=complete or scene == "replace", resume=True, columns=scene == "restart")
        assert tree(archive) == whole, archive.name


@pytest.mark.usefixtures("small_parts")
def test_kills_one_after_another_still_end_in_the_same_bytes(tmp_path: Path) -> None:
    """Die at the first operation, resume and die at the second, and so on: commit is resumed again and again."""
    put(tmp_path / "whole", NEW)

    class Killed(BaseException):
        pass

    for count in itertools.count():
        done = itertools.count()

        def mortal(plain: Callable[..., Any], done: Iterator[int] = done, count: int = count) -> Callable[..., Any]:
            def operation(*args: Any, **options: Any) -> Any:
                if next(done) >= count:
                    raise Killed
                return plain(*args, **options)

            return operation

        with pytest.MonkeyPatch.context() as patch:
            for owner, name in OPERATIONS[:6]:
                patch.setattr(owner, name, mortal(getattr(owner, name)))
            try:
                put(tmp_path / "a", NEW, resume=True, force=(tmp_path / "a" / MANIFEST).exists())
                break
            except Killed:
                continue
    assert tree(tmp_path / "a") == tree(tmp_path / "whole")


# Damage


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "a"
    put(folder, blocks_of(4, 4, 2))
    return folder


def test_every_prefix_of_every_file_is_refused(archive: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(archive, tmp_path / "a")
    for name, data in tree(archive).items():
        for length in reversed(range(len(data))):
            os.truncate(copy / name, length)
            with pytest.raises(CorruptError):
                ShardReader(copy).check_files()
        (copy / name).write_bytes(data)
    assert get(copy) == get(archive)


def test_every_flipped_bit_of_the_manifest_is_found(archive: Path) -> None:
    data = (archive / MANIFEST).read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptError, VersionError)):
            unseal(bytes(flipped), archive / MANIFEST)


def test_flipped_bits_of_other_files_are_found(archive: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(archive, tmp_path / "a")
    for name, data in tree(archive).items():
        if name == MANIFEST:
            continue
        with (copy / name).open("r+b", buffering=0) as file:
            for bit in range(0, 8 * len(data), 3):
                os.pwrite(file.fileno(), bytes([data[bit // 8] ^ 1 << bit % 8]), bit // 8)
                with pytest.raises(CorruptError, match=Path(name).name):
                    ShardReader(copy).check_files()
                os.pwrite(file.fileno(), data[bit // 8 : bit // 8 + 1], bit // 8)
    assert get(copy) == get(archive)


def test_a_hostile_part_raises_or_gives_blocks_in_place(archive: Path, tmp_path: Path) -> None:
    """Past the checksum, Parquet parses what a stranger wrote: no other exception, no crash, no row out of place."""
    fragment = read_manifest(archive).fragments[0]
    data = (archive / fragment.path).read_bytes()
    path = tmp_path / "part.parquet"
    refused = 0
    for bit in range(0, 8 * len(data), 11):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = list(read_part(path, fragment, 0, fragment.rows))
        except CorruptError:
            refused += 1
        else:
            assert [block.start for block in found] == [0, 4, 8]
    assert refused > 100


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"use_dictionary": True, "compression": "none"}])
def test_a_part_that_unfolds_without_limit_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    rows = [part._to_row(Block(i, 1, bytes(1 << 16), "lattice", Distortion())) for i in range(200)]
    path = tmp_path / "part.parquet"
    pq.write_table(part.pa.Table.from_pylist(rows, schema=part.SCHEMA), path, store_schema=False, **options)
    fragment = Fragment("blocks/part.parquet", path.stat().st_size, "0" * 64, 0, 200, 200)
    if "use_dictionary" in options:  # one payload at a time, never more
        assert next(read_part(path, fragment, 0, 200)).payload == bytes(1 << 16)
    else:
        with pytest.raises(CorruptError, match="unfold"):
            list(read_part(path, fragment, 0, 200))


@pytest.mark.parametrize(
    "fragment",
    [
        Fragment("blocks/p", 0, "", 1, 10, 3),
        Fragment("blocks/p", 0, "", 0, 11, 3),
        Fragment("blocks/p", 0, "", 0, 10, 2),
    ],
)
def test_a_part_that_disagrees_with_the_manifest_is_refused(archive: Path, fragment: Fragment) -> None:
    path = archive / read_manifest(archive).fragments[0].path
    fragment = Fragment(fragment.path, path.stat().st_size, "", fragment.start, fragment.rows, fragment.blocks)
    with pytest.raises(CorruptError, match="damaged"):
        list(read_part(path, fragment, 0, 100))


def test_what_is_not_an_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="does not exist"):
        ShardReader(tmp_path / "nothing")
    with pytest.raises(ArchiveError, match="is not an archive"):
        ShardReader(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ArchiveError, match="is not an archive"):
        ShardReader(tmp_path / "file")


# Manifests of strangers


def changed(archive: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The manifest with one change, its checksum made right again."""
    fields = json.loads((archive / MANIFEST).read_bytes())
    change(fields)
    for key in ("format", "format_version", "checksum"):
        fields.pop(key, None)
    return seal(fields)


def test_a_future_version_says_to_upgrade(archive: Path) -> None:
    data = (archive / MANIFEST).read_bytes()
    newer = data.replace(b'"format_version":1', f'"format_version":{FORMAT_VERSION + 1}'.encode())
    with pytest.raises(VersionError, match=r"format 2, .* up to 1; upgrade aecompress"):
        unseal(newer, archive / MANIFEST)


HOSTILE: list[tuple[str, Any]] = [
    *(("rows", value) for value in (-1, 2**63, 10**400, 9, 1.0, True, None, "10", [10])),
    *(("source.row_shape", value) for value in ([-1], [2**62, 2**62], [1] * 9, [1.5], [True], 3, None, "2", [[2]])),
    *(
        ("source.dtype", value)
        for value in ("O", "|O8", "<U4", "<f1", "f4", "<f4,<f4", "<c8", "", 4, None, "<M8", "x" * 999)
    ),
    *(("source", value) for value in (None, [], "x")),
    *(("origin", value) for value in (None, [], "x")),
    *(("report", value) for value in (None, 1)),
    *(("target.kind", value) for value in ("best", 1, None, "x" * 300)),
    *(("target.value", value) for value in (-1.0, None, "1", True, 10**400)),
    *(("target.per", value) for value in (-1, 8, "x", 1.0)),
    *(("block_rows", value) for value in (0, -1, 2**31, 4.0, None)),
    *(("created_by", value) for value in ("", None, "x" * 256)),
    *(("model", value) for value in ("x", [], {}, {"path": "_model/x"})),
    *(
        (f"{entry}.path", value)
        for entry in ("model", "fragments.0")
        for value in ("../x", "/etc/passwd", "_model/../../x", "blocks/../../x", "blocks//x", "blocks/.x", "blocks/x\n")
    ),
    *(
        ("fragments.0.path", value)
        for value in ("blocks", "blocks/", "_model/x", "blocks/x\0", "b\\x", "C:/x", 1, None)
    ),
    *(("fragments.0.bytes", value) for value in (-1, 2**63, 1.5, None)),
    *(("fragments.0.sha256", value) for value in ("", "0" * 63, "G" * 64, "A" * 64, None)),
    *(("fragments.0.start", value) for value in (-1, 1, None)),
    *(("fragments.0.rows", value) for value in (0, -10, 9, 11, 2**63, None)),
    *(("fragments.0.blocks", value) for value in (0, 11, None)),
    *(("fragments", value) for value in ([], None, {}, [1], [None])),
    *(("columns", value) for value in ("x", ["id"], [1], {})),
    *(("fragments.0.table", value) for value in ("x", [], {"path": "rows/p", "bytes": 1, "sha256": "0" * 64})),
    *(("extra", value) for value in ("x", [1], [{"path": "../x", "bytes": 1, "sha256": "0" * 64}])),
]


@pytest.mark.parametrize(("place", "value"), HOSTILE)
def test_hostile_manifests_are_refused(archive: Path, place: str, value: Any) -> None:
    def change(fields: Any) -> None:
        *path, last = ("source." + place if place == "rows" else place).split(".")
        for key in path:
            fields = fields[int(key) if isinstance(fields, list) else key]
        fields[last] = value

    data = changed(archive, change)
    with pytest.raises(CorruptError):
        Manifest.from_json(unseal(data, archive / MANIFEST))


@pytest.mark.parametrize("key", ["created_by", "source", "origin", "target", "block_rows", "fragments", "report"])
def test_missing_keys_are_refused(archive: Path, key: str) -> None:
    with pytest.raises(CorruptError):
        Manifest.from_json(unseal(changed(archive, lambda fields: fields.pop(key)), archive / MANIFEST))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"format":"aecompress"}',
        b'{"format":"aecompress","format_version":0}',
        b'{"format":"aecompress","format_version":true}',
        b'{"format":"aecompress","format_version":1}',
        b"\xff\xfe",
        b"9" * 5000,
    ],
)
def test_what_is_no_sealed_file_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptError):
        unseal(data, Path("x"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
places = ["source", "target", "model", "fragments", "block_rows", "extra", "created_by", "origin", "report"]


@settings(deadline=None)
@given(changes=st.dictionaries(st.sampled_from(places), json_values, min_size=1, max_size=3))
def test_any_json_gives_a_manifest_or_a_named_error(archive: Path, changes: dict[str, Any]) -> None:
    fields = json.loads((archive / MANIFEST).read_bytes()) | changes
    try:
        manifest = Manifest.from_json(fields)
    except AecompressError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_files_and_keys_of_later_additions_are_tolerated_and_checked(archive: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(archive, tmp_path / "a")
    (copy / "rows").mkdir()
    (copy / "rows" / "part-00000.parquet").write_bytes(b"later")
    entry = FileEntry.of(copy, "rows/part-00000.parquet")
    (copy / MANIFEST).write_bytes(changed(copy, lambda fields: fields.update(extra=[entry.to_json()], unknown=1)))
    assert get(copy) == get(archive)
    assert ShardReader(copy).manifest.extra == (entry,)
    (copy / entry.path).write_bytes(b"latex")
    with pytest.raises(CorruptError, match="rows/part-00000"):
        ShardReader(copy).check_files()


def test_numbers_that_json_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        seal({"report": {"psnr": float("inf")}})


if __name__ == "__main__":
    kill_at_every_operation(Path(sys.argv[1]), sys.argv[2])
