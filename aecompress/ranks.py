"""Ranks: processes that make one fit together, each teaching the networks its share of the minibatches.

Every rank goes the same way through the fit, or they would wait for one another for ever. So what decides the way and
might differ, readings of the clock and sums of a device, is what the first rank has. Without others, nothing here does
anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

from aecompress.devices import find_device
from aecompress.errors import AecompressError, InputError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

#: What torchrun sets, and no other launcher.
_LAUNCHED = "TORCHELASTIC_RUN_ID"

#: How long ranks wait for one another: the first may pack for days. Where one fails, torchrun ends the others.
_PATIENCE = timedelta(days=30)

#: Number of this rank, and how many there are.
_RANK: ContextVar[tuple[int, int]] = ContextVar("rank", default=(0, 1))


def started() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if _LAUNCHED in os.environ else 1


@contextmanager
def together(device: str) -> Iterator[None]:
    """Join the processes that torchrun started, each with a CUDA device of its own or all on the CPU.

    Raises InputError if there are fewer devices than processes.
    """
    many = started()
    if many == 1:
        yield
        return
    # Before there is a group: its functions keep the one that they find as their default, whose threads would then live
    # until the interpreter ends, and sometimes abort it.
    import torch.distributed.nn
    from torch import distributed

    kind = find_device(device).type
    here, devices = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if kind == "mps" or (kind == "cuda" and here > devices):
        raise InputError("There are fewer devices than processes: start one for each CUDA device, or use --device cpu.")
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo", timeout=_PATIENCE)
    token = _RANK.set((distributed.get_rank(), many))
    try:
        yield
    finally:
        _RANK.reset(token)
        distributed.destroy_process_group()


def count() -> int:
    """How many ranks there are."""
    return _RANK.get()[1]


def is_first() -> bool:
    """True of the rank that writes and prints."""
    return _RANK.get()[0] == 0


def now() -> float:
    """Seconds of a monotonic clock, the same on every rank."""
    return agreed(time.monotonic())


def agreed(value: float) -> float:
    """The value that the first rank has."""
    if count() == 1:
        return value
    import torch
    from torch import distributed

    told = torch.tensor(value, dtype=torch.float64)
    distributed.broadcast(told, 0)
    return told.item()


def told(word: T) -> T:
    """What the first rank says, whenever it does; of the others nothing is heard.

    Raises AecompressError if it ends without a word.
    """
    if count() == 1:
        return word
    from torch import distributed

    said = [word]
    try:
        distributed.broadcast_object_list(said, 0)
    except RuntimeError as err:
        raise AecompressError("The first process ended before its time: what it says tells why.") from err
    return said[0]


def own(items: Iterable[T]) -> Iterator[T]:
    """This rank's share of the items: every so many-th."""
    rank, many = _RANK.get()
    return islice(items, rank, None, many)


def average_gradients(network: torch.nn.Module) -> None:
    """Give the parameters of a network the mean of all ranks' gradients."""
    if count() == 1:
        return
    import torch
    from torch import distributed

    found = [part.grad for part in network.parameters() if part.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in found])
    distributed.all_reduce(flat)
    flat /= count()
    means = torch.split(flat, [gradient.numel() for gradient in found])
    for gradient, mean in zip(found, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def agree(network: torch.nn.Module) -> None:
    """Give a network the parameters that the first rank has."""
    if count() == 1:
        return
    from torch import distributed

    for part in network.parameters():
        distributed.broadcast(part.data, 0)


def agree_on(arrays: Iterable[npt.NDArray[Any]]) -> None:
    """Give arrays the numbers that the first rank has."""
    if count() == 1:
        return
    import torch
    from torch import distributed

    for array in arrays:
        distributed.broadcast(torch.from_numpy(array), 0)
