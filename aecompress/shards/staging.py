"""The staging folder: a new archive grows there, and becomes the archive in one step.

    ARCHIVE/_staging/
        key.json            what is being packed; while it is there, packing can be resumed
        discarded           instead of key.json: nothing in here counts any more
        part-00000.json     one for each finished part
        _manifest.json      while the archive is being put in place
        _model/ blocks/ rows/   as in the archive
        scratch/            temporary files

A process may be killed between any two file operations. What holds at every moment: ARCHIVE/_manifest.json exists only
while all files it names are in place, and each folder of FOLDERS is in staging or was moved from there whole.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from aecompress.errors import ArchiveError, DestinationError
from aecompress.locations import Location
from aecompress.shards.durable import sync, write_durably
from aecompress.shards.manifest import BLOCK_FOLDER, MANIFEST, MODEL_FOLDER, ROWS_FOLDER, is_archive, staging_folder
from aecompress.shards.sealed import read_sealed, seal

#: The folders an archive owns, in the order they are moved. Blocks come last: without them in staging, all are moved.
FOLDERS = (MODEL_FOLDER, ROWS_FOLDER, BLOCK_FOLDER)

KEY = "key.json"
DISCARDED = "discarded"
SCRATCH = "scratch"


class Staging:
    """The staging folder of one archive.

    Attributes:
        archive: what is to become of it.
        root: the folder around it, which is the archive's.
        folder: the staging folder.
    """

    archive: Location

    def __init__(self, archive: Path) -> None:
        self.archive = self.root = archive
        self.folder = staging_folder(archive)

    def begin(self, *, key: str, force: bool, resume: bool) -> None:
        """Start the folder for ``key``, or go on with it. Raises DestinationError; see ShardWriter.create."""
        self._check_destination(force=force, resume=resume)
        if self._unfinished() and (resume or not force):
            self._check_key(key, resume)
            self._gather()
        else:
            self._start(key)

    def expect(self, key: str) -> None:
        """Raise DestinationError unless it is ``key`` that is staged here."""
        if not (self.folder / KEY).exists() or read_sealed(self.folder / KEY).get("key") != key:
            raise DestinationError(f"{self.archive} is no longer being packed by this job: another one took its place.")

    def install(self, manifest: bytes) -> None:
        """Put the staged files and ``manifest`` in place of whatever archive was there."""
        write_durably(self.folder / MANIFEST, manifest)
        (self.root / MANIFEST).unlink(missing_ok=True)
        sync(self.root)
        for name in FOLDERS:
            if (self.folder / name).exists():
                remove(self.root / name)
                os.rename(self.folder / name, self.root / name)
        sync(self.root)
        os.replace(self.folder / MANIFEST, self.root / MANIFEST)
        sync(self.root)
        with suppress(OSError):  # the archive is complete; what cannot be tidied up does no harm
            self._remove_empty_folders()
            self.remove()

    def remove(self) -> None:
        """Delete the staging folder, and the archive's too if nothing else is in it."""
        self._discard()
        (self.folder / DISCARDED).unlink(missing_ok=True)
        self.folder.rmdir()
        with suppress(OSError):
            self.root.rmdir()

    def abandon(self, *, keep: bool) -> None:
        """Delete the temporary files, and with ``keep`` false all else that is staged, unless a commit was begun."""
        remove(self.folder / SCRATCH)
        if not keep and (self.folder / KEY).exists() and not (self.folder / MANIFEST).exists():
            self.remove()

    def keep(self, folder: str, names: set[str]) -> None:
        """Delete what is not in ``names`` from one of the staged folders."""
        for path in (self.folder / folder).iterdir():
            if path.name not in names:
                remove(path)

    def _check_destination(self, *, force: bool, resume: bool) -> None:  # noqa: ARG002 - for stores
        if is_archive(self.root):
            if not force:
                raise DestinationError(f"{self.archive} is a complete archive already; use --force to replace it.")
        elif self.root.exists() and not self._is_ours():
            raise DestinationError(
                f"{self.archive} exists and is not an archive, so it is left alone; choose another destination."
            )

    def _is_ours(self) -> bool:
        """True for an empty folder, or one whose staging folder was made here."""
        if not self.root.is_dir():
            return False
        if not self.folder.is_dir():
            return not any(self.root.iterdir())
        names = {path.name for path in self.folder.iterdir()}
        return bool(names & {KEY, DISCARDED}) or names <= {DISCARDED + ".tmp"}

    def _unfinished(self) -> bool:
        """True if there is work to resume: not after a commit that was cut off while tidying up."""
        committed = is_archive(self.root) and not (self.folder / BLOCK_FOLDER).exists()
        return (self.folder / KEY).exists() and not committed

    def _check_key(self, key: str, resume: bool) -> None:
        if not resume:
            raise DestinationError(
                f"{self.archive} is unfinished: use --resume to finish it with the same settings, or --force to start "
                "again."
            )
        try:
            found = read_sealed(self.folder / KEY).get("key")
        except ArchiveError as err:
            raise DestinationError(f"{self.archive} cannot be resumed ({err}); use --force to start again.") from err
        if found != key:
            raise DestinationError(
                f"{self.archive} was begun from another source or with other settings; resume with those, or use "
                "--force without --resume to start again."
            )

    def _gather(self) -> None:
        """Take back what a commit moved before it was cut off, and drop temporary files."""
        for name in FOLDERS:
            if not (self.folder / name).exists():
                os.rename(self.root / name, self.folder / name)
        remove(self.folder / SCRATCH)

    def _start(self, key: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._discard()
        for name in FOLDERS:
            (self.folder / name).mkdir()
        write_durably(self.folder / KEY, seal({"key": key}))
        (self.folder / DISCARDED).unlink(missing_ok=True)

    def _discard(self) -> None:
        """Delete all that is staged. The key goes first, so that a half-deleted folder is never resumed."""
        if (self.folder / KEY).exists():
            os.replace(self.folder / KEY, self.folder / DISCARDED)
            sync(self.folder)
        else:
            write_durably(self.folder / DISCARDED, b"")
        self.keep(".", {DISCARDED})

    def _remove_empty_folders(self) -> None:
        for name in FOLDERS:
            if not any((self.root / name).iterdir()):
                (self.root / name).rmdir()


def remove(path: Path) -> None:
    """Delete a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
