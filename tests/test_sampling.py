"""Blocks of a set: as many values in each, and for two workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aecompress
from aecompress.config import Target, silent
from aecompress.sources import open_source
from aecompress.spec import Array, ArraySpec
from aecompress.trainer.sampling import BLOCK_VALUES, block_rows, even_rows, sample, scan


def spec(*shape: int) -> ArraySpec:
    return ArraySpec(np.dtype("f4"), shape[1:], shape[0])


@given(rows=st.integers(0, 1 << 24), size=st.integers(0, 1 << 22))
def test_blocks_are_not_much_larger_than_others_and_never_tiny(rows: int, size: int) -> None:
    height = even_rows(spec(rows, size))
    assert height >= 1
    assert height == 1 or height * size <= 1.25 * BLOCK_VALUES
    assert height == block_rows(spec(rows, size)) or height * size >= 1 << 18


@given(blocks=st.integers(2, 40), share=st.floats(0.7, 1.0), size=st.integers(1, 1000))
def test_sets_of_many_rows_have_an_even_number_of_blocks(blocks: int, share: float, size: int) -> None:
    rows = round((blocks - 1 + share) * block_rows(spec(1, size)))
    height = even_rows(spec(rows, size))
    found = -(-rows // height)
    assert found % 2 == 0
    assert abs(found - blocks) <= 1
    assert rows - (found - 1) * height > 0.9 * height, "the last one has as much to do as the others, about"


@pytest.mark.parametrize(
    ("shape", "height"),
    [
        ((6, 25, 125, 125), 2),  # few rows stay as they are
        ((40_000, 128), 10_000),  # four blocks a little larger, not five
        ((260_000, 6), 130_000),
        ((181, 12_533), 91),  # two a little larger, not two and a small one
        ((60, 50, 50), 419),  # one block stays one
        ((1870, 384), 2730),
        ((5, 1 << 21), 1),
    ],
)
def test_blocks_of_some_sets(shape: tuple[int, ...], height: int) -> None:
    assert even_rows(spec(*shape)) == height


@given(rows=st.integers(0, 1 << 24), size=st.integers(0, 1 << 22))
def test_fast_blocks_are_smaller_where_enough_rows_are_left(rows: int, size: int) -> None:
    height, usual = even_rows(spec(rows, size), fast=True), even_rows(spec(rows, size))
    assert height == usual or 7 <= height < usual
    if height != usual:
        assert height * size <= 1.25 * (1 << 19)
        assert height * size >= 1 << 17 or rows * size < 1 << 18
    if rows * size >= 1 << 18 and rows >= 32 and 8 * size <= 1 << 19:
        assert -(-rows // height) >= 2, "there is something for a second worker"


@given(rows=st.integers(64, 1 << 24), size=st.integers(1, 1 << 14))
def test_fast_sets_of_many_rows_have_an_even_number_of_blocks(rows: int, size: int) -> None:
    height = even_rows(spec(rows, size), fast=True)
    blocks = -(-rows // height)
    assert blocks % 2 == 0 or blocks == 1 or blocks > height or height * size < 1 << 18


@pytest.mark.parametrize(
    ("shape", "height"),
    [
        ((50_661, 15), 12_666),  # four blocks of what would be one
        ((128, 89, 180), 32),  # smaller ones
        ((181, 12_533), 46),  # four a little larger, not five
        ((60, 50, 50), 60),  # too few values for two
        ((6, 25, 125, 125), 2),  # rows would lose those before them
        ((300_000_000,), 524_476),
    ],
)
def test_fast_blocks_of_some_sets(shape: tuple[int, ...], height: int) -> None:
    assert even_rows(spec(*shape), fast=True) == height


@pytest.mark.parametrize(("effort", "height"), [("fast", 65_000), ("balanced", 130_000)])
def test_what_is_looked_at_are_the_blocks_that_are_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effort: str, height: int
) -> None:
    looked: set[int] = set()

    def watched(*arguments: Any) -> list[Array]:
        found = sample(*arguments)
        looked.update(map(len, found))
        return found

    monkeypatch.setattr("aecompress.trainer.search.sample", watched)
    values = np.zeros((260_000, 6), np.float32)
    aecompress.pack(values, tmp_path / "a", target=Target("max-error", 0.1), model="none", effort=effort)
    assert looked == {aecompress.open(tmp_path / "a").manifest.block_rows} == {height}
    assert {len(block) for block in scan(open_source(values), "quality", silent)} == {130_000}
