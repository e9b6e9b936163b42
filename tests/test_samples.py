"""Data sets and loaders of torch as sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import aecompress
from aecompress.errors import InputError
from aecompress.sources import open_source

ROWS = np.random.default_rng(1).normal(size=(23, 4, 3)).astype(np.float32)


class Numbered(Dataset[Any]):
    """Rows by number, as most data sets are; it counts what is asked of it."""

    def __init__(self, rows: Any) -> None:
        self.rows, self.read = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        return torch.from_numpy(self.rows[index]) if isinstance(self.rows[index], np.ndarray) else self.rows[index]


class Streamed(IterableDataset[Any]):
    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        yield from self.rows


def gather(source: Any, *part: int) -> np.ndarray[Any, Any]:
    return np.concatenate(list(source.batches(5, *part)))


@pytest.mark.parametrize(
    "data",
    [
        Numbered(ROWS),
        TensorDataset(torch.from_numpy(ROWS)),
        Subset(Numbered(np.concatenate([ROWS, ROWS])), range(23)),
        ConcatDataset([Numbered(ROWS[:9]), Numbered(ROWS[9:])]),
    ],
    ids=lambda data: type(data).__name__,
)
def test_rows_by_number_can_be_read_again(data: Dataset[Any]) -> None:
    source = open_source(data)
    assert source.replayable
    assert source.spec.describe() == "23 x 4 x 3 float32"
    assert np.array_equal(gather(source), ROWS)
    assert np.array_equal(gather(source, 7, 11), ROWS[7:11])


def test_only_the_rows_asked_for_are_read() -> None:
    data = Numbered(ROWS)
    source = open_source(data)
    gather(source, 7, 11)
    assert data.read == 1 + 4


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_rows_one_after_another_are_a_stream(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aecompress.sources.base._CHUNK_BYTES", 4 * ROWS[0].nbytes)
    source = open_source(Streamed(map(kind, ROWS)))
    assert not source.replayable
    assert source.spec.rows is None
    assert np.array_equal(gather(source), ROWS)


@pytest.mark.parametrize("data", [Numbered(ROWS), Streamed(ROWS)])
def test_a_loader_gives_batches(data: Dataset[Any]) -> None:
    assert np.array_equal(gather(open_source(DataLoader(data, batch_size=6))), ROWS)


def test_a_data_set_is_packed(tmp_path: Path) -> None:
    aecompress.pack(Numbered(ROWS), tmp_path / "a.aec", target=aecompress.Target("lossless"), model="none")
    aecompress.pack(Streamed(ROWS), tmp_path / "b.aec", target=aecompress.Target("lossless"), model="none")
    for name in "ab":
        assert np.array_equal(aecompress.open(tmp_path / f"{name}.aec")[:], ROWS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Numbered([]), "Numbered is empty"),
        (Streamed([]), "Streamed is empty"),
        (Numbered([(1, 2)]), "gives 2 things a row; make one of it that gives the array alone"),
        (Streamed([{"x": 1}]), "gives 1 things a row"),
        (Numbered([np.zeros(3), np.zeros(4)]), r"Row 1 .* is \(4,\) float64, but the first was \(3,\)"),
        (Streamed([np.zeros(3), np.zeros(3, "f4")]), r"Row 1 .* float32, but the first"),
        (Numbered(["a"]), "not supported; convert it"),
    ],
)
def test_data_sets_that_are_no_source(data: Dataset[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gather(open_source(data))
