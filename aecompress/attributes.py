"""What containers say of an array in words and small arrays, as JSON and back: attributes and coordinates.

    text                     as it is
    arrays and scalars       {"dtype": ..., "shape": [...], "zlib": base64 of the values in C order, deflated}
    lists, numbers, ...      {"json": text}

Values of other kinds, references for example, do not travel.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aecompress.errors import DestinationError
from aecompress.spec import Array

_KINDS = "biuf"

#: Bytes of a coordinate, before deflating, up to which it travels.
MOST_BYTES = 1 << 24


@dataclass(frozen=True)
class Coordinate:
    """Values along some of the dimensions of an array, as time and latitude are.

    Attributes:
        dimensions: names of its axes, which are dimensions of the array.
        values: numbers as they are stored.
        attributes: what is said of it.
    """

    dimensions: tuple[str, ...]
    values: Array
    attributes: dict[str, Any]


def to_json(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes by name, fit for JSON; those of other kinds are left out."""
    return {name: made for name, value in attributes.items() if (made := _encode(value)) is not None}


def from_json(data: object) -> dict[str, Any]:
    """The attributes again: text, arrays and NumPy scalars, and what JSON has. None are those of no data.

    Raises:
        DestinationError: they are damaged.
    """
    if data is None:
        return {}
    try:
        if not isinstance(data, dict):
            raise ValueError("no attributes")
        return {str(name): _decode(value) for name, value in data.items()}
    except (ValueError, TypeError, KeyError, RecursionError, zlib.error) as err:
        raise DestinationError("What the source said of its array cannot be read; write to .npy instead.") from err


def coordinates_to_json(coordinates: Mapping[str, Coordinate]) -> dict[str, Any]:
    """Coordinates by name, fit for JSON; those above MOST_BYTES are left out."""
    return {
        name: {"dimensions": list(c.dimensions), "values": _pack(c.values), "attributes": to_json(c.attributes)}
        for name, c in coordinates.items()
        if c.values.nbytes <= MOST_BYTES
    }


def coordinates_from_json(
    origin: Mapping[str, Any], dimensions: list[str], shape: tuple[int, ...]
) -> dict[str, Coordinate]:
    """The coordinates of an origin that suit an array of these dimensions.

    Where the array is a part of the rows, ``first_row`` of the origin says where it begins.

    Raises:
        DestinationError: they are damaged.
    """
    found = {}
    for name, values in from_json(_each(origin, "values")).items():
        axes = tuple(map(str, _each(origin, "dimensions")[name]))
        if axes[:1] == tuple(dimensions[:1]):
            start = origin.get("first_row", 0)
            values = values[start : start + shape[0]]
        sizes = dict(zip(dimensions, shape, strict=True))
        if np.shape(values) == tuple(sizes.get(axis) for axis in axes):
            found[name] = Coordinate(axes, values, from_json(_each(origin, "attributes")[name]))
    return found


def _each(origin: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One key of all coordinates of an origin, by name."""
    recorded = origin.get("coordinates", {})
    try:
        return {str(name): entry[key] for name, entry in recorded.items()}
    except (AttributeError, TypeError, KeyError) as err:
        raise DestinationError(
            "The coordinates recorded for the source cannot be read; write to .npy instead."
        ) from err


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _KINDS and value.dtype.itemsize <= 8:
        return _pack(np.asarray(value))
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        value = value.tolist()
    try:
        return {"json": json.dumps(value)}
    except (TypeError, ValueError):
        return None


def _pack(array: Array) -> dict[str, Any]:
    values = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode("ascii")
    return {"dtype": array.dtype.str, "shape": list(array.shape), "zlib": values}


def _decode(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if "json" in value:
        return json.loads(value["json"])
    dtype, shape = np.dtype(str(value["dtype"])), tuple(map(int, value["shape"]))
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in _KINDS or not 0 <= size <= MOST_BYTES:
        raise ValueError("no attribute")
    data = zlib.decompressobj().decompress(base64.b64decode(value["zlib"]), size + 1)
    array = np.frombuffer(data, dtype).reshape(shape)
    return array if shape else array[()]
