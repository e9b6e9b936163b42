"""Which rows a report shows, and as what: pictures, series, or columns along the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aecompress.spec import Array, ArraySpec

#: Edges shorter than this make no picture, and lines shorter than this no series.
MIN_EDGE = 8

#: Pixels of an edge and points of a series that are shown; of more, every second, third, ...
MOST_PIXELS = 320
MOST_POINTS = 1024

#: Rows that are shown as pictures and as series, and the stretch of rows that columns are shown along.
_PICTURES, _SERIES, _STRETCH = 6, 4, 512

#: Columns that are shown.
MOST_COLUMNS = 6


@dataclass(frozen=True)
class View:
    """How rows of one shape are looked at.

    Attributes:
        kind: what ``look`` makes of a row: a picture [y, x] or [y, x, 3], a series [n], or all its columns [c].
        rows: the rows that are shown, in order.
        about: what is left out, for people; empty if nothing is.
    """

    kind: Literal["picture", "series", "columns"]
    rows: tuple[int, ...]
    index: tuple[int | slice, ...]
    about: str

    @classmethod
    def of(cls, spec: ArraySpec) -> View:
        """The view that suits the shape of the rows."""
        count, shape = spec.shape[0], spec.row_shape
        if not shape or max(shape) < MIN_EDGE:
            first = max(0, (count - _STRETCH) // 2)
            return cls("columns", tuple(range(first, min(first + _STRETCH, count))), (), "")
        edges = _edges(spec)
        kind: Literal["picture", "series"] = "picture" if len(edges) > 1 else "series"
        most = MOST_PIXELS if kind == "picture" else MOST_POINTS
        index = tuple(_cut(axis, size, edges, most) for axis, size in enumerate(shape))
        rows = np.unique(np.linspace(0, count - 1, _PICTURES if kind == "picture" else _SERIES).astype(int))
        return cls(kind, tuple(rows.tolist()) if count else (), index, _about(shape, index))

    def look(self, row: Array) -> Array:
        """What is shown of a row [*row_shape]; a copy."""
        return row[self.index].copy() if self.index else row.reshape(-1)[:MOST_COLUMNS].copy()


def _edges(spec: ArraySpec) -> tuple[int, ...]:
    """Axes of a row that are shown: y and x, with three colours behind them if there are any, or the longest."""
    shape = spec.row_shape
    last = len(shape) - 1
    if len(shape) > 2 and shape[-1] == 3 and spec.dtype == np.uint8 and min(shape[-3:-1]) >= MIN_EDGE:
        return last - 2, last - 1, last
    if len(shape) > 1 and min(shape[-2:]) >= MIN_EDGE:
        return last - 1, last
    return (int(np.argmax(shape)),)


def _cut(axis: int, size: int, edges: tuple[int, ...], most: int) -> int | slice:
    """Every so-manieth place of an axis that is shown, the middle of another."""
    return slice(None, None, -(-size // most)) if axis in edges else size // 2


def _about(shape: tuple[int, ...], index: tuple[int | slice, ...]) -> str:
    fixed = [f"{cut} of {size} on axis {axis + 1}" for axis, (cut, size) in enumerate(zip(index, shape, strict=True))
             if isinstance(cut, int)]  # fmt: skip
    steps = {cut.step for cut in index if isinstance(cut, slice) and cut.step > 1}
    words = [f"at {', '.join(fixed)}"] if fixed else []
    return "; ".join([*words, *(f"one value in {step} along an edge" for step in sorted(steps))])
