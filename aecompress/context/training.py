"""Train the network of a context model by code length.

    samples ──► walk (LEARN) ──► inputs, facts ──► batches ──► steps of a ``Learner`` ──► integers

Weights pay for the bits they take in the model, so a small set gets a plain network.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import numpy as np

from aecompress import ranks
from aecompress.abreast import WORKERS, abreast, one_thread
from aecompress.config import Progress, silent
from aecompress.context import mixture, neural
from aecompress.context.coder import Activity, Predictor, plan, stencil
from aecompress.context.learning import Batch, Learner, Weights
from aecompress.context.lms import RATES
from aecompress.context.network import LANES, MOST_CHANNELS, PLACE_INPUTS, Layers, Network, inputs_of
from aecompress.context.regression import NO_STATE
from aecompress.context.relations import NO_LINKS
from aecompress.context.sample import Sample, chosen
from aecompress.context.tree import STUMP
from aecompress.spec import Array

#: Values that a network is trained on.
MOST_VALUES = 1_500_000

#: Least and most values of a batch, in between this part of them all, and how often each is seen at most.
_BATCHES, _PART, _MOST_EPOCHS = (1024, 4096), 360, 60

_REPORT = 50  # batches between two reports of progress

#: Batches of a stretch whose pace is measured, how many stretches tell at least and at most, and the share of the time
#: after which fewer do.
_STRETCH, _TELLING, _SOON = 10, (3, 20), 0.25


@dataclass(frozen=True)
class Lesson:
    """What there is to learn from, in random order.

    Attributes:
        inputs: int8 [n, inputs]; ``guesses`` which of them are those of ``lms``.
        facts: int64 [n, FACTS].
        channels: of the predictor.
    """

    inputs: Array
    guesses: slice
    facts: Array
    channels: int


def lesson(samples: Sequence[Sample], predictor: Predictor, activity: Activity) -> Lesson:
    """Inputs and facts at random places of the samples."""
    rng = np.random.default_rng(3)
    width = predictor.weights.shape[1] - 1
    many = inputs_of(width)
    numbers = plan(predictor, activity, STUMP)

    def collect(part: tuple[Sample, Array]) -> tuple[Array, Array]:
        s, take = part
        room = int(take.sum())
        inputs, facts = np.empty((room, many), np.int8), np.empty((room, neural.FACTS), np.int64)
        none = (np.empty(0, np.uint32), np.empty(0, np.uint32), np.empty(0, np.uint64), np.empty(0, np.int64))
        q, near, layers = s.flat(), stencil(predictor, s.q.shape), _no_layers(many)
        n = neural.walk(
            neural.LEARN,
            q,
            np.ascontiguousarray(s.coded).reshape(-1),
            near,
            numbers,
            NO_STATE,
            NO_LINKS,
            s.fine(),
            layers,
            take,
            inputs,
            facts,
            *none,
            none[0],
            none[0],
            neural.Scratch.of(q.size, near, layers),
            np.int64(0),
            np.int64(s.q.size // near.size[4]),
        )
        return inputs[:n], facts[:n]

    found = abreast(collect, chosen(samples, MOST_VALUES, rng))
    inputs, facts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = rng.permutation(len(facts))
    end = 2 * width + PLACE_INPUTS
    return Lesson(inputs[order], slice(end - len(RATES), end), facts[order], len(predictor.steps))


def _no_layers(inputs: int) -> Layers:
    """A network of one vector of units, for a pass that does not ask it."""
    kinds = (np.int16, np.int32) * 3
    zeros = (np.zeros(n * LANES, kind) for n, kind in zip((inputs, 1, LANES, 1, LANES + 4, 1), kinds, strict=True))
    return Layers(*zeros)


@one_thread()
def train(
    learned: Lesson, units: int, steps: int, seconds: float, total: int, seed: int, progress: Progress = silent
) -> Network:
    """A network of two layers of ``units`` after ``steps`` batches, or what it is when ``seconds`` are over.

    Args:
        total: values of the whole set, which the bits of the weights are shared among.
    """
    channels = learned.channels if learned.channels <= MOST_CHANNELS else 1
    weights = Weights.fresh(learned.inputs.shape[1], units, channels, seed)
    everything = Batch(learned.inputs, *_targets(learned))
    many = len(everything.rest)
    batch = min(max(_BATCHES[0], many // _PART), _BATCHES[1], many)
    starts = max(many - batch, 0) // batch + 1
    steps = min(steps, _MOST_EPOCHS * starts)
    schedule = Schedule(steps, seconds)
    with ThreadPoolExecutor(1) as pool:
        learner = Learner(weights, learned.guesses, total, pool if WORKERS > 1 else None)
        for step in range(steps):
            done = schedule.done(step)
            if done >= 1:
                break
            first = step % starts * batch
            slow = 0.5 + 0.5 * math.cos(math.pi * done)
            bits = learner.step(everything.part(first, first + batch), slow)
            if step % _REPORT == 0:
                progress("network", done, {"bits": round(bits, 3)})
    ranks.agree_on(weights.parts())
    return weights.integers()


class Schedule:
    """How far a training is: by its steps, and by its time from when those that are left seem to take longer than that.

    The pace is the median of the last stretches, so where the machine stalls for a moment nothing changes: trainings
    that end in time are the same.

    Args:
        steps, seconds: of the whole training, whose time begins now.
    """

    def __init__(self, steps: int, seconds: float) -> None:
        self._steps, self._seconds, self._started = steps, seconds, ranks.now()
        self._paces: deque[float] = deque(maxlen=_TELLING[1])
        self._before = 0.0  # seconds when the last stretch ended
        self._late: tuple[float, float] | None = None  # share and seconds when time took over

    def done(self, step: int) -> float:
        """Share before this step, counted from 0 and asked for each in turn; 1 when it is over."""
        spent, share = ranks.now() - self._started, step / self._steps
        if spent >= self._seconds:
            return 1.0
        if step and step % _STRETCH == 0:
            self._paces.append((spent - self._before) / _STRETCH)
            self._before = spent
        if self._late is None and self._seems_late(step, spent):
            self._late = share, spent
        if self._late is None:
            return share
        behind, since = self._late
        return max(share, behind + (1 - behind) * (spent - since) / (self._seconds - since))

    def _seems_late(self, step: int, spent: float) -> bool:
        if len(self._paces) >= _TELLING[0]:
            pace = median(self._paces)
        elif step and spent > _SOON * self._seconds:
            pace = spent / step
        else:
            return False
        return spent + (self._steps - step) * pace > self._seconds


def _targets(learned: Lesson) -> tuple[Array, Array, Array]:
    """Residual in cells float32 [n], activity in cells float32 [n], row of biases int64 [n]."""
    p, level, q, channel = learned.facts.T
    rest = (q - (p >> 4)) - (p & 15) / 16
    size = mixture.ACTIVITIES[level] / (1 << mixture.FINE)
    rows = channel if learned.channels <= MOST_CHANNELS else np.zeros_like(channel)
    return rest.astype(np.float32), size.astype(np.float32), np.ascontiguousarray(rows)
