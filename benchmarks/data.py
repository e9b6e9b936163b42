"""The arrays to measure on, what a target asks of them, and the peers by name."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

import numpy as np
from PIL import Image

from aecompress.config import Target
from aecompress.errors import InputError
from aecompress.metrics import distortion
from aecompress.peers import PEERS
from aecompress.spec import Array


def load(path: Path) -> Array:
    """A .npy file, or a folder of PNG files of one shape stacked in order of their names."""
    if path.is_dir():
        return _stack(sorted(path.glob("*.png")), path)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as err:
        raise InputError(f"{path} cannot be read ({err}); give .npy files or folders of PNG files.") from err
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is not a .npy file; give .npy files or folders of PNG files.")
    return array


def _stack(files: list[Path], folder: Path) -> Array:
    pictures = []
    for file in files:
        with Image.open(file) as picture:
            pictures.append(np.asarray(picture))
    if len({picture.shape for picture in pictures}) != 1:
        raise InputError(f"{folder} must hold PNG files, all of one shape.")
    return np.stack(pictures)


def default_targets(dtype: np.dtype) -> list[Target]:
    if dtype.kind == "f":
        return [Target("rel-error", bound) for bound in (1e-2, 1e-3, 1e-4)]
    return [Target("max-error", bound) for bound in (0, 1, 3, 10)]


def parse_target(text: str) -> Target:
    """``rel-error 1e-3``, ``max-error 3`` or ``lossless``."""
    kind, _, value = text.partition(" ")
    if kind == "lossless":
        return Target("lossless")
    try:
        if kind == "rel-error":
            return Target("rel-error", float(value))
        if kind == "max-error":
            return Target("max-error", float(value))
    except ValueError as err:
        raise InputError(f"The target {text!r} needs a number, such as {kind + ' 0.5'!r}.") from err
    raise InputError(f"Peers have no target {kind!r}; use rel-error R, max-error X or lossless.")


def peer_names(text: str) -> list[str]:
    """Names of peers, with commas between them, as an option of a command."""
    names = text.split(",")
    if unknown := set(names) - set(PEERS):
        raise ArgumentTypeError(f"unknown peers {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    return names


def absolute_bound(target: Target, x: Array) -> float:
    """The bound on every value of ``x``, in its units: for rel-error, R x (max - min) over all finite values."""
    if target.kind == "lossless" or target.value is None:
        return 0.0
    if target.kind == "max-error":
        return target.value
    finite = distortion(x, x)
    return target.value * (finite.high - finite.low) if finite.count else 0.0
