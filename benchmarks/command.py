"""The command line of the project as a process of its own, and data to feed it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from aecompress.spec import Array

#: float32 values in one row of synthetic data.
ROW_SIZE = 256

#: Rows made at a time: 4 MiB.
CHUNK_ROWS = 4096


def aecompress(*arguments: str | Path) -> list[str]:
    """The command line that runs ``aecompress ARGUMENTS`` with this interpreter."""
    return [sys.executable, "-m", "aecompress", *map(str, arguments)]


def write_synthetic(path: Path, megabytes: int, seed: int = 0) -> None:
    """Write a float32 .npy file of noisy sine waves, chunk by chunk, so that no process ever holds it."""
    rows = megabytes * 1_000_000 // (4 * ROW_SIZE)
    rng = np.random.default_rng(seed)
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, ROW_SIZE)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, CHUNK_ROWS):
            _waves(rng, min(CHUNK_ROWS, rows - start)).tofile(file)


def _waves(rng: np.random.Generator, rows: int) -> Array:
    time = np.linspace(0, 2 * np.pi, ROW_SIZE, dtype=np.float32)
    frequency, phase = rng.uniform(1, 8, (2, rows, 1)).astype(np.float32)
    noise = rng.standard_normal((rows, ROW_SIZE), dtype=np.float32)
    waves: Array = np.sin(frequency * time + phase) + np.float32(0.01) * noise
    return waves
