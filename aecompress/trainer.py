"""Fit a model to a source: statistics, cells, context model, autoencoder, whatever takes the fewest bytes."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aecompress.codec import methods
from aecompress.codec.cells import Cells, span, step_for
from aecompress.codec.model import Model
from aecompress.config import MODEL_KINDS, Target
from aecompress.context import fit as context
from aecompress.errors import InputError, ModelError
from aecompress.quantize import split_wide
from aecompress.sources import open_source, spool
from aecompress.sources.base import Source
from aecompress.spec import Array, ArraySpec

#: Values of a block: what is decoded at once, and what a worker holds in memory.
BLOCK_VALUES = 1 << 20

#: Values that fits look at, and the blocks they come from.
SAMPLE_VALUES = 3 << 20
SAMPLE_BLOCKS = 8

#: progress(phase, share done 0..1, facts to show)
Progress = Callable[[str, float, dict[str, Any]], None]


def silent(phase: str, done: float, facts: dict[str, Any]) -> None:
    """The default progress: none."""


def block_rows(spec: ArraySpec) -> int:
    """Rows of a block of about BLOCK_VALUES values, at least one."""
    return max(1, BLOCK_VALUES // max(spec.row_size, 1))


def fit(
    source: Any,
    target: Target | None = None,
    *,
    kind: str = "auto",
    seconds: float = 60.0,
    seed: int = 0,
    progress: Progress = silent,
) -> Model:
    """Learn a model of a source for a target.

    Args:
        source: as for ``pack``; a stream is kept in a temporary file meanwhile.
        target: what the model shall reach; by default a relative bound of 1e-3 for floats, no loss for integers.
        kind: ``none`` (context model alone), ``pca``, ``vanilla``, ``textbook``, or ``auto``: what takes least bytes.
        seconds: time that training a network may take.
        seed: of everything random.
        progress: called as progress(phase, share done, facts).

    Raises:
        InputError: the source cannot be read, or the target does not suit it.
    """
    if kind not in MODEL_KINDS:
        raise InputError(f"There is no model kind {kind!r}; use one of {', '.join(MODEL_KINDS)}.")
    opened = open_source(source)
    target = target or Target.default(opened.spec.dtype)
    if opened.replayable:
        return _fit(opened, target, kind, seconds, seed, progress)
    with tempfile.TemporaryDirectory() as folder:
        return _fit(spool(opened, Path(folder)), target, kind, seconds, seed, progress)


def _fit(source: Source, target: Target, kind: str, seconds: float, seed: int, progress: Progress) -> Model:
    start = time.monotonic()
    samples = _samples(source, progress)
    fills = _fills(samples)
    cells = _cells(source, target, samples, fills, progress)
    spec = ArraySpec(source.spec.native, source.spec.row_shape)
    model = Model(spec, "none", target, cells, fills, simple=_simple(samples))
    model = _with_context(model, source, samples)
    about = {"source": source.spec.describe(), "fit_seconds": round(time.monotonic() - start, 1), "seed": seed}
    return replace(model, about=about)


def _samples(source: Source, progress: Progress) -> list[Array]:
    """Blocks spread evenly over the source, about SAMPLE_VALUES values in all."""
    rows, height = source.spec.shape[0], block_rows(source.spec)
    starts = np.arange(0, rows, height)
    many = min(len(starts), SAMPLE_BLOCKS)
    if many * height * source.spec.row_size > SAMPLE_VALUES:
        many = max(1, min(many, SAMPLE_VALUES // (height * max(source.spec.row_size, 1))))
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, many).astype(int))] if len(starts) else starts
    found = []
    for i, start in enumerate(chosen):
        found += list(source.batches(height, int(start), int(min(start + height, rows))))
        progress("sample", (i + 1) / len(chosen), {})
    return [block for block in found if block.size]


def adapt(model: Model, source: Source, target: Target, *, progress: Progress = silent) -> Model:
    """A given model for another source of the same dtype and row shape, or another target.

    Bounds are worked out anew; the context coder is fitted anew if the cells change by more than half.

    Raises:
        ModelError: the model was fitted for another dtype or row shape.
    """
    if not model.spec.same_type(source.spec):
        raise ModelError(
            f"The model was fitted for rows of {model.spec.describe()}, the source has {source.spec.describe()}: "
            "fit a model for this source."
        )
    samples = _samples(source, progress)
    fills = _fills(samples)
    cells = _cells(source, target, samples, fills, progress)
    adapted = replace(model, target=target, cells=cells, fills=fills, simple=_simple(samples))
    return adapted if _alike(model.cells, cells) else _with_context(adapted, source, samples)


def _alike(first: Cells, second: Cells) -> bool:
    """True if a context coder for the one serves the other."""
    if (first.kind, first.axis, first.relative) != (second.kind, second.axis, second.relative):
        return False
    if first.step is None or second.step is None:
        return True
    return first.step.shape == second.step.shape and bool(np.allclose(first.step, second.step, rtol=0.5, atol=0))


def _simple(samples: list[Array]) -> float:
    """Share of the raw bytes that part of the samples takes as bits, delta and zstd."""
    parts = [block[: max(1, len(block) // 8)] for block in samples]
    raw = sum(part.nbytes for part in parts)
    return sum(len(methods.encode_exact(part)["correction"]) for part in parts) / raw if raw else 1.0


# --- cells ----------------------------------------------------------------------------------------------------------


def _cells(source: Source, target: Target, samples: list[Array], fills: Array, progress: Progress) -> Cells:
    dtype = source.spec.native
    whole = dtype.kind != "f"
    lossless = Cells("whole", np.asarray(1.0), np.asarray(0.0)) if whole else Cells("bits")
    value = target.value or 0.0
    if target.kind == "lossless" or dtype.kind == "b" or (target.kind == "max-error" and value == 0):
        return lossless
    if target.kind == "max-error":
        return _bounded(value, samples, whole)
    if target.kind == "rel-error":
        if value == 0:
            return lossless
        if target.per is not None:
            return _per_axis(source, target.per, value, samples, fills, progress)
        low, high = _range(source, fills, progress)
        return _bounded(value * (high - low), samples, whole, max(abs(low), abs(high)))
    raise InputError(f"The target {target.kind} is not available for this model kind.")


def _bounded(bound: float, samples: list[Array], whole: bool, size: float = 0.0) -> Cells:
    """One bound for all values; ``size`` is the value of a set whose range is 0."""
    if whole:
        bound = float(min(math.floor(bound), 2**52))
        return Cells("whole", np.asarray(2 * bound + 1), np.asarray(bound))
    if bound == 0 or not math.isfinite(2 * bound):
        step = size if bound == 0 and size > 0 else 1.0
        return Cells("real", np.asarray(step), np.asarray(bound if bound == 0 else 0.0))
    step = min((step_for(bound, block) for block in samples), default=2 * bound)
    return Cells("real", np.asarray(max(step, float(np.finfo(np.float64).tiny))), np.asarray(bound))


def _per_axis(source: Source, axis: int, share: float, samples: list[Array], fills: Array, progress: Progress) -> Cells:
    axes = len(source.spec.row_shape) + 1
    if not -axes <= axis < axes:
        raise InputError(f"There is no axis {axis} in {source.spec.describe()}; axes are 0 to {axes - 1}.")
    axis %= axes
    whole = source.spec.native.kind != "f"
    kind = "whole" if whole else "real"
    if axis == 0:
        return Cells(kind, axis=0, relative=share)  # type: ignore[arg-type]
    low, high = _ranges(source, axis, fills, progress)
    parts = [
        _bounded(
            share * (high[i] - low[i]),
            [np.take(block, i, axis) for block in samples],
            whole,
            max(abs(low[i]), abs(high[i])),
        )
        for i in range(len(low))
    ]
    step = np.array([float(part.step) for part in parts if part.step is not None])
    bound = np.array([float(part.bound) for part in parts if part.bound is not None])
    return Cells(kind, step, bound, axis=axis)  # type: ignore[arg-type]


def _range(source: Source, fills: Array, progress: Progress) -> tuple[float, float]:
    """Least and greatest finite value of the whole source, fill values left out; (0, 0) if there is none."""
    low, high = math.inf, -math.inf
    for block in _scan(source, progress):
        if _ordinary(block, fills).any():
            a, b = span(block, fills)
            low, high = min(low, a), max(high, b)
    return (low, high) if low <= high else (0.0, 0.0)


def _ranges(source: Source, axis: int, fills: Array, progress: Progress) -> tuple[Array, Array]:
    """The same for every index along an inner axis."""
    size = source.spec.row_shape[axis - 1]
    low, high = np.full(size, math.inf), np.full(size, -math.inf)
    for block in _scan(source, progress):
        lines = np.moveaxis(block, axis, 0).reshape(size, -1)
        keep = _ordinary(lines, fills)
        exact = lines.astype(np.float64)
        low = np.minimum(low, np.where(keep, exact, math.inf).min(1))
        high = np.maximum(high, np.where(keep, exact, -math.inf).max(1))
    empty = low > high
    return np.where(empty, 0.0, low), np.where(empty, 0.0, high)


def _scan(source: Source, progress: Progress) -> Any:
    """All blocks of a source, with progress."""
    rows, done = max(source.spec.shape[0], 1), 0
    for block in source.batches(block_rows(source.spec)):
        if block.size:
            yield block
        done += len(block)
        progress("range", done / rows, {})


def _ordinary(values: Array, fills: Array) -> Array:
    keep = np.isfinite(values)
    for fill in fills:
        keep &= values != fill
    return keep


def _fills(samples: list[Array]) -> Array:
    """Extreme values that stand for "no value": repeated exactly, and far away from all others.

    They come back exactly whatever the bound, and do not count towards the range.
    """
    if not samples or samples[0].dtype.kind == "b":
        return np.zeros(0, samples[0].dtype if samples else np.float64)
    values = np.concatenate([block[np.isfinite(block)].reshape(-1) for block in samples])
    found: list[Any] = []
    while len(found) < 4 and values.size:
        extreme = next((end for end in (values.max(), values.min()) if _stands_apart(values, end)), None)
        if extreme is None:
            break
        found.append(extreme)
        values = values[values != extreme]
    return np.array(found, samples[0].dtype)


def _stands_apart(values: Array, end: Any) -> bool:
    others = values[values != end]
    if values.size - others.size < 16 or others.size < 16:
        return False
    low, high, far = float(others.min()), float(others.max()), float(end)
    gap = low - far if far < low else far - high
    return high > low and gap > 4.0 * (high - low) and len(np.unique(others[:100_000])) >= 16


# --- context model --------------------------------------------------------------------------------------------------


def _with_context(model: Model, source: Source, samples: list[Array]) -> Model:
    """The model with a context coder fitted to the samples."""
    works = [work for block in samples if (work := methods.prepare(model, block)) is not None]
    total = math.prod(source.spec.shape)
    parts = [context.Sample(split_wide(work.q)[0], work.keep) for work in works]
    seen = sum(part.q.size for part in parts)
    model = replace(model, context=context.fit(parts, total))
    if not seen or model.context is None:
        return model
    apart = sum(len(data) for work in works for data in work.streams.values())
    return replace(model, rate=(context.bits(model.context, parts) + 8 * apart) / seen)
