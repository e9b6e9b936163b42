"""What the formats that hold several named arrays have in common."""

from __future__ import annotations

from collections.abc import Sequence

from aecompress.errors import InputError


def choose(path: object, names: Sequence[str], member: str) -> str:
    """The array to read: ``member``, or the only one.

    Raises:
        InputError: there is none, no such array, or several and none chosen.
    """
    listed = ", ".join(names)
    if not names:
        raise InputError(f"{path} holds no arrays of numbers with an axis of rows.")
    if not member and len(names) > 1:
        raise InputError(f"{path} holds several arrays ({listed}); choose one, as in {path}::{names[0]}.")
    if member and member not in names:
        raise InputError(f"{path} has no array {member!r}; it holds {listed}.")
    return member or names[0]
