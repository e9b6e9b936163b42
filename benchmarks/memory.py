"""Peak memory of pack and unpack on small and large files, each as a process of its own (Linux).

python -m benchmarks.memory 200 2000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.command import aecompress, write_synthetic

#: A process starts with the peak of the one that started it, so a small interpreter stands in between.
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    options.add_argument("megabytes", nargs="*", type=int, default=[200, 2000], help="sizes of the .npy files")
    options.add_argument("--model", default="auto")
    arguments = options.parse_args()
    peaks = [measure(size, arguments.model) for size in arguments.megabytes]
    for verb, first, last in zip(("pack", "unpack"), peaks[0], peaks[-1], strict=True):
        print(f"{verb}: largest over first {last / first:.3f}")


def measure(megabytes: int, model: str) -> tuple[float, float]:
    """Peak MB of packing and of unpacking a synthetic file of ``megabytes``."""
    with tempfile.TemporaryDirectory() as folder:
        source, archive, back = Path(folder, "source.npy"), Path(folder, "archive"), Path(folder, "back.npy")
        write_synthetic(source, megabytes)
        pack = peak_rss(aecompress("pack", source, "-o", archive, "--rel-error", "1e-3", "--model", model))
        unpack = peak_rss(aecompress("unpack", archive, "-o", back))
    print(f"{megabytes} MB: pack {pack:.0f} MB, unpack {unpack:.0f} MB", flush=True)
    return pack, unpack


def peak_rss(command: list[str]) -> float:
    """Greatest resident memory of one process in MB, the pages of files it maps included."""
    launched = subprocess.run([sys.executable, "-c", LAUNCHER, *command], stdout=subprocess.PIPE, text=True)
    if launched.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {launched.returncode}.")
    return int(launched.stdout) * 1024 / 1e6


if __name__ == "__main__":
    main()
