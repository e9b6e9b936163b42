"""Fit of ``conv``: which neighbours to see, their best linear combination, and ReLU layers beside it.

torch is loaded when the network is trained, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from aecompress.autoencoder.convolution import FARTHEST, Convolution, gather
from aecompress.autoencoder.freezing import FloatLayer, freeze
from aecompress.autoencoder.network import with_powers
from aecompress.autoencoder.progress import Progress, Throttle
from aecompress.devices import Device, find_device, seeded
from aecompress.normalize import Float64s
from aecompress.spec import Array

if TYPE_CHECKING:
    from torch import Tensor

#: Neighbours to choose from, and how many are chosen.
_CANDIDATES, _TAPS = 160, 48

#: An axis stays if its neighbours lower the squared error by this share.
_EARNS = 0.005

#: Values that the linear part is fitted to, that judge, and that make a minibatch.
_LINEAR, _HELD_OUT, _MINIBATCH = 200_000, 50_000, 4096

#: Values that neighbours are chosen on.
_CROP = 400_000

#: Most values that teach.
_VALUES = 1_500_000

#: Rounding noise of the weights, relative to what a uniform error of one unit in every input makes.
_WEIGHT_NOISE = 0.01


@dataclass(frozen=True)
class Lesson:
    """A block to learn from.

    Attributes:
        q: int64 [rows, ...] lattice integers.
        keep: bool, same shape: False where there is no value.
        target: float64, same shape: the values themselves, in cells.
    """

    q: Array
    keep: Array
    target: Array

    def head(self, values: int) -> Lesson:
        """The first rows, of about this many values."""
        rows = max(4, values * len(self.q) // max(self.q.size, 1))
        return Lesson(self.q[:rows], self.keep[:rows], self.target[:rows])


def fit_conv(
    lessons: Sequence[Lesson],
    *,
    hidden: tuple[int, ...] = (32, 32),
    seconds: float,
    seed: int,
    device: Device = "auto",
    progress: Progress,
) -> Convolution | None:
    """Fit ``conv`` to blocks of one row shape; None if they hold too little to learn from.

    Args:
        lessons: blocks and what their values were.
        hidden: widths of the ReLU layers.
        seconds: training time at most.
        seed: of the choice of values, weights and order.
        device: to train on: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: called as ``progress(phase, done, info)``, a few times a second at most.

    Raises InputError if there is no such device.
    """
    from aecompress.autoencoder.learners.restorer import Restorer
    from aecompress.autoencoder.training import train

    rng = np.random.default_rng(seed)
    lessons = [lesson for lesson in lessons if lesson.keep.any()]
    if sum(int(lesson.keep.sum()) for lesson in lessons) < 2 * _MINIBATCH:
        return None
    few = [lesson.head(_CROP // len(lessons)) for lesson in lessons]
    typical = int(np.median(np.concatenate([lesson.q[lesson.keep][:_LINEAR] for lesson in lessons])))
    taps = _choose_taps([lesson for lesson in few if lesson.keep.any()] or lessons, typical, rng)
    seen = _Seen.of(lessons, taps, typical, _VALUES, rng)
    linear = _ridge(seen.inputs[:_LINEAR], seen.errors[:_LINEAR])
    deviation = np.sqrt(np.square(seen.inputs[:_LINEAR], dtype=np.float64).mean(0))
    place = find_device(device)
    with seeded(seed, place):
        learner = Restorer(linear, deviation, hidden)
        train(learner, seen, seconds=seconds, seed=seed, device=place, report=Throttle(progress))
    return _frozen(learner.paths(), seen.inputs[: _LINEAR // 4], taps, typical)


def _frozen(paths: tuple[tuple[FloatLayer, ...], ...], inputs: Array, taps: Array, typical: int) -> Convolution:
    powered = tuple(with_powers(path, inputs.astype(np.float64)) for path in paths)
    spread = np.maximum(np.sqrt(np.square(inputs, dtype=np.float64).mean(0)), 1e-3)
    one = np.ones(1)
    network = freeze(
        powered, steps=np.ones(len(spread)), spread=spread, centre=0 * one, scale=one, weight_noise=_WEIGHT_NOISE
    )
    return Convolution(taps, typical, network)


@dataclass
class _Seen:
    """Values as the network sees them, in random order; some are held out to judge by.

    Attributes:
        inputs: int16 [n, K + 1].
        errors: float32 [n]: what the network should give, in cells.
    """

    inputs: Array
    errors: Array

    @classmethod
    def of(cls, lessons: Sequence[Lesson], taps: Array, typical: int, most: int, rng: np.random.Generator) -> _Seen:
        """About ``most`` values, drawn evenly from all blocks."""
        share = min(1.0, most / sum(lesson.q.size for lesson in lessons))
        inputs, errors = [], []
        for lesson in lessons:
            target = (lesson.target - lesson.q).reshape(-1)
            keep, at = lesson.keep.reshape(-1), 0
            for told in gather(lesson.q, lesson.keep, taps, typical):
                part = slice(at, at + len(told))
                chosen = keep[part] & (rng.random(len(told)) < share)
                inputs.append(told[chosen].astype(np.int16))
                errors.append(target[part][chosen].astype(np.float32))
                at += len(told)
        order = rng.permutation(sum(map(len, inputs)))
        return cls(np.concatenate(inputs)[order], np.concatenate(errors)[order])

    @property
    def count(self) -> int:
        return len(self.inputs)

    @cached_property
    def _judges(self) -> int:
        return min(_HELD_OUT, self.count // 10)

    @property
    def held_out(self) -> Tensor:
        """float32 [m, K + 2]: inputs, and what should come out last."""
        return self._tensor(slice(0, self._judges))

    def minibatches(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """The others, for ever."""
        while True:
            order = self._judges + rng.permutation(self.count - self._judges)
            for at in range(0, len(order), _MINIBATCH):
                yield self._tensor(order[at : at + _MINIBATCH])

    def _tensor(self, index: slice | Array) -> Tensor:
        import torch

        told = self.inputs[index].astype(np.float32)
        return torch.from_numpy(np.concatenate([told, self.errors[index][:, None]], axis=1))


def _choose_taps(lessons: Sequence[Lesson], typical: int, rng: np.random.Generator) -> Array:
    """int64 [K, axes]: of the neighbours along axes that earn their place, those that count most."""
    axes = lessons[0].q.ndim
    lengths = [max(lesson.q.shape[axis] for lesson in lessons) for axis in range(axes)]
    kept = [axis for axis in range(axes) if lengths[axis] > 1]
    if len(kept) > 1:
        near = _Seen.of(lessons, _ball(axes, kept, lengths, 6 * 3 ** len(kept)), typical, _LINEAR, rng)
        whole = _error(near)
        useful = []
        for axis in kept:
            others = [other for other in kept if other != axis]
            without = _error(_Seen.of(lessons, _ball(axes, others, lengths, 60), typical, _LINEAR, rng))
            if without * (1 - _EARNS) > whole:
                useful.append(axis)
        kept = useful or kept
    taps = _ball(axes, kept, lengths, _CANDIDATES)
    if len(taps) <= _TAPS:
        return taps
    seen = _Seen.of(lessons, taps, typical, _LINEAR, rng)
    weight = _ridge(seen.inputs, seen.errors)[0][: len(taps)]
    size = np.abs(weight) * np.sqrt(np.square(seen.inputs[:, :-1], dtype=np.float64).mean(0))
    return taps[np.sort(np.argsort(-size)[:_TAPS])]


def _ball(axes: int, kept: Sequence[int], lengths: Sequence[int], most: int) -> Array:
    """int64 [<= most, axes]: the nearest offsets along the axes that are kept, without the origin."""
    reach = [min(FARTHEST, lengths[axis] - 1, int(most ** (1 / len(kept))) + 1) for axis in kept]
    offsets = np.array(list(product(*(range(-r, r + 1) for r in reach))))
    distance = np.square(offsets).sum(1)
    order = np.argsort(distance, kind="stable")[1:]
    if len(order) > most:
        order = order[distance[order] < distance[order[most]]]
    found = np.zeros((len(order), axes), np.int64)
    found[:, kept] = offsets[order]
    return found


def _error(seen: _Seen) -> float:
    """Mean squared error that the best linear combination leaves."""
    weight, constant = _ridge(seen.inputs, seen.errors)
    return float(np.square(seen.inputs @ weight + constant - seen.errors).mean())


def _ridge(inputs: Array, errors: Array) -> tuple[Float64s, float]:
    """(weights [K + 1], constant) of least squares, slightly damped."""
    told = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    gram = told.T @ told
    solved = np.linalg.solve(gram + 1e-4 * np.diag(np.diag(gram)) + 1e-9 * np.eye(len(gram)), told.T @ errors)
    return solved[:-1], float(solved[-1])
