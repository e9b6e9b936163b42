"""Coefficients to integers: those that stand alone must be larger to count, for they take the most bits.

Only an encoder does this, so it may use floats.
"""

from __future__ import annotations

import numpy as np

from aecompress.entropy.loops import loop
from aecompress.spec import Array
from aecompress.subbands.layout import Layout

#: Share of a step that is added before a magnitude is rounded down, where all around is 0; more for each step that the
#: neighbours are large in the mean, who count up to so many; and the most. 0.5 would give the nearest.
_LEAST, _RISE, _ENOUGH, _MOST = 0.2, 0.3, 3.0, 0.45


def rounded(exact: Array, layout: Layout) -> Array:
    """Integers int64 of coefficients float64 [..., H, W], in steps."""
    planes = exact.reshape(-1, *exact.shape[-2:])
    boxes = np.array([(band.top, band.left, band.height, band.width) for band in layout.bands], np.int64).reshape(-1, 4)
    out = np.zeros(planes.shape, np.int64)
    _round(planes, boxes, layout.tall, out)
    return out.reshape(exact.shape)


@loop
def _round(planes: Array, boxes: Array, tall: bool, out: Array) -> None:
    """``out`` is all zeros, as most coefficients stay."""
    for f in range(planes.shape[0]):
        for top, left, height, width in boxes:
            for y in range(top, top + height):
                line = planes[f, y]
                for x in range(left, left + width):
                    size = abs(line[np.uint64(x)])
                    if size + _MOST >= 1.0:
                        many = np.int64(np.floor(size + _share(planes[f], top, left, height, width, tall, y, x)))
                        out[f, y, x] = many if line[x] > 0 else -many


@loop
def _share(plane: Array, top: int, left: int, height: int, width: int, tall: bool, y: int, x: int) -> float:
    """Share of a step that is added at a place of a band.

    Of a plane the up to eight around count, those at corners half; of lines the two beside.
    """
    near, shares = 0.0, 0.0
    for dy in range(-1, 2):
        if (dy != 0 and not tall) or not top <= y + dy < top + height:
            continue
        for dx in range(-1, 2):
            if (dy != 0 or dx != 0) and left <= x + dx < left + width:
                share = 0.5 if dy != 0 and dx != 0 else 1.0
                shares += share
                near += share * min(abs(plane[y + dy, x + dx]), _ENOUGH)
    return min(_LEAST + _RISE * near / max(shares, 1.0), _MOST)
