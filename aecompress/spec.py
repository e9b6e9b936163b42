"""What a set of arrays is: dtype, row shape, number of rows, memory order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aecompress.errors import InputError

VERSION = "0.1.0"

Array = npt.NDArray[Any]

#: Kinds of dtype that can be packed: bool, signed, unsigned and floating point.
_KINDS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}

#: The most axes an array may have, rows included.
MAX_AXES = 8


@dataclass(frozen=True)
class ArraySpec:
    """The type of a set of arrays.

    Attributes:
        dtype: element type as it came, byte order included (``>f4`` stays ``>f4``).
        row_shape: shape of one row; ``()`` for a 1-D source of scalars.
        rows: number of rows (axis 0), or ``None`` while a stream has not ended.
    """

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    rows: int | None = None

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if len(self.row_shape) + 1 > MAX_AXES:
            raise InputError(
                f"The arrays have {len(self.row_shape) + 1} axes; at most {MAX_AXES} are supported: "
                "reshape them to fewer axes."
            )

    @property
    def native(self) -> np.dtype[Any]:
        """The dtype in this machine's byte order: what blocks hold while they are coded."""
        return self.dtype.newbyteorder("=")

    @property
    def row_size(self) -> int:
        """Values in one row."""
        return math.prod(self.row_shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row before packing."""
        return self.row_size * self.dtype.itemsize

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole set; raises if the number of rows is not known yet."""
        if self.rows is None:
            raise InputError("The number of rows of this stream is not known before it ends.")
        return (self.rows, *self.row_shape)

    @property
    def raw_bytes(self) -> int:
        """Bytes of the whole set before packing."""
        return math.prod(self.shape) * self.dtype.itemsize

    def with_rows(self, rows: int) -> ArraySpec:
        """The same spec with the number of rows filled in."""
        return replace(self, rows=rows)

    def same_type(self, other: ArraySpec) -> bool:
        """True if rows of both have one native dtype and one shape."""
        return self.native == other.native and self.row_shape == other.row_shape

    def describe(self) -> str:
        """For people: ``30000 x 28 x 28 uint8``."""
        rows = "?" if self.rows is None else str(self.rows)
        return " x ".join([rows, *map(str, self.row_shape)]) + f" {self.dtype.name}"

    def to_json(self) -> dict[str, Any]:
        return {"dtype": self.dtype.str, "row_shape": list(self.row_shape), "rows": self.rows}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ArraySpec:
        return cls(np.dtype(str(data["dtype"])), tuple(int(n) for n in data["row_shape"]), data["rows"])


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Raise InputError unless ``dtype`` is bool, (u)int8-64 or float16/32/64."""
    if dtype.fields is not None:
        raise InputError(
            f"The array has a structured dtype {dtype}; pack its fields one by one, each as a plain array."
        )
    if dtype.hasobject:
        raise InputError("The array holds Python objects; convert it to a numeric dtype, for example float32.")
    if dtype.itemsize not in _KINDS.get(dtype.kind, ()):
        raise InputError(
            f"The dtype {dtype} is not supported; convert it to bool, an integer of 8 to 64 bits, "
            "float16, float32 or float64."
        )


def as_dtype(values: Array, dtype: np.dtype[Any]) -> Array:
    """Float64 as another dtype: integers are rounded, and the nearest that there is where a value is beyond them."""
    if dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            found: Array = values.astype(dtype)
        return found
    ends = np.iinfo(dtype)
    # The greatest integer of 64 bits is no float64: one that is less.
    top = np.nextafter(float(ends.max), 0) if dtype.itemsize == 8 else float(ends.max)
    return np.clip(np.rint(values), float(ends.min), top).astype(dtype)
