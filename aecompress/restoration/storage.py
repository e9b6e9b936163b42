"""Task models as files: safetensors, with what they are in the header.

metadata["aecompress-task"] = {"task": "denoise", "version": 1, ...}        tensors = everything learned
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aecompress import tensorfile
from aecompress.errors import CorruptError, ModelError, VersionError
from aecompress.spec import Array

_KEY = "aecompress-task"

#: Version of the files written here, the newest that is read.
VERSION = 1


def to_bytes(task: str, facts: dict[str, Any], tensors: dict[str, Array]) -> bytes:
    """The file of a model for a task; ``facts`` are plain JSON."""
    text = json.dumps({"task": task, "version": VERSION, **facts}, sort_keys=True, separators=(",", ":"))
    return tensorfile.to_bytes(tensors, {_KEY: text})


def read_file(path: str | Path, task: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """(facts, tensors) of a model file.

    Raises ModelError for a file of another kind or task, VersionError for a newer one, CorruptError for a damaged one.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as err:
        raise ModelError(f"The model {path} cannot be read: {err.strerror or err}.") from err
    remedy = f"give a file that `aecompress fit --task {task}` wrote"
    try:
        facts = json.loads(tensorfile.metadata_of(data)[_KEY])
        found, version = str(facts["task"]), int(facts["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise ModelError(f"{path} holds no model for this; {remedy}.") from err
    if version > VERSION:
        raise VersionError(f"{path} is of version {version}, this release reads up to {VERSION}: upgrade aecompress.")
    if found != task:
        raise ModelError(f"{path} was fitted to {found}; {remedy}.")
    try:
        return facts, tensorfile.from_bytes(data)
    except (ValueError, KeyError) as err:
        raise CorruptError(f"{path} is damaged: fit the model again.") from err


def under(tensors: dict[str, Array], prefix: str) -> dict[str, Array]:
    """The tensors of a part, without its prefix."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
