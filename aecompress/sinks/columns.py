"""Arrays of rows as Arrow record batches, in the columns they came in."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pyarrow as pa

from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec

_SCHEMA_BYTES = 1 << 26
_LISTS = (
    (pa.ListArray, pa.types.is_list, pa.int32()),
    (pa.LargeListArray, pa.types.is_large_list, pa.int64()),
)


def row_schema(spec: ArraySpec, origin: dict[str, object]) -> pa.Schema:
    """The schema of the source where it had one, otherwise one column named ``values`` of rows of this spec.

    Raises:
        DestinationError: the source's schema is damaged or does not hold rows of this spec, or rows have no values.
    """
    recorded = "schema" in origin
    schema = _read_schema(origin) if recorded else pa.schema([("values", _row_type(spec))])
    # Arrow divides by the length of a fixed-size list, so one of length 0 would end the process.
    if any(_has_empty_list(field.type) for field in schema):
        raise DestinationError("Parquet cannot hold rows without values; write to .npy instead.")
    if recorded:
        _check_holds(schema, spec)
    return schema


def encode(batch: Array, schema: pa.Schema) -> pa.RecordBatch:
    """Rows [n, *row_shape] as one record batch; a single column takes whole rows, several take one value each."""
    columns = [batch] if len(schema) == 1 else [batch[:, index] for index in range(len(schema))]
    arrays = [_array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _read_schema(origin: dict[str, object]) -> pa.Schema:
    try:
        packed = base64.b64decode(str(origin["schema"]))
        return pa.ipc.read_schema(pa.py_buffer(zlib.decompressobj().decompress(packed, _SCHEMA_BYTES)))
    except (KeyError, ValueError, zlib.error, pa.ArrowException, OSError) as err:
        raise DestinationError("The columns recorded for the source cannot be read; write to .npy instead.") from err


def _check_holds(schema: pa.Schema, spec: ArraySpec) -> None:
    try:
        held = encode(np.zeros((1, *spec.row_shape), spec.native), schema).num_rows
        if held != 1 or (len(schema) > 1 and spec.row_shape != (len(schema),)):
            raise ValueError(f"one row of the source would be {held} rows of {len(schema)} columns")
    except (ValueError, IndexError, pa.ArrowException) as err:
        raise DestinationError(
            f"The columns recorded for the source do not hold rows of {spec.describe()}; write to .npy instead."
        ) from err


def _has_empty_list(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.FixedShapeTensorType):
        kind = kind.storage_type
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size == 0 or _has_empty_list(kind.value_type)
    return any(is_kind(kind) and _has_empty_list(kind.value_type) for _, is_kind, _ in _LISTS)


def _row_type(spec: ArraySpec) -> pa.DataType:
    value = pa.from_numpy_dtype(spec.native)
    if len(spec.row_shape) > 1:
        return pa.fixed_shape_tensor(value, spec.row_shape)
    return pa.list_(value, spec.row_size) if spec.row_shape else value


def _array(values: Array, kind: pa.DataType) -> pa.Array:
    """Values [n, ...] as an array of n elements of this type."""
    if isinstance(kind, pa.FixedShapeTensorType):
        order = kind.permutation or range(len(kind.shape))
        stored = values.transpose(0, *(axis + 1 for axis in np.argsort(order))).reshape(len(values), -1)
        return pa.ExtensionArray.from_storage(kind, _array(stored, kind.storage_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(_array(_flat(values), kind.value_type), type=kind)
    for list_array, is_kind, offset in _LISTS:
        if is_kind(kind):
            offsets = pa.array(np.arange(len(values) + 1) * values.shape[1], offset)
            return list_array.from_arrays(offsets, _array(_flat(values), kind.value_type), type=kind)
    array = pa.array(values)
    if array.type != kind:
        raise ValueError(f"values of {array.type} do not go into a column of {kind}")
    return array


def _flat(values: Array) -> Array:
    return values.reshape(-1, *values.shape[2:])
