"""Fit a network to blocks: the best linear guess first, then ReLU layers on top of it.

torch is loaded when a network is trained, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from aecompress.autoencoder.progress import Progress, Throttle
from aecompress.devices import Device, find_device, seeded
from aecompress.errors import InputError
from aecompress.normalize import Float64s
from aecompress.restoration.neighbourhood import Neighbourhood, View
from aecompress.restoration.network import Network
from aecompress.spec import Array

if TYPE_CHECKING:
    from torch import Tensor

#: Positions that the linear guess is fitted to, that judge, that make a minibatch, and that there must be.
_LINEAR, _HELD_OUT, _MINIBATCH, _LEAST = 40_000, 10_000, 2048, 1000

#: Of the places every so many-th judges and does not teach.
_STRIDE = 20


@dataclass(frozen=True)
class Lesson:
    """A block to learn from.

    Attributes:
        values: float32 [A, B, H, W, C] of what is seen.
        known: bool, same shape.
        wanted: float32 [A, B, H, W, C'] of what is to be guessed.
        counts: bool [A, B, H, W]: False where ``wanted`` is not known.
    """

    values: Array
    known: Array
    wanted: Array
    counts: Array


class Lessons:
    """Positions of several blocks: what a network is given there, and what it should tell.

    Args:
        lessons: blocks that teach.
        hood: where to look.
        rng: of the choice of places.
        judges: blocks that judge; by default every 20th place of those that teach judges instead.
    """

    def __init__(
        self, lessons: Sequence[Lesson], hood: Neighbourhood, rng: np.random.Generator, judges: Sequence[Lesson] = ()
    ) -> None:
        every = [*lessons, *judges]
        self._views = [View(lesson.values, lesson.known, hood) for lesson in every]
        self._wanted = [lesson.wanted.reshape(-1, lesson.wanted.shape[-1]) for lesson in every]
        places = [np.flatnonzero(lesson.counts) for lesson in every]
        none = np.zeros(0, np.int64)
        if judges:
            self._teaching = places[: len(lessons)] + [none] * len(judges)
            self._judging = [none] * len(lessons) + places[len(lessons) :]
        else:
            self._teaching = [np.delete(found, np.s_[::_STRIDE]) for found in places]
            self._judging = [found[::_STRIDE] for found in places]
        self._rng = rng
        if self.count < _LEAST:
            raise InputError(f"There are {self.count} places to learn from, too few; give more data, or a model.")

    @property
    def count(self) -> int:
        return sum(map(len, self._teaching))

    def draw(self, many: int, *, judging: bool = False) -> tuple[Array, Array]:
        """(inputs float32 [n, inputs], wanted float32 [n, C']) at random positions that teach, or that judge."""
        found = self._judging if judging else self._teaching
        sizes = np.array([len(places) for places in found])
        shares = self._rng.multinomial(many, sizes / sizes.sum())
        inputs, wanted = [], []
        for view, told, places, share in zip(self._views, self._wanted, found, shares, strict=True):
            if not share:
                continue
            at = places[self._rng.integers(0, len(places), share)]
            inputs.append(view.inputs(at))
            wanted.append(told[at])
        return np.concatenate(inputs), np.concatenate(wanted)

    @cached_property
    def held_out(self) -> Tensor:
        """float32 [m, inputs + C']."""
        return _tensor(self.draw(_HELD_OUT, judging=True))

    def minibatches(self, rng: np.random.Generator) -> Iterator[Tensor]:  # noqa: ARG002 - it draws with its own
        """The same of others, for ever."""
        while True:
            yield _tensor(self.draw(_MINIBATCH))


def fit_network(
    lessons: Lessons,
    hood: Neighbourhood,
    channels: int,
    *,
    parts: int,
    hidden: tuple[int, ...],
    seconds: float,
    seed: int,
    device: Device,
    progress: Progress,
) -> Network:
    """Train a network.

    Args:
        lessons: what to learn from.
        hood: what they look at, ``channels`` at each place.
        parts: distributions in a mixture; 1 learns the mean alone.
        hidden: widths of the ReLU layers.
        seconds: training time at most.
        seed: of weights.
        device: to train on: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: called as ``progress(phase, done, info)``, a few times a second at most.

    Raises InputError if there is no such device.
    """
    from aecompress.autoencoder.training import train
    from aecompress.restoration.learner import Guesser

    linear, left = ridge(*lessons.draw(_LINEAR))
    deviation = np.sqrt(np.maximum(np.diag(left), 1e-12))
    place = find_device(device)
    with seeded(seed, place):
        learner = Guesser(linear, deviation, parts, hidden)
        train(learner, lessons, seconds=seconds, seed=seed, device=place, report=Throttle(progress))
    return Network(hood, channels, linear.shape[1], parts, *learner.paths())


def ridge(inputs: Array, wanted: Array) -> tuple[Float64s, Float64s]:
    """(weights and constants [inputs + 1, C'], covariance [C', C'] of what they miss), slightly damped."""
    told = np.concatenate([inputs, np.ones((len(inputs), 1), np.float32)], axis=1)
    gram = (told.T @ told).astype(np.float64)
    damped = gram + np.diag(1e-3 * np.diag(gram) + 1e-6 * len(told))
    weights: Float64s = np.linalg.solve(damped, (told.T @ wanted).astype(np.float64))
    missed = wanted - told @ weights
    return weights, missed.T @ missed / len(told)


def _tensor(parts: tuple[Array, Array]) -> Tensor:
    import torch

    return torch.from_numpy(np.concatenate(parts, axis=1))
