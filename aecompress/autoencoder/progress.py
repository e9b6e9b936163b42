"""Reports of progress, a few a second at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: ``progress(phase, done, info)``: what goes on, how far it is (0 to 1), and figures to show beside it.
Progress = Callable[[str, float, dict[str, Any]], None]

_SECONDS = 0.25


class Throttle:
    """Passes on the first report of a phase, its last, and of the others those a quarter of a second apart."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase = ""
        self._next = 0.0

    def __call__(self, phase: str, done: float, **info: Any) -> None:
        now = time.monotonic()
        if phase == self._phase and done < 1 and now < self._next:
            return
        self._phase, self._next = phase, now + _SECONDS
        self._progress(phase, min(done, 1.0), info)
