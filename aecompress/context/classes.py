"""Classes of prediction: where the nearest neighbours look different, other weights predict better.

A small tree asks about the slopes between the nearest neighbours, their errors and the level, and each leaf has
weights of its own: a piecewise linear predictor. (Predictors by class are the strength of MRP, Matsuda et al. 2000;
a tree of linear models is M5, Quinlan 1992.) Splits are chosen by the squared error they save, each error counted in
units of its local scale, and must pay for their weights.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import replace

import numpy as np

from aecompress.context import kernel
from aecompress.context.coder import Predictor
from aecompress.context.sample import FRACTION
from aecompress.context.tree import Tree
from aecompress.spec import Array

#: Most classes of a channel, and the most channels that have classes at all.
MOST_CLASSES = 24
MOST_CHANNELS = 8

#: Bits that a weight takes in the model, about.
WEIGHT_BITS = 12.0

#: Samples that splits are chosen on.
_MOST_ROWS = 160_000

_BINS = 12
_FEWEST = 400


def members(group: Array, many: int) -> list[Array]:
    """Indices of each group's members."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group, minlength=many))[:-1])


def emphasis(steps: Array, error: Array | None) -> Array:
    """Weight [n] of each error in the fit: about one over its scale, from the neighbours' differences."""
    scale = (np.abs(steps[:, 1:]).mean(1) if steps.shape[1] > 1 else np.ones(len(steps))) + 0.3
    if error is None:
        return 1.0 / np.maximum(scale, np.percentile(scale, 5) + 0.05) if len(scale) else scale
    return 1.0 / np.sqrt((error + scale) * scale)


