"""Kill pack at random moments: nothing half-written may open, and --resume must end in the same bytes.

python -m benchmarks.kill [SOURCE] [--trials 20]
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

import aecompress
from aecompress.errors import AecompressError
from benchmarks.command import aecompress as command
from benchmarks.command import write_synthetic

#: A trial is killed one to this many times before it may finish.
MAX_KILLS = 3

Digest = dict[str, str]


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=__doc__)
    options.add_argument("source", nargs="?", type=Path, help="a .npy file; 20 MB of synthetic rows if left out")
    options.add_argument("--trials", type=int, default=20)
    options.add_argument("--model", default="auto")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.source or synthetic(Path(folder, "source.npy"))
        disturb(source, Path(folder), arguments)


def synthetic(path: Path) -> Path:
    write_synthetic(path, 20)
    return path


def disturb(source: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Pack once undisturbed, then again and again with kills, and compare."""
    calm = folder / "calm"
    start = time.perf_counter()
    subprocess.run(pack(source, calm, arguments.model), check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    expected, rng = digest(calm), np.random.default_rng(arguments.seed)
    for trial in range(arguments.trials):
        archive = folder / f"trial-{trial}"
        delays = rng.uniform(0, seconds, rng.integers(1, MAX_KILLS + 1))
        for delay in delays:
            killed_pack([*pack(source, archive, arguments.model), "--resume"], float(delay))
            check_incomplete(archive, expected)
        subprocess.run([*pack(source, archive, arguments.model), "--resume"], check=True, stdout=subprocess.DEVNULL)
        check_same(archive, expected)
        print(f"trial {trial}: killed after {', '.join(f'{d:.2f}' for d in delays)} s, resumed to the same bytes")


def pack(source: Path, archive: Path, model: str) -> list[str]:
    return command("pack", source, "-o", archive, "--rel-error", "1e-3", "--model", model)


def killed_pack(arguments: list[str], delay: float) -> None:
    """Start, wait, SIGKILL."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    process.kill()
    process.wait()


def check_incomplete(archive: Path, expected: Digest) -> None:
    """The archive must refuse to open, unless the kill came too late and every byte is there."""
    try:
        aecompress.open(archive)
    except AecompressError:
        return
    check_same(archive, expected)


def check_same(archive: Path, expected: Digest) -> None:
    found = digest(archive)
    if found != expected:
        differing = sorted(name for name in found | expected if found.get(name) != expected.get(name))
        raise SystemExit(f"{archive} differs from an undisturbed run in {', '.join(differing)}.")


def digest(archive: Path) -> Digest:
    """SHA-256 of every file under ``archive``, by its path."""
    files = (file for file in archive.rglob("*") if file.is_file())
    return {str(file.relative_to(archive)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


if __name__ == "__main__":
    main()
