"""Conditions on columns as text: ``label == 3 and (split != "test" or name in ["a", "b"])``.

The syntax is Python's, read as a tree and never run: names of columns (``column("a name")`` where it is no word),
numbers, texts, True, False and None, comparisons, ``in``, ``is None``, ``and``, ``or``, ``not``.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aecompress.errors import InputError

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_LONGEST = 10_000


def parse_condition(text: str, schema: pa.Schema) -> pc.Expression:
    """The expression that a text stands for; values are taken in the types of the columns they are compared with.

    Raises:
        InputError: it is no condition, or names a column that is not there.
    """
    try:
        if len(text) > _LONGEST:
            raise ValueError("it is too long")
        return _Condition(schema).truth(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, pa.ArrowException) as err:
        reason = "it is not a whole one" if isinstance(err, SyntaxError | RecursionError) else str(err)
        raise InputError(
            f'The condition {text!r} cannot be understood: {reason}. Write it as in: label == 3 and name != "x"'
        ) from err


class _Condition:
    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def truth(self, node: ast.expr) -> pc.Expression:
        """The expression of something that is true or false."""
        if isinstance(node, ast.BoolOp):
            first, *others = [self.truth(value) for value in node.values]
            for other in others:
                first = first & other if isinstance(node.op, ast.And) else first | other
            return first
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.truth(node.operand)
        if isinstance(node, ast.Compare):
            return self._chain(node)
        field = self._field(node)
        if field is None or not pa.types.is_boolean(field.type):
            raise ValueError(f"{ast.unparse(node)} is neither true nor false")
        return pc.field(field.name)

    def _chain(self, node: ast.Compare) -> pc.Expression:
        """``1 <= label < 5`` is two comparisons."""
        sides = [node.left, *node.comparators]
        found = [self._compare(*three) for three in zip(sides, node.ops, sides[1:], strict=False)]
        whole = found[0]
        for other in found[1:]:
            whole = whole & other
        return whole

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pc.Expression:
        first, second = self._field(left), self._field(right)
        if isinstance(op, ast.In | ast.NotIn | ast.Is | ast.IsNot):
            if first is None:
                raise ValueError(f"{ast.unparse(left)} is no column")
            found = self._among(first, right) if isinstance(op, ast.In | ast.NotIn) else self._missing(first, right)
            return ~found if isinstance(op, ast.NotIn | ast.IsNot) else found
        if first is None and second is None:
            raise ValueError(f"{ast.unparse(left)} and {ast.unparse(right)} are no columns")
        return _COMPARISONS[type(op)](_side(left, first, second), _side(right, second, first))

    def _among(self, field: pa.Field, node: ast.expr) -> pc.Expression:
        if not isinstance(node, ast.List | ast.Tuple | ast.Set):
            raise ValueError(f"{ast.unparse(node)} is no list")
        values = [_value(value, field).as_py() for value in node.elts]
        found = pc.field(field.name).isin(pa.array(values, field.type))
        # What is missing is neither in a list nor not in it, as it is neither equal to a value nor different.
        return found | (pc.scalar(pa.scalar(None, pa.bool_())) & pc.field(field.name).is_null())

    def _missing(self, field: pa.Field, node: ast.expr) -> pc.Expression:
        if not (isinstance(node, ast.Constant) and node.value is None):
            raise ValueError(f"a column is compared with {ast.unparse(node)} by ==")
        return pc.field(field.name).is_null()

    def _field(self, node: ast.expr) -> pa.Field | None:
        """The column that a name stands for; None if the node is a value."""
        if isinstance(node, ast.Name):
            name = node.id
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "column" and len(node.args) == 1:
            name = str(ast.literal_eval(node.args[0]))
        else:
            return None
        if name not in self._schema.names:
            raise ValueError(f"there is no column {name!r}, but {', '.join(self._schema.names)}")
        return self._schema.field(name)


def _side(node: ast.expr, own: pa.Field | None, other: pa.Field | None) -> pc.Expression:
    """One side of a comparison: a column, or a value in the type of the column on the other."""
    if own is not None:
        return pc.field(own.name)
    return pc.scalar(_value(node, other))


def _value(node: ast.expr, field: Any) -> pa.Scalar:
    """A number or text in the type of the column; as it is where it does not go into that, such as 1.5 beside whole
    numbers."""
    try:
        value: Any = ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is neither a column nor a number or text") from None
    if value is None:
        raise ValueError("what is missing is asked for by: is None")
    plain, zoned = pa.scalar(value), pa.types.is_timestamp(field.type) and field.type.tz
    for kind in (field.type, pa.timestamp(field.type.unit)) if zoned else (field.type,):  # without a zone it is UTC
        try:
            return plain.cast(kind).cast(field.type)
        except pa.ArrowException:
            continue
    return plain
