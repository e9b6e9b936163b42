"""Leaves found by masks are those that a walk finds."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecompress.context.forest import RANGE, Forest, leaf_of, plant
from aecompress.context.tree import STUMP, Tree, grow
from aecompress.spec import Array

FEATURES = 3
ORDER = np.array([2, 0, 1])


def tree(leaves: int, roots: int, bend: float, seed: int) -> Tree:
    """Trees that hold ``leaves`` in all; with ``bend`` 1 each is a chain of nodes, with 0 splits are anywhere."""
    rng = np.random.default_rng(seed)
    nodes = [[-1, 0, 0] for _ in range(roots)]
    open_ = list(range(roots))
    while len(open_) < leaves:
        node = open_.pop(-1 if rng.random() < bend else int(rng.integers(len(open_))))
        nodes[node] = [int(rng.integers(FEATURES)), int(rng.integers(-3, RANGE + 3)), len(nodes)]
        open_ += [len(nodes), len(nodes) + 1]
        nodes += [[-1, 0, 0], [-1, 0, 0]]
    for number, node in enumerate(sorted(open_)):
        nodes[node][2] = number
    feature, threshold, child = np.array(nodes, np.int16).T
    return Tree(feature, threshold, child)


def walk(tree: Tree, node: int, values: Array) -> int:
    while tree.feature[node] >= 0:
        node = tree.child[node] + int(values[tree.feature[node]] > tree.threshold[node])
    return int(tree.child[node])


@numba.njit
def leaves_of(forest: Forest, root: int, values: Array) -> Array:
    out = np.empty(len(values), np.int64)
    for i in range(len(values)):
        place = (values[i, 2], values[i, 0], values[i, 1])
        out[i] = leaf_of(forest.masks, forest.exits, forest.roots[root], place)
    return out


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 700), st.integers(1, 5), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 99))
def test_masks_find_the_leaf_of_a_walk(leaves: int, roots: int, bend: float, seed: int) -> None:
    grown = tree(max(leaves, roots), roots, bend, seed)
    forest = plant(grown, np.arange(roots), ORDER)
    values = np.random.default_rng(seed).integers(0, RANGE, (200, FEATURES))
    for root in range(roots):
        assert leaves_of(forest, root, values).tolist() == [walk(grown, root, row) for row in values]


@pytest.mark.parametrize(("leaves", "most"), [(1, 0), (2, 1), (64, 1), (65, 2), (512, 16)])
def test_parts_are_few(leaves: int, most: int) -> None:
    for bend in (0.0, 1.0):
        forest = plant(tree(leaves, 1, bend, 0), np.zeros(1, np.int64), ORDER)
        assert len(forest.exits) <= 64 * most


def test_roots_may_share_a_tree() -> None:
    grown = tree(9, 1, 0.0, 1)
    forest = plant(grown, np.array([0, 0, int(grown.child[0])]), ORDER)
    values = np.random.default_rng(0).integers(0, RANGE, (50, FEATURES))
    assert leaves_of(forest, 1, values).tolist() == leaves_of(forest, 0, values).tolist()
    assert leaves_of(forest, 2, values).tolist() == [walk(grown, int(grown.child[0]), row) for row in values]
    assert leaves_of(plant(STUMP, np.zeros(1, np.int64), ORDER), 0, values).tolist() == [0] * 50


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.integers(1, 12))
def test_a_tree_is_cut_to_what_it_was(seed: int, leaves: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 40, (3000, FEATURES)).astype(np.int16)
    tokens = np.where(values[:, 0] > 20, values[:, 1] // 8, values[:, 2] // 5) + rng.integers(0, 2, 3000)
    grown, less = (grow(values, tokens, 100.0, most) for most in (12, leaves))
    cut, into = grown.cut(less.tables)
    for found, wanted in zip(
        (cut.feature, cut.threshold, cut.child), (less.feature, less.threshold, less.child), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    for row in values[:50]:
        assert into[walk(grown, 0, row)] == walk(cut, 0, row)
