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


@pytest.mark.parametrize("decorator", [loop, inlined])
def test_an_array_is_not_made(decorator: object) -> None:
    with pytest.raises(NumbaError):
        decorator(made, cache=False)(3)  # type: ignore[operator]


def test_loops_are_compiled_so_everywhere() -> None:
    package = Path(aecompress.__file__).parent
    users = {path for path in package.rglob("*.py") if re.search(r"\bnjit\b", path.read_text())}
    assert {path.relative_to(package).as_posix() for path in users} == MAKERS
