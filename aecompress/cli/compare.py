"""aecompress compare: an archive beside what other compressors make of the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import aecompress
from aecompress.cli import output
from aecompress.cli.options import force_option, format_option, json_option, source_argument, target_options
from aecompress.cli.progress import ProgressBar
from aecompress.cli.unpack import Range, RowRange
from aecompress.config import Target
from aecompress.sinks.base import check_free
from aecompress.sources import open_source

if TYPE_CHECKING:
    from aecompress.comparer import Comparison

_HEAD = ("", "bytes", "ratio", "encode MB/s", "decode MB/s", "greatest error", "psnr dB", "")

_FORMATS = {
    "bytes": ",", "ratio": ".2f", "enc_MBps": ".1f", "dec_MBps": ".1f", "max_abs_error": ".4g", "psnr": ".2f",
}  # fmt: skip


@click.command()
@source_argument
@format_option
@target_options
@click.option("--rows", type=RowRange(), default=(None, None), help="Compare these rows, as in a slice: 0:1000.")
@click.option("-o", "dest", metavar="CHART", type=click.Path(path_type=Path), help="SVG file of the sizes to write.")
@force_option
@json_option
def compare(
    source: str, format: str | None, target: Target | None, rows: Range, dest: Path | None, force: bool, as_json: bool
) -> None:
    """Compare with other compressors on SOURCE.

    Every peer that is installed (SZ3, SPERR, zfp, pcodec, zstd, JPEG XL, PCA, Faiss and more) codes the same rows at
    the same target, in the best of many settings; everything is decoded and checked. An archive counts with every
    byte, the model included. It is done in memory, and takes a while.
    """
    if dest is not None:
        check_free(dest, force=force)
    with ProgressBar() as progress:
        found = aecompress.compare(
            source if format is None else open_source(source, format=format), target, rows=rows, progress=progress
        )
    if dest is not None:
        output.write_file(dest, found.chart().encode())
    if as_json:
        output.print_json(found.to_json())
        return
    output.print_table(_head(found))
    click.echo()
    output.print_columns([_HEAD, *_rows(found)])
    if found.left_out:
        click.echo()
        output.print_table(_left_out(found))


def _head(found: Comparison) -> list[tuple[str, str]]:
    rows = output.array(found.spec.shape[0], found.spec.row_shape, found.spec.dtype.name)
    return [
        ("rows", f"{rows}, {output.size(found.spec.raw_bytes)}"),
        ("target", found.describe()),
        ("result", _result(found)),
    ]


def _left_out(found: Comparison) -> list[tuple[str, str]]:
    """Each reason, behind those it holds for."""
    reasons = dict.fromkeys(found.left_out.values())
    return [(", ".join(name for name, why in found.left_out.items() if why == reason), reason) for reason in reasons]


def _result(found: Comparison) -> str:
    if found.best is None or found.gain is None:
        return "no peer does as told"
    if found.gain < 1:
        return f"{found.best} is {1 / found.gain:.2f} times smaller than aecompress"
    return f"aecompress is {found.gain:.2f} times smaller than the best peer, {found.best}"


def _rows(found: Comparison) -> list[tuple[str, ...]]:
    every = [("aecompress", found.ours), *found.peers.items()]
    return [(name, *_figures(cell), _remark(cell)) for name, cell in every]


def _figures(cell: dict[str, Any]) -> tuple[str, ...]:
    return tuple("-" if cell.get(key) is None else format(cell[key], how) for key, how in _FORMATS.items())


def _remark(cell: dict[str, Any]) -> str:
    """What is to be held against a result."""
    if not cell["bound_kept"]:
        return "misses the target"
    return "" if cell["special_kept"] else "loses NaN or infinities"
