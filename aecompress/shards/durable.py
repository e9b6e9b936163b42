"""File operations that survive a crash, and what they raise when the disk will not have them."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aecompress.errors import DestinationError
from aecompress.locations import Location


@contextmanager
def writing(archive: Location) -> Iterator[None]:
    """Turn every OSError inside into a DestinationError that says what to do."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = f"The disk is full while writing {archive}; free some space, then go on with --resume."
        else:
            problem = f"{archive} cannot be written: {err.strerror or err}."
        raise DestinationError(problem) from err


def sync(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that after a crash there is all of it or none."""
    if data:
        _replace(path, data)
    else:
        path.write_bytes(b"")  # whole as soon as it is there
    sync(path.parent)


def _replace(path: Path, data: bytes) -> None:
    """Write a temporary file beside ``path`` and give it that name; it is gone if either fails."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
