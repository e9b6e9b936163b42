"""The file that a fit keeps the state of its training in, until it is finished.

safetensors   the tensors of the State
metadata      "aecompress-checkpoint": JSON of what the fit was asked and found, and the facts of the State
              "sha256": of that JSON and of the tensors
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from aecompress import tensorfile
from aecompress.autoencoder.checkpoint import State
from aecompress.errors import DestinationError
from aecompress.shards.durable import write_durably
from aecompress.spec import VERSION, Array

_log = logging.getLogger(__name__)

#: The version of the file, and its name in the metadata.
_FORMAT, _NAME = 1, "aecompress-checkpoint"

_AGAIN = "use --force without --resume to start again"


class CheckpointFile:
    """The checkpoint of one fit; what ``expect`` was told goes into the file with each state.

    Args:
        path: of the file; it appears with the first state, and is whole at any moment.

    Attributes:
        seconds: how long earlier runs have trained.

    Raises:
        DestinationError: what is there is damaged, no checkpoint, or one of another release.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._facts: dict[str, Any] = {}
        self._then: dict[str, Any] = {}
        self._state: State | None = None
        self.seconds = 0.0
        if path.exists():
            self._then, self._state = _read(path)
            self.seconds = float(self._state.facts["seconds"])
        self.expect(format=_FORMAT, release=VERSION)

    def expect(self, **facts: Any) -> None:
        """Raise DestinationError, which says what differs, if there is a state of a fit with other ``facts``."""
        self._facts |= json.loads(json.dumps(facts))
        different = [name for name in facts if self._then.get(name) != self._facts[name]]
        if self._then and different:
            told = ", ".join(
                f"{name} {_said(self._then.get(name))}, not {_said(self._facts[name])}" for name in different
            )
            raise DestinationError(
                f"{self._path} is left of another fit ({told}); resume with what that had, or {_AGAIN}."
            )

    def load(self) -> State | None:
        """The state that was there; it is handed over once, as it may be large."""
        state, self._state = self._state, None
        return state

    def save(self, state: State) -> None:
        """Write the file. If that fails, the one before stays, and the fit goes on with a warning."""
        text = json.dumps({"fit": self._facts, "training": state.facts}, sort_keys=True)
        meta = {_NAME: text, "sha256": _digest(text, state.tensors)}
        try:
            write_durably(self._path, tensorfile.to_bytes(state.tensors, meta))
        except OSError as err:
            _log.warning("%s cannot be written (%s): the fit goes on without it", self._path, err.strerror or err)


def _read(path: Path) -> tuple[dict[str, Any], State]:
    """(facts of the fit, state) of a file. Raises DestinationError if it does not hold them."""
    data = path.read_bytes()
    try:
        meta = tensorfile.metadata_of(data)
        tensors, text = tensorfile.from_bytes(data), meta[_NAME]
        if meta["sha256"] != _digest(text, tensors):
            raise ValueError("the digest differs")
        found = json.loads(text)
        return found["fit"], State(found["training"], tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise DestinationError(
            f"{path} is damaged or no checkpoint, so the fit cannot go on from it; {_AGAIN}."
        ) from err


def _digest(text: str, tensors: dict[str, Array]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
