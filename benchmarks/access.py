"""Rows a second through a DataLoader: the archive by number, as a stream, shuffled, and the file it was packed from.

python -m benchmarks.access FILE [--target "rel-error 1e-3"] [--workers 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import aecompress
from aecompress.errors import AecompressError
from aecompress.integrations.torch import ArchiveDataset, IterableArchiveDataset
from aecompress.spec import Array
from benchmarks import data


class FileDataset(Dataset[torch.Tensor]):
    """Rows of a mapped .npy file: what there is without an archive."""

    def __init__(self, rows: Array) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.rows[row]))


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.access", description=__doc__)
    options.add_argument("file", type=Path, metavar="FILE", help="a .npy file")
    options.add_argument("--target", default="rel-error 1e-3")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--batch-size", type=int, default=256)
    options.add_argument("--batches", type=int, default=20, help="at most, of each way")
    try:
        run(options.parse_args())
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(options: argparse.Namespace) -> None:
    """Print one line a way of reading."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "rows.aec"
        aecompress.pack(options.file, archive, target=data.parse_target(options.target), model="none")
        opened = aecompress.open(archive)
        blocks = -(-len(opened) // opened.manifest.block_rows)
        print(f"{opened.spec.describe()}, {blocks} blocks, {options.workers} workers, batches of {options.batch_size}")
        ways: dict[str, tuple[Any, bool | None]] = {
            "archive, stream in order": (IterableArchiveDataset(archive), None),
            "archive, stream shuffled": (IterableArchiveDataset(archive, shuffle=True), None),
            "archive, by number, shuffled, 8 blocks kept": (ArchiveDataset(archive), True),
            "archive, by number, shuffled, all blocks kept": (ArchiveDataset(archive, cached_blocks=blocks), True),
            "mapped .npy, shuffled": (FileDataset(np.load(options.file, mmap_mode="r")), True),
        }
        for name, (dataset, shuffle) in ways.items():
            print(f"{name:46} {rows_per_second(dataset, shuffle, options):10.0f} rows/s", flush=True)


def rows_per_second(dataset: Dataset[torch.Tensor], shuffle: bool | None, options: argparse.Namespace) -> float:
    """From the start of the loader to the last batch, the start of the workers in it."""
    loader = DataLoader(dataset, options.batch_size, shuffle, num_workers=options.workers)
    started = time.monotonic()
    rows = sum(len(batch) for batch in islice(loader, options.batches))
    return rows / (time.monotonic() - started)


if __name__ == "__main__":
    main()
