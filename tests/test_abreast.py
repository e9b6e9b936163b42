"""Work on many items at once: in order, no further ahead than is worked on, and errors in their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import threadpoolctl
import torch
from hypothesis import given
from hypothesis import strategies as st

from aecompress.abreast import abreast, in_two_steps, one_thread


@given(st.lists(st.integers()), st.integers(1, 4))
def test_results_come_in_the_order_of_the_items(items: list[int], workers: int) -> None:
    assert list(abreast(lambda n: n + 1, items, workers)) == [n + 1 for n in items]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_results_of_two_steps_come_in_the_order_of_the_items(items: list[int], workers: int) -> None:
    assert list(in_two_steps(lambda n: n + 1, lambda n: 2 * n, items, workers)) == [2 * n + 2 for n in items]


def test_a_second_step_does_not_hold_up_the_first_of_others() -> None:
    begun = threading.Event()

    def first(n: int) -> int:
        if n == 1:
            begun.set()
        return n

    def second(n: int) -> int:
        assert n or begun.wait(60)
        return n

    assert list(in_two_steps(first, second, range(3), 2)) == [0, 1, 2]


@pytest.mark.parametrize("step", [1, 2])
def test_what_fails_in_either_step_is_raised_after_what_came_before(step: int) -> None:
    def inverse(n: int) -> int:
        return 1 // n

    def same(n: int) -> int:
        return n

    results = in_two_steps(*((inverse, same) if step == 1 else (same, inverse)), [1, -1, 0, 1])
    assert [next(results), next(results)] == [1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_as_many_as_there_are_workers_are_worked_on_at_once() -> None:
    together = threading.Barrier(3)
    assert len(list(abreast(lambda _: together.wait(60), range(6), 3))) == 6


def test_items_are_taken_when_they_are_needed() -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    results = abreast(lambda n: n, items(), 2)
    assert next(results) == 0
    assert len(taken) <= 3
    results.close()  # type: ignore[attr-defined]


def test_what_fails_is_raised_after_what_came_before() -> None:
    results = abreast(lambda n: 1 // n, [1, -1, 0, 1])
    assert [next(results), next(results)] == [1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_products_take_one_thread_and_afterwards_as_many_as_before() -> None:
    def threads() -> list[int]:
        libraries = threadpoolctl.threadpool_info()
        return [torch.get_num_threads(), *(known["num_threads"] for known in libraries if known["user_api"] == "blas")]

    with three_threads():
        assert threads() == [3] * len(threads())
        with one_thread():
            inside = threads()
        assert len(inside) > 1
        assert inside == [1] * len(inside)
        assert threads() == [3] * len(inside)


@contextmanager
def three_threads() -> Iterator[None]:
    """For numpy and torch, whatever machine this is."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threadpoolctl.threadpool_limits(3, "blas"):
            yield
    finally:
        torch.set_num_threads(before)
