"""What can go wrong, as one sentence on standard error and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from aecompress.errors import AecompressError, VerificationError


class Stopped(BaseException):
    """A signal asked the process to end; notes added to it say what to do next."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(number).name}.")
        self.exit_code = 128 + number


def stop(number: int, _frame: FrameType | None) -> NoReturn:
    """A signal handler that unwinds the stack, so that whoever is writing can clean up."""
    raise Stopped(number)


@contextmanager
def failures() -> Iterator[None]:
    """End the process with a sentence where the library or the system fails; defects keep their traceback."""
    try:
        yield
    except Stopped as err:
        _end(" ".join([str(err), *getattr(err, "__notes__", [])]), err.exit_code)
    except AecompressError as err:
        if isinstance(err.__cause__, BrokenPipeError):
            raise err.__cause__ from None
        _end(str(err), 3 if isinstance(err, VerificationError) else 1)
    except MemoryError:
        _end("The memory is not enough for the blocks coded at once; use fewer --workers.", 1)
    except BrokenPipeError:
        raise  # whoever read the output has gone; click ends without a word
    except OSError as err:
        where = f"{err.filename}: " if err.filename else ""
        _end(f"{where}{err.strerror or err}.", 1)


def _end(sentence: str, exit_code: int) -> NoReturn:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(exit_code)
