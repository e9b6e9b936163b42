"""Rows of an archive as torch data sets, for a DataLoader with any number of workers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import Dataset, IterableDataset, get_worker_info

import aecompress
from aecompress.errors import InputError
from aecompress.locations import Where
from aecompress.spec import Array


class ArchiveDataset(Dataset[torch.Tensor]):
    """Any row by its number: ``dataset[i]`` is a tensor [*row_shape] of the archive's dtype.

    The blocks read last stay decoded, and a batch that a DataLoader asks for decodes each of its blocks once. Pickled,
    a data set is the path and its settings: every worker opens the archive for itself.

    Args:
        archive: the folder.
        cached_blocks: how many decoded blocks to keep, each of about a million values.

    Raises:
        ArchiveError: it is not an archive.
        InputError: ``cached_blocks`` is less than 1.
    """

    def __init__(self, archive: Where, *, cached_blocks: int = 8) -> None:
        self.archive = aecompress.open(archive)
        self.cached_blocks = _at_least_one("cached_blocks", cached_blocks)
        self._blocks: OrderedDict[int, Array] = OrderedDict()

    def __len__(self) -> int:
        return len(self.archive)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[torch.Tensor]:
        """The rows of a batch in its order; they are visited block by block. Raises IndexError."""
        height = self.archive.manifest.block_rows
        places = [self._place(row) for row in rows]
        by_block = sorted(range(len(places)), key=places.__getitem__)
        found = {i: _tensor(self._block(places[i] // height)[places[i] % height]) for i in by_block}
        return [found[i] for i in range(len(places))]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_blocks": OrderedDict()}

    def _place(self, row: int) -> int:
        """The row counted from the front."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of an archive of {len(self)} rows")
        return int(row) % len(self)

    def _block(self, number: int) -> Array:
        """Decoded rows of a block, kept until ``cached_blocks`` others were needed since."""
        if number not in self._blocks:
            start = number * self.archive.manifest.block_rows
            self._blocks[number] = self.archive[start : start + self.archive.manifest.block_rows]
            if len(self._blocks) > self.cached_blocks:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]


class IterableArchiveDataset(IterableDataset[torch.Tensor]):
    """All rows once, in order or shuffled, shared out between the ranks of a process group and the workers of each.

    Shuffled, the blocks come in random order, and the rows of ``buffer_blocks`` blocks at a time are mixed: every block
    is decoded once an epoch. Each worker of each rank gets as many rows as the others, or one more.

    Args:
        archive: the folder.
        shuffle: mix the rows; the order follows from ``seed`` and the epoch.
        seed: of the order; the same in all ranks.
        buffer_blocks: decoded blocks whose rows are mixed, each of about a million values.

    Raises:
        ArchiveError: it is not an archive.
        InputError: ``buffer_blocks`` is less than 1.
    """

    def __init__(self, archive: Where, *, shuffle: bool = False, seed: int = 0, buffer_blocks: int = 8) -> None:
        self.archive = aecompress.open(archive)
        self.shuffle, self.seed = shuffle, seed
        self.buffer_blocks = _at_least_one("buffer_blocks", buffer_blocks)
        # In shared memory, so that workers that persist see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._rank = (0, 1)

    def set_epoch(self, epoch: int) -> None:
        """Choose another order: call it before each epoch, with the same number in all ranks."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[torch.Tensor]:
        rows = self._shuffled() if self.shuffle else chain.from_iterable(self.archive.batches(*self._share()))
        return map(_tensor, rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rank": self._ranks()}  # a spawned worker is in no process group

    def _shuffled(self) -> Iterator[Array]:
        """Rows of this worker, as many mixed at a time as the buffer holds."""
        seeds = [self.seed, int(self._epoch)]
        stretches = self._stretches(np.random.default_rng(seeds))
        for i in range(0, len(stretches), self.buffer_blocks):
            rows = np.concatenate([self.archive[a:b] for a, b in stretches[i : i + self.buffer_blocks]])
            for row in np.random.default_rng([*seeds, stretches[i][0]]).permutation(len(rows)):
                yield rows[row]

    def _stretches(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        """(start, stop) of the rows of this worker, block by block: its share of one order of all blocks."""
        starts = rng.permutation(np.arange(0, len(self.archive), self.archive.manifest.block_rows))
        heights = np.minimum(len(self.archive) - starts, self.archive.manifest.block_rows)
        before = np.cumsum(heights) - heights
        low, high = (starts + np.clip(end - before, 0, heights) for end in self._share())
        return [(start, stop) for start, stop in zip(low.tolist(), high.tolist(), strict=True) if start < stop]

    def _share(self) -> tuple[int, int]:
        """(start, stop) of what this worker of this rank takes of a row of all rows."""
        rank, ranks = self._ranks()
        worker = get_worker_info()
        if worker is not None:
            rank, ranks = rank * worker.num_workers + worker.id, ranks * worker.num_workers
        return len(self.archive) * rank // ranks, len(self.archive) * (rank + 1) // ranks

    def _ranks(self) -> tuple[int, int]:
        """(rank, number of ranks) of the process group, or of that of the process this data set was sent from."""
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return self._rank


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise InputError(f"{name} is {value}; it must be 1 or more.")
    return value


def _tensor(row: Array) -> torch.Tensor:
    """A row as a tensor of its own: a view would keep, and send to other processes, the whole block."""
    return torch.from_numpy(np.array(row))
