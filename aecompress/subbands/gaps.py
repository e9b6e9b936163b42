"""What a transform sees where a block has no ordinary values."""

from __future__ import annotations

import numpy as np

from aecompress.spec import Array


def fill_gaps(values: Array, keep: Array) -> Array:
    """``values`` with each one that is not kept replaced by the last kept one before it in its line, or the mean."""
    if keep.all():
        return values
    mean = int(values[keep].mean()) if keep.any() else 0
    place = np.where(keep, np.arange(values.shape[-1]), -1)
    last = np.maximum.accumulate(place, axis=-1)
    return np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=-1), mean)
