"""``strided``: a convolutional autoencoder of series, pictures and volumes, its analysis, and its fit by rate and
distortion.

torch is loaded when it is trained, not before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress import ranks
from aecompress.autoencoder.freezing import freeze
from aecompress.autoencoder.network import Path, activations_of, paths_of, run, slopes, tensors_of, with_powers
from aecompress.autoencoder.progress import Progress, Throttle
from aecompress.autoencoder.striding import MOST_COLOURS, Grid, Strided, around, gathered
from aecompress.devices import Device, descent, find_device, move, seeded
from aecompress.errors import ModelError
from aecompress.normalize import Float64s
from aecompress.spec import Array

if TYPE_CHECKING:
    from torch import Tensor

    from aecompress.autoencoder.learners.strider import Strider

#: Side of a cell by the axes of the grid, most latents of it, units of each hidden layer.
_STRIDES, _LATENTS, _HIDDEN = {1: 8, 2: 4, 3: 4}, 24, 48

#: Shorter axes than these make no series, plane or volume, more features than these are no series and no colours, and
#: fewer cells teach nothing.
_SHORTEST, _MOST_FEATURES, _FEWEST_CELLS = {1: 64, 2: 16, 3: 16}, {1: MOST_COLOURS, 2: 4, 3: 4}, 4096

#: Sides of the crops that teach, in cells, by the axes of the grid, and cells of a minibatch.
_CROPS, _MINIBATCH = {1: (1, 128), 2: (16, 16), 3: (8, 8, 8)}, 2048

#: Batches at most, Adam's rate, its warm-up, the share of the schedule at the full rate, and the norm of gradients.
_STEPS, _RATE, _WARM_UP, _FULL, _CLIP = 8000, 2e-3, 100, 0.5, 1.0

#: The price of errors begins at this (bits of a value, for a squared error of one step), follows the error of these
#: batches, by this much a batch at most, less before this share of the schedule, and stays for the last of it.
_PRICE, _MEMORY, _PACE, _HEARD, _SETTLED = 2.5, 0.98, 0.01, 0.25, 0.97

#: What would still take this much more than is worth it after this share of the schedule is given up.
_HOPELESS, _TELLING = 2.0, 0.3

#: Cells that latents' spread and layers' powers are measured on, and rounding noise of the weights.
_MEASURED, _WEIGHT_NOISE = 1 << 15, 0.01

#: Latents of less spread than this hardly ever leave zero: no others are kept.
_LEAST_SPREAD = 0.05

#: Grid that gains are measured on, by its axes; how much of a step down the gradient is safe where latents depend on
#: each other, and the least gain, of the greatest, that it trusts.
_PROBED, _DESCENT, _LEAST_GAIN = {1: (1, 1024), 2: (1, 32, 32), 3: (1, 12, 12, 12)}, 0.6, 1 / 8


def grid_of(row_shape: tuple[int, ...]) -> Grid | None:
    """The grid for rows of this shape: of volumes or planes, perhaps with colours, or of series, perhaps with features.

    Rows of few values are moments of one series. None where rows are nothing of these.
    """
    for axes in (3, 2, 1):
        if len(row_shape) > axes and row_shape[-1] <= _MOST_FEATURES[axes]:
            shape, colours = row_shape[:-1], row_shape[-1]
        else:
            shape, colours = row_shape, 0
        if len(shape) >= axes and min(shape[-axes:]) >= _SHORTEST[axes]:
            return Grid(_STRIDES[axes], colours, axes)
    return Grid(_STRIDES[1], row_shape[0], 1) if len(row_shape) == 1 and row_shape[0] <= MOST_COLOURS else None


@dataclass(frozen=True)
class StridedAutoencoder:
    """Analysis and synthesis in floating point; latents are in steps of the quantiser it was trained with.

    Attributes:
        centre, scale: values enter as (value - centre) / scale; the scale is a power of two.
        encoder, decoder: paths that take a cell and those around it, and give one; their outputs add up.
        spread: float64 [K], root mean square of each latent, in steps.
    """

    grid: Grid
    centre: float
    scale: float
    encoder: tuple[Path, ...]
    decoder: tuple[Path, ...]
    spread: Float64s

    def analysis(self, values: Array) -> Float64s:
        """Latents float64 [N, ..., K] of a block of finite values."""
        cells = self._cells(values)
        found = [run(self.encoder, inputs) for inputs in around(cells)]
        return np.concatenate(found).astype(np.float64).reshape(*cells.shape[:-1], -1)

    def nearer(self, values: Array, latents: Array) -> Float64s:
        """Latents float64 [N, ..., K] a step down the gradient from ``latents``, for a synthesis nearer to the block:
        each makes good for the rounding of those around it."""
        steps = _DESCENT / np.maximum(self.gains, _LEAST_GAIN * self.gains.max())
        found: Float64s = latents + steps * self._slopes(latents, self._cells(values))
        return found

    @cached_property
    def gains(self) -> Float64s:
        """Float64 [K]: squared error of the output, in the network's units, for each squared step of a latent.

        Products of random signs with the Jacobian have its columns' squared norms for mean squares (Hutchinson 1990).
        """
        rng = np.random.default_rng(0)
        latents = np.rint(rng.normal(0, self.spread, (*_PROBED[self.grid.axes], len(self.spread))))
        found = np.concatenate([run(self.decoder, inputs) for inputs in around(latents)])
        signs = rng.choice((-1.0, 1.0), found.shape)
        norms: Float64s = np.square(self._slopes(latents, found + signs)).reshape(-1, len(self.spread)).mean(0)
        return np.maximum(norms, np.finfo(np.float32).tiny)

    def _slopes(self, latents: Array, cells: Array) -> Array:
        """Half the negative gradient [N, ..., K] of the squared error of the synthesis to ``cells`` [N, ..., P]."""
        wanted, found, at = cells.reshape(-1, self.grid.patch), [], 0
        for inputs in around(latents):
            found.append(slopes(self.decoder, inputs, wanted[at : at + len(inputs)]))
            at += len(inputs)
        return gathered(np.concatenate(found), latents.shape)

    def _cells(self, values: Array) -> Array:
        """Patches float32 [N, ..., P] of a block, in the network's units."""
        return self.grid.cut(((values - self.centre) / self.scale).astype(np.float32))

    def freeze(self, step: float) -> Strided:
        """The exact synthesis of latents quantised as ``round(y / step)``."""
        one, spread = np.ones(1), np.repeat(np.maximum(self.spread, 1e-3), self.grid.seen)
        network = freeze(
            self.decoder,
            steps=np.full(len(spread), step),
            spread=spread / step,
            centre=self.centre * one,
            scale=self.scale * one,
            weight_noise=_WEIGHT_NOISE,
        )
        return Strided(self.grid, network)

    @property
    def settings(self) -> dict[str, Any]:
        """What ``from_tensors`` needs beside the tensors; plain JSON."""
        return {"grid": self.grid.numbers, **activations_of(encoder=self.encoder, decoder=self.decoder)}

    def tensors(self) -> dict[str, Array]:
        """Float arrays for a model file; with ``settings`` all there is."""
        level = np.array([self.centre, self.scale])
        return {"spread": self.spread, "level": level, **tensors_of(encoder=self.encoder, decoder=self.decoder)}

    @classmethod
    def from_tensors(cls, settings: Mapping[str, Any], tensors: Mapping[str, Array]) -> StridedAutoencoder:
        """The autoencoder of ``settings`` and ``tensors``. Raises ModelError if they do not make one."""
        try:
            grid = Grid(*(int(n) for n in settings["grid"]))
            centre, scale = tensors["level"].tolist()
            encoder, decoder = (paths_of(side, settings, tensors) for side in ("encoder", "decoder"))
            return cls(grid, centre, scale, encoder, decoder, tensors["spread"])
        except (KeyError, TypeError, IndexError, ValueError) as err:
            raise ModelError("The file does not hold a whole autoencoder; fit the model again.") from err


