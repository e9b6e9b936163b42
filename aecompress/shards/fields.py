"""Typed values out of JSON that may be damaged or hostile."""

from __future__ import annotations

import re
from reprlib import repr as short
from typing import Any

from aecompress.errors import CorruptError

#: Counts of rows and bytes stay below 2^63, as they do in Parquet.
MAX_COUNT = (1 << 63) - 1


class Fields:
    """A JSON object whose values are checked as they are taken; each method raises CorruptError.

    Args:
        data: the parsed JSON.
        name: what the object describes, for the error message.
    """

    def __init__(self, data: object, name: str) -> None:
        if not isinstance(data, dict):
            raise CorruptError(f"The {name} in the manifest is {short(data)}, not an object; the manifest is damaged.")
        self._data: dict[str, Any] = data
        self._name = name

    def integer(self, key: str, low: int = 0, high: int = MAX_COUNT) -> int:
        value = self._data.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(key, f"a whole number from {low} to {high}")
        return value

    def integers(self, key: str, high: int = MAX_COUNT) -> list[int]:
        values = self.sequence(key)
        if not all(type(value) is int and 0 <= value <= high for value in values):
            raise self._wrong(key, f"a list of whole numbers from 0 to {high}")
        return values

    def number_or_none(self, key: str) -> float | None:
        value = self._data.get(key)
        if value is not None and type(value) not in (int, float):
            raise self._wrong(key, "a number or null")
        return value

    def text(self, key: str, pattern: str, longest: int = 255) -> str:
        value = self._data.get(key)
        if not isinstance(value, str) or len(value) > longest or not re.fullmatch(pattern, value):
            raise self._wrong(key, f"a text of the form {pattern}")
        return value

    def sequence(self, key: str) -> list[Any]:
        value = self._data.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._data.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return value

    def has(self, key: str) -> bool:
        return self._data.get(key) is not None

    def _wrong(self, key: str, expected: str) -> CorruptError:
        found = short(self._data.get(key))
        return CorruptError(f"The {self._name} in the manifest has {key} {found}, not {expected}; it is damaged.")
