"""Devices that networks are trained on: their names, which of them there are, and what each needs.

torch is loaded when a network is trained or an accelerator is asked for, not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

from aecompress.errors import InputError

if TYPE_CHECKING:
    import torch

#: ``auto`` is CUDA where there is an accelerator of that kind, else MPS, else the CPU.
Device = Literal["auto", "cpu", "cuda", "mps"]

DEVICES: tuple[str, ...] = get_args(Device)

#: In the order that ``auto`` prefers them in.
_ACCELERATORS = ("cuda", "mps")


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
