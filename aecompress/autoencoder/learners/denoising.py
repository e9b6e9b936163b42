"""``denoising``: corrupted rows in, clean rows out (Vincent et al. 2008)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aecompress.autoencoder.learners.vanilla import Vanilla
from aecompress.devices import seeded

Corruption = Callable[[Tensor], Tensor]

# of the corruption that judges: the same at each check
_JUDGES = 1


class Denoising(Vanilla):
    """``vanilla`` that never sees a clean row: what it keeps must be told from the noise."""

    def __init__(self, *args: Any, corruption: Corruption) -> None:
        super().__init__(*args)
        self._corrupt = corruption

    def loss(self, rows: Tensor) -> Tensor:
        return self.taught(self.encode(self._corrupt(rows)), rows)

    def score(self, rows: Tensor) -> float:
        with seeded(_JUDGES, rows.device):
            return self.judged(self._corrupt(rows), rows)


def corruption(kind: str, level: float, rows: Tensor) -> Corruption:
    """What befalls the input, scaled by ``rows`` [n, D], whose features have mean 0.

    ``gaussian`` adds noise of ``level`` times the rows' deviation, ``masking`` sets a share ``level`` of the values to
    their mean, ``salt-and-pepper`` sets it to the least or the greatest value of all.
    """
    deviation, low, high = rows.std().item(), rows.min().item(), rows.max().item()

    def gaussian(x: Tensor) -> Tensor:
        return x + level * deviation * torch.randn_like(x)

    def masking(x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= level)

    def salt_and_pepper(x: Tensor) -> Tensor:
        lot = torch.rand_like(x)
        return torch.where(lot < level / 2, low, torch.where(lot < level, high, x))

    return {"gaussian": gaussian, "masking": masking, "salt-and-pepper": salt_and_pepper}[kind]
