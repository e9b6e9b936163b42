"""How well some columns tell another: bits that errors take, and the few that tell most.

Columns are selected forwards, by the sweep operator (Goodnight 1979).
"""

from __future__ import annotations

import math

import numpy as np

from aecompress.spec import Array

_FEWEST = 50


def bits_of(errors: Array) -> float:
    """About how many bits an error, in cells, takes."""
    return float(np.log2(np.abs(errors) + 0.3).mean()) if len(errors) else 0.0


def forward(values: Array, target: Array, many: float, cost: float, most: int) -> list[int]:
    """Columns of ``values`` [n, K] in the order in which they lower the squared error of ``target`` [n] most.

    Args:
        many: values of the whole set that the target stands for.
        cost: bits that a column must save of these, of normal errors.
        most: columns that are chosen at most.
    """
    if len(target) < _FEWEST:
        return []
    table = np.column_stack([values, target])
    gram = table.T @ table
    scale = np.diag(gram).copy()
    order: list[int] = []
    while len(order) < most:
        spread = np.diag(gram)[:-1]
        usable = spread > 1e-9 * scale[:-1] + 1e-12
        usable[order] = False
        gain = np.where(usable, gram[:-1, -1] ** 2 / np.where(usable, spread, 1.0), 0.0)
        k, left = int(gain.argmax()), float(gram[-1, -1])
        if left <= 1e-9 * scale[-1] or gain[k] <= 0:
            break
        saved = -0.5 * many * math.log2(max(1.0 - gain[k] / left, 1e-12))
        if saved < cost:
            break
        order.append(k)
        gram = _sweep(gram, k)
    return order


def _sweep(gram: Array, k: int) -> Array:
    """Take column ``k`` out of all others."""
    return gram - np.outer(gram[:, k], gram[k]) / gram[k, k]
