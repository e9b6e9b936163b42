"""A pack shared out: whatever order tasks end in, and however often they are tried, every row is packed once."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import blocks_of

import aecompress
from aecompress.archive import Archive
from aecompress.config import Target
from aecompress.errors import DestinationError, InputError, VerificationError
from aecompress.integrations.jobs import Batch, PackJob, Share, as_rows, stretches, task_rows
from aecompress.shards import writer
from aecompress.shards.manifest import is_archive
from aecompress.spec import ArraySpec
from aecompress.trainer import fit

HEIGHT = 8
ROWS = np.cumsum(np.random.default_rng(0).normal(size=(100, 4)), axis=0).astype(np.float32)
TARGET = Target("max-error", 0.01)


def task(start: int, stop: int, step: int = 5, beside: pa.RecordBatch | None = None) -> list[Batch]:
    """Rows start to stop, numbered, ``step`` at a time, with their part of what stands beside all rows."""
    ends = itertools.pairwise([*range(start, stop, step), stop])
    return [(np.arange(a, b), ROWS[a:b], None if beside is None else beside.slice(a, b - a)) for a, b in ends]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tasks_in_any_order_make_the_blocks_of_a_local_pack(tmp_path: Path, local: Path, model: Any) -> None:
    job = pickle.loads(pickle.dumps(PackJob.start(tmp_path / "a", model)))
    shares = [job.write(task(start, min(start + 24, 100))) for start in (72, 0, 96, 48, 24)]
    report = job.commit(pickle.loads(pickle.dumps(shares)), rows=100)
    assert blocks_of(tmp_path / "a") == blocks_of(local)
    there = aecompress.info(local)
    assert (report.rows, report.target, report.methods) == (100, TARGET, there["methods"])
    assert report.rmse == pytest.approx(there["rmse"])
    assert aecompress.verify(tmp_path / "a", against=ROWS)["bound_kept"]
    assert sorted(os.listdir(tmp_path / "a")) == ["_manifest.json", "_model", "blocks"]


@settings(max_examples=15, deadline=None)
@given(cuts=st.sets(st.integers(1, 99), max_size=6), again=st.sets(st.integers(0, 6)), step=st.integers(1, 40))
def test_retries_neither_lose_nor_double_rows(
    cuts: set[int], again: set[int], step: int, model: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Parts wherever they are cut; some tasks run twice, and either attempt may be the one that counts."""
    ends = [0, *sorted(cuts), 100]
    trees = []
    for twice in (set(), again):
        path = tmp_path_factory.mktemp("a") / "a"
        job = PackJob.start(path, model)
        shares = []
        for i, (start, stop) in enumerate(itertools.pairwise(ends)):
            attempts = [job.write(task(start, stop, step)) for _ in range(2 if i in twice else 1)]
            shares.insert(0, attempts[i % len(attempts)])
        job.commit(shares, rows=100)
        assert aecompress.verify(path, against=ROWS)["bound_kept"]
        trees.append(tree(path))
    assert trees[0] == trees[1]


def test_blocks_of_any_length_are_compared_with_their_source(tmp_path: Path, model: Any) -> None:
    job = PackJob.start(tmp_path / "a", model)
    job.commit([job.write(task(start, stop)) for start, stop in ((0, 3), (3, 50), (50, 100))])
    assert {block.rows for block in blocks_of(tmp_path / "a")} == {2, 3, 4, 5, 6, HEIGHT}
    stream = (ROWS[start : start + 7] for start in range(0, 100, 7))
    assert aecompress.verify(tmp_path / "a", against=stream)["max_abs_error"] <= 0.01
    aecompress.report(tmp_path / "a", tmp_path / "a.html", source=ROWS)
    with pytest.raises(VerificationError, match="ends before row 100"):
        aecompress.verify(tmp_path / "a", against=iter([ROWS[:99]]))


