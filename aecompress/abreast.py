"""Work on several cores: many items, with no more in memory than are being worked on, each in a thread of its own."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


#: Items that may be worked on at once: a block takes up to 100 MB while it is coded, and not all cores may be free.
MOST_WORKERS = 8

#: Items worked on at once, where nobody says how many: each core has one.
WORKERS = min(_cores(), MOST_WORKERS)


def abreast(work: Callable[[T], R], items: Iterable[T], workers: int = WORKERS) -> Iterator[R]:
    """What ``work`` makes of each item, in their order; up to ``workers`` are worked on at once.

    Items are taken as they are needed, and what fails is raised in its turn.
    """
    with ThreadPoolExecutor(workers) as pool:
        yield from _in_order(lambda item: pool.submit(work, item), items, workers)


def in_two_steps(
    first: Callable[[T], S], second: Callable[[S], R], items: Iterable[T], workers: int = WORKERS
) -> Iterator[R]:
    """The same of two steps: the second of an item comes after the first of those that wait, by whoever has time.

    So few items keep workers busy to the end, where there are not as many for each.
    """
    with ThreadPoolExecutor(workers) as pool:

        def start(item: T) -> Future[Future[R]]:
            return pool.submit(lambda: pool.submit(second, first(item)))

        # twice as many items as workers, for their first steps come before the second ones of those that are waited for
        for waiting in _in_order(start, items, 2 * workers - 1):
            yield waiting.result()


def _in_order(start: Callable[[T], Future[R]], items: Iterable[T], ahead: int) -> Iterator[R]:
    """Results of items that were started, no more than so many of them beside the one that is waited for."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(start(item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def one_thread() -> Iterator[None]:
    """Products of matrices in here, of numpy and of torch where it is loaded, take a thread each.

    For small ones, or where several are made abreast: libraries share a product out in equal parts, and whoever has
    done theirs waits for the others. Where these lose their core to other work, or to each other, a product takes many
    times as long; where they do not, a small one hardly any less.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with _libraries(len(sys.modules)).limit(limits=1, user_api="blas"):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _libraries(_modules: int) -> ThreadpoolController:
    """Those of products. To find them takes milliseconds: they are looked for again where modules have been loaded."""
    return ThreadpoolController()
