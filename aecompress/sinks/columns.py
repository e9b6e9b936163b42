"""Arrays of rows, and what stands beside them, as Arrow record batches in the columns they came in."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from aecompress.errors import DestinationError
from aecompress.spec import Array, ArraySpec

_SCHEMA_BYTES = 1 << 26

#: Ray's types of tensors of one shape, which are lists of their values and the shape in JSON.
_RAY = "ray.data.arrow_tensor"
_LISTS = (
    (pa.ListArray, pa.types.is_list, pa.int32()),
    (pa.LargeListArray, pa.types.is_large_list, pa.int64()),
)


@dataclass(frozen=True)
class Layout:
    """A table to write.

    Attributes:
        schema: of the whole.
        array: names of the columns that the array fills, none for all of them; what stands beside it fills the others.
    """

    schema: pa.Schema
    array: tuple[str, ...]

    @classmethod
    def of(cls, spec: ArraySpec, origin: dict[str, object], columns: pa.Schema | None) -> Layout:
        """The table the source was, or else a column named ``values``, and ``columns`` behind it.

        Raises:
            DestinationError: the source's columns are damaged or do not hold rows of this spec, or rows have no values.
        """
        if "schema" not in origin:
            (values,) = row_schema(spec, origin)
            beside = [] if columns is None else list(columns)
            while values.name in [field.name for field in beside]:
                values = values.with_name(f"{values.name}_")
            return cls(pa.schema([values, *beside]), (values.name,))
        schema, array = _read_schema(origin), origin.get("array")
        if array is None:  # there was nothing beside it
            return cls(row_schema(spec, origin), ())
        if not isinstance(array, list) or not array or any(schema.names.count(name) != 1 for name in array):
            raise DestinationError("The columns recorded for the array are not in its table; write to .npy instead.")
        _check(_select(schema, array), spec)
        known = {*array, *(() if columns is None else columns.names)}
        return cls(_select(schema, [n for n in schema.names if n in known], schema.metadata), tuple(array))

    def encode(self, batch: Array, columns: pa.RecordBatch | None) -> pa.RecordBatch:
        """Rows [n, *row_shape] and what stands beside them as one record batch.

        Raises DestinationError if the one or the other does not go into the table.
        """
        if not self.array:
            return encode(batch, self.schema)
        made = encode(batch, _select(self.schema, list(self.array)))
        beside = made if columns is None else columns
        try:
            arrays = [made.column(f.name) if f.name in self.array else beside.column(f.name) for f in self.schema]
            cast = [a if a.type == f.type else a.cast(f.type) for a, f in zip(arrays, self.schema, strict=True)]
            return pa.RecordBatch.from_arrays(cast, schema=self.schema)
        except (pa.ArrowException, KeyError) as err:
            raise DestinationError(f"The columns beside the array are not those of the source: {err}") from err


def row_schema(spec: ArraySpec, origin: dict[str, object]) -> pa.Schema:
    """The schema of the source where it was all array, otherwise one column named ``values`` of rows of this spec.

    Raises:
        DestinationError: the source's schema is damaged or does not hold rows of this spec, or rows have no values.
    """
    if "schema" not in origin:
        schema = pa.schema([("values", _row_type(spec))])
        _check_lists(schema)
        return schema
    schema = _read_schema(origin)
    _check(schema, spec)
    return schema


def column_names(spec: ArraySpec, origin: dict[str, object]) -> tuple[str, ...]:
    """Names of the columns of the source that hold one value of each row; none if it was not a table of such.

    Raises DestinationError if the source's schema is damaged.
    """
    if "schema" not in origin:
        return ()
    array = origin.get("array")
    names = tuple(array) if isinstance(array, list) else tuple(_read_schema(origin).names)
    return names if spec.row_shape == (len(names),) else ()


def encode(batch: Array, schema: pa.Schema) -> pa.RecordBatch:
    """Rows [n, *row_shape] as one record batch; a single column takes whole rows, several take one value each."""
    columns = [batch] if len(schema) == 1 else [batch[:, index] for index in range(len(schema))]
    arrays = [_array(_listed(column, field), field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _listed(values: Array, field: pa.Field) -> Array:
    """Values [n, ...] as what a column takes: tensors of Ray as lists."""
    return values.reshape(len(values), -1) if values.shape[1:] == _tensor_shape(field) else values


def _tensor_shape(field: pa.Field) -> tuple[int, ...] | None:
    """The shape that Ray's tensor type gives the lists of a column, whether Ray is loaded or not; else None."""
    said = field.metadata or {}
    name, shape = said.get(b"ARROW:extension:name", b"").decode(), said.get(b"ARROW:extension:metadata")
    if isinstance(field.type, pa.ExtensionType):
        name, shape = field.type.extension_name, field.type.__arrow_ext_serialize__()
    return tuple(map(int, json.loads(shape))) if name.startswith(_RAY) and shape else None


def _read_schema(origin: dict[str, object]) -> pa.Schema:
    try:
        packed = base64.b64decode(str(origin["schema"]))
        return pa.ipc.read_schema(pa.py_buffer(zlib.decompressobj().decompress(packed, _SCHEMA_BYTES)))
    except (KeyError, ValueError, zlib.error, pa.ArrowException, OSError) as err:
        raise DestinationError("The columns recorded for the source cannot be read; write to .npy instead.") from err


def _select(schema: pa.Schema, names: list[str], metadata: dict[bytes, bytes] | None = None) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names], metadata)


def _check(schema: pa.Schema, spec: ArraySpec) -> None:
    """Raise DestinationError unless these columns hold rows of this spec."""
    _check_lists(schema)
    _check_holds(schema, spec)


def _check_lists(schema: pa.Schema) -> None:
    # Arrow divides by the length of a fixed-size list, so one of length 0 would end the process.
    if any(_has_empty_list(field.type) for field in schema):
        raise DestinationError("Parquet cannot hold rows without values; write to .npy instead.")


def _check_holds(schema: pa.Schema, spec: ArraySpec) -> None:
    try:
        held = encode(np.zeros((1, *spec.row_shape), spec.native), schema).num_rows
        if held != 1 or (len(schema) > 1 and spec.row_shape[:1] != (len(schema),)):
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
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _array(values, kind.storage_type))
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
