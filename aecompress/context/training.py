"""Train the network of a context model by code length.

    samples ──► walk (LEARN) ──► inputs, facts ──► Muon and Adam on the bits of a mixture of logistics ──► integers

Rounding is in the loop: forwards, weights and activations are what the integer network will have; backwards, as if they
were not rounded. Weights pay for the bits they take in the model, so a small set gets a plain network.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from aecompress import ranks
from aecompress.abreast import abreast, one_thread
from aecompress.config import Progress, silent
from aecompress.context import mixture, neural
from aecompress.context.coder import Activity, Predictor, plan, stencil
from aecompress.context.lms import RATES
from aecompress.context.network import (
    COMPONENTS,
    LANES,
    MOST_BIAS,
    MOST_CHANNELS,
    MOST_UNIT,
    MOST_WEIGHT,
    OUTPUTS,
    PLACE_INPUTS,
    UNIT_BITS,
    WEIGHT_BITS,
    Layers,
    Network,
    inputs_of,
)
from aecompress.context.regression import NO_STATE
from aecompress.context.relations import NO_LINKS
from aecompress.context.sample import Sample, chosen
from aecompress.context.tree import STUMP
from aecompress.devices import Device, find_device, move, seeded
from aecompress.spec import Array

#: Values that a network is trained on.
MOST_VALUES = 1_500_000

#: Least and most values of a batch, in between this part of them all, and how often each is seen at most.
_BATCHES, _PART, _MOST_EPOCHS = (1024, 4096), 360, 60

#: Rates to begin with: of steps that are orthogonal matrices (Jordan et al. 2024), for the weights of hidden layers,
#: which gets as far as Adam in less than half the batches; and of Adam, for all else.
_ORTHOGONAL_RATE, _RATE, _LEAST_RATE = 1.2e-2, 1e-2, 1e-5

_REPORT = 50  # batches between two reports of progress

#: Batches of a stretch whose pace is measured, how many stretches tell at least and at most, and the share of the time
#: after which fewer do.
_STRETCH, _TELLING, _SOON = 10, (3, 20), 0.25

_OUT_BITS = UNIT_BITS + WEIGHT_BITS
_LEAST_CHANCE = 2.0**-22
_GREATEST = MOST_UNIT / (1 << UNIT_BITS)  # activation


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
    learned: Lesson,
    units: int,
    steps: int,
    seconds: float,
    total: int,
    seed: int,
    device: Device = "auto",
    progress: Progress = silent,
) -> Network:
    """A network of two layers of ``units`` after ``steps`` batches, or what it is when ``seconds`` are over.

    Args:
        total: values of the whole set, which the bits of the weights are shared among.
        device: to train on; all of the lesson lies there.

    Raises InputError if there is no such device.
    """
    place = find_device(device)
    channels = learned.channels if learned.channels <= MOST_CHANNELS else 1
    with seeded(seed, place):
        net = _Net(learned.inputs.shape[1], units, channels, learned.guesses).to(place)
    inputs, rest, size, channel = (move(told, place) for told in (torch.from_numpy(learned.inputs), *_targets(learned)))
    batch = min(max(_BATCHES[0], len(rest) // _PART), _BATCHES[1], len(rest))
    starts = max(len(rest) - batch, 0) // batch + 1
    steps = min(steps, _MOST_EPOCHS * starts)
    hidden = [net.first, net.second]
    others = [net.last, net.first_bias, net.second_bias, net.last_bias]
    orthogonal = torch.optim.Muon(hidden, _ORTHOGONAL_RATE, weight_decay=0.0)
    optimisers = {orthogonal: _ORTHOGONAL_RATE, torch.optim.Adam(others, _RATE, betas=(0.9, 0.98)): _RATE}
    schedule = Schedule(steps, seconds)
    for step in range(steps):
        done = schedule.done(step)
        if done >= 1:
            break
        slow = 0.5 + 0.5 * math.cos(math.pi * done)
        first = step % starts * batch
        mine = slice(first, first + batch)
        outputs = net(inputs[mine].float(), channel[mine])
        loss = _bits(outputs, rest[mine], size[mine]) + net.bits() / total
        net.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser, rate in optimisers.items():
            optimiser.param_groups[0]["lr"] = max(rate * slow, _LEAST_RATE)
            optimiser.step()
        if step % _REPORT == 0:
            progress("network", done, {"bits": round(float(loss.detach()), 3)})
    ranks.agree(net)
    return net.cpu().integers()


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


def _targets(learned: Lesson) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Residual in cells float32 [n], activity in cells float32 [n], row of biases int64 [n]."""
    p, level, q, channel = learned.facts.T
    rest = (q - (p >> 4)) - (p & 15) / 16
    size = mixture.ACTIVITIES[level] / (1 << mixture.FINE)
    rows = channel if learned.channels <= MOST_CHANNELS else np.zeros_like(channel)
    return torch.from_numpy(rest.astype(np.float32)), torch.from_numpy(size.astype(np.float32)), torch.from_numpy(rows)


