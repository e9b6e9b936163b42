"""Arrays and text in a safetensors file, the form of all models and checkpoints: no code, nothing that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError, numpy

from aecompress.spec import Array


def to_bytes(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The file of arrays in any layout; safetensors alone would store a transposed one in the wrong order."""
    whole = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    return bytes(numpy.save(whole, dict(metadata)))


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of a file, without a look at its arrays.

    Raises ValueError, KeyError, TypeError or RecursionError if it has none.
    """
    size = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + size])["__metadata__"])


def from_bytes(data: bytes) -> dict[str, Array]:
    """The arrays of a file. Raises ValueError or KeyError if it does not hold them whole."""
    try:
        return dict(numpy.load(data))
    except SafetensorError as err:
        raise ValueError(str(err)) from err
