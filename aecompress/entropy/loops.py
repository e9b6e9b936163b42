"""How loops over values are compiled.

Numba counts references to arrays, wherever one is passed on or taken out of a tuple, by instructions that wait for
memory: in a loop that needs 50 ns for a value they are most of the time. These loops make no arrays and keep none, so
they are compiled without; what they write to is made by their callers.

What was compiled once is kept on disk, so only the first run on a machine waits for that.
"""

from __future__ import annotations

from functools import partial

import numba
from numba.core import event

_watch = event.TimingListener()
event.register("numba:compile", _watch)

# the option has no public name
_UNCOUNTED = {"_nrt": False}

#: A loop that Python calls. Making an array in it is an error when it is compiled.
loop = partial(numba.njit, cache=True, nogil=True, **_UNCOUNTED)

#: A part of such loops, which takes the place of its calls.
inlined = partial(numba.njit, forceinline=True, **_UNCOUNTED)


def compile_seconds() -> float:
    """How long this process has waited for loops to be compiled."""
    return float(_watch.duration) if _watch.done else 0.0
