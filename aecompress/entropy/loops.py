"""How loops over values are compiled.

Numba counts references to arrays, wherever one is passed on or taken out of a tuple, by instructions that wait for
memory: in a loop that needs 50 ns for a value they are most of the time. These loops make no arrays and keep none, so
they are compiled without; what they write to is made by their callers.
"""

from __future__ import annotations

from functools import partial

import numba

# the option has no public name
_UNCOUNTED = {"_nrt": False}

#: A loop that Python calls. Making an array in it is an error when it is compiled.
loop = partial(numba.njit, cache=True, nogil=True, **_UNCOUNTED)

#: A part of such loops, which takes the place of its calls.
inlined = partial(numba.njit, forceinline=True, **_UNCOUNTED)
