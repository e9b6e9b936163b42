"""Arrow record batches as arrays of rows, and what stands beside them.

A row is one value of the column that makes the array, or the values of several side by side.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aecompress.errors import InputError
from aecompress.sources.base import spec_of
from aecompress.spec import Array, ArraySpec

_COLUMNS_SHOWN = 8

#: Ray's types of tensors of one shape, which are lists of their values and the shape in JSON.
_RAY = "ray.data.arrow_tensor"


@dataclass(frozen=True)
class Layout:
    """Which columns of a table make the array; the others stand beside it.

    Attributes:
        schema: of the whole table.
        array: names of those of the array, in the order of its axis 1.
    """

    schema: pa.Schema
    array: tuple[str, ...]

    @classmethod
    def of(cls, schema: pa.Schema, member: str, name: str) -> Layout:
        """The columns that ``member`` names, several with commas between, or those that are evident.

        Raises:
            InputError: there are none of these names, none are evident, or they do not make rows of one dtype.
        """
        array = _named(schema, member, name) if member else _evident(schema, name)
        if len(array) < len(schema) and len(set(schema.names)) < len(schema):
            raise InputError(f"{name} has two columns of one name; rename one, or choose columns when reading it.")
        return cls(schema, tuple(array))

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of the columns beside the array."""
        return () if len(self.array) == len(self.schema) else tuple(n for n in self.schema.names if n not in self.array)

    def part(self, names: tuple[str, ...]) -> pa.Schema:
        """The schema of some of the columns, in the order of ``names``; whole where these are all."""
        if names == tuple(self.schema.names):
            return self.schema
        return pa.schema([self.schema.field(name) for name in names])

    def origin(self, format: str = "parquet") -> dict[str, Any]:
        """What a sink needs to make the table again."""
        return arrow_origin(self.schema, format) | ({"array": list(self.array)} if self.beside else {})


def _named(schema: pa.Schema, member: str, name: str) -> list[str]:
    names = [member] if member in schema.names else [word.strip() for word in member.split(",")]
    for word in names:
        if word not in schema.names:
            raise InputError(f"{name} has no column {word!r}; {_shown(schema)}.")
    fields = [schema.field(word) for word in names]
    if len(set(names)) < len(names) or not all(map(_numeric, fields)) or len({field.type for field in fields}) > 1:
        raise InputError(f"The columns {member} of {name} do not make rows of one dtype; {_shown(schema)}.")
    return names


def _evident(schema: pa.Schema, name: str) -> list[str]:
    """All columns if they are numbers of one dtype; else the first of _LOOKS that is there, if it is not ambiguous."""
    fields = list(schema)
    if len(fields) > 1 and not any(map(_nested, fields)) and all(map(_numeric, fields)) and _agree(fields):
        return list(schema.names)
    found: list[pa.Field] = []
    for looks, alone in _LOOKS:
        found = [field for field in fields if _numeric(field) and looks(field)]
        if found and (len(found) == 1 if alone else _agree(found)):
            return [field.name for field in found]
        if found:
            break
    raise InputError(
        f"{name} has columns that do not make rows of one dtype; {_shown(schema)}. Name those of the array, as in "
        f"{name}::{found[0].name if found else 'NAME'}, and the others are kept beside it."
    )


def _shown(schema: pa.Schema) -> str:
    shown = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:_COLUMNS_SHOWN])
    more = f" and {len(schema) - _COLUMNS_SHOWN} more" if len(schema) > _COLUMNS_SHOWN else ""
    return f"it has {shown or 'none'}{more}"


def _agree(fields: list[pa.Field]) -> bool:
    return len({field.type for field in fields}) == 1


def _numeric(field: pa.Field) -> bool:
    kind = _value_type(field.type)
    return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _nested(field: pa.Field) -> bool:
    return bool(_value_type(field.type) != field.type)


def _float(field: pa.Field) -> bool:
    return bool(pa.types.is_floating(_value_type(field.type)))


def _fixed(field: pa.Field) -> bool:
    return bool(isinstance(field.type, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(field.type))


#: What may make an array, the likeliest first, and True where it must be one column.
_LOOKS: tuple[tuple[Callable[[pa.Field], bool], bool], ...] = (
    (lambda field: _float(field) and _fixed(field), True),
    (lambda field: _float(field) and _nested(field), True),
    (_fixed, True),
    (_float, False),
    (_nested, True),
    (lambda _: True, False),
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
    columns = [_column(array, field, name) for field, array in zip(batch.schema, batch, strict=True)]
    if len({column.shape for column in columns}) > 1:
        raise InputError(f"{name}: the lists of {', '.join(batch.schema.names)} differ in length; choose one of them.")
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


def _column(array: pa.Array, field: pa.Field, name: str) -> Array:
    values, shape = _values(array, f"{name}: column {field.name}"), _tensor_shape(field)
    if shape is None or values.shape[1:] != (math.prod(shape),):
        return values
    return values.reshape(len(values), *shape)


def _tensor_shape(field: pa.Field) -> tuple[int, ...] | None:
    """The shape that Ray's tensor type gives the lists of a column, whether Ray is loaded or not; else None."""
    said = field.metadata or {}
    name, shape = said.get(b"ARROW:extension:name", b"").decode(), said.get(b"ARROW:extension:metadata")
    if isinstance(field.type, pa.ExtensionType):
        name, shape = field.type.extension_name, field.type.__arrow_ext_serialize__()
    return tuple(map(int, json.loads(shape))) if name.startswith(_RAY) and shape else None


def arrow_origin(schema: pa.Schema, format: str = "parquet") -> dict[str, Any]:
    """The format, and the schema, deflated (wide tables repeat themselves) and in base64."""
    packed = zlib.compress(schema.serialize().to_pybytes(), 9)
    return {"format": format, "schema": base64.b64encode(packed).decode("ascii")}


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _values(array: pa.Array, what: str) -> Array:
    if array.null_count:
        raise InputError(f"{what} holds nulls; fill them or drop their rows first.")
    if isinstance(array.type, pa.FixedShapeTensorType):
        return _tensors(array, what)
    if isinstance(array.type, pa.BaseExtensionType):
        return _values(array.storage, what)
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
    while not pa.types.is_primitive(kind):
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_fixed_size_list(kind) or _is_list(kind):
            kind = kind.value_type
        else:
            break
    return kind
