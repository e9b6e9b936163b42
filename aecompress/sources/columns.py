"""Arrow record batches as arrays of rows.

A row is one value of the only column where that column holds tensors or lists, and otherwise the values of all columns
side by side.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aecompress.errors import InputError
from aecompress.sources.base import spec_of
from aecompress.spec import Array, ArraySpec

_COLUMNS_SHOWN = 8


def check_columns(schema: pa.Schema, name: str) -> None:
    """Raise InputError unless the columns are one tensor or list column, or numeric columns of one dtype."""
    types = {_value_type(field.type) for field in schema}
    numeric = all(pa.types.is_boolean(t) or pa.types.is_integer(t) or pa.types.is_floating(t) for t in types)
    nested = any(_value_type(field.type) != field.type for field in schema)
    if len(types) == 1 and numeric and not (nested and len(schema) > 1):
        return
    shown = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:_COLUMNS_SHOWN])
    more = f" and {len(schema) - _COLUMNS_SHOWN} more" if len(schema) > _COLUMNS_SHOWN else ""
    raise InputError(
        f"{name} has the columns {shown or '(none)'}{more}, which do not make rows of one dtype; first select one "
        "tensor column or numeric columns of one dtype, as in pyarrow.parquet.read_table(path, columns=[...])."
    )


def row_spec(schema: pa.Schema, first: pa.RecordBatch | None, name: str) -> ArraySpec:
    """Dtype and row shape (rows unknown), read off the first record batch with rows, None if there is none.

    Only lists of no fixed size need that batch; where there are no rows at all, theirs is (0,).
    """
    sample = decode(_empty(schema) if first is None else first.slice(0, 1), name)
    return ArraySpec(sample.dtype, spec_of(sample.dtype, sample.shape, name).row_shape)


def decode(batch: pa.RecordBatch, name: str) -> Array:
    """The rows of a record batch with at least one column, [n, *row_shape].

    Raises:
        InputError: a value is null, or the lists of a column differ in length.
    """
    columns = [
        _values(array, f"{name}: column {label}") for label, array in zip(batch.schema.names, batch, strict=True)
    ]
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


def arrow_origin(schema: pa.Schema) -> dict[str, Any]:
    """The schema, deflated (wide tables repeat themselves) and in base64."""
    packed = zlib.compress(schema.serialize().to_pybytes(), 9)
    return {"format": "parquet", "schema": base64.b64encode(packed).decode("ascii")}


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _values(array: pa.Array, what: str) -> Array:
    if array.null_count:
        raise InputError(f"{what} holds nulls; fill them or drop their rows first.")
    if isinstance(array.type, pa.FixedShapeTensorType):
        return _tensors(array, what)
    if pa.types.is_fixed_size_list(array.type):
        length = array.type.list_size
    elif _is_list(array.type):
        length = _common_length(array, what)
    else:
        return np.asarray(array.to_numpy(zero_copy_only=False))
    values = _values(array.flatten(), what)
    return values.reshape(len(array), length, *values.shape[1:])


def _tensors(array: pa.Array, what: str) -> Array:
    shape, order = array.type.shape, array.type.permutation or range(len(array.type.shape))
    stored = _values(array.storage, what).reshape(len(array), *shape)
    return stored.transpose(0, *(axis + 1 for axis in order))


def _common_length(array: pa.Array, what: str) -> int:
    lengths = pc.min_max(pc.list_value_length(array)).as_py()
    if lengths["min"] != lengths["max"]:
        raise InputError(
            f"{what} holds lists of {lengths['min']} to {lengths['max']} values; pad or cut them to one length first."
        )
    return int(lengths["min"] or 0)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _value_type(kind: pa.DataType) -> pa.DataType:
    while isinstance(kind, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(kind) or _is_list(kind):
        kind = kind.value_type
    return kind
