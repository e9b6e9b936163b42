"""Colours told from brightness, on pictures that taught nothing: PSNR of their chroma beside grey and one mean colour.

python -m benchmarks.colorize FILE... [--size 32] [--sheet colours.png]

Pictures are uint8 [n, h, w, 3], from .npy files or folders of PNG files. Those more than four squares high are shrunk
first, and all are cut to squares. Of each file the last quarter of the pictures judges; one model learns from them all.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aecompress.colorizer import fit_colorizer
from aecompress.errors import AecompressError
from aecompress.pictures import write_png
from aecompress.restoration.coloring import TO_YCC, Colorizer, brightness
from aecompress.spec import Array
from benchmarks import data
from benchmarks.denoise import psnr, squares

#: Pictures on the sheet.
_SHOWN = 14


@dataclass(frozen=True)
class Set:
    """Squares uint8 [n, side, side, 3] that teach, and others that judge."""

    name: str
    teaching: Array
    judging: Array


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.colorize", description=__doc__)
    options.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a .npy file or a folder of PNG files")
    options.add_argument("--size", type=int, default=32, help="side of the squares")
    options.add_argument("--fit-seconds", type=float, default=120.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--sheet", type=Path, help="PNG of the last file: originals, grey, what was told")
    try:
        run(options.parse_args())
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(options: argparse.Namespace) -> None:
    """Print a line a file."""
    sets = [load(file, options.size) for file in options.files]
    taught = np.concatenate([one.teaching for one in sets])
    order = np.random.default_rng(options.seed).permutation(len(taught))
    model = fit_colorizer(taught[order], seconds=options.fit_seconds, seed=options.seed)
    print("| pictures | that teach | that judge | grey | mean colour | ours |\n|---|---|---|---|---|---|")
    for one in sets:
        wanted = chroma(one.judging)
        mean = chroma(one.teaching).mean((0, 1, 2))
        found = [np.zeros(2), mean, chroma(model.apply(brightness(one.judging)))]
        cells = " | ".join(f"{psnr(told, wanted):.2f}" for told in found)
        print(f"| {one.name} | {len(one.teaching)} | {len(one.judging)} | {cells} |")
    if options.sheet is not None:
        write_png(options.sheet, sheet(model, sets[-1].judging))


def load(file: Path, side: int) -> Set:
    pictures = data.load(file)
    times = max(1, min(pictures.shape[1:3]) // (4 * side))
    pictures = shrunk(pictures, times)
    kept = len(pictures) - max(1, len(pictures) // 4)
    return Set(file.stem, squares(pictures[:kept], side), squares(pictures[kept:], side))


def shrunk(pictures: Array, times: int) -> Array:
    """Means of squares of ``times`` by ``times`` values."""
    n, height, width, channels = pictures.shape
    cut = pictures[:, : height // times * times, : width // times * times]
    parts = cut.reshape(n, height // times, times, width // times, times, channels)
    return np.rint(parts.mean((2, 4))).astype(pictures.dtype)


def chroma(pictures: Array) -> Array:
    """Cb and Cr, float64 [n, h, w, 2]."""
    return (pictures @ TO_YCC.T)[..., 1:]


def sheet(model: Colorizer, pictures: Array) -> Array:
    """Originals, grey, and what was told, below each other; twice as wide and high."""
    shown = pictures[np.random.default_rng(0).permutation(len(pictures))[:_SHOWN]]
    grey = brightness(shown)
    lines = (shown, np.repeat(grey[..., None], 3, axis=-1), model.apply(grey))
    return np.concatenate([np.concatenate(list(line), axis=1) for line in lines]).repeat(2, 0).repeat(2, 1)


if __name__ == "__main__":
    main()
