"""Run the project and its peers on files at targets; write results.json, results.md and rate-distortion.png.

python -m benchmarks.run FILE... [--targets "rel-error 1e-3" ...] [--peers sz3,sperr] -o results/
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from aecompress.comparer import measure_ours
from aecompress.config import MODEL_KINDS, Target
from aecompress.errors import AecompressError
from aecompress.peers import PEERS, load
from aecompress.peers.trial import measure_peer
from aecompress.spec import Array
from benchmarks import data, table
from benchmarks.plot import plot
from benchmarks.results import Results, read_reference, reference_peers, summarise


def main() -> None:
    options = parser().parse_args()
    try:
        results = run(options)
    except AecompressError as err:
        raise SystemExit(f"Error: {err}") from err
    print(table.summary(results))


def run(options: argparse.Namespace) -> Results:
    """Measure every file at every target; the files of results grow with each set, so a stopped run keeps them."""
    results: Results = {}
    options.output.mkdir(parents=True, exist_ok=True)
    for file in options.files:
        x = data.load(file)
        entry: dict[str, Any] = {"shape": list(x.shape), "dtype": x.dtype.name, "raw_bytes": x.nbytes, "bounds": {}}
        results[file.stem] = entry
        for target in options.targets or data.default_targets(x.dtype):
            cell = measure(file.stem, x, target, options)
            entry["bounds"][target.describe()] = cell
            print(table.line(file.stem, target.describe(), x.nbytes, cell), flush=True)
        write(results, options.output)
    return results


def measure(name: str, x: Array, target: Target, options: argparse.Namespace) -> dict[str, Any]:
    """One cell: ours, and the peers run now or taken from the reference."""
    bound = data.absolute_bound(target, x)
    if options.reference is None:
        tried = {peer: measure_peer(load(peer), x, bound) for peer in options.peers}
        peers = {peer: cell for peer, cell in tried.items() if cell is not None}
    else:
        peers = reference_peers(options.reference, name, target.describe())
    return summarise(x.nbytes, peers, measure_ours(x, target, bound, options.model), options.forgive_fixed)


def write(results: Results, folder: Path) -> None:
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(table.markdown(results))
    plot(results, folder / "rate-distortion.png")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.run", description="aecompress beside its peers")
    options.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".npy files, folders of PNG files")
    options.add_argument("--targets", nargs="+", type=_target, help='such as "rel-error 1e-3" "max-error 3" lossless')
    peers = options.add_mutually_exclusive_group()
    peers.add_argument("--peers", type=data.peer_names, default=list(PEERS), help=f"some of {','.join(PEERS)}")
    peers.add_argument("--reference", type=_reference, help="take the peers from this results.json of an earlier run")
    options.add_argument("--model", choices=MODEL_KINDS, default="auto")
    options.add_argument("--forgive-fixed", type=int, default=8192, metavar="BYTES", help="in the judged gain")
    options.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    return options


def _target(text: str) -> Target:
    try:
        return data.parse_target(text)
    except AecompressError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _reference(text: str) -> Results:
    try:
        return read_reference(Path(text))
    except AecompressError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


if __name__ == "__main__":
    main()
