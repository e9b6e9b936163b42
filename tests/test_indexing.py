"""An archive is indexed as numpy indexes the whole array, and only the blocks it takes are decoded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import aecompress
from aecompress.archive import Archive
from aecompress.config import Target
from aecompress.spec import Array
from aecompress.trainer import sampling

SHAPE = (53, 4, 3)
HEIGHT = 5


def packed(values: Array, folder: Path) -> Archive:
    """An archive of blocks of HEIGHT rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK_VALUES", HEIGHT * max(values[:1].size, 1))
        aecompress.pack(values, folder, model="none", target=Target("max-error", 0.01))
    return aecompress.open(folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Array]:
    values = np.random.default_rng(3).normal(size=SHAPE).cumsum(0).astype(np.float32)
    archive = packed(values, tmp_path_factory.mktemp("indexing") / "a")
    return archive, np.concatenate(list(archive.batches()))


def lists(size: int) -> st.SearchStrategy[Array]:
    sides = hnp.array_shapes(max_dims=2, min_side=0, max_side=5)
    return hnp.arrays(np.int64, sides, elements=st.integers(-size, size - 1))


def items(size: int) -> st.SearchStrategy[Any]:
    many = st.one_of(lists(size), lists(size).map(np.ndarray.tolist), hnp.arrays(bool, size))
    return st.one_of(st.slices(size), st.integers(-size, size - 1), many)


some = st.one_of(
    hnp.basic_indices(SHAPE, allow_newaxis=False),
    st.tuples(*map(items, SHAPE)),
    st.tuples(items(SHAPE[0]), st.just(...), items(SHAPE[2])),
    items(SHAPE[0]),
    hnp.arrays(bool, SHAPE[:2]),
    st.tuples(st.just(...), hnp.arrays(bool, SHAPE[1:])),
)


@settings(deadline=None, max_examples=400)
@given(some)
def test_every_index_gives_what_numpy_gives(both: tuple[Archive, Array], index: Any) -> None:
    archive, whole = both
    try:
        expected = whole[index]
    except IndexError:  # lists that do not go together
        with pytest.raises(IndexError):
            archive[index]
        return
    found = archive[index]
    assert found.dtype == whole.dtype
    assert np.array_equal(found, expected)
    assert found.shape == np.shape(expected)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (53, "index 53 is out of bounds for axis 0 with size 53"),
        (-54, "index -54 is out of bounds"),
        ([0, 60], "index 60 is out of bounds for axis 0"),
        ((0, 0, 7), "index 7 is out of bounds for axis 2 with size 3"),
        ((0, 0, 0, 0), "too many indices: the archive has 3 axes, 4 were indexed"),
        ((..., 0, ...), "one ellipsis"),
        (np.ones(52, bool), r"the mask has shape \(52,\), the axes it is for \(53,\)"),
        (np.ones((53, 3), bool), "the mask has shape"),
        (1.5, "not by 1.5"),
        ("time", "not by 'time'"),
        (None, "not by None"),
        (True, "not by True"),
        ([0.5], r"not by \[0.5\]"),
    ],
)
def test_what_is_no_index_is_refused(both: tuple[Archive, Array], index: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        both[0][index]


@pytest.mark.parametrize(
    ("index", "blocks"),
    [
        (7, [5]),
        ([51, 2, 52], [0, 50]),
        (slice(None, None, 26), [0, 25, 50]),
        (slice(4, 6), [0, 5]),
        (slice(9, 9), []),
        ([], []),
        ((slice(40, 45), ..., 0), [40]),
        (np.arange(53) == 11, [10]),
    ],
)
def test_only_the_blocks_needed_are_decoded(
    both: tuple[Archive, Array], monkeypatch: pytest.MonkeyPatch, index: Any, blocks: list[int]
) -> None:
    archive, decoded = both[0], []
    decode = Archive._decode
    monkeypatch.setattr(Archive, "_decode", lambda self, block: decoded.append(block.start) or decode(self, block))
    assert np.array_equal(archive[index], both[1][index])
    assert sorted(decoded) == blocks


def test_nothing_of_a_block_is_kept_but_what_was_asked_for(both: tuple[Archive, Array]) -> None:
    assert both[0][3].base is None or both[0][3].base.size <= 12
    assert both[0][::9, 1, 2].flags.owndata or both[0][::9, 1, 2].base.size == 6


def test_an_archive_is_an_array(both: tuple[Archive, Array]) -> None:
    archive, whole = both
    assert (archive.shape, archive.ndim, archive.dtype, len(archive)) == (SHAPE, 3, np.float32, 53)
    assert archive.nbytes == whole.nbytes
    assert np.array_equal(np.asarray(archive), whole)
    assert np.asarray(archive, np.float64).dtype == np.float64
    assert np.array_equal(np.mean(archive, axis=0), whole.mean(axis=0))
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(archive, copy=False)


def test_an_archive_is_pickled_as_its_path(both: tuple[Archive, Array]) -> None:
    archive, whole = both
    sent = pickle.dumps(archive)
    assert len(sent) < 500
    assert np.array_equal(pickle.loads(sent)[10:20], whole[10:20])


@pytest.mark.parametrize("shape", [(0, 3), (0,), (12,), (4, 0)])
def test_arrays_of_few_or_no_values(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    archive = packed(values, tmp_path / "a")
    for index in (slice(None), ..., slice(None, None, -1), [], np.zeros(shape[0], bool), (slice(1, 3), ...)):
        assert np.array_equal(archive[index], values[index])
        assert archive[index].shape == values[index].shape
