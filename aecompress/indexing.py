"""What an index of an archive asks for: the rows to decode, what to keep of them, and how to arrange that.

The result is what numpy gives for the whole array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aecompress.spec import Array


@dataclass(frozen=True)
class Selection:
    """An index taken apart: ``whole[index]`` is ``whole[rows][cut][order]``.

    Attributes:
        rows: the rows that are needed, rising, each once: a range of step 1, or int64 [n].
        cut: integers and slices, the first of them all rows; applied block by block, so that little is kept of each.
        order: what remains of the index, for the rows together.
    """

    rows: range | Array
    cut: tuple[Any, ...]
    order: tuple[Any, ...]

    def stretches(self, height: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of rows to decode in one go, so that whole blocks of ``height`` rows between them are not."""
        if not len(self.rows):
            return
        if isinstance(self.rows, range):
            yield self.rows.start, self.rows.stop
        else:
            gaps = np.flatnonzero(np.diff(self.rows // height) > 1) + 1
            for group in np.split(self.rows, gaps):
                yield int(group[0]), int(group[-1]) + 1

    def of_block(self, start: int, rows: Array) -> Array:
        """What is needed of a decoded block [n, *row_shape] that begins at row ``start``: a copy."""
        if isinstance(self.rows, range):
            picked = rows[max(self.rows.start - start, 0) : self.rows.stop - start]
        else:
            low, high = np.searchsorted(self.rows, (start, start + len(rows)))
            picked = rows[self.rows[low:high] - start]
        return np.array(picked[self.cut])


def select(index: Any, shape: tuple[int, ...]) -> Selection:
    """Take apart an index of an array of ``shape``: integers, slices, lists, masks, one ellipsis, or a tuple of them.

    Raises:
        IndexError: it leads out of the array, or is none of these.
    """
    head, *rest = _by_axis(index, shape)
    rows, order = _rows(head, shape[0])
    if any(isinstance(item, np.ndarray) for item in rest):  # lists of several axes go together in pairs
        return Selection(rows, (slice(None),), (order, *rest))
    return Selection(rows, (slice(None), *rest), (order,))


def _rows(head: Any, count: int) -> tuple[range | Array, Any]:
    """The rows that the first item of an index needs, and what picks from these."""
    if isinstance(head, slice):
        visited = range(count)[head]
        rising = visited if visited.step > 0 else visited[::-1]
        many = np.arange(rising.start, rising.stop, rising.step) if rising.step > 1 else rising
        return many, slice(None, None, visited.step // rising.step)
    if isinstance(head, int):
        return range(head, head + 1), 0
    rows, order = np.unique(head, return_inverse=True)
    return rows, order.reshape(head.shape)


def _by_axis(index: Any, shape: tuple[int, ...]) -> list[Any]:
    """One item an axis: a slice, or an integer or int64 array from 0 on."""
    items = [_plain(item) for item in (index if isinstance(index, tuple) else (index,))]
    spare = len(shape) - sum(_axes(item) for item in items)
    if spare < 0:
        raise IndexError(f"too many indices: the archive has {len(shape)} axes, {len(shape) - spare} were indexed")
    ellipses = sum(item is Ellipsis for item in items)
    if ellipses > 1:
        raise IndexError("an index can have one ellipsis (...) only")
    found: list[Any] = []
    for item in items if ellipses else [*items, Ellipsis]:
        sides = shape[len(found) :]
        if item is Ellipsis:
            found += [slice(None)] * spare
        elif isinstance(item, slice):
            found.append(item)
        elif isinstance(item, np.ndarray) and item.dtype == bool:
            found += _true(item, sides)
        else:
            found.append(_counted(item, sides[0], len(found)))
    return found


def _plain(item: Any) -> Any:
    """An item of an index as a slice, the ellipsis, an int, or an array of bool or int64."""
    if item is Ellipsis or isinstance(item, slice):
        return item
    array = np.asarray(item)
    if isinstance(item, list) and not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind in "iu":
        return array.astype(np.int64) if array.ndim else int(array)
    if array.dtype == bool and array.ndim:
        return array
    raise IndexError(f"an archive is indexed by integers, slices, lists or masks, not by {item!r}")


def _axes(item: Any) -> int:
    """How many axes an item stands for."""
    if item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1


def _true(mask: Array, sides: tuple[int, ...]) -> tuple[Array, ...]:
    """The places where a mask of the next axes is true, an int64 array an axis."""
    if mask.shape != sides[: mask.ndim]:
        raise IndexError(f"the mask has shape {mask.shape}, the axes it is for {sides[: mask.ndim]}")
    return mask.nonzero()


def _counted(item: int | Array, size: int, axis: int) -> int | Array:
    """Indices counted from the front. Raises IndexError if one is not there."""
    places = np.asarray(item)
    wrong = places[(places < -size) | (places >= size)]
    if len(wrong):
        raise IndexError(f"index {wrong[0]} is out of bounds for axis {axis} with size {size}")
    return item % size
