"""The training loop of dense networks: streams rows, keeps the best checkpoint, stops when it no longer pays."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aecompress import ranks
from aecompress.autoencoder.learners.base import Learner
from aecompress.autoencoder.network import Batches
from aecompress.autoencoder.progress import Throttle
from aecompress.devices import move
from aecompress.normalize import Float64s, Normalizer
from aecompress.recipe import Recipe
from aecompress.spec import Array

#: Every 20th row judges and does not teach; of long sources fewer, so that they hold at most this many values.
_HELD_OUT, _HELD_OUT_VALUES = 20, 1 << 22

#: Values in the shuffle buffer (float32), rows of a minibatch.
_BUFFER_VALUES, _MINIBATCH = 1 << 25, 256

#: Share of the schedule in which the learning rate rises, and the norm that gradients are cut to.
_WARM_UP, _CLIP = 0.02, 1.0

#: The schedule ends after this many passes even if time is left.
_EPOCHS = 1000

#: Checks over the whole schedule. So many in a row without a gain of a thousandth, and the best state goes on at a
#: slower pace; the training ends when that is down to the last of these numbers.
_CHECKS, _PATIENCE, _GAIN = 50, 4, 1e-3
_SLOWER, _SLOWEST = 0.4, 0.02

#: A state whose score is so much worse than the best has learned too fast: it counts as half the patience.
_ASTRAY = 0.01


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


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        improved: True if the best state is better than the first.
        points: float64 [n, 3]: seconds, mean loss of the minibatches since the point before, and score on the rows that
            do not teach.
    """

    improved: bool
    points: Float64s


def train(
    learner: Learner,
    rows: Lessons,
    *,
    recipe: Recipe | None = None,
    seconds: float,
    seed: int,
    device: torch.device,
    report: Throttle,
) -> Course:
    """Bring ``learner`` to the state that is best on the held-out rows.

    The state it comes in counts too, so it never gets worse. The learning rate falls along a cosine over ``seconds``,
    and by steps where training no longer pays; it ends with the time, or when steps no longer help. The learner comes
    from the CPU, learns on ``device``, and goes back. Where there are several ranks, a step takes a minibatch of each.
    """
    recipe = recipe or Recipe()
    learner.to(device)
    judge = _Judge(learner, move(rows.held_out, device))
    schedule = _Schedule(seconds, (recipe.epochs or _EPOCHS) * math.ceil(rows.count / (_MINIBATCH * ranks.count())))
    optimiser = torch.optim.Adam(learner.parameters(), lr=recipe.learning_rate)
    pace = 1.0
    for minibatch in ranks.own(rows.minibatches(np.random.default_rng(seed))):
        done = schedule.advance()
        if done >= judge.due or done >= 1:
            judge.check(done, schedule.seconds)
        if judge.stale > _PATIENCE:
            pace *= _SLOWER
            judge.go_back()
        if done >= 1 or pace < _SLOWEST:
            break
        report("training", done, loss=judge.relative)
        warmth = min(1.0, done / _WARM_UP) * math.cos(math.pi / 2 * done)
        judge.hear(_step(learner, optimiser, move(minibatch, device), recipe.learning_rate * pace * warmth))
    learner.load_state_dict(judge.state)
    ranks.agree(learner)
    learner.cpu()
    report("training", 1.0, loss=judge.relative)
    return Course(judge.best < judge.first, np.array(judge.points))


def _step(learner: Learner, optimiser: torch.optim.Optimizer, minibatch: Tensor, rate: float) -> Tensor:
    """One step; the loss before it, which a device may still be computing."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss = learner.loss(minibatch)
    loss.backward()  # type: ignore[no-untyped-call]
    ranks.average_gradients(learner)
    nn.utils.clip_grad_norm_(learner.parameters(), _CLIP)
    optimiser.step()
    return loss.detach()


class _Judge:
    """Keeps the state with the best score on rows that do not teach.

    Attributes:
        first, best: score at the start, and the best so far; lower is better.
        state: what had the best score.
        due: share of the schedule at which the next check is due.
        stale: checks since the score was last a thousandth better than before.
        points: what ``Course`` tells of them.
    """

    def __init__(self, learner: Learner, unseen: Tensor) -> None:
        self._learner, self._unseen = learner, unseen
        self.best = self._mark = math.inf
        self.stale = 0
        self.points: list[tuple[float, float, float]] = []
        self._heard: list[Tensor] = []
        self.check(0.0, 0.0)
        self.first = self.best

    @property
    def relative(self) -> float:
        """The best score over the first."""
        return self.best / self.first if self.first else 1.0

    def go_back(self) -> None:
        """Let the learner go on from its best state."""
        self._learner.load_state_dict(self.state)
        self.stale, self._mark = 0, self.best

    def hear(self, loss: Tensor) -> None:
        """Take down the loss of a minibatch."""
        self._heard.append(loss)

    def check(self, done: float, seconds: float) -> None:
        """Judge the present state, ``seconds`` after the start."""
        with torch.no_grad():
            score = ranks.agreed(self._learner.score(self._unseen))
        heard = float(np.mean(torch.stack(self._heard).tolist())) if self._heard else score
        self.points.append((seconds, heard, score))
        self._heard = []
        if score < self.best:
            self.best, self.state = score, copy.deepcopy(self._learner.state_dict())
        self.due = done + 1 / _CHECKS
        if self.best < self._mark * (1 - _GAIN):
            self.stale = 0
        else:
            self.stale += 1 if score < self.best * (1 + _ASTRAY) else _PATIENCE // 2
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
        self._start = self._start or ranks.now()
        self._step += 1
        return min(1.0, max(self.seconds / self._seconds if self._seconds else 1.0, self._step / self._steps))

    @property
    def seconds(self) -> float:
        """Since the first step."""
        return ranks.now() - self._start
