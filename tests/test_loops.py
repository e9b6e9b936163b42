"""Compiled loops count no references: they make no arrays, and are all compiled by the same two decorators."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import NumbaError

import aecompress
from aecompress.entropy.loops import inlined, loop

#: Modules whose compiled functions make arrays, each for many values.
MAKERS = {"entropy/loops.py", "context/tree.py", "context/fit.py", "subbands/lifting.py"}


def made(n: int) -> int:
    return int(np.zeros(n, np.int64).size)


def test_an_array_is_not_made() -> None:
    with pytest.raises(NumbaError):
        loop(made, cache=False)(3)


def test_nor_in_a_part() -> None:
    part = inlined(made)

    @loop(cache=False)
    def caller(n: int) -> int:
        return part(n)

    with pytest.raises(NumbaError):
        caller(3)


def test_python_calls_a_part_as_it_was_written() -> None:
    assert inlined(made) is made
    assert inlined(fastmath={"contract"})(made) is made


def test_loops_are_compiled_so_everywhere() -> None:
    package = Path(aecompress.__file__).parent
    users = {path for path in package.rglob("*.py") if re.search(r"\bnjit\b", path.read_text())}
    assert {path.relative_to(package).as_posix() for path in users} == MAKERS
