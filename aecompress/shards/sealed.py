"""JSON objects that carry the format version and a checksum of their own bytes.

The manifest and the notes in a staging folder are written this way::

    {"format":"aecompress","format_version":1, ... ,"checksum":"<sha256 of every byte before this key's comma>"}
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aecompress.errors import ArchiveError, CorruptError, InputError, VersionError
from aecompress.locations import Location

FORMAT = "aecompress"

#: The newest format this release reads, and the one it writes.
FORMAT_VERSION = 1

#: The most bytes a sealed file may have, so that a damaged or hostile one cannot fill the memory.
MAX_BYTES = 1 << 28

#: The first bytes of every sealed file.
MAGIC = f'{{"format":"{FORMAT}"'.encode()


def seal(fields: dict[str, Any]) -> bytes:
    """The file that holds ``fields``: JSON values, finite numbers only. Raises InputError above MAX_BYTES."""
    text = json.dumps(
        {"format": FORMAT, "format_version": FORMAT_VERSION, **fields}, separators=(",", ":"), allow_nan=False
    )
    body = text[:-1].encode()
    data = body + _tail(body)
    if len(data) > MAX_BYTES:
        raise InputError(f"The manifest would have {len(data)} bytes; split the source into several archives.")
    return data


def unseal(data: bytes, path: Location) -> dict[str, Any]:
    """The fields of the sealed file ``data``, read from ``path``.

    Raises:
        VersionError: a newer release wrote it. Checked before the checksum, which that release may have changed.
        CorruptError: any byte differs from what was written.
    """
    fields = _parse(data, path)
    _check_version(fields.get("format_version"), path)
    if not data.endswith(_tail(data[: -len(_tail(b""))])):
        raise CorruptError(f"{path} is damaged: its checksum does not match; restore it from a copy.")
    return fields


def read_sealed(path: Location) -> dict[str, Any]:
    """Unseal the file at ``path``. Raises ArchiveError if it cannot be read at all."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise ArchiveError(f"{path} cannot be read: {err.strerror}.") from err
    if len(data) > MAX_BYTES:
        raise CorruptError(f"{path} is damaged: it has more than {MAX_BYTES} bytes.")
    return unseal(data, path)


def _tail(body: bytes) -> bytes:
    return f',"checksum":"{hashlib.sha256(body).hexdigest()}"}}'.encode()


def _parse(data: bytes, path: Location) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise CorruptError(f"{path} is damaged: it is not a whole JSON object.") from err
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise CorruptError(f"{path} was not written by aecompress, or is damaged.")
    return fields


def _check_version(version: object, path: Location) -> None:
    if type(version) is not int or version < 1:
        raise CorruptError(f"{path} is damaged: it names no format version.")
    if version > FORMAT_VERSION:
        raise VersionError(
            f"{path} is in format {version}, and this release reads formats up to {FORMAT_VERSION}; upgrade aecompress."
        )
