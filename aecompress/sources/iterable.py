"""Iterables and generators of arrays: each item is a batch [n, *row_shape]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from aecompress.errors import InputError
from aecompress.sources.array import as_array
from aecompress.sources.base import Source, StreamSource, spec_of
from aecompress.spec import Array, ArraySpec


def open_iterable(items: Iterable[Any]) -> Source:
    """A stream over arrays of one dtype and row shape, as the first of them has it; lengths may differ.

    Raises:
        InputError: there is no first item, or it is not an array of rows.
    """
    arrays = (as_array(item, f"Item {index}") for index, item in enumerate(items))
    first = next(arrays, None)
    if first is None:
        raise InputError("The iterable is empty, so dtype and shape are unknown; give one batch, even of zero rows.")
    spec = replace(spec_of(first.dtype, first.shape, "Item 0"), rows=None)
    return StreamSource("iterable", spec, {"format": "iterable"}, _checked(chain([first], arrays), spec))


def _checked(arrays: Iterable[Array], spec: ArraySpec) -> Iterator[Array]:
    for index, array in enumerate(arrays):
        found = spec_of(array.dtype, array.shape, f"Item {index}")
        if not found.same_type(spec):
            raise InputError(
                f"Item {index} is {found.describe()}, but the first was {spec.describe()}; "
                "every item must be a batch of rows of one dtype and shape."
            )
        yield array
