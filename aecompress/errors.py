"""Every error aecompress raises on purpose, sorted by whose fault it is.

    AecompressError
    ├── InputError          the arrays or the options given cannot be used
    ├── DestinationError    the place to write to is taken or cannot be written
    ├── ModelError          the model does not fit this data, or is not a model
    ├── ArchiveError        the archive cannot be read
    │   ├── CorruptError    its bytes are not the bytes that were written
    │   └── VersionError    a newer release wrote it
    ├── StoreError          an object store does not answer, or refuses
    └── VerificationError   an archive decodes, but not to what it promises

Each message is one sentence or two: what is wrong, and what to do.
"""


class AecompressError(Exception):
    """Base of all errors raised on purpose; the command line exits with 1."""


class InputError(AecompressError):
    """The source, its values or the options given cannot be used."""


class DestinationError(AecompressError):
    """The destination exists already, is full, or cannot be written."""


class ModelError(AecompressError):
    """The model was fitted for other data, or the file is not a model."""


class ArchiveError(AecompressError):
    """The archive cannot be read."""


class CorruptError(ArchiveError):
    """The archive's bytes are not the bytes that were written."""


class VersionError(ArchiveError):
    """The archive was written in a newer format than this release reads."""


class StoreError(AecompressError):
    """An object store does not answer, not even after several tries, or refuses what was asked of it."""


class VerificationError(AecompressError):
    """The archive decodes, but breaks a promise it makes; the command line exits with 3."""
