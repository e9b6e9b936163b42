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
from aecompress.subbands.layout import Layout, layout_of

#: Bits below the point of transformed values, in units of a cell.
FRACTION = 8

#: A cell of the bound in transformed values.
CELL = 1 << FRACTION

#: Values of a smaller magnitude can be transformed; low bands grow by 1.23 a split.
MOST_VALUE = 1 << 27
_MOST_COEFFICIENT = 1 << 30

#: Shorter axes are not worth a split of their own.
_SHORTEST = 8

#: What is off by more cells is better kept aside.
MOST_CORRECTION = corrections.MOST

#: Share of a step at which a coefficient is rounded up.
_ROUNDING = 0.42

_MOST_STEP = 1 << 20


@dataclass(frozen=True)
class Subbands:
    """A transform with its quantiser, and the coder that goes with it.

    Attributes:
        levels: for each axis of a block but those of size 1, how often its low band is split again; the last two axes,
            the plane, share one number.
        step: quantisation step, in 1/2^FRACTION of a cell, of a band whose synthesis basis has norm 1.
    """

    levels: tuple[int, ...]
    step: int

    @classmethod
    def checked(cls, levels: Array, step: Array) -> Subbands:
        """A stored transform. Raises CorruptError if its numbers are impossible."""
        if not (
            levels.ndim == 1
            and 2 <= len(levels) <= MAX_AXES
            and 0 <= levels.min() <= levels.max() <= lifting.MOST_LEVELS
            and levels[-1] == levels[-2]
            and step.shape == ()
            and 1 <= step < _MOST_STEP
        ):
            raise CorruptError("The model's subbands have impossible numbers; the file is damaged.")
        return cls(tuple(levels.tolist()), int(step))

    def forward(self, values: Array) -> Array | None:
        """Quantised coefficients int64 [rows, ...] of fixed-point values; None if some are too large to code."""
        if max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0)))) >= MOST_VALUE:
            return None
        layout = self._layout(values.shape)
        exact = lifting.forward(values.reshape(layout.shape), layout.levels)
        steps = lifting.steps(layout.shape, layout.levels, self.step)
        size = np.floor(np.abs(exact) / steps + _ROUNDING).astype(np.int64)
        if size.max(initial=0) >= _MOST_COEFFICIENT:
            return None
        return (np.sign(exact) * size).reshape(values.shape)

    def inverse(self, quantized: Array) -> Array:
        """Fixed-point values int64 of quantised coefficients."""
        layout = self._layout(quantized.shape)
        exact = quantized.reshape(layout.shape) * lifting.steps(layout.shape, layout.levels, self.step)
        return lifting.inverse(exact, layout.levels).reshape(quantized.shape)

    def encode(self, quantized: Array, missing: Array, estimate: Array, coded: Array) -> bytes:
        """Stream of a block.

        Args:
            quantized: int64 [rows, ...] coefficients, as ``forward`` gives them.
            missing: int64, same shape: whole cells to add to ``estimate``, magnitudes up to MOST_CORRECTION.
            estimate: int64, same shape: ``inverse`` of the coefficients.
            coded: bool, same shape: False where ``missing`` need not come back.
        """
        layout = self._layout(quantized.shape)
        memory = layout.spread(quantized)
        planes = _planes(missing, layout)
        tape = adaptive.Tape.empty(coefficients.most(memory) + corrections.most(planes))
        coefficients.code(memory, layout, tape, False)
        self._correct(planes, estimate, coded, layout, tape, False)
        return tape.to_bytes()

    def decode(self, data: bytes, coded: Array) -> Array:
        """Fixed-point values int64 of a stream, corrected; ``coded`` as it was encoded.

        Raises CorruptError if the stream is damaged.
        """
        layout = self._layout(coded.shape)
        memory = np.zeros((layout.frames, layout.size), np.int32)
        tape = adaptive.Tape.of(data)
        coefficients.code(memory, layout, tape, True)
        estimate = self.inverse(layout.gather(memory).reshape(coded.shape))
        planes = np.zeros((layout.frames, *layout.shape[-2:]), np.int64)
        self._correct(planes, estimate, coded, layout, tape, True)
        tape.finish()
        return estimate + CELL * planes.reshape(coded.shape)

    @staticmethod
    def _correct(
        planes: Array, estimate: Array, coded: Array, layout: Layout, tape: adaptive.Tape, decoding: bool
    ) -> None:
        """Encode the corrections [F, H, W], or fill them in."""
        seen = estimate.reshape(planes.shape) >> (FRACTION - corrections.FRACTION)
        corrections.code(planes, seen, coded.reshape(planes.shape), layout.earlier, tape, decoding)

    def _layout(self, shape: tuple[int, ...]) -> Layout:
        axes = axes_of(shape)
        if len(axes) != len(self.levels):
            raise CorruptError("The model's subbands are of blocks with other axes; the file is damaged.")
        return layout_of(axes, self.levels)


def axes_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of the row axis and of the inner axes longer than 1."""
    return (shape[0], *(n for n in shape[1:] if n != 1))


def _planes(values: Array, layout: Layout) -> Array:
    return values.reshape(layout.frames, *layout.shape[-2:])
