"""What a training goes on from after an interruption, and what keeps it meanwhile.

Nothing here loads torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from aecompress.spec import Array


@dataclass(frozen=True)
class State:
    """All that decides how a training goes on, beside its learner, its rows, its recipe and its seed.

    Attributes:
        facts: plain JSON; ``seconds`` is how long the training has taken so far.
        tensors: weights, the best weights, Adam's moments, the noise's generator, the curve.
    """

    facts: dict[str, Any]
    tensors: dict[str, Array]


class Checkpoint(Protocol):
    """Keeps the last state of one training."""

    def load(self) -> State | None:
        """The state to go on from; None to start anew."""

    def save(self, state: State) -> None:
        """Keep this state in place of the one before; its arrays change when the training goes on."""
