"""The tables of the family on every kind of data, one after the other, in one Markdown file.

python -m benchmarks.suite FOLDER -o family.md [--rows N] [--fit-seconds S] ...

FOLDER holds the files of ``RUNS``; those that are missing are said and skipped. All other options are those of
``benchmarks.family`` and take the place of the same options of every run. The whole takes hours.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

from aecompress.errors import AecompressError
from benchmarks import family

#: What ``benchmarks.family`` is run on: a file and its options.
RUNS = (
    "fashion_mnist.npy --psnr 22 25 28 --peers jpegxl,avif --fit-seconds 300",
    "hsi_jasper_ridge.npy --features 0 --rmse-of-range 0.01 0.001",
    "hsi_abu_airport2.npy --features 0 --rmse-of-range 0.01 0.001",
    "cms_dimuon.npy --rmse-of-range 0.01 0.001",
    "mitbih_ecg.npy --window 256 --rmse-of-range 0.01 0.001",
    "imu_phone_watch.npy --features 0 --window 256 --rmse-of-range 0.01 0.001",
    "isabel_velmag.npy --features 1 --rmse-of-range 0.01 0.001",
    "sift_bsds.npy --faiss SQ6 PQ16 PQ32 PQ64 OPQ16,PQ16 OPQ32,PQ32 PCA64,SQ8",
    "emb_wiki.npy --faiss SQ8 PQ16 PQ32 PQ64 OPQ16,PQ16 OPQ32,PQ32 PCA64,SQ8",
)


def main() -> None:
    options, others = parser().parse_known_args()
    with options.output.open("w") as file:
        for line in report(options.folder, others):
            print(line, flush=True)
            print(line, file=file, flush=True)


def report(folder: Path, others: list[str]) -> Iterator[str]:
    """Lines of Markdown: a heading for each run, the command that repeats it, and its tables."""
    for run in RUNS:
        name, *chosen = shlex.split(run)
        arguments = [*chosen, *others]
        yield from (f"# {Path(name).stem}", "", f"    python -m benchmarks.family {shlex.join([name, *arguments])}", "")
        if (folder / name).exists():
            yield from _tables([str(folder / name), *arguments])
        else:
            yield f"Skipped: {name} is not in {folder}."
        yield ""


def _tables(arguments: list[str]) -> Iterator[str]:
    """The lines of one run; an error ends it, and not the suite."""
    try:
        yield from family.report(family.parser().parse_args(arguments))
    except AecompressError as err:
        yield f"Error: {err}"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.suite", description="the family on all kinds of data")
    options.add_argument("folder", type=Path, metavar="FOLDER", help="where the .npy files are")
    options.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="Markdown file to write")
    return options


if __name__ == "__main__":
    main()
