"""Pack and verify random arrays of every dtype until N values were compared: not one may miss its bound.

python -m benchmarks.soak [--values 1e9] [--seed 0]

Each round draws a dtype, a shape, a target and arrays of it (walks, fields, noise, any bit pattern), with NaN of any
payload, infinities, -0.0, denormals and fill values strewn in, packs it to disk, reads it back block by block and
compares it with arrays drawn anew: nothing of the packer's own checks is used, and memory stays that of a block. The
model is fitted to a few rows in closed form, so most blocks are unlike what it knows.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import aecompress
from aecompress.config import Target
from aecompress.spec import Array

DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")

#: Values of a batch, which is drawn at once, and batches of a round.
BATCH, BATCHES = 1 << 20, 24

#: Kinds that no model helps with, and shares of special values, by kind of dtype, up to which one does: beyond them
#: every block is tried in all ways, which is slow, and arrays are an eighth as long.
SLOW, SPARSE = ("noise", "bits"), {"f": 1e-2, "i": 0.0, "u": 0.0}

#: Values that a model is fitted to.
FITTED = 1 << 16

#: Stands for "no value" where a dtype holds it.
FILL = 1e30


@dataclass(frozen=True)
class Round:
    """One array: what it is like, ``size`` being that of its noise, and what is asked of it."""

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    rows: int
    kind: str
    size: float
    special: float
    target: Target
    seed: int

    @classmethod
    def draw(cls, seed: int, batches: int = BATCHES, values: int = BATCH) -> Round:
        rng = np.random.default_rng([seed, 0])
        dtype = np.dtype(DTYPES[seed % len(DTYPES)])
        shape = tuple(int(n) for n in rng.integers(1, 40, rng.integers(0, 4)))
        kind = str(rng.choice(["walk", "field", "noise", "bits"], p=[0.45, 0.35, 0.12, 0.08]))
        special = float(rng.choice([0.0, 1e-5, 1e-4, 1e-3, 3e-2], p=[0.3, 0.25, 0.2, 0.15, 0.1]))
        slow = kind in SLOW or special > SPARSE[dtype.kind]
        rows = max(1, values // math.prod(shape)) * (-(-batches // 8) if slow else batches)
        size = 10.0 ** rng.uniform(-2, 3)
        return cls(dtype, shape, rows, kind, size, special, _target(dtype, size, rng), seed)

    def batches(self, values: int = BATCH) -> Iterator[Array]:
        """The rows, the same at each call."""
        height = max(1, values // math.prod(self.row_shape))
        for start in range(0, self.rows, height):
            rng = np.random.default_rng([self.seed, 1, start])
            shape = (min(height, self.rows - start), *self.row_shape)
            yield _strewn(_drawn(self.kind, self.size, shape, self.dtype, rng), self.special, rng)

    def describe(self) -> str:
        shape = " x ".join(map(str, (self.rows, *self.row_shape)))
        return f"{self.dtype.name} {shape}, {self.kind}, {self.special:g} special, {self.target.describe()}"


def _target(dtype: np.dtype[Any], size: float, rng: np.random.Generator) -> Target:
    """A bound near the size of the noise mostly, where coding is quick; sometimes any."""
    if rng.random() < 0.1:
        return Target("lossless")
    if rng.random() < 0.1:
        return Target("rel-error", 10.0 ** rng.uniform(-6, -0.5))
    if rng.random() < 0.1:
        return Target("max-error", float(rng.integers(0, 2 ** rng.integers(1, 8 * dtype.itemsize - 1))))
    near = size * 10.0 ** rng.uniform(-1.5, 0.5)
    return Target("max-error", near if dtype.kind == "f" else float(int(near)))


def _drawn(kind: str, size: float, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """Values of one kind, over much of the range of the dtype."""
    if kind == "bits":
        count = math.prod(shape) * dtype.itemsize
        return np.frombuffer(rng.bytes(count), dtype).reshape(shape).copy()
    noise = rng.standard_normal(shape, np.float32) * np.float32(size)
    if kind == "walk":
        noise = noise.cumsum(0, dtype=np.float64) * 0.1
    if kind == "field":
        places = sum(np.arange(n).reshape(-1, *[1] * (len(shape) - 1 - i)) / (20.0 + i) for i, n in enumerate(shape))
        noise = size * np.sin(places) + 1e-3 * noise
    if dtype.kind == "f":
        most = float(np.finfo(dtype).max)
        return np.clip(noise.astype(np.float64), -most, most).astype(dtype)
    ends = np.iinfo(dtype)
    middle = 0 if dtype.kind == "i" else int(rng.integers(0, 100))
    return np.clip(np.rint(noise.astype(np.float64)) + middle, float(ends.min), float(ends.max) / 2).astype(dtype)


def _strewn(values: Array, share: float, rng: np.random.Generator) -> Array:
    """The values with special ones at random places and in a run; of integers, the ends of their range."""
    flat = values.reshape(-1)
    many = int(share * flat.size)
    if not many:
        return values
    places = rng.integers(0, flat.size, many)
    start = int(rng.integers(0, flat.size))
    places[: many // 2] = (start + np.arange(many // 2)) % flat.size  # half of them side by side, as on a coast
    flat[places] = rng.choice(specials(values.dtype), many)
    return values


def specials(dtype: np.dtype[Any]) -> Array:
    """What is strewn into arrays of a dtype."""
    if dtype.kind != "f":
        return np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    info, bits = np.finfo(dtype), f"u{dtype.itemsize}"
    odd = np.array([info.smallest_subnormal, -info.smallest_subnormal, info.tiny, info.max, info.min], dtype)
    quiet = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0], dtype)
    payload = quiet[:2].view(bits) ^ np.array(5, bits)
    below = (np.array([info.tiny], dtype).view(bits) - np.array(1, bits)).view(dtype)  # the greatest denormal
    fill = np.array([min(FILL, float(info.max)), -9999.0], dtype)
    return np.concatenate([odd, quiet, payload.view(dtype), below, np.repeat(fill, 8)])


def violations(values: Array, decoded: Array, bound: float) -> int:
    """Values not as promised: special ones that did not come back bit for bit, others further off than the bound."""
    if values.dtype != decoded.dtype or values.shape != decoded.shape:
        return max(values.size, 1)
    if values.dtype.kind != "f":
        error = np.where(values > decoded, values - decoded, decoded - values)  # wraps to what is right, unsigned
        return int((error.view(f"u{values.dtype.itemsize}") > bound).sum())
    bits = f"u{values.dtype.itemsize}"
    same = values.view(bits) == decoded.view(bits)
    exact = ~np.isfinite(values) | ((values == 0) & np.signbit(values))
    exact |= (values != 0) & (np.abs(values) < np.finfo(values.dtype).tiny)
    with np.errstate(over="ignore", invalid="ignore"):
        held = np.abs(values.astype(np.float64) - decoded.astype(np.float64)) <= bound
    return int((~np.where(exact, same, same | held)).sum())


def check(drawn: Round, folder: Path) -> tuple[int, int]:
    """(values compared, violations) of one round, packed below ``folder``."""
    few = next(drawn.batches())[: max(1, FITTED // max(math.prod(drawn.row_shape), 1))]
    model = aecompress.fit(few, drawn.target, kind="none", effort="fast")
    aecompress.pack(drawn.batches(), folder / "archive", target=drawn.target, model=model, workers=1, force=True)
    archive = aecompress.open(folder / "archive")
    allowed = bound(drawn)
    compared = wrong = start = 0
    for values in drawn.batches():
        decoded = archive[start : start + len(values)]
        wrong += violations(values, decoded, allowed)
        compared += values.size
        start += len(values)
    return compared, wrong + (len(archive) != start)


def bound(drawn: Round) -> float:
    """The greatest error that the target allows, by the range of all finite values."""
    value = drawn.target.value or 0.0
    if drawn.target.kind != "rel-error":
        return value
    low, high = np.inf, -np.inf
    for values in drawn.batches():
        finite = values[np.isfinite(values)].astype(np.float64)
        low, high = min(low, finite.min(initial=np.inf)), max(high, finite.max(initial=-np.inf))
    with np.errstate(over="ignore"):
        return float(value * (high - low)) if high >= low else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--values", type=float, default=1e9, help="to compare; a multiple of the round's is reached")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each has the next one")
    options = parser.parse_args()
    started, compared, wrong, seed = time.monotonic(), 0, 0, options.seed
    with tempfile.TemporaryDirectory() as folder:
        while compared < options.values:
            drawn = Round.draw(seed)
            found = check(drawn, Path(folder))
            compared, wrong, seed = compared + found[0], wrong + found[1], seed + 1
            print(f"{seed - 1}: {drawn.describe()}: {found[1]} violations", flush=True)
            print(f"  {compared:,} values, {wrong} violations, {time.monotonic() - started:.0f} s", flush=True)
    if wrong:
        raise SystemExit(f"{wrong} of {compared:,} values came back outside their bound.")
    print(f"{compared:,} values of {seed - options.seed} arrays: none outside its bound.")


if __name__ == "__main__":
    main()
