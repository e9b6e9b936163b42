"""Archives in torch, xarray and Zarr: every row once, and no more decoded than asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import aecompress
from aecompress.archive import Archive
from aecompress.config import Target
from aecompress.errors import ArchiveError, InputError
from aecompress.integrations.torch import ArchiveDataset, IterableArchiveDataset
from aecompress.spec import Array
from aecompress.trainer import sampling

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
