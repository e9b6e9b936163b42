"""Objects that give one row at a time, as torch data sets do: by number, or once, one after another.

They are known by the classes they are made from, so torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np

from aecompress.errors import InputError
from aecompress.sources.array import as_array
from aecompress.sources.base import SlicedSource, Source, StreamSource, chunk_rows
from aecompress.spec import Array, ArraySpec

_MODULE = "torch.utils.data"


def is_samples(data: object) -> bool:
    """True for data sets of torch, but not for its loaders, which give batches."""
    return _is_a(data, "Dataset")


def _is_a(data: object, kind: str) -> bool:
    return any(base.__module__.startswith(_MODULE) and base.__name__ == kind for base in type(data).__mro__)


def open_samples(data: Any) -> Source:
    """A source over a data set with numbered rows, or a stream over one that only gives one after another.

    Raises:
        InputError: there are no rows, or they are not arrays of one dtype and shape.
    """
    name = type(data).__name__
    if _is_a(data, "IterableDataset"):
        return _stream(name, data)
    if not hasattr(data, "__len__"):
        raise InputError(f"The data set {name} does not say how many rows it has; give an iterable one instead.")
    if not len(data):
        raise InputError(f"The data set {name} is empty, so dtype and shape are unknown; give one with a row.")
    spec = _spec(_row(data[0], name, 0)).with_rows(len(data))
    return SlicedSource(name, spec, {"format": "iterable"}, partial(_stack, lambda row: data[row], name, spec))


def _stream(name: str, data: Iterable[Any]) -> Source:
    samples = iter(data)
    first = next(samples, None)
    if first is None:
        raise InputError(f"The data set {name} is empty, so dtype and shape are unknown; give one with a row.")
    spec = _spec(_row(first, name, 0))
    return StreamSource(name, spec, {"format": "iterable"}, _chunks(name, spec, chain([first], samples)))


def _chunks(name: str, spec: ArraySpec, samples: Iterator[Any]) -> Iterator[Array]:
    row = 0
    while part := list(islice(samples, chunk_rows(spec))):
        numbered = dict(enumerate(part, row))
        yield _stack(numbered.__getitem__, name, spec, row, row + len(part))
        row += len(part)


def _spec(row: Array) -> ArraySpec:
    return ArraySpec(row.dtype, row.shape)


def _stack(sample: Callable[[int], Any], name: str, spec: ArraySpec, lo: int, hi: int) -> Array:
    rows = np.empty((hi - lo, *spec.row_shape), spec.dtype)
    for index in range(lo, hi):
        row = _row(sample(index), name, index)
        if row.shape != spec.row_shape or row.dtype != spec.dtype:
            raise InputError(
                f"Row {index} of the data set {name} is {row.shape} {row.dtype}, but the first was {spec.row_shape} "
                f"{spec.dtype}; all must be of one dtype and shape."
            )
        rows[index - lo] = row
    return rows


def _row(sample: Any, name: str, index: int) -> Array:
    """One sample as an array; TensorDataset wraps each in a tuple."""
    if isinstance(sample, tuple) and len(sample) == 1:
        sample = sample[0]
    if isinstance(sample, tuple | list | dict):
        raise InputError(
            f"The data set {name} gives {len(sample)} things a row; make one of it that gives the array alone."
        )
    return as_array(sample, f"Row {index} of the data set {name}")
