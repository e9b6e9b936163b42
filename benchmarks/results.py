"""The results of a run: who is smallest in each cell, and by how much."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aecompress.errors import InputError

#: set name -> shape, dtype, raw_bytes, bounds: target -> peers: name -> cell, best, ..., aecompress, gain, judged
Results = dict[str, dict[str, Any]]

#: Where the best peer needs less than this, part of an archive's fixed cost is forgiven in the judged gain.
SMALL = 64 * 1024


def summarise(raw_bytes: int, peers: dict[str, Any], ours: dict[str, Any], forgiven: int) -> dict[str, Any]:
    """One cell of the table: the peers, the best that keeps the bound, ours, and the gains.

    ``gain`` is the best peer's bytes over ours; ``judged`` the same with ``forgiven`` bytes of ours left out
    (never more than all but one) where the best peer needs less than 64 KiB.
    """
    cell: dict[str, Any] = {"peers": peers, "aecompress": ours}
    kept = {name: peer["bytes"] for name, peer in peers.items() if peer["bound_kept"]}
    if not kept:
        return cell
    best = min(kept, key=lambda name: kept[name])
    small = kept[best] < SMALL
    return cell | {
        "best": best,
        "best_bytes": kept[best],
        "best_ratio": round(raw_bytes / kept[best], 3),
        "gain": kept[best] / ours["bytes"],
        "judged": kept[best] / max(ours["bytes"] - forgiven * small, 1),
    }


def read_reference(path: Path) -> Results:
    """Peers measured before: the JSON file of an earlier run."""
    try:
        results: Results = json.loads(path.read_text())
        if all(isinstance(entry["bounds"], dict) for entry in results.values()):
            return results
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise InputError(f"{path} holds no results ({err}); give the results.json of an earlier run.") from err
    raise InputError(f"{path} holds no results; give the results.json of an earlier run.")


def reference_peers(reference: Results, name: str, target: str) -> dict[str, Any]:
    """The peers of one cell of ``reference``; raises InputError where it has none."""
    try:
        peers: dict[str, Any] = reference[name]["bounds"][target]["peers"]
    except KeyError as err:
        raise InputError(f"The reference has no peers of {name} at {target}; run them instead.") from err
    return peers


def cells(results: Results) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Set, target and cell, in order."""
    for name, entry in results.items():
        for target, cell in entry["bounds"].items():
            yield name, target, cell


def geometric_mean(results: Results, gain: str) -> float | None:
    """Of ``gain`` or ``judged`` over all cells that have a peer."""
    logarithms = [math.log(cell[gain]) for _, _, cell in cells(results) if gain in cell]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


def losses(results: Results) -> list[tuple[str, str, dict[str, Any]]]:
    """The cells where a peer is smaller than we are, before anything is forgiven."""
    return [(name, target, cell) for name, target, cell in cells(results) if cell.get("gain", 1.0) < 1.0]
