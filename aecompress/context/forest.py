"""Decision trees without walks: a few masks and one count of bits find the leaf.

A bit stands for each leaf, from left to right. For every value a feature may have, a mask holds the leaves that the
tests of this feature do not rule out; the lowest bit that all masks have is the leaf. There is no branch to predict
(QuickScorer, Lucchese et al. 2015). A tree of more than 64 leaves is cut into parts, whose exits lead to others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aecompress.context.tree import Tree
from aecompress.entropy.loops import inlined
from aecompress.entropy.tokens import Scalar, trailing_zeros
from aecompress.spec import Array

#: Entries of a feature in a part: more than any feature has values, and no power of 2, so that the first entries of
#: all features find room in the processor's cache.
RANGE = 520

#: Exits of a part at most: one for each bit of a mask.
_EXITS = 64


class Forest(NamedTuple):
    """Trees cut into parts. A root or an exit is the number of a part, or the complement of what a leaf holds."""

    masks: Array  # uint64 [parts * features * RANGE]
    exits: Array  # int32 [parts * 64]
    roots: Array  # int64 [roots]
    features: Scalar  # how many it is asked with


@inlined
def leaf_of(masks: Array, exits: Array, part: Scalar, values: tuple[Scalar, ...]) -> Scalar:
    """What the leaf holds that int64 ``values`` of the features, each from 0 to RANGE - 1, lead to from ``part``."""
    while part >= 0:
        at = part * len(values) * RANGE
        mask = masks[np.uint64(at + values[0])]
        for f in range(1, len(values)):
            mask &= masks[np.uint64(at + f * RANGE + values[f])]
        part = np.int64(exits[np.uint64(part * _EXITS + trailing_zeros(mask))])
    return ~part


def plant(tree: Tree, roots: Array, order: Array) -> Forest:
    """The forest of the walks from each of ``roots`` int [n], nodes of ``tree``, asked with its features in this
    order: int64 [features], their numbers, all that the tree tests."""
    planted, features = _Parts(tree, order), len(order)
    firsts = np.array([planted.number(int(root)) for root in roots], np.int64)
    found = [planted.part(head, features) for head in planted.heads]  # more heads turn up on the way
    masks = np.array([mask for mask, _ in found], np.uint64).reshape(-1)
    exits = np.array([exits + [0] * (_EXITS - len(exits)) for _, exits in found], np.int32).reshape(-1)
    return Forest(masks, exits, firsts, np.int64(features))


class _Parts:
    """A tree on its way into parts: ``heads`` are the nodes that parts begin with, in the order of their numbers."""

    def __init__(self, tree: Tree, order: Array) -> None:
        self.feature, self.threshold, self.child = tree.feature.tolist(), tree.threshold.tolist(), tree.child.tolist()
        self._place = {int(feature): place for place, feature in enumerate(order)}
        self.heads: list[int] = []
        self._numbers: dict[int, int] = {}
        self._cut = self._cuts()

    def _cuts(self) -> list[bool]:
        """Which nodes begin a part: from the leaves up, the larger child wherever both have too many exits."""
        cut, exits = [False] * len(self.feature), [1] * len(self.feature)
        for node in reversed(range(len(self.feature))):
            if self.feature[node] < 0:
                continue
            left, right = self.child[node], self.child[node] + 1
            while exits[left] + exits[right] > _EXITS:
                larger = max(left, right, key=exits.__getitem__)
                cut[larger], exits[larger] = True, 1
            exits[node] = exits[left] + exits[right]
        return cut

    def number(self, node: int) -> int:
        """How a root or an exit names ``node``."""
        if self.feature[node] < 0:
            return ~self.child[node]
        if node not in self._numbers:
            self._numbers[node] = len(self.heads)
            self.heads.append(node)
        return self._numbers[node]

    def part(self, head: int, features: int) -> tuple[Array, list[int]]:
        """Masks uint64 [features, RANGE] and exits of the part that begins with node ``head``."""
        masks = np.full((features, RANGE), np.uint64(2**64 - 1))
        exits: list[int] = []

        def grow(node: int) -> None:
            if self.feature[node] < 0 or (self._cut[node] and node != head):
                exits.append(self.number(node))
                return
            first = len(exits)
            grow(self.child[node])
            left = (1 << len(exits)) - (1 << first)
            place = self._place[self.feature[node]]
            masks[place, max(self.threshold[node] + 1, 0) :] &= np.uint64(2**64 - 1 - left)
            grow(self.child[node] + 1)

        grow(head)
        return masks, exits
