"""Devices that networks run on: their names, which of them there are, and what each needs.

torch is loaded when a network is trained or an accelerator is asked for, not before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from aecompress.errors import InputError

if TYPE_CHECKING:
    import torch

    #: Tensors to losses.
    Losses = Callable[..., tuple[torch.Tensor, ...]]

_log = logging.getLogger(__name__)

#: ``auto`` is CUDA where there is an accelerator of that kind, else MPS, else the CPU.
Device = Literal["auto", "cpu", "cuda", "mps"]

DEVICES: tuple[str, ...] = get_args(Device)

#: In the order that ``auto`` prefers them in.
_ACCELERATORS = ("cuda", "mps")

#: What learning is compiled for, if it is to take so many seconds: compiling may take ten or more of them.
_COMPILED, _WORTH_COMPILING = ("cuda",), 60.0


def check_device(name: str) -> None:
    """Raise InputError unless ``name`` is one of ``DEVICES``, and this machine has it."""
    if name not in DEVICES:
        raise InputError(f"There is no device {name!r}; use one of {', '.join(DEVICES)}.")
    if name in _ACCELERATORS and not _is_here(name):
        raise InputError(f"There is no {name.upper()} device here (torch sees none): use --device cpu or auto.")


def find_device(name: str) -> torch.device:
    """The device of this name; errors are those of ``check_device``."""
    import torch

    check_device(name)
    if name == "auto":
        name = next(filter(_is_here, _ACCELERATORS), "cpu")
    return torch.device(name)


def move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on this device; to CUDA from pinned memory, and without waiting until it is there."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def upload(array: npt.NDArray[Any], device: str) -> torch.Tensor:
    """The array as a tensor on the device of this torch name."""
    import torch

    return move(torch.from_numpy(np.ascontiguousarray(array)), torch.device(device))


def descent(lowered: Losses, device: torch.device, seconds: float) -> Losses:
    """``lowered`` and then the gradients of the first of its results, all of which come back without.

    On CUDA torch compiles it, unless too few ``seconds`` are meant for learning. Where it cannot be compiled, which is
    logged, it runs as elsewhere.
    """
    import torch

    compiled = torch.compile(lowered) if device.type in _COMPILED and seconds >= _WORTH_COMPILING else None

    def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        nonlocal compiled
        if compiled is not None:
            try:
                return _descend(compiled(*inputs))
            except Exception as err:  # of torch, Triton or a compiler; if it was not theirs, it comes again below
                reason = " ".join(str(err).splitlines()[:2])
                _log.warning("torch cannot compile for %s, so learning takes longer: %s", device.type, reason)
                compiled = None
        return _descend(lowered(*inputs))

    return run


def _descend(results: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    results[0].backward()  # type: ignore[no-untyped-call]
    return tuple(result.detach() for result in results)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch from ``seed``, on the CPU and on this device; afterwards they go on as before."""
    import torch

    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
        torch.manual_seed(seed)
        yield


def generators(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of torch's random numbers, uint8, on the CPU and on this device."""
    import torch

    found = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        found[device.type] = getattr(torch, device.type).get_rng_state()
    return found


def set_generators(device: torch.device, states: dict[str, torch.Tensor]) -> None:
    """Go on with these; a device that they do not tell of keeps its own."""
    import torch

    torch.set_rng_state(states["cpu"])
    if device.type in states and device.type != "cpu":
        getattr(torch, device.type).set_rng_state(states[device.type])


def _is_here(name: str) -> bool:
    import torch

    return torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()
