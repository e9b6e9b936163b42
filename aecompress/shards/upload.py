"""An archive on its way to a store: it grows in a staging folder of this machine, and is sent when it is complete.

    staging folder ─► _model/ ─► blocks/ rows/ ─► what only the archive before it had is deleted ─► _manifest.json

In the store there is an archive only while there is a manifest: that of the archive before goes first, the new one
comes last. What has arrived is noted in the staging folder, so that an upload that was cut off goes on where it was.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from aecompress.errors import DestinationError, StoreError
from aecompress.locations import StorePath, files_below, upload_all, workspace
from aecompress.shards.durable import write_durably
from aecompress.shards.manifest import MANIFEST, is_archive, staging_folder
from aecompress.shards.staging import FOLDERS, Staging, remove

#: Has an empty file for each staged one that has arrived.
UPLOADED = "uploaded"

#: What an upload that was cut off leaves behind.
_OURS = re.compile(r"_model/[0-9a-f]{16}\.safetensors|(blocks|rows)/part-[0-9]{5,}\.parquet")


class StoreStaging(Staging):
    """The staging folder of an archive in a store."""

    archive: StorePath

    def __init__(self, archive: StorePath) -> None:
        self.archive, self.root = archive, workspace(str(archive))
        self.folder = staging_folder(archive)

    def install(self, manifest: bytes) -> None:
        """Send what is staged, then ``manifest``, in place of whatever archive was there."""
        write_durably(self.folder / MANIFEST, manifest)
        try:
            if is_archive(self.archive):  # so nothing of what is staged can be there
                remove(self.folder / UPLOADED)
            (self.archive / MANIFEST).unlink()
            self._send()
            (self.archive / MANIFEST).write_bytes(manifest)
        except StoreError as err:
            raise DestinationError(
                f"{err} What is packed stays on this machine: finish it with the same command and --resume."
            ) from err
        with suppress(OSError):  # the archive is complete; what cannot be tidied up does no harm
            self.remove()

    def _send(self) -> None:
        """Make the folders of the archive what those of the staging folder are."""
        staged = {path.relative_to(self.folder).as_posix(): path for path in self._staged()}
        found = self._found()
        arrived = {name for name, size in found.items() if name in staged and self._has_arrived(name, size)}
        (self.folder / UPLOADED).mkdir(exist_ok=True)
        missing = {path: name for name, path in staged.items() if name not in arrived}
        for path in upload_all([(path, self.archive / name) for path, name in missing.items()]):
            write_durably(self._mark(missing[path]), b"")
        for name in found.keys() - staged.keys():
            if name.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
                (self.archive / name).unlink()
        if any(self._found().get(name) != path.stat().st_size for name, path in staged.items()):
            raise DestinationError(f"{self.archive} was changed while it was written; start again with --force.")

    def _staged(self) -> list[Path]:
        """The files of the archive but its manifest, the model first."""
        return [path for name in FOLDERS for path in sorted((self.folder / name).iterdir())]

    def _found(self) -> dict[str, int]:
        """Names and sizes of what is in the store."""
        return {name: path.stat().st_size for name, path in files_below(self.archive).items()}

    def _has_arrived(self, name: str, size: int) -> bool:
        return self._mark(name).exists() and (self.folder / name).stat().st_size == size

    def _mark(self, name: str) -> Path:
        return self.folder / UPLOADED / name.replace("/", ".")

    def _check_destination(self, *, force: bool, resume: bool) -> None:
        if is_archive(self.archive):
            if not force:
                raise DestinationError(f"{self.archive} is a complete archive already; use --force to replace it.")
            return
        names = list(self._found())
        if not all(map(_OURS.fullmatch, names)):
            raise DestinationError(
                f"{self.archive} exists and is not an archive, so it is left alone; choose another destination."
            )
        if names and not (force or resume):
            raise DestinationError(
                f"{self.archive} is unfinished: use --resume to finish it with the same settings, or --force to start "
                "again."
            )