def refine(
    predictor: Predictor,
    steps: Array,
    target: Array,
    group: Array,
    looks: Array,
    total: int,
) -> Predictor:
    """The predictor with classes for each channel's most common weight set, as far as they pay.

    Args:
        predictor: with one row of weights for each set and channel.
        steps, target, group, looks: as ``fit`` collects them with this predictor.
        total: values of the whole set.
    """
    channels = len(predictor.steps)
    if channels > MOST_CHANNELS or not len(target):
        return predictor
    part = slice(None, None, max(1, len(target) // _MOST_ROWS))
    steps, target, group, looks = steps[part], target[part], group[part], looks[part]
    rows = predictor.weights / (1 << kernel.WEIGHT)
    usual = int(np.bincount(group // channels, minlength=8).argmax())
    forest = _Forest(rows, total / len(target))
    for c, mine in enumerate(members(group, 8 * channels)[usual * channels : (usual + 1) * channels]):
        g = usual * channels + c
        if len(mine) >= 2 * _FEWEST:
            forest.grow(g, steps[mine], target[mine], looks[mine])
    weights, roots, tree = forest.finish()
    leaf = _leaves(tree, roots, group, looks)
    return replace(
        predictor,
        roots=roots.reshape(8, channels),
        classes=tree,
        weights=quantize(weights, steps, target, leaf),
    )


class _Forest:
    """Nodes of all channels' trees: the first nodes are the roots, one for each set and channel."""

    def __init__(self, rows: Array, weight: float) -> None:
        self.weight, self.roots = weight, len(rows)
        self.nodes = [[-1, 0, g] for g in range(len(rows))]
        self.rows = [row.copy() for row in rows]

    def grow(self, root: int, steps: Array, target: Array, looks: Array) -> None:
        """Split the leaf ``root`` while that pays, best split first."""
        table = np.column_stack([steps, np.ones(len(steps))])
        error = target - table @ self.rows[root]
        size = emphasis(steps, np.abs(error))
        size /= math.sqrt(float(np.mean(np.square(error * size)))) or 1.0
        table *= size[:, None]
        rest = error * size
        queue: list[tuple[float, int, Array, int, int, Array, Array]] = []

        def offer(node: int, mine: Array) -> None:
            found = _best_split(table[mine], rest[mine] - table[mine] @ shift[node], looks[mine])
            if found is not None and found[0] * self.weight > WEIGHT_BITS * table.shape[1] + 40.0:
                heapq.heappush(queue, (-found[0], node, mine, *found[1:]))

        shift = {root: np.zeros(table.shape[1])}
        offer(root, np.arange(len(table)))
        leaves = 1
        while queue and leaves < MOST_CLASSES:
            _, node, mine, look, cut, left, right = heapq.heappop(queue)
            first = len(self.nodes)
            row = self.nodes[node][2]
            self.nodes[node] = [look, cut, first]
            self.nodes += [[-1, 0, row], [-1, 0, len(self.rows)]]
            self.rows.append(self.rows[row] + right)
            self.rows[row] = self.rows[row] + left
            shift[first], shift[first + 1] = shift[node] + left, shift[node] + right
            below = looks[mine, look] <= cut
            offer(first, mine[below])
            offer(first + 1, mine[~below])
            leaves += 1

    def finish(self) -> tuple[Array, Array, Tree]:
        """(weights [rows, K + 1], roots [8 * C], forest)."""
        nodes = np.array(self.nodes, np.int16)
        tree = Tree(nodes[:, 0].copy(), nodes[:, 1].copy(), nodes[:, 2].copy())
        return np.array(self.rows), np.arange(self.roots, dtype=np.int16), tree


def _best_split(table: Array, rest: Array, looks: Array) -> tuple[float, int, int, Array, Array] | None:
    """(bits saved, look, threshold, change of the weights left, right) of the best split in two; None if there is none.

    ``table`` [n, K + 1] and ``rest`` [n] are already in units of the local scale.
    """
    if len(rest) < 2 * _FEWEST:
        return None
    width = table.shape[1]
    ridge = np.eye(width) * (1e-6 * np.square(table).sum() / width + 1.0)
    best: tuple[float, int, int, Array, Array] | None = None
    for look in range(looks.shape[1]):
        column = looks[:, look]
        cuts = np.unique(np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1], method="lower"))
        cuts = cuts[cuts < column.max()]
        if not len(cuts):
            continue
        order = np.argsort(column, kind="stable")
        ends = np.searchsorted(column[order], cuts, side="right")
        bounds = [0, *ends.tolist(), len(order)]
        sorted_table, sorted_rest = table[order], rest[order]
        parts = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        gram = np.stack([sorted_table[p].T @ sorted_table[p] for p in parts])
        moment = np.stack([sorted_table[p].T @ sorted_rest[p] for p in parts])
        left_gram, left_moment = gram.cumsum(0)[:-1], moment.cumsum(0)[:-1]
        right_gram, right_moment = gram.sum(0) - left_gram, moment.sum(0) - left_moment
        left = np.linalg.solve(left_gram + ridge, left_moment[..., None])[..., 0]
        right = np.linalg.solve(right_gram + ridge, right_moment[..., None])[..., 0]
        saved = ((left * left_moment).sum(1) + (right * right_moment).sum(1)) / (2 * math.log(2))
        saved[(ends < _FEWEST) | (len(order) - ends < _FEWEST)] = 0.0
        k = int(saved.argmax())
        if best is None or saved[k] > best[0]:
            best = (float(saved[k]), look, int(cuts[k]), left[k], right[k])
    return best


def _leaves(tree: Tree, roots: Array, group: Array, looks: Array) -> Array:
    """Row of weights of each sample."""
    node = roots[group].astype(np.int64)
    while (inner := tree.feature[node] >= 0).any():
        value = looks[np.arange(len(node)), np.maximum(tree.feature[node], 0)]
        node = np.where(inner, tree.child[node] + (value > tree.threshold[node]), node)
    return tree.child[node].astype(np.int64)


def quantize(weights: Array, steps: Array, target: Array, row: Array) -> Array:
    """Weights [rows, K + 1] to int32 in 1/2^16, as coarse as adds less than a thousandth to the squared error."""
    one = 1 << kernel.WEIGHT
    exact = np.clip(weights, -100, 100)
    error = target - np.einsum("nk,nk->n", steps, exact[row, :-1]) - exact[row, -1]
    spare = 1e-3 * float(np.median(np.square(error))) + 1e-4 if len(error) else 1.0
    rounded = exact[:, :-1]
    for drop in (8, 6, 4, 2, 0):
        grain = 1 << drop
        rounded = np.rint(exact[:, :-1] * one / grain) * grain
        change = np.einsum("nk,nk->n", steps, (rounded / one - exact[:, :-1])[row])
        if drop == 0 or not len(error) or float(np.median(np.square(change))) < spare:
            break
    constant = np.rint(exact[:, -1:] * (1 << FRACTION)) * (1 << (kernel.WEIGHT - FRACTION))
    return np.concatenate([rounded, np.clip(constant, -(2**30), 2**30)], 1).astype(np.int32)
