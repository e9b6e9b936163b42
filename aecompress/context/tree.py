"""A decision tree of contexts: small integer features in, index of a frequency table out.

Each inner node compares one feature with a threshold; each leaf has its own table of token frequencies. The tree is
grown best split first and a split must pay for its node and its table, so small sets get few contexts and large sets
many (minimum description length; trees of contexts are what the modular mode of JPEG XL codes with).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from aecompress.spec import Array

#: Bits that a node and each token of a further table cost in the model, about.
NODE_BITS = 24.0
TOKEN_BITS = 5.0

#: Candidate thresholds a feature is cut at.
BINS = 64


@dataclass(frozen=True)
class Tree:
    """Nodes as parallel arrays; node 0 is the root.

    Attributes:
        feature: int16 [nodes]; -1 marks a leaf.
        threshold: int16 [nodes]; a value above it goes right.
        child: int16 [nodes]; the left child (the right one follows it), or the table of a leaf.
        tables: number of leaves.
    """

    feature: Array
    threshold: Array
    child: Array

    @property
    def tables(self) -> int:
        return int((self.feature < 0).sum())

    def cut(self, leaves: int) -> tuple[Tree, Array]:
        """A tree that was grown as it was when it had so many leaves, and in which of those each of its own lies: int64
        [tables]."""
        many = 2 * leaves - 1  # nodes stand in the order in which they came
        inner = (self.feature[:many] >= 0) & (self.child[:many] < many)
        table = np.cumsum(~inner) - 1
        owner = np.empty(len(self.feature), np.int64)
        owner[:many] = table
        for node in np.flatnonzero(self.feature >= 0):
            first = int(self.child[node])
            owner[max(first, many) : max(first + 2, many)] = owner[node]
        into = np.empty(self.tables, np.int64)
        own = self.feature < 0
        into[self.child[own]] = owner[own]
        feature, threshold = np.where(inner, self.feature[:many], -1), np.where(inner, self.threshold[:many], 0)
        child = np.where(inner, self.child[:many], table)
        return Tree(*(part.astype(np.int16) for part in (feature, threshold, child))), into


#: A tree of one leaf.
STUMP = Tree(np.array([-1], np.int16), np.zeros(1, np.int16), np.zeros(1, np.int16))


def grow(features: Array, tokens: Array, weight: float, most: int = 256) -> Tree:
    """Fit a tree to ``features`` int16 [n, F] and ``tokens`` int64 [n].

    ``weight`` is how many values of the whole set each of the n stands for.
    """
    cuts, binned = [_cuts(column) for column in features.T], np.empty(features.shape, np.uint8)
    for f, cut in enumerate(cuts):
        binned[:, f] = np.searchsorted(cut, features[:, f], side="left")
    return _Grower(binned, tokens, cuts, weight).grow(most)


def _cuts(column: Array) -> Array:
    """At most BINS - 1 thresholds at quantiles; a value's bin is the number of thresholds below it."""
    values = np.unique(column)[:-1]
    if len(values) >= BINS:
        values = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
        values = values[values < column.max()]
    return values[: BINS - 1]


class _Grower:
    """Grows one tree: the queue holds the leaves by what splitting them would save."""

    def __init__(self, binned: Array, tokens: Array, cuts: list[Array], weight: float) -> None:
        self.binned, self.cuts, self.weight = binned, cuts, weight
        self.tokens = tokens.astype(np.uint8)
        self.order = np.arange(len(tokens), dtype=np.int32)
        self.alphabet = int(self.tokens.max(initial=0)) + 1
        self.nodes: list[list[int]] = []
        self.queue: list[tuple[float, int, int, int, int, int]] = []

    def grow(self, most: int) -> Tree:
        self._leaf(0, len(self.order))
        leaves = 1
        while self.queue and leaves < most:
            _, node, start, stop, feature, cut = heapq.heappop(self.queue)
            middle = start + _partition(self.order[start:stop], self.binned[:, feature], cut)
            self.nodes[node] = [feature, int(self.cuts[feature][cut]), len(self.nodes)]
            self._leaf(start, middle)
            self._leaf(middle, stop)
            leaves += 1
        table = iter(range(leaves))
        rows = [row if row[0] >= 0 else [-1, 0, next(table)] for row in self.nodes]
        nodes = np.array(rows, np.int16)
        return Tree(nodes[:, 0].copy(), nodes[:, 1].copy(), nodes[:, 2].copy())

    def _leaf(self, start: int, stop: int) -> None:
        """Append a leaf over ``order[start:stop]`` and queue its best split, if one pays."""
        node = len(self.nodes)
        self.nodes.append([-1, 0, 0])
        gain, feature, cut = _best_split(
            self.binned,
            self.tokens,
            self.order[start:stop],
            self.alphabet,
            self.weight,
            TOKEN_BITS,
        )
        if gain > NODE_BITS:
            heapq.heappush(self.queue, (-gain, node, start, stop, int(feature), int(cut)))


@numba.njit(cache=True, nogil=True)
def _partition(order: Array, column: Array, cut: int) -> int:
    """Reorder so that bins up to ``cut`` come first; returns how many they are."""
    keep = order.copy()
    left, right = 0, 0
    for i in range(keep.size):
        if column[keep[i]] <= cut:
            order[left] = keep[i]
            left += 1
    for i in range(keep.size):
        if column[keep[i]] > cut:
            order[left + right] = keep[i]
            right += 1
    return left


@numba.njit(cache=True, nogil=True)
def _best_split(
    binned: Array,
    tokens: Array,
    order: Array,
    alphabet: int,
    weight: float,
    token_bits: float,
) -> tuple[Any, Any, Any]:
    """(bits saved, feature, bin) of the best split of the values in ``order``."""
    width = binned.shape[1]
    hist = np.zeros((width, BINS, alphabet), np.int32)
    for i in order:
        t = tokens[i]
        for f in range(width):
            hist[f, binned[i, f], t] += 1
    whole = np.zeros(alphabet, np.int64)
    for b in range(BINS):
        for t in range(alphabet):
            whole[t] += hist[0, b, t]
    parent = _cost(whole, weight, token_bits)
    best, best_feature, best_bin = 0.0, -1, 0
    left = np.zeros(alphabet, np.int64)
    for f in range(width):
        left[:] = 0
        for b in range(BINS - 1):
            some = False
            for t in range(alphabet):
                if hist[f, b, t]:
                    left[t] += hist[f, b, t]
                    some = True
            if not some:
                continue
            gain = parent - _cost(left, weight, token_bits) - _cost(whole - left, weight, token_bits)
            if gain > best:
                best, best_feature, best_bin = gain, f, b
    return best, best_feature, best_bin


@numba.njit(cache=True, nogil=True)
def _cost(counts: Array, weight: float, token_bits: float) -> float:
    """Bits of a table and of the tokens coded with it."""
    total = np.int64(0)
    bits, used = 0.0, 0
    for n in counts:
        if n:
            total += n
            used += 1
            bits -= n * np.log2(n)
    if total == 0:
        return 0.0
    return weight * (bits + total * np.log2(total)) + token_bits * used
