"""Steps for targets without a bound: a quality (psnr, rmse, cosine) or a size (ratio).

Steps are found on the samples and then checked on the whole source, since it is the whole that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aecompress.abreast import abreast
from aecompress.codec import methods
from aecompress.codec.model import Model
from aecompress.config import Progress, Target
from aecompress.errors import InputError
from aecompress.metrics import Distortion, Similarity, distortion, similarity
from aecompress.sources.base import Source
from aecompress.spec import Array
from aecompress.trainer.sampling import scan, value_range

if TYPE_CHECKING:
    from aecompress.autoencoder import Autoencoder

#: Quality is met if the error lies between this share of what is allowed and all of it: 0.05 dB.
_CLOSE = 0.9943
#: A size is met if the estimate lies this close below it.
_NEAR = 0.96
_ROUGHLY = 0.9

# passes over the source to check a step by: of these few, and of more only while the error is too great
_FEW_CHECKS, _CHECKS = 3, 16

# what a step is multiplied by where errors seem not to depend on it
_STEADY = 0.8

# secants of a step, how near they come to the goal, and the power of the step that bytes fall with
_SECANTS, _CLOSE_ENOUGH, _SIZE_POWER = 6, 0.01, -0.6

Measure = Callable[[Model], float]

#: A block and what it comes back as.
Pair = tuple[Array, Array]

# what an archive takes beside model and payload
_FIXED_BYTES = 2048


@dataclass(frozen=True)
class Goal:
    """What to reach: an error, or a number of bytes.

    Attributes:
        rmse: root mean squared error, or about what goes with the cosine; None if the goal is a size.
        bytes: of the whole archive; None if the goal is an error.
        cosine: mean cosine of row and reconstruction, if that is what is asked for.
    """

    rmse: float | None
    bytes: float | None
    cosine: float | None = None

    @property
    def allowed(self) -> float:
        """The greatest ``error`` that reaches the goal."""
        return self.rmse or 0.0 if self.cosine is None else math.sqrt(1.0 - self.cosine)

    def error(self, pairs: Iterable[Pair]) -> float:
        """Of originals and reconstructions, in what the goal asks for: a number that grows about as the step does."""
        if self.cosine is None:
            return sum((distortion(*pair) for pair in pairs), Distortion()).rmse
        return math.sqrt(max(1.0 - sum((similarity(*pair) for pair in pairs), Similarity()).mean, 0.0))


def goal(target: Target, source: Source, fills: Array, progress: Progress) -> Goal:
    """The goal of a target without a bound; ``psnr`` is relative to the range of the source."""
    value = target.value or 0.0
    if target.kind == "ratio":
        return Goal(None, source.spec.raw_bytes / value - _FIXED_BYTES)
    if target.kind == "rmse":
        return Goal(value, None)
    if target.kind == "cosine":
        return Goal(_right_angle(source, progress) * math.sqrt(2.0 * (1.0 - value)), None, value)
    low, high = value_range(source, fills, progress)
    return Goal((high - low) / 10 ** (value / 20), None)


def _right_angle(source: Source, progress: Progress) -> float:
    """Root mean square of the finite values: an error as long as the rows are.

    Raises InputError where rows have no direction.
    """
    if source.spec.row_size < 2:
        raise InputError("A cosine compares directions, and rows of one value have none: use --rmse or --max-error.")
    blocks = scan(source, "range", progress)
    return sum((distortion(np.zeros_like(block), block) for block in map(_finite, blocks)), Distortion()).rmse


def _finite(block: Array) -> Array:
    return np.where(np.isfinite(block), block, 0)


def lattice_step(
    goal: Goal,
    at: Callable[[float], Model],
    rough: Callable[[Model], float],
    size: Callable[[Model], float],
    samples: Sequence[Array],
) -> float:
    """The widest cells that reach the goal; ``rough`` gives the bytes of the set quickly, ``size`` with care."""
    spread = _spread(samples)
    if not spread:
        return 1.0

    if goal.bytes is not None:
        about = _for_size(goal.bytes, lambda step: rough(at(step)), spread / 16, _ROUGHLY)
        return _for_size(goal.bytes, lambda step: size(at(step)), about)
    start = (goal.rmse or 0.0) * math.sqrt(12)
    return _for_error(goal.allowed, lambda step: goal.error(outcomes(at(step), samples)), start) or start


def approached(
    goal: Goal, step: float, model: Model, refit: Callable[[float], Model], error: Measure, size: Measure
) -> Model:
    """A model like this one of ``step``, of the widest step found to reach the goal on the samples; refitted for each
    step tried.

    Errors grow about as the step does and bytes fall as a power of it, until two steps enclose the goal; then lines
    between their logarithms lead to it.
    """
    wanted, measure, power = (goal.bytes, size, _SIZE_POWER) if goal.rmse is None else (goal.allowed, error, 1.0)
    tried: list[tuple[float, float, Model]] = []  # (excess, logarithm of the step, model); the excess grows with both
    for _ in range(_SECANTS):
        found = measure(model)
        if not (found and wanted):
            return model
        tried.append((math.log(found / wanted) / power, math.log(step), model))
        if -2 * _CLOSE_ENOUGH < tried[-1][0] <= _CLOSE_ENOUGH:
            break
        step = math.exp(_next(tried))
        model = refit(step)
    reached = [trial for trial in tried if trial[0] <= _CLOSE_ENOUGH]
    return max(reached, key=lambda trial: trial[1])[2] if reached else min(tried, key=lambda trial: trial[0])[2]


def _next(tried: Sequence[tuple[float, float, Model]]) -> float:
    """Logarithm of the step to try after those (excess, logarithm of the step)."""
    below = [(e, s) for e, s, _ in tried if e <= 0]
    above = [(e, s) for e, s, _ in tried if e > 0]
    if below and above:
        (e0, s0), (e1, s1) = max(below), min(above)
        return s0 + (s1 - s0) * min(max(-e0 / (e1 - e0), 0.1), 0.9)
    excess, at, _ = tried[-1]
    return at - min(max(excess, -1.0), 1.0)


def checked_step(
    goal: Goal, step: float, at: Callable[[float], Model], source: Source, progress: Progress
) -> float | None:
    """The step adjusted until the whole source has the error asked for, None if it never has; sizes need no check."""
    return step if goal.rmse is None else _checked(step, goal, at, source, progress)


def sure_step(goal: Goal, dtype: np.dtype[Any]) -> float:
    """A step of plain cells that reaches an error whatever the values are: none is off by more than half a cell, and
    integers are not off at all in cells no wider than 1.

    Raises InputError for a cosine: where most rows are far shorter than others, no step is sure.
    """
    if goal.cosine is not None:
        raise InputError(
            f"No one step gives the rows a mean cosine of {goal.cosine:g}: some are far shorter than others. Scale "
            "them to one length, or use --rel-error R --per 0."
        )
    step = 2.0 * (goal.rmse or 0.0) or 1.0
    return step if dtype.kind == "f" else min(step, 1.0)


def outcomes(model: Model, blocks: Iterable[Array]) -> Iterator[Pair]:
    """The blocks that fit the model's lattice, if it has one, and what they come back as."""

    def outcome(block: Array) -> Pair | None:
        if model.latents_alone:
            return block, methods.latents_outcome(model, block)
        work = methods.prepare(model, block)
        return None if work is None else (block, methods.outcome(model, work))

    return (pair for pair in abreast(outcome, blocks) if pair)


