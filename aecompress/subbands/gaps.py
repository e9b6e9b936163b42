"""What a transform sees where a block has no ordinary values: a surface through those around."""

from __future__ import annotations

import numpy as np

from aecompress.entropy.loops import loop
from aecompress.spec import Array

#: Rounds of smoothing at each scale.
_ROUNDS = 8


def fill_gaps(values: Array, keep: Array) -> Array:
    """int64 ``values`` [..., H, W], smoothly continued in each plane where they are not kept.

    Means of what is kept, at half the scale and so on, are brought back scale by scale, interpolated and smoothed. Only
    an encoder does this, so it may use floats.
    """
    if keep.all():
        return values
    out = values.reshape(-1, *values.shape[-2:]).copy()
    known = keep.reshape(out.shape)
    gappy = ~known.all((1, 2))
    surface = _continued(np.where(known[gappy], out[gappy], 0).astype(np.float64), known[gappy])
    out[gappy] = np.where(known[gappy], out[gappy], np.rint(surface).astype(np.int64))
    return out.reshape(values.shape)


def _continued(values: Array, known: Array) -> Array:
    """float64 [F, H, W] with all unknown values filled; 0 where a plane knows nothing."""
    height, width = values.shape[1:]
    if known.all() or height * width == 1:
        return values
    total, count = _halved(values), _halved(known.astype(np.float64))
    coarse = _continued(total / np.maximum(count, 1.0), count > 0)
    found = np.where(known, values, _doubled(_doubled(coarse, 1, height), 2, width))
    smoother = found.copy()
    for _ in range(_ROUNDS):
        _smooth(found, known, smoother)
        found, smoother = smoother, found
    return found


@loop
def _smooth(values: Array, known: Array, out: Array) -> None:
    """Means of the four around each place that is not known, the place itself standing for those beyond an end."""
    height, width = values.shape[1:]
    for f in range(values.shape[0]):
        for y in range(height):
            for x in range(width):
                if not known[f, y, x]:
                    total = values[f, max(y - 1, 0), x] + values[f, min(y + 1, height - 1), x]
                    total += values[f, y, max(x - 1, 0)]
                    out[f, y, x] = (total + values[f, y, min(x + 1, width - 1)]) / 4


def _halved(values: Array) -> Array:
    """Sums of two by two values [F, H, W]."""
    frames, height, width = values.shape
    padded = np.pad(values, ((0, 0), (0, height % 2), (0, width % 2)))
    return padded.reshape(frames, (height + 1) // 2, 2, (width + 1) // 2, 2).sum((2, 4))


def _doubled(values: Array, axis: int, size: int) -> Array:
    """Values at half the scale along an axis, interpolated to ``size`` places."""
    last = values.shape[axis] - 1
    place = np.clip((np.arange(size) - 0.5) / 2, 0, last)
    low = place.astype(np.int64)
    share = (place - low).reshape(-1, *[1] * (values.ndim - axis - 1))
    return np.take(values, low, axis) * (1 - share) + np.take(values, np.minimum(low + 1, last), axis) * share
