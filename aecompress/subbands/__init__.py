"""Smooth fields in integers: a wavelet transform, and coders of its coefficients and of what it misses.

    forward  X ─► lifting along the axes ─► coefficients ─► quantize ─► c
    inverse  c ─► dequantize ─► lifting backwards ─► X_hat

    encode   (c, r) ─► decisions, band by band from coarse to fine, then place by place ─► rANS
    decode   the mirror

X are fixed-point numbers with FRACTION bits below the cell of the bound; r are whole cells that bring X_hat within the
bound where it misses. Nothing is learned beforehand: probabilities adapt while a block is coded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aecompress.entropy import adaptive
from aecompress.errors import CorruptError
from aecompress.spec import MAX_AXES, Array
from aecompress.subbands import coefficients, corrections, lifting
from aecompress.subbands.gaps import fill_gaps
from aecompress.subbands.layout import Layout, layout_of
from aecompress.subbands.rounding import rounded

#: Bits below the point of transformed values, in units of a cell.
FRACTION = 8

#: A cell of the bound in transformed values.
CELL = 1 << FRACTION

#: Values of a smaller magnitude can be transformed; low bands grow by 1.23 a split.
MOST_VALUE = 1 << 27
_MOST_COEFFICIENT = 1 << 30

#: What is off by more cells is better kept aside.
MOST_CORRECTION = corrections.MOST

#: Largest quantisation step.
MOST_STEP = (1 << 20) - 1


@dataclass(frozen=True)
class Subbands:
    """A transform with its quantiser, and the coder that goes with it.

    Attributes:
        order: the axes of a block but those of size 1, counted from 0, in the order they are taken; the last two are
            the plane, of a single line if there is one axis alone.
        levels: for each of these, in this order, how often its low band is split again; the plane shares one number, or
            has 0 and another, and then its lines are transformed, each on its own.
        step: quantisation step, in 1/2^FRACTION of a cell, of a band whose synthesis basis has norm 1.
        spans: whether places are decided together where nothing is around them, which takes half the time and fewer
            bytes; False for models that were made before.
        uses: the most that a slot counts: fewer where what is likely changes from place to place.
    """

    order: tuple[int, ...]
    levels: tuple[int, ...]
    step: int
    spans: bool = True
    uses: int = adaptive.MOST_USES

    @classmethod
    def checked(cls, order: Array, levels: Array, step: Array, uses: Array | None = None) -> Subbands:
        """A stored transform. Raises CorruptError if its numbers are impossible."""
        if not (
            levels.ndim == 1
            and 1 <= len(levels) <= MAX_AXES
            and sorted(order.tolist()) == list(range(len(levels)))
            and 0 <= levels.min() <= levels.max() <= lifting.MOST_LEVELS
            and (len(levels) == 1 or levels[-2] in (0, levels[-1]))
            and step.shape == ()
            and 1 <= step <= MOST_STEP
            and (uses is None or (uses.shape == () and 1 <= uses <= adaptive.MOST_USES))
        ):
            raise CorruptError("The model's subbands have impossible numbers; the file is damaged.")
        most = adaptive.MOST_USES if uses is None else int(uses)
        return cls(tuple(order.tolist()), tuple(levels.tolist()), int(step), uses is not None, most)

    def arrays(self) -> list[Array]:
        """What ``checked`` takes, to be stored."""
        found = [self.order, self.levels, self.step, *([self.uses] if self.spans else [])]
        return [np.asarray(numbers) for numbers in found]

    def filled(self, values: Array, keep: Array) -> Array:
        """The planes [F, H, W] that ``forward`` takes of a block int64 [rows, ...] of fixed-point values.

        They are continued smoothly where ``keep`` (bool, same shape) says that values do not matter, and are the same
        for all steps and, of planes or of lines, for all levels.
        """
        planes, known = self._planes(values), self._planes(keep)
        frames, height, width = planes.shape
        seen = (frames * height, 1, width) if self.of_lines else planes.shape
        return fill_gaps(planes.reshape(seen), known.reshape(seen)).reshape(planes.shape)

    @property
    def of_lines(self) -> bool:
        """True if lines are transformed, and not planes."""
        return lifting.of_lines(self.levels)

    def forward(self, filled: Array, shape: tuple[int, ...]) -> Array | None:
        """Quantised coefficients int64 [..., H, W] of a block of this shape; None if some are too large to code.

        Args:
            filled: its planes.
            shape: of the block.
        """
        layout = self._layout(shape)
        if max(abs(int(filled.max(initial=0))), abs(int(filled.min(initial=0)))) >= MOST_VALUE:
            return None
        exact = lifting.forward(filled.reshape(layout.shape), layout.levels)
        steps = lifting.steps(layout.shape, layout.levels, self.step)
        quantized = rounded(exact / steps, layout)
        if max(quantized.max(initial=0), -quantized.min(initial=0)) >= _MOST_COEFFICIENT:
            return None
        return quantized

    def inverse(self, quantized: Array, shape: tuple[int, ...]) -> Array:
        """Fixed-point values int64, of the block's ``shape``, of quantised coefficients."""
        layout = self._layout(shape)
        exact = quantized * lifting.steps(layout.shape, layout.levels, self.step)
        return self._block(lifting.inverse(exact, layout.levels), shape)

    def encode(self, quantized: Array, missing: Array, estimate: Array, coded: Array) -> bytes:
        """Stream of a block.

        Args:
            quantized: int64 [..., H, W] coefficients, as ``forward`` gives them.
            missing: int64 [rows, ...]: whole cells to add to ``estimate``, magnitudes up to MOST_CORRECTION.
            estimate: int64, same shape: ``inverse`` of the coefficients.
            coded: bool, same shape: False where ``missing`` need not come back.
        """
        layout = self._layout(missing.shape)
        memory, planes = layout.spread(quantized), self._planes(missing)
        tape = adaptive.Tape.empty(coefficients.most(memory) + corrections.most(planes))
        coefficients.code(memory, layout, self.spans, self.uses, tape, False)
        self._correct(planes, estimate, coded, tape, False)
        return tape.to_bytes()

    def decode(self, data: bytes, coded: Array) -> Array:
        """Fixed-point values int64 of a stream, corrected; ``coded`` as it was encoded.

        Raises CorruptError if the stream is damaged.
        """
        layout = self._layout(coded.shape)
        memory = np.zeros((layout.frames, layout.size), np.int32)
        tape = adaptive.Tape.of(data)
        coefficients.code(memory, layout, self.spans, self.uses, tape, True)
        estimate = self.inverse(layout.gather(memory), coded.shape)
        planes = np.zeros((layout.frames, *layout.shape[-2:]), np.int64)
        self._correct(planes, estimate, coded, tape, True)
        tape.finish()
        return estimate + CELL * self._block(planes, coded.shape)

    def _correct(self, planes: Array, estimate: Array, coded: Array, tape: adaptive.Tape, decoding: bool) -> None:
        """Encode the corrections [F, H, W], or fill them in."""
        seen = self._planes(estimate) >> (FRACTION - corrections.FRACTION)
        layout = self._layout(coded.shape)
        kinds = layout.tall, self.spans, self.uses
        corrections.code(planes, seen, self._planes(coded), layout.earlier, *kinds, tape, decoding)

    def _planes(self, values: Array) -> Array:
        """A block as its planes [F, H, W], contiguous."""
        layout = self._layout(values.shape)
        seen = values.reshape(axes_of(values.shape)).transpose(self.order)
        return np.ascontiguousarray(seen).reshape(layout.frames, *layout.shape[-2:])

    def _block(self, planes: Array, shape: tuple[int, ...]) -> Array:
        """Undo ``_planes``."""
        axes = axes_of(shape)
        seen = planes.reshape([axes[axis] for axis in self.order]).transpose(np.argsort(self.order))
        return np.ascontiguousarray(seen).reshape(shape)

    def _layout(self, shape: tuple[int, ...]) -> Layout:
        axes = axes_of(shape)
        if len(axes) != len(self.order):
            raise CorruptError("The model's subbands are of blocks with other axes; the file is damaged.")
        ordered = tuple(axes[axis] for axis in self.order)
        return layout_of(ordered, self.levels) if len(axes) > 1 else layout_of((1, *ordered), (0, *self.levels))


def axes_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of the row axis and of the inner axes longer than 1."""
    return (shape[0], *(n for n in shape[1:] if n != 1))
