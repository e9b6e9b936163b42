"""How loops over values are compiled.

Numba counts references to arrays, wherever one is passed on or taken out of a tuple, by instructions that wait for
memory: in a loop that needs 50 ns for a value they are most of the time. These loops make no arrays and keep none, so
they are compiled without; what they write to is made by their callers.

What was compiled once is kept on disk, so only the first run on a machine waits for that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
from numba.core import event
from numba.extending import register_jitable

_watch = event.TimingListener()
event.register("numba:compile", _watch)

# the option has no public name
_UNCOUNTED = {"_nrt": False}

#: A loop that Python calls. Making an array in it is an error when it is compiled.
loop = partial(numba.njit, cache=True, nogil=True, **_UNCOUNTED)


def inlined(part: Callable[..., Any] | None = None, **options: Any) -> Any:
    """A part of such loops, which takes the place of its calls. Python, too, can call it, as it was written.

    Nothing that Python could call is compiled for it, which took a sixth of the time of compiling.
    """
    register = register_jitable(forceinline=True, no_cpython_wrapper=True, **_UNCOUNTED, **options)
    return register if part is None else register(part)


def compile_seconds() -> float:
    """How long this process has waited for loops to be compiled."""
    return float(_watch.duration) if _watch.done else 0.0
