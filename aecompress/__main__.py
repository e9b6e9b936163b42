"""``aecompress`` and ``python -m aecompress``."""

from __future__ import annotations

import signal

from aecompress.cli import cli
from aecompress.cli.failures import stop


def main() -> None:
    """Run the command line; SIGINT and SIGTERM end it in order, so that nothing half-written looks whole."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    cli(prog_name="aecompress")


if __name__ == "__main__":
    main()
