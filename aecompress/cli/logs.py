"""What the library logs, on standard error, above the progress bar where there is one; the first rank speaks for all.

-q         errors alone, and no progress
(none)     warnings
-v         what was decided and what it cost
-vv        every block too
"""

from __future__ import annotations

import logging
import sys

from aecompress.ranks import is_first

_LOGGER = logging.getLogger("aecompress")


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if not is_first():
            return
        line = self.format(record)
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)


def log_to_stderr(verbose: int, quiet: bool) -> None:
    """Let the library's loggers speak on standard error, as loud as was asked for."""
    handler = _Handler()
    handler.setFormatter(_Elapsed())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])


def is_quiet() -> bool:
    """True if nothing but errors is wanted."""
    return _LOGGER.getEffectiveLevel() > logging.WARNING


class _Elapsed(logging.Formatter):
    """``  12.3 s  text``, counted from the start of the process."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.relativeCreated / 1000:6.1f} s  {record.getMessage()}"
