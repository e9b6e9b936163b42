"""What the tests of engines share: the code of their page, and a process to be killed in the middle of writing."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import aecompress
from aecompress.shards.block import Block
from aecompress.shards.reader import ShardReader
from aecompress.spec import Array

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


def run_section(name: str, model: aecompress.Model, rows: Array) -> None:
    """Run the Python blocks of a section of the page in the working folder, with what the page needs."""
    np.save("windows.npy", rows)
    Path("windows.model").write_bytes(model.to_bytes(encoder=True))
    (section,) = re.findall(rf"^## {name}$(.*?)(?=^## )", PAGE.read_text(), re.M | re.S)
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S):
        exec(compile(code, PAGE.name, "exec"), names)


def blocks_of(archive: Path) -> list[Block]:
    return list(ShardReader(archive).blocks(0, len(aecompress.open(archive))))


def writers(folder: Path) -> set[int]:
    """Processes, this one aside, with an open part below the folder."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                names = [os.readlink(opened) for opened in (process / "fd").iterdir()]
                if any(name.startswith(str(folder)) and name.endswith(".parquet") for name in names):
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
