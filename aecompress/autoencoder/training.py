"""The training loop of dense networks: streams rows, keeps the best checkpoint, stops when it no longer pays."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aecompress import ranks
from aecompress.autoencoder.checkpoint import Checkpoint, State
from aecompress.autoencoder.learners.base import Learner
from aecompress.autoencoder.network import Batches
from aecompress.autoencoder.progress import Throttle
from aecompress.devices import descent, generators, move, set_generators
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

#: Seconds between two savings of the state at least, and how many times as long as a saving takes they are at least.
_SAVE_SECONDS, _SAVE_PAUSE = 5.0, 20.0


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
        self._heights = [len(batch) for batch in batches()]
        self.count = sum(self._heights)
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

    def minibatches(self, rng: np.random.Generator, skip: int = 0) -> Iterator[Tensor]:
        """Minibatches float32 [<= 256, D] of the other rows, for ever; nothing if there are none.

        Those after the first ``skip`` are what they would be without: passes left out are not read.
        """
        sizes = self._chunk_sizes()
        per_pass = sum(map(_minibatches_of, sizes))
        while per_pass and skip >= per_pass:
            for size in sizes:
                rng.permutation(size)
            skip -= per_pass
        while True:
            chunks = 0
            for chunk in self._chunks():
                chunks += 1
                yield from _shuffled(chunk, rng, skip)
                skip = max(0, skip - _minibatches_of(len(chunk)))
            while chunks == 1:  # the whole source is in the buffer: no need to read it again
                yield from _shuffled(chunk, rng)
            if not chunks:
                return

    def _chunk_sizes(self) -> list[int]:
        """Rows of each chunk of a pass."""
        sizes: list[int] = []
        at = count = 0
        for height in self._heights:
            count += height - len(range(-at % self._stride, height, self._stride))
            at += height
            if count >= self._capacity:
                sizes.append(count)
                count = 0
        return [*sizes, count] if count else sizes

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
    lessons: Lessons,
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
    training = _Training(learner, lessons, recipe or Recipe(), seconds, device, report, None)
    return training.run(lessons.minibatches(np.random.default_rng(seed)))


def train_on_rows(
    learner: Learner,
    rows: Rows,
    *,
    recipe: Recipe,
    seconds: float,
    seed: int,
    device: torch.device,
    report: Throttle,
    checkpoint: Checkpoint | None,
) -> Course:
    """``train`` that goes on from the state in ``checkpoint``, if there is one, and keeps its own state there.

    ``seconds`` count from the start of the first run, and a training limited by epochs ends as one that was not
    interrupted. The state is saved at checks, and at the end. torch's generators are part of it. A checkpoint goes with
    a single rank.
    """
    training = _Training(learner, rows, recipe, seconds, device, report, checkpoint)
    return training.run(rows.minibatches(np.random.default_rng(seed), training.steps))


class _Training:
    """A training under way; it begins with the state in the checkpoint, if there is one.

    Attributes:
        steps: optimiser steps taken.
    """

    def __init__(
        self,
        learner: Learner,
        lessons: Lessons,
        recipe: Recipe,
        seconds: float,
        device: torch.device,
        report: Throttle,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._learner, self._rate, self._report, self._checkpoint = learner, recipe.learning_rate, report, checkpoint
        self._device = device
        learner.to(device)
        self._loss = descent(lambda rows: (learner.loss(rows),), device, seconds)
        self._optimiser = torch.optim.Adam(learner.parameters(), lr=recipe.learning_rate)
        self._judge = _Judge(learner, move(lessons.held_out, device))
        self._pace, self._over, self.steps = 1.0, False, 0
        self._save_due = time.monotonic() + _SAVE_SECONDS
        state = None if checkpoint is None else checkpoint.load()
        if state is None:
            self._judge.check(0.0, 0.0)
        else:
            self._restore(state)
        before = 0.0 if state is None else float(state.facts["seconds"])
        most = (recipe.epochs or _EPOCHS) * math.ceil(lessons.count / (_MINIBATCH * ranks.count()))
        self._schedule = _Schedule(seconds, most, before)

    def run(self, minibatches: Iterator[Tensor]) -> Course:
        """Learn from the minibatches that are left, until it is over."""
        judge, mine = self._judge, ranks.own(minibatches)
        while not self._over and (minibatch := next(mine, None)) is not None:
            done = self._schedule.done(self.steps + 1)
            due = done >= judge.due or done >= 1
            if due:
                judge.check(done, self._schedule.seconds)
            if judge.stale > _PATIENCE:
                self._pace *= _SLOWER
                judge.go_back()
            if done >= 1 or self._pace < _SLOWEST:
                break
            if due and time.monotonic() >= self._save_due:
                self._save()
            self._report("training", done, loss=judge.relative)
            warmth = min(1.0, done / _WARM_UP) * math.cos(math.pi / 2 * done)
            minibatch = move(minibatch, self._device)
            judge.hear(self._step(minibatch, self._rate * self._pace * warmth))
            self.steps += 1
        self._learner.load_state_dict(judge.state)
        if not self._over:
            self._over = True
            self._save()
        ranks.agree(self._learner)
        self._learner.cpu()
        self._report("training", 1.0, loss=judge.relative)
        return Course(judge.best < judge.first, np.array(judge.points))

    def _step(self, minibatch: Tensor, rate: float) -> Tensor:
        """One step; the loss before it, which a device may still be computing."""
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad()
        (loss,) = self._loss(minibatch)
        ranks.average_gradients(self._learner)
        nn.utils.clip_grad_norm_(self._learner.parameters(), _CLIP)
        self._optimiser.step()
        return loss

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        begun = time.monotonic()
        self._checkpoint.save(self._state())
        now = time.monotonic()
        self._save_due = now + max(_SAVE_SECONDS, _SAVE_PAUSE * (now - begun))

    def _state(self) -> State:
        facts = {"steps": self.steps, "seconds": self._schedule.seconds, "pace": self._pace, "over": self._over}
        moments = {f"{i}.{name}": tensor for i, found in self._moments.items() for name, tensor in found.items()}
        tensors = {"points": np.array(self._judge.points)}
        for part, found in (
            ("weights", self._learner.state_dict()), ("best", self._judge.state), ("adam", moments),
            ("noise", generators(self._device)),
        ):  # fmt: skip
            tensors |= {f"{part}.{name}": tensor.cpu().numpy() for name, tensor in found.items()}
        return State(facts | {"judge": self._judge.facts()}, tensors)

    def _restore(self, state: State) -> None:
        def part(name: str) -> dict[str, Tensor]:
            found = {key.partition(".")[2]: array for key, array in state.tensors.items() if key.startswith(f"{name}.")}
            return {key: torch.tensor(array) for key, array in found.items()}

        self.steps, self._pace, self._over = (state.facts[name] for name in ("steps", "pace", "over"))
        self._learner.load_state_dict(part("weights"))
        self._judge.restore(state.facts["judge"], state.tensors["points"], part("best"))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in part("adam").items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = tensor
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": moments})
        set_generators(self._device, part("noise"))

    @property
    def _moments(self) -> dict[int, dict[str, Tensor]]:
        """Adam's state, by parameter and name."""
        found: dict[int, dict[str, Tensor]] = self._optimiser.state_dict()["state"]
        return found