def _bits(outputs: torch.Tensor, rest: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Mean bits of the cells that hold ``rest`` [n], under mixtures of logistics of ``outputs`` [OUTPUTS, n]."""
    logits, means, scales = (outputs[k * COMPONENTS : (k + 1) * COMPONENTS] for k in range(3))
    scale = torch.clamp(size * torch.exp2(torch.clamp(scales, -7.0, 5.9) - 1), min=2.0**-6)
    away = rest - means * size
    # both ends on the lower side, where the logistic function keeps its precision
    near, far = -(away.abs() - 0.5) / scale, -(away.abs() + 0.5) / scale
    chance = torch.sigmoid(near) - torch.sigmoid(far)
    mixed = (torch.softmax(logits, 0) * chance).sum(0)
    return -torch.log2(mixed + _LEAST_CHANCE).mean()


def _rounded(x: torch.Tensor) -> torch.Tensor:
    """Whole numbers; gradients pass as if nothing had happened."""
    return x + (torch.round(x) - x).detach()


class _Net(nn.Module):
    """The integer network in float: weights in units of 1, rounded to multiples of 2^-WEIGHT_BITS when used."""

    def __init__(self, inputs: int, units: int, channels: int, guesses: slice) -> None:
        super().__init__()
        self.guesses = guesses
        self.first = _uniform(inputs, units)
        self.second = _uniform(units, units)
        last = torch.zeros(units + len(RATES), OUTPUTS)
        last[units:, COMPONENTS : 2 * COMPONENTS] = 1 / len(RATES)  # to begin with, what the guesses say is added
        self.last = nn.Parameter(last)
        self.first_bias = nn.Parameter(torch.zeros(channels, units))
        self.second_bias = nn.Parameter(torch.zeros(units))
        spread = torch.zeros(OUTPUTS)
        spread[2 * COMPONENTS :] = torch.linspace(-1, 1, COMPONENTS)
        self.last_bias = nn.Parameter(spread)

    def forward(self, x: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
        """Outputs [OUTPUTS, n] for inputs [n, inputs] of values of these channels [n]."""
        scale = float(1 << UNIT_BITS)
        bias = self.first_bias[channel] if len(self.first_bias) > 1 else self.first_bias
        x = x / scale
        one = _activation(x @ _weights(self.first) + bias)
        two = _activation(one @ _weights(self.second) + self.second_bias)
        last = torch.cat([two, x[:, self.guesses]], 1)
        return _weights(self.last).T @ last.T + self.last_bias[:, None]

    def bits(self) -> torch.Tensor:
        """About what the weights take in the model."""
        grain = float(1 << WEIGHT_BITS)
        parts = (self.first, self.second, self.last, self.first_bias)
        return torch.stack([(2 * torch.log2(1 + grain * part.abs()) + 1).sum() for part in parts]).sum()

    def integers(self) -> Network:
        weights = [_integers(part, WEIGHT_BITS, MOST_WEIGHT) for part in (self.first, self.second, self.last)]
        biases = [_integers(part, _OUT_BITS, MOST_BIAS) for part in (self.first_bias, self.second_bias, self.last_bias)]
        return Network(weights[0], biases[0], weights[1], biases[1], weights[2], biases[2])


def _uniform(inputs: int, units: int) -> nn.Parameter:
    return nn.Parameter((torch.rand(inputs, units) * 2 - 1) * math.sqrt(3.0 / inputs))


def _weights(part: torch.Tensor) -> torch.Tensor:
    grain = float(1 << WEIGHT_BITS)
    return torch.clamp(_rounded(part * grain), -MOST_WEIGHT, MOST_WEIGHT) / grain


def _activation(sums: torch.Tensor) -> torch.Tensor:
    units: torch.Tensor = _Activation.apply(sums)  # type: ignore[no-untyped-call]
    return units


class _Activation(torch.autograd.Function):
    """ReLU, rounded down to multiples of 2^-UNIT_BITS, at most MOST_UNIT of them.

    Gradients pass as if it had not been rounded, but not where it is at either end: units that can be pushed beyond the
    greatest made archives 2 % larger.
    """

    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor) -> torch.Tensor:
        scale = float(1 << UNIT_BITS)
        units = (sums * scale).floor_().clamp_(0, MOST_UNIT).div_(scale)
        ctx.save_for_backward(units)
        return units

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.ops.aten.hardtanh_backward(gradient, *ctx.saved_tensors, 0, _GREATEST)
        return found


def _integers(part: torch.Tensor, bits: int, most: int) -> Array:
    whole = torch.round(part.detach() * (1 << bits)).clamp(-most, most)
    return whole.numpy().astype(np.int32)
