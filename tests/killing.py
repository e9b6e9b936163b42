"""Which process is writing below a folder, to be killed in the middle of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def writers(folder: Path) -> set[int]:
    """Processes with an open file below the folder."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                if any(str(folder) in os.readlink(open_file) for open_file in (process / "fd").iterdir()):
                    found.add(int(process.name))
    return found


@contextmanager
def one_writer_killed(folder: Path) -> Iterator[list[int]]:
    """Kill the first process that writes below the folder, while something else runs; gives who it was."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not (killed or over.is_set()):
            for pid in sorted(writers(folder))[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