class _Judge:
    """Keeps the state with the best score on rows that do not teach. The first check is the start's.

    Attributes:
        best: the best score so far; lower is better.
        state: what had the best score.
        due: share of the schedule at which the next check is due.
        stale: checks since the score was last a thousandth better than before.
        points: what ``Course`` tells of them.
    """

    def __init__(self, learner: Learner, unseen: Tensor) -> None:
        self._learner, self._unseen = learner, unseen
        self.best = self._mark = math.inf
        self.stale = 0
        self.due = 0.0
        self.state: dict[str, Tensor] = {}
        self.points: list[tuple[float, float, float]] = []
        self._heard: list[Tensor] = []

    @property
    def first(self) -> float:
        """The score at the start."""
        return self.points[0][2]

    @property
    def relative(self) -> float:
        """The best score over the first."""
        return self.best / self.first if self.first else 1.0

    def go_back(self) -> None:
        """Let the learner go on from its best state."""
        self._learner.load_state_dict(self.state)
        self.stale, self._mark = 0, self.best

    def facts(self) -> dict[str, Any]:
        """Plain JSON of what ``restore`` needs right after a check, beside points and state."""
        return {"best": self.best, "mark": self._mark, "stale": self.stale, "due": self.due}

    def restore(self, facts: dict[str, Any], points: Float64s, state: dict[str, Tensor]) -> None:
        """Be as the judge was that gave these."""
        self.best, self._mark, self.stale, self.due = (facts[name] for name in ("best", "mark", "stale", "due"))
        self.points, self.state = [(s, loss, score) for s, loss, score in points.tolist()], state

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


def _shuffled(chunk: Array, rng: np.random.Generator, skip: int = 0) -> Iterator[Tensor]:
    """Minibatches of the chunk in random order, without the first ``skip``."""
    order = rng.permutation(len(chunk))
    for at in range(skip * _MINIBATCH, len(chunk), _MINIBATCH):
        yield torch.from_numpy(chunk[order[at : at + _MINIBATCH]])


def _minibatches_of(rows: int) -> int:
    """Minibatches that so many rows make."""
    return math.ceil(rows / _MINIBATCH)


class _Schedule:
    """Share of the time or of the steps that is used up, whichever is greater; the clock starts with the first step.

    Args:
        seconds, steps: of the whole schedule.
        before: seconds that were used up by earlier runs.
    """

    def __init__(self, seconds: float, steps: int, before: float) -> None:
        self._seconds, self._steps, self._before, self._start = seconds, steps, before, 0.0

    def done(self, step: int) -> float:
        """Share before this step, counted from 1."""
        self._start = self._start or ranks.now()
        return min(1.0, max(self.seconds / self._seconds if self._seconds else 1.0, step / self._steps))

    @property
    def seconds(self) -> float:
        """Since the first step of the first run."""
        return self._before + (ranks.now() - self._start if self._start else 0.0)
