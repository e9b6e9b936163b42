"""Sources read in another way than they came, and models of them.

A picture as a list of its pixels is read as a picture again. In such a row a value resembles the one a line before more
than those beside that one, and lines are as long as divides the row. Which shape pays, if any, is decided by the bytes
of a roughly fitted context coder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from aecompress.codec.model import Model
from aecompress.config import Progress
from aecompress.context import fit as context
from aecompress.context.sample import Sample
from aecompress.sources.base import Columns, Source
from aecompress.spec import Array, ArraySpec
from aecompress.trainer import sampling
from aecompress.trainer.sampling import even_rows, sample

#: Shorter rows are tables rather than pictures: each of their columns has neighbours of its own. Lines have no fewer
#: values, and pictures no fewer lines.
_SHORTEST, _FEWEST = 144, 4

#: The difference to the value a line before is below this share of those to the values beside it.
_DIP = 0.95

#: Blocks that a trial looks at.
_BLOCKS = 3

#: Values of a trial, and parts of the range that floats are cut into for it.
_VALUES, _PARTS = 1 << 17, 256

#: A shape must bring the bits of a trial below this share; a further axis must save one in a hundred.
_GAIN, _AXIS = 0.97, 1.01


def view_of(source: Source, progress: Progress) -> tuple[int, ...]:
    """The shape to read the rows of a source in; () if they are best as they are."""
    if len(source.spec.row_shape) != 1 or source.spec.row_size < _SHORTEST:
        return ()
    samples = sample(source, even_rows(source.spec), sampling.SAMPLE_VALUES, _BLOCKS, progress)
    return shape_of_rows(samples, source.spec.shape[0])


def flat(model: Model, spec: ArraySpec) -> Model:
    """A model that was fitted to reshaped rows, for the source of this spec."""
    return replace(_of(model, spec), view=model.spec.row_shape)


def shaped(model: Model) -> Model:
    """Undo ``flat``: the model as it was fitted."""
    return replace(model, spec=ArraySpec(model.spec.native, model.view), view=())


def turned_back(model: Model, spec: ArraySpec) -> Model:
    """A model that was fitted to a turned source, for the source of this spec as it came."""
    return replace(_of(model, spec), turned=spec.shape[0])


def _of(model: Model, spec: ArraySpec) -> Model:
    """The model as one of a source of this spec."""
    about = {**model.about, "source": spec.describe()} if model.about else {}
    return replace(model, spec=ArraySpec(spec.native, spec.row_shape), about=about)


def turned(model: Model) -> Model:
    """Undo ``turned_back``: the model as it was fitted."""
    return replace(model, spec=ArraySpec(model.spec.native, model.coded_shape), turned=0)


def shape_of_rows(blocks: Sequence[Array], rows: int) -> tuple[int, ...]:
    """The shape to read flat rows in, given blocks [n, D] of so many rows; () if they are best as they are."""
    if not blocks or blocks[0].ndim != 2 or blocks[0].shape[1] < _SHORTEST:
        return ()
    size = blocks[0].shape[1]
    parts = [_integers(block[: max(1, _VALUES // (len(blocks) * size))]) for block in blocks]
    bits = {shape: _bits(parts, shape, rows * size) for shape in _shapes(parts)}
    if not bits:
        return ()
    best = min(bits, key=lambda shape: bits[shape] * _AXIS ** len(shape))
    return best if bits[best] < _GAIN * _bits(parts, (size,), rows * size) else ()


def _integers(rows: Array) -> Sample:
    """Rows on a lattice about as fine as pictures have."""
    known = np.isfinite(rows)
    if rows.dtype.kind != "f":
        return Sample(rows.astype(np.int64), known)
    values = np.where(known, rows, 0).astype(np.float64)
    low, high = np.quantile(values, (0.01, 0.99))
    q = np.clip((values - low) / ((high - low) or 1.0), -1, 2) * _PARTS
    return Sample(np.rint(q).astype(np.int64), known)


def _shapes(parts: Sequence[Sample]) -> Iterator[tuple[int, ...]]:
    """Shapes that the differences speak for: lines, and what they are made of or make up."""
    size = parts[0].q.shape[1]
    found = {length: gap for length in _divisors(size) if (gap := _dip(parts, length)) is not None}
    lines = {length: gap for length, gap in found.items() if length >= _FEWEST and size // length >= _FEWEST}
    if not lines:
        return
    best = min(lines, key=lambda length: lines[length])
    yield size // best, best
    for inner in sorted((n for n in found if best % n == 0 and n < best), key=lambda n: found[n])[:1]:
        yield size // best, best // inner, inner
    for outer in sorted((n for n in found if n % best == 0 and n > best), key=lambda n: found[n])[:1]:
        yield size // outer, outer // best, best


def _divisors(size: int) -> list[int]:
    return [n for n in range(2, size // 2 + 1) if size % n == 0]


def _dip(parts: Sequence[Sample], length: int) -> float | None:
    """Mean difference of values so far apart; None unless it is well below that of values one more or less apart."""
    less, gap, more = (_difference(parts, n) for n in (length - 1, length, length + 1))
    return gap if gap < _DIP * min(less, more) else None


def _difference(parts: Sequence[Sample], apart: int) -> float:
    return float(np.mean([np.abs(part.q[:, apart:] - part.q[:, :-apart]).mean() for part in parts]))


def _bits(parts: Sequence[Sample], shape: tuple[int, ...], total: int) -> float:
    """Bits of a set of so many values, the context model included."""
    shaped = [Sample(part.q.reshape(-1, *shape), part.coded.reshape(-1, *shape)) for part in parts]
    model = context.fit(shaped, total, with_classes=False)
    share = total / sum(part.q.size for part in parts)
    return context.bits(model, shaped) * share + 8.0 * len(model.to_bytes())


class _View:
    """What a source whose rows are read in another way has in common with the source."""

    source: Source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def replayable(self) -> bool:
        return self.source.replayable

    @property
    def origin(self) -> dict[str, Any]:
        return self.source.origin

    @property
    def columns(self) -> Columns | None:
        return self.source.columns


@dataclass(frozen=True)
class Reshaped(_View):
    """A source whose rows are read in another shape of as many values."""

    source: Source
    row_shape: tuple[int, ...]

    @property
    def spec(self) -> ArraySpec:
        spec = self.source.spec
        return ArraySpec(spec.dtype, self.row_shape, spec.rows)

    def batches(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        for batch in self.source.batches(rows, start, stop):
            yield batch.reshape(len(batch), *self.row_shape)


@dataclass(frozen=True)
class Turned(_View):
    """A source with its row axis last, whole in memory."""

    source: Source

    @property
    def spec(self) -> ArraySpec:
        rows, lines, *inner = self.source.spec.shape
        return ArraySpec(self.source.spec.dtype, (*inner, rows), lines)

    @property
    def columns(self) -> None:
        return None  # they stand beside rows

    def batches(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        last = len(self._values) if stop is None else min(stop, len(self._values))
        for at in range(start, last, rows):
            yield self._values[at : min(at + rows, last)]

    @cached_property
    def _values(self) -> Array:
        whole = np.concatenate(list(self.source.batches(self.source.spec.shape[0])))
        return np.ascontiguousarray(np.moveaxis(whole, 0, -1))
