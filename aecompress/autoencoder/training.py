"""The training loop of dense networks: streams rows, keeps the best checkpoint, stops when it no longer pays."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aecompress.autoencoder.modules import Learner
from aecompress.autoencoder.network import Batches
from aecompress.autoencoder.progress import Throttle
from aecompress.normalize import Normalizer
from aecompress.spec import Array

#: Every 20th row judges and does not teach; of long sources fewer, so that they hold at most this many values.
_HELD_OUT, _HELD_OUT_VALUES = 20, 1 << 22

#: Values in the shuffle buffer (float32), rows of a minibatch.
_BUFFER_VALUES, _MINIBATCH = 1 << 25, 256

#: Adam's greatest learning rate, the share of the schedule in which it rises, and the norm that gradients are cut to.
_LEARNING_RATE, _WARM_UP, _CLIP = 2e-3, 0.02, 1.0

#: The schedule ends after this many passes even if time is left.
_EPOCHS = 1000

#: Checks over the whole schedule; so many in a row without a gain of a thousandth end it.
_CHECKS, _PATIENCE, _GAIN = 50, 15, 1e-3


class Lessons(Protocol):
    """What a learner is taught with and judged by."""

    @property
    def count(self) -> int:
        """Rows in a pass."""

    @property
    def held_out(self) -> Tensor:
        """float32 [m, ...]: rows that do not teach."""

    def minibatches(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """The others, some at a time, for ever; nothing if there are none."""


class Rows:
    """Normalised rows of a source, some held out to judge by, the rest as shuffled minibatches.

    Attributes:
        count: rows in a pass.
    """

    def __init__(self, batches: Batches, normalizer: Normalizer) -> None:
        self._batches, self._normalizer = batches, normalizer
        self.count = sum(len(batch) for batch in batches())
        row_size = len(normalizer.centre)
        self._stride = max(_HELD_OUT, math.ceil(self.count * row_size / _HELD_OUT_VALUES))
        self._capacity = max(_MINIBATCH, _BUFFER_VALUES // row_size)

    @property
    def enough(self) -> bool:
        """True if there are rows to learn from and rows to judge by."""
        return self.count >= 2 * _HELD_OUT

    @cached_property
    def held_out(self) -> Tensor:
        """float32 [m, D]: rows 0, stride, 2 stride, ..."""
        return torch.from_numpy(np.concatenate([batch[held] for batch, held in self._pass()]))

    def minibatches(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Minibatches float32 [<= 256, D] of the other rows, for ever; nothing if there are none."""
        while True:
            chunks = 0
            for chunk in self._chunks():
                chunks += 1
                yield from _shuffled(chunk, rng)
            while chunks == 1:  # the whole source is in the buffer: no need to read it again
                yield from _shuffled(chunk, rng)
            if not chunks:
                return

    def _pass(self) -> Iterator[tuple[Array, Array]]:
        """(float32 rows [n, D], bool [n] which of them are held out)."""
        at = 0
        for batch in self._batches():
            held = (np.arange(at, at + len(batch)) % self._stride) == 0
            at += len(batch)
            yield self._normalizer.forward(batch).astype(np.float32), held

    def _chunks(self) -> Iterator[Array]:
        """Rows that are not held out, joined to as many as the buffer takes."""
        kept: list[Array] = []
        count = 0
        for batch, held in self._pass():
            kept.append(batch[~held])
            count += len(kept[-1])
            if count >= self._capacity:
                yield np.concatenate(kept)
                kept, count = [], 0
        if count:
            yield np.concatenate(kept)


def train(learner: Learner, rows: Lessons, *, seconds: float, seed: int, report: Throttle) -> bool:
    """Bring ``learner`` to the state that is best on the held-out rows; true if that is better than the first.

    The state it comes in counts too, so it never gets worse. The learning rate falls along a cosine over ``seconds``;
    training ends then, or earlier when it no longer pays.
    """
    judge = _Judge(learner, rows.held_out)
    schedule = _Schedule(seconds, _EPOCHS * math.ceil(rows.count / _MINIBATCH))
    optimiser = torch.optim.Adam(learner.parameters(), lr=_LEARNING_RATE)
    for minibatch in rows.minibatches(np.random.default_rng(seed)):
        done = schedule.advance()
        if done >= judge.due:
            judge.check(done)
        if done >= 1 or judge.stale > _PATIENCE:
            break
        report("training", done, loss=judge.relative)
        _step(learner, optimiser, minibatch, _LEARNING_RATE * min(1.0, done / _WARM_UP) * math.cos(math.pi / 2 * done))
    learner.load_state_dict(judge.state)
    report("training", 1.0, loss=judge.relative)
    return judge.best < judge.first


def _step(learner: Learner, optimiser: torch.optim.Optimizer, minibatch: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    learner.loss(minibatch).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(learner.parameters(), _CLIP)
    optimiser.step()


class _Judge:
    """Keeps the state with the best score on rows that do not teach.

    Attributes:
        first, best: score at the start, and the best so far; lower is better.
        state: what had the best score.
        due: share of the schedule at which the next check is due.
        stale: checks since the score was last a thousandth better than before.
    """

    def __init__(self, learner: Learner, unseen: Tensor) -> None:
        self._learner, self._unseen = learner, unseen
        self.best = self._mark = math.inf
        self.stale = 0
        self.check(0.0)
        self.first = self.best

    @property
    def relative(self) -> float:
        """The best score over the first."""
        return self.best / self.first if self.first else 1.0

    def check(self, done: float) -> None:
        with torch.no_grad():
            score = self._learner.score(self._unseen)
        if score < self.best:
            self.best, self.state = score, copy.deepcopy(self._learner.state_dict())
        self.due, self.stale = done + 1 / _CHECKS, self.stale + 1 if self.best >= self._mark * (1 - _GAIN) else 0
        if not self.stale:
            self._mark = self.best


def _shuffled(chunk: Array, rng: np.random.Generator) -> Iterator[Tensor]:
    order = rng.permutation(len(chunk))
    for at in range(0, len(chunk), _MINIBATCH):
        yield torch.from_numpy(chunk[order[at : at + _MINIBATCH]])


class _Schedule:
    """Share of the time or of the steps that is used up, whichever is greater; the clock starts with the first step."""

    def __init__(self, seconds: float, steps: int) -> None:
        self._seconds, self._steps, self._step, self._start = seconds, steps, 0, 0.0

    def advance(self) -> float:
        self._start = self._start or time.monotonic()
        self._step += 1
        return min(1.0, max((time.monotonic() - self._start) / self._seconds, self._step / self._steps))
