"""Speed of pack and unpack, fitting left out, beside SZ3, SPERR and zfp: medians of repeated runs on one file.

python -m benchmarks.speed FILE [--target "rel-error 1e-3"] [--effort fast] [--repeat 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from aecompress.comparer import measure_ours
from aecompress.config import EFFORTS, MODEL_KINDS
from aecompress.errors import AecompressError
from aecompress.peers import load
from aecompress.peers.trial import Cell, measure_variant, smallest
from benchmarks import data

#: The peers that keep a bound on floating-point fields by themselves.
FIELD_PEERS = ("sz3", "sperr", "zfp")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    options.add_argument("file", type=Path, metavar="FILE", help="a .npy file, or a folder of PNG files")
    options.add_argument("--target", default="rel-error 1e-3")
    options.add_argument("--model", choices=MODEL_KINDS, default="auto")
    options.add_argument("--effort", choices=EFFORTS, default="balanced")
    options.add_argument("--peers", type=lambda names: names.split(","), default=list(FIELD_PEERS))
    options.add_argument("--repeat", type=int, default=5)
    try:
        run(options.parse_args())
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(options: argparse.Namespace) -> None:
    """Print one line a codec; the first run of ours warms the caches and is not counted."""
    x, target = data.load(options.file), data.parse_target(options.target)
    bound = data.absolute_bound(target, x)
    ours = partial(measure_ours, x, target, bound, options.model, options.effort)
    ours()
    print(line("aecompress", repeated(ours, options.repeat)), flush=True)
    for name in options.peers:
        if found := smallest(load(name), x, bound):
            print(line(name, repeated(partial(measure_variant, found[0], x, bound), options.repeat)), flush=True)


def repeated(measure: Callable[[], Cell], times: int) -> Cell:
    """The last cell, with the median of each speed."""
    cells = [measure() for _ in range(times)]
    medians = {key: median(cell[key] for cell in cells) for key in ("enc_MBps", "dec_MBps")}
    return cells[-1] | medians


def line(name: str, cell: Cell) -> str:
    kept = "kept" if cell["bound_kept"] else "BROKEN"
    speeds = f"encode {cell['enc_MBps']:.1f} MB/s  decode {cell['dec_MBps']:.1f} MB/s"
    return f"{name}  {cell['bytes']} bytes  {speeds}  bound {kept}"


if __name__ == "__main__":
    main()
