"""The time of a fit: how much is left, and what each stage may take of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from aecompress.entropy.loops import compile_seconds
from aecompress.ranks import agreed

#: Share of the whole time that a training is never left with less than: who asks for a network gets one.
_LEAST = 0.1

#: Share of the whole time after which a training would not have enough left to be worth its beginning.
_LATE = 0.6


def _now() -> float:
    """Seconds of a clock that all ranks share."""
    return agreed(time.monotonic() - compile_seconds())


@dataclass(frozen=True)
class Clock:
    """Runs from its making, and stands still while loops are compiled: the first fit on a machine is like those after.

    What a model needs is done however long it takes; what only looks for a smaller archive is left out when time is
    over, and if it has to learn, when it is late. So two fits that are in time are the same.

    Attributes:
        seconds: that the fit may take.
        started: what it showed then, in seconds.
    """

    seconds: float
    started: float = field(default_factory=_now)

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return _now() - self.started

    def advanced(self, seconds: float) -> Clock:
        """The same, so many seconds further."""
        return replace(self, started=self.started - seconds)

    def part(self, share: float) -> Clock:
        """A clock that is over when this share of what is left is."""
        spent = self.spent
        return replace(self, seconds=spent + share * max(self.seconds - spent, 0.0))

    def is_over(self) -> bool:
        """True if no time is left."""
        return self.spent >= self.seconds

    def is_late(self) -> bool:
        """True if too little time is left to learn something new."""
        return self.spent >= _LATE * self.seconds

    def share(self, part: float) -> float:
        """Seconds for a training that may take this part of what is left."""
        return part * max(self.seconds - self.spent, _LEAST * self.seconds)