def latent_step(
    goal: Goal,
    at: Callable[[float], Model],
    size: Callable[[Model], float],
    samples: Sequence[Array],
    source: Source,
    start: float,
    progress: Progress,
) -> float | None:
    """The widest step of the latents that reaches the goal; None if even a fine one does not."""
    if goal.bytes is not None:
        return _for_size(goal.bytes, lambda step: size(at(step)), start)
    parts = [block[:: max(1, len(block) // 512)] for block in samples]
    step = _for_error(goal.allowed, lambda step: goal.error(outcomes(at(step), parts)), start)
    return None if step is None else _checked(step, goal, at, source, progress)


def linear_rmse(goal: Goal, linear: Autoencoder, rows: Array, total: int) -> float:
    """The error that a PCA of the goal's size makes of so many rows in all, about: where the best choice for it takes
    those bytes."""
    from aecompress.trainer.autoencoders import choose_linear

    low, high = -20.0, 0.0
    spread = float(np.sqrt(np.square(rows - linear.normalizer.centre).mean())) or 1.0
    for _ in range(12):
        middle = (low + high) / 2
        choice = choose_linear(linear, rows, total, spread * 2.0**middle)
        fits = choice is not None and choice.bytes < (goal.bytes or 0.0)
        low, high = (low, middle) if fits else (middle, high)
    return spread * 2.0**high * 0.98


def _spread(samples: Sequence[Array]) -> float:
    finite = [block[np.isfinite(block)].astype(np.float64) for block in samples]
    return max((float(part.max() - part.min()) for part in finite if part.size), default=0.0)


def _for_error(allowed: float, error: Callable[[float], float], start: float) -> float | None:
    """The widest step whose error is allowed, to 0.3 %; None if a step 2^-10 of the start is still too wide."""
    low, high = math.log2(start), math.log2(start)
    for _ in range(10):
        if error(2.0**low) <= allowed:
            break
        high, low = low, low - 1
    else:
        return None
    for _ in range(10):
        if high > low or error(2.0 ** (high + 1)) > allowed:
            break
        low, high = low + 1, high + 1
    high = max(high, low + 1)
    while high - low > 0.004:
        middle = (low + high) / 2
        low, high = (middle, high) if error(2.0**middle) <= allowed else (low, middle)
    return 2.0**low


def _checked(
    step: float,
    goal: Goal,
    at: Callable[[float], Model],
    source: Source,
    progress: Progress,
) -> float | None:
    """The step adjusted until the error of the whole source is allowed, and close to it if that takes few passes.

    Squared errors are taken for a part that no step can change and a part that grows with the square of the step.
    None if the first part is too much.
    """
    best: float | None = None
    allowed = goal.allowed
    tried: list[tuple[float, float]] = []  # squares of step and error
    for check in range(_CHECKS):
        model = at(step)
        found = goal.error(outcomes(model, scan(source, "quality", progress)))
        if found <= allowed:
            best = max(best or 0.0, step)
            if found >= _CLOSE * allowed or check >= _FEW_CHECKS:
                break
        elif best is not None and check >= _FEW_CHECKS:
            break
        tried.append((step**2, found**2))
        step *= _correction(tried, allowed, late=check >= _FEW_CHECKS)
    return best


def _correction(tried: Sequence[tuple[float, float]], allowed: float, *, late: bool) -> float:
    """What to multiply the last of the steps tried by, to come just below the error allowed."""
    square, found = tried[-1]
    if not found:
        return 2.0
    fixed = 0.0
    if len(tried) > 1 and tried[-2][0] != square:
        slope = (found - tried[-2][1]) / (square - tried[-2][0])
        fixed = min(max(found - slope * square, 0.0), 0.999 * found)
    wanted = (0.999 * allowed) ** 2 - fixed
    factor = math.sqrt(wanted / (found - fixed)) if wanted > 0 else _STEADY
    if found > allowed**2 and late:  # errors that jump about: make sure
        factor = min(factor, 0.95)
    return min(max(factor, 0.5), 2.0)


def _for_size(most: float, size: Callable[[float], float], start: float, near: float = _NEAR) -> float:
    """A step for which the set takes at most ``most`` bytes and little less.

    Bytes fall about as a power of the step, so the search is a secant in logarithms, kept between known ends.
    """
    step, low, high = start, 0.0, math.inf
    power, seen = -0.6, (0.0, 0.0)
    best = math.inf
    for _ in range(10):
        found = size(step)
        if found <= most:
            best = high = min(step, high)
            if found >= near * most:
                break
        else:
            low = max(low, step)
        if seen[0] and abs(math.log(step / seen[0])) > 1e-6:
            power = min(math.log(found / seen[1]) / math.log(step / seen[0]), -0.05)
        seen = (step, found)
        wanted = max(0.5 * (1 + near) * most / found, 0.0)
        guess = step * min(max(wanted ** (1 / power), 2.0**-6), 2.0**6) if wanted else 2 * step
        inside = low < guess < high
        step = guess if inside else math.sqrt(low * high) if low and math.isfinite(high) else 2 * max(low, step)
    return best if math.isfinite(best) else step
