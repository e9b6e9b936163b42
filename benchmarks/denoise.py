"""Denoising beside wavelets, non-local means and BM3D: PSNR of pictures with Gaussian noise of several levels.

python -m benchmarks.denoise FILE... [--noise 10 25 50] [--judged 24] [--size 128]

Pictures are uint8, [n, h, w] or [n, h, w, 3], from .npy files or folders of PNG files; larger ones are cut to squares.
The peers are told the noise, ours measure it. Nothing is rounded before the end, and all results are cut to 0 to 255.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from skimage.restoration import denoise_nl_means, denoise_wavelet

from aecompress.denoiser import fit_denoiser
from aecompress.errors import AecompressError
from aecompress.spec import Array
from benchmarks import data

#: What takes noise of a known deviation off one picture, float64 [h, w, C] in 0 to 1.
Method = Callable[[Array, float], Array]


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.denoise", description=__doc__)
    options.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a .npy file or a folder of PNG files")
    options.add_argument("--noise", type=float, nargs="+", default=[10.0, 25.0, 50.0], help="of 255")
    options.add_argument("--judged", type=int, default=24, help="pictures that are judged; all teach")
    options.add_argument("--size", type=int, default=128, help="side of the squares that larger pictures are cut to")
    options.add_argument("--fit-seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=0)
    try:
        run(options.parse_args())
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err


def run(options: argparse.Namespace) -> None:
    """Print a line a set and noise level: decibels, and seconds a picture behind them."""
    peers = methods()
    names = ["noisy", *peers, "ours, blind", "ours, from pairs"]
    print(f"| pictures | noise | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for file in options.files:
        clean = squares(data.load(file), options.size)
        for noise in options.noise:
            found = compare(clean, noise, peers, options)
            print(f"| {file.stem} | {noise:g} | {' | '.join(found)} |", flush=True)


def compare(clean: Array, noise: float, peers: dict[str, Method], options: argparse.Namespace) -> list[str]:
    """Cells of one line."""
    judged = options.judged
    seen = (clean + noise * np.random.default_rng(options.seed).standard_normal(clean.shape)).astype(np.float32)
    told = np.ascontiguousarray(clean[judged:], np.float32)
    cells = [f"{psnr(seen[:judged], clean[:judged]):.2f}"]
    for method in peers.values():
        cells.append(cell(partial(_apply, method, noise), seen, clean, judged))
    blind = fit_denoiser(seen, seconds=options.fit_seconds, seed=options.seed)
    cells.append(cell(blind.apply, seen, clean, judged))
    pairs = fit_denoiser(seen[judged:], clean=told, seconds=options.fit_seconds, seed=options.seed)
    cells.append(cell(pairs.apply, seen, clean, judged))
    return cells


def cell(method: Callable[[Array], Array], seen: Array, clean: Array, judged: int) -> str:
    started = time.monotonic()
    found = np.clip(method(seen[:judged]), 0, 255)
    took = (time.monotonic() - started) / judged
    return f"{psnr(found, clean[:judged]):.2f} ({took:.2g} s)"


def methods() -> dict[str, Method]:
    """The peers that are installed."""
    found: dict[str, Method] = {"wavelet": wavelet, "non-local means": non_local_means}
    if importlib.util.find_spec("bm3d") is not None:
        found["BM3D"] = bm3d
    return found


def wavelet(picture: Array, noise: float) -> Array:
    return denoise_wavelet(picture, sigma=noise, method="BayesShrink", rescale_sigma=False, channel_axis=-1)


def non_local_means(picture: Array, noise: float) -> Array:
    """With the filter strength that scikit-image's example recommends where the noise is known."""
    return denoise_nl_means(
        picture, patch_size=5, patch_distance=6, h=0.6 * noise, sigma=noise, fast_mode=True, channel_axis=-1
    )


def bm3d(picture: Array, noise: float) -> Array:
    import bm3d as package

    if picture.shape[-1] == 3:
        return package.bm3d_rgb(picture, noise)
    return package.bm3d(picture[..., 0], noise)


def squares(pictures: Array, side: int) -> Array:
    """Pictures [n, h, w, ...] cut into squares: the first of every picture, then the second of every picture, ..."""
    height, width = pictures.shape[1:3]
    if max(height, width) <= side:
        return pictures
    places = [(y, x) for y in range(0, height - side + 1, side) for x in range(0, width - side + 1, side)]
    return np.concatenate([pictures[:, y : y + side, x : x + side] for y, x in places])


def psnr(found: Array, clean: Array) -> float:
    """In dB, over all values, with a peak of 255."""
    return -10 * math.log10(float(np.square(found.astype(np.float64) - clean).mean()) / 255**2)


def _apply(method: Method, noise: float, pictures: Array) -> Array:
    channels = pictures if pictures.ndim == 4 else pictures[..., None]
    found = [method(picture, noise / 255) for picture in channels.astype(np.float64) / 255]
    return np.stack(found).reshape(pictures.shape) * 255


if __name__ == "__main__":
    main()
