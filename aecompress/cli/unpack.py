"""aecompress unpack: an archive in, rows out."""

from __future__ import annotations

import re

import click

import aecompress
from aecompress.cli.options import archive_argument, force_option, workers_option
from aecompress.cli.progress import ProgressBar

Range = tuple[int | None, int | None]


class RowRange(click.ParamType[Range]):
    """``A:B`` as in a slice: either end may be left out, negative ones count from the end."""

    name = "A:B"

    def convert(self, value: str | Range, param: click.Parameter | None, ctx: click.Context | None) -> Range:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(-?\d+)?:(-?\d+)?", value)
        if found is None:
            self.fail(f"{value!r} is no range of rows; write it as in 100:200, 100:, :-1.", param, ctx)
        start, stop = (None if end is None else int(end) for end in found.groups())
        return start, stop


@click.command()
@archive_argument
@click.option(
    "-o",
    "dest",
    metavar="DEST",
    required=True,
    help="What to write; its extension names the format, and without one it is that of the source; - is npy on stdout.",
)
@click.option("--format", metavar="NAME", help="Format to write, whatever the extension.")
@click.option(
    "--rows", type=RowRange(), default=(None, None), help="Only these rows, as in a slice: 100:200, 100:, :-1."
)
@click.option("--where", metavar="CONDITION", help='Only rows of which it is true, as in: label == 3 and name != "x".')
@click.option("--quality", metavar="K", type=int, help="Decode only the first K latents of each row: coarser rows.")
@workers_option
@force_option
def unpack(
    archive: str,
    dest: str,
    format: str | None,
    rows: Range,
    where: str | None,
    quality: int | None,
    workers: int,
    force: bool,
) -> None:
    """Unpack an archive.

    Dtype, shape and order of rows are exactly as they came. Columns that stood beside the array come back with it in
    Parquet and Arrow files.
    """
    with ProgressBar() as progress:
        count = aecompress.unpack(
            archive,
            dest,
            rows=rows,
            where=where,
            quality=quality,
            format=format,
            force=force,
            workers=workers,
            progress=progress,
        )
    if dest != "-":
        click.echo(f"{count:,} rows written to {dest}")