def fit_strided(
    blocks: Sequence[Array],
    rmse: float,
    *,
    worth: float = math.inf,
    seconds: float,
    seed: int,
    device: Device = "auto",
    progress: Progress,
) -> StridedAutoencoder | None:
    """Fit ``strided`` to blocks of one row shape; None if they are neither series nor pictures nor volumes, or hold too
    little to learn from, or if early on it is far from what it is worth.

    Args:
        blocks: floats [rows, ...]; NaN where there is no value, which is taken for the mean of the others.
        rmse: root mean squared error that reconstructions should have.
        worth: bits of a value that others take at that error.
        seconds: training time at most.
        seed: of weights, noise and the choice of crops.
        device: to train on: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: called as ``progress(phase, done, info)``, a few times a second at most.

    Raises InputError if there is no such device.
    """
    from aecompress.autoencoder.learners.strider import Strider

    grid = grid_of(blocks[0].shape[1:]) if blocks else None
    if grid is None or sum(math.prod(grid.cells(block.shape)) for block in blocks) < _FEWEST_CELLS:
        return None
    rng = np.random.default_rng(seed)
    known = [block[np.isfinite(block)].astype(np.float64) for block in blocks]
    if not sum(map(len, known)):
        return None
    centre = float(np.concatenate(known).mean())
    blocks = [np.where(np.isfinite(block), block, centre) for block in blocks]
    scale = 2.0 ** round(math.log2(rmse * math.sqrt(12)))
    parts = [grid.cut(((block - centre) / scale).astype(np.float32)) for block in blocks]
    basis, deviation = _principal(parts)
    place = find_device(device)
    with seeded(seed, place):
        learner = Strider(grid.axes, basis, deviation, _HIDDEN).to(place)
        whole = _train(learner, _crops(parts, rng), (rmse / scale) ** 2, worth, seconds, Throttle(progress))
    if not whole:
        return None
    encoder, decoder = learner.cpu().paths()
    found = StridedAutoencoder(grid, centre, scale, encoder, decoder, deviation)
    return _measured(found, blocks)


