"""Sets under a bound read with their row axis last: each value is expected from all rows at its place.

A cube of spectra comes as bands of many pixels, a table of genes as samples of many genes. What a place has in the rows
so far tells what it has in the next, if a regression learns how rows depend on each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from aecompress.codec.model import Model
from aecompress.context import fit as context
from aecompress.context.regression import LEAST_COLUMNS
from aecompress.sources.base import Source
from aecompress.trainer.bounded import Bounded
from aecompress.trainer.places import may_turn
from aecompress.trainer.views import Turned, turned_back

_log = logging.getLogger(__name__)

#: A turned set is one block, so it must take less than this share of the bytes that the set as it comes does, in the
#: cells that suit it best; networks close half of the gap.
_GAIN = 0.9


def smallest(search: Callable[[Source], Bounded], source: Source, kind: str) -> Model:
    """The best model of this kind, as ``search`` looks for one: of the source as it is, or turned."""
    straight = search(source)
    if kind not in ("auto", "none") or source.spec.shape[0] < LEAST_COLUMNS or not may_turn(source):
        return straight.run(kind)
    rival = search(Turned(source))
    part = rival.largest()
    found = None if part is None else context.turned(part, rival.values)
    if found is None:
        return straight.run(kind)
    layout, after, before = found
    _log.info("turned, the archive takes about %s bytes, as it comes %s", f"{after / 8:,.0f}", f"{before / 8:,.0f}")
    if after > _GAIN * straight.share_of_cells * before or straight.has_subbands(below=after / 8):
        return straight.run(kind)
    rival.read_as_columns(layout)
    return turned_back(rival.run("none"), source.spec)