def test_a_row_missing_or_twice_is_refused(tmp_path: Path, model: Any) -> None:
    job = PackJob.start(tmp_path / "a", model)
    first, second, third = (job.write(task(*rows)) for rows in ((0, 40), (40, 70), (70, 100)))
    for shares, problem in (
        ([first, third], "Rows 40 to 70 are missing"),
        ([second, third], "Rows 0 to 40 are missing"),
        ([first, second, second, third], "Rows 40 to 70 came twice"),
        ([job.write(task(0, 50)), second, third], "Rows 40 to 50 came twice"),
    ):
        with pytest.raises(InputError, match=problem):
            job.commit(shares)
    assert not is_archive(tmp_path / "a")
    with pytest.raises(InputError, match="gave 70 rows, not the 100"):
        job.commit([first, second], rows=100)
    assert not is_archive(tmp_path / "a")
    job.abort()
    assert not (tmp_path / "a").exists()


def test_a_killed_attempt_is_swept(tmp_path: Path, local: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PART_BYTES", 200)
    job = PackJob.start(tmp_path / "a", model)
    child = os.fork()
    if not child:
        job.write(deadly(task(0, 100)))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    left = list(job.scratch.glob("*.parquet"))
    assert len(left) > 1
    shares = [job.write(task(48, 100)), job.write(task(0, 48))]
    job.commit(shares, rows=100)
    assert blocks_of(tmp_path / "a") == blocks_of(local)
    parts = [fragment.path for fragment in aecompress.open(tmp_path / "a").manifest.fragments]
    assert sorted(tree(tmp_path / "a")) == sorted(["_manifest.json", *parts, *model_files(tmp_path / "a")])


def deadly(batches: list[Batch]) -> Iterator[Batch]:
    """The batches, and death before the last."""
    yield from batches[:-1]
    os.kill(os.getpid(), signal.SIGKILL)


def model_files(archive: Path) -> list[str]:
    return [f"_model/{path.name}" for path in (archive / "_model").iterdir()]


def test_a_failed_attempt_leaves_nothing(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PART_BYTES", 200)
    job = PackJob.start(tmp_path / "a", model)
    before = sorted(os.listdir(job.scratch))

    def broken() -> Iterator[Batch]:
        yield from task(0, 90)
        raise OSError("the network is down")

    with pytest.raises(OSError, match="network"):
        job.write(broken())
    assert sorted(os.listdir(job.scratch)) == before


def test_an_archive_is_replaced_only_by_force_and_at_the_end(tmp_path: Path, model: Any) -> None:
    job = PackJob.start(tmp_path / "a", model)
    job.commit([job.write(task(0, 100))])
    with pytest.raises(DestinationError, match="--force"):
        PackJob.start(tmp_path / "a", model)
    again = PackJob.start(tmp_path / "a", model, force=True)
    share = again.write([(np.arange(100), ROWS[::-1], None)])
    assert np.abs(aecompress.open(tmp_path / "a")[:] - ROWS).max() <= 0.01
    again.commit([share])
    assert np.abs(aecompress.open(tmp_path / "a")[:] - ROWS[::-1]).max() <= 0.01
    again.abort()
    assert is_archive(tmp_path / "a")


def test_of_two_jobs_the_later_stays(tmp_path: Path, model: Any) -> None:
    early = PackJob.start(tmp_path / "a", model)
    share = early.write(task(0, 100))
    late = PackJob.start(tmp_path / "a", model, force=True)
    with pytest.raises(DestinationError, match="another one took its place"):
        early.commit([share])
    with pytest.raises(DestinationError, match="another one took its place"):
        early.abort()
    with pytest.raises(DestinationError, match="not shared by all machines"):
        early.write(task(0, 100))
    late.commit([late.write(task(0, 100))])
    assert len(aecompress.open(tmp_path / "a")) == 100


def test_scattered_rows_are_refused(tmp_path: Path, model: Any) -> None:
    job = PackJob.start(tmp_path / "a", model)
    with pytest.raises(InputError, match="Row 30 comes after row 19 in one task"):
        job.write([*task(10, 20), *task(30, 40)])
    with pytest.raises(InputError, match="Row 2 comes after row 0"):
        job.write([(np.arange(0, 100, 2), ROWS[::2], None)])
    whole = job.write([*task(40, 48), *task(80, 100), *task(0, 24)])
    assert [(part.start, part.stop) for part in whole.fragments] == [(40, 48), (80, 100), (0, 24)]
    job.abort()


def test_rows_of_a_batch_may_come_in_any_order(tmp_path: Path, local: Path, model: Any) -> None:
    order = np.random.default_rng(1).permutation(100)
    job = PackJob.start(tmp_path / "a", model)
    job.commit([job.write([(order, ROWS[order], None)])])
    assert blocks_of(tmp_path / "a") == blocks_of(local)


@pytest.mark.parametrize(
    ("target", "promise"),
    [
        (Target("lossless"), Target("lossless")),
        (Target("rel-error", 1e-3), "max-error"),
        (Target("rel-error", 1e-3, per=0), Target("rel-error", 1e-3, per=0)),
        (Target("rel-error", 1e-3, per=1), "--per"),
        (Target("psnr", 30.0), "before the first is packed"),
    ],
)
def test_what_is_promised_can_be_kept(target: Target, promise: Target | str, tmp_path: Path) -> None:
    """A bound relative to one set means nothing for another; the archive names the bound it keeps."""
    fitted = fit(ROWS, target, kind="none", effort="fast")
    if promise in ("--per", "before the first is packed"):
        with pytest.raises(InputError, match=str(promise)):
            PackJob.start(tmp_path / "a", fitted)
        assert not (tmp_path / "a").exists()
        return
    job = PackJob.start(tmp_path / "a", fitted)
    job.commit([job.write(task(0, 100))])
    stated = aecompress.open(tmp_path / "a").manifest.target
    if promise == "max-error":
        assert stated.kind == "max-error"
        assert stated.value == pytest.approx(1e-3 * np.ptp(ROWS), rel=1e-5)
    else:
        assert stated == promise
    assert aecompress.verify(tmp_path / "a", against=ROWS)["bound_kept"]


def test_no_rows_make_an_empty_archive(tmp_path: Path, model: Any) -> None:
    job = PackJob.start(tmp_path / "a", model)
    report = job.commit([job.write([]), Share((), job.write([]).totals)], rows=0)
    assert report.rows == 0
    assert aecompress.open(tmp_path / "a")[:].shape == (0, 4)


def test_unpack_gives_the_columns_back(tmp_path: Path, model: Any) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for columns in (("signal",), ("a", "b", "c", "d")):
        job = PackJob.start(tmp_path / "a", model, force=True)
        job.commit([job.write(task(0, 100))], columns=columns)
        back = tmp_path / f"{len(columns)}.parquet"
        aecompress.unpack(tmp_path / "a", back)
        assert tuple(pq.read_table(back).column_names) == columns


@pytest.mark.parametrize("part_bytes", [200, 1 << 20])
def test_what_stands_beside_the_rows_goes_with_them(
    part_bytes: int, tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut and ordered as the rows are, also where they come in any order."""
    monkeypatch.setattr(writer, "PART_BYTES", part_bytes)
    names = [None if row % 7 == 0 else f"row {row}" for row in range(100)]
    beside = pa.record_batch({"id": np.arange(100) * 3, "name": names})
    job = PackJob.start(tmp_path / "a", model)
    order = np.random.default_rng(2).permutation(np.arange(72, 100))
    mixed = [(order, ROWS[order], beside.take(pa.array(order)))]
    job.write(task(48, 72, beside=beside))  # an attempt that does not count
    shares = [job.write(mixed), *(job.write(task(a, b, 7, beside)) for a, b in ((48, 72), (0, 48)))]
    job.commit(pickle.loads(pickle.dumps(shares)), rows=100, columns=("id", "signal", "name"))
    archive = aecompress.open(tmp_path / "a")
    found = archive.rows.to_table()
    assert found["_row"].to_pylist() == list(range(100))
    assert found.select(["id", "name"]).to_pydict() == beside.to_pydict()
    archive.check_files()
    aecompress.unpack(tmp_path / "a", tmp_path / "back.parquet", where="id < 30")
    back = pa.parquet.read_table(tmp_path / "back.parquet")
    assert back.schema.names == ["id", "signal", "name"]
    assert back["name"].to_pylist() == names[:10]
    assert sorted(os.listdir(tmp_path / "a")) == ["_manifest.json", "_model", "blocks", "rows"]
    assert len(os.listdir(tmp_path / "a" / "rows")) == len(archive.manifest.fragments)


def test_of_no_rows_the_columns_of_the_array_stay(tmp_path: Path, model: Any) -> None:
    job = PackJob.start(tmp_path / "a", model)
    job.commit([job.write([])], rows=0, columns=("id", "signal"), array=("signal",))
    aecompress.unpack(tmp_path / "a", tmp_path / "back.parquet")
    assert pa.parquet.read_schema(tmp_path / "back.parquet").names == ["signal"]


def test_what_stands_beside_the_rows_is_the_same_everywhere(tmp_path: Path, model: Any) -> None:
    numbers, words = (pa.record_batch({"id": column}) for column in (range(100), ["a"] * 100))
    job = PackJob.start(tmp_path / "a", model)
    for shares in (
        [job.write(task(0, 48, beside=numbers)), job.write(task(48, 100, beside=words))],
        [job.write(task(0, 48, beside=numbers)), job.write(task(48, 100))],
    ):
        with pytest.raises(InputError, match="differs in names or types"):
            job.commit(shares)
    with pytest.raises(InputError, match="differs in names or types"):
        job.write([*task(0, 4, beside=numbers), *task(4, 8, beside=words)])
    before = set(os.listdir(job.scratch))
    with pytest.raises(InputError, match="change their types"):
        job.write([*task(0, 8, beside=numbers), *task(8, 16, beside=words)])
    assert set(os.listdir(job.scratch)) == before
    job.abort()


def test_values_of_other_dtypes_must_be_the_same() -> None:
    spec = ArraySpec(np.dtype("u1"), (2, 2))
    assert as_rows(np.arange(8, dtype=np.int16).reshape(2, 4), spec).shape == (2, 2, 2)
    for wrong in (np.full((1, 4), 256, np.int16), np.full((1, 4), -1, np.int16), np.full((1, 4), 0.5)):
        with pytest.raises(InputError, match="uint8 cannot hold"):
            as_rows(wrong, spec)
    with pytest.raises(InputError, match="Rows of shape"):
        as_rows(np.zeros((2, 3), np.uint8), spec)
    halves = as_rows(np.array([[np.nan, 0.5]], np.float32), ArraySpec(np.dtype("f2"), (2,)))
    assert halves.dtype == np.float16
    assert np.array_equal(halves, [[np.nan, 0.5]], equal_nan=True)


def test_tasks_are_of_whole_blocks() -> None:
    spec = ArraySpec(np.dtype("f4"), (4,))
    assert task_rows(spec) == 4 * HEIGHT
    assert task_rows(ArraySpec(np.dtype("f8"), (3000, 4000))) == 1


def test_stretches_are_of_whole_blocks(local: Path) -> None:
    archive = Archive(local)
    assert stretches(archive, 1) == [(0, 100)]
    assert stretches(archive, 3) == [(0, 40), (40, 80), (80, 100)]
    assert len(stretches(archive, 1000)) == 13


def test_workers_write_to_a_folder_that_all_see(model: aecompress.Model) -> None:
    with pytest.raises(DestinationError, match="is in a store; let workers write to a folder"):
        PackJob.start("s3://bucket/x.aec", model)
