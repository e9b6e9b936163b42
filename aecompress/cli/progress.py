"""Progress on standard error, where that is a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aecompress.cli.logs import is_quiet
from aecompress.ranks import is_first

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBar:
    """A callable ``progress(phase, done, facts)`` that draws one bar a phase and clears it; silent elsewhere.

    Where a phase counts ``bytes`` the bar shows them and their rate; other facts stand behind it.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._phase = ""
        self._reported = time.time()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def __call__(self, phase: str, done: float, facts: dict[str, Any]) -> None:
        if not sys.stderr.isatty() or is_quiet() or not is_first():
            return
        others = dict(facts)
        amount = others.pop("bytes", None)
        if self._bar is None or phase != self._phase:
            self._close()
            self._bar, self._phase = _open(phase, amount is not None), phase
            self._bar.start_t = self._reported  # the first report of a phase comes when part of it is done
        self._bar.total = 1.0 if amount is None else amount / max(done, 1e-9)
        self._bar.n = done if amount is None else amount
        self._bar.set_postfix(others)
        self._reported = time.time()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _open(phase: str, counts_bytes: bool) -> tqdm[Any]:
    from tqdm import tqdm

    if counts_bytes:
        return tqdm(desc=phase, unit="B", unit_scale=True, smoothing=0, leave=False)
    return tqdm(desc=phase, total=1.0, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}", leave=False)
