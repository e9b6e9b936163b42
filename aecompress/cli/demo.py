"""aecompress demo: the whole way there and back, on pictures that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aecompress.cli import output
from aecompress.cli.options import force_option
from aecompress.cli.pack import report_lines
from aecompress.cli.progress import ProgressBar

if TYPE_CHECKING:
    from aecompress.demo import Demo


@click.command()
@click.option(
    "-o",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    default="aecompress-demo",
    show_default=True,
    help="Folder to write.",
)
@force_option
def demo(folder: Path, force: bool) -> None:
    """Try it: pack a sample, unpack it, compare.

    The sample is 2,000 small pictures of clothes, and the comparison is with gzip and zstd. What stays in FOLDER: the
    archive, the unpacked pictures, and a PNG file of originals above reconstructions above their error.
    """
    from aecompress.demo import run

    with ProgressBar() as progress:
        result = run(folder, force=force, progress=progress)
    output.print_table(report_lines(result.report, result.spec))
    click.echo()
    output.print_table(_comparison(result))
    click.echo()
    output.print_table(_left_behind(result))


def _comparison(result: Demo) -> list[tuple[str, str]]:
    raw, ours = result.report.raw_bytes, result.report.packed_bytes
    bound = f"{result.bound:g}"
    lines = [("", "size      ratio"), (f"aecompress, error at most {bound}", _line(ours, raw))]
    lines += [(name, _line(count, raw)) for name, count in result.peers.items()]
    return lines


def _line(count: int, raw: int) -> str:
    return f"{output.size(count):<8}  {raw / count:.2f}"


def _left_behind(result: Demo) -> list[tuple[str, str]]:
    return [
        (str(result.archive), "the archive; try: aecompress info " + str(result.archive)),
        (str(result.unpacked), "the pictures, unpacked; each value was compared with the original"),
        (
            str(result.pictures),
            "originals (top), reconstructions (middle), error (bottom; grey is none, black and white are the bound)",
        ),
    ]