def _measured(found: StridedAutoencoder, blocks: Sequence[Array]) -> StridedAutoencoder:
    """The autoencoder with its latents' spread and its layers' powers as they are on part of the blocks."""
    share = max(1, _MEASURED // len(blocks))
    inputs = []
    for block in blocks:
        rows = max(1, share * len(block) // max(math.prod(found.grid.cells(block.shape)), 1))
        inputs.append(np.concatenate(list(around(np.rint(found.analysis(block[:rows]))))))
    told = np.concatenate(inputs)
    decoder = tuple(with_powers(path, told) for path in found.decoder)
    many = found.grid.seen
    spread = np.sqrt(np.square(told[:, many // 2 :: many]).mean(0))
    return _without(replace(found, decoder=decoder, spread=spread), spread < min(_LEAST_SPREAD, spread.max()))


def _without(found: StridedAutoencoder, idle: Array) -> StridedAutoencoder:
    """The autoencoder without its latents where ``idle`` (bool [K]) is set."""
    kept = np.flatnonzero(~idle)
    ends = [replace(path[-1], weight=path[-1].weight[kept], bias=path[-1].bias[kept]) for path in found.encoder]
    encoder = tuple((*path[:-1], end) for path, end in zip(found.encoder, ends, strict=True))
    seen = np.flatnonzero(np.repeat(~idle, found.grid.seen))
    starts = [replace(path[0], weight=path[0].weight[:, seen]) for path in found.decoder]
    decoder = tuple((start, *path[1:]) for path, start in zip(found.decoder, starts, strict=True))
    return replace(found, encoder=encoder, decoder=decoder, spread=found.spread[kept])


def _principal(parts: Sequence[Array]) -> tuple[Float64s, Float64s]:
    """(basis [P, K], root mean squares [K]) of patches, the largest first."""
    patch = parts[0].shape[-1]
    flat = np.concatenate([part.reshape(-1, patch) for part in parts])
    flat = flat[:: max(1, len(flat) // 100_000)].astype(np.float64)
    values, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
    many = min(patch, _LATENTS)
    return vectors[:, ::-1][:, :many], np.sqrt(np.maximum(values[::-1][:many], 0))


def _crops(parts: Sequence[Array], rng: np.random.Generator) -> Iterator[Array]:
    """Minibatches float32 [n, P, ...] of crops, for ever; those of series have height 1."""
    grids = [part if part.ndim > 3 else part[:, None] for part in parts]
    sizes = np.array([part.shape[:-1] for part in grids])
    sides = np.minimum(sizes[:, 1:].min(0), _CROPS[parts[0].ndim - 2])
    chances = sizes.prod(1) / sizes.prod(1).sum()
    while True:
        crops = []
        for block in rng.choice(len(grids), max(1, _MINIBATCH // int(sides.prod())), p=chances):
            grid, *corner = rng.integers(sizes[block] - (0, *(sides - 1)))
            there = (slice(at, at + side) for at, side in zip(corner, sides, strict=True))
            crops.append(grids[block][(grid, *there)])
        yield np.moveaxis(np.stack(crops), -1, 1)


def _train(
    learner: Strider, crops: Iterator[Array], wanted: float, worth: float, seconds: float, report: Throttle
) -> bool:
    """Lower bits + price x error, with the price that leads the error to ``wanted``; False if that was given up."""
    import torch

    def lowered(x: Tensor, price: Tensor) -> tuple[Tensor, Tensor]:
        bits, error = learner(x)
        return bits / x.numel() + price * error, error

    place = next(learner.parameters()).device
    losses = descent(lowered, place, seconds)
    finer = learner.share / (2 * math.log(2))  # bits of a value for e times less error
    optimiser = torch.optim.Adam(learner.parameters(), _RATE)
    started = ranks.now()
    price, usual, rate, told = _PRICE, 0.0, 0.0, False
    for step in range(_STEPS):
        done = max(step / _STEPS, (ranks.now() - started) / max(seconds, 1e-3))
        if done >= 1:
            break
        slow = 0.5 + 0.5 * math.cos(math.pi * max(0.0, done - _FULL) / (1 - _FULL))
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / _WARM_UP) * max(slow, 0.02)
        x = move(torch.from_numpy(np.ascontiguousarray(next(crops))), place)
        optimiser.zero_grad()
        loss, error = losses(x, move(torch.tensor(price), place))
        torch.nn.utils.clip_grad_norm_(learner.parameters(), _CLIP)
        optimiser.step()
        seen = float(error)
        usual = _MEMORY * usual + (1 - _MEMORY) * seen if step else seen
        rate = _MEMORY * rate + (1 - _MEMORY) * (float(loss) - price * seen)
        excess = math.log(max(usual, 1e-12) / wanted)
        if step > _WARM_UP and done > _TELLING and not told:
            told = True
            if ranks.agreed(rate + finer * max(excess, 0.0)) > _HOPELESS * worth:
                return False
        if step > _WARM_UP and done < _SETTLED:
            price *= math.exp(_PACE * min(done / _HEARD, 1.0) * min(max(excess, -1.0), 1.0))
        report("strided", done, loss=round(float(loss), 4), price=round(price, 3), error=round(usual, 4))
    ranks.agree(learner)
    return True
